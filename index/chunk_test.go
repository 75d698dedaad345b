package index

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// words counts words, as a tokenizer that has every word would.
func words(text string) (int, error) { return len(strings.Fields(text)), nil }

// chunksOf cuts a text, and checks what holds for every text.
func chunksOf(t testing.TB, text string, tokens, overlap int) []Chunk {
	t.Helper()
	var chunks []Chunk
	c := &chunker{count: words, tokens: tokens, overlap: overlap, emit: func(c Chunk) error { chunks = append(chunks, c); return nil }}
	require.NoError(t, readText(strings.NewReader(text), c))
	covered := int64(0)
	for i, chunk := range chunks {
		n, _ := words(chunk.Text)
		require.LessOrEqual(t, n, tokens)
		require.Equal(t, strings.ToValidUTF8(text[chunk.Start:chunk.End], "\uFFFD"), chunk.Text)
		require.Equal(t, strings.TrimSpace(chunk.Text), chunk.Text)
		require.True(t, utf8.ValidString(chunk.Text))
		require.Equal(t, 1+strings.Count(text[:chunk.Start], "\n"), chunk.FirstLine)
		require.Equal(t, chunk.FirstLine+strings.Count(text[chunk.Start:chunk.End], "\n"), chunk.LastLine)
		if chunk.Start > covered { // nothing but white space is left out
			require.Empty(t, strings.TrimSpace(strings.TrimPrefix(text[covered:chunk.Start], "\ufeff")), "before chunk %d", i)
		}
		require.Greater(t, chunk.End, covered, "chunk %d brings something new", i)
		covered = chunk.End
	}
	require.Empty(t, strings.TrimSpace(strings.TrimPrefix(text[covered:], "\ufeff")))
	return chunks
}

func TestChunks(t *testing.T) {
	assert.Empty(t, chunksOf(t, "", 8, 2))
	assert.Empty(t, chunksOf(t, " \n\t\n", 8, 2))
	assert.Len(t, chunksOf(t, "one two three", 8, 2), 1)

	long := strings.Repeat("one two three four five six. ", 20)
	chunks := chunksOf(t, long, 20, 4)
	assert.Greater(t, len(chunks), 6)
	for i := 1; i < len(chunks); i++ {
		shared, _ := words(long[chunks[i].Start:chunks[i-1].End])
		assert.Positive(t, shared, "chunk %d overlaps the one before", i)
		assert.LessOrEqual(t, shared, 4)
	}
	for i, c := range chunksOf(t, long, 20, 0)[1:] {
		assert.GreaterOrEqual(t, c.Start, chunksOf(t, long, 20, 0)[i].End)
	}
}

// A chunk ends before a heading or a paragraph, if there is one in its second half.
func TestChunksEndWell(t *testing.T) {
	section := func(title string, n int) string {
		return "# " + title + "\n\n" + strings.Repeat("word ", n) + "end.\n\n"
	}
	chunks := chunksOf(t, section("First", 10)+section("Second", 10)+section("Third", 10), 20, 4)
	require.Len(t, chunks, 3)
	for i, title := range []string{"# First", "# Second", "# Third"} {
		assert.True(t, strings.HasPrefix(chunks[i].Text, title), chunks[i].Text)
	}
	paragraphs := chunksOf(t, strings.Repeat("Some words. ", 6)+"\n\n"+strings.Repeat("Other words. ", 6), 16, 0)
	require.Len(t, paragraphs, 2)
	assert.True(t, strings.HasPrefix(paragraphs[1].Text, "Other"))
}

