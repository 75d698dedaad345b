// The files here are for this repository's tests; a module of its own keeps them out of what "go get" downloads.
module github.com/vkbert/vkbert/loader/convert/testdata

go 1.24
