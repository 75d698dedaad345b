package convert

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

// What llama.cpp's converter changes about tensors, undone.
// Source: https://github.com/ggml-org/llama.cpp/tree/master/conversion

// asMatrix gives a table of one row its first dimension back, which the converter
// squeezes out.
func asMatrix(_ *ggufModel, t ggufTensor, out Tensor) (Tensor, error) {
	if t.rank == 1 {
		out.Shape = append([]int{1}, out.Shape...)
	}
	return out, nil
}

// padPositions gives a table of positions the rows in front back that no token
// uses: RoBERTa's positions start at padding_idx + 1, and the converter cuts off
// what lies below.
func padPositions(m *ggufModel, t ggufTensor, out Tensor) (Tensor, error) {
	rows := m.positionOffset()
	if rows == 0 || len(out.Shape) != 2 {
		return out, nil
	}
	out.Shape[0] += rows
	data, zeros := out.Data, make([]byte, out.Shape[1]*out.DType.Size())
	out.Data = func(emit func([]byte) error) error {
		for range rows {
			if err := emit(zeros); err != nil {
				return err
			}
		}
		return data(emit)
	}
	return out, nil
}

// plusOne takes off the 1 that is added to the weights of Gemma's norms.
func plusOne(_ *ggufModel, _ ggufTensor, out Tensor) (Tensor, error) {
	out = out.as(loader.F32)
	data := out.Data
	out.Data = func(emit func([]byte) error) error {
		var buffer []byte
		return data(func(chunk []byte) error {
			buffer = buffer[:0]
			for ; len(chunk) > 0; chunk = chunk[4:] {
				x := math.Float32frombits(binary.LittleEndian.Uint32(chunk))
				buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(x-1))
			}
			return emit(buffer)
		})
	}
	return out, nil
}

// interleaved puts the rows of a query or key projection back: the converter
// interleaves the two halves of each head, which are rotated together.
func interleaved(heads string) func(*ggufModel, ggufTensor, Tensor) (Tensor, error) {
	return func(m *ggufModel, t ggufTensor, out Tensor) (Tensor, error) {
		n := int64(m.intOr(heads, m.int("attention.head_count", 1, 1<<16), 1, 1<<16))
		if t.rank == 1 { // a bias: its elements are what the rows of the weight are
			if t.kind.block != 1 {
				return out, fmt.Errorf("%w: a bias of type %s", loader.ErrUnsupported, t.kind.name)
			}
			t.rank, t.dims[1], t.dims[0] = 2, t.dims[0], 1
		}
		rows := t.rows()
		if rows%(2*n) != 0 {
			return out, ggufErrorf("%d rows of %d heads", rows, n)
		}
		size := rows / n
		out.Data = func(emit func([]byte) error) error {
			for row := range rows {
				head, i := row/size, row%size
				half, j := i/(size/2), i%(size/2)
				if err := t.read(m.r, head*size+2*j+half, 1, emit); err != nil {
					return err
				}
			}
			return nil
		}
		return out, nil
	}
}

// fused puts the two halves of a gated projection together again, which older
// converters split. first and second are their names; newer files hold the whole
// as ffn_up.
func (m *ggufModel) fused(t ggufTensor, out Tensor, first, second string) (Tensor, error) {
	sibling := func(stem string) string { return strings.Replace(t.name, "ffn_up", stem, 1) }
	if _, split := m.lookup(sibling("ffn_gate")); !split {
		return out, nil
	}
	parts := make([]Tensor, 2)
	for i, stem := range []string{first, second} {
		part, ok := m.lookup(sibling(stem))
		if !ok || part.rank != t.rank || part.dims[0] != t.dims[0] && t.rank == 2 || part.rank > 2 {
			return out, ggufErrorf("%s and %s do not fit each other", first, second)
		}
		parts[i] = m.tensor(part)
	}
	if parts[0].DType != parts[1].DType {
		parts[0], parts[1] = parts[0].as(loader.F32), parts[1].as(loader.F32)
	}
	out.DType = parts[0].DType
	out.Shape[0] = parts[0].Shape[0] + parts[1].Shape[0]
	out.Data = func(emit func([]byte) error) error {
		if err := parts[0].Data(emit); err != nil {
			return err
		}
		return parts[1].Data(emit)
	}
	return out, nil
}
