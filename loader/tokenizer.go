package loader

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"unicode"
)

// Encoding is a tokenized text, ready for the model.
type Encoding struct {
	IDs     []int32
	TypeIDs []int32 // one an id
	Prefix  int     // special tokens in front, for example [CLS]
	Suffix  int     // and at the end, for example [SEP]
}

// library is the part of the tokenizer library that is used. Its calls may run
// at the same time, close excepted.
type library interface {
	// encode returns nothing at all on a failure, and type ids if they are asked for.
	// text holds no U+0000.
	encode(text string, types bool) (ids, typeIDs []uint32)
	close() error
}

// Tokenizer turns texts into token ids as the reference does. Its methods may be
// called from any number of goroutines, which then encode at the same time, but for
// long texts that the library encodes: those wait for each other, as its memory is a
// multiple of theirs. Close waits for the calls that are under way.
type Tokenizer struct {
	mu       sync.RWMutex
	lib      library // nil after Close
	spec     *tokenizerSpec
	fromLeft bool // truncation drops the beginning
	untyped  bool // the model gets no type ids: all are 0

	expansion int32 // the token that queries are expanded with; -1 for none
}

// OpenTokenizer opens the tokenizer of a model, or of one route of it:
// tokenizer.json, with the options that its neighbours add, or BERT's vocab.txt
// where there is none. The caller closes it.
func OpenTokenizer(m *Model) (*Tokenizer, error) {
	opts, err := readTokenizerOptions(m)
	if err != nil {
		return nil, err
	}
	path, data, err := readTokenizer(m)
	if err != nil {
		return nil, err
	}
	t, err := openTokenizer(path, data, opts)
	if err != nil || m.MultiVector == nil {
		return t, err
	}
	if opts.special, err = t.unknownPrefixes(m.MultiVector.prefixes); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	if len(opts.special) == 0 {
		return t, nil
	}
	if err := t.Close(); err != nil {
		return nil, err
	}
	return openTokenizer(path, data, opts)
}

// readTokenizer returns the text of tokenizer.json, or of one made of vocab.txt,
// and the path of the file that it is from.
func readTokenizer(m *Model) (string, []byte, error) {
	path, err := within(m.Dir, join(m.folder, tokenizerFileName))
	if errors.Is(err, ErrNotFound) {
		return convertVocab(m)
	}
	if err != nil {
		return "", nil, err
	}
	data, err := readBounded(path, maxTokenizer)
	return path, data, err
}

