package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"sort"
	"strconv"
)

// The format: 8 bytes little-endian N, N bytes of JSON header, then the data.
// https://github.com/huggingface/safetensors#format
const (
	headerLenBytes = 8
	maxHeader      = 100_000_000 // the reference implementation's limit
	headerDepth    = 4           // header, tensor, shape; __metadata__ is flatter
)

var errOverflow = errors.New("more than 2^64")

func mulU64(a, b uint64) (uint64, error) {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 {
		return 0, errOverflow
	}
	return lo, nil
}

// headerTensor is one entry of a header; begin and end count from the first
// byte after the header.
type headerTensor struct {
	name       string
	dtype      DType
	shape      []uint64
	begin, end uint64
}

// readHeader reads and checks the header of a safetensors file of the given
// size. It returns the tensors by offset, the raw header and the metadata.
func readHeader(r io.ReaderAt, size int64) ([]headerTensor, []byte, map[string]string, error) {
	if size < headerLenBytes {
		return nil, nil, nil, fmt.Errorf("%w: header too small: want at least %d bytes, got %d", ErrBadHeader, headerLenBytes, size)
	}
	var prefix [headerLenBytes]byte
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, nil, nil, fmt.Errorf("reading the header's length: %w", shortRead(err))
	}
	n := binary.LittleEndian.Uint64(prefix[:])
	if n > maxHeader {
		return nil, nil, nil, fmt.Errorf("%w: header too large: want at most %d bytes, got %d", ErrBadHeader, maxHeader, n)
	}
	data := uint64(size) - headerLenBytes
	if n > data {
		return nil, nil, nil, fmt.Errorf("%w: header of %d bytes in a file of %d", ErrTruncated, n, size)
	}
	if n < 2 {
		return nil, nil, nil, fmt.Errorf("%w: header too small: want at least {}, got %d bytes", ErrBadHeader, n)
	}
	raw := make([]byte, n)
	if _, err := r.ReadAt(raw, headerLenBytes); err != nil {
		return nil, nil, nil, fmt.Errorf("reading the header: %w", shortRead(err))
	}
	tensors, metadata, err := parseHeader(raw)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := checkLayout(tensors, data-n); err != nil {
		return nil, nil, nil, err
	}
	return tensors, raw, metadata, nil
}

// shortRead gives the end of a file that was longer a moment ago its sentinel.
func shortRead(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: %w", ErrTruncated, err)
	}
	return err
}

// parseHeader parses the JSON of a header.
func parseHeader(raw []byte) (tensors []headerTensor, metadata map[string]string, err error) {
	if raw[0] != '{' {
		return nil, nil, fmt.Errorf("%w: header does not begin with '{'", ErrBadHeader)
	}
	p, err := newJSON(raw, headerDepth)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadHeader, err)
	}
	err = p.object(func(key string) error {
		if key == "__metadata__" {
			metadata = make(map[string]string)
			return p.object(func(k string) error {
				v, err := p.str()
				metadata[k] = v
				return err
			})
		}
		t, err := parseHeaderTensor(p, key)
		if err != nil {
			return fmt.Errorf("tensor %.200q: %w", key, err)
		}
		tensors = append(tensors, t)
		return nil
	})
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadHeader, err)
	}
	return tensors, metadata, nil
}

func parseHeaderTensor(p *jsonParser, name string) (headerTensor, error) {
	t := headerTensor{name: name}
	var offsets []uint64
	seen := 0
	err := p.object(func(key string) (err error) {
		seen++
		switch key {
		case "dtype":
			var s string
			s, err = p.str()
			t.dtype = DType(s)
		case "shape":
			t.shape, err = parseSizes(p)
		case "data_offsets":
			offsets, err = parseSizes(p)
		default:
			return fmt.Errorf("unknown key %.40q", key)
		}
		return err
	})
	if err != nil {
		return t, err
	}
	if seen != 3 {
		return t, errors.New("want dtype, shape and data_offsets")
	}
	if len(offsets) != 2 {
		return t, fmt.Errorf("want two data_offsets, got %d", len(offsets))
	}
	t.begin, t.end = offsets[0], offsets[1]
	return t, nil
}

// parseSizes parses a list of plain non-negative integers.
func parseSizes(p *jsonParser) ([]uint64, error) {
	sizes := []uint64{}
	err := p.array(func(int) error {
		n, err := p.number()
		if err != nil {
			return err
		}
		v, err := strconv.ParseUint(string(n), 10, 64)
		if err != nil {
			return fmt.Errorf("want a size, got %.40s", n)
		}
		sizes = append(sizes, v)
		return nil
	})
	return sizes, err
}

// checkLayout sorts the tensors by offset and checks that each has the bytes its
// shape needs, and that together they fill the data exactly.
func checkLayout(tensors []headerTensor, data uint64) error {
	sort.SliceStable(tensors, func(i, j int) bool {
		a, b := &tensors[i], &tensors[j]
		if a.begin != b.begin {
			return a.begin < b.begin
		}
		return a.end < b.end
	})
	var at uint64
	for i := range tensors {
		t := &tensors[i]
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%w: tensor %.200q: %w", ErrBadHeader, t.name, fmt.Errorf(format, args...))
		}
		if t.begin > t.end {
			return bad("data_offsets begin at %d, after their end at %d", t.begin, t.end)
		}
		elements, bytes, err := tensorBytes(t.dtype, t.shape)
		if err != nil {
			return bad("%w", err)
		}
		if elements > math.MaxInt || bytes > math.MaxInt {
			return bad("shape %v of %s is too large for this machine", t.shape, t.dtype)
		}
		for _, n := range t.shape {
			if n > math.MaxInt { // beside a dimension of 0
				return bad("shape %v overflows", t.shape)
			}
		}
		if t.begin < at {
			return bad("overlaps the tensor before it: want offset %d, got %d", at, t.begin)
		}
		if t.begin > at {
			return bad("leaves a hole before it: want offset %d, got %d", at, t.begin)
		}
		if bytes != t.end-t.begin {
			return bad("%s of shape %v: want %d bytes, got %d", t.dtype, t.shape, bytes, t.end-t.begin)
		}
		if t.end > data {
			return fmt.Errorf("%w: incomplete: tensor %.200q ends at byte %d of the data, the file has %d", ErrTruncated, t.name, t.end, data)
		}
		at = t.end
	}
	if at != data {
		return fmt.Errorf("%w: incomplete: the tensors fill %d bytes, the file has %d", ErrBadHeader, at, data)
	}
	return nil
}
