package loader

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openArch(t testing.TB, name string) *Model {
	dir := archDirs(t)[name]
	require.NotEmpty(t, dir, name)
	m, err := Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, m.Close()) })
	return m
}

func openArchTokenizer(t testing.TB, m *Model) *Tokenizer {
	tok, err := OpenTokenizer(m)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, tok.Close()) })
	return tok
}

func TestCrossEncoders(t *testing.T) {
	found := 0
	for name, dir := range archDirs(t) {
		if !strings.HasPrefix(name, "cross_") {
			continue
		}
		found++
		t.Run(name, func(t *testing.T) {
			var golden struct {
				Pairs   [][2]string `json:"pairs"`
				IDs     [][]int32   `json:"ids"`
				TypeIDs [][]int32   `json:"type_ids"`
				Scores  [][]float64 `json:"scores"`
				Logits  [][]float64 `json:"logits"`
			}
			readGolden(t, dir, &golden)
			m := openArch(t, name)
			require.Equal(t, KindCrossEncoder, m.Kind)
			tok := openArchTokenizer(t, m)
			for i, pair := range golden.Pairs {
				e, err := tok.EncodePair(t.Context(), m.Prompts[m.DefaultPrompt]+pair[0], pair[1], m.MaxSeqLength)
				require.NoError(t, err)
				assert.Equal(t, golden.IDs[i], e.IDs, "%.80q", pair)
				assert.Equal(t, golden.TypeIDs[i], e.TypeIDs, "%.80q", pair)
			}
			require.Equal(t, m.CrossEncoder.Labels, len(golden.Logits[0]))
			for i, row := range golden.Logits {
				for j, x := range row {
					if m.CrossEncoder.Activation == Sigmoid {
						x = 1 / (1 + math.Exp(-x))
					} else {
						require.Equal(t, Identity, m.CrossEncoder.Activation)
					}
					require.InDelta(t, golden.Scores[i][j], x, 1e-5)
				}
			}
		})
	}
	assert.GreaterOrEqual(t, found, 5)
}

func TestRoutes(t *testing.T) {
	m := openArch(t, "router")
	query, err := m.Route("query")
	require.NoError(t, err)
	document, err := m.Route("document")
	require.NoError(t, err)
	assert.Equal(t, []string{"StaticEmbedding", "Normalize"}, kindsOf(query))
	assert.Equal(t, []string{"Transformer", "Pooling", "Normalize"}, kindsOf(document))
	assert.Equal(t, query.Dim(), document.Dim())
	same, err := document.Route("query")
	require.NoError(t, err)
	assert.Same(t, document, same, "a route has no routes")
	_, err = m.Route("other")
	require.ErrorIs(t, err, ErrUnsupported)
	assert.ErrorContains(t, err, "query, document")
}

func kindsOf(m *Model) []string {
	var names []string
	for _, module := range m.Modules {
		names = append(names, module.Kind())
	}
	return names
}

func TestSparse(t *testing.T) {
	m := openArch(t, "splade")
	assert.Equal(t, KindSparse, m.Kind)
	assert.Equal(t, []string{"Transformer", "SpladePooling"}, kindsOf(m))
	assert.Equal(t, "dot", m.Similarity)
	query, err := openArch(t, "splade_routed").Route("query")
	require.NoError(t, err)
	require.IsType(t, SparseStaticEmbedding{}, query.Modules[0])
	_, err = OpenAs(m.Dir, KindEmbedding)
	require.ErrorIs(t, err, ErrUnsupported)
	assert.ErrorContains(t, err, "want a model for SentenceTransformer, got one for SparseEncoder")
}

func TestMultiVector(t *testing.T) {
	for _, name := range []string{"colbert", "colbert_stanford"} {
		t.Run(name, func(t *testing.T) {
			m := openArch(t, name)
			require.Equal(t, KindMultiVector, m.Kind)
			tok := openArchTokenizer(t, m)
			type section struct {
				goldenIDs
				Attended [][]int `json:"attended"`
				Kept     [][]int `json:"kept"`
			}
			var golden struct {
				Texts    []string `json:"texts"`
				Query    section  `json:"query"`
				Document section  `json:"document"`
			}
			readGolden(t, m.Dir, &golden)
			ints := func(flags []bool) []int {
				out := make([]int, len(flags))
				for i, f := range flags {
					if f {
						out[i] = 1
					}
				}
				return out
			}
			for task, want := range map[string]section{"query": golden.Query, "document": golden.Document} {
				assert.Equal(t, want.Prompt, m.Prompts[task])
				for i, text := range golden.Texts {
					s, err := tok.EncodeTask(t.Context(), m, m.Prompts[task]+text, task)
					require.NoError(t, err)
					assert.Equal(t, want.IDs[i], s.IDs, "%s: %.60q", task, text)
					assert.Equal(t, want.Attended[i], ints(s.Attended), "%s: %.60q", task, text)
					assert.Equal(t, want.Kept[i], ints(s.Kept), "%s: %.60q", task, text)
					assert.Len(t, s.TypeIDs, len(s.IDs))
				}
			}
			assert.Equal(t, []string{"Transformer", "Dense", "MultiVectorMask", "Normalize"}, kindsOf(m))
			assert.True(t, m.Modules[1].(Dense).PerToken)
			assert.True(t, m.Modules[3].(Normalize).PerToken)
			assert.Equal(t, "maxsim", m.Similarity)
		})
	}
}

