package bert

import (
	"fmt"
	"math"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// BERT (Devlin et al. 2018, arXiv:1810.04805), as transformers/models/bert/modeling_bert.py computes it: post-norm layers, learned absolute
// positions, type embeddings. Query, key and value are one multiplication here.
var bertArchitecture = architecture{
	name:      "bert",
	modelType: "bert",
	prefixes:  []string{"", "bert.", "model.", "0.auto_model."},
	probe:     "embeddings.word_embeddings.weight",
	layers:    "encoder.layer.",
	build:     buildBERT,
}

func buildBERT(b *builder, c *loader.Config) (encoder, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-12)
	types := uint32(f.IntOr("type_vocab_size", 2, 1, 1<<10))
	act := choice(c, f, "hidden_act", "gelu", activations)
	only(c, f, "position_embedding_type", "absolute")
	off(c, f, "is_decoder", "add_cross_attention")
	if err := s.finish(c, f); err != nil {
		return encoder{}, err
	}
	x := bertEmbeddings(b, s, s.hidden, types)
	for i := range s.layers {
		x = bertLayer(b, s, x, fmt.Sprintf("encoder.layer.%d.", i), bertNames, plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads)), act)
	}
	return s.encoder(x, s.positions), nil
}

// bertEmbeddings sums the rows of the word, position and type tables (types = 0: there is none), then LayerNorm.
func bertEmbeddings(b *builder, s shape, width, types uint32) value {
	word := b.table("embeddings.word_embeddings.weight", s.vocab, width)
	position := b.table("embeddings.position_embeddings.weight", s.positions, width)
	kind := none
	if types > 0 {
		kind = b.table("embeddings.token_type_embeddings.weight", types, width)
	}
	return b.embed(word, position, kind, b.layerNorm("embeddings.LayerNorm", width, s.eps))
}

// layerNames are the names of a post-norm layer's tensors, after the layer's own prefix.
type layerNames struct{ query, key, value, out, attentionNorm, up, down, outputNorm string }

var bertNames = layerNames{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "attention.output.LayerNorm",
	"intermediate.dense", "output.dense", "output.LayerNorm"}

// layerWeights are the tensors of a post-norm layer.
type layerWeights struct {
	qkv, out, up, down        linearOp
	attentionNorm, outputNorm norm
}

func bertWeights(b *builder, s shape, at string, n layerNames) layerWeights {
	return layerWeights{
		qkv:           b.linears(3*s.hidden, s.hidden, true, at+n.query, at+n.key, at+n.value),
		out:           b.linears(s.hidden, s.hidden, true, at+n.out),
		up:            b.linears(s.inner, s.hidden, true, at+n.up),
		down:          b.linears(s.hidden, s.inner, true, at+n.down),
		attentionNorm: b.layerNorm(at+n.attentionNorm, s.hidden, s.eps),
		outputNorm:    b.layerNorm(at+n.outputNorm, s.hidden, s.eps),
	}
}

// postNormLayer is a = LN(x + out·attention), LN(a + down·act(up·a)).
func postNormLayer(b *builder, x value, w layerWeights, a attentionOp, act cgo.Activation) value {
	x = b.linear(b.attention(b.linear(x, w.qkv), a), w.out.plus(x).normed(w.attentionNorm))
	return b.linear(b.linear(x, w.up.act(act)), w.down.plus(x).normed(w.outputNorm))
}

// bertLayer is a layer whose weights are its own.
func bertLayer(b *builder, s shape, x value, at string, n layerNames, a attentionOp, act cgo.Activation) value {
	return postNormLayer(b, x, bertWeights(b, s, at, n), a, act)
}

func invSqrt(n uint32) float32 { return float32(1 / math.Sqrt(float64(n))) }
