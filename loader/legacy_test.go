package loader

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// legacy is what legacy_ids.py makes.
type legacy struct {
	Texts   []string `json:"texts"`
	ColBERT map[string]struct {
		Files    map[string]string `json:"files"`
		Modules  []string          `json:"modules"`
		Query    legacyTask        `json:"query"`
		Document legacyTask        `json:"document"`
	} `json:"colbert"`
	Vocab []struct {
		Config map[string]any `json:"config"`
		Texts  []string       `json:"texts"`
		IDs    [][]int32      `json:"ids"`
		Pair   [2][]int32     `json:"pair"`
	} `json:"vocab"`
}

type legacyTask struct {
	Prompt string       `json:"prompt"`
	Rows   [][3][]int32 `json:"rows"` // ids, attended, kept
}

func readLegacy(t testing.TB) legacy {
	data, err := os.ReadFile(filepath.Join("testdata", "legacy_ids.json"))
	require.NoError(t, err)
	var golden legacy
	require.NoError(t, json.Unmarshal(data, &golden))
	return golden
}

func copyFile(t testing.TB, from, dir, name string) {
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	write(t, dir, name, data)
}

// TestPyLate opens ColBERT models as PyLate has saved them.
func TestPyLate(t *testing.T) {
	dirs, golden := archDirs(t), readLegacy(t)
	require.NotEmpty(t, golden.ColBERT)
	ints := func(flags []bool) []int32 {
		out := make([]int32, len(flags))
		for i, f := range flags {
			if f {
				out[i] = 1
			}
		}
		return out
	}
	for name, want := range golden.ColBERT {
		t.Run(name, func(t *testing.T) {
			dir := writeFiles(t, want.Files)
			for _, file := range []string{"model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
				copyFile(t, filepath.Join(dirs["colbert_stanford"], file), dir, file)
			}
			copyFile(t, filepath.Join(dirs["colbert"], "1_Dense", "model.safetensors"), dir, "1_Dense/model.safetensors")
			m, err := Open(dir)
			require.NoError(t, err)
			defer m.Close()
			assert.Equal(t, want.Modules, kindsOf(m))
			tok := openArchTokenizer(t, m)
			for task, want := range map[string]legacyTask{"query": want.Query, "document": want.Document} {
				assert.Equal(t, want.Prompt, m.Prompts[task])
				for i, text := range golden.Texts {
					s, err := tok.EncodeTask(t.Context(), m, m.Prompts[task]+text, task)
					require.NoError(t, err)
					assert.Equal(t, want.Rows[i], [3][]int32{s.IDs, ints(s.Attended), ints(s.Kept)}, "%s: %q", task, text)
				}
			}
		})
	}
}

// TestVocab opens a BERT model that has vocab.txt and no tokenizer.json.
func TestVocab(t *testing.T) {
	dir, golden := archDirs(t)["splade"], readLegacy(t)
	var file struct {
		Model struct{ Vocab map[string]int } `json:"model"`
	}
	data, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &file))
	lines := make([]string, len(file.Model.Vocab))
	for token, id := range file.Model.Vocab {
		lines[id] = token
	}
	require.NotEmpty(t, golden.Vocab)
	for _, want := range golden.Vocab {
		want.Config["tokenizer_class"] = "BertTokenizer"
		config, err := json.Marshal(want.Config)
		require.NoError(t, err)
		tok := openTestTokenizer(t, map[string]string{"tokenizer.json": "", "tokenizer_config.json": string(config), "vocab.txt": strings.Join(lines, "\n") + "\n"})
		for i, text := range want.Texts {
			assert.Equal(t, want.IDs[i], encode(t, tok, text), "%v: %q", want.Config, text)
		}
		e, err := tok.EncodePair(t.Context(), "the dog", "cat", 0)
		require.NoError(t, err)
		assert.Equal(t, want.Pair, [2][]int32{e.IDs, e.TypeIDs})
	}
}

func TestVocabRefused(t *testing.T) {
	const good = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n"
	for name, tt := range map[string]struct {
		change map[string]string
		want   error
		says   string
	}{
		"empty":           {map[string]string{"vocab.txt": " "}, ErrBadTokenizer, "unk_token: want a token of the vocabulary"},
		"not UTF-8":       {map[string]string{"vocab.txt": good + "\xff\n"}, ErrBadTokenizer, "line 7: not valid UTF-8"},
		"no [SEP]":        {map[string]string{"vocab.txt": strings.Replace(good, "[SEP]", "x", 1)}, ErrBadTokenizer, `sep_token: want a token of the vocabulary, got "[SEP]"`},
		"long token":      {map[string]string{"vocab.txt": good + strings.Repeat("x", 2000)}, ErrBadTokenizer, "want at most 1024 bytes"},
		"NUL in a token":  {map[string]string{"vocab.txt": good, "tokenizer_config.json": `{"tokenizer_class":"BertTokenizer","unk_token":"\u0000"}`}, ErrBadTokenizer, "unk_token"},
		"another class":   {map[string]string{"vocab.txt": good, "tokenizer_config.json": `{"tokenizer_class":"BertJapaneseTokenizer"}`}, ErrUnsupported, "vocab.txt"},
		"MPNet":           {map[string]string{"vocab.txt": good, "tokenizer_config.json": `{"tokenizer_class":"MPNetTokenizer"}`}, ErrUnsupported, "vocab.txt"},
		"a token a list":  {map[string]string{"vocab.txt": good, "special_tokens_map.json": `{"sep_token":[]}`}, ErrBadConfig, "special_tokens_map.json: sep_token"},
		"a token without": {map[string]string{"vocab.txt": good, "special_tokens_map.json": `{"sep_token":{"x":1}}`}, ErrBadConfig, "sep_token.content"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.change["tokenizer.json"] = ""
			m, err := Open(modelFiles(t, tt.change))
			require.NoError(t, err)
			defer m.Close()
			_, err = OpenTokenizer(m)
			require.ErrorIs(t, err, tt.want)
			assert.ErrorContains(t, err, tt.says)
		})
	}
	tok := openTestTokenizer(t, map[string]string{"tokenizer.json": "", "tokenizer_config.json": `{"tokenizer_class":"BertTokenizer","sep_token":"<e>"}`,
		"vocab.txt": "[PAD]\r\n[UNK]\r\n[CLS]\r\n<e>\r\nhello", "special_tokens_map.json": `{"cls_token":{"content":"[PAD]"}}`})
	assert.Equal(t, "[PAD] hello <e> <e>", words(t, tok, "hello <e>"))
}
