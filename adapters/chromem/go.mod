module github.com/vkbert/vkbert/adapters/chromem

go 1.24.4

require (
	github.com/philippgille/chromem-go v0.7.0
	github.com/stretchr/testify v1.11.1
	github.com/vkbert/vkbert v0.1.0
)

require (
	github.com/daulet/tokenizers v1.24.0 // indirect
	github.com/davecgh/go-spew v1.1.1 // indirect
	github.com/pmezard/go-difflib v1.0.0 // indirect
	golang.org/x/sys v0.35.0 // indirect
	gopkg.in/yaml.v3 v3.0.1 // indirect
)

replace github.com/vkbert/vkbert => ../.. // only for work in this repository: an application that requires this module does not see it
