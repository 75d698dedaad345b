package index

import (
	"bytes"
	"context"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/vkbert/vkbert"
)

// bag is a model whose vectors count words, so that texts with the same words are similar.
type bag struct {
	dims  int
	salt  string
	calls atomic.Int32
	after int32 // calls until stop is called
	stop  func() error
}

func (m *bag) vector(text string) []float32 {
	v := make([]float32, m.dims)
	for _, word := range strings.Fields(strings.ToLower(text)) {
		h := fnv.New32a()
		h.Write([]byte(m.salt + strings.Trim(word, ".,:!?#")))
		v[h.Sum32()%uint32(m.dims)]++
	}
	return vkbert.Normalize(v)
}

func (m *bag) EmbedDocuments(_ context.Context, texts []string) ([][]float32, error) {
	if m.calls.Add(1) > m.after && m.stop != nil {
		if err := m.stop(); err != nil {
			return nil, err
		}
	}
	vectors := make([][]float32, len(texts))
	for i, text := range texts {
		vectors[i] = m.vector(text)
	}
	return vectors, nil
}

func (m *bag) EmbedQuery(_ context.Context, text string) ([]float32, error) {
	return m.vector(text), nil
}
func (m *bag) CountTokens(text string) (int, error) { return 2 + len(strings.Fields(text)), nil }
func (m *bag) TokenizeDocument(string) (vkbert.Tokens, error) {
	return vkbert.Tokens{IDs: make([]int32, 2)}, nil
}
func (m *bag) Info() vkbert.Info {
	return vkbert.Info{Name: "bag" + m.salt, Dimensions: m.dims, MaxTokens: 64}
}

func newBag() *bag { return &bag{dims: 512} }

func cosine(a, b []float32) float64 { return float64(vkbert.Cosine(a, b)) }

// files writes files of a folder; "" removes one.
func files(t *testing.T, dir string, contents map[string]string) {
	t.Helper()
	for name, text := range contents {
		path := filepath.Join(dir, name)
		if text == "" {
			require.NoError(t, os.Remove(path))
			continue
		}
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
}

// folder is a temporary folder by the name that it has without links.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	return dir
}

func record(line []byte, field string) (string, bool, error) {
	if strings.HasPrefix(string(line), "{") { // one word, one value
		_, text, ok := strings.Cut(string(line), `"`+field+`":"`)
		text, _, _ = strings.Cut(text, `"`)
		if !ok {
			return "", false, errors.New("want a JSON string " + field)
		}
		return text, false, nil
	}
	if len(line) > 0 && line[0] != '"' {
		return "", false, errors.New("want a JSON string")
	}
	return strings.Trim(string(line), `"`), len(line) == 0, nil
}

func create(t *testing.T, m Model) *Index {
	t.Helper()
	x, err := Create(t.Context(), filepath.Join(t.TempDir(), "new", "index.db"), m, Settings{Model: "bag", Tokens: 16, Overlap: -1})
	require.NoError(t, err)
	return x
}

func update(t *testing.T, x *Index, roots ...string) Report {
	t.Helper()
	r, err := x.Update(t.Context(), Update{Roots: roots, Record: record})
	require.NoError(t, err)
	return r
}

func search(t *testing.T, x *Index, text string) []Result {
	t.Helper()
	results, err := x.Search(t.Context(), Query{Text: text, Score: cosine})
	require.NoError(t, err)
	return results
}

