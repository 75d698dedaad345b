package loader

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Located is a token with its place in the text.
type Located struct {
	ID          int32
	Special     bool // put around the text by the tokenizer; it has no place
	Start, Stop int  // in code points; the token is of text[Start:Stop]
}

// offsetter is a library that says where tokens come from, in bytes of the text.
type offsetter interface {
	encodeOffsets(text string, special bool) (ids []uint32, offsets [][2]int)
}

// Locate tokenizes a text without truncating it and says where each token comes
// from. special puts the special tokens around it. Offsets are as the tokenizer
// library gives them: of the text before normalization.
func (t *Tokenizer) Locate(ctx context.Context, text string, special bool) ([]Located, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.lib == nil {
		return nil, fmt.Errorf("tokenizer: %w", ErrClosed)
	}
	lib, ok := t.lib.(offsetter)
	if !ok {
		return nil, fmt.Errorf("%w: offsets of tokens", ErrUnsupported)
	}
	text = validUTF8(text)
	given := text
	if strings.IndexByte(text, 0) >= 0 {
		given = strings.ReplaceAll(text, "\x00", t.spec.nul)
	}
	var ids []uint32
	var offsets [][2]int
	if err := inLibrary(ctx, len(given), func() { ids, offsets = lib.encodeOffsets(given, special) }); err != nil {
		return nil, err
	}
	prefix, suffix := 0, 0
	if special {
		prefix, suffix = len(t.spec.prefix), len(t.spec.suffix)
	}
	if len(ids) < prefix+suffix || len(offsets) != len(ids) || len(ids) == 0 && !blank(text) {
		return nil, fmt.Errorf("%w: %d tokens with %d offsets for a text of %d bytes", ErrEncode, len(ids), len(offsets), len(text))
	}
	points := codePoints(text, len(t.spec.nul))
	tokens := make([]Located, len(ids))
	for i, id := range ids {
		tokens[i] = Located{ID: int32(id), Special: i < prefix || i >= len(ids)-suffix}
		if at := offsets[i]; !tokens[i].Special {
			if at[0] < 0 || at[1] < at[0] || at[1] >= len(points) {
				return nil, fmt.Errorf("%w: token %d is at %d to %d of a text of %d bytes", ErrEncode, i, at[0], at[1], len(points)-1)
			}
			tokens[i].Start, tokens[i].Stop = int(points[at[0]]), int(points[at[1]])
		}
	}
	return tokens, nil
}

// codePoints maps each byte of a text in which every U+0000 takes nul bytes, and
// its end, to the code point that it belongs to.
func codePoints(text string, nul int) []int32 {
	points := make([]int32, 0, len(text)+1)
	n := int32(0)
	for _, r := range text {
		size := utf8.RuneLen(r)
		if r == 0 {
			size = nul
		}
		for range size {
			points = append(points, n)
		}
		n++
	}
	return append(points, n)
}
