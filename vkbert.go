// Package vkbert makes sentence embeddings inside a Go program, on whatever GPU the machine has, through Vulkan, or on its CPU: the vectors that
// sentence-transformers makes, without Python, CUDA or a server.
//
//	m, err := vkbert.Open(ctx, "sentence-transformers/all-MiniLM-L6-v2")
//	if err != nil { … }
//	defer m.Close()
//	v, err := m.Embed(ctx, "one text")
//
// A model is a sentence-transformers directory; [Open] reads what it says about prompts, pooling and lengths, and refuses by name what it cannot do.
// The package needs cgo, and libtokenizers.a when a program is linked: see the README.
package vkbert

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/vkbert/vkbert/bert"
	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Model is an open model that makes one vector of a text. All methods are safe for any number of goroutines; what they ask for at the same time shares batches.
// Models of other kinds are opened with [OpenReranker], [OpenSparse] and [OpenMultiVector].
type Model struct {
	name      string
	files     *loader.Model // nil for a random model
	tokenizer *loader.Tokenizer
	encoder   *bert.Encoder     // nil where there are words
	words     *bert.WordWeights // of a sparse model without a transformer
	routes    map[string]route  // by task, where the model has a Router
	truncate  bool
	normalize bool
	dims      int  // of the vectors handed out
	maxTokens int  // of a text
	leaveOut  bool // prompts are left out of pooling
	prompts   map[string]prompt
	pooling   []string // modes, as the files or the options say
	health    []float32
	log       *slog.Logger
	calls     calls

	tokenizing atomic.Int64 // nanoseconds
}

// A prompt is put before every text. pooled is false where the model leaves it out of pooling; tokens is then how many rows are left out.
type prompt struct {
	text   string
	tokens int
}

// Open opens a model: a Hugging Face id that is in the machine's cache, a model directory, or the path of its model.safetensors. Nothing is downloaded (that
// is the command "vkbert download"). "random:minilm-l6", "random:base", "random:large" and "random:CONFIG.json" open random weights of those shapes, for
// benchmarks of [Model.EmbedTokens].
//
// Open takes as long as reading the weights and compiling the kernels does; ctx ends it early. A model has to be closed: one that is only dropped keeps its
// device.
func Open(ctx context.Context, model string, opts ...Option) (*Model, error) {
	return openKind(ctx, model, loader.KindEmbedding, opts)
}

// openKind opens a model that must be of this kind.
func openKind(ctx context.Context, model string, kind loader.Kind, opts []Option) (*Model, error) {
	o := options{truncate: true}
	for _, opt := range opts {
		opt(&o)
	}
	if o.logger == nil {
		o.logger = slog.New(slog.DiscardHandler)
	}
	if !cgo.Available {
		return nil, ErrNoCgo
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if strings.IndexByte(o.device, 0) >= 0 { // C would read what is before it
		return nil, fmt.Errorf("%w: device: got %q, want a selector without a NUL", ErrInput, o.device)
	}
	for what, n := range map[string]int{"dimensions": o.dimensions, "batch tokens": o.batch, "threads": o.threads} {
		if n < 0 || n > math.MaxInt32 {
			return nil, fmt.Errorf("%w: %s: got %d, want 0 to %d", ErrInput, what, n, math.MaxInt32)
		}
	}
	if err := o.fit(kind); err != nil {
		return nil, err
	}
	m, err := open(ctx, model, kind, o)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", model, err)
	}
	return m, nil
}

func open(ctx context.Context, model string, kind loader.Kind, o options) (_ *Model, err error) {
	settings, err := encoderOptions(o)
	if err != nil {
		return nil, err
	}
	if shape, ok := strings.CutPrefix(model, "random:"); ok {
		if kind != loader.KindEmbedding {
			return nil, fmt.Errorf("%w: random weights make embeddings alone; open them with %s", ErrUnsupported, openers[loader.KindEmbedding])
		}
		config, err := bert.RandomConfig(shape)
		if err != nil {
			return nil, err
		}
		m := &Model{name: model, log: o.logger}
		if m.encoder, err = bert.OpenRandom(ctx, config, settings); err != nil {
			return nil, err
		}
		return m, m.setUp(ctx, o)
	}
	dir, name, err := loader.Resolve(model)
	if err != nil {
		return nil, err
	}
	files, err := openFiles(dir, kind)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	return openRoutes(ctx, name, files, settings, o)
}

