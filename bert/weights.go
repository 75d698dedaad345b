package bert

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// chunkBytes is how much of a file is copied at a time on its way to the device: little enough to be still in a core's cache when the device's layout is
// made of it.
const chunkBytes = 256 << 10

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
	return spec.stream(ctx, buffer, func(first int, dtype cgo.DType, chunk []byte) error {
		return weights.Put(tensor, dtype, uint64(first), chunk)
	})
}

// stream hands out the elements of a tensor; those of one that is turned are not in order.
func (spec *tensorSpec) stream(ctx context.Context, buffer []byte, put func(first int, dtype cgo.DType, chunk []byte) error) error {
	offset := 0
	for _, src := range spec.sources {
		part := func(first int, dtype cgo.DType, chunk []byte) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return put(offset+first, dtype, chunk)
		}
		if src.add != 0 {
			part = plus(src.add, part)
		}
		if src.turn != 0 {
			part = turned(src.turn, elements(src.shape), part)
		}
		if err := src.from.stream(src.name, src.shape, buffer, part); err != nil {
			return err
		}
		offset += elements(src.shape)
	}
	return nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// turned puts the first `turn` of all elements behind the others.
func turned(turn, all int, put func(int, cgo.DType, []byte) error) func(int, cgo.DType, []byte) error {
	return func(first int, dtype cgo.DType, chunk []byte) error {
		size := 2
		if dtype == cgo.F32 {
			size = 4
		}
		if n := turn - first; n > 0 && n < len(chunk)/size { // over the turn
			if err := put(first+all-turn, dtype, chunk[:n*size]); err != nil {
				return err
			}
			first, chunk = turn, chunk[n*size:]
		}
		if first < turn {
			return put(first+all-turn, dtype, chunk)
		}
		return put(first-turn, dtype, chunk)
	}
}

// plus adds a number to every element of a chunk, which becomes f32.
func plus(add float32, put func(int, cgo.DType, []byte) error) func(int, cgo.DType, []byte) error {
	return func(first int, dtype cgo.DType, chunk []byte) error {
		x := toFloat32(dtype, chunk)
		for i := range x {
			x[i] += add
		}
		return put(first, cgo.F32, fromFloat32(x))
	}
}

func toFloat32(dtype cgo.DType, chunk []byte) []float32 {
	if dtype == cgo.F32 {
		x := make([]float32, len(chunk)/4)
		for i := range x {
			x[i] = math.Float32frombits(binary.LittleEndian.Uint32(chunk[4*i:]))
		}
		return x
	}
	x := make([]float32, len(chunk)/2)
	for i := range x {
		half := binary.LittleEndian.Uint16(chunk[2*i:])
		if dtype == cgo.BF16 {
			x[i] = math.Float32frombits(uint32(half) << 16)
		} else {
			x[i] = float16(half)
		}
	}
	return x
}

// float16 widens an IEEE 754 binary16.
func float16(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exponent {
	case 0:
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13)
}

func fromFloat32(x []float32) []byte {
	chunk := make([]byte, 0, 4*len(x))
	for _, v := range x {
		chunk = binary.LittleEndian.AppendUint32(chunk, math.Float32bits(v))
	}
	return chunk
}

// computed is one tensor that is made when it is uploaded.
type computed struct {
	from  tensors
	needs []need
	make  func(needs [][]float32) []float32
}

func (c *computed) check(string, []int) error {
	for _, n := range c.needs {
		if err := c.from.check(n.name, n.shape); err != nil {
			return err
		}
	}
	return nil
}

func (c *computed) stream(name string, shape []int, buffer []byte, put func(int, cgo.DType, []byte) error) error {
	stored := make([][]float32, len(c.needs))
	for i, n := range c.needs {
		err := c.from.stream(n.name, n.shape, buffer, func(_ int, dtype cgo.DType, chunk []byte) error {
			stored[i] = append(stored[i], toFloat32(dtype, chunk)...)
			return nil
		})
		if err != nil {
			return err
		}
	}
	x := c.make(stored)
	if len(x) != elements(shape) {
		return fmt.Errorf("%w: %s: made %d values, want shape %v", loader.ErrTensor, name, len(x), shape)
	}
	return put(0, cgo.F32, fromFloat32(x))
}

// files are the tensors of a model directory. Not safe for concurrent use.
type files struct {
	weights *loader.Weights
	prefix  string          // what this file puts before every name
	used    map[string]bool // stored names that were read
	names   []string        // of a packed file: those of the checkpoint that it was made of, sorted; see pack.go
}

// newFiles finds the prefix under which a tensor called probe is stored.
func newFiles(weights *loader.Weights, prefixes []string, probe string) (*files, error) {
	for _, prefix := range prefixes {
		f := &files{weights: weights, prefix: prefix, used: map[string]bool{}}
		f.names, _ = weights.Packed()
		if f.has(probe) {
			return f, nil
		}
	}
	_, err := weights.Want(prefixes[0]+probe, -1, -1)
	return nil, err
}

// at is the same files with another prefix.
func (f *files) at(prefix string) *files {
	return &files{weights: f.weights, prefix: prefix, used: f.used, names: f.names}
}

// ignore counts a tensor as read, if it is there: another one holds the same.
func (f *files) ignore(name string) { f.used[f.prefix+name] = true }

// legacyNames are endings that TensorFlow checkpoints left behind in old files.
var legacyNames = map[string]string{"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

// spelled returns the name by which the file has a tensor; false if it has none.
func (f *files) spelled(name string) (string, bool) {
	if f.stores(f.prefix + name) {
		return f.prefix + name, true
	}
	for now, then := range legacyNames {
		if base, ok := strings.CutSuffix(name, now); ok && f.stores(f.prefix+base+then) {
			return f.prefix + base + then, true
		}
	}
	return f.prefix + name, false
}

func (f *files) stores(name string) bool {
	if f.names != nil {
		_, found := slices.BinarySearch(f.names, name)
		return found
	}
	_, found := f.weights.Lookup(name)
	return found
}

var dtypes = map[loader.DType]cgo.DType{loader.F32: cgo.F32, loader.F16: cgo.F16, loader.BF16: cgo.BF16}

func (f *files) check(name string, want []int) error {
	name, _ = f.spelled(name)
	_, err := f.weights.Want(name, want...)
	f.used[name] = true
	return err
}

func (f *files) stream(name string, _ []int, buffer []byte, put func(int, cgo.DType, []byte) error) error {
	name, _ = f.spelled(name)
	return streamTensor(f.weights, name, buffer, put)
}

func streamTensor(weights *loader.Weights, name string, buffer []byte, put func(int, cgo.DType, []byte) error) error {
	t, _ := weights.Lookup(name)
	return weights.Stream(t, buffer, func(first int, chunk []byte) error { return put(first, dtypes[t.DType], chunk) })
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

func (f *files) has(name string) bool {
	_, ok := f.spelled(name)
	return ok
}
