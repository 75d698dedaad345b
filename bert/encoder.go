package bert

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Options of [Open]; the zero value is a good default.
type Options struct {
	Device         string // as vkb_device_options.selector: "", "auto", "cpu", "vulkan", "vulkan:N", "vulkan:NAME", "reference"
	DType          string // "", "auto", "f32", "f16": how weights and values per token are stored on the device
	MaxBatchTokens int    // tokens of one batch; 0 = by device
	Threads        int    // CPU backend; 0 = as many as the process may use
	CacheDir       string // existing folder for the pipeline cache; "" = none
	Log            func(level cgo.LogLevel, message string)
	Pooling        []cgo.Pool // instead of the model's own; nil = as the model says
}

// Info is what is known of an open encoder.
type Info struct {
	Architecture   string
	Dimensions     int // of a vector
	Hidden         int
	Layers, Heads  int
	Vocabulary     int
	MaxTokens      int // of a sequence, by the position table
	MaxBatchTokens int
	DType          string   // of the weights on the device
	Unused         []string // tensors of the files that the program does not read
	Device         cgo.DeviceInfo
	WeightBytes    uint64 // on the device
	NonFinite      uint64 // weights that are NaN or infinite
	Program        cgo.ProgramInfo
}

// Encoder is a model on a device. Safe for any number of goroutines.
type Encoder struct {
	info    Info
	device  *cgo.Device
	weights *cgo.Weights
	program *cgo.Program
	queue   *queue
	close   func()
}

// Open builds the program of a model directory, loads its weights onto the device and compiles the kernels. The model's files may be closed afterwards.
func Open(ctx context.Context, m *loader.Model, o Options) (*Encoder, error) {
	p, err := plan(m, o)
	if err != nil {
		return nil, err
	}
	return p.open(ctx, o)
}

// Check says whether [Open] would find all that it needs in a model directory: a known architecture and modules, and every tensor in its shape. It reads headers alone.
func Check(m *loader.Model) error {
	_, err := plan(m, Options{})
	return err
}

// OpenRandom is Open for random weights of the shapes that a configuration asks for, followed by mean pooling and normalisation: for benchmarks.
func OpenRandom(ctx context.Context, c *loader.Config, o Options) (*Encoder, error) {
	p, err := planRandom(c, o)
	if err != nil {
		return nil, err
	}
	return p.open(ctx, o)
}

// A planned is a model that is ready to be put on a device.
type planned struct {
	*builder
	arch    architecture
	encoder encoder
	output  value
	unused  []string
}

func plan(m *loader.Model, o Options) (*planned, error) {
	if m.Kind != loader.KindEmbedding {
		return nil, fmt.Errorf("%w: %s: the model is made for a %s; supported: %s", loader.ErrUnsupported, m.Dir, m.Kind, loader.KindEmbedding)
	}
	if m.Routes != nil {
		return nil, fmt.Errorf("%w: %s: module Router; one way through the modules is supported", loader.ErrUnsupported, m.Dir)
	}
	if _, ok := m.Modules[0].(loader.Transformer); !ok {
		return nil, fmt.Errorf("%w: %s: module %s in place of a Transformer", loader.ErrUnsupported, m.Dir, m.Modules[0].Kind())
	}
	arch, err := findArchitecture(m.Config)
	if err != nil {
		return nil, err
	}
	stored, err := newFiles(m.Weights, arch.prefixes, arch.probe)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(arch, m.Config, stored, o)
	if err != nil {
		return nil, err
	}
	if p.output, err = addModules(p.builder, p.encoder.output, m, o.Pooling); err != nil {
		return nil, err
	}
	if err := checkSources(p.tensors); err != nil {
		return nil, err
	}
	p.unused = stored.unused()
	return p, checkLeftovers(p.unused, stored.prefix, arch)
}

func planRandom(c *loader.Config, o Options) (*planned, error) {
	arch, err := findArchitecture(c)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(arch, c, &randomTensors{}, o)
	if err != nil {
		return nil, err
	}
	modes := o.Pooling
	if modes == nil {
		modes = []cgo.Pool{cgo.PoolMean}
	}
	p.output = p.normalize(p.pool(p.encoder.output, modes))
	return p, nil
}

func newPlan(arch architecture, c *loader.Config, from tensors, o Options) (*planned, error) {
	if _, err := storage(o.DType, cgo.DeviceInfo{}); err != nil {
		return nil, err
	}
	p := &planned{builder: &builder{from: from}, arch: arch}
	var err error
	p.encoder, err = arch.build(p.builder, c)
	return p, err
}

// storage says how weights and values per token are stored. f16 is worth its rounding where matrix hardware makes it fast: there "auto" is f16, else f32.
func storage(name string, device cgo.DeviceInfo) (cgo.DType, error) {
	switch name {
	case "", "auto":
		if device.Features&cgo.CooperativeMatrix != 0 && device.Kind != cgo.Software {
			return cgo.F16, nil
		}
		return cgo.F32, nil
	case "f32":
		return cgo.F32, nil
	case "f16":
		return cgo.F16, nil
	}
	return 0, fmt.Errorf("%w: dtype %q; supported: auto, f32, f16", loader.ErrUnsupported, name)
}

