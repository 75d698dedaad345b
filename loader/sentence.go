package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Model is an opened model directory: everything but the tokenizer, which
// [OpenTokenizer] opens. Its fields must not be changed.
type Model struct {
	Dir     string
	Config  *Config  // config.json of the transformer
	Modules []Module // in order: Transformer, Pooling, then any of the others

	Prompts       map[string]string // by name, for example "query"; never nil
	DefaultPrompt string            // the name of the prompt to use where none is asked for; "" for none
	Similarity    string            // cosine, dot, euclidean or manhattan
	TruncateDim   int               // keep that many values of a vector; 0 for all

	// MaxSeqLength is the most tokens of a text, special tokens included; 0 where
	// no file gives a limit.
	MaxSeqLength int
	// LowerCase says that texts are lower-cased before anything else. The
	// Tokenizer does it.
	LowerCase bool

	Weights *Weights // of the transformer; mapped, not read

	transformer     string  // folder of the transformer, slash-separated, relative to Dir
	tokenizerConfig *Config // empty if there is no such file
}

// The configurations of the Transformer module, of which the first that is there
// counts. Releases since 5.4 write the first whatever the architecture.
var transformerConfigs = []string{
	"sentence_bert_config.json",
	"sentence_roberta_config.json",
	"sentence_distilbert_config.json",
	"sentence_camembert_config.json",
	"sentence_albert_config.json",
	"sentence_xlm-roberta_config.json",
	"sentence_xlnet_config.json",
}

var similarities = []string{"cosine", "dot", "euclidean", "manhattan"}

// Open reads a model directory: configuration, modules and the headers of the
// weights. No tensor is read. The caller closes the model.
func Open(dir string) (_ *Model, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, notFound(err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%w: %s: want a model directory", ErrNotFound, dir)
	}
	m := &Model{Dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.Close())
		}
	}()
	refs, err := readModules(dir)
	if err != nil {
		return nil, err
	}
	m.transformer = "."
	if len(refs) > 0 {
		m.transformer = refs[0].path
	}
	if err := m.readConfig(); err != nil {
		return nil, err
	}
	if refs == nil {
		m.Modules, err = m.defaultModules()
	} else {
		m.Modules, err = loadModules(dir, refs)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := m.readSentenceConfig(); err != nil {
		return nil, err
	}
	if err := m.readTransformerConfig(); err != nil {
		return nil, err
	}
	if m.Weights, err = openWeightsDir(dir, m.transformer); err != nil {
		return nil, err
	}
	return m, nil
}

// Close unmaps the weights, those of modules too. It may be called more than once.
func (m *Model) Close() error {
	err := closeModules(m.Modules)
	if m.Weights != nil {
		err = errors.Join(err, m.Weights.Close())
	}
	return err
}

// Dim returns the length of a vector as the modules make it, before TruncateDim.
func (m *Model) Dim() int {
	dim := 0
	for _, module := range m.Modules {
		switch module := module.(type) {
		case Pooling:
			dim = module.Dim * len(module.Modes)
		case Dense:
			dim = module.Out
		}
	}
	return dim
}

// readModules reads modules.json; nil if there is none.
func readModules(dir string) ([]moduleRef, error) {
	path, err := within(dir, modulesFile)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	data, err := readBounded(path, maxConfig)
	if err != nil {
		return nil, err
	}
	return parseModules(path, data)
}

// readConfig reads config.json and refuses what would change the vectors without
// a word: adapters and quantized weights.
func (m *Model) readConfig() (err error) {
	m.Config, err = configWithin(m.Dir, join(m.transformer, "config.json"))
	if errors.Is(err, ErrNotFound) {
		dir := filepath.Join(m.Dir, filepath.FromSlash(m.transformer))
		if other := otherWeights(dir); other != nil {
			return other
		}
		return fmt.Errorf("%w: %s holds no config.json: not a model directory", ErrNotFound, dir)
	}
	if err != nil {
		return err
	}
	if m.Config.Has("quantization_config") {
		return m.Config.Unsupported("quantization_config", "quantized weights; use the unquantized model")
	}
	if !missing(m.Dir, join(m.transformer, "adapter_config.json")) {
		return fmt.Errorf("%w: %s: adapter_config.json: merge the adapter into the model first (peft's merge_and_unload)", ErrUnsupported, m.Dir)
	}
	return nil
}

// defaultModules is what the reference takes where there is no modules.json:
// mean pooling, or the last token for a causal language model.
func (m *Model) defaultModules() ([]Module, error) {
	architectures, err := m.Config.Architectures()
	if err != nil {
		return nil, err
	}
	causal, err := m.Config.BoolOr("is_causal", true)
	if err != nil {
		return nil, err
	}
	mode := PoolMean
	if len(architectures) > 0 && strings.HasSuffix(architectures[0], "ForCausalLM") && causal {
		mode = PoolLastToken
	}
	key := "hidden_size"
	for _, other := range []string{"dim", "d_model", "n_embd"} { // DistilBERT, T5, GPT-2
		if !m.Config.Has(key) && m.Config.Has(other) {
			key = other
		}
	}
	hidden, err := m.Config.Int(key, 1, maxDim)
	if err != nil {
		return nil, err
	}
	return []Module{Transformer{Path: "."}, Pooling{Dim: hidden, Modes: []PoolingMode{mode}, IncludePrompt: true}}, nil
}

