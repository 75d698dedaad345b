// Package part names files that are not whole yet.
package part

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
)

// Name is a hidden name beside path for what will be renamed to it; each call gives another. A name has 255 bytes and a character up to four, so not all of a
// long one is in it.
func Name(path string) string {
	dir, base := filepath.Split(filepath.Clean(path))
	return filepath.Join(dir, fmt.Sprintf(".%.40s.%08x.part", base, rand.Uint32()))
}
