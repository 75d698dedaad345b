package convert

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/vkbert/vkbert/internal/part"
	"github.com/vkbert/vkbert/loader"
)

// Options of [Convert]; the zero value keeps what the source says.
type Options struct {
	// DType is what numbers are stored as: "f32", "f16" or "bf16". "" keeps the
	// type of each tensor; what is quantised becomes f32.
	DType string
	// Tokenizer is a directory with a tokenizer.json, for a GGUF file whose own
	// tokenizer cannot be turned into one.
	Tokenizer string
	// Pooling is mean, cls or lasttoken, for a GGUF file that does not say.
	Pooling string
	// Progress, where not nil, is told how many bytes of the source's tensors are
	// done, in order, from 0 to total.
	Progress func(done, total int64)
	// Finish, where not nil, is called with the directory that holds all of the
	// result, before it gets its name. Its error is Convert's.
	Finish func(ctx context.Context, dir string) error
	// Note, where not nil, is told what the source leaves open and the result
	// says: a line of text each. Only GGUF files leave anything open.
	Note func(text string)
}

// Convert makes the model directory dst, with a model.safetensors in each folder
// that has weights, of src: a model directory, or the path of a .safetensors,
// .bin, .index.json or .gguf file, whose small neighbours then go along (a .gguf
// has none: its configuration and tokenizer are made from its metadata).
//
// dst must not exist, or be empty; it may be a link to an empty one. It appears when all of it is written; before,
// and after an error, there is nothing. Tensors that keep their type keep their
// bits. Every error names the file, and wraps one of this package's or of
// package loader's; when ctx is done it is ctx.Err().
func Convert(ctx context.Context, src, dst string, o Options) (err error) {
	dtype, err := parseDType(o.DType)
	if err != nil {
		return err
	}
	if err := wantEmpty(dst); err != nil {
		return err
	}
	s, err := openSource(src, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	if real, err := filepath.EvalSymlinks(dst); err == nil {
		dst = real // a link stays one
	}
	part := part.Name(dst)
	if err := os.Mkdir(part, 0o777); err != nil {
		return err
	}
	err = s.write(ctx, part, dtype, o.Progress)
	if err == nil && o.Finish != nil {
		err = o.Finish(ctx, part)
	}
	if err == nil {
		err = moveInto(part, dst)
	}
	if errors.Is(err, ErrRange) {
		err = fmt.Errorf("%s: %w", src, err)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part))
	}
	return nil
}

// openSource opens what src is.
func openSource(src string, o Options) (*source, error) {
	info, err := os.Stat(src)
	if err != nil {
		return nil, missingFile(err)
	}
	dir, weights := filepath.Split(src)
	if info.IsDir() {
		dir, weights = src, ""
		if only, err := onlyGGUF(src); err != nil {
			return nil, err
		} else if only != "" {
			weights = only
		}
	}
	if strings.EqualFold(path.Ext(weights), ".gguf") {
		return openGGUF(filepath.Join(dir, weights), o)
	}
	if o.Tokenizer != "" || o.Pooling != "" {
		return nil, fmt.Errorf("%w: %s: a tokenizer directory and a pooling mode are for GGUF files, this is none", loader.ErrUnsupported, src)
	}
	if dir == "" {
		dir = "."
	}
	return openDirectory(dir, weights)
}

// onlyGGUF returns the name of the .gguf file of a directory that has no other
// weights, "" if there is none.
func onlyGGUF(dir string) (string, error) {
	for _, w := range weightFiles {
		if _, err := os.Stat(filepath.Join(dir, w.name)); err == nil {
			return "", nil
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var names []string
	for _, e := range entries {
		if strings.EqualFold(path.Ext(e.Name()), ".gguf") {
			names = append(names, e.Name())
		}
	}
	if len(names) > 1 {
		return "", fmt.Errorf("%w: %s holds %s: want the path of one of them", loader.ErrUnsupported, dir, strings.Join(names, ", "))
	}
	return strings.Join(names, ""), nil
}

// wantEmpty refuses a destination that has something in it.
func wantEmpty(dst string) error {
	entries, err := os.ReadDir(dst)
	info, _ := os.Stat(dst)
	if here, _ := os.Stat("."); info != nil && os.SameFile(info, here) { // which would be another one, for whoever is in it
		return fmt.Errorf("%w: %s: want a directory other than the one that this runs in", ErrExists, dst)
	}
	switch {
	case dst == "":
		return fmt.Errorf("%w: the directory to make has no name", ErrExists)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%w: %s: want a directory that does not exist or is empty: %w", ErrExists, dst, err)
	case len(entries) > 0:
		return fmt.Errorf("%w: %s holds %s: want a directory that does not exist or is empty", ErrExists, dst, entries[0].Name())
	}
	return nil
}

// moveInto gives a directory its name, in the place of an empty one.
func moveInto(part, dst string) error {
	if err := os.Remove(dst); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s: %w", ErrExists, dst, err)
	}
	return os.Rename(part, dst)
}

// write writes the whole model into a directory.
func (s *source) write(ctx context.Context, dir string, dtype loader.DType, progress func(done, total int64)) error {
	total, done := int64(0), int64(0)
	for _, f := range s.folders {
		for _, t := range f.tensors {
			n, err := t.Bytes()
			if err != nil {
				return err
			}
			total += n
		}
	}
	tell := func(n int64) error {
		if done += n; progress != nil {
			progress(done, total)
		}
		return ctx.Err()
	}
	if err := tell(0); err != nil {
		return err
	}
	for _, f := range s.files {
		if err := f.write(dir, dtype); err != nil {
			return err
		}
	}
	for _, f := range s.folders {
		to := filepath.Join(dir, filepath.FromSlash(f.path))
		if err := os.MkdirAll(to, 0o777); err != nil {
			return err
		}
		to = filepath.Join(to, "model.safetensors")
		out := make([]Tensor, len(f.tensors))
		for i, t := range f.tensors {
			out[i] = t.watched(tell).as(dtype)
		}
		if err := WriteSafetensors(to, out, map[string]string{"format": "pt"}); err != nil {
			return err
		}
		written, err := loader.OpenWeights(to) // as whoever opens the result will
		if err != nil {
			return err
		}
		if err := written.Close(); err != nil {
			return err
		}
	}
	return nil
}

// watched returns the tensor with a function that is told how many bytes it gave,
// and whose error ends it.
func (t Tensor) watched(tell func(n int64) error) Tensor {
	data := t.Data
	t.Data = func(emit func([]byte) error) error {
		return data(func(chunk []byte) error {
			if err := tell(int64(len(chunk))); err != nil {
				return err
			}
			return emit(chunk)
		})
	}
	return t
}
