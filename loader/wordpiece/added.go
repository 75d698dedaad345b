package wordpiece

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A matcher finds added tokens in a text: the leftmost, and of these the longest.
// Source: find_matches in tokenizers/src/tokenizer/added_vocabulary.rs.
type matcher struct {
	texts  trie // to the index of the token
	tokens []AddedToken
	first  string // the bytes that tokens begin with
}

func (m *matcher) init(tokens []AddedToken) error {
	for i, token := range tokens {
		if token.Content == "" {
			return fmt.Errorf("wordpiece: added token %d: no text is left of it", token.ID)
		}
		if node, known := m.texts.walk(token.Content); known && m.texts.ids[node] != none {
			return fmt.Errorf("wordpiece: added token %.60q: there are two", token.Content)
		}
		if !m.texts.add(token.Content, int32(i)) {
			return fmt.Errorf("wordpiece: the added tokens are too large")
		}
		if strings.IndexByte(m.first, token.Content[0]) < 0 {
			m.first += token.Content[:1]
		}
	}
	m.tokens = tokens
	return nil
}

func (m *matcher) empty() bool { return len(m.tokens) == 0 }

// next returns where a token may begin.
func (m *matcher) next(text string) int {
	if len(m.first) == 1 {
		return strings.IndexByte(text, m.first[0])
	}
	for i := range len(text) {
		if strings.IndexByte(m.first, text[i]) >= 0 {
			return i
		}
	}
	return -1
}

// split calls yield for each added token with its id, and for what lies between with none, until yield returns false. It returns false then, and for a
// text that only the library can split.
func (m *matcher) split(text string, yield func(piece string, id int32) bool) bool {
	done := 0 // up to where yield has been called
	for at := 0; at < len(text) && !m.empty(); {
		i := m.next(text[at:])
		if i < 0 {
			break
		}
		start := at + i
		index, size := longest(&m.texts, 0, text[start:])
		if size == 0 {
			at = start + 1
			continue
		}
		stop := start + size
		at = stop
		token := m.tokens[index]
		if token.SingleWord {
			before, known := wordAt(utf8.DecodeLastRuneInString(text[:start]))
			after, alsoKnown := wordAt(utf8.DecodeRuneInString(text[stop:]))
			if !known || !alsoKnown {
				return false
			}
			if before || after {
				continue
			}
		}
		if token.LStrip {
			start = max(done, len(strings.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if token.RStrip {
			stop = len(text) - len(strings.TrimLeftFunc(text[stop:], unicode.IsSpace))
		}
		if done < start && !yield(text[done:start], none) {
			return false
		}
		if !yield(text[start:stop], token.ID) {
			return false
		}
		done = stop
	}
	return done >= len(text) || yield(text[done:], none)
}

// wordAt says whether a rune, the size of which is 0 at the end of a text, belongs to a word; for characters outside ASCII that is the library's to know.
func wordAt(r rune, size int) (word, known bool) {
	if size == 0 {
		return false, true
	}
	if r >= utf8.RuneSelf {
		return false, false
	}
	return r == '_' || '0' <= r && r <= '9' || 'A' <= r && r <= 'Z' || 'a' <= r && r <= 'z', true
}

// A writer makes the normalized text itself, in which added tokens are looked for.
type writer struct{ text []byte }

// normalize returns false for a text that only the library can normalize.
func (w *writer) normalize(chars *characters, text string) bool {
	w.text = w.text[:0]
	nonstarter := false
	for _, r := range text {
		item, p := chars.item(r)
		parts := []uint32{item}
		if item&kindMask == kindSeveral {
			parts = p.several(item)
		}
		for _, part := range parts {
			switch part & kindMask {
			case kindNone:
				continue
			case kindUncertain:
				return false
			case kindIdeograph:
				w.text = append(utf8.AppendRune(append(w.text, ' '), rune(part&runeMask)), ' ')
			default:
				w.text = utf8.AppendRune(w.text, rune(part&runeMask))
			}
			if part&flagNonstarter != 0 && nonstarter {
				return false
			}
			nonstarter = part&flagNonstarter != 0
		}
	}
	return true
}
