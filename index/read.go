package index

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

var (
	errBinary = errors.New("a binary file: it holds a zero byte")
	bom       = []byte("\xef\xbb\xbf")
)

const (
	lineBytes = 64 << 10 // of a text that are looked at together; a longer line is taken in parts
	maxRecord = 64 << 20 // bytes of a line of JSON; the tokenizer library takes two to six hundred times as much memory, for one long text at a time
)

// readText hands the lines of a text to the chunker.
func readText(in io.Reader, c *chunker) error {
	r := bufio.NewReaderSize(in, lineBytes)
	begins, number, at := true, 1, int64(0)
	if head, _ := r.Peek(len(bom)); bytes.Equal(head, bom) {
		n, _ := r.Discard(len(bom)) // they are in the buffer
		at = int64(n)
	}
	for {
		part, whole, err := nextPart(r)
		if err != nil {
			return err
		}
		if len(part) == 0 {
			return c.flush()
		}
		if bytes.IndexByte(part, 0) >= 0 {
			return errBinary
		}
		if err := c.line(part, at, number, begins); err != nil {
			return err
		}
		at += int64(len(part))
		begins = whole
		if whole {
			number++
		}
		if _, err := r.Discard(len(part)); err != nil {
			return err
		}
	}
}

// nextPart returns the next line, or as much of it as the buffer holds, cut between words or characters; nothing at the end. It is valid until it is discarded.
func nextPart(r *bufio.Reader) (part []byte, whole bool, err error) {
	buffered, _ := r.Peek(r.Buffered())
	if n := bytes.IndexByte(buffered, '\n') + 1; n > 0 {
		return buffered[:n], true, nil
	}
	all, err := r.Peek(lineBytes)
	if n := bytes.IndexByte(all, '\n') + 1; n > 0 {
		return all[:n], true, nil
	}
	if errors.Is(err, io.EOF) {
		return all, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	n := bytes.LastIndexAny(all, " \t") + 1
	if n == 0 {
		for n = len(all) - 1; n > len(all)-utf8.UTFMax && !utf8.RuneStart(all[n]); n-- {
		}
	}
	return all[:n], false, nil
}

// readRecords hands the texts of JSON lines to the chunker. record returns the text of a line.
func readRecords(in io.Reader, c *chunker, record func(line []byte) (text string, blank bool, err error)) error {
	r := bufio.NewReaderSize(in, lineBytes)
	var line []byte
	at := int64(0)
	for number := 1; ; {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxRecord:
			return fmt.Errorf("line %d is longer than %d bytes", number, maxRecord)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case len(line) == 0:
			return c.flush()
		}
		end := at + int64(len(line))
		content := bytes.TrimRight(line, "\r\n")
		if at == 0 && bytes.HasPrefix(content, bom) {
			content, at = content[len(bom):], int64(len(bom))
		}
		text, blank, err := record(content)
		if err != nil {
			if bytes.IndexByte(line, 0) >= 0 {
				return errBinary
			}
			return fmt.Errorf("line %d: %w", number, err)
		}
		if !blank {
			if err := c.entry(text, at, int64(len(content)), number); err != nil {
				return err
			}
		}
		line, at = line[:0], end
		number++
	}
}
