//go:build !unix

package loader

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// mapping reads the file where there is no mmap.
type mapping struct {
	file *os.File
}

func newMapping(f *os.File, _ int64) (*mapping, error) { return &mapping{file: f}, nil }

func (m *mapping) read(dst []byte, off int64) error {
	_, err := m.file.ReadAt(dst, off)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: no data at byte %d", ErrTruncated, off)
	}
	return err
}

func (m *mapping) release(off, end int64) {}

func (m *mapping) close() error { return nil }
