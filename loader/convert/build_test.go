package convert

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allocated returns how many bytes fn allocates, those that are free again too.
func allocated(fn func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// requireBounded checks that fn allocates at most what a header of that length
// allows.
func requireBounded(t testing.TB, header int, fn func()) {
	require.LessOrEqual(t, allocated(fn), int64(perByte*header+headroom))
}

// longFile is a file that goes on with zeros for a very long time.
type longFile []byte

const longSize = 1 << 42

func (f longFile) ReadAt(b []byte, off int64) (int, error) {
	clear(b)
	if off < int64(len(f)) {
		copy(b, f[off:])
	}
	return len(b), nil
}

// Pickles, as torch.save writes them.

func pickleText(s string) string {
	return "X" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s
}

// pickleParts are the parts of the pickle of one tensor of four floats; a test
// replaces some.
var pickleParts = []struct{ name, code string }{
	{"proto", "\x80\x02"}, {"dict", "}"}, {"key", pickleText("w")},
	{"function", "ctorch._utils\n_rebuild_tensor_v2\n"}, {"args", "("},
	{"storage", "("}, {"storage name", pickleText("storage")}, {"class", "ctorch\nFloatStorage\n"}, {"file", pickleText("0")}, {"device", pickleText("cpu")}, {"elements", "K\x04"}, {"load", "tQ"},
	{"offset", "K\x00"}, {"shape", "K\x02K\x02\x86"}, {"strides", "K\x02K\x01\x86"}, {"gradient", "\x89"}, {"hooks", "ccollections\nOrderedDict\n)R"},
	{"rebuild", "tR"}, {"set", "s"}, {"stop", "."},
}

func buildPickle(t testing.TB, change map[string]string) []byte {
	var out strings.Builder
	for _, p := range pickleParts {
		if code, ok := change[p.name]; ok {
			p.code = code
			delete(change, p.name)
		}
		out.WriteString(p.code)
	}
	require.Empty(t, change)
	return []byte(out.String())
}

type zipFileOf struct {
	name string
	data []byte
}

// buildZip is an archive of stored files.
func buildZip(t testing.TB, files ...zipFileOf) []byte {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, f := range files {
		file, err := w.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Store})
		require.NoError(t, err)
		_, err = file.Write(f.data)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// torchFile is a file of one tensor, with some entries changed; nil removes one.
func torchFile(t testing.TB, change map[string][]byte) []byte {
	var files []zipFileOf
	for _, f := range []zipFileOf{
		{"archive/data.pkl", buildPickle(t, nil)}, {"archive/byteorder", []byte("little")}, {"archive/data/0", make([]byte, 16)}, {"archive/version", []byte("3\n")},
	} {
		if data, ok := change[f.name]; ok {
			f.data = data
			delete(change, f.name)
		}
		if f.data != nil {
			files = append(files, f)
		}
	}
	for name, data := range change {
		files = append(files, zipFileOf{name, data})
	}
	return buildZip(t, files...)
}

// GGUF files.

// ggufPair is a metadata value as it is in the file, behind its key.
type ggufPair struct {
	key   string
	value []byte
}

type ggufInfo struct {
	name   string
	dims   []uint64
	kind   uint32
	offset uint64 // + 1; 0 is the right one
	data   []byte
}

// ggufBuild is a GGUF file that is put together; the zero version is 3.
type ggufBuild struct {
	magic       string
	version     uint32
	pairs       []ggufPair
	tensors     []ggufInfo
	pairCount   uint64 // + 1; 0 is the right one
	tensorCount uint64
	cut         int // bytes left out at the end
	headerOnly  bool
}

func ggufString(s string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(s))), s...)
}

func ggufValue(v any) []byte {
	tag := func(kind uint32) []byte { return binary.LittleEndian.AppendUint32(nil, kind) }
	list := func(kind uint32, n int) []byte {
		return binary.LittleEndian.AppendUint64(append(tag(9), tag(kind)...), uint64(n))
	}
	switch v := v.(type) {
	case int:
		return binary.LittleEndian.AppendUint32(tag(4), uint32(v))
	case float32:
		return binary.LittleEndian.AppendUint32(tag(6), math.Float32bits(v))
	case bool:
		return append(tag(7), map[bool]byte{true: 1}[v])
	case string:
		return append(tag(8), ggufString(v)...)
	case []string:
		out := list(8, len(v))
		for _, s := range v {
			out = append(out, ggufString(s)...)
		}
		return out
	case []int32:
		out := list(5, len(v))
		for _, n := range v {
			out = binary.LittleEndian.AppendUint32(out, uint32(n))
		}
		return out
	case []float32:
		out := list(6, len(v))
		for _, n := range v {
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(n))
		}
		return out
	case []byte: // as it is
		return v
	}
	panic(fmt.Sprintf("%T", v))
}

