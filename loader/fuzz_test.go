package loader

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each target holds a parser to three promises: it never panics, an error is one
// of this package's, and what it accepts can be used.

func FuzzSafetensorsHeader(f *testing.F) {
	f.Add(rawFile(oneTensor, make([]byte, 8)))
	f.Add(rawFile(`{}`, nil))
	f.Add(rawFile(`{"__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]},"b":{"dtype":"I64","shape":[],"data_offsets":[4,12]}}`, make([]byte, 12)))
	f.Fuzz(func(t *testing.T, file []byte) {
		tensors, _, _, err := readHeader(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			require.True(t, isAny(err, ErrBadHeader, ErrTruncated), "%v", err)
			return
		}
		slices.SortFunc(tensors, func(a, b Tensor) int { return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.bytes, b.bytes)) })
		at := headerLenBytes + int64(binary.LittleEndian.Uint64(file))
		for _, tensor := range tensors { // back to back, to the end of the file
			require.Equal(t, at, tensor.offset)
			at += tensor.bytes
		}
		require.EqualValues(t, at, len(file))
	})
}

func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata":{"total_size":8},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}`))
	f.Add([]byte(`{"weight_map":{"a":"../x.safetensors"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		shards, owner, err := parseIndex(data)
		if err != nil {
			require.ErrorIs(t, err, ErrBadHeader)
			return
		}
		for _, shard := range shards {
			require.NotContains(t, strings.Split(shard, "/"), "..")
			require.False(t, strings.HasPrefix(shard, "/") || strings.ContainsAny(shard, "\\:"), shard)
		}
		for tensor, shard := range owner {
			require.Less(t, shard, len(shards), tensor)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(bertConfig))
	f.Add([]byte(`{"word_embedding_dimension":384,"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":false}`))
	f.Add([]byte(`{"embedding_dimension":384,"pooling_mode":["cls","max"],"include_prompt":false}`))
	f.Add([]byte(`{"in_features":4,"out_features":2,"bias":true,"activation_function":"torch.nn.modules.activation.Tanh"}`))
	f.Add([]byte(`{"max_seq_length":256,"do_lower_case":false,"processor_kwargs":{"model_max_length":1e30}}`))
	f.Add([]byte(`{"skiplist_words":[".",","],"skiplist_tasks":"query","keep_only_token_ids":[1,2],"query_expansion":{"strategy":"min","length":32,"attend":true,"token":null}}`))
	f.Add([]byte(`{"query_prefix":"[Q] ","document_length":300,"attend_to_expansion_tokens":false,"do_query_expansion":true,"query_length":32}`))
	f.Add([]byte(`{"id2label":{"1":"no","0":"yes"},"architectures":["BertForSequenceClassification"],"sentence_transformers":{"activation_fn":"torch.nn.modules.activation.Sigmoid"}}`))
	f.Add([]byte(`{"pooling_strategy":"sum","activation_function":"log1p_relu","model_type":"SparseEncoder"}`))
	f.Add([]byte(`{"auto_map":{"AutoModel":"a.B","AutoTokenizer":[null,"c.D"]},"dtype":"float32"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig("config.json", data)
		if err != nil {
			require.ErrorIs(t, err, ErrBadConfig)
			return
		}
		ours := func(err error) {
			require.True(t, err == nil || isAny(err, ErrBadConfig, ErrUnsupported), "%v", err)
		}
		p, err := parsePooling(c)
		ours(err)
		if err == nil {
			require.NotEmpty(t, p.Modes)
			require.Positive(t, p.Dim)
		}
		d, err := (&opener{kind: KindEmbedding}).parseDense(c)
		ours(err)
		if err == nil {
			require.Positive(t, d.In*d.Out)
			require.NotEmpty(t, d.Activation)
		}
		n, err := maxSeqLength(c, c, c)
		ours(err)
		require.GreaterOrEqual(t, n, 0)
		ours(refuseTransformerOptions(c, KindEmbedding))
		mask, err := parseMask(c)
		ours(err)
		if err == nil {
			require.NotNil(t, mask.SkipTasks)
		}
		v, err := readMultiVector(c, c)
		ours(err)
		if err == nil && v.Expansion != nil {
			require.Positive(t, v.Expansion.Length)
			require.LessOrEqual(t, v.Expansion.Length, maxExpansion)
		}
		splade, err := parseSplade(c)
		ours(err)
		require.True(t, err != nil || splade.Pool == SpladeMax || splade.Pool == SpladeSum)
		e, err := readCrossEncoder(c, c)
		ours(err)
		if err == nil {
			require.Positive(t, e.Labels)
			require.True(t, e.Names == nil || len(e.Names) == e.Labels)
		}
		_, err = findKind(c, c, false)
		ours(err)
		_, err = c.AutoMap()
		ours(err)
		_, err = c.TorchDType()
		ours(err)
	})
}

