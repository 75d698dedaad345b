package loader

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Multi-vector (ColBERT) models: which tokens of a text are encoded, which of
// them the others attend to, and whose vectors are kept.
//
// Source: base/modules/transformer.py (query_expansion) and
// multi_vector_encoder/modules/multi_vector_mask.py of sentence-transformers 6.2.

// punctuation is Python's string.punctuation, which PyLate and ColBERT leave out
// of documents where nothing else is said.
const punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

// MultiVectorMask chooses the tokens whose vectors are kept.
type MultiVectorMask struct {
	Skip      []string // tokens that are not, in texts of SkipTasks
	SkipTasks []string // "query", "document"
	Keep      []int32  // the only ids kept in documents; nil for all
}

// Kind is the class name.
func (MultiVectorMask) Kind() string { return "MultiVectorMask" }

// Expansion fills queries up with a token, usually [MASK], whose vectors are kept.
type Expansion struct {
	Length int    // tokens that a query has at least
	Fixed  bool   // and at most
	Attend bool   // the other tokens attend to those of the expansion
	Token  string // "" for the tokenizer's mask token, or where it has none its end token
}

// MultiVector is how a multi-vector model treats queries and documents. A length
// of 0 is the model's MaxSeqLength.
type MultiVector struct {
	QueryLength    int
	DocumentLength int
	Expansion      *Expansion // nil for none

	prefixes []string          // of prompts: single tokens where the vocabulary has them
	markers  map[string]string // prompts of a directory that has none, by name
}

