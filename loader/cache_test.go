package loader

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testCache makes an empty Hugging Face cache the only one.
func testCache(t testing.TB) string {
	root := t.TempDir()
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "SENTENCE_TRANSFORMERS_HOME", "TORCH_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(root, "cache"))
	t.Setenv("HF_HOME", filepath.Join(root, "hf"))
	return filepath.Join(root, "hf", "hub")
}

// cacheModel puts a model into a Hugging Face cache as the hub client lays it
// out: files in blobs, links to them in a snapshot.
func cacheModel(t *testing.T, hub, folder, revision string, change map[string]string) string {
	repo := filepath.Join(hub, folder)
	dir := filepath.Join(repo, "snapshots", revision)
	source := modelFiles(t, change)
	n := 0
	require.NoError(t, filepath.WalkDir(source, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		rel, err := filepath.Rel(source, path)
		require.NoError(t, err)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		n++
		blob := write(t, repo, "blobs/"+revision+string(rune('a'+n)), data)
		link := filepath.Join(dir, rel)
		require.NoError(t, os.MkdirAll(filepath.Dir(link), 0o755))
		target, err := filepath.Rel(filepath.Dir(link), blob)
		require.NoError(t, err)
		return os.Symlink(target, link)
	}))
	return dir
}

func TestResolve(t *testing.T) {
	hub := testCache(t)
	const mini, base = "sentence-transformers/all-MiniLM-L6-v2", "org/name.v1-x"
	miniDir := cacheModel(t, hub, "models--sentence-transformers--all-MiniLM-L6-v2", "c1", nil)
	cacheModel(t, hub, "models--sentence-transformers--all-MiniLM-L6-v2", "c0", nil)
	write(t, hub, "models--sentence-transformers--all-MiniLM-L6-v2/refs/main", []byte("c1\n"))
	baseDir := cacheModel(t, hub, "models--org--name.v1-x", "c2", nil)
	old := filepath.Join(filepath.Dir(filepath.Dir(hub)), "cache", "torch", "sentence_transformers", "sentence-transformers_old")
	write(t, old, modulesFile, []byte("[]"))
	local := modelFiles(t, nil)

	for in, want := range map[string][2]string{
		mini:                        {miniDir, mini},
		"all-MiniLM-L6-v2":          {miniDir, mini},
		base:                        {baseDir, base},
		"sentence-transformers/old": {old, "sentence-transformers/old"},
		local:                       {local, filepath.Base(local)},
		miniDir:                     {miniDir, mini},
		filepath.Join(miniDir, "model.safetensors"): {miniDir, mini},
		filepath.Join(local, "model.safetensors"):   {local, filepath.Base(local)},
	} {
		dir, name, err := Resolve(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, [2]string{dir, name}, in)
	}
	m, err := Open(miniDir)
	require.NoError(t, err, "a snapshot's links lead into its blobs")
	require.NoError(t, m.Close())

	write(t, hub, "models--org--evil/refs/main", []byte("../../models--org--name.v1-x/snapshots/c2"))
	cacheModel(t, hub, "models--org--two", "c1", nil)
	cacheModel(t, hub, "models--org--two", "c2", nil)
	for in, tt := range map[string]struct {
		want error
		says string
	}{
		"":                       {ErrNotFound, "got nothing"},
		"org/none":               {ErrNotFound, "vkbert download org/none"},
		"none":                   {ErrNotFound, "vkbert download sentence-transformers/none"},
		"org/two":                {ErrNotFound, "vkbert download org/two"},
		"org/evil":               {ErrPath, "want a commit"},
		"./none/at/all":          {ErrNotFound, "no such file"},
		"../org":                 {ErrNotFound, "no such file"},
		"org/..":                 {ErrNotFound, ""},
		"a/b/c":                  {ErrNotFound, "nor a Hugging Face id"},
		local + "/config.json":   {ErrUnsupported, "config.json"},
		local + "/tokenizer.bin": {ErrNotFound, ""},
	} {
		_, _, err := Resolve(in)
		require.ErrorIs(t, err, tt.want, in)
		assert.ErrorContains(t, err, tt.says, in)
	}
	gguf := write(t, t.TempDir(), "model.gguf", nil)
	_, _, err = Resolve(gguf)
	require.ErrorIs(t, err, ErrUnsupported)
	_, _, err = Resolve(write(t, t.TempDir(), "other.safetensors", nil))
	require.ErrorIs(t, err, ErrUnsupported)
}

