package bert

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// Options of [Open]; the zero value is a good default.
type Options struct {
	Device         string // as vkb_device_options.selector: "", "auto", "cpu", "vulkan", "vulkan:N", "vulkan:NAME", "reference"; several with commas, or "vulkan:all"
	DType          string // "", "auto", "f32", "f16", "int8": how weights are stored on the device
	MaxBatchTokens int    // tokens of one batch; 0 = by device
	Threads        int    // CPU backend; 0 = as many as the process may use
	CacheDir       string // existing folder for the pipeline cache; "" = none
	Log            func(level cgo.LogLevel, message string)
	Pooling        []cgo.Pool // instead of the model's own; nil = as the model says

	MaxQueuedTokens int // tokens that may wait for a batch, over all calls, before further ones are held up; 0 = 64 batches
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
	Tasks          []string // that there are adapters for
	Device         cgo.DeviceInfo
	Replicas       []cgo.DeviceInfo // all devices that the model is on, Device first
	WeightBytes    uint64           // on each device
	NonFinite      uint64           // weights that are NaN or infinite
	NonFiniteIn    []string         // the tensors, side by side on the device, where the first of them is
	Program        cgo.ProgramInfo
}

// Encoder is a model on a device. Safe for any number of goroutines.
type Encoder struct {
	info  Info
	arch  *planned
	sites []*site // a device each
	close func()

	options                 Options
	maxTokens, maxSequences int

	mutex   sync.Mutex
	running map[string]*running // by the name of the program
	closed  bool
}

// running is a program on the device, with its queue. Those of tasks are made when they are first asked for.
type running struct {
	ready chan struct{} // closed when the others are set
	err   error
	queue *queue
}

// Open builds the program of a model directory, or of one route of it, loads its weights onto the device and compiles the kernels. The model's files may be closed
// afterwards.
func Open(ctx context.Context, m *loader.Model, o Options) (*Encoder, error) {
	p, err := plan(m, o)
	if err != nil {
		return nil, err
	}
	return p.open(ctx, o)
}

