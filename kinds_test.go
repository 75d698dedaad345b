package vkbert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// The wrong function for a model says what the model is, and which one opens it.
func TestOpenedAsTheWrongKind(t *testing.T) {
	ctx := context.Background()
	open := map[string]func(dir string) error{
		"Open":         func(dir string) error { _, err := vkbert.Open(ctx, dir, vkbert.WithDevice("cpu")); return err },
		"OpenReranker": func(dir string) error { _, err := vkbert.OpenReranker(ctx, dir, vkbert.WithDevice("cpu")); return err },
		"OpenSparse":   func(dir string) error { _, err := vkbert.OpenSparse(ctx, dir, vkbert.WithDevice("cpu")); return err },
		"OpenMultiVector": func(dir string) error {
			_, err := vkbert.OpenMultiVector(ctx, dir, vkbert.WithDevice("cpu"))
			return err
		},
	}
	for right, dir := range map[string]string{
		"Open":            testmodel.Path("tiny", "mean"),
		"OpenReranker":    testmodel.Path("arch", "cross_modernbert"),
		"OpenSparse":      testmodel.Path("arch", "splade_routed"),
		"OpenMultiVector": testmodel.Path("arch", "colbert_stanford"),
	} {
		for name, f := range open {
			err := f(dir)
			if name == right {
				assert.NoError(t, err, name)
				continue
			}
			require.ErrorIs(t, err, vkbert.ErrUnsupported, "%s of %s", name, dir)
			assert.ErrorContains(t, err, "vkbert."+right+" opens", "%s of %s", name, dir)
		}
		_, err := vkbert.OpenReranker(ctx, "random:minilm-l6")
		require.ErrorIs(t, err, vkbert.ErrUnsupported)
	}
}

