package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/loader"
)

// DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT without type embeddings, under other names (transformers/models/distilbert/modeling_distilbert.py).
var distilbertArchitecture = architecture{
	name:      "distilbert",
	modelType: "distilbert",
	prefixes:  []string{"", "distilbert.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "transformer.layer.",
	build:     buildDistilBERT,
}

var distilbertNames = layerNames{"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"}

func buildDistilBERT(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, names{"dim hidden_size", "n_layers num_hidden_layers", "n_heads num_attention_heads", "hidden_dim", "max_position_embeddings", "layer_norm_eps"}, 1e-12)
	s.eps = 1e-12 // whatever the configuration says
	act := choice(c, f, "activation", "gelu", activations)
	f.Ignore("sinusoidal_pos_embds") // the table is in the weights either way
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	x := bertEmbeddings(b, s, s.hidden, 0)
	for i := range s.layers {
		x = bertLayer(b, s, x, fmt.Sprintf("transformer.layer.%d.", i), distilbertNames, plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads)), act)
	}
	return s.encoder(x, s.positions), nil
}
