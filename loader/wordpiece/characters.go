package wordpiece

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
)

// An item is a character as the normalizer leaves it, with its part in the splitting into words.
const (
	runeMask       = 1<<21 - 1
	flagNonstarter = 1 << 23

	kindMask      = 7 << 24
	kindWord      = 0 << 24 // a letter of a word
	kindSpace     = 1 << 24
	kindPunct     = 2 << 24 // a word of its own
	kindIdeograph = 3 << 24 // the same, and the normalizer puts spaces around it
	kindNone      = 4 << 24 // deleted
	kindUncertain = 5 << 24 // for the library
	kindSeveral   = 6 << 24 // rune is a place and a number in the page's parts
)

// span is a range of code points, both ends included.
type span struct{ first, last rune }

func in(r rune, spans []span) bool {
	_, found := slices.BinarySearchFunc(spans, r, func(s span, r rune) int {
		switch {
		case s.last < r:
			return -1
		case s.first > r:
			return 1
		}
		return 0
	})
	return found
}

// replacement is an entry of bases or lowers.
type replacement struct {
	from rune
	to   string
}

var replacements = sync.OnceValue(func() (tables [2][]replacement) {
	for i, text := range []string{bases, lowers} {
		for entry := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			r, size := utf8.DecodeRuneInString(entry)
			tables[i] = append(tables[i], replacement{r, entry[size:]})
		}
	}
	return tables
})

func replace(r rune, table []replacement) string {
	i, found := slices.BinarySearchFunc(table, r, func(e replacement, r rune) int { return int(e.from - r) })
	if !found {
		return string(r)
	}
	return table[i].to
}

// characters has the items of all characters under one normalizer, page by page as texts need them.
type characters struct {
	normalizer Normalizer
	ascii      [utf8.RuneSelf]uint32
	pages      [(utf8.MaxRune + 1) >> 8]atomic.Pointer[page]
}

type page struct {
	items [256]uint32
	parts []uint32 // of the items that are several
}

func newCharacters(n Normalizer) *characters {
	c := &characters{normalizer: n}
	for r := range c.ascii {
		c.ascii[r], _ = c.item(rune(r)) // a single one: ASCII has no accents
	}
	return c
}

// item is what becomes of a character; the page has the parts of one of kindSeveral.
func (c *characters) item(r rune) (uint32, *page) {
	at := &c.pages[r>>8]
	p := at.Load()
	if p == nil {
		p = new(page) // two goroutines may make the same one
		for i := range rune(256) {
			p.items[i] = p.add(c.normalizer.character(r&^0xff | i))
		}
		at.Store(p)
	}
	return p.items[r&0xff], p
}

// several are the parts of an item.
func (p *page) several(item uint32) []uint32 {
	at := item & runeMask >> 5
	return p.parts[at : at+item&31]
}

func (p *page) add(items []uint32) uint32 {
	switch len(items) {
	case 0:
		return kindNone
	case 1:
		return items[0]
	}
	at := len(p.parts)
	p.parts = append(p.parts, items...)
	return kindSeveral | uint32(at)<<5 | uint32(len(items))
}

// character normalizes one character and classifies what is left of it. The normalizers of a text work on characters, one at a time: only the canonical
// order of strip_accents looks at more than one, for which nonstarters are marked.
func (n Normalizer) character(r rune) []uint32 {
	text := string(r) // U+FFFD for a surrogate, which no text has
	if n.LowercaseFirst {
		if in(r, unassigned) {
			return []uint32{kindUncertain}
		}
		text = replace(r, replacements()[1])
	}
	var items []uint32
	for _, r := range text {
		items = append(items, n.bert(r)...)
	}
	return items
}

// bert is BERT's normalizer and pre-tokenizer.
func (n Normalizer) bert(r rune) []uint32 {
	if n.CleanText {
		if in(r, removed) {
			return nil
		}
		if in(r, spaces) {
			r = ' '
		}
	}
	text := string(r)
	if n.StripAccents {
		switch {
		case in(r, marks):
			text = ""
		case firstHangul <= r && r <= lastHangul:
			text = jamo(r)
		default:
			text = replace(r, replacements()[0])
		}
	}
	if n.Lowercase {
		if in(r, unassigned) {
			return []uint32{kindUncertain}
		}
		var b strings.Builder
		for _, r := range text {
			b.WriteString(replace(r, replacements()[1]))
		}
		text = b.String()
	}
	around := n.ChineseChars && in(r, ideographs)
	var items []uint32
	for _, c := range text {
		item := uint32(c)
		switch {
		case in(c, spaces):
			item |= kindSpace
		case in(c, punctuation):
			item |= kindPunct
		case n.StripAccents && in(c, nonstarters):
			item |= flagNonstarter
		}
		items = append(items, item)
	}
	switch {
	case !around:
	case len(items) == 1 && items[0]&kindMask == kindWord:
		items[0] |= kindIdeograph
	default:
		items = slices.Concat([]uint32{kindSpace | ' '}, items, []uint32{kindSpace | ' '})
	}
	return items
}

const firstHangul, lastHangul = 0xac00, 0xd7a3

// jamo takes a Hangul syllable apart, as the Unicode standard (3.12) says.
func jamo(r rune) string {
	const vowels, trails = 21, 28
	s := r - firstHangul
	parts := []rune{0x1100 + s/(vowels*trails), 0x1161 + s%(vowels*trails)/trails, 0x11a7 + s%trails}
	if s%trails == 0 {
		parts = parts[:2]
	}
	return string(parts)
}
