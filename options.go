package vkbert

import (
	"fmt"
	"log/slog"

	"github.com/vkbert/vkbert/loader"
)

// Option changes how [Open] opens a model.
type Option func(*options)

type options struct {
	device     string
	dtype      string
	batch      int
	threads    int
	cacheDir   *string
	pooling    []loader.PoolingMode
	dimensions int
	truncate   bool
	normalize  bool
	logger     *slog.Logger
}

// WithDevice chooses the device: "auto" (the default: a discrete, integrated or virtual GPU, else the CPU), "cpu", "vulkan" (the best GPU), "vulkan:N" or
// "vulkan:NAME" (by index or part of the name, software implementations too), or "reference" (slow and exact). [Devices] lists what there is. Several, with
// commas between them, or "vulkan:all", every GPU, hold a copy of the model each and share its batches out by speed.
func WithDevice(selector string) Option { return func(o *options) { o.device = selector } }

// WithDType chooses how weights and intermediate results are stored on the device: "auto" (the default), "f32", "f16" (half the memory, and several times
// as fast on a GPU with matrix hardware; sums, softmax and norms are f32 all the same) or "int8" (a quarter). With "int8" the linear layers
// of the transformer multiply 8-bit integers, weights scaled by output and activations by token, with exact sums: faster, and a vector differs in the second
// or third digit; embedding tables are f16, and what follows the transformer is f32. "auto" is f16 where the GPU has matrix hardware, else f32. A device
// that cannot do what is asked for fails with [ErrUnsupported] or a [DeviceError].
func WithDType(dtype string) Option { return func(o *options) { o.dtype = dtype } }

// WithMaxBatchTokens sets how many tokens the device works on at a time; 0, the default, goes by the kind of device. More tokens take more device
// memory and let a call wait longer behind another. A batch always takes at least the longest text, or 8,192 tokens where the model takes longer ones: those are
// then refused with [ErrInput], unless n is as large.
func WithMaxBatchTokens(n int) Option { return func(o *options) { o.batch = n } }

// WithThreads sets the threads of the CPU backend; 0, the default, means all that the process may use.
func WithThreads(n int) Option { return func(o *options) { o.threads = n } }

// WithPooling replaces the model's pooling modes: "cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken". Several concatenate.
func WithPooling(modes ...string) Option {
	return func(o *options) {
		o.pooling = nil
		for _, m := range modes {
			o.pooling = append(o.pooling, loader.PoolingMode(m))
		}
	}
}

// WithDimensions keeps the first n values of each vector, for models that were trained for it (Matryoshka); 0, the default, means as the model says. As in
// sentence-transformers, what is left is not normalised again unless [WithNormalize] asks for it.
func WithDimensions(n int) Option { return func(o *options) { o.dimensions = n } }

// WithTruncation says whether a text longer than the model's limit is cut off (true, the default) or refused with [ErrInput].
func WithTruncation(on bool) Option { return func(o *options) { o.truncate = on } }

// WithNormalize scales every vector to unit length, whatever the model says, after [WithDimensions].
func WithNormalize(on bool) Option { return func(o *options) { o.normalize = on } }

// WithLogger sends the few lines there are (damaged weights, an unusable cache, unused tensors) to a logger; nil, the default, drops them.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithCacheDir sets the folder for compiled kernels; "" keeps them in memory. The default is $VKBERT_CACHE, where "off" means none, else vkbert in the user's
// cache folder. It is made if it is not there; one that cannot be used is logged and does no harm.
func WithCacheDir(dir string) Option { return func(o *options) { o.cacheDir = &dir } }

// fit refuses the options that say what an embedding is, for models that make none.
func (o *options) fit(kind loader.Kind) error {
	if kind != loader.KindSparse && kind != loader.KindCrossEncoder {
		return nil
	}
	for name, given := range map[string]bool{"WithDimensions": o.dimensions > 0, "WithNormalize": o.normalize, "WithPooling": o.pooling != nil} {
		if given {
			return fmt.Errorf("%w: %s is for embeddings, and %s opens models for %s", ErrUnsupported, name, openers[kind], kind)
		}
	}
	return nil
}