func openTokenizer(path string, data []byte, opts tokenizerOptions) (*Tokenizer, error) {
	spec, err := checkTokenizer(path, data, opts)
	if err != nil {
		return nil, err
	}
	t, err := newTokenizer(spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.fromLeft, t.untyped, t.expansion = opts.fromLeft || spec.fromLeft, opts.untyped, -1
	for _, token := range opts.expansion {
		if id, ok := t.TokenID(token); ok {
			t.expansion = id
			break
		}
	}
	return t, nil
}

// newTokenizer loads what checkTokenizer has made into the library.
func newTokenizer(spec *tokenizerSpec) (*Tokenizer, error) {
	if err := rehearse(spec); err != nil {
		return nil, err
	}
	lib, err := openLibrary(spec.doc)
	if err != nil {
		return nil, err
	}
	spec.doc, spec.rehearsal, spec.normalized = nil, nil, nil
	t := &Tokenizer{lib: lib, spec: spec}
	if err := t.probe(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// rehearse checks that the library can normalize the added tokens.
func rehearse(spec *tokenizerSpec) error {
	if len(spec.normalized) == 0 {
		return nil
	}
	lib, err := openLibrary(spec.rehearsal)
	if err != nil {
		return err
	}
	for _, content := range spec.normalized {
		if ids, _ := lib.encode(content, false); len(ids) == 0 {
			err := fmt.Errorf("%w: normalizing the added token %.60q fails", ErrBadTokenizer, content)
			return errors.Join(err, lib.close())
		}
	}
	return lib.close()
}

// probe checks that the library puts the special tokens around a text that the
// file says.
func (t *Tokenizer) probe() error {
	ids, _ := t.lib.encode("", false)
	want := slices.Concat(t.spec.prefix, t.spec.suffix)
	same := func(a uint32, b int32) bool { return int64(a) == int64(b) }
	if !slices.EqualFunc(ids, want, same) {
		return fmt.Errorf("%w: the empty text: want the special tokens %v, got %v", ErrBadTokenizer, want, ids)
	}
	return nil
}

// Encode tokenizes a text, special tokens included, without truncating it.
// Invalid UTF-8 counts as U+FFFD. A failure inside the library is an ErrEncode. The
// end of ctx is the end of waiting for other texts, not of encoding.
//
// U+0000 is treated as by the reference: deleted by BERT's normalizer, a token of
// its own in a vocabulary of bytes, unknown to one of characters.
func (t *Tokenizer) Encode(ctx context.Context, text string) (Encoding, error) {
	ids, types, err := t.Append(ctx, nil, text, 0)
	if err != nil {
		return Encoding{}, err
	}
	if types == nil {
		types = make([]int32, len(ids))
	}
	return Encoding{IDs: ids, TypeIDs: types, Prefix: len(t.spec.prefix), Suffix: len(t.spec.suffix)}, nil
}

// Append is [Tokenizer.Encode] and [Tokenizer.Truncate] to limit tokens, 0 for
// any number, in one, which is cheaper for a long text: it appends the ids to
// dst. types are the type ids of this text alone, or nil where all are 0.
func (t *Tokenizer) Append(ctx context.Context, dst []int32, text string, limit int) (ids, types []int32, err error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.lib == nil {
		return dst, nil, fmt.Errorf("tokenizer: %w", ErrClosed)
	}
	if special := len(t.spec.prefix) + len(t.spec.suffix); limit > 0 && limit < special {
		return dst, nil, fmt.Errorf("%w: a limit of %d tokens is below the %d special tokens", ErrEncode, limit, special)
	}
	text = validUTF8(text)
	if t.spec.native != nil {
		if ids, ok := t.native(dst, text, limit); ok {
			return ids, nil, nil
		}
	}
	e, err := t.encodeByLibrary(ctx, text)
	if err == nil && limit > 0 {
		e, err = t.Truncate(e, limit)
	}
	if err != nil {
		return dst, nil, err
	}
	if slices.ContainsFunc(e.TypeIDs, func(id int32) bool { return id != 0 }) {
		types = e.TypeIDs
	}
	return append(dst, e.IDs...), types, nil
}

// Limit is how many tokens the file of a model without positions cuts texts off
// at; 0: it does not.
func (t *Tokenizer) Limit() int { return t.spec.limit }

// Native says whether texts are encoded without the library, which is some fifty
// times as fast.
func (t *Tokenizer) Native() bool { return t.spec.native != nil }

// native encodes without the library; false where it must not.
func (t *Tokenizer) native(dst []int32, text string, limit int) ([]int32, bool) {
	keep := 0 // any number
	if limit > 0 {
		keep = limit - len(t.spec.prefix) - len(t.spec.suffix)
		if keep == 0 {
			return append(append(dst, t.spec.prefix...), t.spec.suffix...), true
		}
	}
	ids := append(dst, t.spec.prefix...)
	from, most := len(ids), keep
	if t.fromLeft {
		most = 0
	}
	ids, ok := t.spec.native.Append(ids, text, most)
	if !ok {
		return dst, false
	}
	if extra := len(ids) - from - keep; keep > 0 && extra > 0 {
		if t.fromLeft {
			copy(ids[from:], ids[from+extra:])
		}
		ids = ids[:from+keep]
	}
	return append(ids, t.spec.suffix...), true
}

// encodeByLibrary encodes valid UTF-8.
func (t *Tokenizer) encodeByLibrary(ctx context.Context, text string) (Encoding, error) {
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", t.spec.nul)
	}
	var ids, types []uint32
	if err := inLibrary(ctx, len(text), func() { ids, types = t.lib.encode(text, !t.untyped) }); err != nil {
		return Encoding{}, err
	}
	e := Encoding{IDs: make([]int32, len(ids)), TypeIDs: make([]int32, len(ids)), Prefix: len(t.spec.prefix), Suffix: len(t.spec.suffix)}
	if len(ids) < e.Prefix+e.Suffix || len(ids) == 0 && !blank(text) {
		return Encoding{}, fmt.Errorf("%w: want at least %d tokens for a text of %d bytes, got %d", ErrEncode, max(1, e.Prefix+e.Suffix), len(text), len(ids))
	}
	if !t.untyped && len(types) != len(ids) {
		return Encoding{}, fmt.Errorf("%w: %d tokens with %d type ids", ErrEncode, len(ids), len(types))
	}
	for i, id := range ids {
		if id > math.MaxInt32 {
			return Encoding{}, fmt.Errorf("%w: token id %d", ErrEncode, id)
		}
		e.IDs[i] = int32(id)
	}
	for i, id := range types {
		if id > math.MaxInt32 {
			return Encoding{}, fmt.Errorf("%w: type id %d", ErrEncode, id)
		}
		e.TypeIDs[i] = int32(id)
	}
	return e, nil
}

// blank says that a tokenizer may find nothing in a text: it has no letter,
// number, punctuation or symbol.
func blank(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool {
		return r != '\ufffd' && unicode.In(r, unicode.L, unicode.N, unicode.P, unicode.S)
	}) < 0
}

// Truncate shortens an encoding to at most limit tokens. It keeps the special
// tokens and drops from the end of the text, or from its beginning if the
// tokenizer's configuration says so. e itself is not changed; it is returned if
// it fits. A limit below the special tokens is an ErrEncode.
func (t *Tokenizer) Truncate(e Encoding, limit int) (Encoding, error) {
	return t.TruncateSide(e, limit, t.fromLeft)
}

// TruncatesStart says that Truncate drops from the beginning of a text.
func (t *Tokenizer) TruncatesStart() bool { return t.fromLeft }

// TruncateSide is [Tokenizer.Truncate] with the side chosen by the caller.
func (t *Tokenizer) TruncateSide(e Encoding, limit int, start bool) (Encoding, error) {
	if len(e.IDs) <= limit {
		return e, nil
	}
	keep := limit - e.Prefix - e.Suffix
	if keep < 0 {
		return Encoding{}, fmt.Errorf("%w: a limit of %d tokens is below the %d special tokens", ErrEncode, limit, e.Prefix+e.Suffix)
	}
	from := e.Prefix
	if start {
		from = len(e.IDs) - e.Suffix - keep
	}
	cut := func(s []int32) []int32 {
		return slices.Concat(s[:e.Prefix], s[from:from+keep], s[len(s)-e.Suffix:])
	}
	return Encoding{IDs: cut(e.IDs), TypeIDs: cut(e.TypeIDs), Prefix: e.Prefix, Suffix: e.Suffix}, nil
}

// PromptLength returns how many tokens at the beginning of prompt + text are the
// prompt's, as the reference counts them to leave them out of pooling: those of
// the prompt alone, cut off at limit tokens, less a special token at its end.
func (t *Tokenizer) PromptLength(prompt string, limit int) (int, error) {
	e, err := t.Encode(context.Background(), prompt)
	if err == nil {
		e, err = t.Truncate(e, limit)
	}
	if err != nil {
		return 0, err
	}
	n := len(e.IDs)
	if n > 0 && t.spec.special[e.IDs[n-1]] {
		n--
	}
	return n, nil
}

// Tokens returns the text of each id, for people to read: "##ing", "▁the",
// "[CLS]". It is "" for an id that the tokenizer does not have.
func (t *Tokenizer) Tokens(ids []int32) []string {
	tokens := make([]string, len(ids))
	for i, id := range ids {
		tokens[i], _ = t.spec.tokens.get(id)
	}
	return tokens
}

// VocabSize returns one more than the largest id that Encode can return. The
// model's embedding table may have more rows, but must not have fewer.
func (t *Tokenizer) VocabSize() int { return len(t.spec.tokens.ends) }

// TokenID returns the id of a token as the vocabulary spells it ("##ing").
func (t *Tokenizer) TokenID(token string) (int32, bool) { return t.spec.tokens.find(token) }

// unknownPrefixes returns those prefixes that are tokens of the vocabulary but
// that a text is not split into: "[unused0]".
func (t *Tokenizer) unknownPrefixes(prefixes []string) ([]string, error) {
	var special []string
	for _, prefix := range prefixes {
		words := strings.Fields(prefix)
		if len(words) == 0 {
			continue
		}
		for _, token := range []string{prefix, words[0]} {
			id, known := t.TokenID(token)
			if !known {
				continue
			}
			e, err := t.Encode(context.Background(), token)
			if err != nil {
				return nil, err
			}
			if own := e.IDs[e.Prefix : len(e.IDs)-e.Suffix]; !slices.Equal(own, []int32{id}) {
				special = append(special, token)
			}
			break
		}
	}
	return special, nil
}

// Close frees the library's tokenizer. It may be called more than once.
func (t *Tokenizer) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lib == nil {
		return nil
	}
	err := t.lib.close()
	t.lib = nil
	return err
}
