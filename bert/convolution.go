package bert

import "github.com/vkbert/vkbert/cgo"

// A convolution over the tokens of a sequence, made of the ops there are: rows are moved by one token with an attention that looks at one neighbour alone, and
// where there is none they are multiplied with zero. Moving copies exactly.

// shifter moves rows within their sequences.
type shifter struct {
	*builder
	heads heads         // that divide a row for attention
	there map[int]value // 1 where a row has that neighbour, else 0: [T, 1]
}

// linearOf is x·Wᵀ + bias for a matrix [out, in] that no file holds.
func (b *builder) linearOf(x value, out uint32, bias float32, at func(row, col int) float32) linearOp {
	l := linearOp{weight: b.constant(cgo.Tensor{Rows: out, Cols: b.width(x), Layout: cgo.Linear, DType: b.stored.modules}, "copying", at), bias: none}
	if bias != 0 {
		l.bias = b.constant(cgo.Tensor{Rows: 1, Cols: out, Layout: cgo.Vector, DType: cgo.F32}, "bias", func(int, int) float32 { return bias })
	}
	return l
}

// newShifter works on rows of h.query·h.size values.
func newShifter(b *builder, h heads, words, positions uint32) *shifter {
	s := &shifter{builder: b, heads: h, there: map[int]value{}}
	noWords := b.constant(cgo.Tensor{Rows: words, Cols: 1, Layout: cgo.Table, DType: b.stored.tables}, "no words", func(int, int) float32 { return 0 })
	table := b.constant(cgo.Tensor{Rows: positions, Cols: 1, Layout: cgo.Table, DType: b.stored.tables}, "signs", func(row, _ int) float32 { return float32(1 - row%2*2) })
	signs := b.embed(noWords, table, none, noNorm) // 1 and −1 in turn: [T, 1]
	for _, by := range []int{-1, 1} {
		// The sign of a neighbour is the other one; a row without that neighbour sees itself.
		product := s.times(s.neighbour(s.values(signs, heads{1, 1, 1}), heads{1, 1, 1}, by), signs)
		s.there[by] = b.linear(product, b.linearOf(product, 1, 0.5, func(int, int) float32 { return -0.5 }))
	}
	return s
}

// values is q|k|v with zeros for q and k, and x for v.
func (s *shifter) values(x value, h heads) value {
	wide := int(h.query * h.size)
	return s.linear(x, s.linearOf(x, h.columns(), 0, func(row, col int) float32 { return one(row-2*wide == col) }))
}

// neighbour is the row that lies by (1 or −1) further, or the row itself where that is not in the sequence.
func (s *shifter) neighbour(qkv value, h heads, by int) value {
	a := plainAttention(h, 1)
	a.window = 1
	a.distances = s.constant(cgo.Tensor{Rows: h.query, Cols: 3, Layout: cgo.Table, DType: cgo.F32}, "neighbour", func(_, col int) float32 {
		return float32([]int{0, -1000, -2000}[1-by*(col-1)]) // e^−1000 is zero
	})
	return s.attention(qkv, a)
}

// times is x·y for y [T, 1] or of x's width.
func (s *shifter) times(x, y value) value {
	width := int(s.width(x))
	single := s.width(y) == 1
	left := s.linear(x, s.linearOf(x, uint32(2*width), 0, func(row, col int) float32 { return one(row == col) }))
	both := s.linear(y, s.linearOf(y, uint32(2*width), 0, func(row, col int) float32 { return one(row >= width && (single || row-width == col)) }).plus(left))
	return s.gate(both, cgo.NoActivation)
}

// shift is x with each row in the place of the one that lies by further, and zeros where there is none.
func (s *shifter) shift(x value, by int) value {
	step := 1
	if by < 0 {
		step = -1
	}
	for ; by != 0; by -= step {
		x = s.times(s.neighbour(s.values(x, s.heads), s.heads, step), s.there[step])
	}
	return x
}

// convolve is act(conv1d(x) + bias) with zero padding: name.weight [width, width, taps] and name.bias [width].
func (s *shifter) convolve(x value, name string, taps int, act cgo.Activation) value {
	width := s.width(x)
	whole := need{name + ".weight", []int{int(width), int(width), taps}}
	var sum *value
	for tap := range taps {
		t := cgo.Tensor{Rows: width, Cols: width, Layout: cgo.Linear, DType: s.stored.linears}
		l := linearOp{bias: none, residual: sum, residualAt: cgo.ResidualBeforeActivation}
		l.weight = s.computed(t, whole.name, []need{whole}, func(needs [][]float32) []float32 {
			out := make([]float32, width*width)
			for i := range out {
				out[i] = needs[0][i*taps+tap]
			}
			return out
		})
		if tap == taps-1 {
			l.bias, l.activation = s.vector(width, name+".bias"), act
		}
		if sum == nil {
			l.residualAt = cgo.ResidualBeforeNorm
		}
		next := s.linear(s.shift(x, tap-(taps-1)/2), l)
		sum = &next
	}
	return *sum
}
