package bert

import "github.com/vkbert/vkbert/cgo"

// A source is one stored tensor that fills some rows of a program's tensor, or some elements of a vector.
type source struct {
	name  string  // as the architecture calls it, without the prefix that a file may put before it
	shape []int   // as it must be stored
	add   float32 // to every element (Gemma's norms hold w of 1 + w)
	turn  int     // the first so many elements go behind the others
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
	from    tensors // where the tensors that are asked for are stored
	stored  storage // how tables and linear weights are stored on the device
	longest int     // tokens of a sequence at most, whatever the model says: those of a batch

	adapters map[uint32]adapter // by the matrix that they change
}

// asChosen stands for the dtype of tables and linear weights on the device, until choose says what it is.
const asChosen cgo.DType = 1<<32 - 1

// choose ends the waiting of an "auto" for the device, once: when a device is opened again, others read what was chosen.
func (b *builder) choose(device cgo.DeviceInfo) {
	if b.stored.name != "auto" {
		return
	}
	b.stored = b.stored.on(device)
	for i := range b.tensors {
		if b.tensors[i].DType == asChosen {
			b.tensors[i].DType = b.stored.tables
		}
	}
}

func (b *builder) adapt(weight uint32, a adapter) {
	if b.adapters == nil {
		b.adapters = map[uint32]adapter{}
	}
	b.adapters[weight] = a
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

// A part is a stored tensor and the rows (of a vector: elements) that it fills.
type part struct {
	name string
	rows uint32
}

// equal parts of a tensor's rows
func equal(rows uint32, names ...string) []part {
	parts := make([]part, len(names))
	for i, name := range names {
		parts[i] = part{name, rows / uint32(len(names))}
	}
	return parts
}

func (b *builder) tensor(t cgo.Tensor, parts ...part) uint32 {
	spec := tensorSpec{Tensor: t}
	for _, p := range parts {
		shape := []int{int(p.rows), int(t.Cols)}
		if t.Layout == cgo.Vector {
			shape = []int{int(p.rows)}
		}
		spec.sources = append(spec.sources, source{name: p.name, shape: shape, from: b.from})
	}
	b.tensors = append(b.tensors, spec)
	return uint32(len(b.tensors) - 1)
}

// table is a stored [rows, cols] that is looked up by row.
func (b *builder) table(name string, rows, cols uint32) uint32 {
	return b.tensor(cgo.Tensor{Rows: rows, Cols: cols, Layout: cgo.Table, DType: b.stored.tables}, part{name, rows})
}

// matrix is a linear layer's [out, in]: the named tensors, each [out / len(names), in], one below the other.
func (b *builder) matrix(out, in uint32, names ...string) uint32 {
	return b.tensor(cgo.Tensor{Rows: out, Cols: in, Layout: cgo.Linear, DType: b.stored.linears}, equal(out, names...)...)
}

// vector is the named tensors, each [width / len(names)], one after the other.
func (b *builder) vector(width uint32, names ...string) uint32 {
	return b.tensor(cgo.Tensor{Rows: 1, Cols: width, Layout: cgo.Vector, DType: cgo.F32}, equal(width, names...)...)
}

// linears is a matrix whose parts have names of their own, each with .weight and, with bias, .bias: [out / len(names), in] and [out / len(names)].
func (b *builder) linears(out, in uint32, bias bool, names ...string) linearOp {
	return b.linearParts(out, in, bias, equal(out, names...))
}

// linearParts is linears for parts of different heights.
func (b *builder) linearParts(out, in uint32, bias bool, parts []part) linearOp {
	named := func(ending string) []part {
		all := make([]part, len(parts))
		for i, p := range parts {
			all[i] = part{p.name + ending, p.rows}
		}
		return all
	}
	l := linearOp{bias: none}
	l.weight = b.tensor(cgo.Tensor{Rows: out, Cols: in, Layout: cgo.Linear, DType: b.stored.linears}, named(".weight")...)
	if bias {
		l.bias = b.tensor(cgo.Tensor{Rows: 1, Cols: out, Layout: cgo.Vector, DType: cgo.F32}, named(".bias")...)
	}
	return l
}

// swapped is a matrix without bias whose halves are stored the other way round than GATE takes them: what is activated comes second.
func (b *builder) swapped(out, in uint32, name string) linearOp {
	l := b.linears(out, in, false, name)
	b.tensors[l.weight].sources[0].turn = int(out / 2 * in)
	return l
}

// A need is a stored tensor that a computed one is made of.
type need struct {
	name  string
	shape []int
}

// computed is a tensor that is made when it is loaded, of what the files hold (needs, in order) or of the configuration alone.
func (b *builder) computed(t cgo.Tensor, what string, needs []need, make func(needs [][]float32) []float32) uint32 {
	from := &computed{from: b.from, needs: needs, make: make}
	b.tensors = append(b.tensors, tensorSpec{Tensor: t, sources: []source{{name: what, shape: []int{int(t.Rows), int(t.Cols)}, from: from}}})
	return uint32(len(b.tensors) - 1)
}

// norm is a LayerNorm or RMSNorm; the zero value is none.
type norm struct {
	kind         cgo.Norm
	weight, bias uint32
	eps          float32
}

// layerNorm reads name.weight and name.bias, [width] each.
func (b *builder) layerNorm(name string, width uint32, eps float32) norm {
	return norm{kind: cgo.LayerNorm, weight: b.vector(width, name+".weight"), bias: b.vector(width, name+".bias"), eps: eps}
}

// layerNormNoBias reads name.weight alone.
func (b *builder) layerNormNoBias(name string, width uint32, eps float32) norm {
	return norm{kind: cgo.LayerNorm, weight: b.vector(width, name+".weight"), bias: none, eps: eps}
}

// rmsNorm reads name.weight (Zhang & Sennrich 2019, arXiv:1910.07467); plus is added to it.
func (b *builder) rmsNorm(name string, width uint32, eps, plus float32) norm {
	n := norm{kind: cgo.RMSNorm, weight: b.vector(width, name+".weight"), bias: none, eps: eps}
	b.tensors[n.weight].sources[0].add = plus
	return n
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

// scaledEmbed multiplies the word rows.
func (b *builder) scaledEmbed(word uint32, scale float32) value {
	x := b.embed(word, none, none, norm{})
	b.ops[len(b.ops)-1].Scale = scale
	return x
}

// linearOp is activation(x·Wᵀ + bias) + residual, then norm.
type linearOp struct {
	weight, bias uint32
	activation   cgo.Activation
	residual     *value
	residualAt   cgo.Residual
	norm         norm
}

func (l linearOp) act(a cgo.Activation) linearOp { l.activation = a; return l }
func (l linearOp) plus(residual value) linearOp  { l.residual = &residual; return l }
func (l linearOp) normed(n norm) linearOp        { l.norm = n; return l }

func (b *builder) linear(x value, l linearOp) value {
	op := cgo.NewOp(cgo.OpLinear)
	op.Input, op.Weight, op.Bias, op.Activation = uint32(x), l.weight, l.bias, l.activation
	if l.residual != nil {
		op.Residual, op.ResidualAt = uint32(*l.residual), l.residualAt
	}
	l.norm.set(&op)
	return b.add(op, b.values[x].Scope, b.tensors[l.weight].Rows)
}

// heads is how q|k|v divides: query heads, key and value heads (0: as many), columns of each (0: what the width gives).
type heads struct{ query, kv, size uint32 }

func (h heads) columns() uint32 { return (h.query + 2*h.kv) * h.size }

// attentionOp is softmax(scale·q·kᵀ + bias)·v; vkbert.h explains the options. Start from [plainAttention], because the zero value names tensor 0.
type attentionOp struct {
	heads
	scale             float32
	distances, slopes uint32 // distance bias, ALiBi
	positionKeys      uint32 // disentangled scores
	positionQueries   uint32
	window            uint32
	causal            bool
}

func plainAttention(h heads, scale float32) attentionOp {
	return attentionOp{heads: h, scale: scale, distances: none, slopes: none, positionKeys: none, positionQueries: none}
}

// attention takes q|k|v and returns [T, heads·size].
func (b *builder) attention(qkv value, a attentionOp) value {
	op := cgo.NewOp(cgo.OpAttention)
	op.Input, op.Heads, op.KVHeads, op.HeadSize, op.Scale = uint32(qkv), a.query, a.kv, a.size, a.scale
	op.Weight, op.Bias, op.PositionTable, op.TypeTable, op.Window = a.distances, a.slopes, a.positionKeys, a.positionQueries, a.window
	if a.causal {
		op.Flags = cgo.Causal
	}
	return b.add(op, cgo.PerToken, a.query*a.size)
}

// rotateOp is a norm of q and k, then their rotary embedding: both may be none.
type rotateOp struct {
	heads
	table      uint32 // of ropeTable, or none
	query, key norm   // of one head, or of all of them together
}

// rotate takes q|k|v and returns the same.
func (b *builder) rotate(qkv value, r rotateOp) value {
	op := cgo.NewOp(cgo.OpRotate)
	op.Input, op.Heads, op.KVHeads, op.HeadSize, op.PositionTable = uint32(qkv), r.heads.query, r.kv, r.size, r.table
	if r.query.kind != cgo.NoNorm {
		r.query.set(&op)
		op.Weight, op.Bias = r.key.weight, r.key.bias
	}
	return b.add(op, cgo.PerToken, b.width(qkv))
}

// gate is activation(left half) · right half.
func (b *builder) gate(x value, activation cgo.Activation) value {
	op := cgo.NewOp(cgo.OpGate)
	op.Input, op.Activation = uint32(x), activation
	return b.add(op, b.values[x].Scope, b.width(x)/2)
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

// normPlus is norm(x) + residual.
func (b *builder) normPlus(x, residual value, n norm) value {
	out := b.applyNorm(x, n)
	op := &b.ops[len(b.ops)-1]
	op.Residual, op.ResidualAt = uint32(residual), cgo.ResidualAfterNorm
	return out
}

// addNorm is norm(x + residual).
func (b *builder) addNorm(x, residual value, n norm) value {
	out := b.applyNorm(x, n)
	b.ops[len(b.ops)-1].Residual = uint32(residual)
	return out
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
func (p program) desc(activations cgo.DType, maxTokens, maxSequences int) cgo.ProgramDesc {
	return cgo.ProgramDesc{Values: p.values, Ops: p.ops, Outputs: []uint32{uint32(p.output)}, MaxTokens: maxTokens, MaxSequences: maxSequences,
		Activations: activations}
}
