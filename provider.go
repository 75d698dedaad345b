package vkbert

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

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

// ListModels is [Discover] over the machine's caches.
func (m *Model) ListModels(ctx context.Context) ([]ModelInfo, error) { return Discover(ctx) }

// Discover finds the models in the machine's Hugging Face cache (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface), in that of sentence-transformers
// (SENTENCE_TRANSFORMERS_HOME, ~/.cache/torch/sentence_transformers) and below the given folders, to a depth of four: the usable ones, and the others with the
// reason why not (Err). No weights are read. The error is that of ctx, with what was found until it ended, or of a folder that is not there.
func Discover(ctx context.Context, folders ...string) ([]ModelInfo, error) {
	return DiscoverWithProgress(ctx, nil, folders...)
}

// DiscoverWithProgress is [Discover] for a search that may take long. It tells progress, now and then, how many folders and entries of folders it has seen, and
// where it is.
func DiscoverWithProgress(ctx context.Context, progress func(folders, entries int, at string), folders ...string) ([]ModelInfo, error) {
	return loader.Discover(ctx, loader.Discovery{Roots: folders, Verify: bert.Check, Progress: progress})
}

// DeviceInfo describes a device.
type DeviceInfo = cgo.DeviceInfo

// Devices lists what there is on this machine, the unusable ones with the reason.
func Devices() ([]DeviceInfo, error) { return cgo.Devices(defaultCacheDir()) }

// Variant is one way to do an op on a device: a kernel, and whether it is used.
type Variant = cgo.Variant

// Variants lists the kernels that there are for a Vulkan device, which is named as for [WithDevice], best first for each op: those that passed their self-tests
// are used, and the others have the reason why not. What was not tested yet is tested now, which can take seconds. The CPU has none.
func Variants(device string) ([]Variant, error) {
	d, err := cgo.OpenDevice(cgo.Options{Selector: device, CacheDir: defaultCacheDir()})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Variants()
}

func defaultCacheDir() string { return cacheDir(options{logger: slog.New(slog.DiscardHandler)}) }

// Info is what is known of an open model.
type Info struct {
	Name           string
	Dir            string // "" for a random model
	Architecture   string
	Dimensions     int // of the vectors, after truncation
	Hidden         int
	Layers, Heads  int
	Vocabulary     int
	MaxTokens      int // of a text, special tokens included
	MaxBatchTokens int // that the device works on at a time
	DType          string
	Modules        []string
	Pooling        []string
	Prompts        map[string]string
	Tasks          []string // that [WithTask] takes: those of adapters, or a Router's routes
	Labels         []string // of a [Reranker]'s scores, where the files name them
	DefaultPrompt  string   // its name
	Similarity     string   // cosine, dot, euclidean or manhattan
	Unused         []string // tensors of the files that are not needed
	Device         DeviceInfo
	WeightBytes    uint64   // on the device
	ArenaBytes     uint64   // on the device, for intermediate results
	HostBytes      uint64   // for inputs and outputs
	NonFinite      uint64   // weights that are NaN or infinite
	NonFiniteIn    []string // tensors that are side by side on the device, among them the one where the first of these is
}

// Info says what was opened and what memory it takes.
func (m *Model) Info() Info {
	e := m.info()
	info := Info{
		Name: m.name, Architecture: e.Architecture, Dimensions: m.dims, Hidden: e.Hidden, Layers: e.Layers, Heads: e.Heads, Vocabulary: e.Vocabulary,
		MaxTokens: m.maxTokens, MaxBatchTokens: e.MaxBatchTokens, DType: e.DType, Pooling: slices.Clone(m.pooling), Prompts: map[string]string{},
		Unused: slices.Clone(e.Unused), Device: e.Device, WeightBytes: e.WeightBytes, ArenaBytes: e.Program.ArenaBytes, HostBytes: e.Program.HostBytes, NonFinite: e.NonFinite, NonFiniteIn: slices.Clone(e.NonFiniteIn),
	}
	if m.files == nil {
		return info
	}
	info.Dir, info.DefaultPrompt, info.Similarity = m.files.Dir, m.files.DefaultPrompt, m.files.Similarity
	maps.Copy(info.Prompts, m.files.Prompts)
	for _, module := range m.files.Modules {
		info.Modules = append(info.Modules, module.Kind())
	}
	info.Tasks = slices.Clone(e.Tasks)
	if m.files.Routes != nil {
		info.Tasks = slices.Sorted(maps.Keys(m.files.Routes))
	}
	if m.files.CrossEncoder != nil {
		info.Labels = slices.Clone(m.files.CrossEncoder.Names)
	}
	return info
}

// Stats counts what a model has done.
type Stats = bert.Stats

// Stats says what the model has done since it was opened.
func (m *Model) Stats() Stats {
	var sum Stats
	if m.encoder != nil {
		sum = m.encoder.Stats()
		sum.Tokenizing = time.Duration(m.tokenizing.Load())
	}
	for _, other := range m.others() {
		sum = sum.Plus(other.Stats())
	}
	return sum
}
