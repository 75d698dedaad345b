package loader

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const (
	maxPartDepth   = 4 // of nested Sequences
	maxPatternLen  = 2048
	maxRepeat      = 4096 // product of the counted repeats of a pattern
	maxGrowth      = 1024
	maxReplaceText = 1024
)

// part parses a top-level component: an object with a type, or null.
func (c *tokenizerChecker) part(key string) (*Config, error) {
	text := c.parts[key]
	if text == "" || text == "null" {
		return nil, nil
	}
	p := &jsonParser{data: text, depth: tokenizerDepth}
	v, err := p.value()
	if err == nil {
		err = noNUL(v)
	}
	if err != nil {
		return nil, c.badf("%s: %w", key, err)
	}
	obj, ok := v.(*jsonObject)
	if !ok {
		return nil, c.badf("%s: want an object, got %s", key, describe(v))
	}
	return &Config{file: key, obj: obj, kind: ErrBadTokenizer}, nil
}

// noNUL refuses U+0000 in any string: the library would put it into an error
// message, which is a C string.
func noNUL(v any) error {
	switch v := v.(type) {
	case string:
		if strings.ContainsRune(v, 0) {
			return fmt.Errorf("U+0000 in %.60q", v)
		}
	case []any:
		for _, e := range v {
			if err := noNUL(e); err != nil {
				return err
			}
		}
	case *jsonObject:
		for key, e := range v.values {
			if err := noNUL(key); err != nil {
				return err
			}
			if err := noNUL(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// partCheck checks one component that is of its type.
type partCheck func(*tokenizerChecker, *Config) error

func accept(*tokenizerChecker, *Config) error { return nil }

var normalizerChecks = map[string]partCheck{
	"BertNormalizer": checkBertNormalizer,
	"ByteLevel":      accept,
	"Lowercase":      accept,
	"NFC":            accept,
	"NFD":            accept,
	"NFKC":           accept,
	"NFKD":           accept,
	"Nmt":            accept,
	"Precompiled":    checkPrecompiled,
	"Prepend":        checkPrepend,
	"Replace":        checkReplace,
	"Strip":          accept,
	"StripAccents":   accept,
}

var preTokenizerChecks = map[string]partCheck{
	"BertPreTokenizer":   accept,
	"ByteLevel":          checkByteLevel,
	"CharDelimiterSplit": accept,
	"Digits":             accept,
	"FixedLength": func(_ *tokenizerChecker, n *Config) error {
		_, err := n.IntOr("length", 5, 1, maxTokens)
		return err
	},
	"Metaspace":       accept,
	"Punctuation":     accept,
	"Split":           checkSplit,
	"UnicodeScripts":  accept,
	"Whitespace":      accept,
	"WhitespaceSplit": accept,
}

// checkParts checks a component, or each of a Sequence, whose list is at key.
func (c *tokenizerChecker) checkParts(n *Config, key string, checks map[string]partCheck, depth int) error {
	kind, err := n.String("type")
	if err != nil {
		return err
	}
	if kind != "Sequence" {
		check := checks[kind]
		if check == nil {
			return n.Unsupported("type", "%.60q; supported are Sequence, %s", kind, sortedKeys(checks))
		}
		return check(c, n)
	}
	list, ok := n.obj.get(key).([]any)
	if !ok || len(list) > 64 || depth == 0 {
		return n.Errorf(key, "want a list of at most 64, nested at most %d deep, got %s", maxPartDepth, describe(n.obj.get(key)))
	}
	for i, v := range list {
		obj, ok := v.(*jsonObject)
		if !ok {
			return n.Errorf(key, "%d: want an object, got %s", i, describe(v))
		}
		child := &Config{file: n.file, path: fmt.Sprintf("%s%s %d: ", n.path, key, i), obj: obj, kind: n.kind}
		if err := c.checkParts(child, key, checks, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// checkNormalizer returns the normalizer's text with the options applied.
func (c *tokenizerChecker) checkNormalizer() (string, error) {
	n, err := c.part("normalizer")
	if err != nil {
		return "", err
	}
	text := "null"
	if n != nil {
		text = c.parts["normalizer"]
		if err := c.checkParts(n, "normalizers", normalizerChecks, maxPartDepth); err != nil {
			return "", err
		}
		kind, _ := n.String("type")
		if b := c.opts.bert; b != nil && kind == "BertNormalizer" {
			c.cleanText = true
			text = fmt.Sprintf(`{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":%t,"strip_accents":%s,"lowercase":%t}`,
				b.chineseChars, b.stripAccents, b.lowerCase)
		}
	}
	if c.opts.lowerCase && !hasLowercase(n) {
		if text == "null" {
			return `{"type":"Lowercase"}`, nil
		}
		text = `{"type":"Sequence","normalizers":[{"type":"Lowercase"},` + text + `]}`
	}
	return text, nil
}

// hasLowercase says that a normalizer, or one of a Sequence, is Lowercase; the
// reference adds none then.
func hasLowercase(n *Config) bool {
	if n == nil {
		return false
	}
	list, _ := n.obj.get("normalizers").([]any)
	for _, v := range append([]any{n.obj}, list...) {
		if obj, ok := v.(*jsonObject); ok && obj.get("type") == "Lowercase" {
			return true
		}
	}
	return false
}

func (c *tokenizerChecker) checkPreTokenizer() (string, error) {
	n, err := c.part("pre_tokenizer")
	if err != nil || n == nil {
		return "null", err
	}
	return c.parts["pre_tokenizer"], c.checkParts(n, "pretokenizers", preTokenizerChecks, maxPartDepth)
}

func checkBertNormalizer(c *tokenizerChecker, n *Config) error {
	f := n.Fields()
	clean := f.Bool("clean_text")
	f.Bool("handle_chinese_chars")
	f.BoolOr("strip_accents", false)
	f.Bool("lowercase")
	if clean {
		c.cleanText = true
	}
	return f.Err()
}

func checkByteLevel(c *tokenizerChecker, _ *Config) error {
	c.bytes = true
	return nil
}

// grow bounds how much longer a chain of replacements can make a text.
func (c *tokenizerChecker) grow(n *Config, key string, from, to int) error {
	c.growth *= max(1, (to+from-1)/from)
	if to > maxReplaceText || c.growth > maxGrowth {
		return n.Errorf(key, "makes texts more than %d times longer", maxGrowth)
	}
	return nil
}

func checkPrepend(_ *tokenizerChecker, n *Config) error {
	s, err := n.String("prepend")
	if err == nil && len(s) > maxReplaceText {
		err = n.Errorf("prepend", "want at most %d bytes, got %d", maxReplaceText, len(s))
	}
	return err
}

func checkReplace(c *tokenizerChecker, n *Config) error {
	content, err := n.String("content")
	if err != nil {
		return err
	}
	pattern, err := n.Object("pattern")
	if err != nil {
		return err
	}
	shortest := 1
	if pattern.Has("Regex") {
		regex, err := pattern.String("Regex")
		if err != nil {
			return err
		}
		if err := checkRegex(pattern, regex); err != nil {
			return err
		}
	} else {
		s, err := pattern.String("String")
		if err != nil {
			return err
		}
		if s == "" {
			return pattern.Errorf("String", "want a text, got none")
		}
		shortest = len(s)
	}
	return c.grow(n, "content", shortest, len(content))
}

func checkSplit(_ *tokenizerChecker, n *Config) error {
	pattern, err := n.Object("pattern")
	if err != nil {
		return err
	}
	if pattern.Has("Regex") {
		regex, err := pattern.String("Regex")
		if err != nil {
			return err
		}
		return checkRegex(pattern, regex)
	}
	s, err := pattern.String("String")
	if err == nil && (s == "" || len(s) > maxPatternLen) {
		err = pattern.Errorf("String", "want 1 to %d bytes, got %d", maxPatternLen, len(s))
	}
	return err
}

var countedRepeat = regexp.MustCompile(`\{(\d*)(?:,(\d*))?\}`)

// checkRegex bounds what compiling a pattern can take: Oniguruma unrolls counted
// repeats. What a search takes is bounded by the library.
func checkRegex(n *Config, pattern string) error {
	if pattern == "" || len(pattern) > maxPatternLen {
		return n.Errorf("Regex", "want 1 to %d bytes, got %d", maxPatternLen, len(pattern))
	}
	product := 1
	for _, m := range countedRepeat.FindAllStringSubmatch(pattern, -1) {
		for _, digits := range m[1:] {
			if count, err := strconv.Atoi(digits); err == nil && count > 1 {
				product *= min(count, maxRepeat+1)
			} else if len(digits) > 9 {
				product = maxRepeat + 1
			}
			if product > maxRepeat {
				return n.Errorf("Regex", "counted repeats of %.60q multiply to more than %d", pattern, maxRepeat)
			}
		}
	}
	return nil
}
