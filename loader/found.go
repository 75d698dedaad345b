package loader

import (
	"fmt"
	"strings"
)

// examine opens a candidate and closes it again.
func examine(name, dir string, verify func(*Model) error) Found {
	f := Found{Name: name, Dir: dir, Licence: cardLicence(dir)}
	m, err := Open(dir)
	if err != nil {
		f.Err = err
		return f
	}
	f.Kind, f.ModelType, f.Dim, f.MaxSeqLength = m.Kind, modelType(m.Config), width(m), m.MaxSeqLength
	if m.TruncateDim > 0 {
		f.Dim = min(f.Dim, m.TruncateDim)
	}
	f.DType, f.Bytes = stored(m)
	f.Err = CheckTokenizer(m)
	if f.Err == nil && verify != nil {
		f.Err = verify(m)
	}
	if err := m.Close(); err != nil && f.Err == nil {
		f.Err = fmt.Errorf("closing: %w", err)
	}
	return f
}

// modelType is model_type, with the class of a model's own code where it brings
// some.
func modelType(c *Config) string {
	classes, err := c.AutoMap()
	class := classes["AutoModel"]
	if err != nil || class == "" {
		return c.ModelType()
	}
	return fmt.Sprintf("%s (%.100s)", c.ModelType(), class[strings.LastIndexByte(class, '.')+1:])
}

// width is how many values come out for a text, or for a token of one.
func width(m *Model) int {
	size := func(keys ...string) int {
		for _, key := range keys {
			if n, err := m.Config.IntOr(key, 0, 0, maxDim); err == nil && n > 0 {
				return n
			}
		}
		return 0
	}
	switch {
	case m.CrossEncoder != nil:
		return m.CrossEncoder.Labels
	case m.Dim() > 0:
		return m.Dim()
	case m.Kind == KindSparse:
		return size("vocab_size")
	}
	return size("hidden_size", "dim", "d_model", "n_embd")
}

// stored returns the type that most bytes of a model's weights have, and how many
// bytes there are, from the headers.
func stored(m *Model) (DType, int64) {
	total, largest := int64(0), DType("")
	bytes := make(map[DType]int64)
	counted := make(map[string]bool) // files, by their paths
	add := func(w *Weights) {
		if w == nil || counted[w.files[0].print.Path] {
			return
		}
		counted[w.files[0].print.Path] = true
		for _, t := range w.tensors {
			total += t.bytes
			bytes[t.DType] += t.bytes
		}
	}
	for _, route := range append([]*Model{m}, routes(m)...) {
		add(route.Weights)
		for _, module := range route.Modules {
			switch module := module.(type) {
			case Dense:
				add(module.Weights)
			case LayerNorm:
				add(module.Weights)
			}
		}
	}
	for dtype, n := range bytes {
		if n > bytes[largest] || n == bytes[largest] && dtype < largest {
			largest = dtype
		}
	}
	return largest, total
}

func routes(m *Model) []*Model {
	var all []*Model
	for _, route := range m.Routes {
		all = append(all, route)
	}
	return all
}

// CheckTokenizer says whether [OpenTokenizer] would find what it needs, without
// loading it.
func CheckTokenizer(m *Model) error {
	opts, err := readTokenizerOptions(m)
	if err != nil {
		return err
	}
	path, data, err := readTokenizer(m)
	if err != nil {
		return err
	}
	_, err = checkTokenizer(path, data, opts)
	return err
}

// Examine says what a model directory is. verify is as in [Discovery].
func Examine(name, dir string, verify func(*Model) error) Found { return examine(name, dir, verify) }
