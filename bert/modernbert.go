package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// ModernBERT (Warner et al. 2024, arXiv:2412.13663): pre-norm, rotary embedding with two bases, layers that see all alternating with layers that
// see a window, GeGLU (transformers/models/modernbert/modeling_modernbert.py).
var modernbertArchitecture = architecture{
	name:      "modernbert",
	modelType: "modernbert",
	prefixes:  []string{"", "model.", "0.auto_model."},
	probe:     "embeddings.tok_embeddings.weight",
	layers:    "layers.",
	build:     buildModernBERT,
}

func buildModernBERT(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	n := usualNames
	n.eps = "norm_eps layer_norm_eps"
	s := readShape(f, n, 1e-5)
	act := choice(c, f, "hidden_activation", "gelu", activations)
	normBias, attentionBias, mlpBias := f.BoolOr("norm_bias", false), f.BoolOr("attention_bias", false), f.BoolOr("mlp_bias", false)
	window := uint32(f.IntOr("local_attention", 128, 0, 1<<22) / 2)
	every := f.IntOr("global_attn_every_n_layers", 3, 1, 1<<10)
	f.Ignore("position_embedding_type", "layer_norm_eps", "repad_logits_with_grad", "global_rope_theta", "local_rope_theta", "rope_scaling", "rope_parameters", "layer_types")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	full, err := layerTypes(c, s.layers, func(i uint32) bool { return i%uint32(every) == 0 })
	if err != nil {
		return encoder{}, err
	}
	size := s.hidden / s.heads
	global, err := readRope(c, f, size, s.positions, ropeSource{layer: "full_attention", base: "global_rope_theta", otherwise: 160000})
	if err != nil {
		return encoder{}, err
	}
	local, err := readRope(c, f, size, s.positions, ropeSource{layer: "sliding_attention", base: "local_rope_theta", otherwise: 10000, unscaled: true})
	if err != nil {
		return encoder{}, err
	}
	tables := map[bool]uint32{true: b.ropeTable(global, s.positions), false: b.ropeTable(local, s.positions)}
	norm := func(name string) norm {
		if normBias {
			return b.layerNorm(name, s.hidden, s.eps)
		}
		return b.layerNormNoBias(name, s.hidden, s.eps)
	}

	x := b.embed(b.table("embeddings.tok_embeddings.weight", s.vocab, s.hidden), none, none, norm("embeddings.norm"))
	for i := range s.layers {
		at := fmt.Sprintf("layers.%d.", i)
		y := x
		if i > 0 { // the embeddings are normalised already
			y = b.applyNorm(x, norm(at+"attn_norm"))
		}
		attention := plainAttention(s.allHeads(), invSqrt(size))
		if !full[i] {
			attention.window = window
		}
		qkv := b.rotate(b.linear(y, b.linears(3*s.hidden, s.hidden, attentionBias, at+"attn.Wqkv")), rotateOp{heads: s.allHeads(), table: tables[full[i]]})
		x = b.linear(b.attention(qkv, attention), b.linears(s.hidden, s.hidden, attentionBias, at+"attn.Wo").plus(x))
		h := b.gate(b.linear(b.applyNorm(x, norm(at+"mlp_norm")), b.linears(2*s.inner, s.hidden, mlpBias, at+"mlp.Wi")), act)
		x = b.linear(h, b.linears(s.hidden, s.inner, mlpBias, at+"mlp.Wo").plus(x))
	}
	return s.encoder(b.applyNorm(x, norm("final_norm")), s.positions), nil
}

// layerTypes says which layers see all tokens, by layer_types or, where there is none, by a rule.
func layerTypes(c *loader.Config, layers uint32, rule func(i uint32) bool) ([]bool, error) {
	full := make([]bool, layers)
	if !c.Has("layer_types") {
		for i := range full {
			full[i] = rule(uint32(i))
		}
		return full, nil
	}
	types, err := c.Strings("layer_types")
	if err != nil {
		return nil, err
	}
	if len(types) != int(layers) {
		return nil, c.Errorf("layer_types", "want one of each of %d layers, got %d", layers, len(types))
	}
	for i, kind := range types {
		switch kind {
		case "full_attention":
			full[i] = true
		case "sliding_attention":
		default:
			return nil, c.Unsupported("layer_types", "got %q; supported: full_attention, sliding_attention", kind)
		}
	}
	return full, nil
}
