package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/index"
)

// shelf is a folder with a few texts, and an index beside it that is not made yet.
func shelf(t *testing.T) (dir string) {
	t.Helper()
	base, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	dir = filepath.Join(base, "shelf")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for name, text := range map[string]string{
		"cat.md": "# The cat\n\nthe cat sat on it\n", "dog.txt": "a dog ran", "more.jsonl": "{\"body\":\"the dog sat\"}\n", "left.bin": "x",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	t.Setenv("VKBERT_INDEX", filepath.Join(base, "data", "index.db"))
	return dir
}

func TestIndexAndSearch(t *testing.T) {
	dir := shelf(t)
	flags := []string{"--device", "cpu"}
	out := good(t, "", append([]string{"index", "-m", tiny("normalize"), "--field", "body", dir}, flags...)...)
	assert.Equal(t, "3 files: 3 chunks (3 added, 0 updated, 0 removed, 0 unchanged)\n", out)

	lines := strings.Split(strings.TrimSpace(good(t, "", append([]string{"search", "a", "dog", "ran"}, flags...)...)), "\n")
	require.Len(t, lines, 3)
	assert.Equal(t, "1.0000\t"+filepath.Join(dir, "dog.txt")+":1\ta dog ran", lines[0])
	var results []index.Result
	require.NoError(t, json.Unmarshal([]byte(good(t, "", append([]string{"search", "--json", "-n", "1", "a dog ran"}, flags...)...)), &results))
	require.Len(t, results, 1)
	assert.Equal(t, index.Chunk{Text: "a dog ran", End: 9, FirstLine: 1, LastLine: 1}, results[0].Chunk)
	assert.Equal(t, "[]\n", good(t, "", append([]string{"search", "--json", "--min-score", "2", "a dog ran"}, flags...)...))
	assert.NotContains(t, good(t, "", append([]string{"search", "--in", filepath.Join(dir, "cat.md"), "a dog ran"}, flags...)...), "dog.txt")
	vkb(t, "", append([]string{"search", "--in", filepath.Join(dir, "none"), "a dog ran"}, flags...)...).bad(t, exitFailed, "holds no text below")

	require.NoError(t, os.Remove(filepath.Join(dir, "dog.txt")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cat.md"), []byte("a cat\x1b[31m ran\nagain"), 0o600))
	assert.Contains(t, good(t, "", append([]string{"search", "a dog ran"}, flags...)...), "dog.txt:1 (changed since)")
	out = good(t, "", append([]string{"index", "-v"}, flags...)...)
	assert.Equal(t, "removed\t"+filepath.Join(dir, "dog.txt")+"\nupdated\t"+filepath.Join(dir, "cat.md")+
		"\n2 files: 2 chunks (0 added, 1 updated, 1 removed, 1 unchanged)\n", out)
	assert.Contains(t, good(t, "", append([]string{"search", "cat"}, flags...)...), "cat.md:1-2\ta cat [31m ran again\n")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "more.jsonl"), []byte("{\"body\":\"the cat ran\"}\n"), 0o600))
	assert.Contains(t, good(t, "", append([]string{"index"}, flags...)...), "1 updated", "the field is remembered")
	vkb(t, "", append([]string{"index", "--chunk-tokens", "12"}, flags...)...).bad(t, exitFailed, "--rebuild")
	vkb(t, "", append([]string{"search", "-m", tiny("mean"), "cat"}, flags...)...).bad(t, exitFailed, "made by another model")
	vkb(t, "", append([]string{"index", "-m", tiny("head11"), dir}, flags...)...).bad(t, exitFailed, "made by another model")
	out = good(t, "", append([]string{"index", "--rebuild", "-m", tiny("mean"), "--field", "body", "--chunk-tokens", "12", dir}, flags...)...)
	assert.Contains(t, out, "2 added")

	assert.Equal(t, "2 files removed\n", good(t, "", "index", "--remove", dir))
	vkb(t, "", append([]string{"search", "cat"}, flags...)...).bad(t, exitFailed, "holds no text yet")
	vkb(t, "", append([]string{"index"}, flags...)...).bad(t, exitFailed, "has no folders yet")
}

func TestIndexRefuses(t *testing.T) {
	dir := shelf(t)
	vkb(t, "", "search", "cat").bad(t, exitFailed, `"vkbert index -m MODEL DIR" makes one`)
	vkb(t, "", "search").bad(t, exitUsage, "at least 1 arg")
	vkb(t, "", "search", " ").bad(t, exitUsage, "empty")
	vkb(t, "", "search", "--top", "-1", "cat").bad(t, exitUsage, "--top")
	vkb(t, "", "index").bad(t, exitUsage, "-m MODEL")
	vkb(t, "", "index", "-m", tiny("mean")).bad(t, exitUsage, "DIR")
	vkb(t, "", "index", "--remove").bad(t, exitUsage, "--remove")
	vkb(t, "", "index", "-m", tiny("mean"), filepath.Join(dir, "none")).bad(t, exitFailed, "no such file")
	vkb(t, "", "index", "-m", tiny("mean"), "--device", "cpu", "--chunk-tokens", "100", dir).bad(t, exitFailed, "chunks of 100 tokens")
	assert.NoFileExists(t, os.Getenv("VKBERT_INDEX"))

	o := vkb(t, "", "index", "-m", tiny("mean"), "--device", "cpu", dir) // without --field
	assert.Equal(t, exitFailed, o.status)
	assert.Contains(t, o.err, `more.jsonl: line 1: want a JSON string or an object with a string "text"`)
	assert.Contains(t, o.err, "1 file or folder could not be read; all else is in the index\n")
	assert.Contains(t, o.out, "2 files:")

	path := write(t, "index.db", "no index")
	vkb(t, "", "search", "--index", path, "cat").bad(t, exitFailed, "not a vkbert index")
	vkb(t, "", "index", "--index", path, "-m", tiny("mean"), dir).bad(t, exitFailed, "not a vkbert index")
	vkb(t, "", "index", "--index", path, "--rebuild", "-m", tiny("mean"), dir).bad(t, exitFailed, "--index names another file")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "no index", string(data))
}

func TestRebuildRefused(t *testing.T) {
	dir := shelf(t)
	flags := []string{"index", "-m", tiny("mean"), "--device", "cpu", "--field", "body"}
	good(t, "", append(flags, dir)...)
	before, err := os.ReadFile(os.Getenv("VKBERT_INDEX"))
	require.NoError(t, err)
	vkb(t, "", append(flags, "--rebuild", "--exclude", "[", dir)...).bad(t, exitFailed, "exclude")
	after, err := os.ReadFile(os.Getenv("VKBERT_INDEX"))
	require.NoError(t, err)
	assert.Equal(t, before, after, "the old index is as it was")

	// What search advises about a damaged index works.
	require.NoError(t, os.Truncate(os.Getenv("VKBERT_INDEX"), 5000))
	vkb(t, "", "search", "cat").bad(t, exitFailed, "vkbert index --rebuild -m MODEL DIR makes it anew")
	assert.Contains(t, good(t, "", append(flags, "--rebuild", dir)...), "3 added")
}

func TestSearchOnATerminal(t *testing.T) {
	assert.Equal(t, []string{"one two", "three"}, wrap("one two three four", 8, 2))
	assert.Equal(t, []string{"endless-word", "x"}, wrap("endless-word x", 5, 3))
	assert.Equal(t, []string{""}, wrap("", 8, 2))
	assert.Equal(t, "a b…", snippet("a\n\tb\u202ecd", 4))
	assert.NoError(t, printResults(io.Discard, nil))
}
