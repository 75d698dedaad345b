package vkbert_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/internal/testmodel"
)

// The golden files of models of other kinds; testdata/arch/README.md explains them.
type goldenPairs struct {
	Pairs          []vkbert.Pair
	IDs            [][]int32
	Scores, Logits [][]float32
}

type goldenSparse struct {
	IDs    [][]int32
	Sparse []vkbert.SparseVector
}

type goldenSparseFile struct {
	goldenSparse
	Texts           []string
	Dimensions      int
	Query, Document *goldenSparse
}

type goldenMulti struct {
	IDs     [][]int32
	Vectors [][][]float32
}

type goldenMultiFile struct {
	Texts           []string
	Query, Document goldenMulti
	MaxSim          [][]float32
}

func readGolden(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(testmodel.Path("arch", name, "golden.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, into))
}

// onDevices runs a test for each directory of testdata/arch whose name begins so, on every device.
func onDevices(t *testing.T, prefix string, least int, test func(t *testing.T, name, device string)) {
	found := 0
	for _, name := range testmodel.Arch(t) {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		found++
		for _, device := range testmodel.Devices() {
			t.Run(device+"/"+name, func(t *testing.T) { test(t, name, testmodel.Device(t, device)) })
		}
	}
	assert.GreaterOrEqual(t, found, least)
}

// worst is the greatest difference, as a part of the greatest value of all rows.
func worst(t *testing.T, want, got [][]float32) float64 {
	t.Helper()
	require.Len(t, got, len(want))
	var difference, largest float64
	for i := range want {
		d, l := testmodel.MaxDifference(t, want[i], got[i])
		difference, largest = max(difference, d), max(largest, l)
	}
	return difference / largest
}

// Pair ids, logits and scores of CrossEncoder.
func TestCrossEncoders(t *testing.T) {
	ctx := context.Background()
	onDevices(t, "cross_", 7, func(t *testing.T, name, device string) {
		var golden goldenPairs
		readGolden(t, name, &golden)
		r, err := vkbert.OpenReranker(ctx, testmodel.Path("arch", name), vkbert.WithDevice(device))
		require.NoError(t, err)
		defer r.Close()
		for i, pair := range golden.Pairs {
			tokens, err := r.Tokenize(pair)
			require.NoError(t, err)
			require.Equal(t, golden.IDs[i], tokens.IDs, "%.80q", pair)
		}
		logits, err := r.Logits(ctx, golden.Pairs)
		require.NoError(t, err)
		d := worst(t, golden.Logits, logits)
		t.Logf("max difference %.2g of the largest logit", d)
		assert.LessOrEqual(t, d, 1e-5)
		scores, err := r.Score(ctx, golden.Pairs)
		require.NoError(t, err)
		assert.LessOrEqual(t, worst(t, golden.Scores, scores), 1e-5)
		require.Len(t, scores[0], r.Labels())
		checkRanking(t, r, golden)
	})
}

// checkRanking ranks the documents of the first query.
func checkRanking(t *testing.T, r *vkbert.Reranker, golden goldenPairs) {
	query := golden.Pairs[0][0]
	var documents []string
	var scores []float32
	for i, pair := range golden.Pairs {
		if pair[0] == query {
			documents, scores = append(documents, pair[1]), append(scores, golden.Scores[i][0])
		}
	}
	ranked, err := r.Rerank(context.Background(), query, documents)
	if r.Labels() > 1 {
		require.ErrorIs(t, err, vkbert.ErrInput)
		return
	}
	require.NoError(t, err)
	require.Len(t, ranked, len(documents))
	for i, match := range ranked {
		assert.InDelta(t, scores[match.Index], match.Score, 1e-5)
		if i > 0 {
			assert.GreaterOrEqual(t, ranked[i-1].Score, match.Score)
		}
	}
}

// compareSparse holds sparse vectors against golden ones; an index whose value is below the tolerance may be missing.
func compareSparse(t *testing.T, what string, size int, want, got []vkbert.SparseVector) {
	t.Helper()
	dense := func(vectors []vkbert.SparseVector) [][]float32 {
		rows := make([][]float32, len(vectors))
		for i, v := range vectors {
			rows[i] = make([]float32, size)
			require.Len(t, v.Values, len(v.Indices))
			for j, index := range v.Indices {
				require.True(t, j == 0 || v.Indices[j-1] < index, "indices rise")
				rows[i][index] = v.Values[j]
			}
		}
		return rows
	}
	d := worst(t, dense(want), dense(got))
	t.Logf("%s: max difference %.2g of the largest value", what, d)
	assert.LessOrEqual(t, d, 1e-5, what)
}

// Sparse vectors of SparseEncoder, by both routes where there are two.
func TestSparseModels(t *testing.T) {
	ctx := context.Background()
	onDevices(t, "splade", 2, func(t *testing.T, name, device string) {
		var golden goldenSparseFile
		readGolden(t, name, &golden)
		m, err := vkbert.OpenSparse(ctx, testmodel.Path("arch", name), vkbert.WithDevice(device))
		require.NoError(t, err)
		defer m.Close()
		assert.Equal(t, golden.Dimensions, m.Dimensions())
		got, err := m.EmbedSparse(ctx, golden.Texts)
		require.NoError(t, err)
		compareSparse(t, "texts", golden.Dimensions, golden.Sparse, got)
		if golden.Query == nil {
			return
		}
		for i, text := range golden.Texts {
			query, err := m.TokenizeQuery(text)
			require.NoError(t, err)
			assert.Equal(t, golden.Query.IDs[i], query.IDs)
			document, err := m.TokenizeDocument(text)
			require.NoError(t, err)
			assert.Equal(t, golden.Document.IDs[i], document.IDs)
		}
		queries, err := m.EmbedSparseQueries(ctx, golden.Texts)
		require.NoError(t, err)
		compareSparse(t, "queries", golden.Dimensions, golden.Query.Sparse, queries)
		documents, err := m.EmbedSparseDocuments(ctx, golden.Texts)
		require.NoError(t, err)
		compareSparse(t, "documents", golden.Dimensions, golden.Document.Sparse, documents)
		require.NoError(t, m.HealthCheck(ctx))
	})
}

// Token vectors of MultiVectorEncoder and their scores.
func TestMultiVectorModels(t *testing.T) {
	ctx := context.Background()
	onDevices(t, "colbert", 2, func(t *testing.T, name, device string) {
		var golden goldenMultiFile
		readGolden(t, name, &golden)
		m, err := vkbert.OpenMultiVector(ctx, testmodel.Path("arch", name), vkbert.WithDevice(device))
		require.NoError(t, err)
		defer m.Close()
		compareMulti := func(what string, want [][][]float32, got [][][]float32) {
			require.Len(t, got, len(want))
			d := 0.0
			for i := range want {
				if len(want[i]) > 0 {
					d = max(d, worst(t, want[i], got[i]))
				} else {
					assert.Empty(t, got[i])
				}
			}
			t.Logf("%s: max difference %.2g", what, d)
			assert.LessOrEqual(t, d, 1e-5, what)
		}
		queries, err := m.EmbedMultiQueries(ctx, golden.Texts)
		require.NoError(t, err)
		compareMulti("queries", golden.Query.Vectors, queries)
		documents, err := m.EmbedMultiDocuments(ctx, golden.Texts)
		require.NoError(t, err)
		compareMulti("documents", golden.Document.Vectors, documents)
		for i, row := range golden.MaxSim { // the file leaves the first of both out
			for j, want := range row {
				assert.InDelta(t, want, vkbert.MaxSim(queries[i+1], documents[j+1]), 1e-5*math.Max(1, math.Abs(float64(want))))
			}
		}
		for i, text := range golden.Texts {
			query, err := m.TokenizeQuery(text)
			require.NoError(t, err)
			assert.Equal(t, golden.Query.IDs[i], query.IDs)
		}
	})
}
