package bert

import (
	"fmt"
	"math"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Decoders and what was made of them: pre-norm with RMSNorm, rotary embedding, grouped key heads, a gated feed-forward part. Qwen2 (arXiv:2407.10671) and
// Qwen3 (arXiv:2505.09388) are causal, EuroBERT (arXiv:2503.05500) is not; Gemma 3 (arXiv:2503.19786) has norms on both sides and windows.
// Sources: transformers/models/{qwen2,qwen3,eurobert,gemma3}.
var (
	qwen2Architecture        = decoder("qwen2", "", buildQwen)
	qwen3Architecture        = decoder("qwen3", "", buildQwen)
	eurobertArchitecture     = decoder("eurobert", "", buildEuroBERT)
	eurobertCodeArchitecture = decoder("eurobert", "EuroBertModel", buildEuroBERT)
	gemma3Architecture       = decoder("gemma3_text", "", buildGemma)
)

func decoder(modelType, class string, build func(*builder, *loader.Config) (encoder, error)) architecture {
	return architecture{name: modelType, modelType: modelType, class: class, prefixes: []string{"", "model.", "0.auto_model."},
		probe: "embed_tokens.weight", layers: "layers.", build: build}
}

// decoderShape is a shape with grouped heads of a size of their own.
type decoderShape struct {
	shape
	heads
}

func readDecoder(c *loader.Config, f *loader.Fields) decoderShape {
	n := usualNames
	n.eps = "rms_norm_eps"
	s := readShape(f, n, 1e-6)
	kv := uint32(f.IntOr("num_key_value_heads", int(s.shapeHeads()), 1, 1<<10))
	size := uint32(f.IntOr("head_dim", int(s.hidden/max(s.heads, 1)), 1, 256))
	if f.Err() == nil && s.heads%kv != 0 {
		f.Fail(c.Errorf("num_key_value_heads", "%d does not divide num_attention_heads, %d", kv, s.heads))
	}
	return decoderShape{s, heads{s.heads, kv, size}}
}

func (s shape) shapeHeads() uint32 { return max(s.heads, 1) }

// preNormLayer is x + o·attention(norm(x)), then x + down·(act(gate·y) ⊙ up·y) of y = norm(x); sandwich norms, where there are, come before each sum.
type preNormLayer struct {
	at                   string
	qkvBias, bias        bool
	act                  cgo.Activation
	rotate               rotateOp
	attention            attentionOp
	before, middle       norm
	afterAttention, last norm // Gemma's
}

func (l preNormLayer) build(b *builder, s decoderShape, x value) value {
	wide := s.query * s.size
	qkv := b.linear(b.applyNorm(x, l.before), b.qkv(s, l.at, l.qkvBias))
	out := b.linears(s.hidden, wide, l.bias, l.at+"self_attn.o_proj")
	x = sumOf(b, x, b.attention(b.rotate(qkv, l.rotate), l.attention), out, l.afterAttention)
	h := b.gate(b.linear(b.applyNorm(x, l.middle), b.linears(2*s.inner, s.hidden, false, l.at+"mlp.gate_proj", l.at+"mlp.up_proj")), l.act)
	return sumOf(b, x, h, b.linears(s.hidden, s.inner, false, l.at+"mlp.down_proj"), l.last)
}

// sumOf is x + linear(y), or x + norm(linear(y)).
func sumOf(b *builder, x, y value, l linearOp, n norm) value {
	if n.kind == cgo.NoNorm {
		return b.linear(y, l.plus(x))
	}
	return b.normPlus(b.linear(y, l), x, n)
}

// qkv is the three projections, which differ in width, as one.
func (b *builder) qkv(s decoderShape, at string, bias bool) linearOp {
	parts := []part{{at + "self_attn.q_proj", s.query * s.size}, {at + "self_attn.k_proj", s.kv * s.size}, {at + "self_attn.v_proj", s.kv * s.size}}
	return b.linearParts(s.columns(), s.hidden, bias, parts)
}

func buildQwen(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readDecoder(c, f)
	act := choice(c, f, "hidden_act", "silu", activations)
	qkvBias, normed := true, false
	if c.ModelType() == "qwen3" {
		qkvBias, normed = f.BoolOr("attention_bias", false), true
	}
	causal := f.BoolOr("is_causal", true)
	sliding := f.BoolOr("use_sliding_window", false)
	window := f.IntOr("sliding_window", 0, 0, 1<<22)
	from := f.IntOr("max_window_layers", 28, 0, 1<<20)
	f.Ignore("layer_types", "rope_theta", "rope_scaling", "rope_parameters")
	if err := f.Err(); err != nil {
		return encoder{}, err
	}
	if err := checkKeys(c, f); err != nil {
		return encoder{}, err
	}
	r, err := readRope(c, f, s.size, s.positions, ropeSource{base: "rope_theta", otherwise: 10000})
	if err != nil {
		return encoder{}, err
	}
	full, err := layerTypes(c, s.layers, func(i uint32) bool { return !sliding || int(i) < from })
	if err != nil {
		return encoder{}, err
	}
	table := b.ropeTable(r, s.positions)
	x := b.scaledEmbed(b.table("embed_tokens.weight", s.vocab, s.hidden), 1)
	for i := range s.layers {
		at := fmt.Sprintf("layers.%d.", i)
		l := preNormLayer{at: at, qkvBias: qkvBias, bias: normed && qkvBias, act: act, rotate: rotateOp{heads: s.heads, table: table},
			attention: plainAttention(s.heads, invSqrt(s.size)), before: b.rmsNorm(at+"input_layernorm", s.hidden, s.eps, 0), middle: b.rmsNorm(at+"post_attention_layernorm", s.hidden, s.eps, 0)}
		l.attention.causal = causal
		if !full[i] && sliding && window > 0 {
			l.attention.window = uint32(window - 1)
		}
		if normed {
			l.rotate.query, l.rotate.key = b.rmsNorm(at+"self_attn.q_norm", s.size, s.eps, 0), b.rmsNorm(at+"self_attn.k_norm", s.size, s.eps, 0)
		}
		x = l.build(b, s, x)
	}
	return r.placed(s.encoder(b.applyNorm(x, b.rmsNorm("norm", s.hidden, s.eps, 0)), s.positions)), nil
}

func buildEuroBERT(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readDecoder(c, f)
	act := choice(c, f, "hidden_act", "silu", activations)
	off(c, f, "attention_bias", "mlp_bias")
	f.Ignore("rope_theta", "rope_scaling", "rope_parameters")
	if err := f.Err(); err != nil {
		return encoder{}, err
	}
	if err := checkKeys(c, f); err != nil {
		return encoder{}, err
	}
	r, err := readRope(c, f, s.size, s.positions, ropeSource{base: "rope_theta", otherwise: 250000})
	if err != nil {
		return encoder{}, err
	}
	rotate := rotateOp{heads: s.heads, table: b.ropeTable(r, s.positions)}
	x := b.scaledEmbed(b.table("embed_tokens.weight", s.vocab, s.hidden), 1)
	for i := range s.layers {
		at := fmt.Sprintf("layers.%d.", i)
		l := preNormLayer{at: at, act: act, rotate: rotate, attention: plainAttention(s.heads, invSqrt(s.size)),
			before: b.rmsNorm(at+"input_layernorm", s.hidden, s.eps, 0), middle: b.rmsNorm(at+"post_attention_layernorm", s.hidden, s.eps, 0)}
		x = l.build(b, s, x)
	}
	return r.placed(s.encoder(b.applyNorm(x, b.rmsNorm("norm", s.hidden, s.eps, 0)), s.positions)), nil
}

func buildGemma(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readDecoder(c, f)
	act := choice(c, f, "hidden_activation", "gelu_pytorch_tanh", activations)
	scalar := f.FloatOr("query_pre_attn_scalar", 256, 1e-3, 1e6)
	sliding := f.IntOr("sliding_window", 4096, 1, 1<<22)
	both := f.BoolOr("use_bidirectional_attention", false)
	pattern := uint32(f.IntOr("sliding_window_pattern", f.IntOr("_sliding_window_pattern", 6, 1, 1<<10), 1, 1<<10))
	off(c, f, "attention_bias")
	if f.Has("attn_logit_softcapping") {
		f.Fail(c.Unsupported("attn_logit_softcapping", "supported: null"))
	}
	f.Ignore("layer_types", "rope_theta", "rope_local_base_freq", "rope_scaling", "rope_parameters")
	if err := f.Err(); err != nil {
		return encoder{}, err
	}
	if err := checkKeys(c, f); err != nil {
		return encoder{}, err
	}
	full, err := layerTypes(c, s.layers, func(i uint32) bool { return (i+1)%pattern == 0 })
	if err != nil {
		return encoder{}, err
	}
	global, err := readRope(c, f, s.size, s.positions, ropeSource{layer: "full_attention", base: "rope_theta", otherwise: 1e6})
	if err != nil {
		return encoder{}, err
	}
	local, err := readRope(c, f, s.size, s.positions, ropeSource{layer: "sliding_attention", base: "rope_local_base_freq", otherwise: 10000, unscaled: true})
	if err != nil {
		return encoder{}, err
	}
	tables := map[bool]uint32{true: b.ropeTable(global, s.positions), false: b.ropeTable(local, s.positions)}
	norm := func(name string) norm { return b.rmsNorm(name, s.hidden, s.eps, 1) }
	x := b.scaledEmbed(b.table("embed_tokens.weight", s.vocab, s.hidden), float32(math.Sqrt(float64(s.hidden))))
	for i := range s.layers {
		at := fmt.Sprintf("layers.%d.", i)
		l := preNormLayer{at: at, act: act, attention: plainAttention(s.heads, float32(1/math.Sqrt(scalar))),
			rotate: rotateOp{heads: s.heads, table: tables[full[i]], query: b.rmsNorm(at+"self_attn.q_norm", s.size, s.eps, 1), key: b.rmsNorm(at+"self_attn.k_norm", s.size, s.eps, 1)},
			before: norm(at + "input_layernorm"), middle: norm(at + "pre_feedforward_layernorm"),
			afterAttention: norm(at + "post_attention_layernorm"), last: norm(at + "post_feedforward_layernorm")}
		l.attention.causal = !both
		switch {
		case full[i]:
		case both:
			l.attention.window = uint32(sliding / 2)
		default:
			l.attention.window = uint32(sliding - 1)
		}
		x = l.build(b, s, x)
	}
	return s.encoder(b.applyNorm(x, norm("norm")), s.positions), nil
}
