package loader

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wordPieceDoc is a tokenizer.json with this vocabulary, BERT's special tokens in front.
func wordPieceDoc(t testing.TB, tokens []string, normalizer, added string) []byte {
	vocab := map[string]int{}
	for _, token := range append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]"}, tokens...) {
		if _, known := vocab[token]; !known {
			vocab[token] = len(vocab)
		}
	}
	text, err := json.Marshal(vocab)
	require.NoError(t, err)
	if added == "" {
		added = addedToken(0, "[PAD]", "") + "," + addedToken(1, "[UNK]", "") + "," + addedToken(2, "[CLS]", "") + "," + addedToken(3, "[SEP]", "")
	}
	return []byte(`{"version":"1.0","truncation":null,"padding":null,"added_tokens":[` + added + `],"normalizer":` + normalizer +
		`,"pre_tokenizer":{"type":"BertPreTokenizer"},"post_processor":{"type":"BertProcessing","sep":["[SEP]",3],"cls":["[CLS]",2]},"decoder":null,` +
		`"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":` + string(text) + `}}`)
}

// addedToken has the flags whose names are in the list.
func addedToken(id int, content, flags string) string {
	has := func(flag string) bool { return strings.Contains(flags, flag) }
	text, _ := json.Marshal(content)
	return fmt.Sprintf(`{"id":%d,"content":%s,"single_word":%t,"lstrip":%t,"rstrip":%t,"normalized":%t,"special":%t}`,
		id, text, has("single_word"), has("lstrip"), has("rstrip"), has("normalized"), !has("normalized"))
}

func bertNormalizerJSON(clean, chinese bool, accents string, lower bool) string {
	return fmt.Sprintf(`{"type":"BertNormalizer","clean_text":%t,"handle_chinese_chars":%t,"strip_accents":%s,"lowercase":%t}`, clean, chinese, accents, lower)
}

// bothEncoders opens a tokenizer that the native encoder knows.
func bothEncoders(t testing.TB, doc []byte) *Tokenizer {
	spec, err := checkTokenizer("tokenizer.json", doc, tokenizerOptions{})
	require.NoError(t, err)
	require.NotNil(t, spec.native)
	tok, err := newTokenizer(spec)
	require.NoError(t, err)
	return tok
}

// same compares the two encoders, and returns whether the native one did the text.
func same(t testing.TB, tok *Tokenizer, text string) bool {
	text = validUTF8(text)
	got, ok := tok.native(nil, text, 0)
	if !ok {
		return false
	}
	want, err := tok.encodeByLibrary(t.Context(), text)
	require.NoError(t, err, "%.200q", text)
	if !slices.Equal(want.IDs, got) {
		t.Fatalf("%.300q:\nwant %.300q\ngot  %.300q", text, tok.Tokens(want.IDs), tok.Tokens(got))
	}
	return true
}

// assigned are the characters that there are, less those of private use.
var assigned = sync.OnceValue(func() (all []rune) {
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf) {
			all = append(all, r)
		}
	}
	return all
})

// few leaves most characters of the large scripts out: the library takes a second to load a vocabulary of all.
func few(r rune) bool {
	return r%64 == 0 || !unicode.In(r, unicode.Han, unicode.Hangul, unicode.Tangut)
}