func TestIndexAndSearch(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{
		"bread.md":    "# Bread\n\nKeep bread in a paper bag.\n\n# Cheese\n\nCheese wants a cool cellar.\n",
		"s/keys.txt":  "The keys rotate every month.",
		"notes.jsonl": "\"first note about trains\"\n\"second note about planes\"\n",
	})
	r := update(t, x, dir)
	assert.Equal(t, Report{Files: 3, Chunks: 5, Added: 3}, r)
	results := search(t, x, "keys rotate")
	require.Len(t, results, 5)
	assert.Equal(t, filepath.Join(dir, "s", "keys.txt"), results[0].File)
	assert.Equal(t, Chunk{Text: "The keys rotate every month.", Start: 0, End: 28, FirstLine: 1, LastLine: 1}, results[0].Chunk)
	assert.InDelta(t, cosine(newBag().vector("keys rotate"), newBag().vector(results[0].Text)), results[0].Score, 1e-6)
	for i := 1; i < len(results); i++ {
		assert.GreaterOrEqual(t, results[i-1].Score, results[i].Score)
	}
	assert.Equal(t, 2, search(t, x, "note about planes")[0].FirstLine)

	for want, q := range map[int]Query{2: {Top: 2}, 1: {HasMin: true, MinScore: 0.5}, 4: {Below: []string{filepath.Join(dir, "bread.md"), filepath.Join(dir, "notes.jsonl")}}} {
		q.Text, q.Score = "keys rotate", cosine
		results, err := x.Search(t.Context(), q)
		require.NoError(t, err)
		assert.Len(t, results, want)
	}
	_, err := x.Search(t.Context(), Query{Text: " \n", Score: cosine})
	assert.ErrorIs(t, err, ErrInput)
}

func TestOverlappingResults(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{"a.txt": strings.Repeat("one two three four. ", 50)})
	r := update(t, x, dir)
	results := search(t, x, "one two")
	assert.Less(t, len(results), r.Chunks)
	for i, a := range results {
		for _, b := range results[:i] {
			assert.False(t, a.Start < b.End && b.Start < a.End)
		}
	}
}

// ago makes files older than what counts as just now.
func ago(t *testing.T, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		then := time.Now().Add(-time.Hour).Truncate(time.Second)
		return errors.Join(err, os.Chtimes(path, then, then))
	}))
}

func TestIncremental(t *testing.T) {
	m := newBag()
	dir, x := folder(t), create(t, m)
	files(t, dir, map[string]string{"a.txt": "alpha stays", "b.txt": "beta is here", "c/d.txt": "delta goes away"})
	ago(t, dir)
	update(t, x, dir)
	calls := m.calls.Load()
	assert.Equal(t, Report{Files: 3, Chunks: 3, Unchanged: 3}, update(t, x))
	assert.Equal(t, calls, m.calls.Load(), "nothing was embedded again")

	files(t, dir, map[string]string{"b.txt": "gamma is here", "c/d.txt": "", "e.txt": "epsilon is new"})
	var changes []string
	r, err := x.Update(t.Context(), Update{Record: record, Changed: func(path string, c Change) {
		name, _ := filepath.Rel(dir, path)
		changes = append(changes, string(c)+" "+filepath.ToSlash(name))
	}})
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 3, Chunks: 3, Added: 1, Updated: 1, Removed: 1, Unchanged: 1}, r)
	assert.Equal(t, []string{"removed c/d.txt", "updated b.txt", "added e.txt"}, changes)
	assert.Equal(t, "gamma is here", search(t, x, "gamma")[0].Text)
	for _, r := range search(t, x, "delta beta") {
		assert.NotContains(t, r.Text, "delta")
		assert.NotContains(t, r.Text, "beta")
		assert.False(t, r.Changed)
	}

	// The same length at the same time: too fresh to go by, so the contents are compared. A new time alone is no change.
	files(t, dir, map[string]string{"b.txt": "gamma is gone"})
	assert.Equal(t, 1, update(t, x).Updated)
	calls = m.calls.Load()
	ago(t, dir)
	assert.Equal(t, Report{Files: 3, Chunks: 3, Unchanged: 3}, update(t, x))
	assert.Equal(t, calls, m.calls.Load())

	files(t, dir, map[string]string{"a.txt": "alpha has changed since"})
	for _, r := range search(t, x, "alpha") {
		assert.Equal(t, filepath.Base(r.File) == "a.txt", r.Changed)
	}
	n, err := Remove(x.path, dir)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.Empty(t, search(t, x, "alpha"))
	_, err = Remove(x.path, dir)
	assert.ErrorIs(t, err, ErrInput)
	_, err = x.Update(t.Context(), Update{Record: record})
	assert.ErrorIs(t, err, ErrInput, "no folders are left")
}

