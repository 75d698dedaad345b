package genkit_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/firebase/genkit/go/ai"
	"github.com/firebase/genkit/go/genkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	adapter "github.com/vkbert/vkbert/adapters/genkit"
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

	g := genkit.Init(ctx)
	embedder := adapter.Define(g, m)
	response, err := genkit.Embed(ctx, g, ai.WithEmbedder(embedder), ai.WithTextDocs("the cat sat", "a dog ran"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(embedder.Name(), len(response.Embeddings), len(response.Embeddings[0].Embedding) == m.Dimensions())
	// Output: vkbert/prompts 2 true
}

func TestSameVectors(t *testing.T) {
	ctx := t.Context()
	m, err := vkbert.Open(ctx, model, vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	g := genkit.Init(ctx)
	adapter.Define(g, m)
	embed := func(opts ...ai.EmbedderOption) (*ai.EmbedResponse, error) {
		return genkit.Embed(ctx, g, append(opts, ai.WithEmbedderName(adapter.Name(m)))...)
	}

	documents, err := m.EmbedDocuments(ctx, []string{"the cat sat"})
	require.NoError(t, err)
	query, err := m.EmbedQuery(ctx, "the cat sat")
	require.NoError(t, err)
	require.NotEqual(t, documents[0], query)
	for _, c := range []struct {
		config any
		want   []float32
	}{
		{nil, documents[0]},
		{adapter.Config{Input: "document"}, documents[0]},
		{&adapter.Config{Input: "query"}, query},
		{map[string]any{"input": "query"}, query},
	} {
		opts := []ai.EmbedderOption{ai.WithDocs(&ai.Document{Content: []*ai.Part{ai.NewTextPart("the cat"), ai.NewTextPart(" sat")}})}
		if c.config != nil {
			opts = append(opts, ai.WithConfig(c.config))
		}
		got, err := embed(opts...)
		require.NoError(t, err)
		assert.Equal(t, c.want, got.Embeddings[0].Embedding)
	}
	_, err = embed(ai.WithTextDocs("a"), ai.WithConfig(map[string]any{"input": "image"}))
	assert.Error(t, err)
	_, err = embed(ai.WithDocs(&ai.Document{Content: []*ai.Part{ai.NewMediaPart("image/png", "data:image/png;base64,")}}))
	assert.ErrorContains(t, err, "document 0: ")
	_, err = adapter.Func(m)(ctx, &ai.EmbedRequest{Input: []*ai.Document{nil}})
	assert.ErrorIs(t, err, vkbert.ErrInput)
	none, err := adapter.Func(m)(ctx, &ai.EmbedRequest{})
	require.NoError(t, err)
	assert.Empty(t, none.Embeddings)
}