// routerJSON is a router_config.json with the given parameters.
func routerJSON(parameters string) string {
	return `{"types":{"q":"sentence_transformers.models.StaticEmbedding","d":"sentence_transformers.models.Transformer","p":"` + newPrefix + `Pooling"},
		"structure":{"query":["q"],"document":["d","p"]},"parameters":{` + parameters + `}}`
}

func TestRouterResolves(t *testing.T) {
	for parameters, want := range map[string][4]string{ // of no task, query, document, text; "" is an error
		``:                           {"query", "query", "document", ""},
		`"default_route":"document"`: {"document", "query", "document", ""},
		`"allow_empty_key":false`:    {"", "query", "document", ""},
		`"route_mappings":{"('text', None)":"query"}`:                                         {"query", "query", "document", "query"},
		`"route_mappings":{"(None, 'text')":"document"}`:                                      {"document", "document", "document", "document"},
		`"route_mappings":{"(None, 'image')":"query","(None, ('image', 'text'))":"document"}`: {"query", "query", "document", ""},
		`"route_mappings":{"('query', 'text')":"document","('query', None)":"query"}`:         {"query", "document", "document", ""},
		`"route_mappings":{"(None, None)":"document"},"default_route":"query"`:                {"document", "document", "document", "document"},
	} {
		r, err := parseRouter(testConfig(t, routerJSON(parameters)), ".")
		require.NoError(t, err)
		for i, task := range []string{"", "query", "document", "text"} {
			got, err := r.resolve(task)
			assert.Equal(t, want[i], got, "%s: task %q", parameters, task)
			assert.Equal(t, want[i] == "", err != nil)
		}
	}
}

func TestRouterRefused(t *testing.T) {
	good := routerJSON("")
	for name, tt := range map[string]struct {
		text string
		want error
		says string
	}{
		"no types":        {`{}`, ErrBadConfig, "types: want an object"},
		"no routes":       {`{"types":{},"structure":{},"parameters":{}}`, ErrBadConfig, "structure: want 1 to 16 routes, got 0"},
		"an empty route":  {strings.Replace(good, `["q"]`, `[]`, 1), ErrBadConfig, "structure.query: want 1 to"},
		"an unknown id":   {strings.Replace(good, `["q"]`, `["x"]`, 1), ErrBadConfig, "types.x: want a string, got nothing"},
		"an unknown type": {strings.Replace(good, "models.StaticEmbedding", "models.BoW", 1), ErrUnsupported, "models.BoW"},
		"a path":          {strings.NewReplacer(`"q"`, `"../q"`).Replace(good), ErrPath, "../q"},
		"default":         {routerJSON(`"default_route":"x"`), ErrBadConfig, `want one of query, document, got "x"`},
		"a mapping":       {routerJSON(`"route_mappings":{"('query', 'text')":"x"}`), ErrBadConfig, "want one of query, document"},
		"a mapping's key": {routerJSON(`"route_mappings":{"__import__('os')":"query"}`), ErrBadConfig, "want a key like"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseRouter(testConfig(t, tt.text), ".")
			require.ErrorIs(t, err, tt.want)
			assert.ErrorContains(t, err, tt.says)
		})
	}
	static := `{"types":{"r":"` + basic + `router.Router"},"structure":{"query":["r"]},"parameters":{}}`
	_, err := Open(modelFiles(t, map[string]string{"modules.json": modules(basic + "router.Router"), "router_config.json": static}))
	require.ErrorIs(t, err, ErrUnsupported)
	assert.ErrorContains(t, err, "a Router in a Router")
}

