package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/vkbert/vkbert/loader"
)

// ggufModel is a GGUF file that is being turned into a model directory. Its
// getters remember the first error, and which keys were asked for: a key of the
// architecture that nobody reads may change the vectors, so it is refused.
type ggufModel struct {
	*ggufFile
	r       io.ReaderAt
	options Options
	arch    *ggufArch
	err     error
	used    map[string]bool
}

// ggufArch is an architecture of GGUF files.
type ggufArch struct {
	// whole and layer are the tensors by their names without "blk.N." and without
	// ".weight" or ".bias".
	whole, layer map[string]rewrite
	// extra makes what the file leaves out.
	extra func(m *ggufModel) ([]Tensor, error)
	// config returns config.json.
	config func(m *ggufModel) map[string]any
}

// rewrite says where a tensor goes.
type rewrite struct {
	to  string // its name in the Hugging Face model, with a %d for the layer; "" leaves it out
	fix func(m *ggufModel, t ggufTensor, out Tensor) (Tensor, error)
}

// fail records the first error.
func (m *ggufModel) fail(err error) {
	if m.err == nil {
		m.err = err
	}
}

func (m *ggufModel) note(format string, args ...any) {
	if m.options.Note != nil {
		m.options.Note(fmt.Sprintf(format, args...))
	}
}

// key completes the name of a key that belongs to the architecture.
func (m *ggufModel) key(name string) string {
	if strings.Contains(name, "ggml") || strings.HasPrefix(name, "general.") {
		return name
	}
	arch, _ := m.meta["general.architecture"].(string)
	return arch + "." + name
}

func (m *ggufModel) has(name string) bool {
	key := m.key(name)
	m.used[key] = true
	_, ok := m.meta[key]
	return ok
}

// get returns the value of a key, or missing.
func get[T any](m *ggufModel, name string, missing T, want string, ok func(T) bool) T {
	if !m.has(name) {
		return missing
	}
	v, isT := m.meta[m.key(name)].(T)
	if !isT || !ok(v) {
		m.fail(ggufErrorf("key %q: want %s, got %v", m.key(name), want, m.meta[m.key(name)]))
		return missing
	}
	return v
}

func (m *ggufModel) need(name string) {
	if !m.has(name) {
		m.fail(ggufErrorf("key %q: want one, got none", m.key(name)))
	}
}

func (m *ggufModel) intOr(name string, missing, low, high int) int {
	want := fmt.Sprintf("an integer of %d to %d", low, high)
	return int(get(m, name, int64(missing), want, func(v int64) bool { return v >= int64(low) && v <= int64(high) }))
}

func (m *ggufModel) int(name string, low, high int) int {
	m.need(name)
	return m.intOr(name, low, low, high)
}

func (m *ggufModel) floatOr(name string, missing, low, high float64) float64 {
	want := fmt.Sprintf("a number of %g to %g", low, high)
	return get(m, name, missing, want, func(v float64) bool { return v >= low && v <= high })
}

func (m *ggufModel) float(name string, low, high float64) float64 {
	m.need(name)
	return m.floatOr(name, low, low, high)
}

func (m *ggufModel) boolOr(name string, missing bool) bool {
	return get(m, name, missing, "true or false", func(bool) bool { return true })
}

func (m *ggufModel) stringOr(name, missing string) string {
	return get(m, name, missing, "a text", func(string) bool { return true })
}

// must refuses a key that is there with another value than the one that needs
// nothing.
func must[T comparable](m *ggufModel, name string, value T) {
	if got := get(m, name, value, fmt.Sprintf("%v", value), func(T) bool { return true }); got != value {
		m.fail(fmt.Errorf("%w: key %q: %v; supported is %v", loader.ErrUnsupported, m.key(name), got, value))
	}
}

// decimal is a number as people spell it: a float32 of 1e-12 is not
// 9.999999960041972e-13.
func decimal(x float64) json.Number { return json.Number(strconv.FormatFloat(x, 'g', -1, 32)) }

// harmlessKeys say nothing about the vectors that is not said elsewhere.
var harmlessKeys = []string{"vocab_size", "tensor_data_layout"}

// unread refuses keys of the architecture that nobody asked for.
func (m *ggufModel) unread() error {
	for _, name := range harmlessKeys {
		m.has(name)
	}
	for _, key := range slices.Sorted(maps.Keys(m.meta)) {
		if strings.HasPrefix(key, m.key("")) && !m.used[key] {
			return fmt.Errorf("%w: key %q: nothing is known of it, and it may change the vectors", loader.ErrUnsupported, key)
		}
	}
	return nil
}

// openGGUF opens a GGUF file and makes the model directory of its metadata.
func openGGUF(path string, o Options) (_ *source, err error) {
	f, g, err := openGGUFFile(path)
	if err != nil {
		return nil, err
	}
	m := &ggufModel{ggufFile: g, r: f, options: o, used: make(map[string]bool)}
	s, err := m.source()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	s.closers = append(s.closers, f.Close)
	return s, nil
}