func (p *planned) open(ctx context.Context, o Options) (_ *Encoder, err error) {
	e := &Encoder{}
	defer func() {
		if err != nil {
			e.release()
		}
	}()
	if e.device, err = cgo.OpenDevice(cgo.Options{Selector: o.Device, Threads: o.Threads, CacheDir: o.CacheDir, Log: o.Log}); err != nil {
		return nil, err
	}
	dtype, err := storage(o.DType, e.device.Info())
	if err != nil {
		return nil, err
	}
	p.store(dtype)
	weights, weightsInfo, err := upload(ctx, e.device, p.tensors)
	if err != nil {
		return nil, err
	}
	e.weights = weights
	maxTokens := batchTokens(o.MaxBatchTokens, e.device.Info(), p.values, p.encoder.limit)
	maxSequences := min(maxTokens, maxBatchSequences)
	if e.program, err = cgo.NewProgram(weights, p.desc(p.output, maxTokens, maxSequences)); err != nil {
		return nil, err
	}
	e.info = Info{
		Architecture: p.arch.name, Dimensions: int(p.width(p.output)), Hidden: int(p.width(p.encoder.output)), Layers: p.encoder.layers, Heads: p.encoder.heads,
		Vocabulary: p.encoder.vocab, MaxTokens: p.encoder.limit, MaxBatchTokens: maxTokens, DType: dtypeName(p.dtype), Unused: p.unused,
		Device: e.device.Info(), WeightBytes: weightsInfo.Bytes, NonFinite: weightsInfo.NonFinite, Program: e.program.Info(),
	}
	e.queue = newQueue(e.program, p.encoder.positions, e.info.Dimensions, maxTokens, maxSequences)
	e.close = sync.OnceFunc(func() {
		e.queue.close()
		e.release()
	})
	return e, nil
}

func dtypeName(d cgo.DType) string {
	if d == cgo.F16 {
		return "f16"
	}
	return "f32"
}

// checkLeftovers refuses a file that holds more inside a layer than the architecture reads: it is another architecture under this one's name.
func checkLeftovers(unused []string, prefix string, arch architecture) error {
	for _, name := range unused {
		if rest, ok := strings.CutPrefix(name, prefix); ok && strings.HasPrefix(rest, arch.layers) {
			return fmt.Errorf("%w: tensor %q is part of a layer, but %s has no such tensor; the model is of another architecture", loader.ErrUnsupported, name, arch.modelType)
		}
	}
	return nil
}

const maxBatchSequences = 4096

// Default tokens of a batch, by kind of device: enough to fill it, few enough that a small call does not wait long behind a full batch.
var defaultBatchTokens = map[cgo.DeviceKind]int{
	cgo.Discrete: 16384, cgo.Integrated: 4096, cgo.Virtual: 8192, cgo.Software: 1024, cgo.CPU: 2048, cgo.Reference: 1024,
}

// batchTokens is how many tokens a batch may have: what was asked for, or the default, but never less than the longest sequence; the default also
// stays within what one storage buffer of the device holds.
func batchTokens(asked int, device cgo.DeviceInfo, values []cgo.Value, longest int) int {
	tokens := asked
	if asked <= 0 {
		tokens = defaultBatchTokens[device.Kind]
		widest := uint64(1)
		for _, v := range values {
			widest = max(widest, uint64(v.Width))
		}
		if device.BufferRange > 0 {
			const padding = 64 // columns, and rows below
			fits := device.BufferRange / (4 * (widest + padding))
			tokens = int(min(uint64(tokens), max(fits, 128+1)-128))
		}
	}
	return max(tokens, min(longest, longestDefault))
}

// longestDefault bounds the memory that a model with a very long context takes unasked; MaxBatchTokens asks for more.
const longestDefault = 8192

// Info says what was opened.
func (e *Encoder) Info() Info { return e.info }

// Stats says what was done so far.
func (e *Encoder) Stats() Stats { return e.queue.snapshot() }

// Embed returns a vector for each sequence, [len(seqs)][Dimensions]. It waits for the device, or for the end of ctx.
func (e *Encoder) Embed(ctx context.Context, seqs []Sequence) ([][]float32, error) {
	for i, s := range seqs {
		if err := e.check(s); err != nil {
			return nil, fmt.Errorf("text %d: %w", i, err)
		}
	}
	if len(seqs) == 0 {
		return nil, ctx.Err()
	}
	return e.queue.run(ctx, seqs)
}

func (e *Encoder) check(s Sequence) error {
	switch {
	case len(s.IDs) == 0:
		return fmt.Errorf("%w: no tokens", ErrInput)
	case len(s.IDs) > e.info.MaxTokens:
		return fmt.Errorf("%w: %d tokens, want at most %d", ErrInput, len(s.IDs), e.info.MaxTokens)
	case len(s.IDs) > e.info.MaxBatchTokens:
		return fmt.Errorf("%w: %d tokens, but a batch holds %d; open the model with more batch tokens", ErrInput, len(s.IDs), e.info.MaxBatchTokens)
	case s.TypeIDs != nil && len(s.TypeIDs) != len(s.IDs):
		return fmt.Errorf("%w: %d type ids for %d tokens", ErrInput, len(s.TypeIDs), len(s.IDs))
	}
	for i, id := range s.IDs {
		if id < 0 || int(id) >= e.info.Vocabulary {
			return fmt.Errorf("%w: token %d is id %d, want 0 to %d", ErrInput, i, id, e.info.Vocabulary-1)
		}
	}
	return nil
}

// Close lets the calls under way finish and releases the device. Calls that come later fail with [loader.ErrClosed]. It may be called again.
func (e *Encoder) Close() { e.close() }

func (e *Encoder) release() {
	e.program.Close()
	e.weights.Close()
	e.device.Close()
}

func finite(row []float32) bool {
	for _, x := range row {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
