package bert

import (
	"fmt"
	"strings"
	"sync"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// A planned is a model that is ready to be put on a device.
type planned struct {
	*builder
	arch     architecture
	encoder  encoder
	output   value
	variants map[string]program
	tasks    []string
	sparse   *sparsePooling
	maskType int32 // type of the tokens that nothing attends to, in the program maskedQueries
	typed    bool  // the other types have rows
	cutOff   int32 // a token that is taken off the end of a sequence; −1 for none
	unused   []string

	reopening sync.Mutex
}

func plan(m *loader.Model, o Options) (*planned, error) {
	var p *planned
	var stored *files
	var err error
	switch first := m.Modules[0].(type) {
	case loader.StaticEmbedding:
		p, err = newPlan(architecture{name: staticName, build: func(b *builder, _ *loader.Config) (encoder, error) { return buildStatic(b, first), nil }}, m.Config, nil, o)
	case loader.Transformer:
		p, stored, err = planTransformer(m, o)
	default:
		err = fmt.Errorf("%w: %s: module %s in place of a Transformer", loader.ErrUnsupported, m.Dir, m.Modules[0].Kind())
	}
	if err != nil {
		return nil, err
	}
	if m.Kind == loader.KindEmbedding {
		p.addTokenVectors()
	}
	if p.output, err = p.addModules(m, stored, o.Pooling); err != nil {
		return nil, err
	}
	if m.Kind == loader.KindCrossEncoder {
		if p.output, err = p.classify(m, stored); err != nil {
			return nil, err
		}
	}
	p.addTasks()
	if v := m.MultiVector; v != nil && v.Expansion != nil && !v.Expansion.Attend {
		if err := p.addMaskedQueries(); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", loader.ErrUnsupported, m.Dir, err)
		}
	}
	fromPacked(p.tensors)
	if err := checkSources(p.tensors); err != nil {
		return nil, err
	}
	if stored == nil {
		return p, nil
	}
	p.unused = stored.unused()
	return p, checkLeftovers(p.unused, stored.prefix, p.arch)
}

func planTransformer(m *loader.Model, o Options) (*planned, *files, error) {
	arch, err := findArchitecture(m.Config)
	if err != nil {
		return nil, nil, err
	}
	stored, err := newFiles(m.Weights, arch.prefixes, arch.probe)
	if err != nil {
		return nil, nil, err
	}
	p, err := newPlan(arch, m.Config, stored, o)
	return p, stored, err
}

func planRandom(c *loader.Config, o Options) (*planned, error) {
	arch, err := findArchitecture(c)
	if err != nil {
		return nil, err
	}
	p, err := newPlan(arch, c, &randomTensors{width: randomWidth}, o)
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
	stored, err := storageOf(o.DType)
	if err != nil {
		return nil, err
	}
	p := &planned{builder: &builder{from: from, stored: stored, longest: mostBatchTokens(o.MaxBatchTokens)}, arch: arch, variants: map[string]program{}, cutOff: -1}
	p.encoder, err = arch.build(p.builder, c)
	p.tasks = p.encoder.tasks
	p.stored.linears = stored.modules
	return p, err
}

// A storage says how the weights of a model are stored on the device.
type storage struct {
	name    string
	linears cgo.DType // of the transformer's layers
	tables  cgo.DType
	modules cgo.DType // linear layers of the modules after the transformer, which are small and work on a row a text
}

// activations is how values per token are stored, where the device can.
func (s storage) activations() cgo.DType {
	if s.tables == cgo.F16 {
		return cgo.F16
	}
	return cgo.F32
}

// on is what "auto" is on a device: f16 is worth its rounding where matrix hardware makes it fast.
func (s storage) on(device cgo.DeviceInfo) storage {
	switch {
	case s.name != "auto":
		return s
	case device.Features&cgo.CooperativeMatrix != 0 && device.Kind != cgo.Software:
		return storage{"f16", cgo.F16, cgo.F16, cgo.F16}
	default:
		return storage{"f32", cgo.F32, cgo.F32, cgo.F32}
	}
}

// storageOf finds what a dtype means.
func storageOf(dtype string) (storage, error) {
	switch dtype {
	case "", "auto":
		return storage{"auto", asChosen, asChosen, asChosen}, nil
	case "f32":
		return storage{"f32", cgo.F32, cgo.F32, cgo.F32}, nil
	case "f16":
		return storage{"f16", cgo.F16, cgo.F16, cgo.F16}, nil
	case "int8":
		return storage{"int8", cgo.I8, cgo.F16, cgo.F32}, nil
	}
	return storage{}, fmt.Errorf("%w: dtype %q; supported: auto, f32, f16, int8", loader.ErrUnsupported, dtype)
}

func taskNames(tasks []string) string {
	if len(tasks) == 0 {
		return "none"
	}
	return strings.Join(tasks, ", ")
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