func TestFilterStays(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{"a.txt": "alpha", "b.go": "beta", "c_test.go": "gamma"})
	r, err := x.Update(t.Context(), Update{Roots: []string{dir}, Filter: &Filter{Extensions: []string{"go"}, Exclude: []string{"*_test.go"}}, Record: record})
	require.NoError(t, err)
	assert.Equal(t, 1, r.Files)
	assert.Equal(t, 1, update(t, x).Files)
	assert.Equal(t, 1, update(t, x, dir).Files)
	_, err = x.Update(t.Context(), Update{Filter: &Filter{Exclude: []string{"["}}})
	assert.ErrorIs(t, err, ErrInput)
	for _, part := range []*Filter{{Exclude: []string{"old"}}, {Extensions: []string{"go"}}} {
		r, err = x.Update(t.Context(), Update{Filter: part, Record: record})
		require.NoError(t, err)
		assert.Contains(t, []int{1, 2}, r.Files)
		assert.Zero(t, r.Removed, "what is not said stays")
	}
	r, err = x.Update(t.Context(), Update{Filter: &Filter{Extensions: Extensions, Exclude: []string{}}, Record: record})
	require.NoError(t, err)
	assert.Equal(t, 1, r.Added, "another filter of all roots")
}

// A file stays while any root takes it, whichever is looked at.
func TestNestedRoots(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{"a.txt": "alpha", "in/b.go": "beta", "in/c.txt": "gamma", "out/d.txt": "delta"})
	in := filepath.Join(dir, "in")
	assert.Equal(t, 3, update(t, x, dir).Files)
	r, err := x.Update(t.Context(), Update{Roots: []string{in}, Filter: &Filter{Extensions: []string{"go"}}, Record: record})
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 4, Chunks: 4, Added: 1, Unchanged: 1}, r)
	for _, roots := range [][]string{{dir}, {in}, nil, {dir, in}} {
		r := update(t, x, roots...)
		assert.Equal(t, 4, r.Files, roots)
		assert.Zero(t, r.Added+r.Updated+r.Removed, roots)
	}
	files(t, dir, map[string]string{"in/b.go": "", "in/c.txt": "", "out/d.txt": ""})
	assert.Equal(t, 2, update(t, x, in).Removed, "of what is asked for")
	assert.Equal(t, 1, update(t, x, dir).Removed)
}

// The field of JSON lines is remembered; where another is asked for, their files are read anew, and they alone.
func TestField(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{"a.jsonl": `{"title":"alpha","body":"beta"}`, "in/b.jsonl": `{"title":"gamma","body":"delta"}`, "c.txt": "epsilon"})
	ago(t, dir)
	with := func(m *bag, field string, roots ...string) (Report, error) {
		return (&Index{path: x.path, model: m, meta: x.meta}).Update(t.Context(), Update{Roots: roots, Field: field, Record: record})
	}
	texts := func() (all []string) {
		for _, r := range search(t, x, "alpha") {
			all = append(all, r.Text)
		}
		slices.Sort(all)
		return all
	}
	r, err := with(newBag(), "title", dir)
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 3, Chunks: 3, Added: 3}, r)
	assert.Equal(t, Report{Files: 3, Chunks: 3, Unchanged: 3}, update(t, x, dir))
	_, err = with(&bag{dims: 512, stop: func() error { return errors.New("broken off") }}, "body", dir)
	require.Error(t, err)
	r, err = with(newBag(), "", dir) // goes on
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 3, Chunks: 3, Updated: 2, Unchanged: 1}, r)
	assert.Equal(t, []string{"beta", "delta", "epsilon"}, texts())

	in := filepath.Join(dir, "in")
	assert.Equal(t, 1, update(t, x, in).Unchanged, "a root has the field of the one around it")
	_, err = with(newBag(), "title", in)
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 3, Chunks: 3, Unchanged: 3}, update(t, x), "or its own")
	assert.Equal(t, []string{"beta", "epsilon", "gamma"}, texts())
	files(t, dir, map[string]string{"a.jsonl": `{"title":"zeta","body":"eta"}`})
	update(t, x)
	assert.Equal(t, []string{"epsilon", "eta", "gamma"}, texts())
	r, err = with(newBag(), "title")
	require.NoError(t, err)
	assert.Equal(t, 1, r.Updated, "without roots, the field of all")
}

