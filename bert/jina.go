package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Jina embeddings v2 (Günther et al. 2023, arXiv:2310.19923): model_type says bert, but positions are ALiBi's and the feed-forward part is gated
// (modeling_bert.py of jinaai/jina-bert-implementation). The code model normalises q and k, and has a norm more (jinaai/jina-bert-v2-qk-post-norm).
var (
	jinaArchitecture     = jinaLike("", "jinaai/jina-bert-implementation", buildJina)
	jinaCodeArchitecture = jinaLike(" code", "jinaai/jina-bert-v2-qk-post-norm", buildJinaCode)
)

func jinaLike(suffix, repo string, build func(*builder, *loader.Config) (encoder, error)) architecture {
	a := bertArchitecture
	a.name, a.class, a.repo, a.build = "jina-embeddings-v2"+suffix, "JinaBertModel", repo, build
	return a
}

func readJina(c *loader.Config) (shape, uint32, error) {
	f := c.Fields()
	s := readShape(f, usualNames, 1e-12)
	types := uint32(f.IntOr("type_vocab_size", 2, 1, 1<<10))
	only(c, f, "hidden_act", "gelu")
	only(c, f, "position_embedding_type", "alibi")
	only(c, f, "feed_forward_type", "geglu")
	off(c, f, "is_decoder", "add_cross_attention")
	return s, types, s.finish(c, f)
}

func jinaEmbeddings(b *builder, s shape, types uint32) (value, attentionOp) {
	x := b.embed(b.table("embeddings.word_embeddings.weight", s.vocab, s.hidden), none, b.table("embeddings.token_type_embeddings.weight", types, s.hidden),
		b.layerNorm("embeddings.LayerNorm", s.hidden, s.eps))
	attention := plainAttention(s.allHeads(), invSqrt(s.hidden/s.heads))
	attention.slopes = b.alibiSlopes(s.heads)
	return x, attention
}

func buildJina(b *builder, c *loader.Config) (encoder, error) {
	s, types, err := readJina(c)
	if err != nil {
		return encoder{}, err
	}
	x, attention := jinaEmbeddings(b, s, types)
	for i := range s.layers {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		qkv := b.linear(x, b.linears(3*s.hidden, s.hidden, true, at+"attention.self.query", at+"attention.self.key", at+"attention.self.value"))
		x = b.linear(b.attention(qkv, attention), b.linears(s.hidden, s.hidden, true, at+"attention.output.dense").plus(x).
			normed(b.layerNorm(at+"attention.output.LayerNorm", s.hidden, s.eps)))
		h := b.gate(b.linear(x, b.linears(2*s.inner, s.hidden, false, at+"mlp.gated_layers")), cgo.GELU)
		x = b.linear(h, b.linears(s.hidden, s.inner, true, at+"mlp.wo").plus(x).normed(b.layerNorm(at+"mlp.layernorm", s.hidden, s.eps)))
	}
	return s.encoder(x, s.positions), nil
}

func buildJinaCode(b *builder, c *loader.Config) (encoder, error) {
	s, types, err := readJina(c)
	if err != nil {
		return encoder{}, err
	}
	x, attention := jinaEmbeddings(b, s, types)
	for i := range s.layers {
		at := fmt.Sprintf("encoder.layer.%d.", i)
		qkv := b.linear(x, b.linears(3*s.hidden, s.hidden, true, at+"attention.self.query", at+"attention.self.key", at+"attention.self.value"))
		qkv = b.rotate(qkv, rotateOp{heads: s.allHeads(), table: none,
			query: b.layerNorm(at+"attention.self.layer_norm_q", s.hidden, s.eps), key: b.layerNorm(at+"attention.self.layer_norm_k", s.hidden, s.eps)})
		o := b.linear(b.attention(qkv, attention), b.linears(s.hidden, s.hidden, true, at+"attention.output.dense").plus(x).
			normed(b.layerNorm(at+"attention.output.LayerNorm", s.hidden, s.eps)))
		a := b.addNorm(o, x, b.layerNorm(at+"layer_norm_1", s.hidden, s.eps))
		h := b.gate(b.linear(a, b.swapped(2*s.inner, s.hidden, at+"mlp.up_gated_layer")), cgo.GELU)
		x = b.linear(h, b.linears(s.hidden, s.inner, true, at+"mlp.down_layer").plus(a).normed(b.layerNorm(at+"layer_norm_2", s.hidden, s.eps)))
	}
	return s.encoder(x, s.positions), nil
}
