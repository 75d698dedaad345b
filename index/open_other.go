//go:build !unix

package index

import "os"

func openRegular(path string) (*os.File, error) { return os.Open(path) }
