package loader

import (
	"encoding/base64"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const wordPiece = `{"version":"1.0",
"truncation":{"max_length":3,"strategy":"LongestFirst","stride":0,"direction":"Right"},
"padding":{"strategy":{"Fixed":128},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"[PAD]"},
"added_tokens":[
 {"id":1,"content":"[UNK]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
 {"id":3,"content":"[SEP]","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
 {"id":8,"content":"extra","single_word":false,"lstrip":false,"rstrip":false,"normalized":true,"special":false}],
"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
"pre_tokenizer":{"type":"BertPreTokenizer"},
"post_processor":{"type":"TemplateProcessing",
 "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],
 "pair":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}},{"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"[SEP]","type_id":1}}],
 "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[2],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[3],"tokens":["[SEP]"]}}},
"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
 "vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"hello":4,"world":5,"##s":6,"a":7}}}`

const byteBPE = `{"version":"1.0","added_tokens":[
 {"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
 {"id":1,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"post_processor":{"type":"RobertaProcessing","sep":["</s>",1],"cls":["<s>",0],"trim_offsets":true,"add_prefix_space":false},
"model":{"type":"BPE","dropout":null,"unk_token":"<unk>","continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":true,"byte_fallback":false,
 "vocab":{"<s>":0,"</s>":1,"<unk>":2,"a":3,"b":4,"ab":5,"Ġ":6},"merges":["#version: 0.2","a b"]}}`

const wordLevel = `{"version":"1.0","added_tokens":[],"pre_tokenizer":{"type":"Whitespace"},
"model":{"type":"WordLevel","unk_token":"<unk>","vocab":{"<unk>":0,"a":1,"b":2}}}`

// charsmap is a small character map that SentencePiece made: full-width Ａ and Ｂ,
// ①, ﬁ, U+200B, U+3000 and é.
func charsmap(t testing.TB) string {
	data, err := os.ReadFile(filepath.Join("testdata", "charsmap.b64"))
	require.NoError(t, err)
	return strings.TrimSpace(string(data))
}

func unigram(t testing.TB) string {
	return `{"version":"1.0","added_tokens":[
 {"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":{"type":"Sequence","normalizers":[{"type":"Precompiled","precompiled_charsmap":"` + charsmap(t) + `"},{"type":"Replace","pattern":{"Regex":" {2,}"},"content":" "}]},
"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"</s>","type_id":0}}],
 "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":0}}],
 "special_tokens":{"<s>":{"id":"<s>","ids":[0],"tokens":["<s>"]},"</s>":{"id":"</s>","ids":[2],"tokens":["</s>"]}}},
"model":{"type":"Unigram","unk_id":3,"byte_fallback":false,"vocab":[["<s>",0.0],["<pad>",0.0],["</s>",0.0],["<unk>",0.0],["▁",-1],["f",-2.5],["i",-2e0],["A",-3]]}}`
}

// TestCraftedTokenizers feeds the library what the check lets through, so that a
// file that it should have refused takes the test down.
func TestCraftedTokenizers(t *testing.T) {
	uni := unigram(t)
	tests := map[string]struct{ base, old, new, says string }{
		"not JSON":                     {wordPiece, `{"version"`, `"version"`, "object"},
		"deep":                         {wordPiece, `"pre_tokenizer":`, `"x":` + strings.Repeat("[", 1_000_000) + `,"pre_tokenizer":`, "nested too deeply"},
		"deep decoder":                 {wordPiece, `"decoder":{`, `"decoder":{"d":` + strings.Repeat(`{"d":`, 200) + `1` + strings.Repeat("}", 200) + `,`, "nested too deeply"},
		"duplicate model":              {wordPiece, `"decoder":`, `"model":null,"decoder":`, `duplicate key "model"`},
		"another version":              {wordPiece, `"1.0"`, `"2.0"`, "version"},
		"no model":                     {wordPiece, `"model":`, `"modle":`, "model: want an object"},
		"unknown model":                {wordPiece, `"type":"WordPiece","unk`, `"type":"Magic","unk`, "want one of BPE, Unigram, WordLevel, WordPiece"},
		"empty vocabulary":             {wordLevel, `{"<unk>":0,"a":1,"b":2}`, `{}`, "vocab: empty"},
		"vocabulary a list":            {wordPiece, `"vocab":{`, `"vocab":[],"x":{`, "vocab"},
		"huge id":                      {wordPiece, `"world":5`, `"world":4294967295`, `token "world": want an id below`},
		"id over 32 bits":              {wordPiece, `"world":5`, `"world":4294967296`, "want an id below"},
		"negative id":                  {wordPiece, `"world":5`, `"world":-1`, "want an id below"},
		"fractional id":                {wordPiece, `"world":5`, `"world":5.5`, "want an id below"},
		"id as text":                   {wordPiece, `"world":5`, `"world":"5"`, "want a number"},
		"duplicate token":              {wordPiece, `"world":5`, `"hello":5`, `token "hello": twice`},
		"long token":                   {wordPiece, `"world":5`, `"` + strings.Repeat("w", 2000) + `":5`, "want at most 1024 bytes"},
		"unk_token missing":            {wordPiece, `"unk_token":"[UNK]"`, `"unk_token":"[NO]"`, `unk_token: want a token of the vocabulary, got "[NO]"`},
		"quadratic words":              {wordPiece, `"max_input_chars_per_word":100`, `"max_input_chars_per_word":1000000000`, "max_input_chars_per_word"},
		"NUL in a setting":             {wordPiece, `"continuing_subword_prefix":"##"`, `"continuing_subword_prefix":"#\u0000"`, "U+0000"},
		"merge of nothing known":       {byteBPE, `"a b"`, `"x y"`, `merge 1: "x" is not in the vocabulary`},
		"merge makes nothing known":    {byteBPE, `"a b"`, `"b a"`, `merge 1: "ba" is not in the vocabulary`},
		"merge of one":                 {byteBPE, `"a b"`, `"ab"`, "want two tokens"},
		"merge of three":               {byteBPE, `"a b"`, `"a b b"`, "want two tokens"},
		"merge of three in a list":     {byteBPE, `"#version: 0.2","a b"`, `["a","b","b"]`, "want two tokens"},
		"merges of two kinds":          {byteBPE, `"#version: 0.2","a b"`, `"a b",["a","b"]`, "some are strings"},
		"merge shorter than prefix":    {byteBPE, `"continuing_subword_prefix":null`, `"continuing_subword_prefix":"####"`, "to begin with"},
		"no merges":                    {byteBPE, `"merges":`, `"nerges":`, "merges: want a list"},
		"dropout":                      {byteBPE, `"dropout":null`, `"dropout":0.1`, "dropout: want a number of 0 to 0"},
		"unk_id too large":             {uni, `"unk_id":3`, `"unk_id":8`, "unk_id: want less than the 8 pieces"},
		"unk_id negative":              {uni, `"unk_id":3`, `"unk_id":-1`, "unk_id"},
		"piece without score":          {uni, `["f",-2.5]`, `["f"]`, "want [token, score]"},
		"infinite score":               {uni, `["f",-2.5]`, `["f",-1e999]`, "out of range"},
		"added token, other id":        {wordPiece, `"id":8`, `"id":7`, `"extra": want id 8, got 7`},
		"added token, known":           {wordPiece, `"id":3`, `"id":4`, `"[SEP]": want id 3, got 4`},
		"added token, huge id":         {wordPiece, `"id":8`, `"id":4000000000`, "id"},
		"added token, empty":           {wordPiece, `"content":"extra"`, `"content":""`, "want 1 to 256 bytes"},
		"added token, long":            {wordPiece, `"content":"extra"`, `"content":"` + strings.Repeat("x", 300) + `"`, "want 1 to 256 bytes"},
		"added token, NUL":             {wordPiece, `"content":"extra"`, `"content":"e\u0000"`, "want 1 to 256 bytes"},
		"added token, no flag":         {wordPiece, `"lstrip":false,`, ``, "lstrip"},
		"added tokens an object":       {wordLevel, `"added_tokens":[]`, `"added_tokens":{}`, "added_tokens"},
		"unknown normalizer":           {wordPiece, `"BertNormalizer"`, `"Magic"`, `"Magic"; supported are`},
		"normalizer, NUL in type":      {wordPiece, `"BertNormalizer"`, `"a\u0000"`, "U+0000"},
		"normalizer a list":            {wordLevel, `"added_tokens":[]`, `"normalizer":[]`, "normalizer: want an object"},
		"nested sequences":             {wordLevel, `"added_tokens":[]`, `"normalizer":` + strings.Repeat(`{"type":"Sequence","normalizers":[`, 5) + strings.Repeat(`]}`, 5), "nested at most"},
		"unknown pre-tokenizer":        {wordPiece, `"BertPreTokenizer"`, `"Magic"`, `"Magic"; supported are`},
		"pieces of length 0":           {wordLevel, `{"type":"Whitespace"}`, `{"type":"FixedLength","length":0}`, "length"},
		"unrolled regex":               {wordLevel, `{"type":"Whitespace"}`, `{"type":"Split","pattern":{"Regex":"((a{900}){900}){900}"},"behavior":"Isolated","invert":false}`, "counted repeats"},
		"long regex":                   {wordLevel, `{"type":"Whitespace"}`, `{"type":"Split","pattern":{"Regex":"` + strings.Repeat("(", 3000) + `"},"behavior":"Isolated","invert":false}`, "want 1 to 2048 bytes"},
		"regex with NUL":               {wordLevel, `{"type":"Whitespace"}`, `{"type":"Split","pattern":{"Regex":"\\k<\u0000>"},"behavior":"Isolated","invert":false}`, "U+0000"},
		"replacing makes long":         {wordLevel, `"added_tokens":[]`, `"normalizer":{"type":"Sequence","normalizers":[{"type":"Replace","pattern":{"String":"a"},"content":"` + strings.Repeat("a", 100) + `"},{"type":"Replace","pattern":{"String":"a"},"content":"` + strings.Repeat("a", 100) + `"}]}`, "times longer"},
		"slow regex on an added token": {strings.Replace(wordPiece, `"extra"`, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"`, 1), `{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true}`, `{"type":"Replace","pattern":{"Regex":"(a+)+$"},"content":"b"}`, "normalizing the added token"},
		"template without a text":      {wordPiece, `{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],`, `{"SpecialToken":{"id":"[SEP]","type_id":0}}],`, "want the sequences A"},
		"template with B alone":        {wordPiece, `{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],`, `{"Sequence":{"id":"B","type_id":0}}],`, "want the sequences A"},
		"template, unknown token":      {wordPiece, `"special_tokens":{"[CLS]":`, `"special_tokens":{"[XXX]":`, `"[CLS]" is not in special_tokens`},
		"template, ids and tokens":     {wordPiece, `"ids":[2],"tokens":["[CLS]"]`, `"ids":[2,2],"tokens":["[CLS]"]`, "2 ids and 1 tokens"},
		"template, huge id":            {wordPiece, `"ids":[2]`, `"ids":[4294967295]`, "ids"},
		"template, id not there":       {wordPiece, `"ids":[2]`, `"ids":[99]`, "99 is not one of the 9 ids"},
		"template, type id":            {wordPiece, `{"id":"[CLS]","type_id":0}`, `{"id":"[CLS]","type_id":4294967295}`, "type_id"},
		"unknown post-processor":       {wordPiece, `"TemplateProcessing"`, `"Magic"`, `"Magic"; supported are`},
		"two post-processors":          {byteBPE, `{"type":"RobertaProcessing","sep":["</s>",1],"cls":["<s>",0],"trim_offsets":true,"add_prefix_space":false}`, `{"type":"Sequence","processors":[{"type":"BertProcessing","sep":["</s>",1],"cls":["<s>",0]},{"type":"BertProcessing","sep":["</s>",1],"cls":["<s>",0]}]}`, "a second processor"},
		"charsmap not base64":          {uni, charsmap(t), "!!!!", "illegal base64"},
		"charsmap too short":           {uni, charsmap(t), "AAA=", "at least 4 bytes"},
		"charsmap of 4 GB":             {uni, charsmap(t), base64.StdEncoding.EncodeToString([]byte{0xfc, 0xff, 0xff, 0xff, 0, 0, 0, 0}), "trie of 4294967292 bytes"},
		"charsmap without trie":        {uni, charsmap(t), "AAAAAA==", "trie of 0 bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, tt.base, tt.old, "the text to change")
			m, err := Open(modelFiles(t, map[string]string{"tokenizer.json": strings.Replace(tt.base, tt.old, tt.new, 1)}))
			require.NoError(t, err)
			defer m.Close()
			tok, err := OpenTokenizer(m)
			if err == nil {
				require.NoError(t, tok.Close())
			}
			require.Error(t, err)
			assert.True(t, isAny(err, ErrBadTokenizer, ErrUnsupported), "%v", err)
			assert.ErrorContains(t, err, tt.says)
			assert.ErrorContains(t, err, "tokenizer.json")
		})
	}
	assert.Equal(t, "[CLS] hello [SEP]", words(t, openTestTokenizer(t, nil), "hello"), "the next good one loads")
}

func TestCharsmapWithSteps(t *testing.T) {
	good, err := base64.StdEncoding.DecodeString(charsmap(t))
	require.NoError(t, err)
	check := func(data []byte) error {
		c := testConfig(t, `{"precompiled_charsmap":"`+base64.StdEncoding.EncodeToString(data)+`"}`)
		return checkPrecompiled(nil, c)
	}
	require.NoError(t, check(good))
	// Whatever unit leads out of the trie, or has its replacement behind the texts.
	for at := 4; at < 4+1024; at += 4 {
		bad := append([]byte{}, good...)
		u := binary.LittleEndian.Uint32(bad[at:])
		binary.LittleEndian.PutUint32(bad[at:], u&0x3ff|300<<10)
		if u>>31 == 0 || at == 4 {
			require.Error(t, check(bad), "unit %d", at/4-1)
			continue
		}
		binary.LittleEndian.PutUint32(bad[at:], 1<<31|5000)
		require.Error(t, check(bad), "value %d", at/4-1)
	}
	require.Error(t, check(append(append([]byte{}, good...), 0xff)), "not UTF-8")
	require.Error(t, check(good[:len(good)-20]), "cut")
}

func TestValidUTF8(t *testing.T) {
	// As Python's bytes.decode("utf-8", "replace").
	for in, want := range map[string]string{
		"":                             "",
		"añ😀":                          "añ😀",
		"\xff":                         "\ufffd",
		"\xff\xfe":                     "\ufffd\ufffd",
		"\x80a":                        "\ufffda",
		"\xe2\x82":                     "\ufffd",
		"\xe2\x82a":                    "\ufffda",
		"\xe2a":                        "\ufffda",
		"\xf0\x9f\x98":                 "\ufffd",
		"\xf0\x9f\x98\xf0\x9f\x98\x80": "\ufffd😀",
		"\xf0\x80\x80\x80":             "\ufffd\ufffd\ufffd\ufffd",
		"\xf4\x90\x80\x80":             "\ufffd\ufffd\ufffd\ufffd",
		"\xed\xa0\x80":                 "\ufffd\ufffd\ufffd",
		"\xe0\x80\x80":                 "\ufffd\ufffd\ufffd",
		"\xc0\x80":                     "\ufffd\ufffd",
		"\xc2":                         "\ufffd",
		"\xf5\x80":                     "\ufffd\ufffd",
		"\ufffd\xff":                   "\ufffd\ufffd",
	} {
		assert.Equal(t, want, validUTF8(in), "%q", in)
	}
}