// setUp does what follows the opening of the encoder. A model for which that fails is closed.
func (m *Model) setUp(ctx context.Context, o options) (err error) {
	defer func() {
		if err != nil {
			m.Close()
		}
	}()
	m.truncate, m.normalize = o.truncate, o.normalize
	info := m.info()
	m.maxTokens = info.MaxTokens
	m.setPooling(o.pooling)
	if m.files != nil && m.files.MaxSeqLength > 0 {
		m.maxTokens = min(m.maxTokens, m.files.MaxSeqLength)
	}
	if m.tokenizer != nil {
		if limit := m.tokenizer.Limit(); limit > 0 {
			m.maxTokens = min(m.maxTokens, limit)
		}
		if _, _, err := m.tokenizer.Append(ctx, nil, "", m.maxTokens); err != nil { // a limit below the special tokens: no text would have a vector
			return err
		}
	}
	if err := m.setDimensions(o.dimensions); err != nil {
		return err
	}
	if err := m.setPrompts(); err != nil {
		return err
	}
	if info.NonFinite > 0 {
		m.log.Warn("weights are NaN, infinite or too large for their dtype; a text that reaches them has no vector", "model", m.name, "dtype", info.DType, "elements", info.NonFinite, "among", info.NonFiniteIn)
	}
	if len(info.Unused) > 0 {
		m.log.Info("tensors that the model does not need", "model", m.name, "tensors", info.Unused)
	}
	if m.tokenizer != nil && m.tokenizer.VocabSize() > info.Vocabulary {
		m.log.Warn("the tokenizer has more tokens than the model; texts that hold one of them are refused", "model", m.name, "tokenizer", m.tokenizer.VocabSize(), "rows", info.Vocabulary)
	}
	if m.encoder == nil {
		return nil
	}
	if m.health, err = m.probe(ctx); errors.Is(err, ErrNotFinite) {
		return nil // HealthCheck says so
	}
	return err
}

func encoderOptions(o options) (bert.Options, error) {
	settings := bert.Options{Device: o.device, DType: o.dtype, MaxBatchTokens: o.batch, Threads: o.threads, CacheDir: cacheDir(o)}
	settings.Log = func(level cgo.LogLevel, message string) {
		o.logger.Log(context.Background(), []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn}[level], message)
	}
	var err error
	if o.pooling != nil {
		settings.Pooling, err = bert.Poolings(o.pooling)
	}
	return settings, err
}

// cacheDir is an existing folder for compiled kernels, or "".
func cacheDir(o options) string {
	dir := os.Getenv("VKBERT_CACHE")
	switch {
	case o.cacheDir != nil:
		dir = *o.cacheDir
	case dir == "off":
		return ""
	case dir == "":
		user, err := os.UserCacheDir()
		if err != nil {
			o.logger.Info("kernels are not cached", "error", err)
			return ""
		}
		dir = filepath.Join(user, "vkbert")
	}
	if dir == "" {
		return ""
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		o.logger.Info("kernels are not cached", "error", err)
		return ""
	}
	return dir
}

func (m *Model) setDimensions(asked int) error {
	full := m.info().Dimensions
	m.dims = full
	if m.files != nil && m.files.TruncateDim > 0 {
		m.dims = min(full, m.files.TruncateDim)
	}
	if asked > full {
		return fmt.Errorf("%w: %d dimensions, but the model has %d", ErrInput, asked, full)
	}
	if asked > 0 {
		m.dims = asked
	}
	return nil
}

