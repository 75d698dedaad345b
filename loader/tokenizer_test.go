package loader

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openTestTokenizer(t testing.TB, change map[string]string) *Tokenizer {
	m, err := Open(modelFiles(t, change))
	require.NoError(t, err)
	defer m.Close()
	tok, err := OpenTokenizer(m)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tok.Close()) })
	return tok
}

func encode(t testing.TB, tok *Tokenizer, text string) []int32 {
	e, err := tok.Encode(t.Context(), text)
	require.NoError(t, err, "%.60q", text)
	require.Len(t, e.TypeIDs, len(e.IDs))
	return e.IDs
}

func words(t testing.TB, tok *Tokenizer, text string) string {
	return strings.Join(tok.Tokens(encode(t, tok, text)), " ")
}

func TestEncode(t *testing.T) {
	tok := openTestTokenizer(t, nil)
	for text, want := range map[string]string{
		"":                               "[CLS] [SEP]",
		" \t\n":                          "[CLS] [SEP]",
		"hello":                          "[CLS] hello [SEP]",
		"Hello WORLDS":                   "[CLS] hello world ##s [SEP]",
		"[SEP] hello":                    "[CLS] [SEP] hello [SEP]",
		"héllo":                          "[CLS] hello [SEP]",
		"he\u0301llo":                    "[CLS] hello [SEP]",
		"\u0301":                         "[CLS] [SEP]",
		"xyz":                            "[CLS] [UNK] [SEP]",
		"he\x00llo world":                "[CLS] hello world [SEP]",
		"\x00":                           "[CLS] [SEP]",
		"[SE\x00P]":                      "[CLS] [UNK] [UNK] [UNK] [SEP]",
		"hello\xff world":                "[CLS] hello world [SEP]",
		"\xe2\x82":                       "[CLS] [SEP]",
		strings.Repeat("hello", 200_000): "[CLS] [UNK] [SEP]",
		"世hello":                         "[CLS] [UNK] hello [SEP]",
	} {
		assert.Equal(t, want, words(t, tok, text), "%.60q", text)
		assert.Equal(t, encode(t, tok, text), encode(t, tok, text), "%.60q again", text)
	}
	e, err := tok.Encode(t.Context(), "hello")
	require.NoError(t, err)
	assert.Equal(t, Encoding{IDs: []int32{2, 4, 3}, TypeIDs: []int32{0, 0, 0}, Prefix: 1, Suffix: 1}, e)
	assert.Equal(t, 9, tok.VocabSize())
	assert.Equal(t, []string{"", "[UNK]", ""}, tok.Tokens([]int32{-1, 1, 9}))

	long := strings.Repeat("hello world ", 10_000)
	assert.Len(t, encode(t, tok, long), 20_002)
}

func TestTruncate(t *testing.T) {
	right := openTestTokenizer(t, nil)
	left := openTestTokenizer(t, map[string]string{"tokenizer_config.json": `{"tokenizer_class":"BertTokenizer","truncation_side":"left"}`})
	for limit, want := range map[int][2]string{
		9: {"[CLS] hello world ##s a [SEP]", "[CLS] hello world ##s a [SEP]"},
		6: {"[CLS] hello world ##s a [SEP]", "[CLS] hello world ##s a [SEP]"},
		5: {"[CLS] hello world ##s [SEP]", "[CLS] world ##s a [SEP]"},
		3: {"[CLS] hello [SEP]", "[CLS] a [SEP]"},
		2: {"[CLS] [SEP]", "[CLS] [SEP]"},
	} {
		for i, tok := range []*Tokenizer{right, left} {
			e, err := tok.Encode(t.Context(), "hello worlds a")
			require.NoError(t, err)
			before := fmt.Sprint(e)
			cut, err := tok.Truncate(e, limit)
			require.NoError(t, err)
			assert.Equal(t, want[i], strings.Join(tok.Tokens(cut.IDs), " "))
			assert.Len(t, cut.TypeIDs, len(cut.IDs))
			assert.Equal(t, before, fmt.Sprint(e), "the encoding itself is left alone")
		}
	}
	e, err := right.Encode(t.Context(), "hello")
	require.NoError(t, err)
	for _, limit := range []int{1, 0, -1} {
		_, err = right.Truncate(e, limit)
		require.ErrorIs(t, err, ErrEncode)
	}
}

func TestPromptLength(t *testing.T) {
	tok := openTestTokenizer(t, nil)
	for prompt, want := range map[string]int{"": 1, "hello world ": 3, "hello [SEP]": 3} {
		n, err := tok.PromptLength(prompt, 100)
		require.NoError(t, err)
		assert.Equal(t, want, n, prompt)
	}
	n, err := tok.PromptLength("hello world hello world", 4) // [CLS] hello world [SEP]
	require.NoError(t, err)
	assert.Equal(t, 3, n)
}

