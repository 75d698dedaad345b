package loader

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what a model directory is made for, by the class of
// sentence-transformers that opens it.
type Kind string

// The kinds of models.
const (
	KindEmbedding    Kind = "SentenceTransformer" // a vector a text
	KindCrossEncoder Kind = "CrossEncoder"        // scores of a pair of texts
	KindSparse       Kind = "SparseEncoder"       // a value a word of the vocabulary
	KindMultiVector  Kind = "MultiVectorEncoder"  // a vector a token
)

var kinds = []string{string(KindEmbedding), string(KindCrossEncoder), string(KindSparse), string(KindMultiVector), "ColBERT"}

// colbertKeys show in config_sentence_transformers.json that a model without a
// model_type was saved by PyLate.
var colbertKeys = []string{"query_prefix", "document_prefix", "do_query_expansion", "attend_to_expansion_tokens"}

// findKind says what a directory was made for. sentence is its
// config_sentence_transformers.json, config the transformer's config.json; each
// may be empty.
func findKind(sentence, config *Config, hasModules bool) (Kind, error) {
	if sentence.Has("model_type") {
		kind, err := sentence.String("model_type")
		if err == nil && !slices.Contains(kinds, kind) {
			err = sentence.Unsupported("model_type", "%.60q; supported are %s", kind, strings.Join(kinds, ", "))
		}
		if kind == "ColBERT" { // PyLate's name
			kind = string(KindMultiVector)
		}
		return Kind(kind), err
	}
	for _, key := range colbertKeys {
		if sentence.Has(key) {
			return KindMultiVector, nil
		}
	}
	architectures, err := config.Architectures()
	if err != nil || hasModules || len(architectures) == 0 {
		return KindEmbedding, err
	}
	switch {
	case slices.Contains(architectures, stanfordColBERT):
		return KindMultiVector, nil
	case strings.HasSuffix(architectures[0], classifierSuffix):
		return KindCrossEncoder, nil
	}
	return KindEmbedding, nil
}

// layout is the order of modules that a kind may have: one of the starts, then
// any of rest.
type layout struct {
	starts [][]string
	rest   []string
}

var layouts = map[Kind]layout{
	KindEmbedding: {
		starts: [][]string{{"Transformer", "Pooling"}, {"StaticEmbedding"}},
		rest:   []string{"Dense", "LayerNorm", "Normalize", "Dropout"},
	},
	KindCrossEncoder: {
		starts: [][]string{{"Transformer"}},
		rest:   []string{"Dropout"},
	},
	KindSparse: {
		starts: [][]string{{"Transformer", "SpladePooling"}, {"SparseStaticEmbedding"}},
		rest:   []string{"Dropout"},
	},
	KindMultiVector: {
		starts: [][]string{{"Transformer"}},
		rest:   []string{"Dense", "Normalize", "Dropout", "MultiVectorMask"},
	},
}

// checkModules accepts the orders of modules that there is code for.
func checkModules(file string, kind Kind, refs []moduleRef) error {
	l := layouts[kind]
	start := l.starts[0]
	for _, other := range l.starts {
		if len(refs) > 0 && refs[0].class == other[0] {
			start = other
		}
	}
	for i, want := range start {
		if i >= len(refs) || refs[i].class != want {
			return fmt.Errorf("%w: %s: module %d of a %s: want %s, got %s", ErrUnsupported, file, i, kind, want, className(refs, i))
		}
	}
	for i, ref := range refs[len(start):] {
		if !slices.Contains(l.rest, ref.class) {
			return fmt.Errorf("%w: %s: module %d of a %s: want one of %s, got %s",
				ErrUnsupported, file, len(start)+i, kind, strings.Join(l.rest, ", "), ref.class)
		}
	}
	return nil
}

func className(refs []moduleRef, i int) string {
	if i >= len(refs) {
		return "none"
	}
	return refs[i].class
}
