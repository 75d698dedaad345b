package loader

import (
	"fmt"
	"strconv"
	"strings"
)

// modelSettings are the keys of a model besides its vocabulary and merges: by
// model, the check of each.
var modelSettings = map[string]map[string]func(*Fields, string){
	"WordPiece": {
		"unk_token":                 func(f *Fields, k string) { f.String(k) },
		"continuing_subword_prefix": func(f *Fields, k string) { f.String(k) },
		"max_input_chars_per_word":  func(f *Fields, k string) { f.Int(k, 1, maxCharsPerWord) },
	},
	"WordLevel": {
		"unk_token": func(f *Fields, k string) { f.String(k) },
	},
	"Unigram": {
		"unk_id":        func(f *Fields, k string) { f.IntOr(k, 0, 0, maxTokens) },
		"byte_fallback": func(f *Fields, k string) { f.BoolOr(k, false) },
	},
	"BPE": {
		"dropout":                   func(f *Fields, k string) { f.FloatOr(k, 0, 0, 0) }, // more is not deterministic
		"unk_token":                 func(f *Fields, k string) { f.StringOr(k, "") },
		"continuing_subword_prefix": func(f *Fields, k string) { f.StringOr(k, "") },
		"end_of_word_suffix":        func(f *Fields, k string) { f.StringOr(k, "") },
		"fuse_unk":                  func(f *Fields, k string) { f.BoolOr(k, false) },
		"byte_fallback":             func(f *Fields, k string) { f.BoolOr(k, false) },
		"ignore_merges":             func(f *Fields, k string) { f.BoolOr(k, false) },
	},
}

// checkModel checks the model and returns its text with its type in front, which
// files of 2020 leave out.
func (c *tokenizerChecker) checkModel(text string) (string, error) {
	if text == "" || text[0] != '{' {
		return "", c.badf("model: want an object, got %.20s", text)
	}
	large := map[string]string{"vocab": "", "merges": ""} // not worth a tree
	settings := &jsonObject{values: make(map[string]any)}
	p := &jsonParser{data: text, depth: tokenizerDepth}
	err := p.object(func(key string) (err error) {
		if _, ok := large[key]; ok {
			large[key], err = p.skip()
			return err
		}
		settings.keys = append(settings.keys, key)
		settings.values[key], err = p.value()
		return err
	})
	if err != nil {
		return "", c.badf("model: %w", err)
	}
	if err := noNUL(settings); err != nil {
		return "", c.badf("model: %w", err)
	}
	config := &Config{file: "model", obj: settings, kind: ErrBadTokenizer}
	f := config.Fields()
	c.settings = settings
	c.model = f.StringOr("type", guessModel(settings, large), "BPE", "Unigram", "WordLevel", "WordPiece")
	for key, check := range modelSettings[c.model] {
		check(f, key)
	}
	if f.Err() != nil {
		return "", f.Err()
	}
	if err := c.checkVocab(large["vocab"], config); err != nil {
		return "", err
	}
	if c.model == "BPE" {
		if err := c.checkMerges(large["merges"], config); err != nil {
			return "", err
		}
	}
	if _, typed := settings.values["type"]; !typed {
		text = `{"type":"` + c.model + `",` + strings.TrimLeft(text[1:], " \t\r\n")
	}
	return text, nil
}

func guessModel(settings *jsonObject, large map[string]string) string {
	switch {
	case large["merges"] != "":
		return "BPE"
	case settings.get("continuing_subword_prefix") != nil:
		return "WordPiece"
	case strings.HasPrefix(large["vocab"], "["):
		return "Unigram"
	}
	return "WordLevel"
}

// checkVocab reads the vocabulary: an object of ids, or for Unigram a list of
// [token, score], where the id is the place in the list.
func (c *tokenizerChecker) checkVocab(text string, config *Config) error {
	c.vocab = make(map[string]int32, min(strings.Count(text, ","), maxTokens)+1)
	p := &jsonParser{data: text, depth: tokenizerDepth}
	var err error
	if c.model == "Unigram" {
		err = p.array(func(i int) error { return c.unigramPiece(p, i) })
	} else {
		err = p.members(func(token string) error {
			if _, twice := c.vocab[token]; twice {
				return fmt.Errorf("token %.60q: twice", token)
			}
			n, err := p.number()
			if err != nil {
				return err
			}
			return c.addToken(token, string(n))
		})
	}
	if err != nil {
		return c.badf("vocab: %w", err)
	}
	if len(c.vocab) == 0 {
		return c.badf("vocab: empty")
	}
	if c.model == "Unigram" {
		if id, _ := config.IntOr("unk_id", 0, 0, maxTokens); id >= len(c.byID) {
			return config.Errorf("unk_id", "want less than the %d pieces, got %d", len(c.byID), id)
		}
	}
	c.bytes, _ = config.BoolOr("byte_fallback", false)
	if unk, _ := config.StringOr("unk_token", ""); c.model == "WordPiece" || c.model == "WordLevel" {
		if _, known := c.vocab[unk]; !known {
			return config.Errorf("unk_token", "want a token of the vocabulary, got %.60q", unk)
		}
	}
	return nil
}

