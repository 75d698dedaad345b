package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// Jina embeddings v3 (Sturua et al. 2024, arXiv:2409.10173), as transformers 5 stores it, without adapters: XLM-RoBERTa with a rotary embedding in place of
// positions (transformers/models/jina_embeddings_v3).
var jina3Architecture = architecture{
	name:      "jina_embeddings_v3",
	modelType: "jina_embeddings_v3",
	prefixes:  []string{"", "roberta.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "encoder.layers.",
	build:     buildJina3,
}

func buildJina3(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-5)
	types := uint32(f.IntOr("type_vocab_size", 1, 1, 1<<10))
	act := choice(c, f, "hidden_act", "gelu", activations)
	f.Ignore("rope_parameters", "rope_scaling")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	r, err := readRope(c, f, s.hidden/s.heads, s.positions, ropeSource{base: "rotary_emb_base", otherwise: 20000})
	if err != nil {
		return encoder{}, err
	}
	x := b.embed(b.table("embeddings.word_embeddings.weight", s.vocab, s.hidden), none, b.table("embeddings.token_type_embeddings.weight", types, s.hidden),
		b.layerNorm("emb_ln", s.hidden, s.eps))
	rotate := rotateOp{heads: s.allHeads(), table: b.ropeTable(r, s.positions)}
	attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads))
	for i := range s.layers {
		at := fmt.Sprintf("encoder.layers.%d.", i)
		qkv := b.rotate(b.linear(x, b.linears(3*s.hidden, s.hidden, true, at+"mixer.Wqkv")), rotate)
		x = b.linear(b.attention(qkv, attention), b.linears(s.hidden, s.hidden, true, at+"mixer.out_proj").plus(x).normed(b.layerNorm(at+"norm1", s.hidden, s.eps)))
		h := b.linear(x, b.linears(s.inner, s.hidden, true, at+"mlp.fc1").act(act))
		x = b.linear(h, b.linears(s.hidden, s.inner, true, at+"mlp.fc2").plus(x).normed(b.layerNorm(at+"norm2", s.hidden, s.eps)))
	}
	return s.encoder(x, s.positions), nil
}
