module github.com/vkbert/vkbert

go 1.24

require (
	github.com/daulet/tokenizers v1.24.0 // indirect
	github.com/stretchr/testify v1.11.1 // indirect
	golang.org/x/sys v0.35.0 // indirect
)
