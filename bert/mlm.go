package bert

import (
	"fmt"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// A masked-language head gives each token a logit for every word of the vocabulary: decoder·LayerNorm(act(dense·x)) + bias, where the decoder is the
// word table again. Source: the *ForMaskedLM classes of transformers.
type maskedHead struct {
	dense, norm     string
	act             string // the key of the activation; "" is the erf GELU, whatever the configuration says
	decoder         string
	biases          []string // names that the bias may have; the first that is there
	denseBias, bare string   // keys: whether the dense layer and the norm have a bias; "" for yes
}

var (
	bertMasked = maskedHead{dense: "cls.predictions.transform.dense", norm: "cls.predictions.transform.LayerNorm", act: "hidden_act",
		decoder: "cls.predictions.decoder.weight", biases: []string{"cls.predictions.bias", "cls.predictions.decoder.bias"}}
	robertaMasked = maskedHead{dense: "lm_head.dense", norm: "lm_head.layer_norm", decoder: "lm_head.decoder.weight", biases: []string{"lm_head.bias", "lm_head.decoder.bias"}}
	newMasked     = maskedHead{dense: "lm_head.dense", norm: "lm_head.norm", act: "hidden_act", decoder: "lm_head.decoder.weight", biases: []string{"lm_head.decoder.bias", "lm_head.bias"}}
)

var maskedHeads = map[string]maskedHead{
	"bert": bertMasked, "deberta-v2": bertMasked,
	"roberta": robertaMasked, "xlm-roberta": robertaMasked, "camembert": robertaMasked, "mpnet": robertaMasked,
	"new": newMasked,
	"distilbert": {dense: "vocab_transform", norm: "vocab_layer_norm", act: "activation", decoder: "vocab_projector.weight",
		biases: []string{"vocab_projector.bias"}},
	"electra": {dense: "generator_predictions.dense", norm: "generator_predictions.LayerNorm", decoder: "generator_lm_head.weight",
		biases: []string{"generator_lm_head.bias"}},
	"albert": {dense: "predictions.dense", norm: "predictions.LayerNorm", act: "hidden_act", decoder: "predictions.decoder.weight",
		biases: []string{"predictions.bias", "predictions.decoder.bias"}},
	"modernbert": {dense: "head.dense", norm: "head.norm", act: "classifier_activation", decoder: "decoder.weight", biases: []string{"decoder.bias"},
		denseBias: "classifier_bias", bare: "norm_bias"},
}

// maskedWords appends the head up to its decoder, and returns the decoder's input and the decoder.
func (p *planned) maskedWords(x value, m *loader.Model, stored *files) (value, linearOp, error) {
	h, ok := maskedHeads[p.arch.name]
	if !ok {
		return 0, linearOp{}, fmt.Errorf("%w: %s: a masked-language head of %s; supported: %s", loader.ErrUnsupported, m.Dir, p.arch.name, keysOf(maskedHeads))
	}
	f := m.Config.Fields()
	act := cgo.GELU
	if h.act != "" {
		act = choice(m.Config, f, h.act, "gelu", activations)
	}
	tied := f.BoolOr("tie_word_embeddings", true)
	denseBias := h.denseBias == "" || f.BoolOr(h.denseBias, false)
	normBias := h.bare == "" || f.BoolOr(h.bare, false)
	if h.dense == "cls.predictions.transform.dense" && !f.BoolOr("legacy", true) {
		f.Fail(m.Config.Unsupported("legacy", "DeBERTa's newer masked-language head; supported: true"))
	}
	if err := f.Err(); err != nil {
		return 0, linearOp{}, err
	}
	word := p.tensors[p.ops[0].Weight] // every program begins with the word table
	outer := stored.at("")
	p.from = outer
	dense := p.linears(word.Cols, p.width(x), denseBias, h.dense).act(act)
	n := norm{kind: cgo.LayerNorm, weight: p.vector(word.Cols, h.norm+".weight"), bias: none, eps: p.encoder.eps}
	if normBias {
		n.bias = p.vector(word.Cols, h.norm+".bias")
	}
	decoder := linearOp{bias: none}
	for _, name := range h.biases {
		if outer.has(name) {
			decoder.bias = p.vector(word.Rows, name)
			break
		}
	}
	if decoder.bias == none && h.denseBias == "" { // ModernBERT's may be without
		decoder.bias = p.vector(word.Rows, h.biases[0])
	}
	name := h.decoder
	if tied {
		p.from, name = stored, word.sources[0].name
	}
	decoder.weight = p.matrix(word.Rows, word.Cols, name)
	outer.ignore(h.decoder)
	return p.linear(x, dense.normed(n)), decoder, nil
}