func TestKindsRefuseWrongInput(t *testing.T) {
	ctx := context.Background()
	r, err := vkbert.OpenReranker(ctx, testmodel.Path("arch", "cross_bert"), vkbert.WithDevice("cpu"), vkbert.WithTruncation(false))
	require.NoError(t, err)
	_, err = r.Rerank(ctx, "query", nil)
	require.ErrorIs(t, err, vkbert.ErrInput)
	long := "word"
	for range 6 {
		long += " " + long
	}
	_, err = r.Rerank(ctx, "query", []string{"short", long})
	require.ErrorIs(t, err, vkbert.ErrInput)
	assert.ErrorContains(t, err, "text 1: ")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = r.Rerank(ended, "query", []string{"a"})
	require.ErrorIs(t, err, context.Canceled)
	ranked, err := r.Rerank(ctx, "query", []string{"short", "shorter"}) // the next good call
	require.NoError(t, err)
	assert.Len(t, ranked, 2)
	require.NoError(t, r.HealthCheck(ctx))
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, err = r.Rerank(ctx, "query", []string{"a"})
	require.ErrorIs(t, err, vkbert.ErrClosed)

	s, err := vkbert.OpenSparse(ctx, testmodel.Path("arch", "splade"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer s.Close()
	_, err = s.EmbedSparse(ctx, nil)
	require.ErrorIs(t, err, vkbert.ErrInput)

	v, err := vkbert.OpenMultiVector(ctx, testmodel.Path("arch", "colbert"), vkbert.WithDevice("cpu"), vkbert.WithDimensions(5))
	require.NoError(t, err)
	defer v.Close()
	assert.Equal(t, 5, v.Dimensions())
	vectors, err := v.EmbedMultiQueries(ctx, []string{"a"})
	require.NoError(t, err)
	assert.Len(t, vectors[0], 12, "filled up")
	assert.Len(t, vectors[0][0], 5)
	_, err = v.EmbedMulti(ctx, nil)
	require.ErrorIs(t, err, vkbert.ErrInput)

	m, err := vkbert.Open(ctx, testmodel.Path("arch", "jina_v3"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	assert.Len(t, m.Info().Tasks, 5)
	_, err = m.EmbedWith(ctx, []string{"a"}, vkbert.WithTask("sorting"))
	require.ErrorIs(t, err, vkbert.ErrInput)
	assert.ErrorContains(t, err, "text-matching")
	plain, err := m.EmbedWith(ctx, []string{"a"}, vkbert.WithTask("retrieval.query"), vkbert.WithPromptText(""))
	require.NoError(t, err)
	prompted, err := m.EmbedQuery(ctx, "a")
	require.NoError(t, err)
	assert.NotEqual(t, plain[0], prompted)

	routed, err := vkbert.Open(ctx, testmodel.Path("arch", "router"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer routed.Close()
	assert.Equal(t, []string{"document", "query"}, routed.Info().Tasks)
	_, err = routed.EmbedWith(ctx, []string{"a"}, vkbert.WithTask("image"))
	require.ErrorIs(t, err, vkbert.ErrInput)
	byTask, err := routed.EmbedWith(ctx, []string{"a"}, vkbert.WithTask("query"))
	require.NoError(t, err)
	byRoute, err := routed.EmbedQuery(ctx, "a")
	require.NoError(t, err)
	assert.Equal(t, byRoute, byTask[0])
	require.NoError(t, routed.HealthCheck(ctx))
}

// Tasks at the same time do not mix.
func TestTasksTogether(t *testing.T) {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, testmodel.Path("arch", "jina_v3"), vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	tasks := m.Info().Tasks
	golden := testmodel.Read(t, testmodel.Path("arch", "jina_v3", "golden.json"))
	done := make(chan error, 4*len(tasks))
	for i := range cap(done) {
		go func() {
			task := tasks[i%len(tasks)]
			got, err := m.EmbedWith(ctx, golden.Texts, vkbert.WithTask(task))
			if err == nil {
				for j, want := range golden.Tasks[task].Vectors {
					d, largest := testmodel.MaxDifference(t, want, got[j])
					assert.LessOrEqual(t, d/largest, 1e-5, task)
				}
			}
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
}

func TestSparseDot(t *testing.T) {
	a := vkbert.SparseVector{Indices: []int32{1, 4, 9}, Values: []float32{1, 2, 3}}
	b := vkbert.SparseVector{Indices: []int32{0, 4, 9, 11}, Values: []float32{5, 0.5, 2, 1}}
	assert.InDelta(t, 7, vkbert.SparseDot(a, b), 1e-6)
	assert.Zero(t, vkbert.SparseDot(a, vkbert.SparseVector{}))
	assert.Equal(t, vkbert.SparseVector{Indices: []int32{4, 9}, Values: []float32{2, 3}}, a.Keep(2))
}

func TestMaxSim(t *testing.T) {
	query := [][]float32{{1, 0}, {0, 1}}
	document := [][]float32{{0.5, -1}, {-2, -3}}
	assert.InDelta(t, 0.5-1, vkbert.MaxSim(query, document), 1e-6)
	assert.Zero(t, vkbert.MaxSim(query, nil))
}

// Options that say what an embedding is are refused where none is made.
func TestOptionsOfOtherKinds(t *testing.T) {
	ctx := context.Background()
	for _, opt := range []vkbert.Option{vkbert.WithDimensions(5), vkbert.WithNormalize(true), vkbert.WithPooling("cls")} {
		_, err := vkbert.OpenSparse(ctx, testmodel.Path("arch", "splade"), vkbert.WithDevice("cpu"), opt)
		require.ErrorIs(t, err, vkbert.ErrUnsupported)
		assert.ErrorContains(t, err, "OpenSparse")
		_, err = vkbert.OpenReranker(ctx, testmodel.Path("arch", "cross_bert"), vkbert.WithDevice("cpu"), opt)
		require.ErrorIs(t, err, vkbert.ErrUnsupported)
	}
}

// A prompt is tokenized, and left out of pooling or not, as the route of the text has it.
func TestPromptOfAnotherRoute(t *testing.T) {
	ctx := context.Background()
	golden := testmodel.Read(t, testmodel.Path("arch", "router", "golden.json"))
	dir := copied(t, "arch", "router")
	pooling := filepath.Join(dir, "document_1_Pooling", "config.json")
	config, err := os.ReadFile(pooling)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(pooling, bytes.Replace(config, []byte(`"include_prompt": true`), []byte(`"include_prompt": false`), 1), 0o600))
	vectors := func(dir string) (queries, documents [][]float32) {
		m, err := vkbert.Open(ctx, dir, vkbert.WithDevice("cpu"))
		require.NoError(t, err)
		defer m.Close()
		queries, err = m.EmbedQueries(ctx, golden.Texts)
		require.NoError(t, err)
		documents, err = m.EmbedDocuments(ctx, golden.Texts)
		require.NoError(t, err)
		return queries, documents
	}
	queries, documents := vectors(testmodel.Path("arch", "router"))
	sameQueries, otherDocuments := vectors(dir)
	assert.Equal(t, queries, sameQueries)
	assert.NotEqual(t, documents, otherDocuments)
}

// What tokenizer.json says of truncation is the limit of a model without positions.
func TestLimitOfAStaticModel(t *testing.T) {
	ctx := context.Background()
	dir := copied(t, "arch", "static_model2vec")
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var tokenizer map[string]any
	require.NoError(t, json.Unmarshal(data, &tokenizer))
	tokenizer["truncation"] = map[string]any{"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
	data, err = json.Marshal(tokenizer)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	const text = "the cat sat on the mat and so on and on"

	m, err := vkbert.Open(ctx, dir, vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	assert.Equal(t, 4, m.Info().MaxTokens)
	n, err := m.CountTokens(text)
	require.NoError(t, err)
	assert.Greater(t, n, 4)
	cut, err := m.Embed(ctx, text)
	require.NoError(t, err)
	short, err := m.Embed(ctx, "the cat sat on")
	require.NoError(t, err)
	assert.Equal(t, short, cut)
	_, err = m.Prepare(ctx, []string{"a", text}, vkbert.TruncateNone)
	require.ErrorAs(t, err, new(*vkbert.TooLongError))
	assert.Equal(t, 1, strings.Count(err.Error(), "text 1"), err)

	whole, err := vkbert.Open(ctx, dir, vkbert.WithDevice("cpu"), vkbert.WithTruncation(false))
	require.NoError(t, err)
	defer whole.Close()
	_, err = whole.Embed(ctx, text)
	require.ErrorIs(t, err, vkbert.ErrInput)
}

// copied is a copy of a test model that may be changed.
func copied(t *testing.T, parts ...string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(testmodel.Path(parts...))))
	return dir
}

// Where not even the special tokens fit there are no vectors.
func TestLimitBelowTheSpecialTokens(t *testing.T) {
	dir := copied(t, "tiny", "mean")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sentence_bert_config.json"), []byte(`{"max_seq_length": 1}`), 0o600))
	_, err := vkbert.Open(context.Background(), dir, vkbert.WithDevice("cpu"))
	assert.ErrorContains(t, err, "a limit of 1 tokens is below the 2 special tokens")
}
