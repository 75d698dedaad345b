package bert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
	"github.com/vkbert/vkbert/loader/convert"
)

// A packed file ([loader.PackedLayout]) holds the tensors of a program in place of those of the checkpoint. A program says how each is made, in its sources; the
// name in the file spells that out, so that a file which another release would have put together otherwise is found to lack a tensor, and nothing is loaded
// wrongly. What is made of the configuration alone is made again.

// owner is the file that a tensor is made of; nil if there is none, or more than one.
func (spec *tensorSpec) owner() *files {
	var owner *files
	for _, src := range spec.sources {
		from := src.from
		if c, ok := from.(*computed); ok {
			if len(c.needs) == 0 {
				return nil
			}
			from = c.from
		}
		f, ok := from.(*files)
		if !ok || owner != nil && owner.weights != f.weights {
			return nil
		}
		owner = f
	}
	return owner
}

// packedName spells out what a tensor is made of.
func (spec *tensorSpec) packedName() string {
	var parts []string
	for _, src := range spec.sources {
		var name string
		switch from := src.from.(type) {
		case *files:
			name = from.prefix + src.name
		case *computed:
			var needs []string
			for _, n := range from.needs {
				needs = append(needs, from.from.(*files).prefix+n.name)
			}
			name = src.name + " made of " + strings.Join(needs, " and ")
		}
		if src.add != 0 {
			name += fmt.Sprintf(" plus %g", src.add)
		}
		if src.turn != 0 {
			name += fmt.Sprintf(" turned by %d", src.turn)
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ", ")
}

// shape is how a file stores the whole of a tensor.
func (spec *tensorSpec) shape() []int {
	if spec.Layout == cgo.Vector {
		return []int{int(spec.Cols)}
	}
	return []int{int(spec.Rows), int(spec.Cols)}
}

// packedNames returns the name that each of the tensors of a file has in a packed one, "" for those of other files. Names that come again are numbered.
func packedNames(specs []tensorSpec, of func(*files) bool) []string {
	names := make([]string, len(specs))
	times := map[string]int{}
	for i := range specs {
		owner := specs[i].owner()
		if owner == nil || !of(owner) {
			continue
		}
		name := specs[i].packedName()
		if times[name]++; times[name] > 1 {
			names[i] = fmt.Sprintf("%s (%d)", name, times[name])
			continue
		}
		names[i] = name
	}
	return names
}

// packedFiles is a packed file's own tensors.
type packedFiles struct{ *files }

func (p packedFiles) check(name string, want []int) error {
	_, err := p.weights.Want(name, want...)
	p.used[name] = true
	return err
}

func (p packedFiles) stream(name string, _ []int, buffer []byte, put func(int, cgo.DType, []byte) error) error {
	return streamTensor(p.weights, name, buffer, put)
}

// fromPacked makes packed files the sources of the tensors that they hold.
func fromPacked(specs []tensorSpec) {
	for i, name := range packedNames(specs, func(f *files) bool { return f.names != nil }) {
		if name != "" {
			specs[i].sources = []source{{name: name, shape: specs[i].shape(), from: packedFiles{specs[i].owner()}}}
		}
	}
}

// Pack replaces the weights of the transformers in a model directory, each a single model.safetensors, by packed ones, which hold what the model needs for its own
// kind of output and nothing else. Numbers keep their types, but for those that are computed, which are f32. When it fails, some may be replaced.
func Pack(ctx context.Context, dir string) error {
	m, err := loader.Open(dir)
	if err != nil {
		return err
	}
	packed, err := packAll(ctx, m)
	if err = errors.Join(err, m.Close()); err != nil { // some systems keep what is open
		for temporary := range packed {
			os.Remove(temporary)
		}
		return err
	}
	for temporary, path := range packed {
		if err := os.Rename(temporary, path); err != nil {
			return err
		}
	}
	if m, err = loader.Open(dir); err == nil { // as whoever opens the result will
		err = errors.Join(Check(m), m.Close())
	}
	if err != nil {
		return fmt.Errorf("%w: %s: a model of this kind cannot be packed: %w", loader.ErrUnsupported, dir, err)
	}
	return nil
}

// packAll writes the packed files of a model and its routes beside the others and returns their names, and those that they are to have.
func packAll(ctx context.Context, m *loader.Model) (map[string]string, error) {
	routes := []*loader.Model{m}
	for _, route := range m.Routes {
		routes = append(routes, route)
	}
	packed, seen := map[string]string{}, map[string]bool{}
	for _, route := range routes {
		if _, ok := route.Modules[0].(loader.Transformer); !ok || seen[place(route)] {
			continue
		}
		seen[place(route)] = true
		if len(route.Weights.Fingerprints()) != 1 {
			return packed, fmt.Errorf("%w: %s: want weights in one file", loader.ErrUnsupported, route.Dir)
		}
		temporary := place(route) + ".packed"
		packed[temporary] = place(route)
		if err := packFile(ctx, route, temporary); err != nil {
			return packed, err
		}
	}
	if len(packed) == 0 {
		return nil, fmt.Errorf("%w: %s: there is no transformer to pack; a table of tokens needs no conversion", loader.ErrUnsupported, m.Dir)
	}
	return packed, nil
}

func place(m *loader.Model) string { return m.Weights.Fingerprints()[0].Path }

func packFile(ctx context.Context, m *loader.Model, path string) error {
	p, err := plan(m, Options{})
	if err != nil {
		return err
	}
	var tensors []convert.Tensor
	for i, name := range packedNames(p.tensors, func(f *files) bool { return f.weights == m.Weights }) {
		if name != "" {
			tensors = append(tensors, packTensor(ctx, &p.tensors[i], name))
		}
	}
	metadata, err := loader.PackedMetadata(m.Weights.Names())
	if err != nil {
		return err
	}
	return convert.WriteSafetensors(path, tensors, metadata)
}

// storedTypes are the names of types in a file.
var storedTypes = map[cgo.DType]loader.DType{cgo.F32: loader.F32, cgo.F16: loader.F16, cgo.BF16: loader.BF16}

// packTensor is a tensor of the program on its way into a file.
func packTensor(ctx context.Context, spec *tensorSpec, name string) convert.Tensor {
	dtype := spec.storedType()
	t := convert.Tensor{Name: name, DType: storedTypes[dtype], Shape: spec.shape()}
	t.Data = func(emit func([]byte) error) error {
		next := 0
		late := map[int][]byte{} // what is to come behind what has not come yet, by its first element
		put := func(first int, from cgo.DType, chunk []byte) error {
			if from != dtype {
				chunk = fromFloat32(toFloat32(from, chunk))
			}
			late[first] = append([]byte(nil), chunk...)
			for chunk, ok := late[next]; ok; chunk, ok = late[next] {
				delete(late, next)
				if err := emit(chunk); err != nil {
					return err
				}
				next += len(chunk) / t.DType.Size()
			}
			return nil
		}
		return spec.stream(ctx, make([]byte, chunkBytes), put)
	}
	return t
}

// storedType is the type that all of a tensor's sources have and that what is done to them keeps; else f32.
func (spec *tensorSpec) storedType() cgo.DType {
	var dtype cgo.DType
	for i, src := range spec.sources {
		f, ok := src.from.(*files)
		if !ok || src.add != 0 {
			return cgo.F32
		}
		name, _ := f.spelled(src.name)
		t, _ := f.weights.Lookup(name)
		if i > 0 && dtypes[t.DType] != dtype {
			return cgo.F32
		}
		dtype = dtypes[t.DType]
	}
	return dtype
}