func TestTokenizerOptions(t *testing.T) {
	cased := strings.Replace(wordPiece, `"lowercase":true`, `"lowercase":false`, 1)
	sentence := func(text string) map[string]string {
		return map[string]string{"tokenizer.json": cased, "tokenizer_config.json": `{"tokenizer_class":"PreTrainedTokenizerFast"}`, "sentence_bert_config.json": text}
	}
	config := func(text string) map[string]string {
		return map[string]string{"tokenizer.json": cased, "tokenizer_config.json": text}
	}
	const text = "Hello héllo 世hello"
	for name, tt := range map[string]struct {
		change map[string]string
		want   string
	}{
		"as the file says":         {sentence(`{}`), "[UNK] [UNK] [UNK] hello"},
		"the module's lower case":  {sentence(`{"do_lower_case":true}`), "hello [UNK] [UNK] hello"},
		"BERT's default":           {config(`{"tokenizer_class":"BertTokenizer"}`), "hello hello [UNK] hello"},
		"BERT, no class":           {config(`{}`), "hello hello [UNK] hello"},
		"BERT, cased":              {config(`{"tokenizer_class":"BertTokenizerFast","do_lower_case":false}`), "[UNK] [UNK] [UNK] hello"},
		"BERT, accents kept":       {config(`{"tokenizer_class":"BertTokenizer","strip_accents":false}`), "hello [UNK] [UNK] hello"},
		"BERT, accents only":       {config(`{"tokenizer_class":"MPNetTokenizer","do_lower_case":false,"strip_accents":true}`), "[UNK] hello [UNK] hello"},
		"BERT, Chinese not split":  {config(`{"tokenizer_class":"BertTokenizer","tokenize_chinese_chars":false}`), "hello hello [UNK]"},
		"another class, file wins": {config(`{"tokenizer_class":"RobertaTokenizer","do_lower_case":true}`), "[UNK] [UNK] [UNK] hello"},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, "[CLS] "+tt.want+" [SEP]", words(t, openTestTokenizer(t, tt.change), text))
		})
	}
	m, err := Open(modelFiles(t, config(`{"tokenizer_class":"BertTokenizer","do_lower_case":"yes"}`)))
	require.NoError(t, err)
	defer m.Close()
	_, err = OpenTokenizer(m)
	require.ErrorIs(t, err, ErrBadConfig)
}

func TestTokenizerKinds(t *testing.T) {
	plainClass := `{"tokenizer_class":"PreTrainedTokenizerFast"}`
	for name, tt := range map[string]struct {
		doc  string
		want map[string]string
	}{
		"byte-level BPE": {byteBPE, map[string]string{
			"": "<s> </s>", "ab b": "<s> ab Ġ b </s>", "</s>a": "<s> </s> a </s>", "a\x00b": "<s> a <unk> b </s>",
		}},
		"Unigram": {unigram(t), map[string]string{
			"": "<s> </s>", "Ａa": "<s> ▁ A <unk> </s>", "ﬁ": "<s> ▁ f i </s>", "a\x00f": "<s> ▁ <unk> f </s>", "\x00": "<s> ▁ <unk> </s>",
		}},
		"word level without special tokens": {wordLevel, map[string]string{"": "", "  ": "", "a b c": "a b <unk>"}},
		"an old file without type":          {strings.Replace(wordPiece, `"type":"WordPiece",`, "", 1), map[string]string{"worlds": "[CLS] world ##s [SEP]"}},
	} {
		t.Run(name, func(t *testing.T) {
			tok := openTestTokenizer(t, map[string]string{"tokenizer.json": tt.doc, "tokenizer_config.json": plainClass, "config.json": `{"model_type":"roberta","hidden_size":4}`})
			for text, want := range tt.want {
				assert.Equal(t, want, words(t, tok, text), "%q", text)
			}
		})
	}
}

// brokenLibrary answers with what it is given.
type brokenLibrary struct{ ids, types []uint32 }

func (l brokenLibrary) encode(string, bool) ([]uint32, []uint32) { return l.ids, l.types }
func (l brokenLibrary) close() error                             { return nil }

