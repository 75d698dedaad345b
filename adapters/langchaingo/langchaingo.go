// Package langchaingo gives LangChain Go the embeddings of a vkbert model.
package langchaingo

import (
	"context"

	"github.com/tmc/langchaingo/embeddings"

	"github.com/vkbert/vkbert"
)

// Embedder is a model as LangChain Go wants it. It is safe for any number of goroutines, and what they ask for at the same time shares batches: there is no
// batch size to set. Texts are embedded as they are, newlines included.
type Embedder struct{ model *vkbert.Model }

var _ embeddings.Embedder = Embedder{}

// New makes an Embedder of an open model, which stays the caller's to close.
func New(m *vkbert.Model) Embedder { return Embedder{m} }

// EmbedDocuments returns a vector for each text, with the model's prompt for documents; none for none.
func (e Embedder) EmbedDocuments(ctx context.Context, texts []string) ([][]float32, error) {
	if len(texts) == 0 {
		return [][]float32{}, nil
	}
	return e.model.EmbedDocuments(ctx, texts)
}

// EmbedQuery returns the vector of a text, with the model's prompt for queries.
func (e Embedder) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return e.model.EmbedQuery(ctx, text)
}
