package bert

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// shapes are the BERT shapes that benchmarks speak of; the values are those of the released models' config.json (minilm-l6:
// sentence-transformers/all-MiniLM-L6-v2; base and large: bert-base-uncased and bert-large-uncased).
var shapes = []struct{ name, config string }{
	{"minilm-l6", bertConfig(384, 6, 12, 1536)},
	{"base", bertConfig(768, 12, 12, 3072)},
	{"large", bertConfig(1024, 24, 16, 4096)},
}

func bertConfig(hidden, layers, heads, inner int) string {
	return fmt.Sprintf(`{"model_type":"bert","hidden_size":%d,"num_hidden_layers":%d,"num_attention_heads":%d,"intermediate_size":%d,`+
		`"hidden_act":"gelu","layer_norm_eps":1e-12,"max_position_embeddings":512,"type_vocab_size":2,"vocab_size":30522}`, hidden, layers, heads, inner)
}

// Shapes are the names that [RandomConfig] knows.
func Shapes() []string {
	names := make([]string, len(shapes))
	for i, s := range shapes {
		names[i] = s.name
	}
	return names
}

// RandomConfig is the configuration of a benchmark shape, or of a config.json.
func RandomConfig(name string) (*loader.Config, error) {
	for _, s := range shapes {
		if s.name == name {
			return loader.ParseConfig("random:"+name, []byte(s.config))
		}
	}
	if _, err := os.Stat(name); err != nil {
		return nil, fmt.Errorf("%w: random:%s is neither %s nor the path of a config.json", loader.ErrNotFound, name, strings.Join(Shapes(), ", "))
	}
	return loader.ReadConfig(name)
}

// RandomProgram is the program that [OpenRandom] makes of a configuration, without a device: tensors with f32 storage, and a description without limits.
func RandomProgram(c *loader.Config) ([]cgo.Tensor, cgo.ProgramDesc, error) {
	p, err := planRandom(c, Options{})
	if err != nil {
		return nil, cgo.ProgramDesc{}, err
	}
	p.choose(cgo.DeviceInfo{})
	shapes := make([]cgo.Tensor, len(p.tensors))
	for i, spec := range p.tensors {
		shapes[i] = spec.Tensor
	}
	return shapes, p.program().desc(cgo.F32, 0, 0), nil
}

// randomTensors makes up weights of the true shapes, the same ones every time: uniform numbers, so small that activations stay in range.
type randomTensors struct {
	state uint64
	width float32 // of the interval around 0, or around 1 for the weights of norms
}

const randomWidth = 0.04

func (r *randomTensors) check(string, []int) error { return nil }

func (r *randomTensors) stream(name string, shape []int, buffer []byte, put func(int, cgo.DType, []byte) error) error {
	left := 1
	for _, n := range shape {
		left *= n
	}
	center := float32(0)
	if strings.HasSuffix(name, "LayerNorm.weight") {
		center = 1
	}
	for first := 0; left > 0; {
		n := min(left, len(buffer)/4)
		chunk := buffer[:4*n]
		for b := range slices.Chunk(chunk, 4) {
			binary.LittleEndian.PutUint32(b, math.Float32bits(center+r.width*r.next()))
		}
		if err := put(first, cgo.F32, chunk); err != nil {
			return err
		}
		first, left = first+n, left-n
	}
	return nil
}

// next is uniform in [-0.5, 0.5) (splitmix64, Steele et al. 2014).
func (r *randomTensors) next() float32 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float32((z^z>>31)>>40)/(1<<24) - 0.5
}
