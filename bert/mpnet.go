package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// MPNet (Song et al. 2020, arXiv:2004.09297): BERT without type embeddings, with positions that start at 2 and a relative-position bias that all
// layers share (transformers/models/mpnet/modeling_mpnet.py).
var mpnetArchitecture = architecture{
	name:      "mpnet",
	modelType: "mpnet",
	prefixes:  []string{"", "mpnet.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "encoder.layer.",
	build:     buildMPNet,
}

var mpnetNames = layerNames{"attention.attn.q", "attention.attn.k", "attention.attn.v", "attention.attn.o", "attention.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"}

const (
	mpnetPad      = 1   // whatever pad_token_id says
	mpnetDistance = 128 // relative_position_bucket's default, which the model never changes
)

func buildMPNet(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-12)
	buckets := f.IntOr("relative_attention_num_buckets", 32, 32, 1<<10)
	act := choice(c, f, "hidden_act", "gelu", activations)
	only(c, f, "position_embedding_type", "absolute")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	if s.positions <= mpnetPad+1 {
		return encoder{}, c.Errorf("max_position_embeddings", "want more than %d, got %d", mpnetPad+1, s.positions)
	}
	x := bertEmbeddings(b, s, s.hidden, 0)
	attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads))
	attention.distances = b.bucketBias("encoder.relative_attention_bias.weight", s.heads, buckets, 32, mpnetDistance)
	for i := range s.layers {
		x = bertLayer(b, s, x, fmt.Sprintf("encoder.layer.%d.", i), mpnetNames, attention, act)
	}
	e := s.encoder(x, s.positions-mpnetPad-1)
	e.positions = positionsBehind(mpnetPad)
	return e, nil
}