// Check says whether [Open] would find all that it needs in a model directory: a known architecture and modules, and every tensor in its shape. It reads headers alone.
func Check(m *loader.Model) error {
	for _, route := range m.Routes {
		if err := Check(route); err != nil {
			return err
		}
	}
	if _, words := m.Modules[0].(loader.SparseStaticEmbedding); words || m.Routes != nil {
		return nil
	}
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

func (p *planned) open(ctx context.Context, o Options) (_ *Encoder, err error) {
	e := &Encoder{arch: p, options: o, running: map[string]*running{}}
	e.close = sync.OnceFunc(e.release)
	defer func() {
		if err != nil {
			e.close()
		}
	}()
	sites, boards, err := p.openSites(ctx, o)
	if err != nil {
		return nil, err
	}
	e.sites = sites
	device, output := boards[0].device.Info(), p.values[p.output]
	e.maxTokens = batchTokens(o.MaxBatchTokens, device, p.values, p.encoder.limit)
	e.maxSequences = max(1, min(e.maxTokens, maxBatchSequences, maxBatchFloats/int(output.Width)))
	p.variants[base] = p.program()
	e.info = Info{
		Architecture: p.arch.name, Dimensions: int(output.Width), Hidden: int(p.width(p.encoder.output)), Layers: p.encoder.layers, Heads: p.encoder.heads,
		Vocabulary: p.encoder.vocab, MaxTokens: p.encoder.limit, DType: p.stored.name, Unused: p.unused, Tasks: p.tasks,
		Device: device, WeightBytes: boards[0].info.Bytes, NonFinite: boards[0].info.NonFinite,
	}
	if first := boards[0].info.FirstNonFinite; first != none {
		for _, src := range p.tensors[first].sources {
			e.info.NonFiniteIn = append(e.info.NonFiniteIn, src.name)
		}
	}
	for _, b := range boards {
		e.info.Replicas = append(e.info.Replicas, b.device.Info())
	}
	if _, err = e.program(ctx, base); err != nil {
		return nil, err
	}
	e.info.MaxBatchTokens = e.maxTokens
	e.info.Program = e.sites[0].programs[0].current.(*cgo.Program).Info()
	return e, nil
}

// program returns a program on the device, and makes it if need be. When ctx ends first, it is made for those who come later.
func (e *Encoder) program(ctx context.Context, name string) (*running, error) {
	e.mutex.Lock()
	if e.closed {
		e.mutex.Unlock()
		return nil, loader.ErrClosed
	}
	r, ok := e.running[name]
	if !ok {
		p, known := e.arch.variants[name]
		if !known {
			e.mutex.Unlock()
			return nil, fmt.Errorf("%w: no task %q; the model has %s", ErrInput, name, taskNames(e.arch.tasks))
		}
		r = &running{ready: make(chan struct{})}
		e.running[name] = r
		go e.makeProgram(r, name, p)
	}
	e.mutex.Unlock()
	select {
	case <-r.ready:
		return r, r.err
	default:
	}
	select {
	case <-r.ready:
		return r, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// makeProgram is tried again by the next call where it fails.
func (e *Encoder) makeProgram(r *running, name string, p program) {
	queue, err := e.start(name, p)
	e.mutex.Lock() // Stats reads the queues
	defer e.mutex.Unlock()
	r.queue, r.err = queue, err
	if err != nil && !e.closed {
		delete(e.running, name)
	}
	close(r.ready)
}

// start makes the program on every device, and a queue with a lane for each.
func (e *Encoder) start(name string, p program) (_ *queue, err error) {
	made := make([]*siteProgram, len(e.sites))
	defer func() {
		if err == nil {
			return
		}
		for i, p := range made {
			if p != nil {
				e.sites[i].drop(p)
			}
		}
	}()
	for i, s := range e.sites {
		for {
			made[i], err = s.program(p.desc(e.arch.stored.activations(), e.maxTokens, e.maxSequences))
			if name != base || !errors.Is(err, cgo.Unsupported) || e.maxTokens/2 < min(e.arch.encoder.limit, longestDefault) {
				if err != nil {
					return nil, err
				}
				break
			}
			// A dispatch would be larger than the device takes: batches are smaller then.
			e.maxTokens /= 2
			e.maxSequences = min(e.maxSequences, e.maxTokens)
		}
	}
	q := newQueue(p.values[p.output], e.arch.encoder.positions, e.maxTokens, e.maxSequences, e.options.MaxQueuedTokens)
	q.check = e.prepare
	for i := range made {
		d := e.info.Replicas[i]
		if err := q.addLane(&replica{made, i}, batchesAtOnce(d.Kind), newBudget(e.maxTokens, e.options.MaxBatchTokens > 0, e.options.CacheDir, e.budgetKey(d, name))); err != nil {
			q.close()
			return nil, err
		}
	}
	return q, nil
}

// Health says why the model is down, or nil: a device was lost, and the model is not (yet) on it again. With several devices, one that is up is enough to embed,
// but not to be well.
func (e *Encoder) Health() error {
	for _, s := range e.sites {
		if err := s.health(); err != nil {
			return err
		}
	}
	return nil
}

const (
	maxBatchSequences = 4096
	maxBatchFloats    = 32 << 20 // of an output with a row a sequence
)

// Default tokens of a batch, by kind of device, at most: enough to fill it, few enough that a small call does not wait long behind a full batch. A budget settles for
// fewer where they are as fast. One H200, MiniLM-L6 in f16: mixed lengths (67 on average) in batches of 16,384 made 6.83 M tokens/s, texts of 64 tokens in batches of
// 32,768 made 8.20 M.
var defaultBatchTokens = map[cgo.DeviceKind]int{
	cgo.Discrete: 32768, cgo.Integrated: 4096, cgo.Virtual: 8192, cgo.Software: 1024, cgo.CPU: 2048, cgo.Reference: 1024,
}

// batchTokens is how many tokens a batch may have: what was asked for, or the default, but never less than the longest sequence; the default also
// stays within what one storage buffer of the device holds, and an eighth of its memory: some three values as wide as the widest are there at once.
func batchTokens(asked int, device cgo.DeviceInfo, values []cgo.Value, longest int) int {
	tokens := asked
	if asked <= 0 {
		tokens = defaultBatchTokens[device.Kind]
		widest := uint64(1)
		for _, v := range values {
			widest = max(widest, uint64(v.Width))
		}
		const padding = 64 // columns, and rows below
		for _, room := range []uint64{device.BufferRange, device.MemoryBytes / 8 / 3} {
			if room > 0 {
				fits := room / (4 * (widest + padding))
				tokens = int(min(uint64(tokens), max(fits, 128+1)-128))
			}
		}
	}
	return max(tokens, min(longest, longestDefault))
}

// mostBatchTokens is the most that batchTokens makes of what was asked for, whatever the device and the model.
func mostBatchTokens(asked int) int {
	if asked <= 0 {
		asked = slices.Max(slices.Collect(maps.Values(defaultBatchTokens)))
	}
	return max(asked, longestDefault)
}

// longestDefault bounds the memory that a model with a very long context takes unasked; MaxBatchTokens asks for more.
const longestDefault = 8192

// Info says what was opened.
func (e *Encoder) Info() Info { return e.info }

// Stats says what was done so far.
func (e *Encoder) Stats() Stats {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	var sum Stats
	for _, r := range e.running {
		if r.queue != nil {
			sum = sum.Plus(r.queue.snapshot())
		}
	}
	return sum
}

// Embed returns a vector for each sequence, [len(seqs)][Dimensions], or where the program's output is per token [len(seqs)][tokens·Dimensions]. It waits for the
// device, or for the end of ctx.
func (e *Encoder) Embed(ctx context.Context, seqs []Sequence) ([][]float32, error) {
	return e.embed(ctx, base, seqs, 0)
}

// EmbedTask is Embed with the adapters of a task, one of Info().Tasks; "" is none. Tasks never share a batch.
func (e *Encoder) EmbedTask(ctx context.Context, task string, seqs []Sequence) ([][]float32, error) {
	return e.embed(ctx, task, seqs, 0)
}

// EmbedAttended is Embed for sequences of which only the tokens that attended says are attended to. In a model without query expansion that is all of them.
func (e *Encoder) EmbedAttended(ctx context.Context, seqs []Sequence, attended [][]bool) ([][]float32, error) {
	if _, ok := e.arch.variants[maskedQueries]; !ok {
		return e.embed(ctx, base, seqs, 0)
	}
	marked := make([]Sequence, len(seqs))
	for i, s := range seqs {
		types := make([]int32, len(s.IDs))
		if e.arch.typed {
			copy(types, s.TypeIDs)
		}
		for j, seen := range attended[i] {
			if !seen {
				types[j] = e.arch.maskType
			}
		}
		s.TypeIDs = types
		marked[i] = s
	}
	return e.embed(ctx, maskedQueries, marked, 0)
}

// embed runs sequences, the first of which is number first of the caller's, through a program.
func (e *Encoder) embed(ctx context.Context, name string, seqs []Sequence, first int) ([][]float32, error) {
	if e.arch.encoder.blank > 0 || e.arch.cutOff >= 0 {
		seqs = slices.Clone(seqs)
	}
	r, err := e.program(ctx, name)
	if err != nil {
		return nil, err
	}
	if len(seqs) == 0 {
		return nil, ctx.Err()
	}
	rows, err := r.queue.run(ctx, first, seqs)
	if err != nil {
		err = counted(err, first)
	}
	return rows, err
}

// prepare checks a sequence and makes it what the program takes: an empty one becomes the model's blank, if it has that, and a token that the model cuts off
// goes from the end, as often as it stands there, but for one token.
func (e *Encoder) prepare(s *Sequence) error {
	if blank := e.arch.encoder.blank; blank > 0 && len(s.IDs) == 0 {
		*s = Sequence{IDs: []int32{blank}}
	}
	if err := e.check(*s); err != nil || e.arch.cutOff < 0 {
		return err
	}
	n := len(s.IDs)
	for n > 1 && s.IDs[n-1] == e.arch.cutOff {
		n--
	}
	if s.IDs = s.IDs[:n]; s.TypeIDs != nil {
		s.TypeIDs = s.TypeIDs[:n]
	}
	return nil
}

func (e *Encoder) check(s Sequence) error {
	switch {
	case len(s.IDs) == 0:
		return fmt.Errorf("%w: no tokens", ErrInput)
	case len(s.IDs) > e.info.MaxTokens:
		return fmt.Errorf("%w: %d tokens, want at most %d", ErrInput, len(s.IDs), e.info.MaxTokens)
	case e.arch.encoder.exact > 0 && len(s.IDs) > e.arch.encoder.exact:
		return fmt.Errorf("%w: %d tokens: the rotary embedding changes with the length of each text, and is made for at most %d", loader.ErrUnsupported, len(s.IDs), e.arch.encoder.exact)
	case len(s.IDs) > e.info.MaxBatchTokens:
		return fmt.Errorf("%w: %d tokens, but a batch holds %d; open the model with more batch tokens", ErrInput, len(s.IDs), e.info.MaxBatchTokens)
	case s.TypeIDs != nil && len(s.TypeIDs) != len(s.IDs):
		return fmt.Errorf("%w: %d type ids for %d tokens", ErrInput, len(s.TypeIDs), len(s.IDs))
	}
	for i, id := range s.IDs {
		if (id < 0 || int(id) >= e.info.Vocabulary) && (id != e.arch.encoder.blank || len(s.IDs) > 1) {
			return fmt.Errorf("%w: token %d is id %d, want 0 to %d", ErrInput, i, id, e.info.Vocabulary-1)
		}
	}
	return nil
}

// Close lets the calls under way finish and releases the device. Calls that come later fail with [loader.ErrClosed]. It may be called again.
func (e *Encoder) Close() { e.close() }

func (e *Encoder) release() {
	e.mutex.Lock()
	e.closed = true
	e.mutex.Unlock() // no program is added any more
	for _, r := range e.running {
		<-r.ready
		if r.queue != nil {
			r.queue.close()
		}
	}
	for _, s := range e.sites {
		s.close()
	}
}

func finite(row []float32) bool {
	for _, x := range row {
		if math.Float32bits(x)&0x7f800000 == 0x7f800000 {
			return false
		}
	}
	return true
}
