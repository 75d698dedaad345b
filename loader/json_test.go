package loader

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plain turns parsed values into those of encoding/json.
func plain(v any) any {
	switch v := v.(type) {
	case *jsonObject:
		m := map[string]any{}
		for key, e := range v.values {
			m[key] = plain(e)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = plain(e)
		}
		return list
	case jsonNumber:
		return json.Number(v)
	default:
		return v
	}
}

func TestJSONAccepted(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`, ` [ ] `, `{"a":{"b":[1,2,{"c":null}]}}`, "\t{\r\n\"a\" : true , \"b\":false}\n",
		`[0,-0,1,-1,10,0.5,1e5,1E+5,1.25e-7,-0.0,123456789012345678901234567890]`,
		`["","é","\u00e9","\"\\\/\b\f\n\r\t","\ud83d\ude00","😀","\u0000"]`,
		`"text"`, `null`, `5`,
	} {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want any
		require.NoError(t, d.Decode(&want), text)
		got, err := parseJSON([]byte(text), 16)
		require.NoError(t, err, text)
		assert.Equal(t, want, plain(got), text)
	}
}

func TestJSONRefused(t *testing.T) {
	for text, says := range map[string]string{
		"":                                       "end of the text",
		"{":                                      "end of the text",
		`{"a"}`:                                  `want ':'`,
		`{"a":1,}`:                               `want '"'`,
		`{a:1}`:                                  `want '"'`,
		`[1,]`:                                   "want a value",
		`[1 2]`:                                  `want ']'`,
		`[1}`:                                    `want ']'`,
		`{"a":1,"a":2}`:                          `duplicate key "a"`,
		`{"a":1,"\u0061":2}`:                     `duplicate key "a"`,
		`[{"b":{"c":0,"c":0}}]`:                  `duplicate key "c"`,
		`01`:                                     "text after",
		`.5`:                                     "want a value",
		`1.`:                                     "digits after its point",
		`1e`:                                     "exponent",
		`+1`:                                     "want a value",
		`-`:                                      "want a number",
		`NaN`:                                    "want a value",
		`Infinity`:                               "want a value",
		`nul`:                                    "want a value",
		`nullx`:                                  "text after",
		`"a`:                                     "without an end",
		"\"a\nb\"":                               "control character",
		"\"\\\n\"":                               "unknown escape",
		`"\x"`:                                   "unknown escape",
		`"\`:                                     "without an end",
		`"\u12"`:                                 "four digits",
		`"\u12g4"`:                               "four digits",
		`"\ud83d"`:                               "surrogate",
		`"\ud83dx"`:                              "surrogate",
		`"\ud83d\u0041"`:                         "surrogate",
		`"\ude00"`:                               "surrogate",
		"\"\xff\"":                               "UTF-8",
		"\ufeff{}":                               "want a value",
		"{}\x00":                                 "text after",
		`// no`:                                  "want a value",
		strings.Repeat("[", 17):                  "nested too deeply",
		strings.Repeat("[", 1<<20):               "nested too deeply",
		`{"a":` + strings.Repeat(`{"a":`, 1<<16): "nested too deeply",
	} {
		_, err := parseJSON([]byte(text), 16)
		require.Error(t, err, "%.40q", text)
		assert.ErrorContains(t, err, says, "%.40q", text)
	}
}

func TestJSONSkipReturnsTheText(t *testing.T) {
	p, err := newJSON([]byte(` {"a": [1, {"b":"\n"} ] , "c":2}`), 16)
	require.NoError(t, err)
	got := map[string]string{}
	require.NoError(t, p.object(func(key string) (err error) {
		got[key], err = p.skip()
		return err
	}))
	require.NoError(t, p.end())
	assert.Equal(t, map[string]string{"a": `[1, {"b":"\n"} ]`, "c": "2"}, got)
}
