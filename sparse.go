package vkbert

import (
	"context"
	"fmt"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

// SparseModel is an open model that gives a text a weight for each word of its vocabulary, most of them zero (sentence-transformers' SparseEncoder: SPLADE, and the
// inference-free models of OpenSearch). All methods are safe for any number of goroutines; what they ask for at the same time shares batches.
type SparseModel struct{ kind }

// OpenSparse is [Open] for a sparse model. A plain masked-language model of transformers is one too.
func OpenSparse(ctx context.Context, model string, opts ...Option) (*SparseModel, error) {
	m, err := openKind(ctx, model, loader.KindSparse, opts)
	if err != nil {
		return nil, err
	}
	return &SparseModel{kind{m}}, nil
}

// SparseVector holds the values of a vector over the vocabulary that are not zero, in the order of their indices, which are token ids.
type SparseVector = bert.Sparse

// SparseDot is the dot product of two sparse vectors: the score of a query and a document.
func SparseDot(a, b SparseVector) float32 {
	var sum float64
	for i, j := 0, 0; i < len(a.Indices) && j < len(b.Indices); {
		switch x, y := a.Indices[i], b.Indices[j]; {
		case x < y:
			i++
		case x > y:
			j++
		default:
			sum += float64(a.Values[i]) * float64(b.Values[j])
			i, j = i+1, j+1
		}
	}
	return float32(sum)
}

// Dimensions is the size of the vocabulary.
func (s *SparseModel) Dimensions() int { return s.m.info().Dimensions }

// Words returns the tokens of indices, for people to read: what a vector says of a text.
func (s *SparseModel) Words(indices []int32) []string { return s.m.tokenizer.Tokens(indices) }

// EmbedSparse returns a sparse vector for each text, in order, with the model's default prompt. A model that is limited to so many values keeps the greatest. No
// texts are an error ([ErrInput]).
func (s *SparseModel) EmbedSparse(ctx context.Context, texts []string) ([]SparseVector, error) {
	return s.m.embedSparse(ctx, texts, way{prompt: s.m.defaultPrompt()})
}

// EmbedSparseQueries is EmbedSparse for queries: with the prompt "query", and in a model with a Router by its route for them.
func (s *SparseModel) EmbedSparseQueries(ctx context.Context, texts []string) ([]SparseVector, error) {
	return s.m.embedSparse(ctx, texts, s.m.forQueries())
}

// EmbedSparseDocuments is EmbedSparse for documents.
func (s *SparseModel) EmbedSparseDocuments(ctx context.Context, texts []string) ([]SparseVector, error) {
	return s.m.embedSparse(ctx, texts, s.m.forDocuments())
}

// TokenizeQuery returns the tokens of a text as EmbedSparseQueries sees it.
func (s *SparseModel) TokenizeQuery(text string) (Tokens, error) { return s.m.TokenizeQuery(text) }

// TokenizeDocument returns the tokens of a text as EmbedSparseDocuments sees it.
func (s *SparseModel) TokenizeDocument(text string) (Tokens, error) {
	return s.m.TokenizeDocument(text)
}

func (m *Model) embedSparse(ctx context.Context, texts []string, w way) ([]SparseVector, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%w: no texts", ErrInput)
	}
	to, w, err := m.enterRoute(w)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	seqs, err := to.sequences(ctx, texts, w.prompt)
	if err != nil {
		return nil, err
	}
	return to.sparse(ctx, seqs)
}

// sparse makes the vectors of sequences, within a call of m.
func (m *Model) sparse(ctx context.Context, seqs []bert.Sequence) ([]SparseVector, error) {
	keep := m.files.MaxActive
	if m.encoder != nil {
		return m.encoder.EmbedSparse(ctx, seqs, keep)
	}
	vectors := make([]SparseVector, len(seqs))
	for i, s := range seqs {
		var err error
		if vectors[i], err = m.words.Embed(s.IDs, keep); err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
	}
	return vectors, nil
}
