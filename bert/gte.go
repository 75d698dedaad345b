package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// GTE v1.5 (Zhang et al. 2024, arXiv:2407.19669): post-norm layers with rotary embedding and GeGLU. Released files say "new" and bring the code of
// Alibaba-NLP/new-impl; transformers 5 calls it "gte".
var (
	gteArchitecture = architecture{name: "gte", modelType: "gte", prefixes: gtePrefixes, probe: "embeddings.word_embeddings.weight", layers: "encoder.layer.", build: buildGTE}
	newArchitecture = architecture{name: "new", modelType: "new", class: "NewModel", prefixes: gtePrefixes, probe: "embeddings.word_embeddings.weight", layers: "encoder.layer.", build: buildGTE}
)

var gtePrefixes = []string{"", "new.", "gte.", "model.", "0.auto_model."}

func buildGTE(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-12)
	types := uint32(f.IntOr("type_vocab_size", 0, 0, 1<<10))
	act := choice(c, f, "hidden_act", "gelu", activations)
	only(c, f, "position_embedding_type", "rope")
	only(c, f, "layer_norm_type", "layer_norm")
	off(c, f, "logn_attention_scale", "logn_attention_clip1")
	packed := f.BoolOr("pack_qkv", true)
	if err := f.Err(); err != nil {
		return encoder{}, err
	}
	otherwise := map[string]float64{"gte": 160000, "new": 10000}[c.ModelType()]
	r, err := readRope(c, f, s.hidden/s.heads, s.positions, ropeSource{base: "rope_theta", otherwise: otherwise})
	if err != nil {
		return encoder{}, err
	}
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	kind := none
	if types > 0 {
		kind = b.table("embeddings.token_type_embeddings.weight", types, s.hidden)
	}
	x := b.embed(b.table("embeddings.word_embeddings.weight", s.vocab, s.hidden), none, kind, b.layerNorm("embeddings.LayerNorm", s.hidden, s.eps))
	rotate := rotateOp{heads: s.allHeads(), table: b.ropeTable(r, s.positions)}
	attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads))
	for i := range s.layers {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		qkv := []string{at + "attention.qkv_proj"}
		if !packed {
			qkv = []string{at + "attention.q_proj", at + "attention.k_proj", at + "attention.v_proj"}
		}
		y := b.attention(b.rotate(b.linear(x, b.linears(3*s.hidden, s.hidden, true, qkv...)), rotate), attention)
		x = b.linear(y, b.linears(s.hidden, s.hidden, true, at+"attention.o_proj").plus(x).normed(b.layerNorm(at+"attn_ln", s.hidden, s.eps)))
		h := b.gate(b.linear(x, b.swapped(2*s.inner, s.hidden, at+"mlp.up_gate_proj")), act)
		x = b.linear(h, b.linears(s.hidden, s.inner, true, at+"mlp.down_proj").plus(x).normed(b.layerNorm(at+"mlp_ln", s.hidden, s.eps)))
	}
	return r.placed(s.encoder(x, s.positions)), nil
}
