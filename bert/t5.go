package bert

import (
	"fmt"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// T5's encoder (Raffel et al. 2020, arXiv:1910.10683; sentence-t5, gtr): pre-norm with RMSNorm, no biases, no scale, a bucketed bias that all layers share
// (transformers/models/t5/modeling_t5.py).
var t5Architecture = architecture{
	name:      "t5",
	modelType: "t5",
	prefixes:  []string{"", "0.auto_model."},
	probe:     "encoder.final_layer_norm.weight",
	layers:    "encoder.block.",
	build:     buildT5,
}

// unlimited is the limit of architectures without a position table: far more tokens than anybody's memory takes.
const unlimited = 1 << 20

func buildT5(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	hidden := uint32(f.Int("d_model", 1, 1<<16))
	h := heads{query: uint32(f.Int("num_heads", 1, 1<<10)), size: uint32(f.Int("d_kv", 1, 256))}
	h.kv = h.query
	inner := uint32(f.Int("d_ff", 1, 1<<18))
	layers := f.Int("num_layers", 1, 1<<10)
	vocab := uint32(f.Int("vocab_size", 1, 1<<24))
	buckets := f.IntOr("relative_attention_num_buckets", 32, 4, 1<<10)
	reach := f.IntOr("relative_attention_max_distance", 128, 2, 1<<16)
	eps := float32(f.FloatOr("layer_norm_epsilon", 1e-6, 1e-30, 1))
	form := f.StringOr("feed_forward_proj", "relu")
	f.Ignore("n_positions", "is_gated_act", "dense_act_fn") // the two say feed_forward_proj again, and are checked below
	if err := f.Err(); err != nil {
		return encoder{}, err
	}
	if err := checkKeys(c, f); err != nil {
		return encoder{}, err
	}
	if exact := exactDistances(buckets); reach <= exact { // transformers finds no bucket for the greater distances there
		return encoder{}, c.Errorf("relative_attention_max_distance", "want more than relative_attention_num_buckets / 4 = %d, got %d", exact, reach)
	}
	name, gated := strings.CutPrefix(form, "gated-")
	act, ok := activations[name]
	if !ok {
		return encoder{}, c.Unsupported("feed_forward_proj", "got %q; supported: %s, each with gated- too", form, keysOf(activations))
	}
	if c.Has("dense_act_fn") || c.Has("is_gated_act") {
		fn, err := c.StringOr("dense_act_fn", name)
		if err != nil {
			return encoder{}, err
		}
		both, err := c.BoolOr("is_gated_act", gated)
		if err != nil {
			return encoder{}, err
		}
		if act, ok = activations[fn]; !ok || both != gated {
			return encoder{}, c.Unsupported("dense_act_fn", "%q, gated %t, with feed_forward_proj %q", fn, both, form)
		}
	} else if gated && name == "gelu" { // for the files of T5 1.1, which mean this form (T5Config)
		act = cgo.GELUTanh
	}

	wide := h.query * h.size
	attention := plainAttention(h, 1)
	attention.distances = b.bucketBias("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", h.query, buckets, buckets, reach)
	word := "shared.weight"
	if stored, ok := b.from.(*files); ok && !stored.has(word) {
		word = "encoder.embed_tokens.weight"
	}
	x := b.scaledEmbed(b.table(word, vocab, hidden), 1)
	for i := range layers {
		at := fmt.Sprintf("encoder.block.%d.layer.", i)
		self, dense := at+"0.SelfAttention.", at+"1.DenseReluDense."
		y := b.applyNorm(x, b.rmsNorm(at+"0.layer_norm", hidden, eps, 0))
		qkv := b.linear(y, b.linears(3*wide, hidden, false, self+"q", self+"k", self+"v"))
		x = b.linear(b.attention(qkv, attention), b.linears(hidden, wide, false, self+"o").plus(x))
		y = b.applyNorm(x, b.rmsNorm(at+"1.layer_norm", hidden, eps, 0))
		if gated {
			y = b.gate(b.linear(y, b.linears(2*inner, hidden, false, dense+"wi_0", dense+"wi_1")), act)
		} else {
			y = b.linear(y, b.linears(inner, hidden, false, dense+"wi").act(act))
		}
		x = b.linear(y, b.linears(hidden, inner, false, dense+"wo").plus(x))
	}
	x = b.applyNorm(x, b.rmsNorm("encoder.final_layer_norm", hidden, eps, 0))
	return encoder{output: x, limit: unlimited, vocab: int(vocab), layers: layers, heads: int(h.query)}, nil
}
