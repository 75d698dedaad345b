package loader

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Module is one step of a sentence-transformers pipeline: a [Transformer],
// [Pooling], [Dense], [LayerNorm], [Normalize] or [Dropout].
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
	Weights    *Weights // linear.weight [Out, In] and, with Bias, linear.bias [Out]; checked
}

// LayerNorm normalises a sentence vector, with torch's default epsilon of 1e-5.
type LayerNorm struct {
	Dim     int
	Weights *Weights // norm.weight [Dim] and norm.bias [Dim]; checked
}

// Normalize scales a sentence vector to unit length.
type Normalize struct{}

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
)

// moduleLoaders makes a module from its folder. Classes that are not here are
// refused by name.
var moduleLoaders = map[string]func(root, dir string) (Module, error){
	"Transformer": func(_, dir string) (Module, error) { return Transformer{Path: dir}, nil },
	"Pooling":     loadPooling,
	"Dense":       loadDense,
	"LayerNorm":   loadLayerNorm,
	"Normalize":   loadNormalize,
	"Dropout":     func(_, _ string) (Module, error) { return Dropout{}, nil },
}

// moduleRef is one entry of modules.json.
type moduleRef struct {
	class string // last component of type
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
		class, err := moduleClass(c)
		if err != nil {
			return nil, err
		}
		path, err := c.String("path")
		if err != nil {
			return nil, err
		}
		if path, err = cleanRelative(path); err != nil {
			return nil, fmt.Errorf("%s: module %d: %w", file, i, err)
		}
		refs[i] = moduleRef{class: class, path: path}
	}
	return refs, checkPipeline(file, refs)
}

// moduleClass returns the class of an entry. Releases up to 5.3 write
// sentence_transformers.models.Pooling, later ones the full module path; code of
// a model's own repository has another first component.
func moduleClass(c *Config) (string, error) {
	name, err := c.String("type")
	if err != nil {
		return "", err
	}
	class := name[strings.LastIndexByte(name, '.')+1:]
	if !strings.HasPrefix(name, "sentence_transformers.") {
		return "", c.Unsupported("type", "%.200q is code of the model's own", name)
	}
	if moduleLoaders[class] == nil {
		return "", c.Unsupported("type", "module %.200q; supported are %s", name, sortedKeys(moduleLoaders))
	}
	return class, nil
}

// checkPipeline accepts a Transformer, its Pooling, and then steps on the
// sentence vector.
func checkPipeline(file string, refs []moduleRef) error {
	for i, want := range []string{"Transformer", "Pooling"} {
		if i >= len(refs) || refs[i].class != want {
			return fmt.Errorf("%w: %s: module %d: want %s, got %s", ErrUnsupported, file, i, want, className(refs, i))
		}
	}
	for i, ref := range refs[2:] {
		if ref.class == "Transformer" || ref.class == "Pooling" {
			return fmt.Errorf("%w: %s: module %d: a second %s", ErrUnsupported, file, i+2, ref.class)
		}
	}
	return nil
}

func className(refs []moduleRef, i int) string {
	if i >= len(refs) {
		return "none"
	}
	return refs[i].class
}

func sortedKeys[V any](m map[string]V) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

// loadModules makes the modules, and checks that the widths fit each other. On
// an error what was opened is closed.
func loadModules(root string, refs []moduleRef) (_ []Module, err error) {
	modules := make([]Module, 0, len(refs))
	defer func() {
		if err != nil {
			err = errors.Join(err, closeModules(modules))
		}
	}()
	width := 0
	for i, ref := range refs {
		m, err := moduleLoaders[ref.class](root, ref.path)
		if err != nil {
			return nil, fmt.Errorf("module %d, %s: %w", i, ref.class, err)
		}
		modules = append(modules, m)
		in, out := width, width
		switch m := m.(type) {
		case Pooling:
			in, out = width, m.Dim*len(m.Modes)
		case Dense:
			in, out = m.In, m.Out
		case LayerNorm:
			in = m.Dim
		}
		if in != width {
			return nil, fmt.Errorf("%w: module %d, %s: want an input of %d values, got %d", ErrBadConfig, i, ref.class, width, in)
		}
		width = out
	}
	return modules, nil
}

func closeModules(modules []Module) error {
	var errs []error
	for _, m := range modules {
		switch m := m.(type) {
		case Dense:
			errs = append(errs, m.Weights.Close())
		case LayerNorm:
			errs = append(errs, m.Weights.Close())
		}
	}
	return errors.Join(errs...)
}

func loadPooling(root, dir string) (Module, error) {
	c, err := configWithin(root, join(dir, "config.json"))
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

// wantSentence refuses a module that works on anything but the sentence vector
// (ColBERT models have a Dense on token_embeddings).
func wantSentence(c *Config) error {
	for _, key := range []string{"module_input_name", "module_output_name"} {
		name, err := c.StringOr(key, "sentence_embedding")
		if err != nil {
			return err
		}
		if name != "sentence_embedding" {
			return c.Unsupported(key, "%.60q; supported is sentence_embedding", name)
		}
	}
	return nil
}

func loadDense(root, dir string) (Module, error) {
	c, err := configWithin(root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	d, err := parseDense(c)
	if err != nil {
		return nil, err
	}
	if d.Weights, err = openWeightsDir(root, dir); err != nil {
		return nil, err
	}
	_, err = d.Weights.Want("linear.weight", d.Out, d.In)
	if err == nil && d.Bias {
		_, err = d.Weights.Want("linear.bias", d.Out)
	}
	if err != nil {
		return nil, errors.Join(err, d.Weights.Close())
	}
	return d, nil
}

func parseDense(c *Config) (Dense, error) {
	f := c.Fields()
	d := Dense{
		In:   f.Int("in_features", 1, maxDim),
		Out:  f.Int("out_features", 1, maxDim),
		Bias: f.BoolOr("bias", true),
	}
	class := f.StringOr("activation_function", "torch.nn.modules.activation.Tanh")
	residual := f.BoolOr("use_residual", false)
	if f.Err() != nil {
		return d, f.Err()
	}
	if residual {
		return d, c.Unsupported("use_residual", "a residual connection")
	}
	known := false
	d.Activation, known = activations[class[strings.LastIndexByte(class, '.')+1:]]
	if !known || !strings.HasPrefix(class, "torch.nn.") {
		return d, c.Unsupported("activation_function", "%.200q; supported are torch.nn's %s", class, sortedKeys(activations))
	}
	return d, wantSentence(c)
}

func loadLayerNorm(root, dir string) (Module, error) {
	c, err := configWithin(root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	n := LayerNorm{}
	if n.Dim, err = c.Int("dimension", 1, maxDim); err != nil {
		return nil, err
	}
	if n.Weights, err = openWeightsDir(root, dir); err != nil {
		return nil, err
	}
	for _, name := range []string{"norm.weight", "norm.bias"} {
		if _, err := n.Weights.Want(name, n.Dim); err != nil {
			return nil, errors.Join(err, n.Weights.Close())
		}
	}
	return n, nil
}

// loadNormalize has nothing to load: before release 6 the folder is often not
// even there.
func loadNormalize(root, dir string) (Module, error) {
	c, err := optionalConfig(root, join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	return Normalize{}, wantSentence(c)
}