// characterTokens is a vocabulary of characters, in front of a word and inside it, and of some longer pieces.
func characterTokens(with func(rune) bool) (tokens []string) {
	var all []rune
	for _, r := range assigned() {
		if with(r) {
			all = append(all, r)
			tokens = append(tokens, string(r), "##"+string(r))
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		r := all[random.IntN(len(all))]
		word := string(r) + string(r+1) + string(unicode.ToLower(r))
		tokens = append(tokens, word, "##"+word, "ab", "##ab", "abc")
	}
	return tokens
}

// characterEncoders has every character for "uncased", and few for the others.
var characterEncoders sync.Map

func characterEncoder(t testing.TB, name string) (tok *Tokenizer, with func(rune) bool) {
	with = few
	if name == "uncased" {
		with = func(rune) bool { return true }
	}
	if tok, ok := characterEncoders.Load(name); ok {
		return tok.(*Tokenizer), with
	}
	tok = bothEncoders(t, wordPieceDoc(t, characterTokens(with), wordPieceNormalizers[name], ""))
	characterEncoders.Store(name, tok)
	return tok, with
}

var wordPieceNormalizers = map[string]string{
	"uncased":     bertNormalizerJSON(true, true, "null", true),
	"cased":       bertNormalizerJSON(true, true, "null", false),
	"lower first": `{"type":"Sequence","normalizers":[{"type":"Lowercase"},` + bertNormalizerJSON(true, false, "true", false) + `]}`,
	"accents":     bertNormalizerJSON(false, true, "true", false),
	"lower":       bertNormalizerJSON(false, false, "false", true),
	"none":        "null",
}

// TestEveryCharacter: each character alone between letters, so that all that the two stages do to it is seen.
func TestEveryCharacter(t *testing.T) {
	for name := range wordPieceNormalizers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok, with := characterEncoder(t, name)
			text, left := "", 0
			for i, r := range assigned() {
				if one := "a" + string(r) + "b "; with(r) && uncertain(r) {
					if !same(t, tok, one) {
						left++
					}
				} else if with(r) {
					text += one
				}
				if i%256 == 0 || i == len(assigned())-1 {
					require.True(t, same(t, tok, text), "%q", text)
					text = ""
				}
			}
			if strings.Contains(wordPieceNormalizers[name], `"strip_accents":false`) || name == "none" {
				assert.Zero(t, left)
			}
			for r := rune(1); r <= unicode.MaxRune; r += 61 { // and of the others enough
				same(t, tok, "a"+string(r)+"b")
			}
		})
	}
}

// uncertain says that a character falls apart into several whose order could change: those of music.
func uncertain(r rune) bool { return 0x1d15e <= r && r <= 0x1d1c0 }

// randomText mixes characters of a few blocks with what is hard to split.
func randomText(random *rand.Rand) string {
	hard := []string{" ", " ", "  ", "\n", "\t\r", "\u00a0", "\u3000", "\u2028", "\x00", "\xff", "\xe2\x82", "[SEP]", "[CLS]", "[sep]", "[PAD] ", "[", "]", "##", "##a", "a", "abc", "ab",
		"\u0301", "\u0345\u0301", "\u0334", "\u302e", "\u1b44", "\U0001d165", "\u0e3a", "\u200d", "\ufe0f", "\U0001f468\u200d\U0001f469", "\U0001f1e9\U0001f1ea", "İ", "ß", "ẞ", "ς", "Σ", "한", "힣", "각", "漢",
		"\uf900", "\U0002f800", "≠", "Å", "ﬁ", "…", "。", "-", "_", "don't", "E=mc²", "\ufffd", "\u0000", "\u180e", strings.Repeat("x", 99), strings.Repeat("é", 101)}
	var blocks []rune
	for range 1 + random.IntN(3) {
		blocks = append(blocks, assigned()[random.IntN(len(assigned()))])
	}
	var b strings.Builder
	for range random.IntN(40) {
		switch random.IntN(4) {
		case 0:
			b.WriteString(hard[random.IntN(len(hard))])
		case 1:
			b.WriteRune('A' + rune(random.IntN(58)))
		default:
			b.WriteRune(blocks[random.IntN(len(blocks))]&^0x7f + rune(random.IntN(128)))
		}
	}
	return b.String()
}

func TestWordPieceTexts(t *testing.T) {
	for name := range wordPieceNormalizers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok, _ := characterEncoder(t, name)
			random := rand.New(rand.NewPCG(1, 2))
			const texts = 4000
			left := 0
			for range texts {
				if !same(t, tok, randomText(random)) {
					left++
				}
			}
			assert.Less(t, left, texts/3, "texts with characters that are not assigned, or whose order matters, are the library's")
			for _, text := range []string{"", " ", "\x00", "\u0301", strings.Repeat("a", 1<<20), strings.Repeat("ab ", 1<<16), strings.Repeat("\u0301", 1<<16), strings.Repeat("한", 1<<14)} {
				require.True(t, same(t, tok, text), "%.20q", text)
			}
		})
	}
}

