package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Nomic BERT (Nussbaum et al. 2024, arXiv:2402.01613): post-norm layers without biases, rotary embedding, SwiGLU (transformers/models/nomic_bert, and
// modeling_hf_nomic_bert.py of nomic-ai/nomic-bert-2048).
var (
	nomicArchitecture     = architecture{name: "nomic_bert", modelType: "nomic_bert", prefixes: nomicPrefixes, probe: "embeddings.word_embeddings.weight", layers: "encoder.layers.", build: buildNomic}
	nomicCodeArchitecture = architecture{name: "nomic_bert", modelType: "nomic_bert", class: "NomicBertModel", prefixes: nomicPrefixes, probe: "embeddings.word_embeddings.weight", layers: "encoder.layers.", build: buildNomic}
)

var nomicPrefixes = []string{"", "model.", "bert.", "0.auto_model."}

func buildNomic(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, names{"hidden_size n_embd", "num_hidden_layers n_layer", "num_attention_heads n_head", "intermediate_size n_inner",
		"max_position_embeddings n_positions", "layer_norm_eps layer_norm_epsilon"}, 1e-12)
	types := uint32(f.IntOr("type_vocab_size", 2, 0, 1<<10))
	trained := f.IntOr("max_trained_positions", 2048, 1, 1<<22)
	limit := max(f.IntOr("n_positions", int(max(s.positions, 1)), 1, 1<<22), int(s.positions))
	scaling := f.FloatOr("rotary_scaling_factor", 0, 0, 1e6)
	only(c, f, "activation_function", "swiglu")
	only(c, f, "hidden_act", "silu")
	off(c, f, "prenorm", "causal", "rotary_emb_interleaved", "use_rms_norm", "parallel_block", "parallel_block_tied_norm", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias",
		"scale_attn_by_inverse_layer_idx")
	if fraction := f.FloatOr("rotary_emb_fraction", 1, 0, 1); fraction != 1 {
		f.Fail(c.Unsupported("rotary_emb_fraction", "got %g; supported: 1", fraction))
	}
	f.Ignore("rotary_emb_base", "rotary_emb_scale_base", "summary_activation", "fused_dropout_add_ln", "layer_norm_epsilon")
	for old, now := range map[string]string{"n_embd": "hidden_size", "n_head": "num_attention_heads", "n_layer": "num_hidden_layers"} {
		if f.Has(old) && f.Has(now) && f.Int(old, 1, 1<<16) != f.Int(now, 1, 1<<16) {
			f.Fail(c.Errorf(old, "differs from %s", now))
		}
	}
	if err := f.Err(); err != nil {
		return encoder{}, err
	}
	r, err := readRope(c, f, s.hidden/s.heads, s.positions, ropeSource{base: "rotary_emb_base", otherwise: 1000})
	if err != nil {
		return encoder{}, err
	}
	if r.dynamic != nil {
		r = newDynamicRope(r.dynamic.base, r.dynamic.factor, r.dynamic.size, r.dynamic.trained, limit)
	} else if scaling > 0 { // as the model's own code calls it
		base := f.FloatOr("rotary_emb_base", 1000, 1, 1e12)
		r = newDynamicRope(base, scaling, s.hidden/s.heads, trained, limit)
	}
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	kind := none
	if types > 0 {
		kind = b.table("embeddings.token_type_embeddings.weight", types, s.hidden)
	}
	x := b.embed(b.table("embeddings.word_embeddings.weight", s.vocab, s.hidden), none, kind, b.layerNorm("emb_ln", s.hidden, s.eps))
	rotate := rotateOp{heads: s.allHeads(), table: b.ropeTable(r, s.positions)}
	attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads))
	for i := range s.layers {
		at := fmt.Sprintf("encoder.layers.%d.", i)
		qkv := b.rotate(b.linear(x, b.linears(3*s.hidden, s.hidden, false, at+"attn.Wqkv")), rotate)
		x = b.linear(b.attention(qkv, attention), b.linears(s.hidden, s.hidden, false, at+"attn.out_proj").plus(x).normed(b.layerNorm(at+"norm1", s.hidden, s.eps)))
		h := b.gate(b.linear(x, b.linears(2*s.inner, s.hidden, false, at+"mlp.fc12", at+"mlp.fc11")), cgo.SiLU)
		x = b.linear(h, b.linears(s.hidden, s.inner, false, at+"mlp.fc2").plus(x).normed(b.layerNorm(at+"norm2", s.hidden, s.eps)))
	}
	return r.placed(s.encoder(x, s.positions)), nil
}
