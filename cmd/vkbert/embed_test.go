package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert/internal/testmodel"
)

// near compares with golden vectors.
func near(t *testing.T, want, got [][]float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		difference, largest := testmodel.MaxDifference(t, want[i], got[i])
		assert.LessOrEqual(t, difference, 1e-5*max(1, largest), "text %d", i)
	}
}

// readJSONL checks every byte that is not a number.
func readJSONL(t *testing.T, out string) [][]float32 {
	t.Helper()
	var vectors [][]float32
	for line := range strings.Lines(out) {
		var row struct {
			Index     int
			Embedding []float32
		}
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		require.Equal(t, len(vectors), row.Index)
		require.Equal(t, string(appendJSON(nil, row.Index, row.Embedding))+"\n", line)
		require.True(t, strings.HasPrefix(line, fmt.Sprintf(`{"index":%d,"embedding":[`, row.Index)))
		vectors = append(vectors, row.Embedding)
	}
	return vectors
}

func readCSV(t *testing.T, out string) [][]float32 {
	t.Helper()
	var vectors [][]float32
	for line := range strings.Lines(out) {
		var v []float32
		for field := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), ",") {
			x, err := strconv.ParseFloat(field, 32)
			require.NoError(t, err)
			v = append(v, float32(x))
		}
		vectors = append(vectors, v)
	}
	return vectors
}

func readNPY(t *testing.T, out string) [][]float32 {
	t.Helper()
	require.Equal(t, "\x93NUMPY\x01\x00", out[:8])
	length := 10 + int(binary.LittleEndian.Uint16([]byte(out[8:10])))
	require.Zero(t, length%64)
	require.Equal(t, byte('\n'), out[length-1])
	var rows, columns int
	_, err := fmt.Sscanf(out[10:length], "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", &rows, &columns)
	require.NoError(t, err)
	data := []byte(out[length:])
	require.Len(t, data, 4*rows*columns)
	vectors := make([][]float32, rows)
	for i := range vectors {
		for range columns {
			vectors[i] = append(vectors[i], math.Float32frombits(binary.LittleEndian.Uint32(data)))
			data = data[4:]
		}
	}
	return vectors
}

func jsonLines(t *testing.T, texts []string, object bool) string {
	t.Helper()
	var b strings.Builder
	for i, text := range texts {
		var value any = text
		if object {
			value = map[string]any{"id": i, "text": text, "more": []int{1}}
		}
		require.NoError(t, json.NewEncoder(&b).Encode(value))
	}
	return b.String()
}

func TestEmbed(t *testing.T) {
	g := testmodel.Read(t, filepath.Join(tiny("mean"), "golden.json"))
	oneLiners := slices.Clone(g.Texts)
	for i, s := range oneLiners { // a line a text; the golden file has texts with newlines
		if strings.ContainsAny(s, "\r\n") {
			oneLiners[i] = ""
		}
	}
	want := map[bool][][]float32{false: g.Vectors, true: slices.Clone(g.Vectors)}
	for i, s := range oneLiners {
		if s != g.Texts[i] {
			want[true][i] = g.Vectors[slices.Index(g.Texts, "")]
		}
	}
	text := strings.Join(oneLiners, "\n")
	for name, c := range map[string]struct {
		stdin string
		args  []string
		lines bool // a line a text
	}{
		"arguments":        {"", append([]string{"--"}, g.Texts...), false},
		"lines":            {text + "\n", nil, true},
		"no last newline":  {text, nil, true},
		"carriage returns": {strings.Join(oneLiners, "\r\n") + "\r\n", nil, true},
		"standard input":   {text, []string{"--input", "-"}, true},
		"file":             {"", []string{"--input", write(t, "texts", text)}, true},
		"JSON strings":     {jsonLines(t, g.Texts, false), []string{"--input-format", "jsonl"}, false},
		"JSON objects":     {jsonLines(t, g.Texts, true), []string{"--input-format", "jsonl"}, false},
		"blank lines":      {"\n" + strings.ReplaceAll(jsonLines(t, g.Texts, true), "\n", "\r\n \t\r\n"), []string{"--input-format", "jsonl"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for format, read := range map[string]func(*testing.T, string) [][]float32{"jsonl": readJSONL, "csv": readCSV, "npy": readNPY} {
				args := append([]string{"embed", "-m", tiny("mean"), "--device", "cpu", "--format", format}, c.args...)
				printed := read(t, good(t, c.stdin, args...))
				near(t, want[c.lines], printed)

				path := filepath.Join(t.TempDir(), "vectors")
				assert.Empty(t, good(t, c.stdin, append([]string{"embed", "-o", path}, args[1:]...)...))
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				near(t, printed, read(t, string(data)))
				left, err := os.ReadDir(filepath.Dir(path))
				require.NoError(t, err)
				assert.Len(t, left, 1)
			}
		})
	}
}