// setPooling keeps the names of the pooling modes: those of the options, else those of the files.
func (m *Model) setPooling(asked []loader.PoolingMode) {
	modes := asked
	if m.files == nil && modes == nil {
		modes = []loader.PoolingMode{loader.PoolMean} // of a random model
	}
	if modes == nil {
		for _, module := range m.files.Modules {
			if pooling, ok := module.(loader.Pooling); ok {
				modes = append(modes, pooling.Modes...)
			}
		}
	}
	for _, mode := range modes {
		m.pooling = append(m.pooling, string(mode))
	}
}

// setPrompts makes the prompts that the files name.
func (m *Model) setPrompts() (err error) {
	m.prompts = map[string]prompt{}
	if m.files == nil {
		return nil
	}
	for _, module := range m.files.Modules {
		if pooling, ok := module.(loader.Pooling); ok {
			m.leaveOut = !pooling.IncludePrompt
		}
	}
	for name, text := range m.files.Prompts {
		if m.prompts[name], err = m.newPrompt(text); err != nil {
			return fmt.Errorf("prompt %q: %w", name, err)
		}
	}
	return nil
}

// newPrompt finds out how many rows a prompt takes, where the model leaves prompts out of pooling (include_prompt: false).
func (m *Model) newPrompt(text string) (prompt, error) {
	p := prompt{text: text}
	var err error
	if m.leaveOut && text != "" {
		p.tokens, err = m.tokenizer.PromptLength(text, m.maxTokens)
	}
	return p, err
}

// defaultPrompt is the one that the model asks for where the caller names none.
func (m *Model) defaultPrompt() prompt {
	if m.files == nil {
		return prompt{}
	}
	return m.prompts[m.files.DefaultPrompt]
}

// Embed returns the vector of a text, [Model.Dimensions] long, of unit length if the model says so. The model's default prompt, if it has one, is put before it.
// An empty text has a vector too.
func (m *Model) Embed(ctx context.Context, text string) ([]float32, error) {
	return first(m.EmbedBatch(ctx, []string{text}))
}

// EmbedBatch returns a vector for each text, in order. No texts are an error ([ErrInput]).
func (m *Model) EmbedBatch(ctx context.Context, texts []string) ([][]float32, error) {
	return m.embed(ctx, texts, way{prompt: m.defaultPrompt()})
}

// EmbedQuery is Embed with the model's prompt "query"; a model without one uses no prompt, as SentenceTransformer.encode_query does. A model with a Router
// takes its route for queries, and one with adapters the task "retrieval.query".
func (m *Model) EmbedQuery(ctx context.Context, text string) ([]float32, error) {
	return first(m.EmbedQueries(ctx, []string{text}))
}

// EmbedDocuments is EmbedBatch with the model's prompt "document"; a model without one uses no prompt, as SentenceTransformer.encode_document does. A prompt that a
// model calls "passage" is used when it is asked for, with [Model.EmbedWithPrompt]. A model with a Router takes its route for documents, and one with adapters
// the task "retrieval.passage".
func (m *Model) EmbedDocuments(ctx context.Context, texts []string) ([][]float32, error) {
	return m.embed(ctx, texts, m.forDocuments())
}

// EmbedWithPrompt is EmbedBatch with the prompt that the model has under this name.
func (m *Model) EmbedWithPrompt(ctx context.Context, name string, texts []string) ([][]float32, error) {
	return m.EmbedWith(ctx, texts, WithPrompt(name))
}

// EmbedTokens returns a vector for each list of token ids, special tokens included, for callers that tokenize themselves. Nothing is truncated: a list may be as
// long as the model has positions and a batch holds, which can be more than Info().MaxTokens, and is refused with [ErrInput] beyond that.
func (m *Model) EmbedTokens(ctx context.Context, ids [][]int32) ([][]float32, error) {
	if len(ids) == 0 {
		return nil, fmt.Errorf("%w: no texts", ErrInput)
	}
	if err := m.calls.enter(); err != nil {
		return nil, err
	}
	defer m.calls.leave()
	seqs := make([]bert.Sequence, len(ids))
	for i, s := range ids {
		seqs[i] = bert.Sequence{IDs: s}
	}
	m, err := m.to("")
	if err != nil {
		return nil, err
	}
	return m.run(ctx, seqs, "")
}

