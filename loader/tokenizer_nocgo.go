//go:build !cgo

package loader

import "fmt"

func openLibrary([]byte) (library, error) {
	return nil, fmt.Errorf("%w: the tokenizer is a C library; build with CGO_ENABLED=1 and a C compiler", ErrNoCgo)
}