func TestEmbedPrompts(t *testing.T) {
	for _, name := range []string{"prompts", "prompts_passage", "prompts_modes", "mean"} {
		dir := tiny(name)
		g := testmodel.Read(t, filepath.Join(dir, "golden.json"))
		sets := map[string]*testmodel.Set{"": &g.Set, "--query": g.Query, "--document": g.Document}
		for prompt, set := range g.Prompts {
			sets["--prompt="+prompt] = &set
		}
		if name == "mean" { // without prompts, queries and documents are texts like any other
			sets["--query"], sets["--document"] = &g.Set, &g.Set
		}
		for flag, set := range sets {
			if set == nil {
				continue
			}
			t.Run(name+" "+flag, func(t *testing.T) {
				flags := []string{"-m", dir, "--input-format", "jsonl"}
				if flag != "" {
					flags = append(flags, flag)
				}
				input := jsonLines(t, g.Texts, false)
				near(t, set.Vectors, readJSONL(t, good(t, input, append([]string{"embed", "--device", "cpu"}, flags...)...)))
				i := 0
				for line := range strings.Lines(good(t, input, append([]string{"tokenize"}, flags...)...)) {
					var row struct {
						IDs    []int32
						Tokens []string
					}
					require.NoError(t, json.Unmarshal([]byte(line), &row))
					assert.Equal(t, set.IDs[i], row.IDs)
					assert.Len(t, row.Tokens, len(row.IDs))
					i++
				}
				assert.Equal(t, len(g.Texts), i)
			})
		}
	}
}

func TestEmbedOptions(t *testing.T) {
	g := testmodel.Read(t, filepath.Join(tiny("mean"), "golden.json"))
	embed := func(text string, flags ...string) []float32 {
		return readJSONL(t, good(t, "", append([]string{"embed", "-m", tiny("mean"), text}, flags...)...))[0]
	}
	whole := embed(g.Texts[1], "--device", "cpu")
	assert.Equal(t, whole[:7], embed(g.Texts[1], "--device", "cpu", "--dimensions", "7"))
	assert.NotEqual(t, whole, embed(g.Texts[1], "--device", "cpu", "--dtype", "f16"))
	near(t, [][]float32{whole}, [][]float32{embed(g.Texts[1], "--device", "reference", "--batch-tokens", "64", "--no-truncate")})
}

// TestManyTexts goes over several chunks; the vectors must come in order.
func TestManyTexts(t *testing.T) {
	g := testmodel.Read(t, filepath.Join(tiny("mean"), "golden.json"))
	const n = 2*chunkTexts + 100
	var texts []string
	var want [][]float32
	for i := range n {
		texts = append(texts, g.Texts[i%len(g.Texts)])
		want = append(want, g.Vectors[i%len(g.Texts)])
	}
	input := write(t, "texts", jsonLines(t, texts, false))
	near(t, want, readNPY(t, good(t, "", "embed", "-m", tiny("mean"), "--device", "cpu", "--input", input, "--input-format", "jsonl", "--format", "npy")))
}

func TestLongAndOddLines(t *testing.T) {
	g := testmodel.Read(t, filepath.Join(tiny("mean"), "golden.json"))
	lines := []string{strings.Repeat("x", 1<<20), strings.Repeat("cat ", 1<<18), "\x00\xff\xfe\x80", strings.Repeat("\xf0\x9f", 50_000), "cat\rdog", "cat"}
	got := readJSONL(t, good(t, strings.Join(lines, "\n"), "embed", "-m", tiny("mean"), "--device", "cpu"))
	require.Len(t, got, len(lines))
	near(t, g.Vectors[1:2], got[len(got)-1:])
	again := readJSONL(t, good(t, "", append([]string{"embed", "-m", tiny("mean"), "--device", "cpu", "--"}, lines...)...))
	near(t, again, got)
}

func TestLineReader(t *testing.T) {
	read := func(input string, limit int) (lines []string, err error) {
		r := newLines(strings.NewReader(input), &texts{name: "file"})
		r.limit = limit
		for {
			line, err := r.next()
			if errors.Is(err, io.EOF) {
				return lines, nil
			}
			if err != nil {
				return lines, err
			}
			lines = append(lines, line)
		}
	}
	for input, want := range map[string][]string{
		"":           nil,
		"\n":         {""},
		"\r\n":       {""},
		"a":          {"a"},
		"a\r":        {"a\r"},
		"a\n\nb\n":   {"a", "", "b"},
		"a\r\r\nb\r": {"a\r", "b\r"},
	} {
		lines, err := read(input, 10)
		require.NoError(t, err)
		assert.Equal(t, want, lines, "%q", input)
	}
	lines, err := read("123456789\n1234567890\n", 10)
	assert.Equal(t, []string{"123456789"}, lines)
	require.ErrorContains(t, err, "file: line 2 is longer than 10 bytes")
	long := strings.Repeat("y", 200<<10)
	lines, err = read(long+"\n"+long, maxLine)
	require.NoError(t, err)
	assert.Equal(t, []string{long, long}, lines)
}

func TestOutputFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links and modes of Unix")
	}
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(real, []byte("old"), 0o600))
	require.NoError(t, os.Symlink("real", link))
	good(t, "", "embed", "-m", tiny("mean"), "--device", "cpu", "-o", link, "cat")
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeSymlink, "the link stays one")
	info, err = os.Stat(real)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode())
	data, err := os.ReadFile(real)
	require.NoError(t, err)
	assert.Len(t, readJSONL(t, string(data)), 1)

	dangling := filepath.Join(dir, "dangling")
	require.NoError(t, os.Symlink("new", dangling))
	good(t, "", "embed", "-m", tiny("mean"), "--device", "cpu", "-o", dangling, "cat")
	assert.FileExists(t, filepath.Join(dir, "new"), "what a link leads to is made")
	_, err = os.Readlink(dangling)
	require.NoError(t, err)
	vkb(t, "", "embed", "-m", tiny("mean"), "--device", "cpu", "-o", filepath.Join(dir, "none")+"/", "cat").bad(t, exitFailed, "is a directory, want a file")

	long := filepath.Join(dir, strings.Repeat("世", 84))
	good(t, "", "embed", "-m", tiny("mean"), "--device", "cpu", "-o", long, "cat")
	assert.FileExists(t, long)

	good(t, "cat", "embed", "-m", tiny("mean"), "--device", "cpu", "-o", os.DevNull, "--format", "npy")
	info, err = os.Stat(os.DevNull)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeDevice, "devices are written to, not replaced")
	if os.Getuid() != 0 {
		require.NoError(t, os.Chmod(dir, 0o500))
		vkb(t, "", "embed", "-m", tiny("mean"), "--device", "cpu", "-o", filepath.Join(dir, "new"), "cat").bad(t, exitFailed, "permission denied")
	}
}

// failingWriter takes so many bytes and then no more.
type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, w.err
	}
	w.left -= len(p)
	return len(p), nil
}

func TestOutputFails(t *testing.T) {
	for _, args := range [][]string{
		{"embed", "-m", tiny("mean"), "--device", "cpu", "a", "b"},
		{"embed", "-m", tiny("mean"), "--device", "cpu", "--format", "csv", "a"},
		{"embed", "-m", tiny("mean"), "--device", "cpu", "--format", "npy", "a"},
		{"embed", "-m", tiny("mean"), "--device", "cpu", "--format", "npy"},
		{"tokenize", "-m", tiny("mean"), "a"},
		{"similarity", "-m", tiny("mean"), "--device", "cpu", "a", "b"},
		{"similarity", "-m", tiny("mean"), "--device", "cpu", "--json", "a", "b"},
		{"verify", "-m", tiny("mean"), "--device", "cpu", filepath.Join(tiny("mean"), "golden.json")},
		{"info", "-m", tiny("mean"), "--device", "cpu"},
		{"info", "-m", tiny("mean"), "--device", "cpu", "--json"},
		{"devices"},
		{"bench", "-m", tiny("mean"), "--device", "cpu", "--runs", "1", "--tokens", "2", "--batch", "1"},
	} {
		var messages bytes.Buffer
		status := execute(t.Context(), args, strings.NewReader("a\nb"), &failingWriter{err: io.ErrShortWrite}, &messages)
		outcome{status, "", messages.String()}.bad(t, exitFailed, "standard output: short write")
	}
}

// TestCancelled: a read that never ends, and a long run, both give way to the end of the context.
func TestCancelled(t *testing.T) {
	for _, command := range []string{"embed", "tokenize"} {
		dir := t.TempDir()
		args := []string{command, "-m", tiny("mean")}
		if command == "embed" {
			args = append(args, "--device", "cpu", "-o", filepath.Join(dir, "v.jsonl"))
		}
		in, hold := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		start := time.Now()
		vkbReading(ctx, in, args...).bad(t, exitFailed, "interrupted")
		assert.Less(t, time.Since(start), 5*time.Second)
		hold.Close()

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(300*time.Millisecond, cancel)
		vkbReading(ctx, endless{}, args...).bad(t, exitFailed, "interrupted")
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		assert.Empty(t, left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	vkbReading(ctx, strings.NewReader(""), "bench", "-m", tiny("mean"), "--device", "cpu").bad(t, exitFailed, "interrupted")
}

// endless are lines without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "cat\ndog\n"), nil }

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestInputFails(t *testing.T) {
	vkbReading(t.Context(), brokenReader{}, "embed", "-m", tiny("mean"), "--device", "cpu").bad(t, exitFailed, "read standard input: unexpected EOF")
}
