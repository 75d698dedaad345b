package loader

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Decoding is done here and not by the tokenizer library, which has no guard
// against a decoder that panics.
//
// Source: the decoders of Hugging Face tokenizers 0.23 (src/decoders).

// A decodeStep turns tokens into pieces of text, which are put one after the other.
type decodeStep func(tokens []string) []string

// Decode turns ids back into a text, as the tokenizer's decoder says; without
// one, tokens are put one after the other with a space between them. Ids that the
// tokenizer does not have are left out. A kind of decoder that is not known is an
// ErrUnsupported.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) (string, error) {
	if t.spec.decodeErr != nil {
		return "", t.spec.decodeErr
	}
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		token, ok := t.spec.tokens.get(id)
		if ok && token != "" && (!skipSpecial || !t.spec.special[id]) {
			tokens = append(tokens, token)
		}
	}
	if t.spec.decode == nil {
		return strings.Join(tokens, " "), nil
	}
	return strings.Join(t.spec.decode(tokens), ""), nil
}

// readDecoder keeps the file's decoder; what is wrong with it is an error of
// Decode alone, because nothing else needs it.
func (c *tokenizerChecker) readDecoder(spec *tokenizerSpec) {
	n, err := c.part("decoder")
	if err == nil && n != nil {
		spec.decode, err = newDecoder(n)
	}
	spec.decodeErr = err
}

func newDecoder(n *Config) (decodeStep, error) {
	f := n.Fields()
	var step decodeStep
	switch kind := f.String("type"); kind {
	case "WordPiece":
		step = decodeWordPiece(f.StringOr("prefix", "##"), f.BoolOr("cleanup", true))
	case "Metaspace":
		prepend := f.StringOr("prepend_scheme", "always", "always", "first", "never") != "never"
		if f.Has("add_prefix_space") { // of older files
			prepend = f.BoolOr("add_prefix_space", true)
		}
		step = decodeMetaspace(f.StringOr("replacement", "▁"), prepend)
	case "ByteLevel":
		step = decodeByteLevel
	case "BPEDecoder":
		step = decodeBPE(f.StringOr("suffix", "</w>"))
	case "ByteFallback":
		step = decodeByteFallback
	case "Fuse":
		step = func(tokens []string) []string { return []string{strings.Join(tokens, "")} }
	case "Strip":
		step = decodeStrip(f.StringOr("content", " "), f.IntOr("start", 0, 0, noLimit), f.IntOr("stop", 0, 0, noLimit))
	case "Replace":
		pattern, err := n.Object("pattern")
		if err != nil {
			return nil, err
		}
		from, err := pattern.String("String")
		if err != nil {
			return nil, err
		}
		to := f.StringOr("content", "")
		if from == "" || len(to) > maxReplacement {
			return nil, n.Errorf("content", "want at most %d bytes in place of a text that is not empty", maxReplacement)
		}
		step = eachToken(func(_ int, s string) string { return strings.ReplaceAll(s, from, to) })
	case "Sequence":
		list, _ := n.obj.get("decoders").([]any)
		var steps []decodeStep
		for _, v := range list {
			obj, ok := v.(*jsonObject)
			if !ok {
				return nil, n.wrong("decoders", "a list of objects")
			}
			s, err := newDecoder(&Config{file: n.file, path: n.path + "decoders.", obj: obj, kind: n.kind})
			if err != nil {
				return nil, err
			}
			steps = append(steps, s)
		}
		step = inOrder(steps)
	default:
		return nil, fmt.Errorf("%w: tokenizer.json: a decoder of the type %.60q", ErrUnsupported, kind)
	}
	return step, f.Err()
}

// A file must not make much of little.
const (
	maxReplacement = 16 // bytes
	maxDecoded     = 16 // times what a sequence of steps is given, after which it ends
)

func inOrder(steps []decodeStep) decodeStep {
	return func(tokens []string) []string {
		most := maxDecoded * (1024 + size(tokens))
		for _, s := range steps {
			if tokens = s(tokens); size(tokens) > most {
				break
			}
		}
		return tokens
	}
}

func size(tokens []string) int {
	n := 0
	for _, s := range tokens {
		n += len(s)
	}
	return n
}

func eachToken(change func(i int, token string) string) decodeStep {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, s := range tokens {
			out[i] = change(i, s)
		}
		return out
	}
}

// wordPieceCleanup takes out the spaces that splitting at punctuation put in.
var wordPieceCleanup = strings.NewReplacer(" .", ".", " ?", "?", " !", "!", " ,", ",", " ' ", "'", " n't", "n't", " 'm", "'m", " do not", " don't", " 's", "'s", " 've", "'ve", " 're", "'re")

func decodeWordPiece(prefix string, cleanup bool) decodeStep {
	return eachToken(func(i int, s string) string {
		if i > 0 {
			if rest, continued := strings.CutPrefix(s, prefix); continued {
				s = rest
			} else {
				s = " " + s
			}
		}
		if cleanup {
			s = wordPieceCleanup.Replace(s)
		}
		return s
	})
}

func decodeMetaspace(replacement string, prepend bool) decodeStep {
	return eachToken(func(i int, s string) string {
		if i == 0 && prepend {
			return strings.ReplaceAll(s, replacement, "")
		}
		return strings.ReplaceAll(s, replacement, " ")
	})
}

func decodeBPE(suffix string) decodeStep {
	return func(tokens []string) []string {
		out := make([]string, len(tokens))
		for i, s := range tokens {
			space := " "
			if i == len(tokens)-1 {
				space = ""
			}
			out[i] = strings.ReplaceAll(s, suffix, space)
		}
		return out
	}
}

func decodeStrip(content string, start, stop int) decodeStep {
	return eachToken(func(_ int, s string) string {
		for range start {
			rest, ok := strings.CutPrefix(s, content)
			if !ok || content == "" {
				break
			}
			s = rest
		}
		for range stop {
			rest, ok := strings.CutSuffix(s, content)
			if !ok || content == "" {
				break
			}
			s = rest
		}
		return s
	})
}

// byteOf is GPT-2's alphabet for bytes: printable ones stand for themselves, the
// others for code points from U+0100 on.
var byteOf = func() map[rune]byte {
	table := make(map[rune]byte, 256)
	next := rune(0x100)
	for b := range 256 {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			table[rune(b)] = byte(b)
		default:
			table[next] = byte(b)
			next++
		}
	}
	return table
}()

// decodeByteLevel takes a token with a character outside the alphabet as it is.
func decodeByteLevel(tokens []string) []string {
	var all []byte
	for _, s := range tokens {
		start := len(all)
		for _, r := range s {
			b, ok := byteOf[r]
			if !ok {
				all = append(all[:start], s...)
				break
			}
			all = append(all, b)
		}
	}
	return []string{validUTF8(string(all))}
}

// decodeByteFallback turns runs of "<0x41>" into the text of those bytes, or into
// U+FFFD for each where they are none.
func decodeByteFallback(tokens []string) []string {
	var out []string
	var run []byte
	flush := func() {
		switch {
		case len(run) == 0:
		case utf8.Valid(run):
			out = append(out, string(run))
		default:
			for range run {
				out = append(out, "\ufffd")
			}
		}
		run = run[:0]
	}
	for _, s := range tokens {
		if len(s) == 6 && strings.HasPrefix(s, "<0x") && s[5] == '>' {
			if b, err := strconv.ParseUint(s[3:5], 16, 8); err == nil {
				run = append(run, byte(b))
				continue
			}
		}
		flush()
		out = append(out, s)
	}
	flush()
	return out
}
