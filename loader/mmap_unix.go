//go:build unix

package loader

import (
	"fmt"
	"os"
	"runtime/debug"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapping is a whole file mapped for reading.
type mapping struct {
	data []byte
}

var pageSize = int64(os.Getpagesize())

func newMapping(f *os.File, size int64) (*mapping, error) {
	if int64(int(size)) != size {
		return nil, fmt.Errorf("%d bytes are too many to map on this machine", size)
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping %d bytes: %w", size, err)
	}
	return &mapping{data: data}, nil
}

// read fills dst from off. A page that is no longer behind the mapping (the file
// was truncated, a disk failed) gives ErrTruncated instead of a signal.
func (m *mapping) read(dst []byte, off int64) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch fault := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			base := uintptr(unsafe.Pointer(unsafe.SliceData(m.data)))
			if a := fault.Addr(); a < base || a >= base+uintptr(len(m.data)) {
				panic(fault)
			}
			err = fmt.Errorf("%w: no data at byte %d", ErrTruncated, off)
		default:
			panic(fault)
		}
	}()
	copy(dst, m.data[off:off+int64(len(dst))])
	return nil
}

// release gives the pages of [off, end) back to the system. It is advice only:
// a page that is read again is loaded again.
func (m *mapping) release(off, end int64) {
	off -= off % pageSize
	if off < end {
		_ = unix.Madvise(m.data[off:end], unix.MADV_DONTNEED)
	}
}

func (m *mapping) close() error { return unix.Munmap(m.data) }
