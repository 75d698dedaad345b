package convert

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

func filled(name string, dtype loader.DType, fill byte, shape ...int) Tensor {
	n := dtype.Size()
	for _, d := range shape {
		n *= d
	}
	return Tensor{Name: name, DType: dtype, Shape: shape, Data: func(emit func([]byte) error) error {
		for range n { // a byte at a time
			if err := emit([]byte{fill}); err != nil {
				return err
			}
		}
		return nil
	}}
}

func TestWriteSafetensors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	require.NoError(t, WriteSafetensors(path, []Tensor{
		filled("b", loader.F16, 2, 3), filled("c<&>\"é", loader.F32, 3, 1, 2), filled("a", loader.F32, 1), filled("ids", "I64", 4, 2), filled("none", loader.F32, 0, 0, 3), filled("flags", "BOOL", 5, 3),
	}, map[string]string{"format": "pt"}))
	noLeftovers(t, filepath.Dir(path), "model.safetensors")
	data := readFile(t, path)
	n := binary.LittleEndian.Uint64(data)
	assert.Zero(t, n%8, "the data begin aligned")
	assert.Equal(t, []byte{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 5, 5, 5}, data[8+n:])
	w, err := loader.OpenWeights(path)
	require.NoError(t, err)
	defer w.Close()
	assert.Equal(t, []string{"a", "b", "c<&>\"é", "flags", "ids", "none"}, w.Names())
	got, _ := w.Lookup("none")
	assert.Equal(t, []int{0, 3}, got.Shape)

	require.NoError(t, WriteSafetensors(path, nil, nil), "replaces")
	assert.Equal(t, "\x08\x00\x00\x00\x00\x00\x00\x00{}      ", string(readFile(t, path)))
}

func TestWriteSafetensorsFails(t *testing.T) {
	short := filled("w", loader.F32, 0, 2)
	short.Shape = []int{3}
	long := filled("w", loader.F32, 0, 2)
	long.Shape = []int{1}
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		tensors []Tensor
		kind    error
	}{
		"too few bytes":  {[]Tensor{short}, loader.ErrTruncated},
		"too many bytes": {[]Tensor{long}, ErrBadFile},
		"reading fails":  {[]Tensor{{Name: "w", DType: loader.F32, Shape: []int{1}, Data: func(func([]byte) error) error { return broken }}}, broken},
		"name twice":     {[]Tensor{filled("w", loader.F32, 0), filled("w", loader.F16, 0)}, ErrBadFile},
		"metadata":       {[]Tensor{filled("__metadata__", loader.F32, 0)}, ErrBadFile},
		"unknown type":   {[]Tensor{filled("w", "Q8_0", 0)}, loader.ErrUnsupported},
		"negative size":  {[]Tensor{{Name: "w", DType: loader.F32, Shape: []int{-1}}}, ErrBadFile},
		"overflow":       {[]Tensor{{Name: "w", DType: loader.F32, Shape: []int{math.MaxInt, 2}}}, ErrBadFile},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, []byte("before"), t.TempDir(), "model.safetensors")
			require.ErrorIs(t, WriteSafetensors(path, tt.tensors, nil), tt.kind)
			noLeftovers(t, filepath.Dir(path), "model.safetensors")
			assert.Equal(t, "before", string(readFile(t, path)))
		})
	}
	require.ErrorIs(t, WriteSafetensors(filepath.Join(t.TempDir(), "none", "x"), nil, nil), os.ErrNotExist)
}
