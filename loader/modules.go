package loader

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Module is one step of a sentence-transformers pipeline: a [Transformer],
// [StaticEmbedding] or [SparseStaticEmbedding] first, then any of [Pooling],
// [SpladePooling], [MultiVectorMask], [Dense], [LayerNorm], [Normalize] and
// [Dropout].
type Module interface {
	// Kind is the class name, for example "Pooling".
	Kind() string
}

// Transformer makes token embeddings. Its files are those of the [Model].
type Transformer struct {
	Path string // folder below the model's, slash-separated; "." is the model's own
}

// PoolingMode is a way to make one vector of the token embeddings.
type PoolingMode string

// The pooling modes, in the order in which the old booleans concatenate.
const (
	PoolCLS          PoolingMode = "cls"
	PoolMax          PoolingMode = "max"
	PoolMean         PoolingMode = "mean"
	PoolMeanSqrtLen  PoolingMode = "mean_sqrt_len_tokens"
	PoolWeightedMean PoolingMode = "weightedmean"
	PoolLastToken    PoolingMode = "lasttoken"
)

var poolingModes = []struct {
	mode PoolingMode
	old  string // the boolean of releases before 5.4
}{
	{PoolCLS, "pooling_mode_cls_token"},
	{PoolMax, "pooling_mode_max_tokens"},
	{PoolMean, "pooling_mode_mean_tokens"},
	{PoolMeanSqrtLen, "pooling_mode_mean_sqrt_len_tokens"},
	{PoolWeightedMean, "pooling_mode_weightedmean_tokens"},
	{PoolLastToken, "pooling_mode_lasttoken"},
}

// Pooling makes one vector of Dim values a mode, concatenated in the order of
// Modes.
type Pooling struct {
	Dim           int // of a token embedding
	Modes         []PoolingMode
	IncludePrompt bool // false: the prompt's tokens are left out here, not before
}

// Activation is the function after a Dense layer.
type Activation string

// The activations of Dense layers.
const (
	Identity Activation = "identity"
	Tanh     Activation = "tanh"
	ReLU     Activation = "relu"
	GELU     Activation = "gelu" // the erf form
	SiLU     Activation = "silu"
	Sigmoid  Activation = "sigmoid"
)

// activations maps the last component of a torch class path.
var activations = map[string]Activation{
	"Identity": Identity, "Tanh": Tanh, "ReLU": ReLU, "GELU": GELU, "SiLU": SiLU, "Sigmoid": Sigmoid,
}

// Dense is activation(x·Wᵀ + b).
type Dense struct {
	In, Out    int
	Bias       bool
	Activation Activation
	PerToken   bool     // on each token embedding, not on the sentence vector
	Weights    *Weights // linear.weight [Out, In] and, with Bias, linear.bias [Out]; checked
}

// LayerNorm normalises a sentence vector, with torch's default epsilon of 1e-5.
type LayerNorm struct {
	Dim     int
	Weights *Weights // norm.weight [Dim] and norm.bias [Dim]; checked
}

// Normalize scales a sentence vector to unit length, or each token embedding.
type Normalize struct {
	PerToken bool
}

// Dropout does nothing when a model is used.
type Dropout struct{}

func (Transformer) Kind() string { return "Transformer" }
func (Pooling) Kind() string     { return "Pooling" }
func (Dense) Kind() string       { return "Dense" }
func (LayerNorm) Kind() string   { return "LayerNorm" }
func (Normalize) Kind() string   { return "Normalize" }
func (Dropout) Kind() string     { return "Dropout" }

const (
	maxModules  = 64
	maxDim      = 1 << 20
	modulesFile = "modules.json"
	routerClass = "Router"
)

// moduleLoaders makes a module from its folder. Classes that are not here are
// refused by name, but for Router, which is no step of its own.
var moduleLoaders = map[string]func(o *opener, dir string) (Module, error){
	"Transformer":           func(_ *opener, dir string) (Module, error) { return Transformer{Path: dir}, nil },
	"StaticEmbedding":       loadStatic,
	"SparseStaticEmbedding": loadSparseStatic,
	"Pooling":               loadPooling,
	"SpladePooling":         loadSplade,
	"MultiVectorMask":       loadMask,
	"Dense":                 loadDense,
	"LayerNorm":             loadLayerNorm,
	"Normalize":             loadNormalize,
	"Dropout":               func(_ *opener, _ string) (Module, error) { return Dropout{}, nil },
}

// moduleAliases are the names that classes had before.
var moduleAliases = map[string]string{"MLMTransformer": "Transformer", "Asym": routerClass}

// foreignModules are classes of other packages that are one of ours, and the class
// of config.json's auto_map that must stand beside them: the same name may mean
// something else in another repository.
var foreignModules = map[string]struct{ class, model string }{
	"custom_st.Transformer":     {"Transformer", "XLMRobertaLoRA"}, // jina-embeddings-v3
	"pylate.models.Dense.Dense": {"Dense", ""},
}

// moduleRef is one entry of modules.json.
type moduleRef struct {
	class string // last component of type, as it is called today
	name  string // the type itself
	path  string // cleaned; "." for the model's own folder
}

