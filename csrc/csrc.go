// Package csrc is the C core (include/vkbert.h): the go command compiles the C files of this folder. This file holds the flags and nothing else; package
// cgo makes the calls.
package csrc

// #cgo CFLAGS: -O3 -std=c11 -D_GNU_SOURCE -DVKB_STATIC -fvisibility=hidden
// #cgo LDFLAGS: -lm
// #cgo linux LDFLAGS: -ldl -lpthread
import "C"

import (
	_ "github.com/vkbert/vkbert/csrc/cubin"   // so that a changed kernel rebuilds the core
	_ "github.com/vkbert/vkbert/csrc/shaders" // so that go mod vendor keeps it
	_ "github.com/vkbert/vkbert/csrc/spirv"   // so that a changed shader rebuilds the core
	_ "github.com/vkbert/vkbert/include"      // so that a changed header does
)