func (c *tokenizerChecker) unigramPiece(p *jsonParser, id int) error {
	length := 0
	err := p.array(func(i int) error {
		length++
		if i == 0 {
			token, err := p.str()
			if err != nil {
				return err
			}
			return c.addToken(token, strconv.Itoa(id))
		}
		n, err := p.number()
		if err != nil {
			return err
		}
		_, err = strconv.ParseFloat(string(n), 64)
		return err
	})
	if err == nil && length != 2 {
		err = fmt.Errorf("piece %d: want [token, score], got %d values", id, length)
	}
	return err
}

// addToken records a token of the vocabulary.
func (c *tokenizerChecker) addToken(token, number string) error {
	id, err := strconv.ParseUint(number, 10, 32)
	if err != nil || id >= maxTokens {
		return fmt.Errorf("token %.60q: want an id below %d, got %.40s", token, maxTokens, number)
	}
	if len(token) > maxTokenLen {
		return fmt.Errorf("token %.60q…: want at most %d bytes, got %d", token, maxTokenLen, len(token))
	}
	for int(id) >= len(c.byID) {
		c.byID = append(c.byID, "")
	}
	c.vocab[token], c.byID[id] = int32(id), token
	return nil
}

// checkMerges checks that both halves of each merge and what they make are
// tokens. A merge is "a b" or ["a", "b"].
func (c *tokenizerChecker) checkMerges(text string, config *Config) error {
	if text == "" {
		return c.badf("merges: want a list, got nothing")
	}
	prefix, _ := config.StringOr("continuing_subword_prefix", "")
	p := &jsonParser{data: text, depth: tokenizerDepth}
	var made []byte
	pairs := 0 // the library wants all in one form
	total := 0
	err := p.array(func(i int) error {
		total++
		var a, b string
		if p.next() == '[' {
			pairs++
			halves := [2]string{}
			n := 0
			if err := p.array(func(j int) (err error) {
				if n++; j > 1 {
					return fmt.Errorf("merge %d: want two tokens, got more", i)
				}
				halves[j], err = p.str()
				return err
			}); err != nil {
				return err
			}
			if n != 2 {
				return fmt.Errorf("merge %d: want two tokens, got %d", i, n)
			}
			a, b = halves[0], halves[1]
		} else {
			line, err := p.str()
			if err != nil || strings.HasPrefix(line, "#version") {
				return err
			}
			var ok bool
			if a, b, ok = strings.Cut(line, " "); !ok || strings.Contains(b, " ") {
				return fmt.Errorf("merge %d: want two tokens, got %.60q", i, line)
			}
		}
		if !strings.HasPrefix(b, prefix) {
			return fmt.Errorf("merge %d: want %.60q to begin with %q", i, b, prefix)
		}
		made = append(append(made[:0], a...), b[len(prefix):]...)
		for _, token := range []string{a, b, string(made)} {
			if _, known := c.vocab[token]; !known {
				return fmt.Errorf("merge %d: %.60q is not in the vocabulary", i, token)
			}
		}
		return nil
	})
	if err == nil && pairs != 0 && pairs != total {
		err = fmt.Errorf("some are strings, some are pairs")
	}
	if err != nil {
		return c.badf("merges: %w", err)
	}
	return nil
}

// checkAdded checks the added tokens, and that each will get the id that the
// file gives it: the library numbers those that are not in the vocabulary itself.
func (c *tokenizerChecker) checkAdded() error {
	text, there := c.parts["added_tokens"]
	if !there {
		return nil
	}
	next := len(c.vocab)
	if c.model == "Unigram" { // counts repeated pieces
		next = len(c.byID)
	}
	p := &jsonParser{data: text, depth: tokenizerDepth}
	err := p.array(func(i int) error {
		if i >= maxAddedTokens {
			return fmt.Errorf("more than %d", maxAddedTokens)
		}
		v, err := p.value()
		if err != nil {
			return err
		}
		obj, ok := v.(*jsonObject)
		if !ok {
			return fmt.Errorf("%d: want an object, got %s", i, describe(v))
		}
		f := (&Config{file: fmt.Sprintf("added_tokens %d", i), obj: obj, kind: ErrBadTokenizer}).Fields()
		content, id := f.String("content"), f.Int("id", 0, maxTokens-1)
		normalized, special := f.Bool("normalized"), f.Bool("special")
		for _, flag := range []string{"single_word", "lstrip", "rstrip"} {
			f.Bool(flag)
		}
		if f.Err() != nil {
			return f.Err()
		}
		if content == "" || len(content) > maxAddedLen || strings.ContainsRune(content, 0) {
			return fmt.Errorf("%d: want 1 to %d bytes of text, got %.60q", i, maxAddedLen, content)
		}
		want, known := c.vocab[content]
		if !known {
			c.addedOnly[content] = true
			want = int32(next)
			next++
			if err := c.addToken(content, strconv.Itoa(int(want))); err != nil {
				return err
			}
		}
		if int(want) != id {
			return fmt.Errorf("%.60q: want id %d, got %d", content, want, id)
		}
		if special {
			c.special[want] = true
		}
		if normalized {
			c.added = append(c.added, content)
		}
		return nil
	})
	if err != nil {
		return c.badf("added_tokens: %w", err)
	}
	return nil
}
