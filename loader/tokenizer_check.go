package loader

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/vkbert/vkbert/loader/wordpiece"
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

// tokenizerSpec is what a checked tokenizer.json says.
type tokenizerSpec struct {
	doc            []byte // for the library
	prefix, suffix []int32
	pair           []piece // of a pair of texts; nil: one after the other
	nul            string  // stands for U+0000 in texts
	fromLeft       bool    // truncation drops the beginning; with ownLimit
	limit          int     // most tokens of a text, 0 for any; with ownLimit
	tokens         *tokenTable
	special        map[int32]bool     // added tokens marked special
	native         *wordpiece.Encoder // nil: only the library knows the file
	decode         decodeStep         // of Decode; nil: none
	decodeErr      error

	rehearsal  []byte   // a small document with the same normalizer
	normalized []string // what loading will normalize
}

// tokenTable maps ids to tokens, compactly.
type tokenTable struct {
	text string
	ends []uint32 // of id i's token in text; its start is the end before

	sort  sync.Once
	byKey []int32 // ids in the order of their tokens; made when first needed
}

// find returns the id of a token, the smallest if several have its text.
func (t *tokenTable) find(token string) (int32, bool) {
	t.sort.Do(func() {
		t.byKey = make([]int32, len(t.ends))
		for i := range t.byKey {
			t.byKey[i] = int32(i)
		}
		slices.SortStableFunc(t.byKey, func(a, b int32) int {
			x, _ := t.get(a)
			y, _ := t.get(b)
			return strings.Compare(x, y)
		})
	})
	at, found := slices.BinarySearchFunc(t.byKey, token, func(id int32, token string) int {
		text, _ := t.get(id)
		return strings.Compare(text, token)
	})
	if !found || token == "" { // ids that no token has are empty
		return 0, false
	}
	return t.byKey[at], true
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

func newTokenTable(byID []string) *tokenTable {
	var text strings.Builder
	ends := make([]uint32, len(byID))
	for i, s := range byID {
		text.WriteString(s)
		ends[i] = uint32(text.Len())
	}
	return &tokenTable{text: text.String(), ends: ends}
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

	settings  *jsonObject     // of the model
	addedOnly map[string]bool // added tokens that the model does not know
	typed     bool            // the template of one text has type ids other than 0

	bytes     bool // works on bytes: byte-level or with byte fallback
	cleanText bool // the normalizer deletes U+0000, as well as U+0001
	growth    int  // how many times longer normalizing may make a text
}

// checkTokenizer checks a tokenizer.json and prepares it for the library. file
// is what errors name.
func checkTokenizer(file string, data []byte, opts tokenizerOptions) (*tokenizerSpec, error) {
	c := &tokenizerChecker{file: file, opts: opts, parts: make(map[string]string), special: make(map[int32]bool), addedOnly: make(map[string]bool), growth: 1}
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
	ownNormalizer := normalizer
	normalizer = c.withNUL(normalizer)
	spec := &tokenizerSpec{nul: c.nulStandIn(), special: c.special, normalized: c.added}
	postProcessor, err := c.checkPostProcessor(spec)
	if err != nil {
		return nil, err
	}
	if c.opts.bare {
		spec.prefix, spec.suffix, postProcessor = nil, nil, "null"
	}
	if c.opts.ownLimit {
		if err := c.readTruncation(spec); err != nil {
			return nil, err
		}
	}
	for _, token := range c.opts.special {
		c.special[c.vocab[token]] = true
	}
	spec.tokens = newTokenTable(c.byID)
	c.readDecoder(spec)
	added := c.addedTokens()
	if config, err := c.wordPiece(ownNormalizer, preTokenizer, added); err == nil {
		spec.native, _ = wordpiece.New(config)
	}
	spec.doc = tokenizerDoc(added, normalizer, preTokenizer, postProcessor, model)
	spec.rehearsal = tokenizerDoc("[]", normalizer, "null", rehearsalProcessor, rehearsalModel)
	return spec, nil
}

// readTruncation reads the file's own limit, which a StaticEmbedding keeps.
func (c *tokenizerChecker) readTruncation(spec *tokenizerSpec) error {
	n, err := c.part("truncation")
	if err != nil || n == nil {
		return err
	}
	f := n.Fields()
	spec.limit = f.Int("max_length", 1, noLimit)
	spec.fromLeft = f.StringOr("direction", "Right", "Left", "Right") == "Left"
	f.StringOr("strategy", "LongestFirst", "LongestFirst", "OnlyFirst")
	return f.Err()
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

// nulMark stands for U+0000 in what goes to the library, which takes a C string;
// a normalizer put in front of the file's own turns it back. Noncharacters are in
// no real text.
const nulMark = "\U0010fffe\U0010ffff\U0010fffe"

const nulNormalizer = `{"type":"Replace","pattern":{"String":"` + nulMark + `"},"content":"\u0000"}`

// nulStandIn returns what goes to the library for a U+0000 in a text.
func (c *tokenizerChecker) nulStandIn() string {
	if c.cleanText { // deletes both, and needs no other normalizer
		return "\u0001"
	}
	return nulMark
}

// withNUL puts nulNormalizer in front of a normalizer.
func (c *tokenizerChecker) withNUL(normalizer string) string {
	switch {
	case c.cleanText:
		return normalizer
	case normalizer == "null":
		return nulNormalizer
	}
	return `{"type":"Sequence","normalizers":[` + nulNormalizer + `,` + normalizer + `]}`
}

// addedTokens returns the added tokens with the options' special ones.
func (c *tokenizerChecker) addedTokens() string {
	text := c.parts["added_tokens"]
	if text == "" {
		text = "[]"
	}
	if len(c.opts.special) == 0 {
		return text
	}
	var tokens []map[string]any
	if err := json.Unmarshal([]byte(text), &tokens); err != nil { // was checked
		return text
	}
	for _, token := range c.opts.special {
		entry := map[string]any{"id": c.vocab[token], "content": token, "special": true}
		for _, flag := range []string{"single_word", "lstrip", "rstrip", "normalized"} {
			entry[flag] = false
		}
		tokens = slices.DeleteFunc(tokens, func(t map[string]any) bool { return t["content"] == token })
		tokens = append(tokens, entry)
	}
	slices.SortFunc(tokens, func(a, b map[string]any) int { return cmp.Compare(asNumber(a["id"]), asNumber(b["id"])) })
	out, err := json.Marshal(tokens)
	if err != nil {
		return text
	}
	return string(out)
}

func asNumber(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int32:
		return float64(v)
	}
	return 0
}

func (c *tokenizerChecker) badf(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrBadTokenizer, fmt.Errorf(format, args...))
}
