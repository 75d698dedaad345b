package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// ELECTRA's discriminator (Clark et al. 2020, arXiv:2003.10555): BERT with embeddings of a width of their own (transformers/models/electra/modeling_electra.py).
var electraArchitecture = architecture{
	name:      "electra",
	modelType: "electra",
	prefixes:  []string{"", "electra.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "encoder.layer.",
	build:     buildELECTRA,
}

func buildELECTRA(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-12)
	width := uint32(f.IntOr("embedding_size", 128, 1, 1<<16))
	types := uint32(f.IntOr("type_vocab_size", 2, 1, 1<<10))
	act := choice(c, f, "hidden_act", "gelu", activations)
	only(c, f, "position_embedding_type", "absolute")
	off(c, f, "is_decoder", "add_cross_attention")
	f.Ignore("summary_activation")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	x := bertEmbeddings(b, s, width, types)
	if width != s.hidden {
		x = b.linear(x, b.linears(s.hidden, width, true, "embeddings_project"))
	}
	for i := range s.layers {
		x = bertLayer(b, s, x, fmt.Sprintf("encoder.layer.%d.", i), bertNames, plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads)), act)
	}
	return s.encoder(x, s.positions), nil
}
