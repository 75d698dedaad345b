package convert

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/internal/part"
	"github.com/vkbert/vkbert/loader"
)

// Tensor is a tensor on its way into a file.
type Tensor struct {
	Name  string
	DType loader.DType
	Shape []int // outermost first
	// Data calls emit with the elements in C order, little-endian, as many whole
	// elements at a time as it likes. It may be called once. emit does not keep the
	// chunk; an error of emit ends the work and is returned.
	Data func(emit func(chunk []byte) error) error
}

// Bytes returns the size of the elements, or an error if it is over 2⁶³ or the
// shape is none.
func (t Tensor) Bytes() (int64, error) {
	n := uint64(t.DType.Size())
	if n == 0 {
		return 0, fmt.Errorf("%w: tensor %.200q: dtype %q cannot be written", loader.ErrUnsupported, t.Name, t.DType)
	}
	for _, d := range t.Shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if d < 0 || hi != 0 || lo > 1<<62 {
			return 0, fmt.Errorf("%w: tensor %.200q: shape %v overflows", ErrBadFile, t.Name, t.Shape)
		}
		n = lo
	}
	return int64(n), nil
}

// of returns the tensor with the name of its file in the errors of reading it.
func (t Tensor) of(file string) Tensor {
	data := t.Data
	t.Data = func(emit func([]byte) error) error {
		var inner error // of emit: not the file's fault
		err := data(func(chunk []byte) error { inner = emit(chunk); return inner })
		if err != nil && inner == nil {
			err = fmt.Errorf("%s: tensor %.200q: %w", file, t.Name, err)
		}
		return err
	}
	return t
}

const (
	headerAlign = 8
	maxHeader   = 100_000_000 // the reference implementation's limit
)

// WriteSafetensors writes a safetensors file: the tensors by size of element and
// then by name, so that each is aligned, one after another through a buffer. The
// file gets its name when all of it is on the disk; before, and after an error,
// what was there stays. It is not safe for two writers of one path.
//
// Format: https://github.com/huggingface/safetensors#format
func WriteSafetensors(path string, tensors []Tensor, metadata map[string]string) (err error) {
	tensors = slices.Clone(tensors)
	slices.SortStableFunc(tensors, func(a, b Tensor) int {
		if d := b.DType.Size() - a.DType.Size(); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	header, err := safetensorsHeader(tensors, metadata)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	part := part.Name(path)
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			err = errors.Join(err, os.Remove(part))
		}
	}()
	if _, err = f.Write(header); err != nil {
		return err
	}
	for _, t := range tensors {
		if err = writeTensor(f, t); err != nil {
			return err
		}
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// writeTensor writes the elements of a tensor, which must be as many as its shape
// says.
func writeTensor(f *os.File, t Tensor) error {
	want, err := t.Bytes()
	if err != nil {
		return err
	}
	got := int64(0)
	err = t.Data(func(chunk []byte) error {
		if got += int64(len(chunk)); got > want {
			return fmt.Errorf("%w: tensor %.200q: want %d bytes, got more", ErrBadFile, t.Name, want)
		}
		_, err := f.Write(chunk)
		return err
	})
	if err == nil && got != want {
		err = fmt.Errorf("%w: tensor %.200q: want %d bytes, got %d", loader.ErrTruncated, t.Name, want, got)
	}
	return err
}

// safetensorsHeader returns the first bytes of the file, up to the data, padded
// with spaces.
func safetensorsHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	const key = "__metadata__"
	out := bytes.NewBuffer(make([]byte, 8, 1024))
	out.WriteByte('{')
	seen := map[string]bool{key: true}
	if len(metadata) > 0 {
		if err := appendMember(out, key, metadata); err != nil {
			return nil, err
		}
	}
	var at int64
	for _, t := range tensors {
		if seen[t.Name] {
			return nil, fmt.Errorf("%w: tensor %.200q: twice, or not a name of a tensor", ErrBadFile, t.Name)
		}
		seen[t.Name] = true
		n, err := t.Bytes()
		if err != nil {
			return nil, err
		}
		if at+n < at {
			return nil, fmt.Errorf("%w: tensor %.200q: the file would be larger than 2^63 bytes", ErrBadFile, t.Name)
		}
		shape := t.Shape
		if shape == nil {
			shape = []int{}
		}
		err = appendMember(out, t.Name, struct {
			DType   loader.DType `json:"dtype"`
			Shape   []int        `json:"shape"`
			Offsets [2]int64     `json:"data_offsets"`
		}{t.DType, shape, [2]int64{at, at + n}})
		if err != nil {
			return nil, err
		}
		at += n
	}
	out.WriteByte('}')
	for out.Len()%headerAlign != 0 {
		out.WriteByte(' ')
	}
	header := out.Bytes()
	if len(header) > maxHeader {
		return nil, fmt.Errorf("%w: the names of %d tensors make a header of %d bytes, want at most %d", ErrBadFile, len(tensors), len(header), maxHeader)
	}
	binary.LittleEndian.PutUint64(header, uint64(len(header)-8))
	return header, nil
}

// appendMember appends a member of a JSON object.
func appendMember(out *bytes.Buffer, key string, value any) error {
	if out.Bytes()[out.Len()-1] != '{' {
		out.WriteByte(',')
	}
	name, err := json.Marshal(key)
	if err != nil {
		return err
	}
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	out.Write(name)
	out.WriteByte(':')
	out.Write(text)
	return nil
}
