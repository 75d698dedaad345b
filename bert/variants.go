package bert

import (
	"fmt"
	"slices"

	"github.com/vkbert/vkbert/cgo"
)

// A program is one way through the tensors of a model. Beside the base there may be variants, rewritten from its ops: one a task where a model has adapters, and
// one for queries whose filled-up tokens nobody attends to.
type program struct {
	values []cgo.Value
	ops    []cgo.Op
	output value
}

// base is the name of the program without a task.
const base = ""

// program is what the builder holds now.
func (p *planned) program() program {
	return program{values: slices.Clone(p.values), ops: slices.Clone(p.ops), output: p.output}
}

// rewrite makes a variant: change adds the ops that take an op's place, and the variant has the base's output.
func (p *planned) rewrite(name string, change func(b *builder, op cgo.Op)) {
	b := *p.builder
	b.values, b.ops = slices.Clone(p.values), nil
	for _, op := range p.ops {
		change(&b, op)
	}
	p.tensors = b.tensors
	p.variants[name] = program{values: b.values, ops: b.ops, output: p.output}
}

// keep adds an op as it is.
func (b *builder) keep(op cgo.Op) { b.ops = append(b.ops, op) }

// An adapter changes a matrix W for a task to W + scale·B·A (Hu et al. 2021, arXiv:2106.09685). It is done as two more multiplications, of rank rows, so that all tasks
// share W. Of an embedding's adapter A is a table [rows, rank].
type adapter struct{ down, up, types map[string]uint32 }

// addTasks makes a variant for each task of the adapters.
func (p *planned) addTasks() {
	for _, task := range p.tasks {
		p.rewrite(task, func(b *builder, op cgo.Op) {
			a, ok := p.adapters[op.Weight]
			if !ok || op.Kind != cgo.OpLinear && op.Kind != cgo.OpEmbed {
				b.keep(op)
				return
			}
			var low value
			if op.Kind == cgo.OpEmbed {
				low = b.scaledEmbed(a.down[task], 1)
				if types, ok := a.types[task]; ok {
					op.TypeTable = types
				}
			} else {
				low = b.linear(value(op.Input), linearOp{weight: a.down[task], bias: none})
			}
			// plain is W·x + bias, with the residual if that comes before the norm; the activation and the norm come behind the sum with the adapter's part.
			plain := op
			plain.Output = uint32(b.value(cgo.PerToken, b.width(value(op.Output))))
			plain.Norm, plain.NormWeight, plain.NormBias, plain.NormEps, plain.Activation = cgo.NoNorm, none, none, 0, cgo.NoActivation
			b.keep(plain)
			sum := cgo.NewOp(cgo.OpLinear)
			sum.Input, sum.Weight, sum.Output, sum.Residual, sum.ResidualAt = uint32(low), a.up[task], op.Output, plain.Output, cgo.ResidualBeforeActivation
			sum.Norm, sum.NormWeight, sum.NormBias, sum.NormEps, sum.Activation = op.Norm, op.NormWeight, op.NormBias, op.NormEps, op.Activation
			b.keep(sum)
		})
	}
}

// maskedQueries names the variant for queries that are filled up with tokens that attend to the text, but that nothing attends to (ColBERT's query expansion,
// Khattab & Zaharia 2020, arXiv:2004.12832).
const maskedQueries = "masked"

// unseen is added to a score before the scale, so that its softmax is zero: far below any score, and within f16.
const unseen = -30000

