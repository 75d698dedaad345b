package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
)

// asCommand makes the test binary behave as vkbert: tests of signals and of closed files need a process.
const asCommand = "VKBERT_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	dir, err := os.MkdirTemp("", "vkbert-test-")
	if err != nil {
		panic(err)
	}
	for name, value := range map[string]string{"VKBERT_CACHE": "off", "HF_HUB_CACHE": dir, "SENTENCE_TRANSFORMERS_HOME": dir, "HF_TOKEN_PATH": filepath.Join(dir, "token")} {
		if err := os.Setenv(name, value); err != nil {
			panic(err)
		}
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// outcome is what a command left behind.
type outcome struct {
	status   int
	out, err string
}

// vkb runs the command with the text as its standard input.
func vkb(t *testing.T, stdin string, args ...string) outcome {
	t.Helper()
	return vkbReading(t.Context(), strings.NewReader(stdin), args...)
}

func vkbReading(ctx context.Context, stdin io.Reader, args ...string) outcome {
	var out, err bytes.Buffer
	status := execute(ctx, args, stdin, &out, &err)
	return outcome{status, out.String(), err.String()}
}

// good is vkb for commands that must succeed and have nothing to say.
func good(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	o := vkb(t, stdin, args...)
	require.Equal(t, exitDone, o.status, o.err)
	assert.Empty(t, o.err)
	return o.out
}

// bad checks that a command failed with this status and said so in one line.
func (o outcome) bad(t *testing.T, status int, says string) {
	t.Helper()
	assert.Equal(t, status, o.status)
	assert.Contains(t, o.err, says)
	assert.Regexp(t, `\Avkbert: [^\n]+\n\z`, o.err)
	if status == exitUsage {
		assert.Contains(t, o.err, "--help")
	}
}

func tiny(name string) string { return testmodel.Path("tiny", name) }

// write makes a file of a temporary folder.
func write(t *testing.T, name, contents string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(contents), 0o666))
	return path
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"embed", "similarity", "tokenize", "verify", "info", "devices", "bench", "download", "models", "convert", "serve", "index", "search"} {
		assert.Contains(t, good(t, "", "--help"), "\n  "+name+" ")
		assert.Contains(t, good(t, "", name, "--help"), "vkbert "+name)
	}
	assert.Contains(t, good(t, "", "completion", "bash"), "vkbert")
	assert.Equal(t, "jsonl\nnpy\ncsv\n:4\n", vkb(t, "", "__complete", "embed", "--format", "").out)
	assert.Contains(t, good(t, "", "--version"), "vkbert version ")
}