// Indexes that were made before the field was remembered have neither a root's nor a file's.
func TestNoField(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{"a.jsonl": `{"text":"alpha","body":"beta"}`})
	ago(t, dir)
	update(t, x, dir)
	require.NoError(t, transact(x.path, true, func(tx *bolt.Tx) error {
		for _, name := range [][]byte{rootsBucket, filesBucket} {
			all, err := decodeAll[map[string]any](tx, name)
			if err != nil {
				return err
			}
			for path, v := range all {
				delete(v, "field")
				if err := put(tx, name, []byte(path), v); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	assert.Equal(t, Report{Files: 1, Chunks: 1, Unchanged: 1}, update(t, x))
	r, err := x.Update(t.Context(), Update{Field: "body", Record: record})
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 1, Chunks: 1, Updated: 1}, r)
	assert.Equal(t, "beta", search(t, x, "beta")[0].Text)
}

func TestHostileFiles(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{
		"good.txt": "good text", "binary.txt": strings.Repeat("text ", 40000) + "\x00", "broken.jsonl": "\"a\"\n{\n", "latin.txt": "caf\xe9 au lait",
		"empty.md": "\n", "secret.txt": "a secret", "closed/in.txt": "inside",
	})
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "loop")))
	r := update(t, x, dir)
	assert.Equal(t, 5, r.Files)
	require.Len(t, r.Left, 1)
	assert.Contains(t, r.Left[0].Error(), "binary")
	require.Len(t, r.Problems, 1)
	assert.Contains(t, r.Problems[0].Error(), "broken.jsonl: line 2: want a JSON string")
	assert.Equal(t, "caf\uFFFD au lait", search(t, x, "au lait")[0].Text)

	// What cannot be read any more stays, and is told.
	if os.Getuid() == 0 {
		t.Log("root may read everything: unreadable files are left out")
	} else {
		files(t, dir, map[string]string{"secret.txt": "another secret"})
		require.NoError(t, os.Chmod(filepath.Join(dir, "secret.txt"), 0))
		require.NoError(t, os.Chmod(filepath.Join(dir, "closed"), 0))
		t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) })
		r = update(t, x)
		assert.Len(t, r.Problems, 3)
		assert.Equal(t, 5, r.Files)
	}
	require.NoError(t, os.RemoveAll(dir))
	r = update(t, x)
	require.Len(t, r.Problems, 1, "the folder has gone: what the index has of it stays")
	assert.Equal(t, 5, r.Files)
	_, err := x.Update(t.Context(), Update{Roots: []string{dir}})
	assert.ErrorIs(t, err, ErrInput)
}

func TestOtherModel(t *testing.T) {
	x := create(t, newBag())
	_, err := Open(t.Context(), x.path, newBag())
	require.NoError(t, err)
	_, err = Open(t.Context(), x.path, &bag{dims: 64})
	require.ErrorIs(t, err, ErrModel)
	assert.ErrorContains(t, err, "512 values")
	_, err = Open(t.Context(), x.path, &bag{dims: 512, salt: "other"})
	require.ErrorIs(t, err, ErrModel)
	assert.ErrorContains(t, err, "bagother")
}

func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for _, s := range []Settings{{Tokens: 63}, {Tokens: 7}, {Tokens: 16, Overlap: 9}} {
		_, err := Create(t.Context(), path, newBag(), s)
		assert.ErrorIs(t, err, ErrInput)
	}
	assert.NoFileExists(t, path)
	x, err := Create(t.Context(), path, newBag(), Settings{Overlap: -1})
	require.NoError(t, err)
	assert.Equal(t, 62, x.meta.Tokens, "what the model has room for")
	assert.Equal(t, 7, x.meta.Overlap)
}

