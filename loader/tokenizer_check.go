package loader

import (
	"fmt"
	"strings"
)

// The tokenizer library aborts the process on some malformed files: only its
// encode call recovers from a panic, loading does not. So tokenizer.json is
// checked here to the point where loading cannot panic, recurse or allocate
// without bound, and only then handed over, with the parts that vkbert does
// itself (truncation, padding, decoding) replaced by null.

const (
	maxTokenizer      = 64 << 20 // the largest released one takes 33 MB
	tokenizerDepth    = 32
	maxTokens         = 1 << 21 // of a vocabulary, and ids; the largest released one has 262,144
	maxTokenLen       = 1024    // bytes; the library's trie recurses once a byte when it is freed
	maxAddedTokens    = 1 << 17
	maxAddedLen       = 256
	maxCharsPerWord   = 1000 // WordPiece is quadratic in it; released files say 100
	tokenizerFileName = "tokenizer.json"
)

// tokenizerOptions are what other files change about tokenizer.json.
type tokenizerOptions struct {
	lowerCase bool         // do_lower_case of the Transformer module
	bert      *bertOptions // nil: the tokenizer's class takes the file as it is
}

// bertOptions are what tokenizer_config.json says for a BERT tokenizer class;
// transformers lets them win over the normalizer of tokenizer.json.
type bertOptions struct {
	lowerCase, chineseChars bool
	stripAccents            string // true, false or null, which means as lowerCase
}

// tokenizerSpec is what a checked tokenizer.json says.
type tokenizerSpec struct {
	doc            []byte // for the library
	prefix, suffix []int32
	nul            rune // stands for U+0000 in texts
	tokens         tokenTable
	special        map[int32]bool // added tokens marked special

	rehearsal  []byte   // a small document with the same normalizer
	normalized []string // what loading will normalize
}

// tokenTable maps ids to tokens, compactly.
type tokenTable struct {
	text string
	ends []uint32 // of id i's token in text; its start is the end before
}

func (t *tokenTable) get(id int32) (string, bool) {
	if id < 0 || int(id) >= len(t.ends) {
		return "", false
	}
	start := uint32(0)
	if id > 0 {
		start = t.ends[id-1]
	}
	return t.text[start:t.ends[id]], true
}

func newTokenTable(byID []string) tokenTable {
	var text strings.Builder
	ends := make([]uint32, len(byID))
	for i, s := range byID {
		text.WriteString(s)
		ends[i] = uint32(text.Len())
	}
	return tokenTable{text: text.String(), ends: ends}
}

// tokenizerChecker holds the state of one check.
type tokenizerChecker struct {
	file  string
	opts  tokenizerOptions
	parts map[string]string // top-level values, as text

	model   string // BPE, Unigram, WordLevel or WordPiece
	vocab   map[string]int32
	byID    []string
	special map[int32]bool
	added   []string // contents of normalized added tokens

	bytes     bool // works on bytes: byte-level or with byte fallback
	cleanText bool // the normalizer deletes U+0000, as well as U+0001
	growth    int  // how many times longer normalizing may make a text
}

// checkTokenizer checks a tokenizer.json and prepares it for the library. file
// is what errors name.
func checkTokenizer(file string, data []byte, opts tokenizerOptions) (*tokenizerSpec, error) {
	c := &tokenizerChecker{file: file, opts: opts, parts: make(map[string]string), special: make(map[int32]bool), growth: 1}
	spec, err := c.check(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return spec, nil
}

func (c *tokenizerChecker) check(data []byte) (*tokenizerSpec, error) {
	p, err := newJSON(data, tokenizerDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadTokenizer, err)
	}
	err = p.object(func(key string) (err error) {
		c.parts[key], err = p.skip()
		return err
	})
	if err == nil {
		err = p.end()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadTokenizer, err)
	}
	if v := c.parts["version"]; v != `"1.0"` {
		return nil, fmt.Errorf(`%w: version: want "1.0", got %.20s`, ErrBadTokenizer, v)
	}
	model, err := c.checkModel(c.parts["model"])
	if err != nil {
		return nil, err
	}
	if err := c.checkAdded(); err != nil {
		return nil, err
	}
	normalizer, err := c.checkNormalizer()
	if err != nil {
		return nil, err
	}
	preTokenizer, err := c.checkPreTokenizer()
	if err != nil {
		return nil, err
	}
	spec := &tokenizerSpec{nul: c.nulStandIn(), special: c.special, normalized: c.added}
	postProcessor, err := c.checkPostProcessor(spec)
	if err != nil {
		return nil, err
	}
	spec.tokens = newTokenTable(c.byID)
	added := c.parts["added_tokens"]
	if added == "" {
		added = "[]"
	}
	spec.doc = tokenizerDoc(added, normalizer, preTokenizer, postProcessor, model)
	spec.rehearsal = tokenizerDoc("[]", normalizer, "null", rehearsalProcessor, rehearsalModel)
	return spec, nil
}

func tokenizerDoc(added, normalizer, preTokenizer, postProcessor, model string) []byte {
	return []byte(`{"version":"1.0","truncation":null,"padding":null,"added_tokens":` + added +
		`,"normalizer":` + normalizer + `,"pre_tokenizer":` + preTokenizer +
		`,"post_processor":` + postProcessor + `,"decoder":null,"model":` + model + `}`)
}

// Loading normalizes the added tokens that are marked so, and a normalizer that
// panics then (a search that takes too long, an inconsistent chain) aborts the
// process. The rehearsal is a tokenizer with the same normalizer that gives at
// least one token for any text: encoding those tokens with it, where a panic is
// recovered, shows whether loading is safe.
const (
	rehearsalModel     = `{"type":"WordLevel","unk_token":"x","vocab":{"x":0}}`
	rehearsalProcessor = `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],` +
		`"pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],` +
		`"special_tokens":{"x":{"id":"x","ids":[0],"tokens":["x"]}}}`
)

// nulStandIn returns the character that goes to the library, which takes a C
// string, for a U+0000 in a text. It is treated as the reference treats U+0000
// wherever that is possible.
func (c *tokenizerChecker) nulStandIn() rune {
	switch {
	case c.cleanText: // both are deleted
		return '\u0001'
	case !c.bytes: // both are unknown characters
		return '\U0010fffe'
	default: // byte tokenizers have a token for each; there is no stand-in
		return '\ufffd'
	}
}

func (c *tokenizerChecker) badf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBadTokenizer, fmt.Errorf(format, args...))
}