// addMaskedQueries makes that variant: each head gets a column more, which is 1 in every query and unseen in the keys of such tokens. They are
// marked by a type of their own, which has the rows of type 0. The widening and narrowing multiplications copy, exactly.
func (p *planned) addMaskedQueries() error {
	embed := p.ops[0]
	word := p.tensors[embed.Weight]
	p.maskType = 1
	if embed.TypeTable != none {
		table := p.tensors[embed.TypeTable]
		p.maskType, p.typed = int32(table.Rows), true
		rows := int(table.Rows * table.Cols)
		src := table.sources[0]
		t := table.Tensor
		t.Rows++
		p.from = src.from
		embed.TypeTable = p.computed(t, src.name, []need{{src.name, src.shape}}, func(needs [][]float32) []float32 {
			return append(needs[0][:rows:rows], needs[0][:t.Cols]...)
		})
	}
	marks := cgo.Tensor{Rows: uint32(p.maskType) + 1, Cols: 1, Layout: cgo.Table, DType: cgo.F32}
	markTable := p.constant(marks, "marks", func(row, _ int) float32 { return one(row == int(p.maskType)) })
	noWords := p.constant(cgo.Tensor{Rows: word.Rows, Cols: 1, Layout: cgo.Table, DType: p.stored.tables}, "no words", func(int, int) float32 { return 0 })
	type widened struct {
		in, bias, out uint32
		mask          value
	}
	shapes := map[heads]widened{}
	var err error
	var mark value
	p.rewrite(maskedQueries, func(b *builder, op cgo.Op) {
		switch {
		case op.Kind == cgo.OpEmbed:
			op.TypeTable = embed.TypeTable
			b.keep(op)
			mark = b.embed(noWords, none, markTable, noNorm)
			return
		case op.Kind != cgo.OpAttention:
			b.keep(op)
			return
		case op.PositionTable != none || op.TypeTable != none:
			err = fmt.Errorf("query expansion without attention to it, in a model with disentangled attention")
		}
		h := heads{op.Heads, op.KVHeads, op.HeadSize}
		w, ok := shapes[h]
		if !ok {
			d := int(h.size)
			all, narrow := int(h.query+2*h.kv), int(h.columns())
			wide := all * (d + 1)
			w = widened{
				in: b.constant(cgo.Tensor{Rows: uint32(wide), Cols: uint32(narrow), Layout: cgo.Linear, DType: b.stored.modules}, "widening", func(row, col int) float32 {
					return one(row%(d+1) < d && row/(d+1)*d+row%(d+1) == col)
				}),
				bias: b.constant(cgo.Tensor{Rows: 1, Cols: uint32(wide), Layout: cgo.Vector, DType: cgo.F32}, "ones", func(_, col int) float32 {
					return one(col%(d+1) == d && col/(d+1) < int(h.query))
				}),
				out: b.constant(cgo.Tensor{Rows: h.query * h.size, Cols: h.query * (h.size + 1), Layout: cgo.Linear, DType: b.stored.modules}, "narrowing", func(row, col int) float32 {
					return one(col%(d+1) < d && col/(d+1)*d+col%(d+1) == row)
				}),
			}
			keys := b.constant(cgo.Tensor{Rows: uint32(wide), Cols: 1, Layout: cgo.Linear, DType: b.stored.modules}, "unseen", func(row, _ int) float32 {
				head := row / (d + 1)
				return unseen * one(row%(d+1) == d && head >= int(h.query) && head < int(h.query+h.kv))
			})
			w.mask = b.linear(mark, linearOp{weight: keys, bias: none})
			shapes[h] = w
		}
		output := op.Output
		op.Input = uint32(b.linear(value(op.Input), linearOp{weight: w.in, bias: w.bias}.plus(w.mask)))
		op.HeadSize++
		op.Output = uint32(b.value(cgo.PerToken, op.Heads*op.HeadSize))
		b.keep(op)
		narrow := cgo.NewOp(cgo.OpLinear)
		narrow.Input, narrow.Weight, narrow.Output = op.Output, w.out, output
		b.keep(narrow)
	})
	return err
}

func one(yes bool) float32 {
	if yes {
		return 1
	}
	return 0
}

// constant is a tensor that no file holds.
func (b *builder) constant(t cgo.Tensor, what string, at func(row, col int) float32) uint32 {
	return b.computed(t, what, nil, func([][]float32) []float32 {
		out := make([]float32, 0, t.Rows*t.Cols)
		for row := range int(t.Rows) {
			for col := range int(t.Cols) {
				out = append(out, at(row, col))
			}
		}
		return out
	})
}
