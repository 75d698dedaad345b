package bert

import (
	"maps"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// An architecture turns a config.json into ops. One file each (bert.go), one row each in architectures.
type architecture struct {
	modelType string
	prefixes  []string // that a file may put before its tensor names
	probe     string   // a tensor that every file of this architecture has
	layers    string   // what the names of the layers' tensors begin with; one that is left unread there is an error, for it would be part of the sum
	build     func(b *builder, c *loader.Config) (encoder, error)
}

// An encoder is what an architecture built.
type encoder struct {
	output value // [T, hidden]
	limit  int   // tokens of a sequence at most, by its position table
	vocab  int   // rows of the word table
	layers int
	heads  int
}

var architectures = []architecture{bertArchitecture}

// findArchitecture decides by model_type, and refuses code that comes with the model (auto_map): released models say "bert" there and are not.
func findArchitecture(c *loader.Config) (architecture, error) {
	classes, err := c.AutoMap()
	if err != nil {
		return architecture{}, err
	}
	if len(classes) > 0 {
		names := slices.Compact(slices.Sorted(maps.Values(classes)))
		return architecture{}, c.Unsupported("auto_map", "the model brings code of its own (%s), which vkbert has no architecture for", strings.Join(names, ", "))
	}
	if c.Has("quantization_config") {
		return architecture{}, c.Unsupported("quantization_config", "quantised weights cannot be read; use the unquantised model")
	}
	var known []string
	for _, a := range architectures {
		if a.modelType == c.ModelType() {
			return a, nil
		}
		known = append(known, a.modelType)
	}
	return architecture{}, c.Unsupported("model_type", "got %q; supported: %s", c.ModelType(), strings.Join(known, ", "))
}

// activations are the names that transformers gives them (transformers/activations.py, ACT2FN).
var activations = map[string]cgo.Activation{
	"gelu":              cgo.GELU,
	"gelu_new":          cgo.GELUTanh,
	"gelu_pytorch_tanh": cgo.GELUTanh,
	"relu":              cgo.ReLU,
	"silu":              cgo.SiLU,
	"swish":             cgo.SiLU,
	"tanh":              cgo.Tanh,
}

// choice looks the value of a key up in a table; a value that is not there is refused by name.
func choice[T any](c *loader.Config, f *loader.Fields, key, missing string, table map[string]T) T {
	name := f.StringOr(key, missing)
	v, ok := table[name]
	if !ok {
		f.Fail(c.Unsupported(key, "got %q; supported: %s", name, strings.Join(slices.Sorted(maps.Keys(table)), ", ")))
	}
	return v
}

// suspicious are the parts of a key's name that say that it may change the vectors.
var suspicious = []string{"attention", "position", "norm", "activation", "_act", "rotary", "rope", "window", "adapter", "moe", "expert"}

// checkKeys refuses a configuration with a key that the architecture has not read and whose name says that it matters: ignoring it would give wrong
// vectors without a word.
func checkKeys(c *loader.Config, f *loader.Fields) error {
	f.Ignore("attn_implementation", "_attn_implementation", "output_attentions", "attention_probs_dropout_prob", "attention_dropout")
	for _, key := range f.Unread() {
		matters := func(part string) bool { return strings.Contains(strings.ToLower(key), part) }
		if slices.ContainsFunc(suspicious, matters) {
			return c.Unsupported(key, "%s models are not known to have this key, and its name says that it changes the vectors", c.ModelType())
		}
	}
	return nil
}
