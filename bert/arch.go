package bert

import (
	"maps"
	"slices"
	"strings"

	"github.com/vkbert/vkbert/cgo"
	"github.com/vkbert/vkbert/loader"
)

// An architecture turns a config.json into ops. One file each (bert.go is the pattern), one row each in architectures.
type architecture struct {
	name      string
	modelType string
	class     string   // of auto_map's AutoModel, the part after the last dot, where the model's own code is what this file rewrites; "" otherwise
	repo      string   // begins the class's repository, where two repositories have a class of one name; "" for any
	prefixes  []string // that a file may put before its tensor names
	probe     string   // a tensor that every file of this architecture has
	layers    string   // what the names of the layers' tensors begin with; one that is left unread there is an error, for it would be part of the sum
	build     func(b *builder, c *loader.Config) (encoder, error)
}

// An encoder is what an architecture built.
type encoder struct {
	output value // [T, hidden]
	limit  int   // tokens of a sequence at most, by its position table
	exact  int   // tokens beyond which a sequence is refused, for its rotary embedding would have no rows; 0 for none
	vocab  int   // rows of the word table
	layers int
	heads  int
	// positions writes the position of each token; nil: 0, 1, 2, …
	positions func(ids, positions []int32)
	eps       float32  // of the norms
	tasks     []string // that there are adapters for
	blank     int32    // the token that stands for a text without tokens, where there is one; else 0
}

var architectures = []architecture{
	bertArchitecture, robertaArchitecture, xlmRobertaArchitecture, camembertArchitecture, distilbertArchitecture, mpnetArchitecture, albertArchitecture,
	electraArchitecture, nomicArchitecture, nomicCodeArchitecture, gteArchitecture, newArchitecture, jinaArchitecture, jinaCodeArchitecture, modernbertArchitecture,
	qwen2Architecture, qwen3Architecture, eurobertArchitecture, eurobertCodeArchitecture, gemma3Architecture,
	t5Architecture, debertaArchitecture, jina3Architecture, jina3LoRAArchitecture,
}

// findArchitecture decides by model_type and by the class that auto_map names: released models say "bert" there and are not. Code that comes with a model
// and is not in the table is refused by name.
func findArchitecture(c *loader.Config) (architecture, error) {
	classes, err := c.AutoMap()
	if err != nil {
		return architecture{}, err
	}
	code := classes["AutoModel"]
	if code == "" && len(classes) > 0 {
		code = slices.Sorted(maps.Values(classes))[0]
	}
	class := code[strings.LastIndexByte(code, '.')+1:]
	if c.Has("quantization_config") {
		return architecture{}, c.Unsupported("quantization_config", "quantised weights cannot be read; use the unquantised model")
	}
	known, classesOf := map[string]bool{}, map[string]bool{}
	for _, a := range architectures {
		if a.modelType == c.ModelType() && a.class == class && strings.HasPrefix(code, a.repo) {
			return a, nil
		}
		known[a.modelType] = true
		if a.class != "" {
			classesOf[a.class] = true
		}
	}
	if known[c.ModelType()] && class != "" {
		return architecture{}, c.Unsupported("auto_map", "the model brings code of its own (%s), which vkbert has no architecture for; supported classes: %s", code, keysOf(classesOf))
	}
	return architecture{}, c.Unsupported("model_type", "got %q; supported: %s", c.ModelType(), keysOf(known))
}

// activations are the names that transformers gives them (transformers/activations.py, ACT2FN).
var activations = map[string]cgo.Activation{
	"gelu":              cgo.GELU,
	"gelu_new":          cgo.GELUTanh,
	"gelu_fast":         cgo.GELUTanh,
	"gelu_pytorch_tanh": cgo.GELUTanh,
	"gelu_python_tanh":  cgo.GELUTanh,
	"gelu_accurate":     cgo.GELUTanh,
	"gelu_python":       cgo.GELU,
	"sigmoid":           cgo.Sigmoid,
	"relu":              cgo.ReLU,
	"silu":              cgo.SiLU,
	"swish":             cgo.SiLU,
	"tanh":              cgo.Tanh,
}

