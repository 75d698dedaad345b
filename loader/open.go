package loader

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const sentenceFile = "config_sentence_transformers.json"

// opener opens the pipelines of one directory. What two of them share is opened
// once.
type opener struct {
	root     string
	kind     Kind
	sentence *Config // config_sentence_transformers.json, or empty
	modules  map[moduleRef]Module
	inputs   map[moduleRef]*Input
}

// close closes what was opened, where the opening fails.
func (o *opener) close() error {
	err := closeModules(slices.Collect(maps.Values(o.modules)))
	for _, in := range o.inputs {
		if in.Weights != nil {
			err = errors.Join(err, in.Weights.Close())
		}
	}
	return err
}

// chooseKind compares the kind that is wanted with the one that the files are of.
func (o *opener) chooseKind(want Kind, refs []moduleRef) (Kind, error) {
	folder := "."
	if len(refs) > 0 {
		folder = refs[0].path
	}
	config, err := optionalConfig(o.root, join(folder, "config.json"))
	if err != nil {
		return "", err
	}
	is, err := findKind(o.sentence, config, refs != nil)
	if err != nil || want == "" || want == is {
		return is, err
	}
	if refs == nil && !o.sentence.Has("model_type") { // a plain transformer can be any
		return want, nil
	}
	return "", fmt.Errorf("%w: %s: want a model for %s, got one for %s", ErrUnsupported, o.root, want, is)
}

// routed opens what modules.json lists.
func (o *opener) routed(refs []moduleRef) (*Model, error) {
	at := slices.IndexFunc(refs, func(r moduleRef) bool { return r.class == routerClass })
	if at < 0 {
		return o.pipeline(refs)
	}
	router, err := readRouter(o.root, refs[at].path)
	if err != nil {
		return nil, err
	}
	routes := make(map[string]*Model)
	for _, name := range router.names {
		if routes[name], err = o.pipeline(slices.Concat(refs[:at], router.routes[name], refs[at+1:])); err != nil {
			return nil, fmt.Errorf("route %.60q: %w", name, err)
		}
	}
	first := router.names[0]
	if name, err := router.resolve(""); err == nil {
		first = name
	}
	m := *routes[first]
	m.Routes, m.router = routes, router
	return &m, nil
}

// pipeline opens one list of modules.
func (o *opener) pipeline(refs []moduleRef) (*Model, error) {
	if slices.ContainsFunc(refs, func(r moduleRef) bool { return r.class == routerClass }) {
		return nil, fmt.Errorf("%w: %s: a Router in a Router", ErrUnsupported, o.root)
	}
	if err := checkModules(join(o.root, modulesFile), o.kind, refs); err != nil {
		return nil, err
	}
	modules := make([]Module, len(refs))
	for i, ref := range refs {
		if i == 0 {
			if _, err := o.input(ref); err != nil {
				return nil, err
			}
		}
		module, known := o.modules[ref]
		if !known {
			var err error
			if module, err = moduleLoaders[ref.class](o, ref.path); err != nil {
				return nil, fmt.Errorf("%s: module %d, %s: %w", o.root, i, ref.class, err)
			}
			o.modules[ref] = module
		}
		modules[i] = module
	}
	in := *o.inputs[refs[0]]
	switch first := modules[0].(type) {
	case StaticEmbedding:
		in.Weights = first.Weights
	case SparseStaticEmbedding:
		in.Weights = first.Weights
	}
	return o.finish(in, modules)
}

// input reads an input's files, once.
func (o *opener) input(ref moduleRef) (*Input, error) {
	if in, known := o.inputs[ref]; known {
		return in, nil
	}
	in, err := o.readInput(ref)
	if err != nil {
		return nil, err
	}
	o.inputs[ref] = in
	return in, nil
}

