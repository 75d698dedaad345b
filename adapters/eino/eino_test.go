package eino_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/cloudwego/eino/callbacks"
	"github.com/cloudwego/eino/components/embedding"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/adapters/eino"
)

// A tiny model with random weights, so that nothing has to be downloaded; a real one is opened by its Hugging Face id.
const model = "../../testdata/tiny/prompts"

func Example() {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, model, vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	var embedder embedding.Embedder = eino.New(m)
	documents, err := embedder.EmbedStrings(ctx, []string{"the cat sat", "a dog ran"})
	if err != nil {
		log.Fatal(err)
	}
	query, err := embedder.EmbedStrings(ctx, []string{"where is the cat"}, eino.WithQuery())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(documents), len(query), len(query[0]) == m.Dimensions())
	// Output: 2 1 true
}

func TestSameVectors(t *testing.T) {
	m, err := vkbert.Open(t.Context(), model, vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	var started, ended, failed int
	handler := callbacks.NewHandlerBuilder().
		OnStartFn(func(ctx context.Context, _ *callbacks.RunInfo, in callbacks.CallbackInput) context.Context {
			started += len(embedding.ConvCallbackInput(in).Texts)
			return ctx
		}).
		OnEndFn(func(ctx context.Context, _ *callbacks.RunInfo, out callbacks.CallbackOutput) context.Context {
			ended += len(embedding.ConvCallbackOutput(out).Embeddings)
			return ctx
		}).
		OnErrorFn(func(ctx context.Context, _ *callbacks.RunInfo, _ error) context.Context { failed++; return ctx }).Build()
	e := eino.New(m)
	ctx := callbacks.InitCallbacks(t.Context(), &callbacks.RunInfo{Type: e.GetType()}, handler)

	texts := []string{"the cat sat", "a dog ran"}
	documents, err := m.EmbedDocuments(ctx, texts)
	require.NoError(t, err)
	queries, err := m.EmbedQueries(ctx, texts)
	require.NoError(t, err)
	require.NotEqual(t, documents, queries)
	for _, c := range []struct {
		want [][]float32
		opts []embedding.Option
	}{
		{documents, nil}, {queries, []embedding.Option{eino.WithQuery()}}, {documents, []embedding.Option{embedding.WithModel("prompts")}},
	} {
		got, err := e.EmbedStrings(ctx, texts, c.opts...)
		require.NoError(t, err)
		for i, v := range c.want {
			for j, x := range v {
				require.Equal(t, float64(x), got[i][j])
			}
		}
	}
	assert.Equal(t, []int{6, 6, 0}, []int{started, ended, failed})
	_, err = e.EmbedStrings(ctx, texts, embedding.WithModel("other"))
	assert.ErrorIs(t, err, vkbert.ErrInput)
	assert.Equal(t, 1, failed)
	none, err := e.EmbedStrings(ctx, nil)
	require.NoError(t, err)
	assert.Empty(t, none)
}
