package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/vkbert/vkbert/internal/part"
)

var errReaderGone = errors.New("the reader of standard output has gone")

// results is standard output: it tells a reader that has gone from other errors.
type results struct{ io.Writer }

func (r results) Write(p []byte) (int, error) {
	n, err := r.Writer.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = errReaderGone
	} else if err != nil {
		err = fmt.Errorf("standard output: %w", err)
	}
	return n, err
}

// isTerminal says that a stream is a terminal.
func isTerminal(stream any) bool {
	if r, ok := stream.(results); ok {
		stream = r.Writer
	}
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// output is where vectors go: standard output, or a file that gets its name when all is written.
type output struct {
	io.Writer
	file *os.File // nil for standard output
	path string   // what the file is to be called; "" if it has its name already (a device or a pipe)
	temp *os.File // of a writer that needs one; it goes away with commit and discard
}

// openOutput opens a file for writing; "" and "-" are standard output. A regular file is written under another name in the same folder.
func openOutput(cmd *cobra.Command, path string) (*output, error) {
	if path == "" || path == "-" {
		return &output{Writer: cmd.OutOrStdout()}, nil
	}
	mode := fs.FileMode(0o666)
	info, err := os.Stat(path)
	if stream := streamOf(info); stream != nil {
		return &output{Writer: results{stream}}, nil
	}
	switch path = behindLinks(path); {
	case err == nil && info.IsDir() || err != nil && os.IsPathSeparator(path[len(path)-1]):
		return nil, fmt.Errorf("-o %s is a directory, want a file", path)
	case err == nil && !info.Mode().IsRegular():
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &output{Writer: file, file: file}, nil
	case err == nil:
		mode = info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	file, err := os.OpenFile(part.Name(path), os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		if missing := (*fs.PathError)(nil); errors.As(err, &missing) { // name what was asked for
			err = missing.Err
		}
		return nil, fmt.Errorf("-o %s: %w", path, err)
	}
	return &output{Writer: file, file: file, path: path}, nil
}

// streamOf is the standard stream that goes to this regular file, if one does, as /dev/stdout in a shell's redirection: what was written there before, and will be
// after, is to stay.
func streamOf(info fs.FileInfo) *os.File {
	if info == nil || !info.Mode().IsRegular() {
		return nil
	}
	for _, stream := range []*os.File{os.Stdout, os.Stderr} {
		if its, err := stream.Stat(); err == nil && os.SameFile(info, its) {
			return stream
		}
	}
	return nil
}

// behindLinks is what a path leads to, also where nothing is there yet.
func behindLinks(path string) string {
	for range 40 {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return real
		}
		to, err := os.Readlink(path)
		if err != nil {
			return path
		}
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return path
}

// temporary makes a file for a writer that must change what it has written.
func (o *output) temporary() (file *os.File, err error) {
	o.temp, err = os.CreateTemp("", "vkbert-*")
	return o.temp, err
}

// commit gives the file its name.
func (o *output) commit() error {
	defer o.discard()
	if o.file == nil {
		return nil
	}
	name := o.file.Name()
	err := o.file.Close()
	if err == nil && o.path != "" {
		err = os.Rename(name, o.path)
	}
	if err == nil {
		o.file = nil
	}
	return err
}

// discard removes what was written, unless it was committed.
func (o *output) discard() {
	if o.file != nil {
		o.file.Close()
		if o.path != "" {
			os.Remove(o.file.Name())
		}
	}
	if o.temp != nil {
		o.temp.Close()
		os.Remove(o.temp.Name())
	}
	o.file, o.temp = nil, nil
}

// printJSON writes a value as JSON, over several lines if indent is set.
func printJSON(w io.Writer, value any, indent bool) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	if indent {
		e.SetIndent("", "  ")
	}
	return e.Encode(value)
}