// plain opens a directory of transformers, without modules.json, as the
// reference does: with the modules that its kind has where nothing says more.
func (o *opener) plain() (*Model, error) {
	in, err := o.input(moduleRef{class: "Transformer", path: "."})
	if err != nil {
		return nil, err
	}
	modules := []Module{Transformer{Path: "."}}
	switch o.kind {
	case KindEmbedding:
		pooling, err := defaultPooling(in.Config)
		if err != nil {
			return nil, err
		}
		modules = append(modules, pooling)
	case KindSparse:
		modules = append(modules, SpladePooling{Pool: SpladeMax})
	case KindMultiVector:
		more, err := o.stanford(in)
		if err != nil {
			return nil, err
		}
		modules = append(modules, more...)
	}
	return o.finish(*in, modules)
}

// defaultPooling is the mean, or the last token for a causal language model.
func defaultPooling(config *Config) (Pooling, error) {
	architectures, err := config.Architectures()
	if err != nil {
		return Pooling{}, err
	}
	causal, err := config.BoolOr("is_causal", true)
	if err != nil {
		return Pooling{}, err
	}
	mode := PoolMean
	if len(architectures) > 0 && strings.HasSuffix(architectures[0], "ForCausalLM") && causal {
		mode = PoolLastToken
	}
	key := "hidden_size"
	for _, other := range []string{"dim", "d_model", "n_embd"} { // DistilBERT, T5, GPT-2
		if !config.Has(key) && config.Has(other) {
			key = other
		}
	}
	hidden, err := config.Int(key, 1, maxDim)
	return Pooling{Dim: hidden, Modes: []PoolingMode{mode}, IncludePrompt: true}, err
}

// finish makes the model of an input and its modules.
func (o *opener) finish(in Input, modules []Module) (*Model, error) {
	m := &Model{Dir: o.root, Kind: o.kind, Input: in, Modules: modules}
	if err := checkWidths(modules); err != nil {
		return nil, fmt.Errorf("%s: %w", o.root, err)
	}
	if err := m.readSentenceConfig(o.sentence); err != nil {
		return nil, err
	}
	var err error
	switch o.kind {
	case KindCrossEncoder:
		m.CrossEncoder, err = readCrossEncoder(in.Config, o.sentence)
	case KindMultiVector:
		err = o.finishMultiVector(m)
	}
	return m, err
}

// similarities are the names that a kind may have, the first by default.
var similarities = map[Kind][]string{
	KindEmbedding:    {"cosine", "dot", "euclidean", "manhattan"},
	KindSparse:       {"dot", "cosine", "euclidean", "manhattan"},
	KindMultiVector:  {"maxsim", "mean_maxsim"},
	KindCrossEncoder: {""},
}

// readSentenceConfig reads config_sentence_transformers.json.
func (m *Model) readSentenceConfig(c *Config) error {
	f := c.Fields()
	m.DefaultPrompt = f.StringOr("default_prompt_name", "")
	names := similarities[m.Kind]
	m.Similarity = f.StringOr("similarity_fn_name", names[0])
	if !slices.Contains(names, m.Similarity) {
		if m.Kind == KindEmbedding || m.Kind == KindSparse {
			f.Fail(c.wrong("similarity_fn_name", "one of "+strings.Join(names, ", ")))
		}
		m.Similarity = names[0] // PyLate's "cosine" or "MaxSim"
	}
	m.TruncateDim = f.IntOr("truncate_dim", 0, 1, maxDim)
	m.MaxActive = f.IntOr("max_active_dims", 0, 1, maxDim)
	m.Prompts = make(map[string]string)
	if f.Has("prompts") {
		prompts, err := c.Object("prompts")
		f.Fail(err)
		if err == nil {
			for _, name := range prompts.Keys() {
				text, err := prompts.StringOr(name, "")
				f.Fail(err)
				m.Prompts[name] = text
			}
		}
	}
	if f.Err() != nil {
		return f.Err()
	}
	if _, there := m.Prompts[m.DefaultPrompt]; m.DefaultPrompt != "" && !there {
		return c.Errorf("default_prompt_name", "want one of the prompts (%s), got %.60q", sortedKeys(m.Prompts), m.DefaultPrompt)
	}
	return nil
}
