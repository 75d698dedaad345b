package chromem_test

import (
	"context"
	"fmt"
	"log"
	"strconv"
	"testing"

	"github.com/philippgille/chromem-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vkbert/vkbert"
	adapter "github.com/vkbert/vkbert/adapters/chromem"
)

// Tiny models with random weights, so that nothing has to be downloaded; a real one is opened by its Hugging Face id.
const (
	model    = "../../testdata/tiny/normalize"
	prompted = "../../testdata/tiny/prompts"
)

func Example() {
	ctx := context.Background()
	m, err := vkbert.Open(ctx, model, vkbert.WithDevice("cpu"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	c, err := chromem.NewDB().CreateCollection("animals", nil, adapter.New(m))
	if err != nil {
		log.Fatal(err)
	}
	err = c.AddDocuments(ctx, []chromem.Document{{ID: "1", Content: "the cat sat"}, {ID: "2", Content: "a dog ran"}}, 32)
	if err != nil {
		log.Fatal(err)
	}
	results, err := adapter.Query(ctx, c, m, "a dog ran", 1, nil, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %.2f\n", results[0].Content, results[0].Similarity)
	// Output: a dog ran 1.00
}

func TestSameVectors(t *testing.T) {
	ctx := t.Context()
	m, err := vkbert.Open(ctx, prompted, vkbert.WithDevice("cpu"))
	require.NoError(t, err)
	defer m.Close()
	one, err := chromem.NewDB().CreateCollection("a", nil, adapter.New(m))
	require.NoError(t, err)
	all, err := chromem.NewDB().CreateCollection("b", nil, adapter.New(m))
	require.NoError(t, err)
	var documents []chromem.Document
	for i := range 50 {
		documents = append(documents, chromem.Document{ID: strconv.Itoa(i), Content: fmt.Sprint("cat number ", i)})
	}
	require.NoError(t, one.AddDocuments(ctx, documents, 16))
	require.NoError(t, adapter.AddDocuments(ctx, all, m, documents))
	assert.Nil(t, documents[0].Embedding, "the caller's documents stay as they are")
	want, err := m.EmbedDocuments(ctx, []string{documents[7].Content})
	require.NoError(t, err)
	query, err := m.EmbedQuery(ctx, "cat")
	require.NoError(t, err)
	for _, c := range []*chromem.Collection{one, all} {
		d, err := c.GetByID(ctx, "7")
		require.NoError(t, err)
		assert.InDelta(t, 1, vkbert.Dot(d.Embedding, d.Embedding), 1e-5)
		assert.InDelta(t, 1, vkbert.Cosine(want[0], d.Embedding), 1e-5)
		results, err := adapter.Query(ctx, c, m, "cat", 50, nil, nil)
		require.NoError(t, err)
		for _, r := range results {
			assert.InDelta(t, vkbert.Cosine(query, r.Embedding), r.Similarity, 1e-5)
		}
	}
	require.NoError(t, m.Close())
	require.ErrorIs(t, one.AddDocument(ctx, chromem.Document{ID: "x", Content: "x"}), vkbert.ErrClosed)
	require.ErrorIs(t, adapter.AddDocuments(ctx, all, m, documents), vkbert.ErrClosed)
}
