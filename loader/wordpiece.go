package loader

import (
	"fmt"
	"slices"

	"github.com/vkbert/vkbert/loader/wordpiece"
)

// wordPiece is what package wordpiece needs to stand in for the library, or an error that says which part of the file it does not know. normalizer,
// preTokenizer and added are the texts that the library gets.
func (c *tokenizerChecker) wordPiece(normalizer, preTokenizer, added string) (wordpiece.Config, error) {
	config := wordpiece.Config{}
	for key := range c.parts {
		if !slices.Contains(tokenizerParts, key) {
			return config, fmt.Errorf("the part %q", key)
		}
	}
	if c.model != "WordPiece" {
		return config, fmt.Errorf("the model %s", c.model)
	}
	if err := only(c.settings, "type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word"); err != nil {
		return config, fmt.Errorf("model: %w", err)
	}
	f := (&Config{file: "model", obj: c.settings, kind: ErrBadTokenizer}).Fields()
	config.Unknown = c.vocab[f.String("unk_token")]
	config.Prefix = f.String("continuing_subword_prefix")
	config.MaxWordChars = f.Int("max_input_chars_per_word", 1, maxCharsPerWord)
	if f.Err() != nil {
		return config, f.Err()
	}
	if c.typed {
		return config, fmt.Errorf("type ids other than 0 in the template of one text")
	}
	pre, err := parseObject(preTokenizer)
	if err == nil && (pre.get("type") != "BertPreTokenizer" || len(pre.keys) != 1) {
		err = fmt.Errorf("pre_tokenizer: want BertPreTokenizer")
	}
	if err != nil {
		return config, err
	}
	if config.Normalizer, err = wordPieceNormalizer(normalizer); err != nil {
		return config, fmt.Errorf("normalizer: %w", err)
	}
	if config.Added, err = wordPieceAdded(added); err != nil {
		return config, fmt.Errorf("added_tokens: %w", err)
	}
	config.Vocabulary = make(map[string]int32, len(c.vocab))
	for token, id := range c.vocab {
		if !c.addedOnly[token] {
			config.Vocabulary[token] = id
		}
	}
	for i, token := range config.Added {
		config.Added[i].ID = c.vocab[token.Content]
	}
	return config, nil
}

var tokenizerParts = []string{"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"}

// only refuses an object that has other keys.
func only(obj *jsonObject, keys ...string) error {
	for _, key := range obj.keys {
		if !slices.Contains(keys, key) {
			return fmt.Errorf("the key %q", key)
		}
	}
	return nil
}

func parseObject(text string) (*jsonObject, error) {
	p := &jsonParser{data: text, depth: tokenizerDepth}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	obj, ok := v.(*jsonObject)
	if !ok {
		return nil, fmt.Errorf("want an object, got %s", describe(v))
	}
	return obj, nil
}

// wordPieceNormalizer reads no normalizer, BERT's, Lowercase, or the latter in front of the former.
func wordPieceNormalizer(text string) (n wordpiece.Normalizer, err error) {
	if text == "null" {
		return n, nil
	}
	obj, err := parseObject(text)
	if err != nil {
		return n, err
	}
	list := []any{obj}
	if obj.get("type") == "Sequence" {
		if err := only(obj, "type", "normalizers"); err != nil {
			return n, err
		}
		list, _ = obj.get("normalizers").([]any)
	}
	bert := false
	for _, v := range list {
		obj, _ := v.(*jsonObject)
		switch {
		case obj == nil || bert:
			return n, fmt.Errorf("something after BertNormalizer")
		case obj.get("type") == "Lowercase":
			n.LowercaseFirst = true
			err = only(obj, "type")
		case obj.get("type") == "BertNormalizer":
			bert = true
			n, err = bertNormalizer(obj, n)
		default:
			err = fmt.Errorf("the type %v", obj.get("type"))
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func bertNormalizer(obj *jsonObject, n wordpiece.Normalizer) (wordpiece.Normalizer, error) {
	if err := only(obj, "type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"); err != nil {
		return n, err
	}
	f := (&Config{file: "normalizer", obj: obj, kind: ErrBadTokenizer}).Fields()
	n.CleanText, n.ChineseChars, n.Lowercase = f.Bool("clean_text"), f.Bool("handle_chinese_chars"), f.Bool("lowercase")
	n.StripAccents = f.BoolOr("strip_accents", n.Lowercase)
	return n, f.Err()
}

func wordPieceAdded(text string) ([]wordpiece.AddedToken, error) {
	p := &jsonParser{data: text, depth: tokenizerDepth}
	var tokens []wordpiece.AddedToken
	err := p.array(func(i int) error {
		v, err := p.value()
		if err != nil {
			return err
		}
		obj, ok := v.(*jsonObject)
		if !ok {
			return fmt.Errorf("%d: want an object, got %s", i, describe(v))
		}
		if err := only(obj, "id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"); err != nil {
			return err
		}
		f := (&Config{file: "added_tokens", obj: obj, kind: ErrBadTokenizer}).Fields()
		tokens = append(tokens, wordpiece.AddedToken{
			Content: f.String("content"), Normalized: f.Bool("normalized"), SingleWord: f.Bool("single_word"), LStrip: f.Bool("lstrip"), RStrip: f.Bool("rstrip"),
		})
		return f.Err()
	})
	return tokens, err
}
