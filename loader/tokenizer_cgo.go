//go:build cgo

package loader

import (
	"fmt"

	"github.com/daulet/tokenizers"
)

// rustLibrary is the Hugging Face tokenizer library.
type rustLibrary struct {
	t *tokenizers.Tokenizer
}

// openLibrary loads a document that checkTokenizer has made.
func openLibrary(doc []byte) (library, error) {
	t, err := tokenizers.FromBytes(doc)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadTokenizer, err)
	}
	return &rustLibrary{t}, nil
}

// encode asks for no more than is used, and for no token texts: the library
// panics on one that holds a NUL.
func (l *rustLibrary) encode(text string, types bool) (ids, typeIDs []uint32) {
	var e tokenizers.Encoding
	if types {
		e = l.t.EncodeWithOptions(text, true, tokenizers.WithReturnTypeIDs())
	} else {
		e = l.t.EncodeWithOptions(text, true)
	}
	return e.IDs, e.TypeIDs
}

func (l *rustLibrary) close() error { return l.t.Close() }

// encodeOffsets asks for no type ids.
func (l *rustLibrary) encodeOffsets(text string, special bool) (ids []uint32, offsets [][2]int) {
	e := l.t.EncodeWithOptions(text, special, tokenizers.WithReturnOffsets())
	offsets = make([][2]int, len(e.Offsets))
	for i, at := range e.Offsets {
		offsets[i] = [2]int{int(at[0]), int(at[1])}
	}
	return e.IDs, offsets
}
