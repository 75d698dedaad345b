package loader

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// vocabSpecials are BERT's special tokens and their defaults, in the order in
// which transformers adds them.
var vocabSpecials = []struct{ key, token string }{
	{"pad_token", "[PAD]"}, {"unk_token", "[UNK]"}, {"cls_token", "[CLS]"}, {"sep_token", "[SEP]"}, {"mask_token", "[MASK]"},
}

// vocabClasses are the classes and model types whose vocab.txt is BERT's.
var (
	vocabClasses    = []string{"Bert", "ConvBert", "DistilBert", "Electra", "LayoutLM", "Lxmert", "MobileBert", "SqueezeBert"}
	vocabModelTypes = []string{"bert", "convbert", "distilbert", "electra", "layoutlm", "lxmert", "mobilebert", "nomic_bert", "squeezebert"}
)

// convertVocab makes the text of a tokenizer.json of a BERT model's vocab.txt, as
// transformers converts it. The tokenizers of other files are refused by name.
//
// Source: transformers/convert_slow_tokenizer.py, BertConverter.
func convertVocab(m *Model) (string, []byte, error) {
	path, err := within(m.Dir, join(m.folder, "vocab.txt"))
	if errors.Is(err, ErrNotFound) {
		return "", nil, noTokenizer(m)
	}
	if err != nil {
		return "", nil, err
	}
	class, err := m.tokenizerConfig.StringOr("tokenizer_class", "")
	if err != nil {
		return "", nil, err
	}
	name := strings.TrimSuffix(strings.TrimSuffix(class, "Fast"), "Tokenizer")
	if !slices.Contains(vocabClasses, name) && (class != "" || !slices.Contains(vocabModelTypes, m.Config.ModelType())) {
		return "", nil, noTokenizer(m)
	}
	data, err := readBounded(path, maxTokenizer)
	if err != nil {
		return "", nil, err
	}
	tokens, err := vocabTokens(m)
	if err != nil {
		return "", nil, err
	}
	doc, err := vocabDocument(data, tokens)
	if err != nil {
		return "", nil, fmt.Errorf("%s: %w", path, err)
	}
	return path, doc, nil
}

// vocabTokens reads the special tokens from tokenizer_config.json, else from
// special_tokens_map.json, else they are BERT's. [tokenizerOptions] has what
// tokenizer_config.json says of the normalizer.
func vocabTokens(m *Model) (map[string]string, error) {
	other, err := optionalConfig(m.Dir, join(m.folder, "special_tokens_map.json"))
	if err != nil {
		return nil, err
	}
	tokens := make(map[string]string)
	for _, s := range vocabSpecials {
		tokens[s.key] = s.token
		for _, c := range []*Config{other, m.tokenizerConfig} {
			f := c.Fields()
			if token := tokenText(c, f, s.key); token != "" {
				tokens[s.key] = token
			}
			if f.Err() != nil {
				return nil, f.Err()
			}
		}
	}
	return tokens, nil
}

// readVocab returns the ids of the tokens of a vocab.txt, one a line. Of a token
// that is there twice the last counts, as for transformers.
func readVocab(data []byte) (map[string]int, error) {
	text := string(data)
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
	if len(data) == 0 || len(lines) > maxTokens {
		return nil, fmt.Errorf("%w: want 1 to %d tokens, one a line, got %d bytes", ErrBadTokenizer, maxTokens, len(data))
	}
	vocab := make(map[string]int, len(lines))
	for id, token := range lines {
		if validUTF8(token) != token {
			return nil, fmt.Errorf("%w: line %d: not valid UTF-8", ErrBadTokenizer, id+1)
		}
		vocab[token] = id
	}
	return vocab, nil
}

func vocabDocument(data []byte, tokens map[string]string) ([]byte, error) {
	vocab, err := readVocab(data)
	if err != nil {
		return nil, err
	}
	type object map[string]any
	var added []object
	for _, s := range vocabSpecials {
		token := tokens[s.key]
		id, known := vocab[token]
		if !known {
			if s.key == "pad_token" || s.key == "mask_token" { // no text has them
				continue
			}
			return nil, fmt.Errorf("%w: %s: want a token of the vocabulary, got %.60q", ErrBadTokenizer, s.key, token)
		}
		if slices.ContainsFunc(added, func(o object) bool { return o["id"] == id }) {
			continue
		}
		added = append(added, object{"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
	}
	slices.SortFunc(added, func(a, b object) int { return a["id"].(int) - b["id"].(int) })
	special := func(key string, typeID int) object {
		return object{"SpecialToken": object{"id": tokens[key], "type_id": typeID}}
	}
	text := func(id string, typeID int) object { return object{"Sequence": object{"id": id, "type_id": typeID}} }
	single := []object{special("cls_token", 0), text("A", 0), special("sep_token", 0)}
	table := object{}
	for _, key := range []string{"cls_token", "sep_token"} {
		table[tokens[key]] = object{"id": tokens[key], "ids": []int{vocab[tokens[key]]}, "tokens": []string{tokens[key]}}
	}
	return json.Marshal(object{
		"version": "1.0", "added_tokens": added,
		"normalizer":    object{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": nil, "lowercase": true},
		"pre_tokenizer": object{"type": "BertPreTokenizer"},
		"post_processor": object{
			"type": "TemplateProcessing", "single": single, "pair": append(slices.Clone(single), text("B", 1), special("sep_token", 1)), "special_tokens": table,
		},
		"model": object{
			"type": "WordPiece", "unk_token": tokens["unk_token"], "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab,
		},
	})
}

// noTokenizer says what a directory without tokenizer.json holds instead.
func noTokenizer(m *Model) error {
	dir := filepath.Join(m.Dir, filepath.FromSlash(m.folder))
	for _, name := range slowTokenizers {
		if !missing(m.Dir, join(m.folder, name)) {
			return fmt.Errorf("%w: %s holds %s but no %s; write it with Python: from transformers import AutoTokenizer; AutoTokenizer.from_pretrained(%q).save_pretrained(%q)",
				ErrUnsupported, dir, name, tokenizerFileName, dir, dir)
		}
	}
	return fmt.Errorf("%w: %s holds no %s", ErrNotFound, dir, tokenizerFileName)
}

// slowTokenizers are files of tokenizers that transformers converts on the fly.
var slowTokenizers = []string{"vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model"}
