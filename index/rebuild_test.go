package index

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// whole is what is in a folder, with the contents of its files.
func whole(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = string(data)
	}
	return all
}

func TestRebuild(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{"a.txt": "alpha", "b.txt": "beta"})
	update(t, x, dir)
	link := filepath.Join(folder(t), "link.db")
	require.NoError(t, os.Symlink(x.path, link))
	files(t, dir, map[string]string{"b.txt": ""})
	other := &bag{dims: 64}
	r, err := Rebuild(t.Context(), link, other, Settings{Model: "other", Overlap: -1}, Update{Roots: []string{dir}, Record: record})
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 1, Chunks: 1, Added: 1}, r)
	target, err := os.Readlink(link)
	require.NoError(t, err)
	assert.Equal(t, x.path, target, "a link stays")
	assert.Len(t, whole(t, filepath.Dir(x.path)), 1, "nothing lies beside the index")
	y, err := Open(t.Context(), x.path, other)
	require.NoError(t, err)
	assert.Len(t, search(t, y, "alpha"), 1)
	_, err = x.Update(t.Context(), Update{Record: record})
	assert.ErrorIs(t, err, ErrBusy)

	require.NoError(t, os.Truncate(x.path, 5000))
	_, err = Rebuild(t.Context(), x.path, newBag(), Settings{Model: "bag", Overlap: -1}, Update{Roots: []string{dir}, Record: record})
	require.NoError(t, err, "a damaged index")
	assert.Len(t, search(t, x, "alpha"), 1)
}

func TestRebuildThatFails(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	files(t, dir, map[string]string{"a.txt": strings.Repeat("alpha and more. ", 5000)})
	update(t, x, dir)
	before := whole(t, filepath.Dir(x.path))
	broken := errors.New("the device burns")
	failing := &bag{dims: 64, after: 2, stop: func() error { return broken }}
	for name, c := range map[string]struct {
		model    *bag
		settings Settings
		update   Update
		want     error
	}{
		"settings": {newBag(), Settings{Tokens: 1000}, Update{Roots: []string{dir}}, ErrInput},
		"pattern":  {newBag(), Settings{}, Update{Roots: []string{dir}, Filter: &Filter{Exclude: []string{"["}}}, ErrInput},
		"folder":   {newBag(), Settings{}, Update{Roots: []string{filepath.Join(dir, "none")}}, ErrInput},
		"no root":  {newBag(), Settings{}, Update{}, ErrInput},
		"halfway":  {failing, Settings{}, Update{Roots: []string{dir}}, broken},
	} {
		r, err := Rebuild(t.Context(), x.path, c.model, c.settings, c.update)
		require.ErrorIs(t, err, c.want, name)
		assert.Zero(t, r, name)
		assert.Equal(t, before, whole(t, filepath.Dir(x.path)), name)
	}
}

// What is said of a folder stays where nothing else is asked for, and so does an index of which a file cannot be read any more.
func TestRebuildKeeps(t *testing.T) {
	dir, x := folder(t), create(t, newBag())
	rebuild := func(u Update) (Report, error) {
		u.Roots, u.Record = []string{dir}, record
		return Rebuild(t.Context(), x.path, newBag(), Settings{Model: "bag", Overlap: -1}, u)
	}
	files(t, dir, map[string]string{"a.jsonl": `{"body":"alpha"}` + "\n", "c.go": "gamma"})
	_, err := x.Update(t.Context(), Update{Roots: []string{dir}, Record: record, Field: "body", Filter: &Filter{Extensions: []string{"jsonl", "go"}}})
	require.NoError(t, err)
	require.NoError(t, os.Chmod(x.path, 0o640))
	r, err := rebuild(Update{})
	require.NoError(t, err)
	assert.Equal(t, Report{Files: 2, Chunks: 2, Added: 2}, r)
	info, err := os.Stat(x.path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o640), info.Mode().Perm())

	before := whole(t, filepath.Dir(x.path))
	_, err = rebuild(Update{Field: "title"})
	require.ErrorContains(t, err, "is left as it was")
	require.ErrorContains(t, err, "a.jsonl")
	assert.Equal(t, before, whole(t, filepath.Dir(x.path)))
}

// What another process adds while the index is made anew is not lost.
func TestRebuildBesideUpdate(t *testing.T) {
	dir, other, m := folder(t), folder(t), newBag()
	x := create(t, newBag())
	files(t, dir, map[string]string{"a.txt": "alpha"})
	files(t, other, map[string]string{"b.txt": "beta"})
	update(t, x, dir)
	m.after, m.stop = 1, func() error { update(t, x, other); return nil }
	_, err := Rebuild(t.Context(), x.path, m, Settings{Model: "bag", Overlap: -1}, Update{Roots: []string{dir}, Record: record})
	require.ErrorIs(t, err, ErrBusy)
	assert.Len(t, search(t, x, "beta"), 2)
}

// A name may be as long as the system takes, and a link may lead to a file that is to be made.
func TestNames(t *testing.T) {
	dir := folder(t)
	files(t, dir, map[string]string{"a.txt": "alpha"})
	path := filepath.Join(folder(t), strings.Repeat("語", 80))
	link := filepath.Join(folder(t), "link.db")
	require.NoError(t, os.Symlink(path, link))
	_, err := Create(t.Context(), link, newBag(), Settings{Model: "bag", Overlap: -1})
	require.NoError(t, err)
	_, err = Rebuild(t.Context(), path, newBag(), Settings{Model: "bag", Overlap: -1}, Update{Roots: []string{dir}, Record: record})
	require.NoError(t, err)
	_, err = ReadMeta(link)
	require.NoError(t, err)
}

// An update that is under way when another process makes the index anew writes nothing into the new one.
func TestRebuildMeanwhile(t *testing.T) {
	dir, m := folder(t), newBag()
	x := create(t, m)
	files(t, dir, map[string]string{"a.txt": "alpha"})
	m.after, m.stop = 1, func() error {
		_, err := Rebuild(t.Context(), x.path, newBag(), Settings{Model: "bag", Overlap: -1}, Update{Roots: []string{folder(t)}, Record: record})
		return err
	}
	_, err := x.Update(t.Context(), Update{Roots: []string{dir}, Record: record})
	require.ErrorIs(t, err, ErrBusy)
	assert.Empty(t, search(t, x, "alpha"))
}

// A file that is no index is never replaced.
func TestForeignFile(t *testing.T) {
	dir := folder(t)
	files(t, dir, map[string]string{"a.txt": "alpha", "precious.txt": "precious"})
	path := filepath.Join(dir, "precious.txt")
	_, err := Rebuild(t.Context(), path, newBag(), Settings{}, Update{Roots: []string{dir}})
	assert.ErrorIs(t, err, ErrNotIndex)
	_, err = Create(t.Context(), path, newBag(), Settings{})
	assert.ErrorIs(t, err, ErrInput)
	assert.Equal(t, map[string]string{"a.txt": "alpha", "precious.txt": "precious"}, whole(t, dir))
}
