package convert

import "fmt"

const (
	headroom  = 1 << 20  // bytes that reading a header may allocate beside four times its length
	uncounted = 64 << 10 // of them, for what is not worth counting
	perByte   = 4
)

// meter bounds what a header may make its reader allocate, so that a small file
// cannot ask for all memory there is. The reader tells it what it allocates
// before it does.
type meter struct {
	header int64 // bytes of header read so far
	used   int64 // bytes allocated for them
}

func (m *meter) take(n int64) error {
	m.used += n
	if limit := perByte*m.header + headroom - uncounted; m.used > limit {
		return fmt.Errorf("%w: a header of %d bytes asks for more than %d bytes of memory", ErrBadFile, m.header, limit)
	}
	return nil
}

// grow returns s with room for one more element of size bytes. What append does
// by itself depends on Go's version; this doubles.
func grow[T any](m *meter, s []T, size int64) ([]T, error) {
	if len(s) < cap(s) {
		return s, nil
	}
	room := max(16, 2*cap(s))
	if err := m.take(int64(room) * size); err != nil {
		return nil, err
	}
	return append(make([]T, 0, room), s...), nil
}
