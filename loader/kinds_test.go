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
				e, err := tok.EncodePair(m.Prompts[m.DefaultPrompt]+pair[0], pair[1], m.MaxSeqLength)
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
					s, err := tok.EncodeTask(m, m.Prompts[task]+text, task)
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
