package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// ALBERT (Lan et al. 2019, arXiv:1909.11942): narrow embeddings that are widened once, and groups of layers that share their weights
// (transformers/models/albert/modeling_albert.py).
var albertArchitecture = architecture{
	name:      "albert",
	modelType: "albert",
	prefixes:  []string{"", "albert.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "encoder.albert_layer_groups.",
	build:     buildALBERT,
}

var albertNames = layerNames{"attention.query", "attention.key", "attention.value", "attention.dense", "attention.LayerNorm", "ffn", "ffn_output", "full_layer_layer_norm"}

func buildALBERT(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-12)
	narrow := uint32(f.IntOr("embedding_size", 128, 1, 1<<16))
	types := uint32(f.IntOr("type_vocab_size", 2, 1, 1<<10))
	groups := uint32(f.IntOr("num_hidden_groups", 1, 1, int(max(s.layers, 1))))
	inner := uint32(f.IntOr("inner_group_num", 1, 1, 64))
	act := choice(c, f, "hidden_act", "gelu_new", activations)
	only(c, f, "position_embedding_type", "absolute")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	x := bertEmbeddings(b, s, narrow, types)
	x = b.linear(x, b.linears(s.hidden, narrow, true, "encoder.embedding_hidden_mapping_in"))
	attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads))
	shared := map[string]layerWeights{}
	for i := range s.layers {
		for j := range inner {
			at := fmt.Sprintf("encoder.albert_layer_groups.%d.albert_layers.%d.", i*groups/s.layers, j)
			if _, ok := shared[at]; !ok {
				shared[at] = bertWeights(b, s, at, albertNames)
			}
			x = postNormLayer(b, x, shared[at], attention, act)
		}
	}
	return s.encoder(x, s.positions), nil
}