// set sets or, with nil, removes a pair.
func (b *ggufBuild) set(key string, value any) *ggufBuild {
	for i := range b.pairs {
		if b.pairs[i].key != key {
			continue
		}
		if value == nil {
			b.pairs = append(b.pairs[:i:i], b.pairs[i+1:]...)
		} else {
			b.pairs[i].value = ggufValue(value)
		}
		return b
	}
	if value != nil {
		b.pairs = append(b.pairs, ggufPair{key, ggufValue(value)})
	}
	return b
}

func (b *ggufBuild) tensor(name string, dims ...uint64) *ggufBuild {
	n := uint64(1)
	for _, d := range dims {
		n *= d
	}
	data := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(float32(len(b.tensors))+float32(i)/8))
	}
	b.tensors = append(b.tensors, ggufInfo{name: name, dims: dims, data: data})
	return b
}

func (b *ggufBuild) bytes() []byte {
	le := binary.LittleEndian
	out := []byte("GGUF")
	if b.magic != "" {
		out = []byte(b.magic)
	}
	if b.version == 0 {
		b.version = 3
	}
	out = le.AppendUint32(out, b.version)
	pairs, tensors := uint64(len(b.pairs)), uint64(len(b.tensors))
	if b.pairCount > 0 {
		pairs = b.pairCount - 1
	}
	if b.tensorCount > 0 {
		tensors = b.tensorCount - 1
	}
	out = le.AppendUint64(le.AppendUint64(out, tensors), pairs)
	for _, p := range b.pairs {
		out = append(append(out, ggufString(p.key)...), p.value...)
	}
	at := uint64(0)
	for _, t := range b.tensors {
		out = le.AppendUint32(append(out, ggufString(t.name)...), uint32(len(t.dims)))
		for _, d := range t.dims {
			out = le.AppendUint64(out, d)
		}
		offset := at
		if t.offset > 0 {
			offset = t.offset - 1
		}
		out = le.AppendUint64(le.AppendUint32(out, t.kind), offset)
		at = (at + uint64(len(t.data)) + 31) &^ 31
	}
	if b.headerOnly {
		return out
	}
	for _, t := range b.tensors {
		for len(out)%32 != 0 {
			out = append(out, 0)
		}
		out = append(out, t.data...)
	}
	return out[:len(out)-b.cut]
}

// tinyGGUF is a BERT of one layer.
func tinyGGUF() *ggufBuild {
	b := &ggufBuild{}
	b.set("general.architecture", "bert").set("general.type", "model")
	for _, p := range []struct {
		key   string
		value any
	}{
		{"block_count", 1}, {"context_length", 8}, {"embedding_length", 4}, {"feed_forward_length", 4}, {"attention.head_count", 2},
		{"attention.layer_norm_epsilon", float32(1e-12)}, {"attention.causal", false}, {"pooling_type", 1},
	} {
		b.set("bert."+p.key, p.value)
	}
	b.set("tokenizer.ggml.model", "bert").set("tokenizer.ggml.tokens", []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁a", "b"})
	b.set("tokenizer.ggml.token_type", []int32{3, 3, 3, 3, 1, 1})
	b.tensor("token_embd.weight", 4, 6).tensor("position_embd.weight", 4, 8).tensor("token_types.weight", 4, 2)
	b.tensor("token_embd_norm.weight", 4).tensor("token_embd_norm.bias", 4)
	for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"} {
		b.tensor("blk.0."+name+".weight", 4, 4).tensor("blk.0."+name+".bias", 4)
	}
	for _, name := range []string{"attn_output_norm", "layer_output_norm"} {
		b.tensor("blk.0."+name+".weight", 4).tensor("blk.0."+name+".bias", 4)
	}
	return b
}
