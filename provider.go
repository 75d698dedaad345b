package vkbert

import (
	"context"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// EmbeddingProvider is what an application codes against if embeddings may come from elsewhere too. *[Model] is one.
type EmbeddingProvider interface {
	Embed(ctx context.Context, text string) ([]float32, error)
	EmbedBatch(ctx context.Context, texts []string) ([][]float32, error)
	ModelName() string
	Dimensions() int
	ProviderName() string
	ListModels(ctx context.Context) ([]ModelInfo, error)
	HealthCheck(ctx context.Context) error
}

var _ EmbeddingProvider = (*Model)(nil)

// ProviderName is "vkbert".
func (m *Model) ProviderName() string { return "vkbert" }

// ModelInfo is a model that was found on this machine.
type ModelInfo = loader.Found

// ListModels finds the models in the machine's Hugging Face and sentence-transformers caches: the usable ones, and the others with the reason why not. No weights
// are read.
func (m *Model) ListModels(ctx context.Context) ([]ModelInfo, error) {
	return loader.Discover(ctx, bert.Check)
}

// DeviceInfo describes a device.
type DeviceInfo = cgo.DeviceInfo

// Devices lists what there is on this machine, the unusable ones with the reason.
func Devices() ([]DeviceInfo, error) { return cgo.Devices() }

// Info is what is known of an open model.
type Info struct {
	bert.Info
	Name          string
	Dir           string // "" for a random model
	Dimensions    int    // of the vectors, after truncation
	MaxTokens     int    // of a text; what is longer is cut off
	Prompts       map[string]string
	DefaultPrompt string
	Similarity    string
	Modules       []string
	Pooling       []string
}

// Info says what was opened and what memory it takes.
func (m *Model) Info() Info {
	info := Info{Info: m.encoder.Info(), Name: m.name, Dimensions: m.dims, MaxTokens: m.maxTokens, Prompts: map[string]string{}}
	if m.files == nil {
		return info
	}
	info.Dir, info.DefaultPrompt, info.Similarity = m.files.Dir, m.files.DefaultPrompt, m.files.Similarity
	for name, text := range m.files.Prompts {
		info.Prompts[name] = text
	}
	for _, module := range m.files.Modules {
		info.Modules = append(info.Modules, module.Kind())
		if pooling, ok := module.(loader.Pooling); ok {
			for _, mode := range pooling.Modes {
				info.Pooling = append(info.Pooling, string(mode))
			}
		}
	}
	return info
}

// Stats counts what a model has done.
type Stats = bert.Stats

// Stats says what the model has done since it was opened.
func (m *Model) Stats() Stats { return m.encoder.Stats() }
