package convert

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

// Types of tokens, as SentencePiece has them.
const (
	normalToken = 1 + iota
	unknownToken
	controlToken
	userToken
	unusedToken
	byteToken
)

// tokenizerFiles are the files of a tokenizer directory that go along.
var tokenizerFiles = []string{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}

// addTokenizer adds the tokenizer: of the directory that was given, or made of
// the vocabulary.
func (m *ggufModel) addTokenizer(s *source, config map[string]any) error {
	name := m.stringOr("tokenizer.ggml.model", "")
	if rows, _ := config["vocab_size"].(int); m.tokens.len() > rows {
		return ggufErrorf("a vocabulary of %d tokens, and a word table of %d rows", m.tokens.len(), rows)
	}
	if m.options.Tokenizer != "" {
		return m.copyTokenizer(s)
	}
	if n := m.tokens.len(); n == 0 || m.kinds != nil && len(m.kinds) != n || m.scores != nil && len(m.scores) != n {
		return ggufErrorf("a vocabulary of %d tokens, %d types and %d scores", n, len(m.kinds), len(m.scores))
	}
	var doc, options map[string]any
	var err error
	switch name {
	case "bert":
		doc, options, err = m.wordPiece()
	case "t5":
		doc, options, err = m.unigram()
	default:
		return fmt.Errorf("%w: a tokenizer of the kind %q cannot be made from a GGUF file: give the directory of the model's tokenizer.json (--tokenizer DIR)", loader.ErrUnsupported, name)
	}
	if err != nil {
		return err
	}
	options["model_max_length"] = m.int("context_length", 1, maxLength)
	if err := s.addJSON("tokenizer_config.json", options); err != nil {
		return err
	}
	return s.addJSON("tokenizer.json", doc)
}

// kind is the type of a token, by its name where the file does not say.
func (m *ggufModel) kind(i int) int {
	if m.kinds != nil {
		return int(m.kinds[i])
	}
	switch m.tokens.at(i) {
	case "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]":
		return controlToken
	}
	return normalToken
}

// special returns the id and the text of a special token: of the first key that
// there is, or of the token that is called as given.
func (m *ggufModel) special(name string, keys ...string) (int, string, error) {
	for _, key := range keys {
		if key = "tokenizer.ggml." + key; m.has(key) {
			id := m.int(key, 0, m.tokens.len()-1)
			return id, m.tokens.at(id), m.err
		}
	}
	for i := range m.tokens.len() {
		if m.tokens.at(i) == name {
			return i, name, nil
		}
	}
	return 0, "", ggufErrorf("the vocabulary has no token %s", name)
}

// padding are the tokens that fill a vocabulary up to the rows of the word table.
var padding = regexp.MustCompile(`^\[PAD\d+\]$`)

// vocabulary marshals as an object of ids by token, in the order of the ids.
type vocabulary []struct {
	token string
	id    int
}

