package loader

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Multi-vector models that were saved before sentence-transformers had them: by
// PyLate, and by Stanford's ColBERT.
//
// Source: multi_vector_encoder/model.py of sentence-transformers 6.2.

const stanfordColBERT = "HF_ColBERT" // the architecture that its files name

// finishMultiVector adds what PyLate's files leave unsaid: prefixes, the mask and
// the normalization.
func (o *opener) finishMultiVector(m *Model) error {
	v := *m.MultiVector // the input may be shared
	m.MultiVector = &v
	if err := v.readPrefixes(o.sentence, m.Prompts); err != nil {
		return err
	}
	for _, name := range []string{"query", "document"} {
		if marker := v.markers[name]; marker != "" {
			if _, there := m.Prompts[name]; !there {
				m.Prompts[name] = marker
			}
			v.prefixes = append(v.prefixes, marker)
		}
	}
	kind, err := o.sentence.StringOr("model_type", "")
	if err != nil {
		return err
	}
	masked := slices.ContainsFunc(m.Modules, func(module Module) bool { return module.Kind() == "MultiVectorMask" })
	if masked || kind == string(KindMultiVector) {
		return nil
	}
	skip := strings.Split(punctuation, "")
	if o.sentence.Has("skiplist_words") {
		if skip, err = o.sentence.Strings("skiplist_words"); err != nil {
			return err
		}
	} else if kind == "" && len(v.prefixes) == 0 {
		skip = nil
	}
	m.Modules = append(m.Modules, MultiVectorMask{Skip: skip, SkipTasks: []string{"document"}}, Normalize{PerToken: true})
	return nil
}

// stanford reads what a directory of Stanford's ColBERT holds beside its encoder:
// the projection in the encoder's file, and artifact.metadata.
func (o *opener) stanford(in *Input) ([]Module, error) {
	linear, there := in.Weights.Lookup("linear.weight")
	if !there || len(linear.Shape) != 2 {
		return nil, fmt.Errorf("%w: %s: a %s without modules.json: want the tensor \"linear.weight\" of a ColBERT projection", ErrUnsupported, o.root, o.kind)
	}
	if _, err := in.Weights.Want("linear.weight", -1, -1); err != nil {
		return nil, err
	}
	c, err := optionalConfig(o.root, "artifact.metadata")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	f := c.Fields()
	in.MultiVector = &MultiVector{
		DocumentLength: f.IntOr("doc_maxlen", 0, 1, noLimit),
		Expansion:      &Expansion{Fixed: true, Length: f.IntOr("query_maxlen", 32, 1, maxExpansion), Attend: f.BoolOr("attend_to_mask_tokens", false)},
		markers: map[string]string{
			"query":    f.StringOr("query_token_id", "[unused0]") + " ",
			"document": f.StringOr("doc_token_id", "[unused1]") + " ",
		},
	}
	mask := MultiVectorMask{SkipTasks: []string{"document"}}
	if f.BoolOr("mask_punctuation", true) {
		mask.Skip = strings.Split(punctuation, "")
	}
	dense := Dense{In: linear.Shape[1], Out: linear.Shape[0], Activation: Identity, PerToken: true, Weights: in.Weights}
	return []Module{dense, mask, Normalize{PerToken: true}}, f.Err()
}