// addedWordPieces have every flag, and contain one another.
var addedWordPieces = strings.Join([]string{
	addedToken(0, "[PAD]", ""), addedToken(1, "[UNK]", ""), addedToken(2, "[CLS]", "rstrip"), addedToken(3, "[SEP]", "lstrip"),
	addedToken(4, "ab", "single_word"), addedToken(5, "abc", "single_word rstrip"), addedToken(6, "[X", ""), addedToken(7, "[X]", "lstrip rstrip"), addedToken(8, "  ", ""),
	addedToken(9, "Éa", "normalized"), addedToken(10, "b É", "normalized lstrip"), addedToken(11, "ba", "normalized single_word"), addedToken(12, "漢", "normalized rstrip"),
}, ",")

func addedVocabulary() []string {
	tokens := []string{"ab", "abc", "[X", "[X]", "  ", "Éa", "b É", "ba", "漢", "a", "b", "c", "x", "e", "é", "[", "]", "_", "##a", "##b", "##c", "##e", "##é", "##_", "."}
	return append(tokens, "##ab", "ca")
}

func TestWordPieceAddedTokens(t *testing.T) {
	parts := []string{"a", "b", "c", "ab", "abc", "ba", "[X", "[X]", "[SEP]", "[CLS]", "é", "É", "e", "E", " ", " ", "  ", "\u00a0", "_", ".", "漢", "\u0301", "[", "x", "\n", "\x00"}
	for name, normalizer := range wordPieceNormalizers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tok := bothEncoders(t, wordPieceDoc(t, addedVocabulary(), normalizer, addedWordPieces))
			random := rand.New(rand.NewPCG(3, 4))
			const texts = 10_000
			left := 0
			for range texts {
				var b strings.Builder
				for range random.IntN(12) {
					b.WriteString(parts[random.IntN(len(parts))])
				}
				if !same(t, tok, b.String()) {
					left++
				}
			}
			assert.Less(t, left, texts/2)
		})
	}
}

// TestWordPieceLimit: cut off early is cut off as afterwards.
func TestWordPieceLimit(t *testing.T) {
	tok := bothEncoders(t, wordPieceDoc(t, characterTokens(few), wordPieceNormalizers["uncased"], ""))
	random := rand.New(rand.NewPCG(7, 8))
	for range 2000 {
		text := randomText(random)
		full, err := tok.Encode(t.Context(), text)
		require.NoError(t, err)
		for _, left := range []bool{false, true} {
			tok.fromLeft = left
			limit := 2 + random.IntN(12)
			want, err := tok.Truncate(full, limit)
			require.NoError(t, err)
			got, types, err := tok.Append(t.Context(), []int32{7}, text, limit)
			require.NoError(t, err)
			require.Equal(t, append([]int32{7}, want.IDs...), got, "%q", text)
			require.Nil(t, types)
		}
	}
	_, _, err := tok.Append(t.Context(), nil, "a", 1)
	require.ErrorIs(t, err, ErrEncode)
}