func (v vocabulary) MarshalJSON() ([]byte, error) {
	out := bytes.NewBuffer([]byte{'{'})
	for _, t := range v {
		if err := appendMember(out, t.token, t.id); err != nil {
			return nil, err
		}
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// addedToken is an entry of added_tokens.
type addedToken struct {
	ID         int    `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

const separatorKey = "seperator_token_id" //nolint:misspell // as the format spells it

const wordStart = "▁" // U+2581: what both kinds of vocabulary put before a word

// wordPiece makes BERT's tokenizer. llama.cpp's files mark the beginning of a
// word where BERT marks its continuation with ##.
func (m *ggufModel) wordPiece() (doc, options map[string]any, err error) {
	var words vocabulary
	added, seen, doubled, accents, capitals := []addedToken{}, map[string]bool{}, 0, false, false
	for i := range m.tokens.len() {
		token, kind := m.tokens.at(i), m.kind(i)
		switch {
		case kind == unusedToken && padding.MatchString(token):
			continue
		case kind == controlToken || kind == unknownToken || len(token) > 2 && token[0] == '[' && token[len(token)-1] == ']':
			if kind == controlToken || kind == unknownToken {
				added = append(added, addedToken{ID: i, Content: token, Special: true})
			}
		case strings.HasPrefix(token, wordStart):
			token = strings.TrimPrefix(token, wordStart)
			if strings.HasPrefix(token, wordStart) && token != wordStart {
				doubled++
			}
			capitals, accents = capitals || hasCapital(token), accents || strings.ContainsAny(token, accented)
		default:
			token = "##" + token
		}
		if seen[token] {
			return nil, nil, ggufErrorf("token %d: %.60q: twice", i, token)
		}
		seen[token] = true
		words = append(words, struct {
			token string
			id    int
		}{token, i})
	}
	if doubled > len(words)/10 {
		return nil, nil, fmt.Errorf("%w: the vocabulary is not of BERT's tokenizer: the file was converted wrongly, as those of CamemBERT are; convert the original model", loader.ErrUnsupported)
	}
	cls, clsToken, err := m.special("[CLS]", "cls_token_id", "bos_token_id")
	if err != nil {
		return nil, nil, err
	}
	sep, sepToken, err := m.special("[SEP]", separatorKey, "eos_token_id")
	if err != nil {
		return nil, nil, err
	}
	_, unkToken, err := m.special("[UNK]", "unknown_token_id")
	if err != nil {
		return nil, nil, err
	}
	some := "no capital letters: texts are lower-cased"
	if capitals {
		some = "capital letters: texts are not lower-cased"
	}
	m.note("lower-casing is not in the file; the vocabulary has %s; accents are kept: %t", some, capitals || accents)
	strip := any(nil) // as lowercase
	if !capitals && accents {
		strip = false
	}
	doc = tokenizerDoc(added,
		map[string]any{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": strip, "lowercase": !capitals},
		map[string]any{"type": "BertPreTokenizer"},
		template(special{clsToken, cls}, special{sepToken, sep}, nil, 1),
		map[string]any{"type": "WordPiece", "unk_token": unkToken, "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": words})
	options = map[string]any{
		"tokenizer_class": "BertTokenizer", "do_lower_case": !capitals, "strip_accents": strip, "tokenize_chinese_chars": true,
		"cls_token": clsToken, "sep_token": sepToken, "unk_token": unkToken,
	}
	return doc, options, m.tokenOptions(options)
}

// tokenOptions adds the special tokens that are not part of any text.
func (m *ggufModel) tokenOptions(options map[string]any) error {
	for name, key := range map[string]string{"pad_token": "tokenizer.ggml.padding_token_id", "mask_token": "tokenizer.ggml.mask_token_id"} {
		if m.has(key) {
			options[name] = m.tokens.at(m.int(key, 0, m.tokens.len()-1))
		}
	}
	return m.err
}

// hasCapital looks at Latin letters alone: the vocabulary of bert-base-uncased has
// a ℝ, which has no small form.
func hasCapital(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' })
}

// accented are letters that no vocabulary has whose tokenizer strips accents, and
// that others have some of.
const accented = "àáâãäåçèéêëìíîïñòóôõöùúûüýÿčšžйёがでだ"

// unigram makes XLM-RoBERTa's tokenizer.
func (m *ggufModel) unigram() (doc, options map[string]any, err error) {
	if m.scores == nil {
		return nil, nil, ggufErrorf("a Unigram vocabulary without scores")
	}
	mask := -1
	if key := "tokenizer.ggml.mask_token_id"; m.has(key) {
		mask = m.int(key, 0, m.tokens.len()-1)
	}
	lowest := math.Inf(1) // of the real tokens: what an unknown character costs goes by it
	for i, score := range m.scores {
		if m.kind(i) != unusedToken {
			lowest = min(lowest, float64(score))
		}
		if !isFinite(score) {
			return nil, nil, ggufErrorf("token %d: score %g", i, score)
		}
	}
	pieces := make([][2]any, m.tokens.len())
	added := []addedToken{}
	for i := range pieces {
		token, score, kind := m.tokens.at(i), decimal(float64(m.scores[i])), m.kind(i)
		switch {
		case kind == byteToken:
			return nil, nil, fmt.Errorf("%w: token %d: a token of a byte: give the directory of the model's tokenizer.json (--tokenizer DIR)", loader.ErrUnsupported, i)
		case kind == unusedToken && i == mask: // SentencePiece's own file does not have it
			token, score, kind = "<mask>", "0", controlToken
		case kind == unusedToken:
			score = decimal(lowest)
		}
		if kind == controlToken || kind == unknownToken || kind == userToken {
			added = append(added, addedToken{ID: i, Content: token, Special: kind != userToken, LStrip: i == mask})
		}
		pieces[i] = [2]any{token, score}
	}
	bos, bosToken, err := m.special("<s>", "bos_token_id", "cls_token_id")
	if err != nil {
		return nil, nil, err
	}
	eos, eosToken, err := m.special("</s>", "eos_token_id", separatorKey)
	if err != nil {
		return nil, nil, err
	}
	unk, unkToken, err := m.special("<unk>", "unknown_token_id")
	if err != nil {
		return nil, nil, err
	}
	scheme := "never"
	if m.boolOr("tokenizer.ggml.add_space_prefix", true) {
		scheme = "always"
	}
	var normalizer any
	if len(m.charmap) > 0 {
		normalizer = map[string]any{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(m.charmap)}
	}
	doc = tokenizerDoc(added, normalizer,
		map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "WhitespaceSplit"},
			map[string]any{"type": "Metaspace", "replacement": wordStart, "prepend_scheme": scheme, "split": true},
		}},
		template(special{bosToken, bos}, special{eosToken, eos}, &special{eosToken, eos}, 0),
		map[string]any{"type": "Unigram", "unk_id": unk, "byte_fallback": false, "vocab": pieces})
	options = map[string]any{
		"tokenizer_class": "XLMRobertaTokenizer", "bos_token": bosToken, "cls_token": bosToken, "eos_token": eosToken, "sep_token": eosToken, "unk_token": unkToken,
	}
	err = m.tokenOptions(options)
	if mask >= 0 {
		options["mask_token"] = pieces[mask][0]
	}
	return doc, options, err
}

func tokenizerDoc(added []addedToken, normalizer, preTokenizer, postProcessor, model any) map[string]any {
	return map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": added, "normalizer": normalizer,
		"pre_tokenizer": preTokenizer, "post_processor": postProcessor, "decoder": nil, "model": model,
	}
}

// special is a special token.
type special struct {
	token string
	id    int
}

// template is the post-processor that puts first and last around a text, and
// between two texts last and, if it is not nil, second. pairType is the type of
// the second text.
func template(first, last special, second *special, pairType int) map[string]any {
	token := func(s special, kind int) any {
		return map[string]any{"SpecialToken": map[string]any{"id": s.token, "type_id": kind}}
	}
	text := func(id string, kind int) any {
		return map[string]any{"Sequence": map[string]any{"id": id, "type_id": kind}}
	}
	table := map[string]any{}
	for _, s := range []special{first, last} {
		table[s.token] = map[string]any{"id": s.token, "ids": []int{s.id}, "tokens": []string{s.token}}
	}
	single := []any{token(first, 0), text("A", 0), token(last, 0)}
	pair := append([]any{}, single...)
	if second != nil {
		pair = append(pair, token(*second, 0))
	}
	pair = append(pair, text("B", pairType), token(last, pairType))
	return map[string]any{"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": table}
}

// copyTokenizer takes the tokenizer of a directory, whose vocabulary must be that
// of the file.
func (m *ggufModel) copyTokenizer(s *source) error {
	dir, found := m.options.Tokenizer, 0
	for i, name := range tokenizerFiles {
		real, err := loader.Within(dir, name)
		if err != nil {
			if i > 0 && isMissing(err) {
				continue
			}
			return fmt.Errorf("the tokenizer directory: %w", err)
		}
		s.files = append(s.files, smallFile{name: name, from: real})
		found++
	}
	return m.compareTokens(s.files[len(s.files)-found].from)
}

// compareTokens holds the ordinary tokens of the file against those of a
// tokenizer.json: another model's tokenizer would give wrong vectors without a
// word.
func (m *ggufModel) compareTokens(name string) error {
	kind := m.stringOr("tokenizer.ggml.model", "")
	if kind == "bert" || m.tokens.len() == 0 || len(m.kinds) != m.tokens.len() { // spelled otherwise; or there is nothing to compare
		return nil
	}
	data, err := loader.ReadBounded(name, maxSmallFile)
	if err != nil {
		return err
	}
	var doc struct {
		Model struct {
			Vocab json.RawMessage `json:"vocab"`
		} `json:"model"`
	}
	ids := make(map[string]int)
	if err := json.Unmarshal(data, &doc); err != nil {
		return fmt.Errorf("%w: %s: %w", loader.ErrBadTokenizer, name, err)
	}
	if err := json.Unmarshal(doc.Model.Vocab, &ids); err != nil {
		var pieces [][]any // Unigram: pairs of token and score
		if json.Unmarshal(doc.Model.Vocab, &pieces) != nil {
			return fmt.Errorf("%w: %s: its vocabulary: %w", loader.ErrBadTokenizer, name, err)
		}
		for i, p := range pieces {
			if len(p) == 0 {
				continue
			}
			if token, ok := p[0].(string); ok {
				ids[token] = i
			}
		}
	}
	for i := range m.tokens.len() {
		if m.kind(i) != normalToken {
			continue
		}
		if id, ok := ids[m.tokens.at(i)]; !ok || id != i {
			return fmt.Errorf("%w: %s: token %.60q: want id %d as in the GGUF file, got %d (%t): it is another model's tokenizer", loader.ErrBadTokenizer, name, m.tokens.at(i), i, id, ok)
		}
	}
	return nil
}