func TestWrongUsage(t *testing.T) {
	mean := tiny("mean")
	for _, c := range []struct {
		says string
		args []string
	}{
		{"unknown command", []string{"embd"}},
		{`"model" not set`, []string{"serve"}},
		{"alias", []string{"serve", "-m", mean + "="}},
		{"random", []string{"serve", "-m", "random:base"}},
		{"max-concurrent", []string{"serve", "-m", mean, "--max-concurrent", "0"}},
		{"tls", []string{"serve", "-m", mean, "--tls-cert", "x"}},
		{"unknown flag: --nosuch", []string{"embed", "--nosuch", mean}},
		{`"model" not set`, []string{"embed", "a"}},
		{"jsonl, npy, csv", []string{"embed", "-m", mean, "--format", "xml", "a"}},
		{"text, jsonl", []string{"embed", "-m", mean, "--input-format", "csv", "a"}},
		{"query", []string{"embed", "-m", mean, "--query", "--document", "a"}},
		{"query", []string{"tokenize", "-m", mean, "--query", "--prompt", "sort", "a"}},
		{"--input", []string{"embed", "-m", mean, "--input", "texts", "a"}},
		{"dimensions", []string{"embed", "-m", mean, "--dimensions", "-1", "a"}},
		{"invalid argument", []string{"embed", "-m", mean, "--dimensions", "many", "a"}},
		{"batch-tokens", []string{"embed", "-m", mean, "--batch-tokens", "-5", "a"}},
		{"--max-batch-tokens", []string{"serve", "-m", mean, "--max-batch-tokens", "-5"}},
		{"random", []string{"embed", "-m", "random:minilm-l6", "a"}},
		{"random", []string{"verify", "-m", "random:minilm-l6", filepath.Join(mean, "golden.json")}},
		{"at least 2 arg", []string{"similarity", "-m", mean, "query"}},
		{"accepts 1 arg", []string{"verify", "-m", mean}},
		{"tolerance", []string{"verify", "-m", mean, "--tolerance", "0", "x"}},
		{"tolerance", []string{"verify", "-m", mean, "--tolerance", "nan", "x"}},
		{"unknown command", []string{"info", "-m", mean, "more"}},
		{"unknown command", []string{"devices", "more"}},
		{"--batch", []string{"bench", "-m", mean, "--batch", "0"}},
		{"--seconds", []string{"bench", "-m", mean, "--seconds", "nan"}},
		{"--callers", []string{"bench", "-m", mean, "--callers", "0"}},
		{"--beside", []string{"bench", "-m", mean, "--beside", "-1"}},
		{"seconds", []string{"bench", "-m", mean, "--seconds", "1", "--runs", "2"}},
		{"texts", []string{"bench", "-m", mean, "--texts", "x", "--batch", "2"}},
		{"accepts 1 arg", []string{"download"}},
		{"revision", []string{"download", "org/name@v1", "--revision", "v2"}},
		{"revision", []string{"download", "org/name@"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			o := vkb(t, "", c.args...)
			o.bad(t, exitUsage, c.says)
			assert.Empty(t, o.out)
		})
	}
}

// changed copies a tiny model with one of its files edited.
func changed(t *testing.T, file, old, new string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(tiny("mean"))))
	path := filepath.Join(dir, file)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	require.NoError(t, os.WriteFile(path, bytes.Replace(data, []byte(old), []byte(new), 1), 0o666))
	return dir
}