// TestWordPieceKnowsTheFile: a key that the native encoder does not know leaves the file to the library.
func TestWordPieceKnowsTheFile(t *testing.T) {
	good := string(wordPieceDoc(t, []string{"a"}, wordPieceNormalizers["uncased"], ""))
	for name, change := range map[string][2]string{
		"a part":              {`"decoder":null`, `"decoder":null,"more":1`},
		"a key of the model":  {`"unk_token"`, `"more":1,"unk_token"`},
		"of the normalizer":   {`"clean_text"`, `"more":1,"clean_text"`},
		"of a token":          {`"special":true`, `"special":true,"more":1`},
		"of the pretokenizer": {`"type":"BertPreTokenizer"`, `"type":"BertPreTokenizer","more":1`},
		"a pretokenizer":      {`{"type":"BertPreTokenizer"}`, `{"type":"Whitespace"}`},
		"none":                {`{"type":"BertPreTokenizer"}`, `null`},
		"a normalizer":        {`"type":"BertNormalizer"`, `"type":"NFC"`},
		"a token twice":       {`"added_tokens":[`, `"added_tokens":[` + addedToken(3, "[SEP]", "lstrip") + `,`},
		"a token of nothing":  {`"added_tokens":[`, `"added_tokens":[` + addedToken(5, "\u0301", "normalized") + `,`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(good, change[0], change[1], 1)
			require.NotEqual(t, good, changed)
			spec, err := checkTokenizer("tokenizer.json", []byte(changed), tokenizerOptions{})
			require.NoError(t, err)
			assert.Nil(t, spec.native)
		})
	}
	spec, err := checkTokenizer("tokenizer.json", []byte(good), tokenizerOptions{lowerCase: true, bert: &bertOptions{lowerCase: true, stripAccents: "null"}})
	require.NoError(t, err)
	assert.NotNil(t, spec.native)
}

func FuzzWordPiece(f *testing.F) {
	random := rand.New(rand.NewPCG(9, 10))
	for i := range 8 {
		f.Add(randomText(random), uint8(i))
	}
	type key struct {
		normalizer string
		added      bool
	}
	names := slices.Sorted(maps.Keys(wordPieceNormalizers))
	encoders := map[key]*Tokenizer{}
	f.Fuzz(func(t *testing.T, text string, config uint8) {
		k := key{normalizer: wordPieceNormalizers[names[int(config>>1)%len(names)]], added: config&1 != 0}
		tok := encoders[k]
		if tok == nil {
			tokens, added := addedVocabulary(), ""
			if k.added {
				added = addedWordPieces
			} else {
				tokens = characterTokens(few)
			}
			spec, err := checkTokenizer("tokenizer.json", wordPieceDoc(t, tokens, k.normalizer, added), tokenizerOptions{})
			require.NoError(t, err)
			require.NotNil(t, spec.native)
			tok, err = newTokenizer(spec)
			require.NoError(t, err)
			encoders[k] = tok
		}
		if len(text) > 4096 {
			return
		}
		if same(t, tok, text) && utf8.ValidString(text) {
			e, err := tok.Encode(t.Context(), text)
			require.NoError(t, err)
			require.Len(t, e.TypeIDs, len(e.IDs))
		}
	})
}

// realTexts are English sentences of some thirty tokens.
func realTexts() (texts []string) {
	words := strings.Fields("the quick brown fox embeddings of sentences are computed on a graphics card, and tokenization has to keep pace with it; internationalization matters too (in 2024) says Dr. Müller")
	random := rand.New(rand.NewPCG(1, 1))
	for range 256 {
		var b strings.Builder
		for range 24 {
			b.WriteString(words[random.IntN(len(words))] + " ")
		}
		texts = append(texts, b.String())
	}
	return texts
}

// BenchmarkWordPiece encodes with the vocabulary of all-MiniLM-L6-v2 in one goroutine, natively and by the library.
func BenchmarkWordPiece(b *testing.B) {
	m, err := Open(realModel(b))
	require.NoError(b, err)
	defer m.Close()
	tok, err := OpenTokenizer(m)
	require.NoError(b, err)
	defer tok.Close()
	require.NotNil(b, tok.spec.native)
	texts := realTexts()
	rate := func(b *testing.B, encode func(text string) int) {
		b.ReportAllocs()
		tokens := 0
		for i := 0; b.Loop(); i++ {
			tokens += encode(texts[i%len(texts)])
		}
		b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
	}
	b.Run("native", func(b *testing.B) {
		var ids []int32
		rate(b, func(text string) int {
			ids, _ = tok.native(ids[:0], text, 0)
			return len(ids)
		})
	})
	b.Run("library", func(b *testing.B) {
		rate(b, func(text string) int {
			e, _ := tok.encodeByLibrary(b.Context(), text)
			return len(e.IDs)
		})
	})
}
