package loader

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
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

// readHeader reads and checks the header of a safetensors file of the given
// size. It returns the tensors by name, with their offsets from the beginning of the
// file, the raw header and the metadata.
//
// What it allocates stays within 4 × the header and 1 MiB, whatever the header
// says: a small file must not take a machine's memory.
func readHeader(r io.ReaderAt, size int64) ([]Tensor, []byte, map[string]string, error) {
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
	slices.SortFunc(tensors, byName)
	for i := 1; i < len(tensors); i++ {
		if tensors[i].Name == tensors[i-1].Name {
			return nil, nil, nil, fmt.Errorf("%w: duplicate key %.200q", ErrBadHeader, tensors[i].Name)
		}
	}
	if err := checkLayout(tensors, data-n); err != nil {
		return nil, nil, nil, err
	}
	slices.SortFunc(tensors, byName)
	for i := range tensors {
		tensors[i].offset += headerLenBytes + int64(n)
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

func byName(a, b Tensor) int { return strings.Compare(a.Name, b.Name) }

const (
	maxMetadata = 4096 // entries
	maxDims     = 16   // of a tensor
)

// headerParser parses the JSON of a header.
type headerParser struct {
	*jsonParser
	shapes []int // what is left of a block that shapes are cut from

	// Of the tensor that is being parsed; here, so that they are allocated once.
	dtype          DType
	shape, offsets []uint64
	keys           int
	into           *[]uint64 // shape or offsets
	dims           [maxDims]uint64
	ends           [3]uint64
	field          func(key string) error // readField
	size           func(i int) error      // readSize
}

// parseHeader returns the tensors in the order of the header; names may be there
// twice. raw must not change afterwards.
func parseHeader(raw []byte) (tensors []Tensor, metadata map[string]string, err error) {
	if raw[0] != '{' {
		return nil, nil, fmt.Errorf("%w: header does not begin with '{'", ErrBadHeader)
	}
	j, err := sharedJSON(raw, headerDepth)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadHeader, err)
	}
	p := &headerParser{jsonParser: j}
	p.field, p.size = p.readField, p.readSize
	tensors = make([]Tensor, 0, strings.Count(p.data, `"data_offsets"`)) // no more than there can be
	err = p.members(func(key string) error {
		if key == "__metadata__" {
			if metadata != nil {
				return p.errorf("duplicate key %q", key)
			}
			metadata = make(map[string]string)
			return p.object(func(k string) error {
				v, err := p.str()
				metadata[k] = v
				if err == nil && len(metadata) > maxMetadata {
					err = p.errorf("more than %d entries of metadata", maxMetadata)
				}
				return err
			})
		}
		t, err := p.tensor(key)
		if err != nil {
			return fmt.Errorf("tensor %.200q: %w", key, err)
		}
		if len(tensors) == cap(tensors) {
			return p.errorf("more tensors than data_offsets") // keys spelled with escapes
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

// tensor parses and checks what can be said of one tensor by itself. Its offset is
// from the first byte after the header.
func (p *headerParser) tensor(name string) (Tensor, error) {
	p.dtype, p.shape, p.offsets, p.keys = "", p.dims[:0], p.ends[:0], 0
	if err := p.members(p.field); err != nil {
		return Tensor{}, err
	}
	if p.keys != 3 {
		return Tensor{}, errors.New("want dtype, shape and data_offsets")
	}
	if len(p.offsets) != 2 {
		return Tensor{}, fmt.Errorf("want two data_offsets, got %d", len(p.offsets))
	}
	t := Tensor{Name: name, DType: p.dtype}
	offsets, dims := p.offsets, p.shape
	begin, end := offsets[0], offsets[1]
	if begin > end {
		return t, fmt.Errorf("data_offsets begin at %d, after their end at %d", begin, end)
	}
	elements, bytes, err := tensorBytes(t.DType, dims)
	switch {
	case err != nil:
		return t, err
	case elements > math.MaxInt || bytes > math.MaxInt || end > math.MaxInt64/2:
		return t, fmt.Errorf("shape %v of %s, or its offset, is too large for this machine", dims, t.DType)
	case bytes != end-begin:
		return t, fmt.Errorf("%s of shape %v: want %d bytes, got %d", t.DType, dims, bytes, end-begin)
	}
	t.offset, t.bytes = int64(begin), int64(bytes)
	t.Shape, err = p.cut(dims)
	return t, err
}

// readField parses one value of a tensor's object.
func (p *headerParser) readField(key string) (err error) {
	p.keys++
	switch {
	case key == "dtype" && p.dtype == "":
		var s string
		s, err = p.str()
		p.dtype = DType(s)
	case key == "shape" && len(p.shape) == 0:
		p.into = &p.shape
		err = p.array(p.size)
	case key == "data_offsets" && len(p.offsets) == 0:
		p.into = &p.offsets
		err = p.array(p.size)
	case key == "dtype" || key == "shape" || key == "data_offsets":
		err = p.errorf("duplicate key %q", key)
	default:
		err = fmt.Errorf("unknown key %.40q", key)
	}
	return err
}

// readSize parses a plain non-negative integer of a list.
func (p *headerParser) readSize(int) error {
	number, err := p.number()
	if err != nil {
		return err
	}
	if len(*p.into) == cap(*p.into) {
		return fmt.Errorf("want at most %d numbers, got more", cap(*p.into))
	}
	n, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return fmt.Errorf("want a size, got %.40s", number)
	}
	*p.into = append(*p.into, n)
	return nil
}

// cut makes the shape of a tensor a part of a block, rather than allocate each.
func (p *headerParser) cut(dims []uint64) ([]int, error) {
	if len(p.shapes) < len(dims) {
		p.shapes = make([]int, 4096)
	}
	shape := p.shapes[:len(dims):len(dims)]
	p.shapes = p.shapes[len(dims):]
	for i, n := range dims {
		if n > math.MaxInt { // beside a dimension of 0
			return nil, fmt.Errorf("shape %v overflows", dims)
		}
		shape[i] = int(n)
	}
	return shape, nil
}

// checkLayout sorts the tensors by offset and checks that together they fill the
// data exactly.
func checkLayout(tensors []Tensor, data uint64) error {
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.bytes, b.bytes), byName(a, b))
	})
	var at int64
	for i := range tensors {
		t := &tensors[i]
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%w: tensor %.200q: %w", ErrBadHeader, t.Name, fmt.Errorf(format, args...))
		}
		if t.offset < at {
			return bad("overlaps the tensor before it: want offset %d, got %d", at, t.offset)
		}
		if t.offset > at {
			return bad("leaves a hole before it: want offset %d, got %d", at, t.offset)
		}
		at += t.bytes
		if uint64(at) > data {
			return fmt.Errorf("%w: incomplete: tensor %.200q ends at byte %d of the data, the file has %d", ErrTruncated, t.Name, at, data)
		}
	}
	if uint64(at) != data {
		return fmt.Errorf("%w: incomplete: the tensors fill %d bytes, the file has %d", ErrBadHeader, at, data)
	}
	return nil
}