func TestSilentFailureIsAnError(t *testing.T) {
	special := &tokenizerSpec{prefix: []int32{2}, suffix: []int32{3}}
	none := &tokenizerSpec{}
	for name, tt := range map[string]struct {
		lib  brokenLibrary
		spec *tokenizerSpec
		text string
		ok   bool
	}{
		"nothing for a text":       {brokenLibrary{}, special, "text", false},
		"nothing for no text":      {brokenLibrary{}, special, "", false},
		"less than the empty text": {brokenLibrary{[]uint32{2}, []uint32{0}}, special, "text", false},
		"only the special tokens":  {brokenLibrary{[]uint32{2, 3}, []uint32{0, 0}}, special, "\u0301", true},
		"no special, no text":      {brokenLibrary{}, none, " \u200b\ufffd\u0301", true},
		"no special, a text":       {brokenLibrary{}, none, " .", false},
		"no type ids":              {brokenLibrary{[]uint32{2, 3}, nil}, special, "text", false},
		"an id over 31 bits":       {brokenLibrary{[]uint32{2, 1 << 31}, []uint32{0, 0}}, special, "text", false},
		"a type id over 31 bits":   {brokenLibrary{[]uint32{2, 3}, []uint32{0, 1 << 31}}, special, "text", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := (&Tokenizer{lib: tt.lib, spec: tt.spec}).Encode(t.Context(), tt.text)
			if tt.ok {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, ErrEncode)
			}
		})
	}
	tok := &Tokenizer{lib: brokenLibrary{[]uint32{2}, []uint32{0}}, spec: special}
	require.ErrorIs(t, tok.probe(), ErrBadTokenizer, "special tokens that are not the file's")
}

func TestTokenizerFromManyGoroutines(t *testing.T) {
	tok := openTestTokenizer(t, nil)
	texts := []string{"hello", "world", "hello worlds", "", "a [SEP] é", strings.Repeat("hello ", 300)}
	var want [][]int32
	for _, text := range texts {
		want = append(want, encode(t, tok, text))
	}
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 20 {
				n := (g + i) % len(texts)
				e, err := tok.Encode(t.Context(), texts[n])
				assert.NoError(t, err)
				assert.Equal(t, want[n], e.IDs)
			}
		}()
	}
	wg.Wait()
}

func TestTokenizerClosed(t *testing.T) {
	tok := openTestTokenizer(t, nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				if _, err := tok.Encode(t.Context(), "hello"); err != nil {
					assert.ErrorIs(t, err, ErrClosed)
					return
				}
			}
		}()
	}
	require.NoError(t, tok.Close())
	wg.Wait()
	require.NoError(t, tok.Close(), "closed twice")
	_, err := tok.PromptLength("hello", 100)
	require.ErrorIs(t, err, ErrClosed)
}

func TestNoTokenizer(t *testing.T) {
	for _, name := range slowTokenizers {
		m, err := Open(modelFiles(t, map[string]string{"tokenizer.json": "", name: "x", "config.json": `{"model_type":"roberta","hidden_size":4}`, "tokenizer_config.json": ""}))
		require.NoError(t, err)
		_, err = OpenTokenizer(m)
		require.ErrorIs(t, err, ErrUnsupported)
		assert.ErrorContains(t, err, name)
		assert.ErrorContains(t, err, "AutoTokenizer")
		require.NoError(t, m.Close())
	}
	m, err := Open(modelFiles(t, map[string]string{"tokenizer.json": ""}))
	require.NoError(t, err)
	defer m.Close()
	_, err = OpenTokenizer(m)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestRealTokenizer(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("testdata", "minilm_ids.json"))
	require.NoError(t, err)
	var golden struct {
		Texts []string  `json:"texts"`
		IDs   [][]int32 `json:"ids"`
	}
	require.NoError(t, json.Unmarshal(data, &golden))
	require.Len(t, golden.IDs, len(golden.Texts))
	m, err := Open(realModel(t))
	require.NoError(t, err)
	defer m.Close()
	tok, err := OpenTokenizer(m)
	require.NoError(t, err)
	defer tok.Close()
	assert.Equal(t, 30522, tok.VocabSize())
	for i, text := range golden.Texts {
		e, err := tok.Encode(t.Context(), text)
		require.NoError(t, err)
		e, err = tok.Truncate(e, m.MaxSeqLength)
		require.NoError(t, err)
		assert.Equal(t, golden.IDs[i], e.IDs, "%.60q", text)
	}
}

func BenchmarkEncode(b *testing.B) {
	m, err := Open(realModel(b))
	require.NoError(b, err)
	defer m.Close()
	tok, err := OpenTokenizer(m)
	require.NoError(b, err)
	defer tok.Close()
	text := strings.Repeat("The quick brown fox jumps over the lazy dog, and runs away from it. ", 8)
	n := len(encode(b, tok, text))
	for b.Loop() {
		_, _ = tok.Encode(b.Context(), text)
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}
