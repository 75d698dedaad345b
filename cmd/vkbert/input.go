package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

const (
	maxLine    = 64 << 20  // bytes; the tokenizer library takes two to six hundred times as much memory, for one long text at a time
	chunkTexts = 1024      // texts that are embedded in one call
	chunkBytes = 256 << 10 // or their bytes, if they get there first
)

// inputFlags say where texts come from if not from the arguments.
type inputFlags struct {
	path   string
	flag   string // "" is "input"
	format *choice
}

func (f *inputFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.path, "input", "", `read texts from a file; "-", and the default without arguments, is standard input`)
	f.format = newChoice("text", "jsonl")
	f.format.add(cmd, "input-format", `a text a line, or a JSON string or {"text": …} a line`)
	cmd.MarkFlagFilename("input") //nolint:errcheck // the flag is there
}

// texts are read one after another.
type texts struct {
	next  func() (string, error) // io.EOF after the last
	count int                    // how many there are; -1 if that is not known yet
	size  int64                  // bytes of the file they are read from; 0 if that is not known
	read  int64                  // bytes read so far
	name  string                 // of the file
	file  io.Closer              // nil if it is not theirs to close
}

func (t *texts) Close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// open opens what the flags say, or takes the arguments.
func (f *inputFlags) open(cmd *cobra.Command, args []string) (*texts, error) {
	if len(args) > 0 {
		if f.path != "" {
			return nil, usagef("--input and texts in the arguments: want one of the two")
		}
		return textsOf(args), nil
	}
	in, t := cmd.InOrStdin(), &texts{count: -1, name: "standard input"}
	if f.path != "" && f.path != "-" {
		file, err := os.Open(f.path)
		if err != nil {
			return nil, err
		}
		info, err := file.Stat()
		if err == nil && info.IsDir() {
			err = fmt.Errorf("--%s %s is a directory, want a file", cmp.Or(f.flag, "input"), f.path)
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		if info.Mode().IsRegular() {
			t.size = info.Size()
		}
		in, t.name, t.file = file, f.path, file
	} else if isTerminal(in) {
		fmt.Fprintln(cmd.ErrOrStderr(), "vkbert: reading texts from the terminal, one a line, until the end of input (Ctrl-D)")
	}
	lines := newLines(in, t)
	t.next = lines.next
	if f.format.value == "jsonl" {
		t.next = lines.nextJSON
	}
	return t, nil
}

// textsOf are texts in memory.
func textsOf(list []string) *texts {
	i := 0
	return &texts{count: len(list), name: "arguments", next: func() (string, error) {
		if i == len(list) {
			return "", io.EOF
		}
		i++
		return list[i-1], nil
	}}
}

// lineReader reads lines of any length up to a limit in bytes.
type lineReader struct {
	in     *bufio.Reader
	file   *texts
	limit  int
	number int // of the line read last, from 1
}

func newLines(in io.Reader, file *texts) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, 64<<10), file: file, limit: maxLine}
}

// next returns a line without its end, which may be a carriage return and a newline, and the first without a byte order mark. Bytes that are not UTF-8 stay as they are.
func (r *lineReader) next() (string, error) {
	var line []byte
	for {
		part, err := r.in.ReadSlice('\n')
		r.file.read += int64(len(part))
		if r.number == 0 && len(line) == 0 {
			part = bytes.TrimPrefix(part, []byte("\ufeff"))
		}
		if len(line)+len(part) > r.limit {
			return "", fmt.Errorf("%s: line %d is longer than %d bytes; is it a text file?", r.file.name, r.number+1, r.limit)
		}
		line = append(line, part...)
		switch {
		case err == nil:
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case !errors.Is(err, io.EOF):
			return "", fmt.Errorf("read %s: %w", r.file.name, err)
		case len(line) == 0:
			return "", io.EOF
		}
		r.number++
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
			if n > 1 && line[n-2] == '\r' {
				line = line[:n-2]
			}
		}
		return string(line), nil
	}
}

// nextJSON returns the text of the next line that is not blank.
func (r *lineReader) nextJSON() (string, error) {
	for {
		line, err := r.next()
		if err != nil {
			return "", err
		}
		text, blank, err := parseJSONText([]byte(line))
		if err != nil {
			return "", fmt.Errorf("%s: line %d: %w", r.file.name, r.number, err)
		}
		if !blank {
			return text, nil
		}
	}
}

// parseJSONText returns a JSON string, or the string "text" of a JSON object.
func parseJSONText(line []byte) (text string, blank bool, err error) {
	return parseJSONField(line, "text")
}

// parseJSONField returns a JSON string, or the string of this name of a JSON object.
func parseJSONField(line []byte, field string) (text string, blank bool, err error) {
	i := 0
	for i < len(line) && (line[i] == ' ' || line[i] == '\t') {
		i++
	}
	if i == len(line) {
		return "", true, nil
	}
	want := fmt.Sprintf("want a JSON string or an object with a string %q", field)
	raw := json.RawMessage(line[i:])
	if line[i] == '{' {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(line, &object); err != nil {
			return "", false, fmt.Errorf("%s, got %.40q: %w", want, line, err)
		}
		raw = object[field]
	}
	if len(raw) == 0 || raw[0] != '"' {
		return "", false, fmt.Errorf("%s, got %.40q", want, line)
	}
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", false, fmt.Errorf("%s, got %.40q: %w", want, line, err)
	}
	return text, false, nil
}

// chunk is a number of texts, or the error that ended the reading.
type chunk struct {
	texts []string
	read  int64 // bytes of the file so far
	err   error
}

// chunks reads the texts in another goroutine, so that a read that waits for its file cannot hold up the end of ctx. The channel closes after the last.
func (t *texts) chunks(ctx context.Context) <-chan chunk {
	ch := make(chan chunk, 1)
	go func() {
		defer close(ch)
		for more := true; more; {
			var c chunk
			c, more = t.chunk()
			if len(c.texts) == 0 && c.err == nil {
				return
			}
			select {
			case ch <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch
}

func (t *texts) chunk() (c chunk, more bool) {
	for size := 0; len(c.texts) < chunkTexts && size < chunkBytes; {
		text, err := t.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c = chunk{err: err}
			}
			c.read = t.read
			return c, false
		}
		c.texts = append(c.texts, text)
		size += len(text)
	}
	c.read = t.read
	return c, true
}
