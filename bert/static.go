package bert

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// StaticEmbedding is no transformer: the mean of the rows of a text's tokens (model2vec; static-retrieval-mrl).
const staticName = "StaticEmbedding"

// buildStatic makes the program of the table. A row of zeros behind it stands for a text without tokens, whose vector is zero.
func buildStatic(b *builder, m loader.StaticEmbedding) encoder {
	table := &staticTable{module: m, tokens: m.Rows}
	for _, name := range []string{m.Mapping, m.TokenWeights} {
		if t, ok := m.Weights.Lookup(name); name != "" && ok {
			table.tokens = t.Shape[0]
		}
	}
	shape := cgo.Tensor{Rows: uint32(table.tokens + 1), Cols: uint32(m.Dim), Layout: cgo.Table, DType: b.stored.tables}
	b.tensors = append(b.tensors, tensorSpec{Tensor: shape, sources: []source{{name: m.Table, shape: []int{table.tokens + 1, m.Dim}, from: table}}})
	rows := b.scaledEmbed(uint32(len(b.tensors)-1), 1)
	return encoder{output: b.pool(rows, []cgo.Pool{cgo.PoolMean}), limit: unlimited, vocab: table.tokens, blank: int32(table.tokens)}
}

// staticTable is the row of each token: of the stored table, or in a file of model2vec table[mapping[token]]·weights[token].
type staticTable struct {
	module loader.StaticEmbedding
	tokens int
}

func (s *staticTable) check(string, []int) error {
	t, err := s.module.Weights.Want(s.module.Table, s.module.Rows, s.module.Dim)
	if err == nil && s.tokens > s.module.Rows && s.module.Mapping == "" {
		err = fmt.Errorf("%w: tensor %q has %d rows, and tensor %q is of %d tokens", loader.ErrTensor, t.Name, s.module.Rows, s.module.TokenWeights, s.tokens)
	}
	return err
}

func (s *staticTable) stream(_ string, _ []int, buffer []byte, put func(int, cgo.DType, []byte) error) error {
	w, dim := s.module.Weights, s.module.Dim
	table, _ := w.Lookup(s.module.Table)
	stored, err := readNumbers(w, table.Name, buffer)
	if err != nil {
		return err
	}
	mapping, err := readNumbers(w, s.module.Mapping, buffer)
	if err != nil {
		return err
	}
	weights, err := readNumbers(w, s.module.TokenWeights, buffer)
	if err != nil {
		return err
	}
	row := make([]float32, dim)
	for token := range s.tokens {
		at := token
		if mapping != nil {
			if x := mapping[token]; !(x >= 0 && x < float64(s.module.Rows)) { // NaN is neither
				return fmt.Errorf("%w: tensor %q: element %d: want the number of a row of tensor %q, 0 to %d, got %g", loader.ErrTensor, s.module.Mapping, token, table.Name, s.module.Rows-1, x)
			}
			at = int(mapping[token])
		}
		factor := 1.0
		if weights != nil {
			factor = weights[token]
		}
		for i, x := range stored[at*dim : (at+1)*dim] {
			row[i] = float32(x * factor)
		}
		if err := put(token*dim, cgo.F32, fromFloat32(row)); err != nil {
			return err
		}
	}
	return nil // the row of no tokens is zero already
}

// readNumbers reads a tensor of any number type; nil without a name.
func readNumbers(w *loader.Weights, name string, buffer []byte) ([]float64, error) {
	if name == "" {
		return nil, nil
	}
	t, _ := w.Lookup(name)
	kind, ok := numbers[t.DType]
	if !ok {
		return nil, fmt.Errorf("%w: tensor %q is of %s; supported: F32, F16, BF16, F64, I64, I32", loader.ErrUnsupported, name, t.DType)
	}
	out := make([]float64, 0, elements(t.Shape))
	err := w.StreamBytes(t, buffer[:len(buffer)/8*8], func(chunk []byte) error {
		for ; len(chunk) >= kind.bytes; chunk = chunk[kind.bytes:] {
			out = append(out, kind.value(chunk))
		}
		return nil
	})
	return out, err
}

var numbers = map[loader.DType]struct {
	bytes int
	value func([]byte) float64
}{
	loader.F32: {4, func(b []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))) }},
	loader.F16: {2, func(b []byte) float64 { return float64(float16(binary.LittleEndian.Uint16(b))) }},
	loader.BF16: {2, func(b []byte) float64 {
		return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
	}},
	"F64": {8, func(b []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }},
	"I64": {8, func(b []byte) float64 { return float64(int64(binary.LittleEndian.Uint64(b))) }},
	"I32": {4, func(b []byte) float64 { return float64(int32(binary.LittleEndian.Uint32(b))) }},
}