func keysOf[T any](table map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(table)), ", ")
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

// only refuses any value of a key but this one.
func only(c *loader.Config, f *loader.Fields, key, value string) {
	choice(c, f, key, value, map[string]bool{value: true})
}

// off refuses true for each of the keys.
func off(c *loader.Config, f *loader.Fields, keys ...string) {
	for _, key := range keys {
		if f.BoolOr(key, false) {
			f.Fail(c.Unsupported(key, "got true; supported: false"))
		}
	}
}

// suspicious are the parts of a key's name that say that it may change the vectors.
var suspicious = []string{"attention", "position", "norm", "activation", "_act", "rotary", "rope", "window", "adapter", "moe", "expert", "softcap", "bias"}

// harmless are keys of that sound that change nothing when vectors are made.
var harmless = []string{"attn_implementation", "_attn_implementation", "sbert_ce_default_activation_function", "output_attentions", "attention_probs_dropout_prob", "attention_dropout",
	"cross_attention_hidden_size", "use_memory_efficient_attention", "fused_bias_fc", "classifier_bias", "classifier_activation", "decoder_bias", "pooler_num_attention_heads", "final_logit_softcapping"}

// checkKeys refuses a configuration with a key that the architecture has not read and whose name says that it matters: ignoring it would give wrong
// vectors without a word.
func checkKeys(c *loader.Config, f *loader.Fields) error {
	f.Ignore(harmless...)
	for _, key := range f.Unread() {
		matters := func(part string) bool { return strings.Contains(strings.ToLower(key), part) }
		if slices.ContainsFunc(suspicious, matters) {
			return c.Unsupported(key, "%s models are not known to have this key, and its name says that it changes the vectors", c.ModelType())
		}
	}
	return nil
}

// shape is what nearly every configuration says.
type shape struct {
	hidden, layers, heads, inner, vocab uint32
	positions                           uint32
	eps                                 float32
}

// names are the keys of a configuration's shape; where a released configuration has two spellings, both, the first that is there counts.
type names struct{ hidden, layers, heads, inner, positions, eps string }

var usualNames = names{"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "max_position_embeddings", "layer_norm_eps"}

// readShape reads it; eps is the default of its key.
func readShape(f *loader.Fields, n names, eps float64) shape {
	key := func(spellings string) string {
		all := strings.Fields(spellings)
		for _, s := range all {
			if f.Has(s) {
				return s
			}
		}
		return all[0]
	}
	return shape{
		hidden:    uint32(f.Int(key(n.hidden), 1, 1<<16)),
		layers:    uint32(f.Int(key(n.layers), 1, 1<<10)),
		heads:     uint32(f.Int(key(n.heads), 1, 1<<10)),
		inner:     uint32(f.Int(key(n.inner), 1, 1<<18)),
		vocab:     uint32(f.Int("vocab_size", 1, 1<<24)),
		positions: uint32(f.Int(key(n.positions), 1, 1<<22)),
		eps:       float32(f.FloatOr(key(n.eps), eps, 1e-30, 1)),
	}
}

// even checks that the heads divide the width.
func (s shape) even(c *loader.Config) error {
	if s.hidden%s.heads != 0 {
		return c.Errorf("hidden_size", "%d is not a multiple of the number of heads, %d", s.hidden, s.heads)
	}
	return nil
}

// allHeads is as many key heads as query heads.
func (s shape) allHeads() heads { return heads{s.heads, s.heads, s.hidden / s.heads} }

func (s shape) encoder(output value, limit uint32) encoder {
	return encoder{output: output, limit: int(limit), vocab: int(s.vocab), layers: int(s.layers), heads: int(s.heads), eps: s.eps}
}

// finish is what every architecture checks before it builds: the first error of the fields, the heads, the keys that nobody has read.
func (s shape) finish(c *loader.Config, f *loader.Fields) error {
	if err := f.Err(); err != nil {
		return err
	}
	if err := s.even(c); err != nil {
		return err
	}
	return checkKeys(c, f)
}
