package loader

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bigTree makes folders of folders of files that have nothing to do with models,
// deeper than a search goes, and returns how many entries a search may see.
func bigTree(t testing.TB, root string, folders, files int) (entries int) {
	names := make([]string, files)
	for i := range names {
		names[i] = fmt.Sprintf("%06d.txt", i)
	}
	origin := write(t, root, "origin", nil)
	entries++
	for i := range folders {
		deep := fmt.Sprintf("f%03d/2/3/4/5/6", i)
		require.NoError(t, os.MkdirAll(filepath.Join(root, deep), 0o755))
		entries += 5                                                             // the last is seen and not searched
		require.NoError(t, os.Link(origin, filepath.Join(root, deep, "hidden"))) // by its depth
	}
	for i, name := range names {
		if i%50_000 == 0 { // a file system has a limit of names to a file
			origin = write(t, root, "f000/"+name, nil)
			continue
		}
		require.NoError(t, os.Link(origin, filepath.Join(root, "f000", name)))
	}
	return entries + files
}

func TestDiscoverAmongManyFiles(t *testing.T) {
	testCache(t)
	root := t.TempDir()
	entries := bigTree(t, root, 50, 20_000)
	require.NoError(t, os.Rename(modelFiles(t, nil), filepath.Join(root, "f000", "model")))

	calls, folders, seen := 0, 0, 0
	d := Discovery{Roots: []string{root}, Progress: func(f, n int, at string) {
		calls++
		assert.GreaterOrEqual(t, f, folders)
		assert.GreaterOrEqual(t, n, seen)
		folders, seen = f, n
	}}
	found, err := Discover(context.Background(), d)
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, filepath.Join(root, "f000", "model"), found[0].Name)
	require.NoError(t, found[0].Err)
	assert.Greater(t, calls, 20_000/1024, "progress inside of one folder")
	assert.InDelta(t, entries, seen, 20, "nothing below the depth, nothing twice")

	t.Run("cancelled inside of a folder", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		calls := 0
		d.Progress = func(_, n int, _ string) {
			if n > 3000 {
				cancel()
			}
			calls++
			seen = n
		}
		_, err := Discover(ctx, d)
		require.ErrorIs(t, err, context.Canceled)
		assert.Less(t, seen, 6000, "it stops where it is")
	})
}

// BenchmarkDiscover searches a tree of a million files, in one folder and in a
// thousand.
func BenchmarkDiscover(b *testing.B) {
	testCache(b)
	root := b.TempDir()
	n := bigTree(b, root, 1000, 1_000_000)
	for b.Loop() {
		_, err := Discover(context.Background(), Discovery{Roots: []string{root}})
		require.NoError(b, err)
	}
	b.ReportMetric(float64(n), "entries")
}

func TestDiscoverFindsAllPlaces(t *testing.T) {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "SENTENCE_TRANSFORMERS_HOME", "TORCH_HOME"} {
		t.Setenv(name, "")
	}
	for name, at := range map[string]string{
		"HF_HUB_CACHE": "models--org--one/snapshots/c1", "HF_HOME": "hub/models--org--one/snapshots/c1", "XDG_CACHE_HOME": "huggingface/hub/models--org--one/snapshots/c1",
		"SENTENCE_TRANSFORMERS_HOME": "org_one", "TORCH_HOME": "sentence_transformers/org_one",
	} {
		t.Run(name, func(t *testing.T) {
			home := t.TempDir()
			t.Setenv("XDG_CACHE_HOME", t.TempDir())
			t.Setenv(name, home)
			dir := filepath.Join(home, filepath.FromSlash(at))
			require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o755))
			require.NoError(t, os.Rename(modelFiles(t, nil), dir))
			found, err := Discover(context.Background(), Discovery{})
			require.NoError(t, err)
			require.Len(t, found, 1)
			assert.Equal(t, dir, found[0].Dir)
			resolved, _, err := Resolve(found[0].Name)
			require.NoError(t, err)
			assert.Equal(t, dir, resolved)
			resolved, _, err = Resolve("org/one")
			require.NoError(t, err)
			assert.Equal(t, dir, resolved)
		})
	}
}

func TestDiscoverOddFolders(t *testing.T) {
	hub := testCache(t)
	for _, commit := range []string{"c1", "c2"} {
		cacheModel(t, hub, "models--org--two", commit, nil)
	}
	root := t.TempDir()
	write(t, root, "quantised/model-Q4.gguf", nil)
	write(t, root, "bad/config.json", []byte(`{"model_type":"bert"`))
	write(t, root, "bad/model.safetensors", nil)
	write(t, root, "tokens/modules.json", []byte(`[]`))
	require.NoError(t, os.Rename(modelFiles(t, map[string]string{"tokenizer.json": `{"version":"1.0"}`}), filepath.Join(root, "untokened")))
	elsewhere := modelFiles(t, nil)
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(root, "linked")))
	require.NoError(t, os.Symlink(filepath.Join(root, "nowhere"), filepath.Join(root, "broken")))
	require.NoError(t, os.Mkdir(filepath.Join(root, "locked"), 0))

	found, err := Discover(context.Background(), Discovery{Roots: []string{root}})
	require.NoError(t, err)
	got := map[string]error{}
	for _, f := range found {
		got[f.Name] = f.Err
	}
	require.Len(t, found, 6)
	assert.NoError(t, got[filepath.Join(root, "linked")])
	for name, want := range map[string]struct {
		kind error
		says string
	}{
		"org/two":                        {ErrNotFound, "2 snapshots"},
		filepath.Join(root, "quantised"): {ErrUnsupported, "vkbert convert"},
		filepath.Join(root, "bad"):       {ErrBadConfig, "config.json"},
		filepath.Join(root, "tokens"):    {ErrBadConfig, "modules.json"},
		filepath.Join(root, "untokened"): {ErrBadTokenizer, "tokenizer.json"},
	} {
		require.ErrorIs(t, got[name], want.kind, name)
		require.ErrorContains(t, got[name], want.says, name)
	}
}

func TestFrontMatterLicence(t *testing.T) {
	for card, want := range map[string]string{
		"":                                   "",
		"# Model\nlicense: mit":              "",
		"---\nlicense: apache-2.0\n---\nx":   "apache-2.0",
		"---\r\nlicense: 'mit'  \r\n---\r\n": "mit",
		"---\nlicense: \"cc-by-4.0\" # text\n---":                                                 "cc-by-4.0",
		"---\ntags:\n- license: no\n- a\nlicense:\n- mit\n- \"gpl-3.0\"\nlanguage: en\n- fr\n---": "mit, gpl-3.0",
		"---\nlicense: [mit, 'bsd']\n---":                                                         "mit, bsd",
		"---\nlicense: other\nlicense_name: gemma\nlicense_link: https://x\n---":                  "gemma",
		"---\nlicense: other\n---":                                                                "other",
		"---\nlicense:\n---\nlicense: mit":                                                        "",
		"---\nlicense: null\n---":                                                                 "",
		"---\nlicense: a\x1b[31mb\n---":                                                           "a[31mb",
		"---\nmodel:\n  license: inner\n---":                                                      "",
		"\ufeff---\nlicense: mit":                                                                 "mit",
	} {
		assert.Equal(t, want, frontMatterLicence(card), "%q", card)
	}
}
