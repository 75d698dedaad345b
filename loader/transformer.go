package loader

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// readInput reads what belongs to the module that takes the text.
func (o *opener) readInput(ref moduleRef) (*Input, error) {
	in := &Input{folder: ref.path, bare: ref.class != "Transformer"}
	if in.bare {
		return in, o.readBare(in, ref.class)
	}
	var err error
	if in.Config, err = readTransformer(o.root, ref.path); err != nil {
		return nil, err
	}
	if err := checkForeign(in.Config, ref); err != nil {
		return nil, err
	}
	var module *Config
	for _, name := range transformerConfigs {
		if module, err = optionalConfig(o.root, join(ref.path, name)); err != nil {
			return nil, err
		}
		if len(module.Keys()) > 0 {
			break
		}
	}
	if in.tokenizerConfig, err = optionalConfig(o.root, join(ref.path, "tokenizer_config.json")); err != nil {
		return nil, err
	}
	if err := refuseTransformerOptions(module, o.kind); err != nil {
		return nil, err
	}
	if in.LowerCase, err = module.BoolOr("do_lower_case", false); err != nil {
		return nil, err
	}
	if in.MaxSeqLength, err = maxSeqLength(module, in.tokenizerConfig, in.Config); err != nil {
		return nil, err
	}
	if o.kind == KindMultiVector {
		if in.MultiVector, err = readMultiVector(module, o.sentence); err != nil {
			return nil, err
		}
	}
	in.Weights, err = openWeightsDir(o.root, ref.path)
	return in, err
}

// readBare reads the files of an input without a transformer.
func (o *opener) readBare(in *Input, class string) (err error) {
	in.Config = &Config{file: filepath.Join(o.root, filepath.FromSlash(in.folder), "config.json"), obj: &jsonObject{}}
	in.tokenizerConfig = in.Config
	if class == "StaticEmbedding" { // reads tokenizer.json alone
		in.ownLimit = true
		return nil
	}
	if in.tokenizerConfig, err = optionalConfig(o.root, join(in.folder, "tokenizer_config.json")); err != nil {
		return err
	}
	in.MaxSeqLength, err = modelMaxLength(in.tokenizerConfig)
	return err
}

// readTransformer reads config.json and refuses what would change the vectors
// without a word: adapters and quantized weights.
func readTransformer(root, folder string) (*Config, error) {
	c, err := configWithin(root, join(folder, "config.json"))
	if errors.Is(err, ErrNotFound) {
		dir := filepath.Join(root, filepath.FromSlash(folder))
		if other := otherWeights(dir); other != nil {
			return nil, other
		}
		return nil, fmt.Errorf("%w: %s holds no config.json: not a model directory", ErrNotFound, dir)
	}
	if err != nil {
		return nil, err
	}
	if c.Has("quantization_config") {
		return nil, c.Unsupported("quantization_config", "quantized weights; use the unquantized model")
	}
	if !missing(root, join(folder, "adapter_config.json")) {
		return nil, fmt.Errorf("%w: %s: adapter_config.json: merge the adapter into the model first (peft's merge_and_unload)", ErrUnsupported, root)
	}
	return c, nil
}

// checkForeign checks that a Transformer class of a model's own code is the one
// that foreignModules knows.
func checkForeign(config *Config, ref moduleRef) error {
	foreign, is := foreignModules[ref.name]
	if !is || foreign.model == "" {
		return nil
	}
	classes, err := config.AutoMap()
	if err != nil {
		return err
	}
	class := classes["AutoModel"]
	if class[strings.LastIndexByte(class, '.')+1:] != foreign.model {
		return config.Unsupported("auto_map", "module %s is supported for the class %s, got %.100q", ref.name, foreign.model, class)
	}
	return nil
}

// tasks are the ways of calling a transformer, as releases since 5.4 write them.
var tasks = map[Kind]struct{ name, output, field string }{
	KindEmbedding:    {"feature-extraction", tokenVectors, "last_hidden_state"},
	KindCrossEncoder: {"sequence-classification", "scores", "logits"},
	KindSparse:       {"fill-mask", tokenVectors, "logits"},
	KindMultiVector:  {"feature-extraction", tokenVectors, "last_hidden_state"},
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
func refuseTransformerOptions(c *Config, kind Kind) error {
	task := tasks[kind]
	for key, want := range map[string]string{"transformer_task": task.name, "module_output_name": task.output} {
		got, err := c.StringOr(key, want)
		if err != nil {
			return err
		}
		if got != want {
			return c.Unsupported(key, "%.60q; supported in a %s is %s", got, kind, want)
		}
	}
	for _, key := range []string{"query_length", "document_length", "query_expansion", "tokenizer_name_or_path"} {
		if c.Has(key) && (kind != KindMultiVector || key == "tokenizer_name_or_path") {
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
	_, err = text.StringOr("method_output_name", task.field, task.field)
	return err
}

// Lengths over this are how transformers says "no limit" (int(1e30)).
const noLimit = 1e9

// offsetPositions are the architectures whose positions start at padding_idx + 1,
// so that max_position_embeddings counts rows that no token uses.
var offsetPositions = []string{"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet"}

// relativePositions are the architectures without a table of positions: theirs
// is a limit of habit, which max_seq_length may exceed.
var relativePositions = []string{
	"eurobert", "gemma3_text", "gte", "jina_embeddings_v3", "modernbert", "mt5", "new", "nomic_bert", "qwen2", "qwen3", "t5",
}

// hasPositionTable says whether a text longer than max_position_embeddings has
// no row to look up.
func hasPositionTable(config *Config) (bool, error) {
	kind, err := config.StringOr("position_embedding_type", "absolute")
	if err != nil {
		return false, err
	}
	biased, err := config.BoolOr("position_biased_input", true) // DeBERTa
	if err != nil {
		return false, err
	}
	return biased && kind != "alibi" && !strings.HasPrefix(kind, "ro") && !slices.Contains(relativePositions, config.ModelType()), nil
}

// maxSeqLength is max_seq_length of the Transformer module, else the tokenizer's
// model_max_length, but no more than max_position_embeddings, which a
// max_seq_length may exceed where there is no table of positions.
func maxSeqLength(c, tokenizer, config *Config) (int, error) {
	limit, err := c.IntOr("max_seq_length", 0, 1, noLimit)
	if err != nil {
		return 0, err
	}
	for _, key := range []string{"tokenizer_args", "processor_kwargs"} {
		if c.Has(key) {
			args, err := c.Object(key)
			if err != nil {
				return 0, err
			}
			n, err := modelMaxLength(args)
			if err != nil {
				return 0, err
			}
			if n > 0 { // wins over max_seq_length
				limit = n
			}
		}
	}
	table, err := hasPositionTable(config)
	if err != nil {
		return 0, err
	}
	if limit > 0 && !table {
		return limit, nil
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
	if positions > 0 && table && slices.Contains(offsetPositions, config.ModelType()) {
		padding := 1
		if config.ModelType() != "mpnet" { // whose code has it written out
			if padding, err = config.IntOr("pad_token_id", 1, 0, noLimit); err != nil {
				return 0, err
			}
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