// embed sends the texts along a way.
func (m *Model) embed(ctx context.Context, texts []string, w way) ([][]float32, error) {
	if len(texts) == 0 {
		return nil, fmt.Errorf("%w: no texts", ErrInput)
	}
	to, w, err := m.enterRoute(w)
	if err != nil {
		return nil, err
	}
	defer to.calls.leave()
	vectors, err := to.vectors(ctx, texts, w)
	if err != nil {
		return nil, err
	}
	return to.finishAll(vectors), nil
}

// run embeds and does what follows the modules.
func (m *Model) run(ctx context.Context, seqs []bert.Sequence, task string) ([][]float32, error) {
	vectors, err := m.encoder.EmbedTask(ctx, task, seqs)
	if err != nil {
		return nil, err
	}
	return m.finishAll(vectors), nil
}

func (m *Model) finishAll(vectors [][]float32) [][]float32 {
	for i, v := range vectors {
		vectors[i] = m.finish(v)
	}
	return vectors
}

// finish cuts a vector to the dimensions, then scales it to unit length if the caller asked for that.
func (m *Model) finish(v []float32) []float32 {
	v = v[:m.dims:m.dims]
	if m.normalize {
		Normalize(v)
	}
	return v
}

func first(vectors [][]float32, err error) ([]float32, error) {
	if err != nil {
		return nil, err
	}
	return vectors[0], nil
}

// ModelName is the model's Hugging Face id, or the name of its directory.
func (m *Model) ModelName() string { return m.name }

// Dimensions is the length of the vectors.
func (m *Model) Dimensions() int { return m.dims }

// Close lets the calls under way finish and releases the device. Calls that come later fail with [ErrClosed]. It may be called again.
func (m *Model) Close() error {
	m.calls.close()
	if m.encoder != nil {
		m.encoder.Close()
	}
	var err error
	if m.tokenizer != nil {
		err = m.tokenizer.Close()
	}
	for _, other := range m.others() {
		err = errors.Join(err, other.Close())
	}
	return err
}

// probe embeds a fixed sequence of tokens.
func (m *Model) probe(ctx context.Context) ([]float32, error) {
	ids := make([]int32, min(16, m.maxTokens))
	for i := range ids {
		ids[i] = int32((i*37 + 1) % m.encoder.Info().Vocabulary)
	}
	return first(m.encoder.Embed(ctx, []bert.Sequence{{IDs: ids}}))
}

// HealthCheck makes one embedding on the device and compares it with the one made when the model was opened. Where the device was lost, it says so until the
// model is on it again; a device that was lost twice is not tried again.
func (m *Model) HealthCheck(ctx context.Context) error {
	if err := m.calls.enter(); err != nil {
		return err
	}
	defer m.calls.leave()
	for _, other := range m.others() {
		if err := other.HealthCheck(ctx); err != nil {
			return err
		}
	}
	if m.encoder == nil {
		return nil // nothing runs on a device
	}
	if err := m.encoder.Health(); err != nil {
		return err
	}
	v, err := m.probe(ctx)
	if err != nil {
		return err
	}
	if m.health == nil {
		return fmt.Errorf("when the model was opened: %w", ErrNotFinite)
	}
	var worst, largest float64
	for i := range v {
		worst = max(worst, math.Abs(float64(v[i]-m.health[i])))
		largest = max(largest, math.Abs(float64(m.health[i])))
	}
	if worst > 1e-4*largest {
		return fmt.Errorf("vkbert: %s gives other vectors than when it was opened: off by %.2g", m.encoder.Info().Device.Name, worst)
	}
	return nil
}
