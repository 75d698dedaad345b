// Package chromem gives chromem-go the embeddings of a vkbert model.
package chromem

import (
	"context"

	"github.com/philippgille/chromem-go"

	"github.com/vkbert/vkbert"
)

// New returns a collection's embedding function: unit vectors, with the model's prompt for documents. chromem-go asks for one text a call; calls at the same
// time share batches, so give AddDocuments a concurrency of some dozens. The model stays the caller's to close.
func New(m *vkbert.Model) chromem.EmbeddingFunc {
	return func(ctx context.Context, text string) ([]float32, error) {
		vectors, err := m.EmbedDocuments(ctx, []string{text})
		if err != nil {
			return nil, err
		}
		return vkbert.Normalize(vectors[0]), nil
	}
}

// AddDocuments embeds the texts of all documents that come without an embedding in one call, and adds them to the collection.
func AddDocuments(ctx context.Context, c *chromem.Collection, m *vkbert.Model, documents []chromem.Document) error {
	var texts []string
	for _, d := range documents {
		if d.Embedding == nil {
			texts = append(texts, d.Content)
		}
	}
	if len(texts) > 0 {
		vectors, err := m.EmbedDocuments(ctx, texts)
		if err != nil {
			return err
		}
		documents = append([]chromem.Document(nil), documents...)
		for i := range documents {
			if documents[i].Embedding == nil {
				documents[i].Embedding, vectors = vkbert.Normalize(vectors[0]), vectors[1:]
			}
		}
	}
	return c.AddDocuments(ctx, documents, 1)
}

// Query is the collection's Query with the model's prompt for queries, which its own Query, having one function for both, does not put before the text.
func Query(ctx context.Context, c *chromem.Collection, m *vkbert.Model, text string, results int, where, whereDocument map[string]string) ([]chromem.Result, error) {
	v, err := m.EmbedQuery(ctx, text)
	if err != nil {
		return nil, err
	}
	return c.QueryEmbedding(ctx, vkbert.Normalize(v), results, where, whereDocument)
}