// readSentenceConfig reads config_sentence_transformers.json.
func (m *Model) readSentenceConfig() error {
	c, err := optionalConfig(m.Dir, "config_sentence_transformers.json")
	if err != nil {
		return err
	}
	f := c.Fields()
	kind := f.StringOr("model_type", "SentenceTransformer")
	m.DefaultPrompt = f.StringOr("default_prompt_name", "")
	m.Similarity = f.StringOr("similarity_fn_name", "cosine", similarities...)
	m.TruncateDim = f.IntOr("truncate_dim", 0, 1, maxDim)
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
	if kind != "SentenceTransformer" {
		return c.Unsupported("model_type", "%.60q; supported is SentenceTransformer", kind)
	}
	if _, there := m.Prompts[m.DefaultPrompt]; m.DefaultPrompt != "" && !there {
		return c.Errorf("default_prompt_name", "want one of the prompts (%s), got %.60q", sortedKeys(m.Prompts), m.DefaultPrompt)
	}
	return nil
}

// readTransformerConfig reads the first of transformerConfigs and
// tokenizer_config.json, for the length of texts and lower-casing.
func (m *Model) readTransformerConfig() (err error) {
	var c *Config
	for _, name := range transformerConfigs {
		if c, err = optionalConfig(m.Dir, join(m.transformer, name)); err != nil {
			return err
		}
		if len(c.Keys()) > 0 {
			break
		}
	}
	if m.tokenizerConfig, err = optionalConfig(m.Dir, join(m.transformer, "tokenizer_config.json")); err != nil {
		return err
	}
	if err := refuseTransformerOptions(c); err != nil {
		return err
	}
	if m.LowerCase, err = c.BoolOr("do_lower_case", false); err != nil {
		return err
	}
	m.MaxSeqLength, err = maxSeqLength(c, m.tokenizerConfig, m.Config)
	return err
}

// plainText is the one way of calling the transformer that vkbert has, as
// releases since 5.4 write it.
var plainText = map[string][]string{
	"transformer_task":   {"feature-extraction"},
	"module_output_name": {"token_embeddings"},
}

// harmlessArgs are keyword arguments for transformers that do not change vectors
// beyond their precision.
var harmlessArgs = []string{
	"add_pooling_layer", "attn_implementation", "device_map", "dtype", "low_cpu_mem_usage",
	"model_max_length", "revision", "token", "torch_dtype", "trust_remote_code", "unpad_inputs",
	"use_fast", "use_memory_efficient_attention", "use_safetensors",
}

// refuseTransformerOptions refuses by name what would make other vectors: another
// task or output, chat templates, query expansion, overridden settings.
func refuseTransformerOptions(c *Config) error {
	for key, values := range plainText {
		v, err := c.StringOr(key, values[0])
		if err != nil {
			return err
		}
		if !slices.Contains(values, v) {
			return c.Unsupported(key, "%.60q; supported is %s", v, strings.Join(values, ", "))
		}
	}
	for _, key := range []string{"query_length", "document_length", "query_expansion", "tokenizer_name_or_path"} {
		if c.Has(key) {
			return c.Unsupported(key, "%s", describe(c.obj.get(key)))
		}
	}
	for _, key := range []string{"model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs", "processing_kwargs"} {
		if !c.Has(key) {
			continue
		}
		args, err := c.Object(key)
		if err != nil {
			return err
		}
		for _, name := range args.Keys() {
			if !slices.Contains(harmlessArgs, name) {
				return args.Unsupported(name, "%s", describe(args.obj.get(name)))
			}
		}
	}
	if !c.Has("modality_config") {
		return nil
	}
	modalities, err := c.Object("modality_config")
	if err != nil {
		return err
	}
	if modalities.Has("message") { // the reference would then use the chat template
		return modalities.Unsupported("message", "chat-templated input")
	}
	text, err := modalities.Object("text")
	if err != nil {
		return err
	}
	if _, err = text.StringOr("method", "forward", "forward"); err != nil {
		return err
	}
	_, err = text.StringOr("method_output_name", "last_hidden_state", "last_hidden_state")
	return err
}

// Lengths over this are how transformers says "no limit" (int(1e30)).
const noLimit = 1e9

// offsetPositions are the architectures whose positions start at padding_idx + 1,
// so that max_position_embeddings counts rows that no token uses.
var offsetPositions = []string{"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}

// maxSeqLength is max_seq_length of the Transformer module, else the tokenizer's
// model_max_length, and never more than the positions that the model has.
func maxSeqLength(c, tokenizer, config *Config) (int, error) {
	limit, err := c.IntOr("max_seq_length", 0, 1, noLimit)
	if err != nil {
		return 0, err
	}
	for _, key := range []string{"tokenizer_args", "processor_kwargs"} {
		if limit == 0 && c.Has(key) {
			args, err := c.Object(key)
			if err != nil {
				return 0, err
			}
			if limit, err = modelMaxLength(args); err != nil {
				return 0, err
			}
		}
	}
	if limit == 0 {
		if limit, err = modelMaxLength(tokenizer); err != nil {
			return 0, err
		}
	}
	positions, err := config.IntOr("max_position_embeddings", 0, -1, noLimit)
	if err != nil {
		return 0, err
	}
	if positions > 0 && slices.Contains(offsetPositions, config.ModelType()) {
		padding, err := config.IntOr("pad_token_id", 1, 0, noLimit)
		if err != nil {
			return 0, err
		}
		if positions -= padding + 1; positions < 1 {
			return 0, config.Errorf("max_position_embeddings", "want more than pad_token_id + 1 = %d, got %d", padding+1, positions+padding+1)
		}
	}
	if positions > 0 && (limit == 0 || positions < limit) {
		limit = positions
	}
	return limit, nil
}

// modelMaxLength returns 0 where there is no limit.
func modelMaxLength(c *Config) (int, error) {
	for _, key := range []string{"model_max_length", "max_len"} {
		n, err := c.FloatOr(key, 0, 0, 1e300)
		if err != nil {
			return 0, err
		}
		if n >= 1 && n <= noLimit {
			return int(n), nil
		}
	}
	return 0, nil
}
