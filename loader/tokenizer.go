package loader

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
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
	// encode returns nothing at all on a failure. text holds no U+0000.
	encode(text string) (ids, typeIDs []uint32)
	close() error
}

// Tokenizer turns texts into token ids as the reference does. Its methods may be
// called from any number of goroutines, which then encode at the same time;
// Close waits for the calls that are under way.
type Tokenizer struct {
	mu       sync.RWMutex
	lib      library // nil after Close
	spec     *tokenizerSpec
	fromLeft bool // truncation drops the beginning
}

// OpenTokenizer opens the tokenizer of a model: tokenizer.json, with the options
// that its neighbours add. The caller closes it.
func OpenTokenizer(m *Model) (*Tokenizer, error) {
	path, err := within(m.Dir, join(m.transformer, tokenizerFileName))
	if errors.Is(err, ErrNotFound) {
		return nil, noTokenizer(m)
	}
	if err != nil {
		return nil, err
	}
	data, err := readBounded(path, maxTokenizer)
	if err != nil {
		return nil, err
	}
	opts, fromLeft, err := readTokenizerOptions(m)
	if err != nil {
		return nil, err
	}
	spec, err := checkTokenizer(path, data, opts)
	if err != nil {
		return nil, err
	}
	t, err := newTokenizer(spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t.fromLeft = fromLeft
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
		if ids, _ := lib.encode(content); len(ids) == 0 {
			err := fmt.Errorf("%w: normalizing the added token %.60q fails", ErrBadTokenizer, content)
			return errors.Join(err, lib.close())
		}
	}
	return lib.close()
}

// slowTokenizers are files of tokenizers that transformers converts on the fly.
var slowTokenizers = []string{"vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"}

func noTokenizer(m *Model) error {
	dir := filepath.Join(m.Dir, filepath.FromSlash(m.transformer))
	for _, name := range slowTokenizers {
		if !missing(m.Dir, join(m.transformer, name)) {
			return fmt.Errorf("%w: %s holds %s but no %s; write it with Python: from transformers import AutoTokenizer; AutoTokenizer.from_pretrained(%q).save_pretrained(%q)",
				ErrUnsupported, dir, name, tokenizerFileName, dir, dir)
		}
	}
	return fmt.Errorf("%w: %s holds no %s", ErrNotFound, dir, tokenizerFileName)
}

// bertTokenizers are the classes (less "Tokenizer" or "TokenizerFast") and model
// types whose constructor sets the normalizer from tokenizer_config.json.
var (
	bertTokenizers = []string{"Bert", "ConvBert", "DistilBert", "Electra", "Funnel", "LayoutLM", "Lxmert", "MobileBert", "MPNet", "SqueezeBert"}
	bertModelTypes = []string{"bert", "convbert", "distilbert", "electra", "funnel", "layoutlm", "lxmert", "mobilebert", "mpnet", "squeezebert"}
)

func readTokenizerOptions(m *Model) (opts tokenizerOptions, fromLeft bool, err error) {
	f := m.tokenizerConfig.Fields()
	class := f.StringOr("tokenizer_class", "")
	side := f.StringOr("truncation_side", "right", "left", "right")
	bert := &bertOptions{
		lowerCase:    f.BoolOr("do_lower_case", true),
		chineseChars: f.BoolOr("tokenize_chinese_chars", true),
		stripAccents: "null",
	}
	if f.Has("strip_accents") {
		bert.stripAccents = fmt.Sprint(f.Bool("strip_accents"))
	}
	opts = tokenizerOptions{lowerCase: m.LowerCase}
	name := strings.TrimSuffix(strings.TrimSuffix(class, "Fast"), "Tokenizer")
	if slices.Contains(bertTokenizers, name) || class == "" && slices.Contains(bertModelTypes, m.Config.ModelType()) {
		opts.bert = bert
	}
	return opts, side == "left", f.Err()
}

// probe checks that the library puts the special tokens around a text that the
// file says.
func (t *Tokenizer) probe() error {
	ids, _ := t.lib.encode("")
	want := slices.Concat(t.spec.prefix, t.spec.suffix)
	same := func(a uint32, b int32) bool { return int64(a) == int64(b) }
	if !slices.EqualFunc(ids, want, same) {
		return fmt.Errorf("%w: the empty text: want the special tokens %v, got %v", ErrBadTokenizer, want, ids)
	}
	return nil
}

// Encode tokenizes a text, special tokens included, without truncating it.
// Invalid UTF-8 counts as U+FFFD. A failure inside the library is an ErrEncode.
//
// U+0000 is treated as by the reference: deleted by BERT's normalizer, unknown to
// a vocabulary of characters. Tokenizers of bytes have a token for it that the
// library cannot be asked for; they get the ids of U+FFFD.
func (t *Tokenizer) Encode(text string) (Encoding, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.lib == nil {
		return Encoding{}, fmt.Errorf("tokenizer: %w", ErrClosed)
	}
	text = validUTF8(text)
	if strings.IndexByte(text, 0) >= 0 {
		text = strings.ReplaceAll(text, "\x00", string(t.spec.nul))
	}
	ids, types := t.lib.encode(text)
	e := Encoding{IDs: make([]int32, len(ids)), TypeIDs: make([]int32, len(ids)), Prefix: len(t.spec.prefix), Suffix: len(t.spec.suffix)}
	if len(ids) < e.Prefix+e.Suffix || len(ids) == 0 && !blank(text) {
		return Encoding{}, fmt.Errorf("%w: want at least %d tokens for a text of %d bytes, got %d", ErrEncode, max(1, e.Prefix+e.Suffix), len(text), len(ids))
	}
	if len(types) != len(ids) {
		return Encoding{}, fmt.Errorf("%w: %d tokens with %d type ids", ErrEncode, len(ids), len(types))
	}
	for i, id := range ids {
		if id > math.MaxInt32 || types[i] > math.MaxInt32 {
			return Encoding{}, fmt.Errorf("%w: token id %d of type %d", ErrEncode, id, types[i])
		}
		e.IDs[i], e.TypeIDs[i] = int32(id), int32(types[i])
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
	if len(e.IDs) <= limit {
		return e, nil
	}
	keep := limit - e.Prefix - e.Suffix
	if keep < 0 {
		return Encoding{}, fmt.Errorf("%w: a limit of %d tokens is below the %d special tokens", ErrEncode, limit, e.Prefix+e.Suffix)
	}
	from := e.Prefix
	if t.fromLeft {
		from = len(e.IDs) - e.Suffix - keep
	}
	cut := func(s []int32) []int32 {
		return slices.Concat(s[:e.Prefix], s[from:from+keep], s[len(s)-e.Suffix:])
	}
	return Encoding{IDs: cut(e.IDs), TypeIDs: cut(e.TypeIDs), Prefix: e.Prefix, Suffix: e.Suffix}, nil
}

// PromptLength returns how many tokens at the beginning of prompt + text are the
// prompt's, as the reference counts them to leave them out of pooling: those of
// the prompt alone, less a special token at its end.
func (t *Tokenizer) PromptLength(prompt string) (int, error) {
	e, err := t.Encode(prompt)
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
