// Package genkit gives Firebase Genkit the embeddings of a vkbert model.
package genkit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/firebase/genkit/go/ai"
	"github.com/firebase/genkit/go/genkit"

	"github.com/vkbert/vkbert"
)

// Provider is the first part of an embedder's name: "vkbert/all-MiniLM-L6-v2".
const Provider = "vkbert"

// Config is what [ai.WithConfig] takes.
type Config struct {
	Input string `json:"input,omitempty" jsonschema:"enum=document,enum=query"` // what the texts are: "document", the default, or "query"
}

// Define registers a model as an embedder, under the last part of its name. The model stays the caller's to close.
func Define(g *genkit.Genkit, m *vkbert.Model) ai.Embedder {
	return genkit.DefineEmbedder(g, Name(m), Options(m), Func(m))
}

// Name is what Define calls a model.
func Name(m *vkbert.Model) string {
	name := m.ModelName()
	return Provider + "/" + name[strings.LastIndexByte(name, '/')+1:]
}

// Options describe a model.
func Options(m *vkbert.Model) *ai.EmbedderOptions {
	return &ai.EmbedderOptions{
		Label: "vkbert - " + m.ModelName(), Dimensions: m.Dimensions(), Supports: &ai.EmbedderSupports{Input: []string{"text"}},
		ConfigSchema: map[string]any{"type": "object", "properties": map[string]any{"input": map[string]any{"type": "string", "enum": []any{"document", "query"}}}},
	}
}

// Func embeds documents: a vector for each, of its parts of text joined. A part of another kind is an error.
func Func(m *vkbert.Model) ai.EmbedderFunc {
	return func(ctx context.Context, request *ai.EmbedRequest) (*ai.EmbedResponse, error) {
		config, err := configOf(request.Options)
		if err != nil || len(request.Input) == 0 {
			return &ai.EmbedResponse{Embeddings: []*ai.Embedding{}}, err
		}
		texts := make([]string, len(request.Input))
		for i, d := range request.Input {
			if texts[i], err = text(d); err != nil {
				return nil, fmt.Errorf("vkbert: document %d: %w", i, err)
			}
		}
		embed := m.EmbedDocuments
		if config.Input == "query" {
			embed = m.EmbedQueries
		}
		vectors, err := embed(ctx, texts)
		if err != nil {
			return nil, err
		}
		response := &ai.EmbedResponse{}
		for _, v := range vectors {
			response.Embeddings = append(response.Embeddings, &ai.Embedding{Embedding: v})
		}
		return response, nil
	}
}

// configOf reads the options of a request: a Config, or a map with its keys.
func configOf(options any) (c Config, err error) {
	data, err := json.Marshal(options)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil || c.Input != "" && c.Input != "document" && c.Input != "query" {
		return c, fmt.Errorf(`%w: options %s: want {"input":"document"} or {"input":"query"}`, vkbert.ErrInput, data)
	}
	return c, nil
}

func text(d *ai.Document) (string, error) {
	if d == nil {
		return "", fmt.Errorf("%w: none", vkbert.ErrInput)
	}
	var b strings.Builder
	for i, part := range d.Content {
		if !part.IsText() {
			return "", fmt.Errorf("%w: part %d is not text", vkbert.ErrInput, i)
		}
		b.WriteString(part.Text)
	}
	return b.String(), nil
}
