package bert

import "github.com/vkbert/vkbert/cgo"

// A source is one stored tensor that fills an equal share of a program's tensor: its rows, or a vector's elements.
type source struct {
	name  string // as the architecture calls it, without the prefix that a file may put before it
	shape []int  // as it must be stored
	from  tensors
}

// A tensorSpec is a tensor of the program and what fills it, in order.
type tensorSpec struct {
	cgo.Tensor
	sources []source
}

// A value is the number of an intermediate result.
type value uint32

// none stands for an absent tensor.
const none = cgo.None

// builder collects the values, tensors and ops of a program. Its methods add one op each and return its output, [T, width] or [B, width].
type builder struct {
	values  []cgo.Value
	ops     []cgo.Op
	tensors []tensorSpec
	from    tensors   // where the tensors that are asked for are stored
	dtype   cgo.DType // how tables and linear weights are stored on the device
}

func (b *builder) width(v value) uint32 { return b.values[v].Width }

func (b *builder) value(scope cgo.Scope, width uint32) value {
	b.values = append(b.values, cgo.Value{Scope: scope, Width: width})
	return value(len(b.values) - 1)
}

// add appends an op that writes a new value of this shape.
func (b *builder) add(op cgo.Op, scope cgo.Scope, width uint32) value {
	out := b.value(scope, width)
	op.Output = uint32(out)
	b.ops = append(b.ops, op)
	return out
}

func (b *builder) tensor(t cgo.Tensor, names ...string) uint32 {
	spec := tensorSpec{Tensor: t}
	shape := []int{int(t.Rows) / len(names), int(t.Cols)}
	if t.Layout == cgo.Vector {
		shape = []int{int(t.Cols) / len(names)}
	}
	for _, name := range names {
		spec.sources = append(spec.sources, source{name: name, shape: shape, from: b.from})
	}
	b.tensors = append(b.tensors, spec)
	return uint32(len(b.tensors) - 1)
}

// table is a stored [rows, cols] that is looked up by row.
func (b *builder) table(name string, rows, cols uint32) uint32 {
	return b.tensor(cgo.Tensor{Rows: rows, Cols: cols, Layout: cgo.Table, DType: b.dtype}, name)
}

// matrix is a linear layer's [out, in]: the named tensors, each [out / len(names), in], one below the other.
func (b *builder) matrix(out, in uint32, names ...string) uint32 {
	return b.tensor(cgo.Tensor{Rows: out, Cols: in, Layout: cgo.Linear, DType: b.dtype}, names...)
}

// vector is the named tensors, each [width / len(names)], one after the other.
func (b *builder) vector(width uint32, names ...string) uint32 {
	return b.tensor(cgo.Tensor{Rows: 1, Cols: width, Layout: cgo.Vector, DType: cgo.F32}, names...)
}

// norm is a LayerNorm; the zero value is none.
type norm struct {
	kind         cgo.Norm
	weight, bias uint32
	eps          float32
}

// layerNorm reads name.weight and name.bias, [width] each.
func (b *builder) layerNorm(name string, width uint32, eps float32) norm {
	return norm{kind: cgo.LayerNorm, weight: b.vector(width, name+".weight"), bias: b.vector(width, name+".bias"), eps: eps}
}

func (n norm) set(op *cgo.Op) {
	if n.kind == cgo.NoNorm {
		return
	}
	op.Norm, op.NormWeight, op.NormBias, op.NormEps = n.kind, n.weight, n.bias, n.eps
}

// embed sums the rows of the tables (position and types may be none), then applies the norm.
func (b *builder) embed(word, position, types uint32, n norm) value {
	op := cgo.NewOp(cgo.OpEmbed)
	op.Weight, op.PositionTable, op.TypeTable, op.Scale = word, position, types, 1
	n.set(&op)
	return b.add(op, cgo.PerToken, b.tensors[word].Cols)
}

// linearOp is activation(x·Wᵀ + bias) + residual, then norm.
type linearOp struct {
	weight, bias uint32
	activation   cgo.Activation
	residual     *value
	norm         norm
}

func (b *builder) linear(x value, l linearOp) value {
	op := cgo.NewOp(cgo.OpLinear)
	op.Input, op.Weight, op.Bias, op.Activation = uint32(x), l.weight, l.bias, l.activation
	if l.residual != nil {
		op.Residual = uint32(*l.residual)
	}
	l.norm.set(&op)
	return b.add(op, b.values[x].Scope, b.tensors[l.weight].Rows)
}

// attention takes qkv [T, 3H] and returns [T, H].
func (b *builder) attention(qkv value, heads uint32, scale float32) value {
	op := cgo.NewOp(cgo.OpAttention)
	op.Input, op.Heads, op.Scale = uint32(qkv), heads, scale
	return b.add(op, cgo.PerToken, b.width(qkv)/3)
}

func (b *builder) normalize(x value) value {
	op := cgo.NewOp(cgo.OpNormalize)
	op.Input = uint32(x)
	return b.add(op, b.values[x].Scope, b.width(x))
}

func (b *builder) applyNorm(x value, n norm) value {
	op := cgo.NewOp(cgo.OpNorm)
	op.Input = uint32(x)
	n.set(&op)
	return b.add(op, b.values[x].Scope, b.width(x))
}

// pool applies the modes, one after the other along the columns: [B, len(modes)·H].
func (b *builder) pool(x value, modes []cgo.Pool) value {
	out := b.value(cgo.PerSequence, b.width(x)*uint32(len(modes)))
	for i, mode := range modes {
		op := cgo.NewOp(cgo.OpPool)
		op.Input, op.Output, op.Pool, op.Column = uint32(x), uint32(out), mode, uint32(i)*b.width(x)
		b.ops = append(b.ops, op)
	}
	return out
}

// desc is the finished program with one output.
func (b *builder) desc(output value, maxTokens, maxSequences int) cgo.ProgramDesc {
	return cgo.ProgramDesc{Values: b.values, Ops: b.ops, Outputs: []uint32{uint32(output)}, MaxTokens: maxTokens, MaxSequences: maxSequences}
}