func TestChunksOfHostileText(t *testing.T) {
	for name, text := range map[string]string{
		"one endless word":   strings.Repeat("x", 300_000),
		"endless line":       strings.Repeat("some words ", 30_000),
		"no spaces, wide":    strings.Repeat("漢字", 20_000),
		"invalid UTF-8":      strings.Repeat("a\xff\xfe b\xc3(\xe6\x97 ", 500),
		"continuation bytes": strings.Repeat("\x80", 10_000),
		"white space":        "a" + strings.Repeat(" ", 200_000) + "b" + strings.Repeat("\n", 100_000) + "c",
		"carriage returns":   strings.Repeat("one two\r\n\r\nthree\rfour\r\n", 50),
		"BOM":                "\ufeff# Title\n\ntext\n",
		"no newline":         "a b c\nd e f",
		"stops":              strings.Repeat(".", 5000) + strings.Repeat("! ", 5000) + strings.Repeat("。", 100),
	} {
		t.Run(name, func(t *testing.T) {
			for _, chunk := range chunksOf(t, text, 16, 4) {
				assert.LessOrEqual(t, len(chunk.Text), 3*16*wide, "also where there are no words")
			}
		})
	}
	c := &chunker{count: words, tokens: 16, overlap: 2, emit: func(Chunk) error { return nil }}
	require.ErrorIs(t, readText(strings.NewReader("text\x00binary"), c), errBinary)
}

func FuzzChunks(f *testing.F) {
	f.Add("# a\n\nb c. d! e\r\n\xff 漢字。x", 8, 2)
	f.Fuzz(func(t *testing.T, text string, tokens, overlap int) {
		if tokens < minTokens || tokens > 1000 || overlap < 0 || overlap > tokens/2 || strings.Contains(text, "\x00") {
			return
		}
		chunksOf(t, text, tokens, overlap)
	})
}

func TestRecords(t *testing.T) {
	var chunks []Chunk
	c := &chunker{count: words, tokens: 8, overlap: 2, emit: func(c Chunk) error { chunks = append(chunks, c); return nil }}
	record := func(line []byte) (string, bool, error) { return string(line), len(line) == 0, nil }
	text := "\ufefffirst one\n\nsecond\r\n" + strings.Repeat("long words. ", 10) + "\nlast"
	require.NoError(t, readRecords(strings.NewReader(text), c, record))
	require.Equal(t, Chunk{Text: "first one", Start: 3, End: 12, FirstLine: 1, LastLine: 1}, chunks[0])
	require.Equal(t, Chunk{Text: "second", Start: 14, End: 20, FirstLine: 3, LastLine: 3}, chunks[1])
	for _, long := range chunks[2 : len(chunks)-1] {
		assert.Equal(t, 4, long.FirstLine)
		assert.True(t, strings.HasPrefix(long.Text, "long"))
	}
	assert.Greater(t, len(chunks), 5)
	assert.Equal(t, "last", chunks[len(chunks)-1].Text)
}

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.md", "b.TXT", "c.go", ".hidden.md", ".git/d.md", "sub/e.jsonl", "sub/f.md", "draft/g.md", "sub/old.md", "sub/x.test.md", "README", "md"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "sub", "loop")))
	require.NoError(t, os.Symlink("loop2", filepath.Join(dir, "loop2")))
	for want, f := range map[string]Filter{
		"a.md b.TXT draft/g.md sub/e.jsonl sub/f.md sub/old.md sub/x.test.md": {},
		"a.md c.go sub/f.md sub/x.test.md":                                    {Extensions: []string{"go", ".MD"}, Exclude: []string{"draft/", "sub/old*"}},
		"README sub/x.test.md":                                                {Extensions: []string{"Test.md", "readme"}},
	} {
		w := walk{seen: map[string]bool{}}
		w.root(dir, f)
		w.root(filepath.Join(dir, "sub"), Filter{Extensions: f.Extensions, Exclude: append(f.Exclude, "old*")}) // again: nothing new
		var names []string
		for _, file := range w.files {
			name, err := filepath.Rel(dir, file.path)
			require.NoError(t, err)
			names = append(names, filepath.ToSlash(name))
		}
		assert.Equal(t, want, strings.Join(names, " "))
		assert.Empty(t, w.problems)
	}
	assert.ErrorIs(t, Filter{Exclude: []string{"["}}.check(), ErrInput)
	assert.ErrorIs(t, Filter{Extensions: []string{}}.check(), ErrInput)
	w := walk{seen: map[string]bool{}}
	w.root(filepath.Join(dir, "c.go"), Filter{})
	assert.Len(t, w.files, 1, "a file that is named is taken")
	assert.True(t, below("/a/b", "/a") && below("/a", "/a") && below("/a", "/") && !below("/ab", "/a"))
}
