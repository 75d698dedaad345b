package convert

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/vkbert/vkbert/loader"
)

// ggufKind is a type of tensor.
type ggufKind struct {
	name  string
	dtype loader.DType // of its elements once read; "" for types that are refused
	block int64        // elements
	bytes int64        // a block
}

// ggufKinds are ggml's types by number. Those that are refused are here for
// their names.
var ggufKinds = map[uint32]*ggufKind{
	0:  {"F32", loader.F32, 1, 4},
	1:  {"F16", loader.F16, 1, 2},
	8:  {"Q8_0", loader.F32, q8Block, q8Bytes},
	30: {"BF16", loader.BF16, 1, 2},

	2: {name: "Q4_0"}, 3: {name: "Q4_1"}, 6: {name: "Q5_0"}, 7: {name: "Q5_1"}, 9: {name: "Q8_1"},
	10: {name: "Q2_K"}, 11: {name: "Q3_K"}, 12: {name: "Q4_K"}, 13: {name: "Q5_K"}, 14: {name: "Q6_K"}, 15: {name: "Q8_K"},
	16: {name: "IQ2_XXS"}, 17: {name: "IQ2_XS"}, 18: {name: "IQ3_XXS"}, 19: {name: "IQ1_S"}, 20: {name: "IQ4_NL"},
	21: {name: "IQ3_S"}, 22: {name: "IQ2_S"}, 23: {name: "IQ4_XS"}, 29: {name: "IQ1_M"},
	24: {name: "I8"}, 25: {name: "I16"}, 26: {name: "I32"}, 27: {name: "I64"}, 28: {name: "F64"},
	34: {name: "TQ1_0"}, 35: {name: "TQ2_0"}, 39: {name: "MXFP4"}, 40: {name: "NVFP4"},
}

func findGGUFKind(n uint32) (*ggufKind, error) {
	kind := ggufKinds[n]
	if kind == nil {
		kind = &ggufKind{name: fmt.Sprint(n)}
	}
	if kind.dtype == "" {
		return nil, fmt.Errorf("%w: GGUF type %s; supported: F32, F16, BF16, Q8_0; convert from one of these, or from the model that was quantised", loader.ErrUnsupported, kind.name)
	}
	return kind, nil
}

// A block of Q8_0 is a scale, a half, and 32 signed bytes; an element is their
// product.
const (
	q8Block = 32
	q8Bytes = 2 + q8Block
)

func dequantizeQ8(dst, src []byte) []byte {
	for ; len(src) >= q8Bytes; src = src[q8Bytes:] {
		scale := loader.HalfToFloat(binary.LittleEndian.Uint16(src))
		for _, q := range src[2:q8Bytes] {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(scale*float32(int8(q))))
		}
	}
	return dst
}

// read emits the rows of a tensor from row first on, in the type of its kind.
func (t ggufTensor) read(r io.ReaderAt, first, rows int64, emit func([]byte) error) error {
	row := t.dims[0] / t.kind.block * t.kind.bytes
	if t.kind.block == 1 {
		return readRun(r, t.offset+first*row, rows*row, emit)
	}
	const chunk = chunkBytes / 4 / q8Block * q8Bytes // whole blocks, which become chunkBytes at most
	buffer := make([]byte, 0, chunkBytes)
	for at, left := t.offset+first*row, rows*row; left > 0; {
		n := min(left, chunk)
		err := readRun(r, at, n, func(b []byte) error { return emit(dequantizeQ8(buffer, b)) })
		if err != nil {
			return err
		}
		at, left = at+n, left-n
	}
	return nil
}

// rows returns the number of rows.
func (t ggufTensor) rows() int64 {
	n := int64(1)
	for _, d := range t.dims[1:t.rank] {
		n *= d
	}
	return n
}