// source makes all of the directory.
func (m *ggufModel) source() (*source, error) {
	name := m.stringOr("general.architecture", "")
	if kind := m.stringOr("general.type", "model"); m.err == nil && kind != "model" {
		return nil, fmt.Errorf("%w: a GGUF file of type %q; supported is model", loader.ErrUnsupported, kind)
	}
	if parts, ok := m.meta["split.count"].(int64); ok && parts > 1 {
		return nil, fmt.Errorf("%w: one of %d parts of a model; join them with: llama-gguf-split --merge", loader.ErrUnsupported, parts)
	}
	if m.arch = ggufArchs[name]; m.arch == nil {
		return nil, fmt.Errorf("%w: GGUF architecture %q; supported: %s", loader.ErrUnsupported, name, strings.Join(slices.Sorted(maps.Keys(ggufArchs)), ", "))
	}
	s := &source{}
	tensors, dense, err := m.rename()
	if err != nil {
		return nil, err
	}
	config := m.arch.config(m)
	if m.err != nil {
		return nil, m.err
	}
	config["torch_dtype"] = torchNames[m.mainDType()]
	if err := s.addJSON("config.json", config); err != nil {
		return nil, err
	}
	if err := m.addModules(s, dense); err != nil {
		return nil, err
	}
	if err := m.addTokenizer(s, config); err != nil {
		return nil, err
	}
	if m.err != nil {
		return nil, m.err
	}
	if m.arch.extra != nil {
		extra, err := m.arch.extra(m)
		if err != nil {
			return nil, err
		}
		tensors = append(tensors, extra...)
	}
	s.folders = append(s.folders, folder{path: ".", tensors: tensors})
	return s, m.unread()
}

// mainDType is the type that most of the weights will have.
func (m *ggufModel) mainDType() loader.DType {
	if to := targets[m.options.DType]; to != "" {
		return to
	}
	count := make(map[loader.DType]int64)
	main := loader.F32
	for _, t := range m.tensors {
		if count[t.kind.dtype] += t.rows() * t.dims[0]; count[t.kind.dtype] > count[main] {
			main = t.kind.dtype
		}
	}
	return main
}

// denseTensors are the tensors of Dense modules, by module.
type denseTensors [2][]Tensor

var denseNames = [...]string{"dense_2", "dense_3"}

// rename gives the tensors the names and the form that they have at home.
func (m *ggufModel) rename() (tensors []Tensor, dense denseTensors, err error) {
	layers := m.int("block_count", 1, 1024)
	for _, t := range m.tensors {
		stem, layer, suffix, ok := splitName(t.name)
		table := m.arch.whole
		if layer >= 0 {
			table = m.arch.layer
		}
		r, known := table[stem]
		switch {
		case !ok || layer >= layers:
			return nil, dense, ggufErrorf("tensor %.200q: not the name of a tensor of a model with %d layers", t.name, layers)
		case strings.HasPrefix(stem, "cls"):
			return nil, dense, fmt.Errorf("%w: tensor %.200q: the head of a reranker or classifier", loader.ErrUnsupported, t.name)
		case !known && slices.Contains(denseNames[:], stem) && layer < 0:
			i := slices.Index(denseNames[:], stem)
			out := m.tensor(t)
			out.Name = "linear" + suffix
			dense[i] = append(dense[i], out)
			continue
		case !known:
			return nil, dense, fmt.Errorf("%w: tensor %.200q: %s models are not known to have it", loader.ErrUnsupported, t.name, m.meta["general.architecture"])
		case r.to == "":
			continue
		}
		out := m.tensor(t)
		if out.Name = r.to + suffix; layer >= 0 {
			out.Name = fmt.Sprintf(r.to, layer) + suffix
		}
		if r.fix != nil {
			if out, err = r.fix(m, t, out); err != nil {
				return nil, dense, fmt.Errorf("tensor %.200q: %w", t.name, err)
			}
		}
		tensors = append(tensors, out.of(m.path))
	}
	return tensors, dense, m.err
}

// tensor is a tensor as it is in the file.
func (m *ggufModel) tensor(t ggufTensor) Tensor {
	return Tensor{Name: t.name, DType: t.kind.dtype, Shape: t.shape(), Data: func(emit func([]byte) error) error {
		return t.read(m.r, 0, t.rows(), emit)
	}}
}

// splitName splits blk.3.attn_q.weight into attn_q, 3 and .weight; the layer of
// other tensors is -1.
func splitName(name string) (stem string, layer int, suffix string, ok bool) {
	for _, suffix = range []string{".weight", ".bias"} {
		if stem, ok = strings.CutSuffix(name, suffix); ok {
			break
		}
	}
	rest, inLayer := strings.CutPrefix(stem, "blk.")
	if !ok || !inLayer {
		return stem, -1, suffix, ok
	}
	number, stem, ok := strings.Cut(rest, ".")
	layer, err := strconv.Atoi(number)
	if !ok || err != nil || layer < 0 || strconv.Itoa(layer) != number {
		return name, math.MaxInt, suffix, false
	}
	return stem, layer, suffix, true
}

// addJSON adds a file with a JSON value.
func (s *source) addJSON(name string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	s.files = append(s.files, smallFile{name: name, data: append(data, '\n')})
	return nil
}