func TestHubCache(t *testing.T) {
	hub := testCache(t)
	assert.Equal(t, hub, HubCache())
	t.Setenv("HF_HOME", "")
	assert.Equal(t, filepath.Join(os.Getenv("XDG_CACHE_HOME"), "huggingface", "hub"), HubCache())
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "/home/someone")
	assert.Equal(t, "/home/someone/.cache/huggingface/hub", filepath.ToSlash(HubCache()))
	t.Setenv("HF_HUB_CACHE", "/elsewhere")
	assert.Equal(t, "/elsewhere", HubCache())
}

func TestDiscover(t *testing.T) {
	hub := testCache(t)
	dir := cacheModel(t, hub, "models--org--good", "c1", map[string]string{"config_sentence_transformers.json": `{"truncate_dim":3}`, "README.md": "---\nlicense: mit\n---\n"})
	write(t, hub, "models--org--good/refs/main", []byte("c1"))
	cacheModel(t, hub, "models--org--pickled", "c1", map[string]string{"model.safetensors": "", "pytorch_model.bin": "x"})
	cacheModel(t, hub, "models--org--cut", "c1", map[string]string{"model.safetensors": string(rawFile(oneTensor, make([]byte, 6)))})
	cacheModel(t, hub, "models--org--vocab", "c1", map[string]string{"tokenizer.json": "", "vocab.txt": "x"})
	write(t, hub, "models--org--empty/refs/main", []byte("c1"))
	write(t, hub, "datasets--org--set/snapshots/c1/data.bin", nil)
	root := t.TempDir()
	require.NoError(t, os.Rename(modelFiles(t, map[string]string{"config.json": `{"model_type":"odd","hidden_size":4}`}), filepath.Join(root, "odd")))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "1/2/3/4"), 0o755))
	require.NoError(t, os.Rename(modelFiles(t, nil), filepath.Join(root, "1/2/3/near")))
	require.NoError(t, os.Rename(modelFiles(t, nil), filepath.Join(root, "1/2/3/4/far")))
	write(t, root, ".git/config.json", nil)
	require.NoError(t, os.Symlink(root, filepath.Join(root, "1/loop")))

	verify := func(m *Model) error {
		if m.Config.ModelType() != "bert" {
			return ErrUnsupported
		}
		return nil
	}
	found, err := Discover(context.Background(), Discovery{Verify: verify, Roots: []string{root, root}})
	require.NoError(t, err)
	got := map[string]Found{}
	for _, f := range found {
		got[f.Name] = f
	}
	assert.Len(t, found, 6)
	assert.Equal(t, Found{Name: "org/good", Dir: dir, Kind: KindEmbedding, ModelType: "bert", Dim: 3, MaxSeqLength: 512, DType: F32, Bytes: 8, Licence: "mit"}, got["org/good"])
	assert.NoError(t, got[filepath.Join(root, "1/2/3/near")].Err)
	for name, want := range map[string]error{
		"org/pickled": ErrUnsupported, "org/cut": ErrTruncated, "org/vocab": ErrBadTokenizer, filepath.Join(root, "odd"): ErrUnsupported,
	} {
		require.ErrorIs(t, got[name].Err, want, name)
	}

	ctx, cancel := context.WithTimeout(context.Background(), -time.Second)
	defer cancel()
	_, err = Discover(ctx, Discovery{Roots: []string{root}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	_, err = Discover(context.Background(), Discovery{Roots: []string{filepath.Join(root, "none")}})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "none")
}

func TestResolveRevision(t *testing.T) {
	hub := testCache(t)
	first := cacheModel(t, hub, "models--org--model", "c1", nil)
	second := cacheModel(t, hub, "models--org--model", "c2", nil)
	own := cacheModel(t, hub, "models--sentence-transformers--small", "c9", nil)
	write(t, hub, "models--org--model/refs/main", []byte("c2"))
	write(t, hub, "models--org--model/refs/v1.0", []byte("c1\n"))
	write(t, hub, "models--org--model/refs/refs/pr/7", []byte("c1"))
	write(t, hub, "models--org--model/refs/gone", []byte("c3"))
	write(t, hub, "models--org--model/refs/evil", []byte("../../x"))
	for name, want := range map[string]string{
		"org/model": second, "org/model@main": second, "org/model@v1.0": first, "org/model@c1": first, "org/model@refs/pr/7": first, "small@c9": own,
	} {
		dir, shown, err := Resolve(name)
		require.NoError(t, err, name)
		assert.Equal(t, want, dir, name)
		assert.Contains(t, shown, name)
	}
	for name, want := range map[string]error{
		"org/model@v2": ErrNotFound, "org/model@gone": ErrNotFound, "org/model@evil": ErrPath, "org/model@../../x": ErrNotFound, "org/model@": ErrNotFound, "org/model@a/../b": ErrNotFound,
	} {
		_, _, err := Resolve(name)
		require.ErrorIs(t, err, want, name)
	}
}