// parseModules parses modules.json. The order of the list counts, idx does not.
func parseModules(file string, data []byte) ([]moduleRef, error) {
	v, err := parseJSON(data, configDepth)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrBadConfig, file, err)
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 || len(list) > maxModules {
		return nil, fmt.Errorf("%w: %s: want a list of 1 to %d modules, got %s (%d)", ErrBadConfig, file, maxModules, describe(v), len(list))
	}
	refs := make([]moduleRef, len(list))
	for i, v := range list {
		obj, ok := v.(*jsonObject)
		if !ok {
			return nil, fmt.Errorf("%w: %s: module %d: want an object, got %s", ErrBadConfig, file, i, describe(v))
		}
		c := &Config{file: file, path: fmt.Sprintf("module %d: ", i), obj: obj}
		ref, err := newModuleRef(c, "type")
		if err != nil {
			return nil, err
		}
		path, err := c.String("path")
		if err != nil {
			return nil, err
		}
		if ref.path, err = cleanRelative(path); err != nil {
			return nil, fmt.Errorf("%s: module %d: %w", file, i, err)
		}
		refs[i] = ref
	}
	return refs, nil
}

// newModuleRef reads the class at a key. Releases up to 5.3 write
// sentence_transformers.models.Pooling, later ones the full module path; code of
// a model's own repository has another first component.
func newModuleRef(c *Config, key string) (moduleRef, error) {
	name, err := c.String(key)
	if err != nil {
		return moduleRef{}, err
	}
	ref := moduleRef{class: name[strings.LastIndexByte(name, '.')+1:], name: name}
	if foreign, known := foreignModules[name]; known {
		ref.class = foreign.class
		return ref, nil
	}
	if !strings.HasPrefix(name, "sentence_transformers.") {
		return ref, c.Unsupported(key, "%.200q is code of the model's own", name)
	}
	if now, renamed := moduleAliases[ref.class]; renamed {
		ref.class = now
	}
	if moduleLoaders[ref.class] == nil && ref.class != routerClass {
		return ref, c.Unsupported(key, "module %.200q; supported are %s, %s", name, sortedKeys(moduleLoaders), routerClass)
	}
	return ref, nil
}

func sortedKeys[V any](m map[string]V) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

// checkWidths checks that each module takes what the one before it gives.
func checkWidths(modules []Module) error {
	width := 0 // 0: any, the transformer's own
	for i, m := range modules {
		in, out := width, width
		switch m := m.(type) {
		case StaticEmbedding:
			out = m.Dim
		case Pooling:
			out = m.Dim * len(m.Modes)
		case Dense:
			in, out = m.In, m.Out
		case LayerNorm:
			in = m.Dim
		}
		if in != width && width != 0 {
			return fmt.Errorf("%w: module %d, %s: want an input of %d values, got %d", ErrBadConfig, i, m.Kind(), width, in)
		}
		width = out
	}
	return nil
}

func closeModules(modules []Module) error {
	var errs []error
	for _, m := range modules {
		switch m := m.(type) {
		case Dense:
			errs = append(errs, m.Weights.Close())
		case LayerNorm:
			errs = append(errs, m.Weights.Close())
		case StaticEmbedding:
			errs = append(errs, m.Weights.Close())
		case SparseStaticEmbedding:
			errs = append(errs, m.Weights.Close())
		}
	}
	return errors.Join(errs...)
}

func loadPooling(o *opener, dir string) (Module, error) {
	c, err := configWithin(o.root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	p, err := parsePooling(c)
	return p, err
}

// parsePooling reads both spellings: booleans and word_embedding_dimension up to
// 5.3, pooling_mode and embedding_dimension later.
func parsePooling(c *Config) (Pooling, error) {
	f := c.Fields()
	p := Pooling{IncludePrompt: f.BoolOr("include_prompt", true)}
	if f.Has("embedding_dimension") {
		p.Dim = f.Int("embedding_dimension", 1, maxDim)
	} else {
		p.Dim = f.Int("word_embedding_dimension", 1, maxDim)
	}
	for _, m := range poolingModes {
		if f.BoolOr(m.old, false) {
			p.Modes = append(p.Modes, m.mode)
		}
	}
	for _, key := range f.Unread() {
		if strings.HasPrefix(key, "pooling_mode_") && c.obj.get(key) != false {
			f.Fail(c.Unsupported(key, "pooling mode; supported are %s", modeNames()))
		}
	}
	if f.Has("pooling_mode") {
		modes, err := newPoolingModes(c)
		f.Fail(err)
		p.Modes = modes
	}
	if len(p.Modes) == 0 { // nothing said: the reference takes the mean
		p.Modes = []PoolingMode{PoolMean}
	}
	return p, f.Err()
}

// newPoolingModes reads pooling_mode, a name or a list of names. A list
// concatenates in its own order.
func newPoolingModes(c *Config) ([]PoolingMode, error) {
	names := []string{}
	if one, ok := c.obj.get("pooling_mode").(string); ok {
		names = append(names, one)
	} else if list, err := c.Strings("pooling_mode"); err != nil {
		return nil, err
	} else {
		names = list
	}
	if len(names) == 0 || len(names) > len(poolingModes) {
		return nil, c.Errorf("pooling_mode", "want 1 to %d modes, got %d", len(poolingModes), len(names))
	}
	modes := make([]PoolingMode, len(names))
	for i, name := range names {
		modes[i] = PoolingMode(name)
		if !slices.Contains(strings.Split(modeNames(), ", "), name) {
			return nil, c.Unsupported("pooling_mode", "%.60q; supported are %s", name, modeNames())
		}
		if slices.Contains(modes[:i], modes[i]) {
			return nil, c.Errorf("pooling_mode", "%q twice", name)
		}
	}
	return modes, nil
}

func modeNames() string {
	names := make([]string, len(poolingModes))
	for i, m := range poolingModes {
		names[i] = string(m.mode)
	}
	return strings.Join(names, ", ")
}
