// Package index keeps a semantic index of files on this machine: text, Markdown and JSON lines, cut into chunks of tokens that overlap, with a vector each.
// It is what "vkbert index" and "vkbert search" run on; its API may change.
//
// An index is one file, a bbolt database. A file's chunks become visible together, when all of them have their vectors, so an update that is broken off
// leaves an index that works, and the next one goes on from there. Searching is exact: the query is compared with every vector.
package index

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/part"
)

// Kinds of error, for errors.Is.
var (
	// ErrNoIndex: there is no index in the file, or it has no vectors yet.
	ErrNoIndex = errors.New("no index")
	// ErrDamaged: the file is an index that is not whole.
	ErrDamaged = errors.New("not a whole index")
	// ErrNotIndex: the file is something else.
	ErrNotIndex = errors.New("not a vkbert index")
	// ErrModel: the index was made by another model.
	ErrModel = errors.New("made by another model")
	// ErrBusy: another process holds the index, or has changed it meanwhile.
	ErrBusy = errors.New("in use by another process")
	// ErrInput: a folder that is not there, chunks that are too long for the model, an empty query.
	ErrInput = errors.New("bad input")
)

// Model makes the vectors. *[vkbert.Model] is one.
type Model interface {
	EmbedDocuments(ctx context.Context, texts []string) ([][]float32, error)
	EmbedQuery(ctx context.Context, text string) ([]float32, error)
	CountTokens(text string) (int, error)
	TokenizeDocument(text string) (vkbert.Tokens, error)
	Info() vkbert.Info
}

// Index is an index and the model that it is read and written with. Its methods are safe for any number of goroutines, also of several processes: of two
// that update at the same time, one fails with [ErrBusy].
type Index struct {
	path  string
	model Model
	meta  Meta
}

// Meta is what an index says of itself.
type Meta struct {
	Format     int       `json:"format"`
	Model      string    `json:"model"` // as [Create] was told
	Dimensions int       `json:"dimensions"`
	Tokens     int       `json:"tokens"`  // of a chunk, at most
	Overlap    int       `json:"overlap"` // tokens that a chunk shares with the one before it, at most
	Probe      []float32 `json:"probe"`   // the vector of probeText: another model would have another

	Generation uint64 `json:"generation"` // counts the changes, from a random number on
	NextID     uint64 `json:"next_id"`    // of files
}

const (
	format = 1
	// probeText tells models apart. Other devices and dtypes have nearly the same vector for it: with int8 weights, the difference is a fifth of its length.
	probeText = "The index remembers which model made it: 1 query, 2 documents."
	probeFar  = 0.3

	// DefaultTokens is the length of a chunk where the model takes as much.
	DefaultTokens = 256
	minTokens     = 8
)

// Settings are those of a new index.
type Settings struct {
	Model   string // what to call the model, so that it can be opened again
	Tokens  int    // of a chunk, special tokens and prompt not included; 0: [DefaultTokens], or what the model takes
	Overlap int    // -1: an eighth of Tokens
}

// Create makes an empty index at path, where nothing must be.
func Create(ctx context.Context, path string, model Model, s Settings) (*Index, error) {
	if target, err := os.Readlink(path); err == nil { // the file that a link leads to is the one to make
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%w: %s is there already, want a new file", ErrInput, path)
	}
	room, err := room(model)
	if err != nil {
		return nil, err
	}
	if s.Tokens == 0 {
		s.Tokens = min(DefaultTokens, room)
	}
	if s.Tokens < minTokens || s.Tokens > room {
		return nil, fmt.Errorf("%w: chunks of %d tokens: want %d to %d, which is what the model has room for", ErrInput, s.Tokens, minTokens, room)
	}
	if s.Overlap < 0 {
		s.Overlap = s.Tokens / 8
	}
	if s.Overlap > s.Tokens/2 {
		return nil, fmt.Errorf("%w: an overlap of %d tokens: want at most half of the chunk's %d", ErrInput, s.Overlap, s.Tokens)
	}
	probe, err := probe(ctx, model)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	x := &Index{path: path, model: model, meta: Meta{Format: format, Model: s.Model, Dimensions: len(probe), Tokens: s.Tokens, Overlap: s.Overlap, Probe: probe, NextID: 1}}
	x.meta.Generation = rand.Uint64() >> 1 // so that an update of the index that was at path before sees that this is another
	return x, createStore(path, x.meta)
}

// Rebuild makes the index at path, which may be damaged, anew, with what it says of the folders that u names, unless u says something else. The old one stays as
// it was, and can be searched, until the update has succeeded; and for good where a file of it cannot be read any more, or another process has changed it meanwhile.
func Rebuild(ctx context.Context, path string, model Model, s Settings, u Update) (Report, error) {
	old, err := readContents(path)
	if err != nil && !errors.Is(err, ErrDamaged) {
		return Report{}, err
	}
	whole := err == nil
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return Report{}, err
	}
	x, err := Create(ctx, part.Name(path), model, s)
	if err != nil {
		return Report{}, err
	}
	defer os.Remove(x.path)
	if err := x.keepRoots(old.roots, u.Roots); err != nil {
		return Report{}, err
	}
	report, err := x.Update(ctx, u)
	if err != nil {
		return Report{}, err // nothing of it stays
	}
	for _, problem := range report.Problems {
		for file := range old.files {
			if below(file, problem.Path) {
				return Report{}, fmt.Errorf("%s is left as it was: %w", path, problem)
			}
		}
	}
	if !whole {
		return report, os.Rename(x.path, path)
	}
	return report, replaceStore(path, x.path, old.meta)
}

// keepRoots writes what another index says of the folders asked for.
func (x *Index) keepRoots(roots map[string]root, asked []string) error {
	return transact(x.path, true, func(tx *bolt.Tx) error {
		for _, path := range asked {
			abs, err := absolute(path)
			if err != nil {
				return err
			}
			if r, known := roots[abs]; known {
				if err := put(tx, rootsBucket, []byte(abs), r); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Open opens the index at path, and refuses a model that is not the one that made it.
func Open(ctx context.Context, path string, model Model) (*Index, error) {
	meta, err := ReadMeta(path)
	if err != nil {
		return nil, err
	}
	name, dims := model.Info().Name, model.Info().Dimensions
	if dims != meta.Dimensions {
		return nil, fmt.Errorf("%s: %w: %s, with vectors of %d values; %s makes %d", path, ErrModel, meta.Model, meta.Dimensions, name, dims)
	}
	probe, err := probe(ctx, model)
	if err != nil {
		return nil, err
	}
	if d := distance(probe, meta.Probe) / math.Sqrt(float64(vkbert.Dot(meta.Probe, meta.Probe))); !(d <= probeFar) {
		return nil, fmt.Errorf("%s: %w: %s; %s has other vectors (for the same text, off by %.2f of its length)", path, ErrModel, meta.Model, name, d)
	}
	return &Index{path: path, model: model, meta: meta}, nil
}

func distance(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}

func probe(ctx context.Context, model Model) ([]float32, error) {
	vectors, err := model.EmbedDocuments(ctx, []string{probeText})
	if err != nil {
		return nil, err
	}
	return slices.Clone(vectors[0]), nil
}

// room is how many tokens of a text fit beside the special tokens and the prompt for documents.
func room(model Model) (int, error) {
	empty, err := model.TokenizeDocument("")
	return model.Info().MaxTokens - len(empty.IDs), err
}
