package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// input is what is to be embedded: a text, a list of texts, the token ids of a text, or a list of those.
type input struct {
	texts  []string
	ids    [][]int32
	single bool // not in a list
	given  bool
}

func (in *input) len() int { return len(in.texts) + len(in.ids) }

// What types of several forms take.
const (
	inputForms = "a string, a list of strings, a list of token ids or a list of such lists"
	textForms  = "a string or a list of strings"
	idForms    = "a list of token ids or a list of such lists"
)

// unlike is the error of JSON that has none of T's forms; value says what it is. encoding/json puts the field's name to this type of error alone.
func unlike[T any](value string) error {
	return &json.UnmarshalTypeError{Value: value, Type: reflect.TypeFor[T]()}
}

// kindOf is what JSON is, as encoding/json calls it.
func kindOf(data []byte) string {
	switch data[0] {
	case '"':
		return "string"
	case '[':
		return "array"
	case '{':
		return "object"
	case 't', 'f':
		return "bool"
	}
	return "number"
}

// listWith is a list that could not be read because of what is in it.
func listWith(err error) string {
	var element *json.UnmarshalTypeError
	if errors.As(err, &element) {
		return arrayWith + element.Value
	}
	return "array"
}

const arrayWith = "array with "

// UnmarshalJSON takes the four forms.
func (in *input) UnmarshalJSON(data []byte) error {
	*in = input{given: true}
	switch {
	case data[0] == '"':
		in.single = true
		in.texts = make([]string, 1)
		return json.Unmarshal(data, &in.texts[0])
	case data[0] != '[':
		if string(data) == "null" {
			*in = input{}
			return nil
		}
		return unlike[input](kindOf(data))
	}
	var err error
	switch rest := bytes.TrimLeft(data[1:], " \t\r\n"); {
	case rest[0] == ']':
	case rest[0] == '"':
		err = json.Unmarshal(data, &in.texts)
	case rest[0] == '[':
		err = json.Unmarshal(data, &in.ids)
	default:
		in.single = true
		in.ids = make([][]int32, 1)
		err = json.Unmarshal(data, &in.ids[0])
	}
	if err != nil {
		return unlike[input](listWith(err))
	}
	return noNull(data)
}

// idLists are the token ids of a text, or a list of those.
type idLists struct{ input }

// UnmarshalJSON takes both forms.
func (l *idLists) UnmarshalJSON(data []byte) error {
	err := l.input.UnmarshalJSON(data)
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind) && kind.Value != "null":
		return unlike[idLists](kind.Value)
	case err == nil && l.texts != nil && l.single:
		return unlike[idLists]("string")
	case err == nil && l.texts != nil:
		return unlike[idLists](arrayWith + "string")
	}
	return err
}

// noNull is an error that names the first null in a list, or in a list of lists: encoding/json takes it for "" or 0.
func noNull(list []byte) error {
	if !bytes.Contains(list, []byte("null")) { // which a text may have too
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(list))
	d.UseNumber()
	var at []int // where the next value is
	for {
		t, err := d.Token()
		if err != nil {
			return nil // the end
		}
		switch t {
		case json.Delim('['):
			at = append(at, 0)
			continue
		case json.Delim(']'):
			at = at[:len(at)-1]
		case nil:
			if len(at) > 0 {
				path := strings.Trim(strings.ReplaceAll(fmt.Sprint(at), " ", "."), "[]")
				return &json.UnmarshalTypeError{Value: "null", Field: path, Type: reflect.TypeFor[string]()} // encoding/json puts the list's name before the path
			}
		}
		if len(at) > 0 {
			at[len(at)-1]++
		}
	}
}

// textList is a list of texts.
type textList []string

// UnmarshalJSON takes no null.
func (l *textList) UnmarshalJSON(data []byte) error {
	if err := json.Unmarshal(data, (*[]string)(l)); err != nil {
		return err
	}
	return noNull(data)
}

// texts is a text or a list of texts.
type texts struct {
	list   []string
	single bool
	given  bool
}

// UnmarshalJSON takes both forms.
func (t *texts) UnmarshalJSON(data []byte) error {
	*t = texts{given: true}
	if string(data) == "null" {
		*t = texts{}
		return nil
	}
	if data[0] == '"' {
		t.single = true
		t.list = make([]string, 1)
		return json.Unmarshal(data, &t.list[0])
	}
	if data[0] != '[' {
		return unlike[texts](kindOf(data))
	}
	if err := json.Unmarshal(data, &t.list); err != nil {
		return unlike[texts](listWith(err))
	}
	return noNull(data)
}

// count is a number of things that a request asks for, which must be a whole number of 1 or more; 0 is not given. What is not is an error of its class, and not one of
// the JSON.
type count int

// UnmarshalJSON takes what JSON has for whole numbers.
func (n *count) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	v, err := strconv.ParseInt(string(data), 10, 32)
	if err != nil && (data[0] == '"' || data[0] == '[' || data[0] == '{') {
		return unlike[count](kindOf(data))
	}
	if err != nil || v < 1 {
		return failf(dimensions, "dimensions", "`dimensions`: want a whole number of 1 or more, and no more than the model has")
	}
	*n = count(v)
	return nil
}

// document is a text to rank: a string, or an object with one.
type document string

// UnmarshalJSON takes both forms.
func (d *document) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, (*string)(d))
	}
	var object struct {
		Text *string `json:"text"`
	}
	if json.Unmarshal(data, &object) != nil || object.Text == nil {
		return failf(invalid, "documents", "`documents`: want strings, or objects with a \"text\"")
	}
	*d = document(*object.Text)
	return nil
}
