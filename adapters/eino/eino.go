// Package eino gives CloudWeGo's Eino the embeddings of a vkbert model.
package eino

import (
	"context"
	"fmt"

	"github.com/cloudwego/eino/callbacks"
	"github.com/cloudwego/eino/components"
	"github.com/cloudwego/eino/components/embedding"

	"github.com/vkbert/vkbert"
)

// Embedder is a model as Eino wants it. It is safe for any number of goroutines, and what they ask for at the same time shares batches. Callback handlers see
// texts and vectors.
type Embedder struct{ model *vkbert.Model }

var (
	_ embedding.Embedder = Embedder{}
	_ components.Typer   = Embedder{}
	_ components.Checker = Embedder{}
)

// New makes an Embedder of an open model, which stays the caller's to close.
func New(m *vkbert.Model) Embedder { return Embedder{m} }

type options struct{ query bool }

// WithQuery says that the texts of a call are queries: the model's prompt for them is used, where it has one. The default is documents.
func WithQuery() embedding.Option {
	return embedding.WrapImplSpecificOptFn(func(o *options) { o.query = true })
}

// EmbedStrings returns a vector for each text; none for none. [embedding.WithModel] with another name than the model's is an error.
func (e Embedder) EmbedStrings(ctx context.Context, texts []string, opts ...embedding.Option) (vectors [][]float64, err error) {
	common := embedding.GetCommonOptions(nil, opts...)
	own := embedding.GetImplSpecificOptions(&options{}, opts...)
	config := &embedding.Config{Model: e.model.ModelName(), EncodingFormat: "float"}
	ctx = callbacks.EnsureRunInfo(ctx, e.GetType(), components.ComponentOfEmbedding)
	ctx = callbacks.OnStart(ctx, &embedding.CallbackInput{Texts: texts, Config: config})
	defer func() {
		if err != nil {
			callbacks.OnError(ctx, err)
		}
	}()
	if common.Model != nil && *common.Model != config.Model {
		return nil, fmt.Errorf("%w: model %q: want %q", vkbert.ErrInput, *common.Model, config.Model)
	}
	vectors = make([][]float64, len(texts))
	if len(texts) > 0 {
		embed := e.model.EmbedDocuments
		if own.query {
			embed = e.model.EmbedQueries
		}
		made, err := embed(ctx, texts)
		if err != nil {
			return nil, err
		}
		for i, v := range made {
			vectors[i] = make([]float64, len(v))
			for j, x := range v {
				vectors[i][j] = float64(x)
			}
		}
	}
	callbacks.OnEnd(ctx, &embedding.CallbackOutput{Embeddings: vectors, Config: config})
	return vectors, nil
}

// GetType is the component's name in Eino's graphs.
func (e Embedder) GetType() string { return "Vkbert" }

// IsCallbacksEnabled says that EmbedStrings calls the handlers itself.
func (e Embedder) IsCallbacksEnabled() bool { return true }