func TestFailures(t *testing.T) {
	mean := tiny("mean")
	empty := t.TempDir()
	model := func(dir string) []string { return []string{"embed", "-m", dir, "--device", "cpu", "a"} }
	for name, c := range map[string]struct {
		says  string
		stdin string
		args  []string
	}{
		"missing model":        {"vkbert download org/none", "", model("org/none")},
		"missing folder":       {"no such file", "", model("./no/such/folder")},
		"folder without model": {"config.json", "", model(empty)},
		"file of no model":     {".safetensors", "", model(filepath.Join(mean, "config.json"))},
		"architecture":         {"megabert", "", model(changed(t, "config.json", `"bert"`, `"megabert"`))},
		"pooling mode":         {"median", "", model(changed(t, "1_Pooling/config.json", `"mean"`, `"median"`))},
		"unknown dtype":        {"f64", "", []string{"embed", "-m", mean, "--dtype", "f64", "a"}},
		"device":               {"vulkan:9", "", []string{"embed", "-m", mean, "--device", "vulkan:9", "a"}},
		"unknown device":       {"tpu", "", []string{"embed", "-m", mean, "--device", "tpu", "a"}},
		"prompt":               {"sort", "", []string{"embed", "-m", mean, "--device", "cpu", "--prompt", "sort", "a"}},
		"dimensions":           {"61 dimensions", "", []string{"embed", "-m", mean, "--device", "cpu", "--dimensions", "61", "a"}},
		"too long":             {"truncation is off", "", []string{"embed", "-m", mean, "--device", "cpu", "--no-truncate", strings.Repeat("cat ", 50)}},
		"no texts":             {"no texts in standard input", "", []string{"embed", "-m", mean, "--device", "cpu"}},
		"no texts to tokenize": {"no texts in standard input", "", []string{"tokenize", "-m", mean}},
		"blank JSON lines":     {"no texts", "\n \n", []string{"embed", "-m", mean, "--device", "cpu", "--input-format", "jsonl"}},
		"missing input":        {"nowhere.txt", "", []string{"embed", "-m", mean, "--input", "nowhere.txt"}},
		"folder as input":      {"is a directory", "", []string{"embed", "-m", mean, "--input", empty}},
		"JSON line":            {"line 2: want a JSON string", "\"a\"\nb\n", []string{"embed", "-m", mean, "--device", "cpu", "--input-format", "jsonl"}},
		"JSON line, number":    {"line 1: want a JSON string", "1\n", []string{"tokenize", "-m", mean, "--input-format", "jsonl"}},
		"JSON line, no text":   {"line 3: want a JSON string", "\"a\"\n\n{\"Text\":\"b\"}\n", []string{"embed", "-m", mean, "--device", "cpu", "--input-format", "jsonl"}},
		"JSON line, null text": {"line 1: want a JSON string", "{\"text\":null}\n", []string{"embed", "-m", mean, "--device", "cpu", "--input-format", "jsonl"}},
		"JSON line, cut":       {"line 1: want a JSON string", "{\"text\":\"a\"", []string{"embed", "-m", mean, "--device", "cpu", "--input-format", "jsonl"}},
		"folder of -o":         {"nowhere/v.npy", "", []string{"embed", "-m", mean, "-o", "nowhere/v.npy", "a"}},
		"folder as -o":         {"is a directory", "", []string{"embed", "-m", mean, "-o", empty, "a"}},
		"missing golden file":  {"nowhere.json", "", []string{"verify", "-m", mean, "nowhere.json"}},
		"info":                 {"vkbert download org/none", "", []string{"info", "-m", "org/none"}},
		"bench tokens":         {"takes at most 40", "", []string{"bench", "-m", mean, "--device", "cpu", "--tokens", "41"}},
		"bench shape":          {"random:tiny", "", []string{"bench", "-m", "random:tiny"}},
		"bench lengths":        {"line 1: want a number of tokens", "", []string{"bench", "-m", mean, "--lengths", write(t, "lengths", "0")}},
		"bench no lengths":     {"no lengths", "", []string{"bench", "-m", mean, "--lengths", os.DevNull}},
		"bench texts":          {"no texts", "", []string{"bench", "-m", mean, "--texts", os.DevNull}},
		"similarity":           {"vkbert download org/none", "", []string{"similarity", "-m", "org/none", "a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := vkb(t, c.stdin, c.args...)
			o.bad(t, exitFailed, c.says)
			assert.Empty(t, o.out)
		})
	}
	left, err := os.ReadDir(empty)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// TestLateFailure: what comes before the bad line may be printed, but a file does not appear, and one that was there stays as it was.
func TestLateFailure(t *testing.T) {
	input := strings.Repeat("\"cat\"\n", chunkTexts) + "cat\n"
	path := write(t, "v.jsonl", "old")
	for _, target := range []string{path, filepath.Join(filepath.Dir(path), "new.npy")} {
		o := vkb(t, input, "embed", "-m", tiny("mean"), "--device", "cpu", "--input-format", "jsonl", "-o", target)
		o.bad(t, exitFailed, fmt.Sprintf("line %d:", chunkTexts+1))
	}
	o := vkb(t, input, "tokenize", "-m", tiny("mean"), "--input-format", "jsonl")
	o.bad(t, exitFailed, fmt.Sprintf("line %d:", chunkTexts+1))
	assert.Equal(t, chunkTexts, strings.Count(o.out, "\n"))
	long := strings.Repeat("cat\n", chunkTexts) + strings.Repeat("cat ", 50)
	vkb(t, long, "embed", "-m", tiny("mean"), "--device", "cpu", "--no-truncate", "-o", path).bad(t, exitFailed, fmt.Sprintf("counted from text %d on: text 0", chunkTexts))

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "old", string(data))
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1)
}
