package vkbert

import (
	"context"
	"fmt"
	"strings"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/loader"
)

// Kind is what a model is made for.
type Kind = loader.Kind

// The kinds of models, each with the function that opens it.
const (
	KindEmbedding   = loader.KindEmbedding    // a vector a text: Open
	KindReranker    = loader.KindCrossEncoder // scores of a text or of two together: OpenReranker
	KindSparse      = loader.KindSparse       // a value a word of the vocabulary: OpenSparse
	KindMultiVector = loader.KindMultiVector  // a vector a token: OpenMultiVector
)

// KindOf says what a model is made for, and so which function opens it; model is as for [Open]. It reads headers alone.
func KindOf(ctx context.Context, model string) (Kind, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if strings.HasPrefix(model, "random:") {
		return KindEmbedding, nil
	}
	dir, _, err := loader.Resolve(model)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", model, err)
	}
	files, err := loader.Open(dir)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", model, err)
	}
	return files.Kind, files.Close()
}

// Health says why the model is down, or nil: its device was lost, and it is not (yet) on it again. It costs nothing; [Model.HealthCheck] tries the device.
func (m *Model) Health() error {
	for _, other := range m.others() {
		if err := other.Health(); err != nil {
			return err
		}
	}
	if m.encoder == nil {
		return nil
	}
	return m.encoder.Health()
}

// Health says why the model is down, or nil, without trying the device.
func (k kind) Health() error { return k.m.Health() }

// Inspect says of a model, which is named as for [Open], what [Discover] would: what it is made for, its sizes, and in Err why it cannot be used. No weights are read.
func Inspect(model string) (ModelInfo, error) {
	dir, name, err := loader.Resolve(model)
	if err != nil {
		return ModelInfo{}, err
	}
	found := loader.Examine(name, dir, bert.Check)
	return found, found.Err
}
