package index

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// How good a place a piece begins at, to end a chunk before it.
const (
	afterWord = iota
	afterSentence
	afterLine
	afterParagraph
	atHeading
	atRecord // of JSON lines: a chunk never holds parts of two
)

// piece is a run of bytes that stays together: a sentence, or part of a long one.
type piece struct {
	text   string // as the file has it
	start  int64  // bytes of the file before it
	line   int    // it begins on, from 1
	tokens int    // what it counts for
	place  int    // where it begins
	size   int64  // bytes of the file; of a piece of a record those of the record
	record bool   // text is not what the file has at start
}

// Chunk is a part of a file that has a vector.
type Chunk struct {
	Text      string `json:"text"` // valid UTF-8, without white space around it
	Start     int64  `json:"start"`
	End       int64  `json:"end"` // bytes of the file; of JSON lines, the line's
	FirstLine int    `json:"first_line"`
	LastLine  int    `json:"last_line"`
}

// chunker makes chunks of the pieces of one file. Each takes as many as fit, and ends at the best place in its second half; the next begins with the last
// pieces of the one before, as many as fit into overlap.
type chunker struct {
	count           func(string) (int, error) // tokens
	tokens, overlap int
	emit            func(Chunk) error

	pieces []piece
	sum    int // tokens of pieces
	old    int // pieces at the front that were in the chunk before
	blank  bool
}

// wide is how many bytes count as a token at least, so that text without any (white space, what a vocabulary has no words for) makes no endless chunks.
const wide = 32

// line adds a line of a text, or part of a very long one, that begins at start.
func (c *chunker) line(line []byte, start int64, number int, begins bool) error {
	place := afterWord
	switch {
	case len(bytes.TrimSpace(line)) == 0:
		c.blank = c.blank || begins
	case !begins:
	case line[0] == '#':
		place = atHeading
	case c.blank:
		place = afterParagraph
	default:
		place = afterLine
	}
	if place > afterWord {
		c.blank = false
	}
	for len(line) > 0 {
		n := sentence(line)
		if err := c.split(piece{text: string(line[:n]), start: start, line: number, size: int64(n), place: place}); err != nil {
			return err
		}
		line, start, place = line[n:], start+int64(n), afterSentence
	}
	return nil
}

// entry adds a record of JSON lines, which takes size bytes of the file.
func (c *chunker) entry(text string, start, size int64, number int) error {
	place := atRecord
	for len(text) > 0 {
		n := sentence([]byte(text[:min(len(text), longestSentence)]))
		if err := c.split(piece{text: text[:n], start: start, line: number, size: size, place: place, record: true}); err != nil {
			return err
		}
		text, place = text[n:], afterSentence
	}
	return nil
}

const longestSentence = 4096

// sentence returns the length of the first sentence, with the white space after it.
func sentence(text []byte) int {
	for i := 0; i < len(text); i++ {
		ended := false
		switch text[i] {
		case '\n':
			return i + 1
		case '.', '!', '?':
			ended = i+1 < len(text) && (text[i+1] == ' ' || text[i+1] == '\t')
		case 0xe3: // 。
			ended = bytes.HasPrefix(text[i:], []byte("。"))
			if ended {
				i += 2
			}
		case 0xef: // ！ ？
			ended = bytes.HasPrefix(text[i:], []byte("！")) || bytes.HasPrefix(text[i:], []byte("？"))
			if ended {
				i += 2
			}
		}
		if !ended {
			continue
		}
		for i++; i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r' || text[i] == '\n'); i++ {
		}
		return i
	}
	return len(text)
}

// split adds a piece, in halves while it is too long to be one.
func (c *chunker) split(p piece) error {
	longest := max(1, c.tokens/8)
	if c.overlap > 0 {
		longest = min(longest, c.overlap)
	}
	p.tokens = (len(p.text) + wide - 1) / wide
	if len(p.text) <= longestSentence && strings.TrimSpace(p.text) != "" {
		n, err := c.count(p.text)
		if err != nil {
			return err
		}
		p.tokens = max(n, p.tokens)
	}
	at := middle(p.text)
	if p.tokens <= longest && len(p.text) <= longestSentence || at == 0 {
		return c.add(p)
	}
	a, b := p, p
	a.text, b.text, b.place = p.text[:at], p.text[at:], afterWord
	if !p.record {
		a.size, b.size, b.start = int64(at), p.size-int64(at), p.start+int64(at)
		b.line += strings.Count(a.text, "\n")
	}
	if err := c.split(a); err != nil {
		return err
	}
	return c.split(b)
}

