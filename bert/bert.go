package bert

import (
	"fmt"
	"math"

	"github.com/vkbert/vkbert/loader"
)

// BERT (Devlin et al. 2018, arXiv:1810.04805), as transformers/models/bert/modeling_bert.py computes it: post-norm layers, learned absolute
// positions, type embeddings. Query, key and value are one multiplication here.
var bertArchitecture = architecture{
	modelType: "bert",
	prefixes:  []string{"", "bert.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "encoder.layer.",
	build:     buildBERT,
}

func buildBERT(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	hidden := uint32(f.Int("hidden_size", 1, 1<<16))
	layers := f.Int("num_hidden_layers", 1, 1<<10)
	heads := uint32(f.Int("num_attention_heads", 1, 1<<10))
	inner := uint32(f.Int("intermediate_size", 1, 1<<18))
	vocab := uint32(f.Int("vocab_size", 1, 1<<24))
	positions := uint32(f.Int("max_position_embeddings", 1, 1<<20))
	types := uint32(f.IntOr("type_vocab_size", 2, 1, 1<<10))
	eps := float32(f.FloatOr("layer_norm_eps", 1e-12, math.SmallestNonzeroFloat32, 1))
	act := choice(c, f, "hidden_act", "gelu", activations)
	choice(c, f, "position_embedding_type", "absolute", map[string]bool{"absolute": true})
	if f.BoolOr("is_decoder", false) || f.BoolOr("add_cross_attention", false) {
		f.Fail(c.Unsupported("is_decoder", "decoders and cross-attention are not BERT encoders"))
	}
	if err := f.Err(); err != nil {
		return encoder{}, err
	}
	if hidden%heads != 0 {
		return encoder{}, c.Errorf("hidden_size", "%d is not a multiple of num_attention_heads, %d", hidden, heads)
	}
	f.Ignore("cross_attention_hidden_size")
	if err := checkKeys(c, f); err != nil {
		return encoder{}, err
	}

	scale := float32(1 / math.Sqrt(float64(hidden/heads)))
	x := b.embed(b.table("embeddings.word_embeddings.weight", vocab, hidden),
		b.table("embeddings.position_embeddings.weight", positions, hidden),
		b.table("embeddings.token_type_embeddings.weight", types, hidden),
		b.layerNorm("embeddings.LayerNorm", hidden, eps))
	for i := range layers {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		q, k, v := at+"attention.self.query", at+"attention.self.key", at+"attention.self.value"
		qkv := b.linear(x, linearOp{
			weight: b.matrix(3*hidden, hidden, q+".weight", k+".weight", v+".weight"),
			bias:   b.vector(3*hidden, q+".bias", k+".bias", v+".bias")})
		x = b.linear(b.attention(qkv, heads, scale), linearOp{
			weight:   b.matrix(hidden, hidden, at+"attention.output.dense.weight"),
			bias:     b.vector(hidden, at+"attention.output.dense.bias"),
			residual: &x,
			norm:     b.layerNorm(at+"attention.output.LayerNorm", hidden, eps)})
		h := b.linear(x, linearOp{
			weight:     b.matrix(inner, hidden, at+"intermediate.dense.weight"),
			bias:       b.vector(inner, at+"intermediate.dense.bias"),
			activation: act})
		x = b.linear(h, linearOp{
			weight:   b.matrix(hidden, inner, at+"output.dense.weight"),
			bias:     b.vector(hidden, at+"output.dense.bias"),
			residual: &x,
			norm:     b.layerNorm(at+"output.LayerNorm", hidden, eps)})
	}
	return encoder{output: x, limit: int(positions), vocab: int(vocab), layers: layers, heads: int(heads)}, nil
}
