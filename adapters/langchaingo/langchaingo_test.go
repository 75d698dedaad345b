package langchaingo_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/tmc/langchaingo/embeddings"

	"github.com/vkbert/vkbert"
	"github.com/vkbert/vkbert/adapters/langchaingo"
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

	var embedder embeddings.Embedder = langchaingo.New(m) // as for vectorstores.WithEmbedder

	documents, err := embedder.EmbedDocuments(ctx, []string{"the cat sat", "a dog ran"})
	if err != nil {
		log.Fatal(err)
	}
	query, err := embedder.EmbedQuery(ctx, "where is the cat")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(documents), len(documents[0]) == m.Dimensions(), len(query) == m.Dimensions())
	// Output: 2 true true
}

func TestSameVectors(t *testing.T) {
	m, err := vkbert.Open(t.Context(), model, vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	e := langchaingo.New(m)

	texts := []string{"the cat\nsat", "a dog ran", ""}
	want, err := m.EmbedDocuments(t.Context(), texts)
	require.NoError(t, err)
	got, err := e.EmbedDocuments(t.Context(), texts)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	query, err := e.EmbedQuery(t.Context(), texts[0])
	require.NoError(t, err)
	assert.NotEqual(t, want[0], query, "the model has prompts for both")
	none, err := e.EmbedDocuments(t.Context(), nil)
	require.NoError(t, err)
	assert.Empty(t, none)

	require.NoError(t, m.Close())
	_, err = e.EmbedQuery(t.Context(), "a")
	assert.ErrorIs(t, err, vkbert.ErrClosed)
}
