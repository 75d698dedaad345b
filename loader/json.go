package loader

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// encoding/json accepts duplicate keys, keys in another case, invalid UTF-8 and
// null where a number should be; each of these has been used to make two
// readers of one file disagree. This parser accepts RFC 8259 and nothing else,
// to a bounded depth.

// jsonNumber is a number as it is spelled in the file.
type jsonNumber string

// jsonObject is an object with its keys in the order of the file.
type jsonObject struct {
	keys   []string
	values map[string]any
}

func (o *jsonObject) get(key string) any { return o.values[key] }

// jsonParser is a pull parser over one document.
type jsonParser struct {
	data  string
	pos   int
	depth int // how many more levels may be opened
}

// newJSON starts parsing a document of at most maxDepth nested levels.
func newJSON(data []byte, maxDepth int) (*jsonParser, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("not valid UTF-8")
	}
	return &jsonParser{data: string(data), depth: maxDepth}, nil
}

// sharedJSON is newJSON without a copy of data, which must not change as long as a
// text of it is used.
func sharedJSON(data []byte, maxDepth int) (*jsonParser, error) {
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("not valid UTF-8")
	}
	return &jsonParser{data: unsafe.String(unsafe.SliceData(data), len(data)), depth: maxDepth}, nil
}

func (p *jsonParser) errorf(format string, args ...any) error {
	return fmt.Errorf("%s at byte %d", fmt.Sprintf(format, args...), p.pos)
}

// next skips white space and returns the byte that follows, 0 at the end.
func (p *jsonParser) next() byte {
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; c {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return c
		}
	}
	return 0
}

// expect consumes c.
func (p *jsonParser) expect(c byte, where string) error {
	got := p.next()
	if got == c && p.pos < len(p.data) {
		p.pos++
		return nil
	}
	if p.pos >= len(p.data) {
		return p.errorf("%s: want %q, got the end of the text", where, c)
	}
	return p.errorf("%s: want %q, got %q", where, c, got)
}

// end checks that nothing follows.
func (p *jsonParser) end() error {
	if p.next(); p.pos < len(p.data) {
		return p.errorf("text after the end of the value")
	}
	return nil
}

// members calls fn for each key of an object; fn consumes the value. Duplicate
// keys are fn's business.
func (p *jsonParser) members(fn func(key string) error) error {
	return p.list('{', '}', "object", func() error {
		key, err := p.str()
		if err != nil {
			return err
		}
		if err := p.expect(':', "object"); err != nil {
			return err
		}
		return fn(key)
	})
}

// object is members with duplicate keys refused.
func (p *jsonParser) object(fn func(key string) error) error {
	seen := make(map[string]struct{})
	return p.members(func(key string) error {
		if _, dup := seen[key]; dup {
			return p.errorf("duplicate key %q", key)
		}
		seen[key] = struct{}{}
		return fn(key)
	})
}

// array calls fn for each element; fn consumes it.
func (p *jsonParser) array(fn func(i int) error) error {
	i := 0
	return p.list('[', ']', "array", func() error {
		i++
		return fn(i - 1)
	})
}

func (p *jsonParser) list(open, closing byte, what string, item func() error) error {
	if err := p.expect(open, what); err != nil {
		return err
	}
	if p.depth == 0 {
		return p.errorf("%s nested too deeply", what)
	}
	p.depth--
	defer func() { p.depth++ }()
	if p.next() == closing {
		p.pos++
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if p.next() == ',' {
			p.pos++
			continue
		}
		return p.expect(closing, what)
	}
}

// str consumes a string.
func (p *jsonParser) str() (string, error) {
	if err := p.expect('"', "string"); err != nil {
		return "", err
	}
	start := p.pos
	for p.pos < len(p.data) {
		switch c := p.data[p.pos]; {
		case c == '"':
			s := p.data[start:p.pos]
			p.pos++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.errorf("control character %#02x in a string", c)
		default:
			p.pos++
		}
	}
	return "", p.errorf("string without an end")
}

const jsonEscapes = "\"\"\\\\//b\bf\fn\nr\rt\t"

