package loader

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzCharsmap gives the library every character map that the check accepts, with
// texts that walk all over its trie.
func FuzzCharsmap(f *testing.F) {
	data, err := base64.StdEncoding.DecodeString(charsmap(f))
	require.NoError(f, err)
	f.Add(data, "Ａﬁ①\u200b\u3000é e\u0301")
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		document := `{"version":"1.0","added_tokens":[],"normalizer":{"type":"Precompiled","precompiled_charsmap":"` + base64.StdEncoding.EncodeToString(data) + `"},` +
			`"model":{"type":"WordLevel","unk_token":"<unk>","vocab":{"<unk>":0,"a":1}}}`
		encodeChecked(t, document, text)
	})
}

// FuzzPostProcessor checks the special tokens and the pair that are read of a
// post-processor against what the library makes of it.
func FuzzPostProcessor(f *testing.F) {
	f.Add(`{"type":"BertProcessing","sep":["b",2],"cls":["a",1]}`)
	f.Add(`{"type":"RobertaProcessing","sep":["b",2],"cls":["a",1],"trim_offsets":true,"add_prefix_space":false}`)
	f.Add(`{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"a","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},` +
		`{"SpecialToken":{"id":"a","type_id":1}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"a":{"id":"a","ids":[1,2],"tokens":["a","b"]}}}`)
	f.Add(`{"type":"Sequence","processors":[{"type":"ByteLevel","trim_offsets":true,"add_prefix_space":true,"use_regex":true},{"type":"BertProcessing","sep":["b",2],"cls":["a",1]}]}`)
	f.Fuzz(func(t *testing.T, processor string) {
		if strings.Contains(processor, `"post_processor"`) {
			return // of the document, not of the processor
		}
		encodeChecked(t, strings.Replace(wordLevel, `"pre_tokenizer"`, `"post_processor":`+processor+`,"pre_tokenizer"`, 1), "a b")
	})
}

// encodeChecked opens a tokenizer.json, if the check accepts it, and encodes a
// text and a pair with it.
func encodeChecked(t *testing.T, document, text string) {
	spec, err := checkTokenizer(tokenizerFileName, []byte(document), tokenizerOptions{})
	if err != nil {
		require.True(t, isAny(err, ErrBadTokenizer, ErrUnsupported), "%v", err)
		return
	}
	tok, err := newTokenizer(spec)
	if err != nil {
		require.ErrorIs(t, err, ErrBadTokenizer)
		return
	}
	for _, text := range []string{"", text, text + " a\x00", "\u3000 e\u0301 " + text} {
		e, err := tok.Encode(t.Context(), text)
		if err != nil {
			require.ErrorIs(t, err, ErrEncode)
			continue
		}
		require.LessOrEqual(t, e.Prefix+e.Suffix, len(e.IDs))
		for _, id := range e.IDs {
			assert.Less(t, int(id), tok.VocabSize())
		}
	}
	if pair, err := tok.EncodePair(t.Context(), text, "b", 0); err == nil {
		require.Len(t, pair.TypeIDs, len(pair.IDs))
	} else {
		require.ErrorIs(t, err, ErrEncode)
	}
	require.NoError(t, tok.Close())
}

func FuzzFrontMatter(f *testing.F) {
	f.Add("---\nlicense: apache-2.0\ntags:\n- a\n---\n# Model")
	f.Add("---\r\nlicense:\r\n- mit\r\n- 'x' # y\r\nlicense_name: [a, \"b\"]\r\n---")
	f.Fuzz(func(t *testing.T, card string) {
		licence := frontMatterLicence(card)
		require.NotContains(t, licence, "\n")
		require.True(t, utf8.ValidString(licence))
		require.LessOrEqual(t, len(licence), len(card)+3*strings.Count(card, "\n")+8)
	})
}