// An update that ends early leaves what it has written, and the next goes on from there.
func TestInterrupted(t *testing.T) {
	dir := folder(t)
	for i := range 40 {
		files(t, dir, map[string]string{"f" + strconv.Itoa(i) + ".txt": strings.Repeat("word"+strconv.Itoa(i)+" and more. ", 100)})
	}
	broken := errors.New("the device burns")
	for name, stop := range map[string]func(cancel func()) error{
		"cancelled": func(cancel func()) error { cancel(); return nil },
		"failed":    func(func()) error { return broken },
	} {
		t.Run(name, func(t *testing.T) {
			m := newBag()
			x := create(t, m)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			m.after, m.stop = 4, func() error { return stop(cancel) }
			r, err := x.Update(ctx, Update{Roots: []string{dir}, Record: record})
			require.Error(t, err)
			assert.True(t, errors.Is(err, context.Canceled) || errors.Is(err, broken))
			m.stop = nil
			assert.Less(t, r.Files, 40)
			assert.Equal(t, r.Added, r.Files)
			found := map[string]bool{}
			for _, result := range search(t, x, "word") {
				found[result.File] = true
			}
			assert.Len(t, found, r.Files)
			again := update(t, x)
			assert.Equal(t, 40, again.Files)
			assert.Equal(t, 40-r.Files, again.Added)

			whole := create(t, newBag())
			assert.Equal(t, update(t, whole, dir).Chunks, again.Chunks, "nothing is left of what was broken off")
			assert.Len(t, search(t, whole, "word"), len(search(t, x, "word")))
		})
	}
}

func TestTwoAtOnce(t *testing.T) {
	dir, m := folder(t), newBag()
	x := create(t, m)
	files(t, dir, map[string]string{"a.txt": "alpha"})
	other := &Index{path: x.path, model: newBag(), meta: x.meta}
	m.after, m.stop = 1, func() error {
		_, err := other.Update(t.Context(), Update{Roots: []string{dir}, Record: record})
		return err
	}
	_, err := x.Update(t.Context(), Update{Roots: []string{dir}, Record: record})
	require.ErrorIs(t, err, ErrBusy)
	assert.Equal(t, 1, update(t, other).Files)
}

// otherDatabase is a database of another program.
func otherDatabase(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "other.db")
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Close())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func TestDamaged(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	for i := range 50 {
		files(t, dir, map[string]string{strconv.Itoa(i) + ".txt": strings.Repeat("some words here. ", 60)})
	}
	update(t, x, dir)
	whole, err := os.ReadFile(x.path)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"empty": {nil, ErrDamaged}, "cut": {whole[:len(whole)/2], ErrDamaged}, "short": {whole[:5000], ErrDamaged},
		"text": {[]byte("not an index at all\n"), ErrNotIndex}, "page": {bytes.Repeat([]byte("text "), 1000), ErrNotIndex}, "zeros": {make([]byte, 1<<16), ErrNotIndex},
		"other": {otherDatabase(t), ErrNotIndex},
	} {
		data, path := c.data, filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		_, err := Open(t.Context(), path, newBag())
		assert.ErrorIs(t, err, c.want, name)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, len(data), len(after), "%s: left as it was", name)
	}
	holes := make([]byte, len(whole))
	copy(holes, whole)
	for i := 4 * 4096; i < len(holes); i += 4096 { // all pages but the first are scrambled
		copy(holes[i:i+64], strings.Repeat("\xa5", 64))
	}
	path := filepath.Join(t.TempDir(), "holes")
	require.NoError(t, os.WriteFile(path, holes, 0o600))
	y := &Index{path: path, model: newBag(), meta: x.meta}
	_, err = y.Search(t.Context(), Query{Text: "words", Score: cosine})
	assert.Error(t, err)
	_, err = Open(t.Context(), filepath.Join(t.TempDir(), "none"), newBag())
	assert.ErrorIs(t, err, ErrNoIndex)
	_, err = ReadMeta(t.TempDir())
	assert.Error(t, err)
}
