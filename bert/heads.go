package bert

import (
	"fmt"
	"slices"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// What a *ForSequenceClassification class puts behind its encoder to score a pair of texts: usually a dense layer on the first token, an activation, and a row for
// each label. Source: the modeling files of transformers.

// classifier is what a head is built of.
type classifier struct {
	*builder
	config       *loader.Config
	fields       *loader.Fields
	inner, outer tensors // names that begin with the encoder's prefix, and those that do not
	labels       uint32
	eps          float32 // of the encoder's norms
	cutOff       int32   // a token that is taken off the end of a sequence; −1 for none
}

// classifiers build the logits [B, labels] of an encoder's output [T, hidden], by architecture.
var classifiers = map[string]func(h *classifier, x value) value{
	"bert": func(h *classifier, x value) value {
		return h.onFirst(x, h.inner, "pooler.dense", cgo.Tanh, "classifier")
	},
	"jina-embeddings-v2": func(h *classifier, x value) value {
		return h.onFirst(x, h.inner, "pooler.dense", cgo.Tanh, "classifier")
	},
	"gte": func(h *classifier, x value) value {
		return h.onFirst(x, h.inner, "pooler.dense", cgo.Tanh, "classifier")
	},
	"new": func(h *classifier, x value) value {
		return h.onFirst(x, h.inner, "pooler.dense", cgo.Tanh, "classifier")
	},
	"albert":      func(h *classifier, x value) value { return h.onFirst(x, h.inner, "pooler", cgo.Tanh, "classifier") },
	"roberta":     robertaClassifier(cgo.Tanh),
	"xlm-roberta": robertaClassifier(cgo.Tanh),
	"camembert":   robertaClassifier(cgo.Tanh),
	"mpnet":       robertaClassifier(cgo.Tanh),
	"electra":     robertaClassifier(cgo.GELU),
	"distilbert": func(h *classifier, x value) value {
		return h.onFirst(x, h.outer, "pre_classifier", cgo.ReLU, "classifier")
	},
	"deberta-v2": func(h *classifier, x value) value {
		act := choice(h.config, h.fields, "pooler_hidden_act", "gelu", activations)
		return h.onFirst(x, h.outer, "pooler.dense", act, "classifier")
	},
	"modernbert":  modernbertClassifier,
	"eurobert":    eurobertClassifier,
	"qwen2":       lastClassifier,
	"qwen3":       lastClassifier,
	"gemma3_text": lastClassifier,
}

// classify appends the head of a cross-encoder.
func (p *planned) classify(m *loader.Model, stored *files) (value, error) {
	build, ok := classifiers[p.arch.name]
	if !ok {
		return 0, fmt.Errorf("%w: %s: a cross-encoder of %s; supported: %s", loader.ErrUnsupported, m.Dir, p.arch.name, keysOf(classifiers))
	}
	h := &classifier{builder: p.builder, config: m.Config, fields: m.Config.Fields(), inner: stored, outer: stored.at(""), labels: uint32(m.CrossEncoder.Labels), eps: p.encoder.eps, cutOff: -1}
	logits := build(h, p.encoder.output)
	p.cutOff = h.cutOff
	return logits, h.fields.Err()
}

// onFirst is out·act(dense·first token), each with its bias.
func (h *classifier) onFirst(x value, from tensors, dense string, act cgo.Activation, out string) value {
	x = h.pool(x, []cgo.Pool{cgo.PoolCLS})
	h.from = from
	x = h.linear(x, h.linears(h.width(x), h.width(x), true, dense).act(act))
	h.from = h.outer
	return h.linear(x, h.linears(h.labels, h.width(x), true, out))
}

func robertaClassifier(act cgo.Activation) func(*classifier, value) value {
	return func(h *classifier, x value) value {
		return h.onFirst(x, h.outer, "classifier.dense", act, "classifier.out_proj")
	}
}

// pooledBy is the pooling that the key classifier_pooling names.
func (h *classifier) pooledBy(x value, missing string, names map[string]cgo.Pool) value {
	return h.pool(x, []cgo.Pool{choice(h.config, h.fields, "classifier_pooling", missing, names)})
}

func modernbertClassifier(h *classifier, x value) value {
	x = h.pooledBy(x, "cls", map[string]cgo.Pool{"cls": cgo.PoolCLS, "mean": cgo.PoolMean})
	act := choice(h.config, h.fields, "classifier_activation", "gelu", activations)
	h.from = h.outer
	dense := h.linears(h.width(x), h.width(x), h.fields.BoolOr("classifier_bias", false), "head.dense").act(act)
	return h.linear(h.linear(x, dense.normed(modernbertNorm(h.builder, h.fields, "head.norm", h.width(x), h.eps))), h.linears(h.labels, h.width(x), true, "classifier"))
}

// modernbertNorm is a LayerNorm with or without a bias, as norm_bias says.
func modernbertNorm(b *builder, f *loader.Fields, name string, width uint32, eps float32) norm {
	if f.BoolOr("norm_bias", false) {
		return b.layerNorm(name, width, eps)
	}
	return b.layerNormNoBias(name, width, eps)
}

func eurobertClassifier(h *classifier, x value) value {
	late := h.fields.StringOr("classifier_pooling", "late") == "late"
	if !late {
		x = h.pooledBy(x, "bos", map[string]cgo.Pool{"bos": cgo.PoolCLS, "mean": cgo.PoolMean})
	}
	h.from = h.outer
	x = h.linear(x, h.linears(h.width(x), h.width(x), true, "dense").act(cgo.GELU))
	x = h.linear(x, h.linears(h.labels, h.width(x), true, "classifier"))
	if late {
		x = h.pool(x, []cgo.Pool{cgo.PoolMean})
	}
	return x
}

// lastClassifier is GenericForSequenceClassification's: a row for each label, without bias, on the last token that is not the padding one. In a causal model what
// comes behind that token changes nothing, so that it is cut off.
func lastClassifier(h *classifier, x value) value {
	causal := func(op cgo.Op) bool { return op.Kind == cgo.OpAttention && op.Flags&cgo.Causal != 0 }
	if slices.ContainsFunc(h.ops, causal) && h.fields.Has("pad_token_id") {
		h.cutOff = int32(h.fields.Int("pad_token_id", 0, 1<<24))
	}
	x = h.pool(x, []cgo.Pool{cgo.PoolLast})
	h.from = h.outer
	return h.linear(x, h.linears(h.labels, h.width(x), false, "score"))
}
