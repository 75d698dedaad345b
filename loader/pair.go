package loader

import (
	"context"
	"fmt"
	"slices"
)

// piece is a part of the template of a pair: the text A or B, or special tokens.
type piece struct {
	sequence byte // 'A', 'B', or 0 for ids
	ids      []int32
	typeID   int32
}

// bothTexts is the template of a tokenizer without special tokens.
var bothTexts = []piece{{sequence: 'A'}, {sequence: 'B', typeID: 1}}

// EncodePair tokenizes two texts as one, for a cross-encoder: the post-processor's
// template with its type ids. limit is the most tokens of the whole, special
// tokens included, and 0 for any; what is over it is taken off the longer text,
// as the reference's "longest_first" does it, at the end that the tokenizer's
// configuration says. A limit below the special tokens is an ErrEncode. The
// result cannot be truncated further.
//
// Source: truncate_encodings in tokenizers/src/utils/truncation.rs.
func (t *Tokenizer) EncodePair(ctx context.Context, a, b string, limit int) (Encoding, error) {
	template := t.spec.pair
	if template == nil {
		template = bothTexts
	}
	texts, err := t.encodeBoth(ctx, a, b)
	if err != nil {
		return Encoding{}, err
	}
	special := 0
	for _, p := range template {
		special += len(p.ids)
	}
	if limit > 0 {
		if limit < special {
			return Encoding{}, fmt.Errorf("%w: a limit of %d tokens is below the %d special tokens of a pair", ErrEncode, limit, special)
		}
		keep := [2]int{len(texts[0]), len(texts[1])}
		keep[0], keep[1] = longestFirst(keep[0], keep[1], limit-special)
		for i, ids := range texts {
			if t.fromLeft {
				texts[i] = ids[len(ids)-keep[i]:]
			} else {
				texts[i] = ids[:keep[i]]
			}
		}
	}
	total := special + len(texts[0]) + len(texts[1])
	e := Encoding{IDs: make([]int32, 0, total), TypeIDs: make([]int32, total), Prefix: total}
	for _, p := range template {
		ids := p.ids
		if p.sequence != 0 {
			ids = texts[p.sequence-'A']
		}
		if p.typeID != 0 && !t.untyped {
			from := len(e.IDs)
			for i := range ids {
				e.TypeIDs[from+i] = p.typeID
			}
		}
		e.IDs = append(e.IDs, ids...)
	}
	return e, nil
}

// encodeBoth tokenizes two texts without special tokens.
func (t *Tokenizer) encodeBoth(ctx context.Context, a, b string) (texts [2][]int32, err error) {
	for i, text := range []string{a, b} {
		e, err := t.Encode(ctx, text)
		if err != nil {
			return texts, err
		}
		texts[i] = slices.Clip(e.IDs[e.Prefix : len(e.IDs)-e.Suffix])
	}
	return texts, nil
}

// longestFirst returns how many tokens of texts of a and b tokens are kept where
// limit fit.
func longestFirst(a, b, limit int) (int, int) {
	if a+b <= limit {
		return a, b
	}
	short := min(a, b)
	long := max(short, limit-short)
	if short+long > limit {
		short = limit / 2
		long = short + limit%2
	}
	if a > b {
		return long, short
	}
	return short, long
}
