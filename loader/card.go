package loader

import (
	"errors"
	"io"
	"strings"
	"unicode"
)

// maxFrontMatter bounds what is read of a model's card.
const maxFrontMatter = 64 << 10

// cardLicence returns the licence that the front matter of README.md names; "" if
// there is none, or it cannot be read.
func cardLicence(dir string) string {
	path, err := within(dir, "README.md")
	if err != nil {
		return ""
	}
	f, err := openRegular(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	data := make([]byte, maxFrontMatter)
	n, err := io.ReadFull(f, data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	return frontMatterLicence(string(data[:n]))
}

// frontMatterLicence finds the licence in a model card: the value of license, or
// license_name where that is "other", in the YAML block between two lines of "---"
// at its beginning. Of YAML it knows what cards hold there: a word, quoted or not,
// or a list of them. It returns "" where it finds none.
//
// Source: https://huggingface.co/docs/hub/model-cards and /repositories-licenses.
func frontMatterLicence(card string) string {
	lines := strings.Split(strings.TrimPrefix(card, "\ufeff"), "\n")
	if strings.TrimSpace(lines[0]) != "---" {
		return ""
	}
	found := map[string]string{}
	key := ""
	for _, line := range lines[1:] {
		line = strings.TrimRightFunc(line, unicode.IsSpace)
		if line == "---" {
			break
		}
		item, isItem := strings.CutPrefix(strings.TrimSpace(line), "-")
		name, value, isKey := strings.Cut(line, ":")
		switch {
		case key != "" && isItem:
			found[key] = strings.TrimPrefix(found[key]+", "+scalar(item), ", ")
		case line == "" || line[0] == ' ' || line[0] == '#':
		case isKey && (name == "license" || name == "license_name"):
			key, found[name] = name, scalars(value)
		default:
			key = ""
		}
	}
	if licence := found["license"]; licence != "other" || found["license_name"] == "" {
		return licence
	}
	return found["license_name"]
}

// scalars reads a word, or a list of words in brackets.
func scalars(value string) string {
	value = strings.TrimSpace(value)
	list, isList := strings.CutPrefix(value, "[")
	if !isList {
		return scalar(value)
	}
	list, _, _ = strings.Cut(list, "]")
	words := strings.Split(list, ",")
	for i := range words {
		words[i] = scalar(words[i])
	}
	return strings.Join(words, ", ")
}

// scalar reads a word, without its quotes and a comment. What cannot be printed is
// left out: it goes to people's terminals.
func scalar(value string) string {
	value, _, _ = strings.Cut(value, " #")
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	value = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar { // which stands for what is not UTF-8
			return -1
		}
		return r
	}, value)
	if runes := []rune(value); len(runes) > 100 {
		value = string(runes[:100]) + "…"
	}
	if value == "null" || value == "~" {
		return ""
	}
	return value
}