func FuzzModules(f *testing.F) {
	f.Add([]byte(modules(oldPrefix+"Transformer", oldPrefix+"Pooling", oldPrefix+"Normalize")))
	f.Add([]byte(modules(basic+"transformer.Transformer", newPrefix+"Pooling", basic+"dense.Dense")))
	f.Fuzz(func(t *testing.T, data []byte) {
		refs, err := parseModules(modulesFile, data)
		if err != nil {
			require.True(t, isAny(err, ErrBadConfig, ErrUnsupported, ErrPath), "%v", err)
			return
		}
		for _, kind := range []Kind{KindEmbedding, KindCrossEncoder, KindSparse, KindMultiVector} {
			if checkModules(modulesFile, kind, refs) == nil {
				require.Contains(t, []string{"Transformer", "StaticEmbedding", "SparseStaticEmbedding"}, refs[0].class)
			}
		}
		for _, ref := range refs {
			require.NotContains(t, strings.Split(ref.path, "/"), "..")
		}
	})
}

// FuzzTokenizerCheck gives the library all that the check accepts: a file that
// makes it abort takes the fuzzing process down.
func FuzzTokenizerCheck(f *testing.F) {
	for _, doc := range []string{wordPiece, byteBPE, wordLevel, unigram(f)} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := checkTokenizer(tokenizerFileName, data, tokenizerOptions{lowerCase: len(data)%2 == 0})
		if err != nil {
			require.True(t, isAny(err, ErrBadTokenizer, ErrUnsupported), "%v", err)
			return
		}
		tok, err := newTokenizer(spec)
		if err != nil {
			require.ErrorIs(t, err, ErrBadTokenizer)
			return
		}
		for _, text := range []string{"", "hello ab Ａﬁ extra", "\x00 [SEP] \xff"} {
			e, err := tok.Encode(t.Context(), text)
			if err != nil {
				require.True(t, errors.Is(err, ErrEncode), "%v", err)
				continue
			}
			for _, id := range e.IDs {
				assert.Less(t, int(id), tok.VocabSize())
			}
		}
		require.NoError(t, tok.Close())
	})
}

func FuzzRouter(f *testing.F) {
	f.Add([]byte(routerJSON(`"default_route":"document","allow_empty_key":true,"route_mappings":{"('query', 'text')":"query","(None, ('image', 'text'))":"document"}`)))
	f.Add([]byte(`{"types":{"../x":"sentence_transformers.models.Pooling"},"structure":{"query":["../x"]},"parameters":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig("router_config.json", data)
		if err != nil {
			return
		}
		r, err := parseRouter(c, "routes")
		if err != nil {
			require.True(t, isAny(err, ErrBadConfig, ErrUnsupported, ErrPath), "%v", err)
			return
		}
		for _, task := range []string{"", "query", "document", "image"} {
			if name, err := r.resolve(task); err == nil {
				require.NotEmpty(t, r.routes[name])
				for _, ref := range r.routes[name] {
					require.NotContains(t, strings.Split(ref.path, "/"), "..")
				}
			}
		}
	})
}

// FuzzVocab checks that what is made of a vocab.txt passes the check of a
// tokenizer.json.
func FuzzVocab(f *testing.F) {
	f.Add([]byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n##s\n"), "[SEP]")
	f.Add([]byte("[UNK]\r\n[CLS]\r\n\r\n<e>\r\n\x00\r\n"), "<e>")
	f.Fuzz(func(t *testing.T, data []byte, sep string) {
		tokens := map[string]string{"sep_token": sep}
		for _, s := range vocabSpecials {
			if s.key != "sep_token" {
				tokens[s.key] = s.token
			}
		}
		doc, err := vocabDocument(data, tokens)
		if err != nil {
			require.ErrorIs(t, err, ErrBadTokenizer)
			return
		}
		spec, err := checkTokenizer("vocab.txt", doc, tokenizerOptions{})
		if err != nil {
			require.True(t, isAny(err, ErrBadTokenizer), "%v", err)
			return
		}
		require.Len(t, spec.pair, 5)
	})
}