func TestCrossEncoderSettings(t *testing.T) {
	const one, sigmoid = `"id2label":{"0":"x"}`, `"torch.nn.modules.activation.Sigmoid"`
	for _, tt := range []struct {
		config, sentence string
		want             CrossEncoder
	}{
		{`{` + one + `}`, `{}`, CrossEncoder{1, []string{"x"}, Sigmoid}},
		{`{"id2label":{"1":"b","0":"a"}}`, `{}`, CrossEncoder{2, []string{"a", "b"}, Identity}},
		{`{"num_labels":3}`, `{}`, CrossEncoder{3, nil, Identity}},
		{`{"architectures":["BertForSequenceClassification"]}`, `{}`, CrossEncoder{2, nil, Identity}},
		{`{}`, `{}`, CrossEncoder{1, nil, Sigmoid}},
		{`{` + one + `,"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"}`, `{}`, CrossEncoder{1, []string{"x"}, Identity}},
		{`{"num_labels":2,"sentence_transformers":{"activation_fn":` + sigmoid + `}}`, `{}`, CrossEncoder{2, nil, Sigmoid}},
		{`{"sentence_transformers":{"activation_fn":` + sigmoid + `}}`, `{"activation_fn":"torch.nn.modules.activation.Tanh"}`, CrossEncoder{1, nil, Tanh}},
		{`{}`, `{"activation_fn":"my.Own"}`, CrossEncoder{1, nil, Sigmoid}},
	} {
		e, err := readCrossEncoder(testConfig(t, tt.config), testConfig(t, tt.sentence))
		require.NoError(t, err, tt.config)
		assert.Equal(t, tt.want, *e, "%s %s", tt.config, tt.sentence)
	}
	for config, want := range map[string]error{
		`{"id2label":{}}`: ErrBadConfig, `{"id2label":{"1":"x"}}`: ErrBadConfig, `{"id2label":{"0":1}}`: ErrBadConfig, `{"num_labels":0}`: ErrBadConfig,
		`{"sbert_ce_default_activation_function":"torch.nn.modules.activation.Softmax"}`: ErrUnsupported, `{"sentence_transformers":1}`: ErrBadConfig,
	} {
		_, err := readCrossEncoder(testConfig(t, config), testConfig(t, `{}`))
		require.ErrorIs(t, err, want, config)
	}
}

func TestMultiVectorRefused(t *testing.T) {
	for text, says := range map[string]string{
		`{"query_expansion":{"strategy":"all","length":3}}`:                    "query_expansion.strategy: want one of fixed, min",
		`{"query_expansion":{"strategy":"min"}}`:                               "query_expansion.length",
		`{"query_expansion":{"strategy":"min","length":1000000000}}`:           "query_expansion.length",
		`{"query_expansion":{"strategy":"min","length":3,"more":1}}`:           "query_expansion.more",
		`{"query_expansion":{"strategy":"min","length":32},"query_length":16}`: "query_length: want at least",
		`{"query_expansion":7}`:                                                "query_expansion: want an object",
		`{"document_length":0}`:                                                "document_length",
	} {
		_, err := readMultiVector(testConfig(t, text), testConfig(t, `{}`))
		require.Error(t, err, text)
		assert.ErrorContains(t, err, says)
	}
	for _, text := range []string{`{"skiplist_words":"."}`, `{"skiplist_tasks":[1]}`, `{"keep_only_token_ids":[-1]}`, `{"keep_only_token_ids":{}}`} {
		_, err := parseMask(testConfig(t, text))
		require.ErrorIs(t, err, ErrBadConfig, text)
	}
	m := openArch(t, "splade")
	_, err := openArchTokenizer(t, m).EncodeTask(t.Context(), m, "cat", "query")
	require.ErrorIs(t, err, ErrUnsupported)
}

// TestModel2Vec opens a table in model2vec's own spelling.
func TestModel2Vec(t *testing.T) {
	table := f32Tensor("embeddings", []int{2, 3}, make([]float32, 6)...)
	rows := testTensor{"mapping", "I64", []int{9}, make([]byte, 72)}
	factors := f32Tensor("weights", []int{9}, make([]float32, 9)...)
	open := func(tensors ...testTensor) (*Model, error) {
		return Open(modelFiles(t, map[string]string{"modules.json": modules(oldPrefix + "StaticEmbedding"), "model.safetensors": string(tensorFile(t, tensors...))}))
	}
	m, err := open(table, rows, factors)
	require.NoError(t, err)
	defer m.Close()
	s := m.Modules[0].(StaticEmbedding)
	assert.Equal(t, []any{2, 3, "embeddings", "mapping", "weights"}, []any{s.Rows, s.Dim, s.Table, s.Mapping, s.TokenWeights})
	assert.Equal(t, 3, m.Dim())
	assert.Equal(t, "hello world ##s", words(t, openArchTokenizer(t, m), "hello worlds"), "the file's own limit of 3, no special tokens")
	for _, tensors := range [][]testTensor{{factors}, {table, rows, f32Tensor("weights", []int{8}, make([]float32, 8)...)}, {f32Tensor("embeddings", []int{6}, make([]float32, 6)...)}} {
		_, err := open(tensors...)
		require.ErrorIs(t, err, ErrTensor)
	}
}

func TestLongestFirst(t *testing.T) {
	for a := range 12 {
		for b := range 12 {
			for limit := range 25 {
				x, y := longestFirst(a, b, limit)
				assert.Equal(t, min(a+b, limit), x+y, "%d and %d of %d", a, b, limit)
				assert.True(t, 0 <= x && x <= a && 0 <= y && y <= b)
			}
		}
	}
	tok := openTestTokenizer(t, nil)
	_, err := tok.EncodePair(t.Context(), "hello", "world", 2)
	require.ErrorIs(t, err, ErrEncode)
	e, err := tok.EncodePair(t.Context(), "hello", "world", 5)
	require.NoError(t, err)
	_, err = tok.Truncate(e, 4)
	require.ErrorIs(t, err, ErrEncode, "a pair is cut once")
}
