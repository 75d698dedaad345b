package bert

import (
	"context"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// chunkBytes is how much of a file is copied at a time on its way to the device: resident memory stays at the weights themselves.
const chunkBytes = 4 << 20

// tensors is where an architecture's tensors are stored: files, or a random generator.
type tensors interface {
	// check fails if there is no such tensor, or not with this shape.
	check(name string, want []int) error
	// stream hands out the elements of a tensor that check has passed, little-endian, in order, at most len(buffer) bytes at a time.
	stream(name string, shape []int, buffer []byte, put func(first int, dtype cgo.DType, chunk []byte) error) error
}

// checkSources looks all tensors up before any memory is taken: a wrong config.json may ask for terabytes.
func checkSources(specs []tensorSpec) error {
	for _, spec := range specs {
		for _, src := range spec.sources {
			if err := src.from.check(src.name, src.shape); err != nil {
				return err
			}
		}
	}
	return nil
}

// upload fills new weights on the device with what the specs name.
func upload(ctx context.Context, device *cgo.Device, specs []tensorSpec) (*cgo.Weights, cgo.WeightsInfo, error) {
	shapes := make([]cgo.Tensor, len(specs))
	for i, spec := range specs {
		shapes[i] = spec.Tensor
	}
	weights, err := cgo.NewWeights(device, shapes)
	if err != nil {
		return nil, cgo.WeightsInfo{}, err
	}
	buffer := make([]byte, chunkBytes)
	for i, spec := range specs {
		if err := uploadTensor(ctx, weights, i, spec, buffer); err != nil {
			weights.Close()
			return nil, cgo.WeightsInfo{}, err
		}
	}
	info, err := weights.Seal()
	if err != nil {
		weights.Close()
		return nil, cgo.WeightsInfo{}, err
	}
	return weights, info, nil
}

func uploadTensor(ctx context.Context, weights *cgo.Weights, tensor int, spec tensorSpec, buffer []byte) error {
	var offset uint64
	for _, src := range spec.sources {
		err := src.from.stream(src.name, src.shape, buffer, func(first int, dtype cgo.DType, chunk []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return weights.Put(tensor, dtype, offset+uint64(first), chunk)
		})
		if err != nil {
			return err
		}
		elements := uint64(1)
		for _, n := range src.shape {
			elements *= uint64(n)
		}
		offset += elements
	}
	return nil
}

// files are the tensors of a model directory. Not safe for concurrent use.
type files struct {
	weights *loader.Weights
	prefix  string          // what this file puts before every name
	used    map[string]bool // stored names that were read
}

// newFiles finds the prefix under which a tensor called probe is stored.
func newFiles(weights *loader.Weights, prefixes []string, probe string) (*files, error) {
	for _, prefix := range prefixes {
		if _, ok := weights.Lookup(prefix + probe); ok {
			return &files{weights: weights, prefix: prefix, used: map[string]bool{}}, nil
		}
	}
	_, err := weights.Want(prefixes[0]+probe, -1, -1)
	return nil, err
}

// legacyNames are endings that TensorFlow checkpoints left behind in old files.
var legacyNames = map[string]string{"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

func (f *files) lookup(name string) (loader.Tensor, bool) {
	if t, ok := f.weights.Lookup(f.prefix + name); ok {
		return t, true
	}
	for now, then := range legacyNames {
		if base, ok := strings.CutSuffix(name, now); ok {
			return f.weights.Lookup(f.prefix + base + then)
		}
	}
	return loader.Tensor{}, false
}

var dtypes = map[loader.DType]cgo.DType{loader.F32: cgo.F32, loader.F16: cgo.F16, loader.BF16: cgo.BF16}

func (f *files) check(name string, want []int) error {
	t, ok := f.lookup(name)
	if !ok {
		t.Name = f.prefix + name
	}
	_, err := f.weights.Want(t.Name, want...)
	f.used[t.Name] = true
	return err
}

func (f *files) stream(name string, _ []int, buffer []byte, put func(int, cgo.DType, []byte) error) error {
	t, _ := f.lookup(name)
	return f.weights.Stream(t, buffer, func(first int, chunk []byte) error { return put(first, dtypes[t.DType], chunk) })
}

// unused lists the stored tensors that nothing has read, in order.
func (f *files) unused() []string {
	var names []string
	for _, name := range f.weights.Names() {
		if !f.used[name] {
			names = append(names, name)
		}
	}
	return names
}
