package convert

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/vkbert/vkbert/loader"
)

// ggufScalar is a type of a metadata value that has a fixed size.
type ggufScalar struct {
	size int
	get  func(b []byte) any
}

// Types of metadata values that are not in ggufScalars.
const (
	ggufText = 8
	ggufList = 9
)

var ggufScalars = map[uint32]ggufScalar{
	0:  {1, func(b []byte) any { return int64(b[0]) }},
	1:  {1, func(b []byte) any { return int64(int8(b[0])) }},
	2:  {2, func(b []byte) any { return int64(binary.LittleEndian.Uint16(b)) }},
	3:  {2, func(b []byte) any { return int64(int16(binary.LittleEndian.Uint16(b))) }},
	4:  {4, func(b []byte) any { return int64(binary.LittleEndian.Uint32(b)) }},
	5:  {4, func(b []byte) any { return int64(int32(binary.LittleEndian.Uint32(b))) }},
	6:  {4, func(b []byte) any { return float64(math.Float32frombits(binary.LittleEndian.Uint32(b))) }},
	7:  {1, func(b []byte) any { return b[0] != 0 }},
	10: {8, func(b []byte) any { return int64(min(binary.LittleEndian.Uint64(b), math.MaxInt64)) }},
	11: {8, func(b []byte) any { return int64(binary.LittleEndian.Uint64(b)) }},
	12: {8, func(b []byte) any { return math.Float64frombits(binary.LittleEndian.Uint64(b)) }},
}

// pair reads a key and its value.
func (g *ggufReader) pair() error {
	key, err := g.text()
	if err != nil {
		return err
	}
	if _, twice := g.file.meta[key]; twice {
		return ggufErrorf("key %.200q: twice", key)
	}
	const pairBytes = 160 // in a map that grows
	if err := g.meter.take(pairBytes); err != nil {
		return err
	}
	kind, err := g.u32()
	if err != nil {
		return err
	}
	g.file.meta[key] = nil // so that a second one is seen, of a value that is not kept too
	value, err := g.value(key, kind)
	if err != nil {
		return fmt.Errorf("key %.200q: %w", key, err)
	}
	g.file.meta[key] = value
	return nil
}

func (g *ggufReader) value(key string, kind uint32) (any, error) {
	switch kind {
	case ggufText:
		return g.shortText()
	case ggufList:
		return g.list(key)
	}
	scalar, ok := ggufScalars[kind]
	if !ok {
		return nil, ggufErrorf("type %d is none of GGUF", kind)
	}
	b, err := g.bytes(scalar.size)
	if err != nil {
		return nil, err
	}
	if kind == 7 && b[0] > 1 {
		return nil, ggufErrorf("want true or false, got %d", b[0])
	}
	return scalar.get(b), nil
}

// shortText reads a text; a long one is passed over.
func (g *ggufReader) shortText() (any, error) {
	n, err := g.length(ggufMaxText)
	if err != nil {
		return nil, err
	}
	if n > ggufKeptText {
		return nil, g.skip(n)
	}
	b, err := g.bytes(int(n))
	if err != nil {
		return nil, err
	}
	if err := g.meter.take(ggufKeptText + 16); err != nil {
		return nil, err
	}
	if !utf8.Valid(b) {
		return nil, ggufErrorf("%.60q is not UTF-8", b)
	}
	return string(b), nil
}

// list reads a list: those of the vocabulary into their fields, a short one of
// numbers as it is, and passes over all others.
func (g *ggufReader) list(key string) (any, error) {
	kind, err := g.u32()
	if err != nil {
		return nil, err
	}
	n, err := g.u64()
	if err != nil {
		return nil, err
	}
	if kind == ggufText {
		return nil, g.texts(n, key == "tokenizer.ggml.tokens")
	}
	scalar, ok := ggufScalars[kind]
	if !ok {
		return nil, ggufErrorf("a list of type %d", kind)
	}
	if n > uint64(g.size-g.meter.header)/uint64(scalar.size) {
		return nil, fmt.Errorf("%w: GGUF header: a list of %d values ends after byte %d", loader.ErrTruncated, n, g.size)
	}
	switch {
	case key == "tokenizer.ggml.scores":
		return nil, numbers(g, &g.file.scores, n, ggufMaxTokens, kind)
	case key == "tokenizer.ggml.token_type":
		return nil, numbers(g, &g.file.kinds, n, ggufMaxTokens, kind)
	case key == "tokenizer.ggml.precompiled_charsmap" && scalar.size == 1: // signed or not: bytes
		return nil, numbers(g, &g.file.charmap, n, ggufMaxCharmap, 0)
	case n <= ggufKeptList:
		var list []float64
		err := numbers(g, &list, n, ggufKeptList, kind)
		return list, err
	}
	return nil, g.skip(n * uint64(scalar.size))
}

// numbers appends n numbers of that type to a list.
func numbers[T byte | float32 | float64](g *ggufReader, list *[]T, n, most uint64, kind uint32) (err error) {
	if n > most {
		return ggufErrorf("a list of %d values, want at most %d", n, most)
	}
	scalar, elementBytes := ggufScalars[kind], int64(binary.Size(T(0)))
	for range n {
		b, err := g.bytes(scalar.size)
		if err != nil {
			return err
		}
		if *list, err = grow(&g.meter, *list, elementBytes); err != nil {
			return err
		}
		var x T
		switch v := scalar.get(b).(type) {
		case int64:
			x = T(v)
		case float64:
			x = T(v)
		case bool:
			if v {
				x = 1
			}
		}
		*list = append(*list, x)
	}
	return nil
}

// texts reads a list of texts, into the vocabulary or over them.
func (g *ggufReader) texts(n uint64, keep bool) error {
	if n > uint64(g.size-g.meter.header)/8 {
		return fmt.Errorf("%w: GGUF header: a list of %d texts ends after byte %d", loader.ErrTruncated, n, g.size)
	}
	if keep && n > ggufMaxTokens {
		return ggufErrorf("a list of %d tokens, want at most %d", n, ggufMaxTokens)
	}
	t := &g.file.tokens
	for range n {
		length, err := g.length(ggufMaxText)
		if err != nil {
			return err
		}
		if !keep {
			if err := g.skip(length); err != nil {
				return err
			}
			continue
		}
		if length >= ggufMaxKey {
			return ggufErrorf("token %d: %d bytes", t.len(), length)
		}
		b, err := g.bytes(int(length))
		if err != nil {
			return err
		}
		if !utf8.Valid(b) {
			return ggufErrorf("token %d: %.60q is not UTF-8", t.len(), b)
		}
		for _, c := range b {
			if t.text, err = grow(&g.meter, t.text, 1); err != nil {
				return err
			}
			t.text = append(t.text, c)
		}
		if t.ends, err = grow(&g.meter, t.ends, 4); err != nil {
			return err
		}
		t.ends = append(t.ends, uint32(len(t.text)))
	}
	return nil
}
