package bert

import (
	"fmt"
	"math"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// rope is a rotary embedding (Su et al. 2021, arXiv:2104.09864): the frequency of each pair of columns, and what cosine and sine are multiplied with.
type rope struct {
	frequencies []float32
	factor      float32
	dynamic     *dynamicRope // nil: the same for texts of every length
}

// table holds the cosines and sines of every position that a sequence can have: [positions, 2·pairs]. The angles are f32, as in the reference: at position
// 8,000 the rounding of an angle is a thousandth. No stored tensor bounds the positions, so that a batch has to.
func (b *builder) ropeTable(r rope, positions uint32) uint32 {
	trained := int(positions)
	if r.dynamic != nil {
		positions, trained = r.dynamic.rows(r.dynamic.exact+1), r.dynamic.trained
	}
	if trained > b.longest { // then a dynamic base never changes
		positions, r.dynamic = uint32(b.longest), nil
	}
	t := cgo.Tensor{Rows: positions, Cols: uint32(2 * len(r.frequencies)), Layout: cgo.Table, DType: cgo.F32}
	return b.computed(t, "rotary embedding", nil, func([][]float32) []float32 {
		out := make([]float32, 0, t.Rows*t.Cols)
		if r.dynamic == nil {
			return r.append(out, int(positions))
		}
		out = r.append(out, r.dynamic.trained)
		for n := r.dynamic.trained + 1; n <= r.dynamic.exact; n++ {
			out = rope{frequencies: r.dynamic.frequencies(n), factor: r.factor}.append(out, n)
		}
		return out
	})
}

// append adds the rows of the first positions to a table.
func (r rope) append(out []float32, positions int) []float32 {
	pairs := len(r.frequencies)
	for p := range positions {
		first := len(out)
		out = append(out, make([]float32, 2*pairs)...)
		for j, f := range r.frequencies {
			sin, cos := math.Sincos(float64(float32(p) * f))
			out[first+j], out[first+pairs+j] = float32(cos)*r.factor, float32(sin)*r.factor
		}
	}
	return out
}

// dynamicRope has a base that grows with the length of a text, once that is over the length that the model was trained with ("dynamic NTK"). The table has rows for
// the trained length, and then for each greater length all of its own, as far as there is room.
type dynamicRope struct {
	base, factor          float64
	size                  uint32
	trained, limit, exact int // tokens: without a change of base, at most, and with rows
}

// dynamicFloats bounds the table: 64 MiB.
const dynamicFloats = 16 << 20

func newDynamicRope(base, factor float64, size uint32, trained, limit int) rope {
	d := &dynamicRope{base: base, factor: factor, size: size, trained: trained, limit: max(limit, trained), exact: trained}
	for d.exact < d.limit && uint64(d.rows(d.exact+2))*uint64(size) <= dynamicFloats {
		d.exact++
	}
	return rope{frequencies: frequencies(base, size), factor: 1, dynamic: d}
}

// rows is the number of rows before those of texts of n tokens.
func (d *dynamicRope) rows(n int) uint32 {
	if n <= d.trained {
		return 0
	}
	longer := n - 1 - d.trained // lengths trained + 1 … n − 1
	return uint32(d.trained + longer*d.trained + longer*(longer+1)/2)
}

// frequencies are those of a text of n tokens (transformers, _compute_dynamic_ntk_parameters).
func (d *dynamicRope) frequencies(n int) []float32 {
	grown := float32(d.factor)*float32(n)/float32(d.trained) - float32(d.factor-1)
	return frequencies(d.base*math.Pow(float64(grown), float64(d.size)/float64(d.size-2)), d.size)
}

// placed tells an encoder which row each token has.
func (r rope) placed(e encoder) encoder {
	if d := r.dynamic; d != nil {
		e.limit, e.exact = d.limit, d.exact
		e.positions = func(ids, positions []int32) {
			first := int32(d.rows(len(ids)))
			for i := range positions {
				positions[i] = first + int32(i)
			}
		}
	}
	return e
}

// ropeSource says where a configuration keeps its rope: the part of rope_parameters for a kind of layer ("" for the whole), and the older keys.
type ropeSource struct {
	layer     string  // of rope_parameters: full_attention, sliding_attention
	base      string  // key of the base in older files, for example rope_theta
	otherwise float64 // base, if none is there
	unscaled  bool    // rope_scaling, in older files, is not for these layers
}

// readRope reads rope_parameters (transformers 5) or the base and rope_scaling (4), for heads of this size in a model of so many positions.
func readRope(c *loader.Config, f *loader.Fields, size, positions uint32, s ropeSource) (rope, error) {
	f.Has("rope_scaling")
	f.Has(s.base)
	parameters, err := ropeParameters(c, f, s)
	if err != nil {
		return rope{}, err
	}
	base := s.otherwise
	if c.Has(s.base) {
		if base, err = c.Float(s.base, 1, 1e12); err != nil {
			return rope{}, err
		}
	}
	if parameters == nil {
		return rope{frequencies: frequencies(base, size), factor: 1}, nil
	}
	if base, err = parameters.FloatOr("rope_theta", base, 1, 1e12); err != nil {
		return rope{}, err
	}
	partial, err := parameters.FloatOr("partial_rotary_factor", 1, 0, 1)
	if err != nil {
		return rope{}, err
	}
	if partial != 1 {
		return rope{}, parameters.Unsupported("partial_rotary_factor", "got %g; supported: 1", partial)
	}
	kind, err := parameters.StringOr("rope_type", "")
	if err == nil && kind == "" {
		kind, err = parameters.StringOr("type", "default")
	}
	if err != nil {
		return rope{}, err
	}
	scale, ok := ropeTypes[kind]
	if !ok {
		return rope{}, parameters.Unsupported("rope_type", "got %q; supported: %s", kind, keysOf(ropeTypes))
	}
	p := ropeInput{Fields: parameters.Fields(), base: base, size: size, positions: positions}
	r := scale(&p)
	if r.dynamic != nil && s.layer != "" {
		return rope{}, parameters.Unsupported("rope_type", "dynamic, in a model with two rotary embeddings")
	}
	return r, p.Err()
}

// ropeParameters finds the object that holds them; nil if there is none.
func ropeParameters(c *loader.Config, f *loader.Fields, s ropeSource) (*loader.Config, error) {
	if f.Has("rope_parameters") {
		parameters, err := c.Object("rope_parameters")
		if err == nil && s.layer != "" && parameters.Has(s.layer) {
			return parameters.Object(s.layer)
		}
		return parameters, err
	}
	if c.Has("rope_scaling") && !s.unscaled {
		return c.Object("rope_scaling")
	}
	return nil, nil
}

type ropeInput struct {
	*loader.Fields
	base            float64
	size, positions uint32
}

// frequencies are base^(−2j/size), in f32 as in the reference.
func frequencies(base float64, size uint32) []float32 {
	out := make([]float32, size/2)
	for j := range out {
		exponent := float32(2*j) / float32(size)
		out[j] = 1 / float32(math.Pow(base, float64(exponent)))
	}
	return out
}

// ropeTypes are the scalings of transformers/modeling_rope_utils.py, and "ntk" of Alibaba-NLP/new-impl.
var ropeTypes = map[string]func(*ropeInput) rope{
	"default": func(p *ropeInput) rope { return rope{frequencies: frequencies(p.base, p.size), factor: 1} },
	"linear":  linearRope,
	"ntk":     ntkRope,
	"yarn":    yarnRope,
	"llama3":  llama3Rope,
	"dynamic": func(p *ropeInput) rope {
		factor := p.Float("factor", 1, 1e6)
		if p.size < 4 {
			p.Fail(fmt.Errorf("%w: a dynamic rotary embedding of heads of %d", loader.ErrUnsupported, p.size))
			return rope{}
		}
		return newDynamicRope(p.base, factor, p.size, int(p.positions), int(min(float64(p.positions)*factor, unlimited)))
	},
}

func linearRope(p *ropeInput) rope {
	r := rope{frequencies: frequencies(p.base, p.size), factor: 1}
	factor := float32(p.Float("factor", 1e-3, 1e6))
	for j := range r.frequencies {
		r.frequencies[j] /= factor
	}
	return r
}

func ntkRope(p *ropeInput) rope {
	factor := p.Float("factor", 1, 1e6)
	r := rope{frequencies: frequencies(p.base*factor, p.size), factor: 1}
	for j := range r.frequencies {
		r.frequencies[j] /= float32(math.Pow(factor, 2/float64(p.size)))
	}
	return r
}

// yarnRope is Peng et al. 2023 (arXiv:2309.00071).
func yarnRope(p *ropeInput) rope {
	factor := p.Float("factor", 1, 1e6)
	original := p.FloatOr("original_max_position_embeddings", float64(p.positions), 1, 1e9)
	fast, slow := p.FloatOr("beta_fast", 32, 1e-6, 1e6), p.FloatOr("beta_slow", 1, 1e-6, 1e6)
	whole := p.BoolOr("truncate", true)
	mscale := func(f, m float64) float64 {
		if f <= 1 {
			return 1
		}
		return 0.1*m*math.Log(f) + 1
	}
	attention := mscale(factor, 1)
	m, all := p.FloatOr("mscale", 0, 0, 1e3), p.FloatOr("mscale_all_dim", 0, 0, 1e3)
	if m != 0 && all != 0 {
		attention = mscale(factor, m) / mscale(factor, all)
	}
	attention = p.FloatOr("attention_factor", attention, 0, 1e3)

	size := float64(p.size)
	dimension := func(rotations float64) float64 {
		return size * math.Log(original/(rotations*2*math.Pi)) / (2 * math.Log(p.base))
	}
	low, high := dimension(fast), dimension(slow)
	if whole {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, size-1)
	if low == high {
		high += 0.001
	}
	r := rope{frequencies: frequencies(p.base, p.size), factor: float32(attention)}
	for j, e := range r.frequencies {
		ramp := float32(max(0, min(1, (float64(j)-low)/(high-low))))
		r.frequencies[j] = e*(1-ramp) + e/float32(factor)*ramp
	}
	return r
}

// llama3Rope is that of Llama 3.1: long wavelengths are stretched, short ones are not, those between in between.
func llama3Rope(p *ropeInput) rope {
	factor := float32(p.Float("factor", 1, 1e6))
	lowFactor, highFactor := p.Float("low_freq_factor", 1e-6, 1e6), p.Float("high_freq_factor", 1e-6, 1e6)
	original := p.Float("original_max_position_embeddings", 1, 1e9)
	r := rope{frequencies: frequencies(p.base, p.size), factor: 1}
	for j, e := range r.frequencies {
		wavelength := 2 * math.Pi / float64(e)
		switch {
		case wavelength < original/highFactor:
		case wavelength > original/lowFactor:
			r.frequencies[j] = e / factor
		default:
			smooth := float32((original/wavelength - lowFactor) / (highFactor - lowFactor))
			r.frequencies[j] = (1-smooth)*e/factor + smooth*e
		}
	}
	return r
}
