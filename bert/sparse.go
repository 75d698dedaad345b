package bert

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Sparse is a vector over the vocabulary of which only a few values are not zero, in the order of their indices.
type Sparse struct {
	Indices []int32 // token ids
	Values  []float32
}

// sparsePooling is what is left to do on the host with the rows of a SPLADE program.
type sparsePooling struct {
	twice bool // another log(1 + x)
	sum   bool // the rows are the logits of each token
}

// splade appends SpladePooling (Formal et al. 2021, arXiv:2107.05720 and arXiv:2109.10086): log(1 + relu(logit)) and the greatest of a text's tokens, which is one op.
// Where a model asks for the sum of the tokens, their logits are handed out and summed on the host.
func (p *planned) splade(x value, m *loader.Model, stored *files, pooling loader.SpladePooling) (value, error) {
	x, decoder, err := p.maskedWords(x, m, stored)
	if err != nil {
		return 0, err
	}
	p.sparse = &sparsePooling{twice: pooling.Twice, sum: pooling.Pool == loader.SpladeSum}
	if p.sparse.sum {
		return p.linear(x, decoder.act(cgo.ReLU)), nil
	}
	op := cgo.NewOp(cgo.OpLinearMax)
	op.Input, op.Weight, op.Bias = uint32(x), decoder.weight, decoder.bias
	return p.add(op, cgo.PerSequence, p.tensors[decoder.weight].Rows), nil
}

// sparseFloats bounds what the dense rows of the texts under way take: 64 MiB.
const sparseFloats = 16 << 20

// EmbedSparse returns a sparse vector for each sequence, for a model that ends in SpladePooling. At most keep values are left in each, the greatest; 0 is all.
func (e *Encoder) EmbedSparse(ctx context.Context, seqs []Sequence, keep int) ([]Sparse, error) {
	if e.arch.sparse == nil {
		return nil, fmt.Errorf("%w: the model has no masked-language head", loader.ErrUnsupported)
	}
	out := make([]Sparse, 0, len(seqs))
	for len(out) < len(seqs) { // in parts, for a vocabulary is long
		n := 0
		for floats := 0; len(out)+n < len(seqs) && (n == 0 || floats < sparseFloats); n++ {
			floats += e.info.Dimensions
			if e.arch.sparse.sum {
				floats += e.info.Dimensions * len(seqs[len(out)+n].IDs)
			}
		}
		dense, err := e.embed(ctx, base, seqs[len(out):len(out)+n], len(out))
		if err != nil {
			return nil, err
		}
		for _, rows := range dense {
			out = append(out, e.arch.sparse.collect(rows, e.info.Dimensions).Keep(keep))
		}
	}
	return out, nil
}

// collect makes a sparse vector of a sequence's rows.
func (s *sparsePooling) collect(rows []float32, width int) Sparse {
	if s.sum {
		sums := make([]float64, width)
		for i, x := range rows {
			if x != 0 {
				sums[i%width] += s.again(math.Log1p(float64(x)))
			}
		}
		rows = make([]float32, width)
		for i, x := range sums {
			rows[i] = float32(x)
		}
		return sparseOf(rows)
	}
	v := sparseOf(rows)
	for i, x := range v.Values {
		v.Values[i] = float32(s.again(float64(x)))
	}
	return v
}

func (s *sparsePooling) again(x float64) float64 {
	if s.twice {
		return math.Log1p(x)
	}
	return x
}

func sparseOf(row []float32) Sparse {
	var v Sparse
	for i, x := range row {
		if x != 0 {
			v.Indices, v.Values = append(v.Indices, int32(i)), append(v.Values, x)
		}
	}
	return v
}

// Keep returns the n greatest values of a vector; 0 is all of them.
func (s Sparse) Keep(n int) Sparse {
	if n <= 0 || len(s.Values) <= n {
		return s
	}
	order := make([]int, len(s.Values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(s.Values[b], s.Values[a]) })
	order = order[:n]
	slices.Sort(order)
	kept := Sparse{Indices: make([]int32, n), Values: make([]float32, n)}
	for i, at := range order {
		kept.Indices[i], kept.Values[i] = s.Indices[at], s.Values[at]
	}
	return kept
}

// WordWeights are the weights of a SparseStaticEmbedding: a text's vector has, for each token that it holds, that token's weight.
type WordWeights struct{ weights []float32 }

// OpenWordWeights reads them.
func OpenWordWeights(ctx context.Context, module loader.SparseStaticEmbedding) (*WordWeights, error) {
	stored := &files{weights: module.Weights, used: map[string]bool{}}
	if err := stored.check("weight", []int{module.Size}); err != nil {
		return nil, err
	}
	w := &WordWeights{}
	err := stored.stream("weight", nil, make([]byte, chunkBytes), func(_ int, dtype cgo.DType, chunk []byte) error {
		w.weights = append(w.weights, toFloat32(dtype, chunk)...)
		return ctx.Err()
	})
	if err == nil && !finite(w.weights) {
		err = fmt.Errorf("%w: tensor \"weight\"", ErrNotFinite)
	}
	return w, err
}

// Size is the length of a vector.
func (w *WordWeights) Size() int { return len(w.weights) }

// Embed returns the vector of a text with these tokens. At most keep values are left in it; 0 is all.
func (w *WordWeights) Embed(ids []int32, keep int) (Sparse, error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	var v Sparse
	for _, id := range slices.Compact(ids) {
		if id < 0 || int(id) >= len(w.weights) {
			return Sparse{}, fmt.Errorf("%w: token id %d, want 0 to %d", ErrInput, id, len(w.weights)-1)
		}
		if x := w.weights[id]; x != 0 {
			v.Indices, v.Values = append(v.Indices, id), append(v.Values, x)
		}
	}
	return v.Keep(keep), nil
}