// escaped finishes a string that holds a backslash, at p.pos.
func (p *jsonParser) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(p.data[start:p.pos])
	for p.pos < len(p.data) {
		c := p.data[p.pos]
		p.pos++
		switch {
		case c == '"':
			return b.String(), nil
		case c < 0x20:
			return "", p.errorf("control character %#02x in a string", c)
		case c != '\\':
			b.WriteByte(c)
			continue
		}
		if p.pos >= len(p.data) {
			break
		}
		c = p.data[p.pos]
		p.pos++
		if c == 'u' {
			r, err := p.unicode()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
			continue
		}
		i := 0
		for i < len(jsonEscapes) && jsonEscapes[i] != c {
			i += 2
		}
		if i >= len(jsonEscapes) {
			return "", p.errorf("unknown escape \\%c", c)
		}
		b.WriteByte(jsonEscapes[i+1])
	}
	return "", p.errorf("string without an end")
}

// unicode finishes a \u escape, surrogate pairs included.
func (p *jsonParser) unicode() (rune, error) {
	r, err := p.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	if strings.HasPrefix(p.data[p.pos:], `\u`) {
		p.pos += 2
		low, err := p.hex4()
		if err != nil {
			return 0, err
		}
		if r := utf16.DecodeRune(r, low); r != utf8.RuneError {
			return r, nil
		}
	}
	return 0, p.errorf("surrogate \\u%04x without its pair", r)
}

func (p *jsonParser) hex4() (rune, error) {
	if len(p.data)-p.pos < 4 {
		return 0, p.errorf("\\u without four digits")
	}
	var r rune
	for range 4 {
		c := p.data[p.pos]
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, p.errorf("\\u without four digits")
		}
		p.pos++
	}
	return r, nil
}

// number consumes a number.
func (p *jsonParser) number() (jsonNumber, error) {
	p.next()
	start := p.pos
	digits := func() bool {
		from := p.pos
		for p.pos < len(p.data) && '0' <= p.data[p.pos] && p.data[p.pos] <= '9' {
			p.pos++
		}
		return p.pos > from
	}
	at := func(set string) bool {
		return p.pos < len(p.data) && strings.IndexByte(set, p.data[p.pos]) >= 0
	}
	if at("-") {
		p.pos++
	}
	if at("0") {
		p.pos++
	} else if !digits() {
		return "", p.errorf("want a number")
	}
	if at(".") {
		p.pos++
		if !digits() {
			return "", p.errorf("number without digits after its point")
		}
	}
	if at("eE") {
		p.pos++
		if at("+-") {
			p.pos++
		}
		if !digits() {
			return "", p.errorf("number without digits in its exponent")
		}
	}
	return jsonNumber(p.data[start:p.pos]), nil
}

// literal consumes true, false or null.
func (p *jsonParser) literal() (any, error) {
	for word, v := range map[string]any{"true": true, "false": false, "null": nil} {
		if strings.HasPrefix(p.data[p.pos:], word) {
			p.pos += len(word)
			return v, nil
		}
	}
	if p.pos >= len(p.data) {
		return nil, p.errorf("want a value, got the end of the text")
	}
	return nil, p.errorf("want a value, got %q", p.data[p.pos])
}

// value consumes any value and returns it: *jsonObject, []any, string,
// jsonNumber, bool or nil. Duplicate keys are refused at every level.
func (p *jsonParser) value() (any, error) {
	switch c := p.next(); {
	case c == '{':
		o := &jsonObject{values: make(map[string]any)}
		err := p.object(func(key string) error {
			v, err := p.value()
			o.keys = append(o.keys, key)
			o.values[key] = v
			return err
		})
		return o, err
	case c == '[':
		list := []any{}
		err := p.array(func(int) error {
			v, err := p.value()
			list = append(list, v)
			return err
		})
		return list, err
	case c == '"':
		return p.str()
	case c == '-' || '0' <= c && c <= '9':
		return p.number()
	default:
		return p.literal()
	}
}

// skip consumes any value and returns its text.
func (p *jsonParser) skip() (string, error) {
	p.next()
	start := p.pos
	var err error
	switch c := p.next(); {
	case c == '{':
		err = p.members(func(string) error { _, err := p.skip(); return err })
	case c == '[':
		err = p.array(func(int) error { _, err := p.skip(); return err })
	default:
		_, err = p.value()
	}
	return p.data[start:p.pos], err
}

// parseJSON parses a whole document into values.
func parseJSON(data []byte, maxDepth int) (any, error) {
	p, err := newJSON(data, maxDepth)
	if err != nil {
		return nil, err
	}
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	return v, p.end()
}

// describe says what a value is, for an error message.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case *jsonObject:
		return "an object"
	case []any:
		return "a list"
	case string:
		return fmt.Sprintf("%.60q", v)
	case jsonNumber:
		return fmt.Sprintf("%.40s", string(v))
	default:
		return fmt.Sprint(v)
	}
}