func loadMask(o *opener, dir string) (Module, error) {
	c, err := optionalConfig(o.root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	return parseMask(c)
}

func parseMask(c *Config) (MultiVectorMask, error) {
	m := MultiVectorMask{SkipTasks: []string{"document"}}
	var err error
	if m.Skip, err = c.Strings("skiplist_words"); err != nil {
		return m, err
	}
	if task, one := c.obj.get("skiplist_tasks").(string); one {
		m.SkipTasks = []string{task}
	} else if c.Has("skiplist_tasks") {
		if m.SkipTasks, err = c.Strings("skiplist_tasks"); err != nil {
			return m, err
		}
	}
	if c.Has("keep_only_token_ids") {
		list, ok := c.obj.get("keep_only_token_ids").([]any)
		if !ok || len(list) > maxTokens {
			return m, c.wrong("keep_only_token_ids", "a list of token ids")
		}
		for _, v := range list {
			id, ok := tokenID(v)
			if !ok {
				return m, c.wrong("keep_only_token_ids", "a list of token ids")
			}
			m.Keep = append(m.Keep, id)
		}
	}
	return m, nil
}

// readMultiVector reads lengths and expansion from the Transformer module's file,
// else from where PyLate put them: sentence, config_sentence_transformers.json.
func readMultiVector(module, sentence *Config) (*MultiVector, error) {
	v := &MultiVector{}
	foreign := slices.ContainsFunc(append([]string{"query_length", "document_length", "skiplist_words"}, colbertKeys...), sentence.hasKey)
	var err error
	for key, length := range map[string]*int{"query_length": &v.QueryLength, "document_length": &v.DocumentLength} {
		from := module
		if !module.hasKey(key) {
			from = sentence
		}
		if *length, err = from.IntOr(key, 0, 1, noLimit); err != nil {
			return nil, err
		}
	}
	switch {
	case module.hasKey("query_expansion"):
		v.Expansion, err = parseExpansion(module)
	case sentence.hasKey("query_expansion"):
		v.Expansion, err = parseExpansion(sentence)
	case foreign:
		v.Expansion, err = parseOldExpansion(sentence)
		if v.Expansion != nil && !module.hasKey("query_length") {
			v.QueryLength = 0 // it was the expansion's
		}
	}
	if err != nil {
		return nil, err
	}
	if e := v.Expansion; e != nil && v.QueryLength > 0 && v.QueryLength < e.Length {
		return nil, module.Errorf("query_length", "want at least query_expansion's length of %d, got %d", e.Length, v.QueryLength)
	}
	return v, nil
}

// hasKey is Has for a null that means something.
func (c *Config) hasKey(key string) bool {
	_, there := c.obj.values[key]
	return there
}

// parseExpansion reads query_expansion; null is none.
func parseExpansion(c *Config) (*Expansion, error) {
	if !c.Has("query_expansion") {
		return nil, nil
	}
	c, err := c.Object("query_expansion")
	if err != nil {
		return nil, err
	}
	f := c.Fields()
	e := &Expansion{
		Fixed:  f.String("strategy", "fixed", "min") == "fixed",
		Length: f.Int("length", 1, maxExpansion),
		Attend: f.BoolOr("attend", false),
		Token:  f.StringOr("token", ""),
	}
	for _, key := range f.Unread() {
		f.Fail(c.Unsupported(key, "supported are strategy, length, attend, token"))
	}
	return e, f.Err()
}

const maxExpansion = 1 << 16

// parseOldExpansion reads PyLate's keys: expansion is on unless switched off.
func parseOldExpansion(c *Config) (*Expansion, error) {
	f := c.Fields()
	on := f.BoolOr("do_query_expansion", true)
	e := &Expansion{Fixed: true, Length: f.IntOr("query_length", 32, 1, maxExpansion)}
	e.Attend = f.BoolOr("attend_to_expansion_tokens", f.BoolOr("attend_to_mask_tokens", false))
	if !on {
		e = nil
	}
	return e, f.Err()
}

// readPrefixes puts PyLate's query_prefix and document_prefix in front of the
// prompts.
func (v *MultiVector) readPrefixes(sentence *Config, prompts map[string]string) error {
	for key, prompt := range map[string]string{"query_prefix": "query", "document_prefix": "document"} {
		if !sentence.hasKey(key) {
			continue
		}
		prefix, err := sentence.StringOr(key, "")
		if err != nil {
			return err
		}
		prompts[prompt] = prefix + strings.TrimPrefix(prompts[prompt], prefix)
		v.prefixes = append(v.prefixes, prefix)
	}
	slices.Sort(v.prefixes)
	return nil
}

// TokenSet is a text for a multi-vector model.
type TokenSet struct {
	Encoding
	Attended []bool // the others attend to this token
	Kept     []bool // its vector is part of the result
}

// EncodeTask tokenizes a text, prompt in front, for the multi-vector model m: task
// is "query" or "document", and "" counts as document but for the length.
func (t *Tokenizer) EncodeTask(ctx context.Context, m *Model, text, task string) (TokenSet, error) {
	if m.MultiVector == nil {
		return TokenSet{}, fmt.Errorf("%w: %s is a %s, not a %s", ErrUnsupported, m.Dir, m.Kind, KindMultiVector)
	}
	e, err := t.Encode(ctx, text)
	if err != nil {
		return TokenSet{}, err
	}
	if limit := m.MultiVector.Limit(task, m.MaxSeqLength); limit > 0 {
		if e, err = t.Truncate(e, limit); err != nil {
			return TokenSet{}, err
		}
	}
	s := TokenSet{Encoding: e, Attended: repeat(true, len(e.IDs)), Kept: repeat(true, len(e.IDs))}
	if x := m.MultiVector.Expansion; x != nil && task == "query" {
		masked := slices.ContainsFunc(m.Modules, func(module Module) bool { return module.Kind() == "MultiVectorMask" })
		if err := s.expand(t, x, masked); err != nil {
			return TokenSet{}, err
		}
	}
	for _, module := range m.Modules {
		if mask, ok := module.(MultiVectorMask); ok {
			s.apply(t, mask, task)
		}
	}
	return s, nil
}

// Limit is the most tokens that a text of a task may have; 0 for no limit.
func (v *MultiVector) Limit(task string, model int) int {
	switch task {
	case "query":
		if x := v.Expansion; x != nil && x.Fixed {
			return x.Length
		}
		if v.QueryLength > 0 {
			return v.QueryLength
		}
	case "document":
		if v.DocumentLength > 0 {
			return v.DocumentLength
		}
	}
	return model
}

// expand fills a query up. Without a mask module, the attended tokens are kept.
func (s *TokenSet) expand(t *Tokenizer, x *Expansion, masked bool) error {
	missing := x.Length - len(s.IDs)
	if missing <= 0 {
		return nil
	}
	id, ok := t.TokenID(x.Token)
	if x.Token == "" {
		id, ok = t.expansion, t.expansion >= 0
	}
	if !ok {
		return fmt.Errorf("%w: query expansion: want a token of the vocabulary, got %q, and the tokenizer names no mask or end token", ErrBadTokenizer, x.Token)
	}
	s.IDs = append(slices.Clip(s.IDs), repeat(id, missing)...)
	s.TypeIDs = append(slices.Clip(s.TypeIDs), repeat(int32(0), missing)...)
	s.Attended = append(s.Attended, repeat(x.Attend, missing)...)
	s.Kept = append(s.Kept, repeat(masked || x.Attend, missing)...)
	return nil
}

// apply leaves out what a mask does not keep.
func (s *TokenSet) apply(t *Tokenizer, mask MultiVectorMask, task string) {
	of := task
	if of == "" {
		of = "document"
	}
	skip := make(map[int32]bool)
	if slices.Contains(mask.SkipTasks, of) {
		for _, word := range mask.Skip {
			if id, ok := t.TokenID(word); ok {
				skip[id] = true
			}
		}
	}
	for i, id := range s.IDs {
		s.Kept[i] = s.Kept[i] && !skip[id] && (task == "query" || len(mask.Keep) == 0 || slices.Contains(mask.Keep, id))
	}
}

func repeat[T any](v T, n int) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}
