module github.com/vkbert/vkbert

go 1.24
