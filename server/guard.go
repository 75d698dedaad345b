package server

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"
)

// Bounds of a body besides its size, kept while it is read.
const (
	maxDepth   = 8       // of nested lists and objects
	maxMembers = 256     // of an object
	maxNumbers = 1 << 17 // of a list of numbers: the tokens of a text
)

// A guard looks at JSON as it is read, and ends the reading where it is nested too deeply or a list is too long, before anything is made of it. It does not
// check the syntax.
type guard struct {
	inputs  int // elements of a list that are not numbers; negative for any
	open    []container
	quoted  bool
	escaped bool
	scalar  bool // within a number, true, false or null
}

type container struct {
	list     bool
	elements int
	numbers  int
}

func (g *guard) write(data []byte) error {
	for i := 0; i < len(data); i++ {
		c := data[i]
		if g.quoted {
			switch {
			case g.escaped:
				g.escaped = false
			case c == '\\':
				g.escaped = true
			case c == '"':
				g.quoted = false
			}
			continue
		}
		switch c {
		case '"':
			g.quoted, g.scalar = true, false
			if err := g.count(false); err != nil {
				return err
			}
		case '[', '{':
			g.scalar = false
			if err := g.count(false); err != nil {
				return err
			}
			if len(g.open) == maxDepth {
				return failf(malformed, "", "the JSON is nested more than %d deep", maxDepth)
			}
			g.open = append(g.open, container{list: c == '['})
		case ']', '}':
			g.scalar = false
			if n := len(g.open); n > 0 {
				g.open = g.open[:n-1]
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			g.scalar = false
		default:
			if !g.scalar {
				g.scalar = true
				if err := g.count(c == '-' || c >= '0' && c <= '9'); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// count is told of every value that begins, and of every key.
func (g *guard) count(number bool) error {
	n := len(g.open)
	if n == 0 {
		return nil
	}
	in := &g.open[n-1]
	switch {
	case !in.list:
		if in.elements++; in.elements > 2*maxMembers {
			return failf(malformed, "", "an object of the JSON has more than %d members", maxMembers)
		}
	case number:
		if in.numbers++; in.numbers > maxNumbers {
			return failf(tooLarge, "", "a list of more than %d numbers", maxNumbers)
		}
	default:
		if in.elements++; over(in.elements, g.inputs) {
			return failf(tooLarge, "", "batch size > maximum allowed batch size %d", g.inputs)
		}
	}
	return nil
}

var bodies = sync.Pool{New: func() any { return new([]byte) }}

// decodeBody reads a body of at most limit bytes into v, at most 64 KiB at a time.
func decodeBody(w http.ResponseWriter, r *http.Request, limit int64, inputs int, v any) error {
	from := io.Reader(r.Body)
	if limit >= 0 {
		from = http.MaxBytesReader(w, r.Body, limit)
	}
	kept := bodies.Get().(*[]byte)
	body := (*kept)[:0]
	defer func() {
		if cap(body) <= 64<<10 { // larger ones are rare
			*kept = body[:0]
			bodies.Put(kept)
		}
	}()
	g := guard{inputs: inputs}
	for {
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
		n, err := from.Read(body[len(body):min(cap(body), len(body)+64<<10)])
		if bad := g.write(body[len(body) : len(body)+n]); bad != nil {
			return bad
		}
		body = body[:len(body)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return readError(err)
		}
	}
	return decodeJSON(body, v)
}

// readError tells a client that is too slow from one that went away.
func readError(err error) error {
	var f *failure
	var big *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &f), errors.As(err, &big):
		return failureOf(err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return &failure{class: timedOut, message: "the body did not come in time", cause: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &failure{class: gone, message: "the body ended early", cause: err}
	}
	return &failure{class: malformed, message: "the body cannot be read", cause: err}
}

// decodeJSON is json.Unmarshal for a body that must be UTF-8. Errors do not repeat what the client sent.
func decodeJSON(body []byte, v any) error {
	if !utf8.Valid(body) {
		return failf(malformed, "", "the body is not UTF-8")
	}
	err := json.Unmarshal(body, v)
	var f *failure
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &f):
		return f
	case errors.As(err, &kind):
		field := embedded.Replace(kind.Field)
		if kind.Value == "null" { // noNull's
			return failf(invalid, field, "`%s`: want a value, got null", field)
		}
		if field == "" {
			return failf(invalid, "", "want a JSON object, got %s", came(kind.Value))
		}
		return failf(invalid, field, "`%s`: want %s, got %s", field, wanted(kind.Type), came(kind.Value))
	case errors.As(err, &syntax):
		return failf(malformed, "", "the body is not JSON: %s at byte %d", clean(syntax.Error()), syntax.Offset)
	case len(body) == 0:
		return failf(malformed, "", "the body is empty")
	}
	return failf(malformed, "", "the body is not JSON: %s", clean(err.Error()))
}

// embedded takes the names out that structs in structs have in Go and not in JSON.
var embedded = strings.NewReplacer("teiTruncation.", "", "ollamaRequest.", "")

// wanted is a type of Go in JSON's words.
func wanted(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[input]():
		return inputForms
	case reflect.TypeFor[texts]():
		return textForms
	case reflect.TypeFor[idLists]():
		return idForms
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return "a list of strings"
		}
		return "a list"
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	}
	return "a whole number"
}

// came is a value's description by encoding/json, or listWith, in the same words: "a number" of "number 17".
func came(value string) string {
	if element, ok := strings.CutPrefix(value, arrayWith); ok {
		return "a list with " + came(element) + " in it"
	}
	kind, digits, _ := strings.Cut(value, " ")
	switch {
	case kind == "object":
		return "an object"
	case kind == "array":
		return "a list"
	case kind == "bool":
		return "true or false"
	case strings.ContainsAny(digits, ".eE"): // where a whole number is wanted, "a number" would not say what is wrong
		return "a number with a fraction or an exponent"
	}
	return "a " + kind
}

func clean(s string) string { return strings.TrimPrefix(s, "json: ") }
