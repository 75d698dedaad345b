package convert

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/loader"
)

// Each target holds a parser to these promises: it never panics, an error is one
// of those that are named, it allocates no more than the header allows, and what
// it accepts can be read to the end.

func requireOurs(t *testing.T, err error) {
	for _, kind := range []error{ErrBadFile, loader.ErrUnsupported, loader.ErrTruncated} {
		if errors.Is(err, kind) {
			return
		}
	}
	require.NoError(t, err)
}

// requireReadable reads tensors, and checks that each has the bytes that its
// shape says.
func requireReadable(t *testing.T, tensors []Tensor) {
	for _, tensor := range tensors {
		want, err := tensor.Bytes()
		require.NoError(t, err)
		if want > 1<<20 {
			continue
		}
		got := int64(0)
		require.NoError(t, tensor.Data(func(chunk []byte) error {
			got += int64(len(chunk))
			return nil
		}))
		require.Equal(t, want, got, tensor.Name)
	}
}

func FuzzPickle(f *testing.F) {
	f.Add(buildPickle(f, nil))
	f.Add(buildPickle(f, map[string]string{"function": "cos\nsystem\n"}))
	f.Add(buildPickle(f, map[string]string{"proto": "\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00", "dict": "}\x94(", "set": "u", "offset": "\x8a\x01\x00"}))
	f.Fuzz(func(t *testing.T, code []byte) {
		m := &meter{header: int64(len(code))}
		views, err := pickledTensors(code, m)
		require.LessOrEqual(t, m.used, int64(2*(perByte*len(code)+headroom)))
		if err != nil {
			requireOurs(t, err)
			return
		}
		for _, v := range views {
			first, last, count := v.offset, v.offset, int64(1)
			for i, n := range v.shape {
				last += int64(n-1) * v.strides[i]
				count *= int64(n)
			}
			require.Equal(t, count, v.count)
			require.True(t, count == 0 || first >= 0 && last < v.stored, "%+v", v)
		}
	})
}

func FuzzZip(f *testing.F) {
	f.Add(torchFile(f, nil))
	module, err := os.ReadFile("testdata/torch/module.bin") // with PyTorch's zip64 records and alignment
	require.NoError(f, err)
	f.Add(module)
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &meter{}
		tensors, err := readTorch(bytes.NewReader(data), int64(len(data)), m)
		require.LessOrEqual(t, m.header, int64(2*len(data)))
		if err != nil {
			requireOurs(t, err)
			return
		}
		requireReadable(t, tensors)
	})
}

func FuzzGGUF(f *testing.F) {
	f.Add(tinyGGUF().bytes())
	unigram := tinyGGUF().set("tokenizer.ggml.model", "t5").set("tokenizer.ggml.scores", []float32{0, 0, 0, 0, -1, -2}).
		set("tokenizer.ggml.tokens", []string{"<s>", "<pad>", "</s>", "<unk>", "▁a", "b"}).set("tokenizer.ggml.precompiled_charsmap", append(ggufListOf(1, 2), 0, 0))
	f.Add(unigram.bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		var g *ggufFile
		var err error
		if grown := allocated(func() { g, err = readGGUF(r, int64(len(data))) }); len(data) < 1<<20 {
			require.LessOrEqual(t, grown, int64(perByte*len(data)+2*headroom))
		}
		if err != nil {
			requireOurs(t, err)
			return
		}
		m := &ggufModel{ggufFile: g, r: r, options: Options{Pooling: "mean"}, used: make(map[string]bool)}
		s, err := m.source()
		if err != nil {
			requireOurs(t, err)
			return
		}
		for _, folder := range s.folders {
			requireReadable(t, folder.tensors)
		}
		for _, file := range s.files {
			_, err := loader.ParseConfig(file.name, append(append([]byte(`{"x":`), file.data...), '}'))
			require.NoError(t, err)
		}
	})
}
