package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestByteOrderMark(t *testing.T) {
	for name, c := range map[string]struct {
		format, in string
		want       []string
	}{
		"text":                  {"text", "\ufeffa\r\nb\n", []string{"a", "b"}},
		"JSON":                  {"jsonl", "\ufeff\"a\"\n{\"text\":\"b\"}\n", []string{"a", "b"}},
		"an empty first line":   {"text", "\ufeff\na", []string{"", "a"}},
		"nothing else":          {"text", "\ufeff", nil},
		"one alone is the mark": {"text", "\ufeff\ufeffa\n\ufeffb\n", []string{"\ufeffa", "\ufeffb"}},
	} {
		t.Run(name, func(t *testing.T) {
			lines := newLines(strings.NewReader(c.in), &texts{})
			next := lines.next
			if c.format == "jsonl" {
				next = lines.nextJSON
			}
			var got []string
			for {
				text, err := next()
				if errors.Is(err, io.EOF) {
					break
				}
				require.NoError(t, err)
				got = append(got, text)
			}
			assert.Equal(t, c.want, got)
			assert.EqualValues(t, len(c.in), lines.file.read)
		})
	}
}

func TestBadJSONLineSaysWhatItIs(t *testing.T) {
	for line, want := range map[string]string{
		"cat":                          `want a JSON string or an object with a string "text", got "cat"`,
		`{"text":1}`:                   `got "{\"text\":1}"`,
		`{"text":`:                     `got "{\"text\":": unexpected end`,
		`"` + strings.Repeat("é", 100): `got "\"` + strings.Repeat("é", 39) + `": unexpected end`,
	} {
		_, _, err := parseJSONText([]byte(line))
		assert.ErrorContains(t, err, want)
	}
}
