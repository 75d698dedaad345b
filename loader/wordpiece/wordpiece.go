// Package wordpiece is the BERT tokenizer of the Hugging Face library in Go, several times as fast: its normalizer, pre-tokenizer and WordPiece model,
// with tokens that are added to the vocabulary. A text whose ids depend on how the library was compiled is left to the library; these are rare.
package wordpiece

//go:generate go run ./gen

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"unicode/utf8"
)

// Config is a tokenizer.
type Config struct {
	Vocabulary   map[string]int32
	Unknown      int32  // id of words that cannot be put together
	Prefix       string // of pieces that continue a word: "##"
	MaxWordChars int    // a longer word is unknown
	Normalizer   Normalizer
	Added        []AddedToken
}

// Normalizer says what is done to a text first, in this order.
type Normalizer struct {
	LowercaseFirst                                   bool // a normalizer Lowercase in front of BERT's
	CleanText, ChineseChars, StripAccents, Lowercase bool
}

// AddedToken is looked for in texts before they are split into words.
type AddedToken struct {
	Content    string
	ID         int32
	Normalized bool // looked for in the normalized text
	SingleWord bool // not inside a word
	LStrip     bool // takes white space before it
	RStrip     bool // and after it
}

// Encoder turns texts into token ids. Safe for any number of goroutines.
type Encoder struct {
	words        trie
	continuing   uint32 // where in words pieces begin that continue a word
	continues    bool
	unknown      int32
	maxWordChars int

	characters  *characters // normalized and classified
	plain       *characters // classified only
	raw, normal matcher     // the added tokens
}

// New prepares a tokenizer. It refuses what it does not do as the library does.
func New(c Config) (*Encoder, error) {
	e := &Encoder{unknown: c.Unknown, maxWordChars: c.MaxWordChars, characters: newCharacters(c.Normalizer)}
	for token, id := range c.Vocabulary {
		if token == "" || id < 0 {
			continue // cannot be found in a text
		}
		if !e.words.add(token, id) {
			return nil, errors.New("wordpiece: the vocabulary is too large")
		}
	}
	e.continuing, e.continues = e.words.walk(c.Prefix)
	var raw, normalized []AddedToken
	for _, token := range c.Added {
		if token.Normalized {
			normalized = append(normalized, token)
		} else {
			raw = append(raw, token)
		}
	}
	if err := e.raw.init(raw); err != nil {
		return nil, err
	}
	for i, token := range normalized {
		var w writer
		if !w.normalize(e.characters, token.Content) {
			return nil, fmt.Errorf("wordpiece: the added token %.60q has no certain normal form", token.Content)
		}
		normalized[i].Content = string(w.text)
	}
	e.plain = newCharacters(Normalizer{})
	if err := e.normal.init(normalized); err != nil {
		return nil, err
	}
	return e, nil
}

// scratch is what one call works with.
type scratch struct {
	writer
	word  []byte // the word at hand, normalized
	chars int    // its length
	ids   []int32
	limit int // ids that end the work
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Append appends the ids of a text, which must be valid UTF-8, without special tokens around it. It may stop when there are limit of them or more; 0 is no
// limit. It returns false, with dst as it was, for a text that it leaves to the library.
func (e *Encoder) Append(dst []int32, text string, limit int) ([]int32, bool) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.ids, s.limit = dst, math.MaxInt
	if limit > 0 {
		s.limit = len(dst) + limit
	}
	ok := e.raw.split(text, func(piece string, id int32) bool {
		if id >= 0 {
			s.ids = append(s.ids, id)
			return true
		}
		return e.segment(s, piece)
	})
	ids := s.ids
	s.ids = nil
	if !ok && len(ids) < s.limit {
		return dst, false
	}
	return ids, true
}

// segment encodes a text between added tokens. It returns false when the work has to end.
func (e *Encoder) segment(s *scratch, text string) bool {
	if e.normal.empty() {
		return e.encode(s, e.characters, text)
	}
	if !s.normalize(e.characters, text) {
		return false
	}
	normalized := string(s.text)
	return e.normal.split(normalized, func(piece string, id int32) bool {
		if id >= 0 {
			s.ids = append(s.ids, id)
			return true
		}
		return e.encode(s, e.plain, piece)
	})
}

// encode splits a text into words and these into pieces, up to the limit.
func (e *Encoder) encode(s *scratch, chars *characters, text string) bool {
	s.word, s.chars = s.word[:0], 0
	nonstarter := false
	for i := 0; i < len(text); {
		var item uint32
		var p *page
		if c := text[i]; c < utf8.RuneSelf {
			item = chars.ascii[c]
			i++
			if item&kindMask == kindWord {
				s.word = append(s.word, byte(item))
				s.chars++
				nonstarter = false
				continue
			}
		} else {
			r, size := utf8.DecodeRuneInString(text[i:])
			i += size
			item, p = chars.item(r)
		}
		if item&kindMask == kindSeveral {
			for _, part := range p.several(item) {
				if !e.item(s, part, &nonstarter) {
					return false
				}
			}
		} else if !e.item(s, item, &nonstarter) {
			return false
		}
	}
	e.endWord(s)
	return len(s.ids) < s.limit
}

// item takes one normalized character. It returns false when the work has to end.
func (e *Encoder) item(s *scratch, item uint32, nonstarter *bool) bool {
	switch item & kindMask {
	case kindWord:
		if item&flagNonstarter != 0 && *nonstarter {
			return false // the canonical order may exchange the two
		}
		*nonstarter = item&flagNonstarter != 0
		s.word = utf8.AppendRune(s.word, rune(item&runeMask))
		s.chars++
		return true
	case kindNone:
		return true
	case kindUncertain:
		return false
	}
	*nonstarter = false
	e.endWord(s)
	if item&kindMask != kindSpace {
		s.word = utf8.AppendRune(s.word, rune(item&runeMask))
		s.chars = 1
		e.endWord(s)
	}
	return len(s.ids) < s.limit
}

// endWord appends the pieces of the word at hand, the longest first.
func (e *Encoder) endWord(s *scratch) {
	word := s.word
	if len(word) == 0 {
		return
	}
	first := len(s.ids)
	node, ok := uint32(0), s.chars <= e.maxWordChars
	s.word, s.chars = s.word[:0], 0
	for ok && len(word) > 0 {
		id, size := longest(&e.words, node, word)
		if size == 0 {
			ok = false
			break
		}
		s.ids = append(s.ids, id)
		word = word[size:]
		node = e.continuing
		ok = e.continues || len(word) == 0
	}
	if !ok {
		s.ids = append(s.ids[:first], e.unknown)
	}
}