// middle returns where to halve a text: after the white space nearest to the middle, else between two characters; 0 if there is but one.
func middle(text string) int {
	half := len(text) / 2
	for d := range half {
		for _, i := range [2]int{half - d, half + d} {
			if i > 0 && i < len(text) && (text[i-1] == ' ' || text[i-1] == '\t' || text[i-1] == '\n') {
				return i
			}
		}
	}
	at := half
	for at > 0 && half-at < utf8.UTFMax && !utf8.RuneStart(text[at]) {
		at--
	}
	if at == 0 && half > 0 { // one long character, or none
		for at = half; at < len(text) && !utf8.RuneStart(text[at]); at++ {
		}
		if at == len(text) {
			at = 0
		}
	}
	return at
}

func (c *chunker) add(p piece) error {
	if p.place == atRecord {
		if err := c.flush(); err != nil {
			return err
		}
	}
	for c.sum+p.tokens > c.tokens && len(c.pieces) > c.old {
		if err := c.cut(p); err != nil {
			return err
		}
	}
	for c.old > 0 && c.sum+p.tokens > c.tokens {
		c.drop(1)
	}
	c.pieces = append(c.pieces, p)
	c.sum += p.tokens
	return nil
}

// cut makes a chunk of the first pieces, those up to the best place; next is what comes behind the last.
func (c *chunker) cut(next piece) error {
	best, at := next.place, len(c.pieces)
	for i, sum := len(c.pieces)-1, c.sum; i > c.old; i-- {
		if sum -= c.pieces[i].tokens; sum < c.tokens/2 {
			break
		}
		if c.pieces[i].place > best {
			best, at = c.pieces[i].place, i
		}
	}
	at, err := c.write(at)
	if err != nil {
		return err
	}
	keep := at
	if best < atHeading {
		for sum := 0; keep > 0; keep-- {
			if sum += c.pieces[keep-1].tokens; sum > c.overlap {
				break
			}
		}
	}
	c.drop(keep)
	c.old = at - keep
	return nil
}

// write emits a chunk of the first pieces: of n, or fewer if together they have more tokens than apart. It returns how many.
func (c *chunker) write(n int) (int, error) {
	for ; ; n-- {
		var b strings.Builder
		for _, p := range c.pieces[:n] {
			b.WriteString(p.text)
		}
		text := b.String()
		if n > c.old+1 && strings.TrimSpace(text) != "" {
			tokens, err := c.count(text)
			if err != nil {
				return 0, err
			}
			if tokens > c.tokens {
				continue
			}
		}
		return n, c.emitTrimmed(text, c.pieces[0], c.pieces[n-1])
	}
}

func (c *chunker) emitTrimmed(text string, first, last piece) error {
	trimmed := strings.TrimSpace(text)
	if trimmed == "" {
		return nil
	}
	chunk := Chunk{Text: strings.ToValidUTF8(trimmed, "\uFFFD"), Start: first.start, End: last.start + last.size, FirstLine: first.line, LastLine: first.line}
	if !first.record {
		before := strings.Index(text, trimmed)
		chunk.Start += int64(before)
		chunk.End = chunk.Start + int64(len(trimmed))
		chunk.FirstLine += strings.Count(text[:before], "\n")
		chunk.LastLine = chunk.FirstLine + strings.Count(trimmed, "\n")
	}
	return c.emit(chunk)
}

// drop takes pieces from the front.
func (c *chunker) drop(n int) {
	for _, p := range c.pieces[:n] {
		c.sum -= p.tokens
	}
	c.pieces = append(c.pieces[:0], c.pieces[n:]...)
	c.old = max(0, c.old-n)
}

// flush makes chunks of what is left.
func (c *chunker) flush() error {
	for len(c.pieces) > c.old {
		n, err := c.write(len(c.pieces))
		if err != nil {
			return err
		}
		c.drop(n)
		c.old = 0
	}
	c.pieces, c.sum, c.old = c.pieces[:0], 0, 0
	return nil
}
