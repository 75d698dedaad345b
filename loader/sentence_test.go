package loader

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	oldPrefix = "sentence_transformers.models."
	newPrefix = "sentence_transformers.sentence_transformer.modules.pooling."
	basic     = "sentence_transformers.base.modules."
)

func TestOpen(t *testing.T) {
	m, err := Open(modelFiles(t, map[string]string{
		"config_sentence_transformers.json": `{"__version__":{"sentence_transformers":"5.0.0"},"model_type":"SentenceTransformer",
			"prompts":{"query":"q: ","document":"","none":null},"default_prompt_name":"query","similarity_fn_name":"dot","truncate_dim":3}`,
		"sentence_bert_config.json": `{"max_seq_length":256,"do_lower_case":true}`,
	}))
	require.NoError(t, err)
	assert.Equal(t, "bert", m.Config.ModelType())
	assert.Equal(t, []Module{Transformer{Path: "."}, Pooling{Dim: 4, Modes: []PoolingMode{PoolMean}, IncludePrompt: true}, Normalize{}}, m.Modules)
	assert.Equal(t, map[string]string{"query": "q: ", "document": "", "none": ""}, m.Prompts)
	assert.Equal(t, "query", m.DefaultPrompt)
	assert.Equal(t, "dot", m.Similarity)
	assert.Equal(t, 3, m.TruncateDim)
	assert.Equal(t, 256, m.MaxSeqLength)
	assert.True(t, m.LowerCase)
	assert.Equal(t, 4, m.Dim())
	_, ok := m.Weights.Lookup("w")
	assert.True(t, ok)
	require.NoError(t, m.Close())
	require.NoError(t, m.Close(), "closed twice")
}

func TestOpenDefaults(t *testing.T) {
	for name, tt := range map[string]struct {
		config string
		mode   PoolingMode
		dim    int
	}{
		"mean":          {bertConfig, PoolMean, 4},
		"causal":        {`{"model_type":"qwen3","architectures":["Qwen3ForCausalLM"],"hidden_size":8}`, PoolLastToken, 8},
		"bidirectional": {`{"model_type":"qwen3","architectures":["Qwen3ForCausalLM"],"is_causal":false,"hidden_size":8}`, PoolMean, 8},
		"distilbert":    {`{"model_type":"distilbert","dim":6}`, PoolMean, 6},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Open(modelFiles(t, map[string]string{"modules.json": "", "1_Pooling/config.json": "", "config.json": tt.config}))
			require.NoError(t, err)
			defer m.Close()
			assert.Equal(t, []Module{Transformer{Path: "."}, Pooling{Dim: tt.dim, Modes: []PoolingMode{tt.mode}, IncludePrompt: true}}, m.Modules)
			assert.Equal(t, "cosine", m.Similarity)
			assert.NotNil(t, m.Prompts)
			assert.Empty(t, m.Prompts)
			assert.Zero(t, m.TruncateDim)
		})
	}
}

// The transformer of releases before 1.0 lies in a folder of its own.
func TestOpenTransformerFolder(t *testing.T) {
	weights := string(tensorFile(t, f32Tensor("w", []int{1}, 1)))
	m, err := Open(modelFiles(t, map[string]string{
		"config.json": "", "model.safetensors": "", "tokenizer.json": "", "tokenizer_config.json": "",
		"0_Transformer/config.json":                  bertConfig,
		"0_Transformer/model.safetensors":            weights,
		"0_Transformer/tokenizer.json":               wordPiece,
		"0_Transformer/sentence_roberta_config.json": `{"max_seq_length":17}`,
		"modules.json": `[{"idx":0,"name":"0","path":"0_Transformer","type":"sentence_transformers.models.Transformer"},
			{"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"}]`,
	}))
	require.NoError(t, err)
	defer m.Close()
	assert.Equal(t, Transformer{Path: "0_Transformer"}, m.Modules[0])
	assert.Equal(t, 17, m.MaxSeqLength)
	tok, err := OpenTokenizer(m)
	require.NoError(t, err)
	require.NoError(t, tok.Close())
}

func TestPooling(t *testing.T) {
	for text, want := range map[string]Pooling{
		`{"word_embedding_dimension":4,"pooling_mode_mean_tokens":true}`:                                                    {4, []PoolingMode{PoolMean}, true},
		`{"word_embedding_dimension":4,"pooling_mode_mean_tokens":true,"pooling_mode_max_tokens":true}`:                     {4, []PoolingMode{PoolMax, PoolMean}, true},
		`{"word_embedding_dimension":4,"pooling_mode_lasttoken":true,"pooling_mode_cls_token":true,"include_prompt":false}`: {4, []PoolingMode{PoolCLS, PoolLastToken}, false},
		`{"word_embedding_dimension":4,"pooling_mode_weightedmean_tokens":true,"pooling_mode_mean_sqrt_len_tokens":true}`:   {4, []PoolingMode{PoolMeanSqrtLen, PoolWeightedMean}, true},
		`{"word_embedding_dimension":4,"pooling_mode_mean_tokens":false}`:                                                   {4, []PoolingMode{PoolMean}, true},
		`{"embedding_dimension":4,"pooling_mode":"cls","include_prompt":true}`:                                              {4, []PoolingMode{PoolCLS}, true},
		`{"embedding_dimension":4,"pooling_mode":["mean","cls","lasttoken","max","weightedmean","mean_sqrt_len_tokens"]}`:   {4, []PoolingMode{PoolMean, PoolCLS, PoolLastToken, PoolMax, PoolWeightedMean, PoolMeanSqrtLen}, true},
		`{"embedding_dimension":4,"pooling_mode":"cls","pooling_mode_max_tokens":true}`:                                     {4, []PoolingMode{PoolCLS}, true},
		`{"embedding_dimension":4}`: {4, []PoolingMode{PoolMean}, true},
		`{"word_embedding_dimension":4,"pooling_mode_mean_tokens":true,"pooling_mode_future":false,"include_prompt":null}`: {4, []PoolingMode{PoolMean}, true},
		`{"embedding_dimension":4,"pooling_mode":["max"],"include_prompt":false}`:                                          {4, []PoolingMode{PoolMax}, false},
	} {
		got, err := parsePooling(testConfig(t, text))
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, tt := range map[string]struct {
		want error
		says string
	}{
		`{}`:                          {ErrBadConfig, "word_embedding_dimension: want an integer"},
		`{"embedding_dimension":0}`:   {ErrBadConfig, "embedding_dimension: want an integer of 1 to"},
		`{"embedding_dimension":1e9}`: {ErrBadConfig, "got 1e9"},
		`{"embedding_dimension":4,"pooling_mode":"median"}`:                {ErrUnsupported, `"median"; supported are cls, max, mean, mean_sqrt_len_tokens, weightedmean, lasttoken`},
		`{"embedding_dimension":4,"pooling_mode":["cls","median"]}`:        {ErrUnsupported, `"median"`},
		`{"embedding_dimension":4,"pooling_mode":["cls","cls"]}`:           {ErrBadConfig, `"cls" twice`},
		`{"embedding_dimension":4,"pooling_mode":[]}`:                      {ErrBadConfig, "want 1 to 6 modes"},
		`{"embedding_dimension":4,"pooling_mode":7}`:                       {ErrBadConfig, "want a list of strings, got 7"},
		`{"word_embedding_dimension":4,"pooling_mode_median_tokens":true}`: {ErrUnsupported, "pooling_mode_median_tokens"},
		`{"word_embedding_dimension":4,"pooling_mode_mean_tokens":1}`:      {ErrBadConfig, "pooling_mode_mean_tokens: want true or false, got 1"},
		`{"word_embedding_dimension":4,"include_prompt":"no"}`:             {ErrBadConfig, "include_prompt"},
	} {
		_, err := parsePooling(testConfig(t, text))
		require.ErrorIs(t, err, tt.want, text)
		assert.ErrorContains(t, err, tt.says, text)
	}
}

func dense(in, out int) string {
	return fmt.Sprintf(`{"in_features":%d,"out_features":%d,"bias":true,"activation_function":"torch.nn.modules.linear.Identity"}`, in, out)
}

func TestModuleSpellings(t *testing.T) {
	linear := string(tensorFile(t, f32Tensor("linear.weight", []int{2, 4}, make([]float32, 8)...), f32Tensor("linear.bias", []int{2}, 0, 0)))
	norm := string(tensorFile(t, f32Tensor("norm.weight", []int{2}, 1, 1), f32Tensor("norm.bias", []int{2}, 0, 0)))
	for name, types := range map[string][]string{
		"up to 5.3": {oldPrefix + "Transformer", oldPrefix + "Pooling", oldPrefix + "Dense", oldPrefix + "LayerNorm", oldPrefix + "Dropout", oldPrefix + "Normalize"},
		"later": {basic + "transformer.Transformer", newPrefix + "Pooling", basic + "dense.Dense",
			"sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm", "sentence_transformers.sentence_transformer.modules.dropout.Dropout", basic + "normalize.Normalize"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Open(modelFiles(t, map[string]string{
				"modules.json": modules(types...), "1/config.json": `{"embedding_dimension":4,"pooling_mode":"mean"}`,
				"2/config.json": dense(4, 2), "2/model.safetensors": linear,
				"3/config.json": `{"dimension":2}`, "3/model.safetensors": norm, "4/config.json": `{"dropout":0.1}`,
			}))
			require.NoError(t, err)
			var kinds []string
			for _, module := range m.Modules {
				kinds = append(kinds, module.Kind())
			}
			assert.Equal(t, []string{"Transformer", "Pooling", "Dense", "LayerNorm", "Dropout", "Normalize"}, kinds)
			d := m.Modules[2].(Dense)
			assert.Equal(t, []any{4, 2, true, Identity}, []any{d.In, d.Out, d.Bias, d.Activation})
			assert.Equal(t, 2, m.Dim())
			require.NoError(t, m.Close())
			_, err = d.Weights.Float32s(Tensor{})
			require.ErrorIs(t, err, ErrClosed, "closing the model closes its modules' weights")
		})
	}
}

func TestModulesRefused(t *testing.T) {
	linear := string(tensorFile(t, f32Tensor("linear.weight", []int{2, 4}, make([]float32, 8)...), f32Tensor("linear.bias", []int{2}, 0, 0)))
	withDense := func(change map[string]string) map[string]string {
		files := map[string]string{
			"modules.json":  modules(oldPrefix+"Transformer", oldPrefix+"Pooling", oldPrefix+"Dense"),
			"1/config.json": `{"embedding_dimension":4}`, "2/config.json": dense(4, 2), "2/model.safetensors": linear,
		}
		for name, text := range change {
			files[name] = text
		}
		return files
	}
	only := func(modules string) map[string]string {
		return map[string]string{"modules.json": modules, "1/config.json": `{"embedding_dimension":4}`}
	}
	tests := map[string]struct {
		change map[string]string
		want   error
		says   string
	}{
		"CNN":                 {only(modules(oldPrefix+"Transformer", oldPrefix+"CNN")), ErrUnsupported, `"sentence_transformers.models.CNN"; supported are Dense, Dropout, LayerNorm, MultiVectorMask`},
		"own code":            {only(modules("my.Transformer", oldPrefix+"Pooling")), ErrUnsupported, `"my.Transformer" is code of the model's own`},
		"Jina's other code":   {only(modules("custom_st.Transformer", oldPrefix+"Pooling")), ErrUnsupported, "custom_st.Transformer is supported for the class XLMRobertaLoRA"},
		"no pooling":          {only(modules(oldPrefix + "Transformer")), ErrUnsupported, "module 1 of a SentenceTransformer: want Pooling, got none"},
		"no transformer":      {only(modules(oldPrefix+"Pooling", oldPrefix+"Transformer")), ErrUnsupported, "module 0 of a SentenceTransformer: want Transformer, got Pooling"},
		"two poolings":        {only(modules(oldPrefix+"Transformer", oldPrefix+"Pooling", oldPrefix+"Pooling")), ErrUnsupported, "module 2 of a SentenceTransformer: want one of Dense, LayerNorm, Normalize, Dropout, got Pooling"},
		"no modules":          {only(`[]`), ErrBadConfig, "want a list of 1 to 64 modules"},
		"an object":           {only(`{}`), ErrBadConfig, "want a list"},
		"a number":            {only(`[1]`), ErrBadConfig, "module 0: want an object, got 1"},
		"no type":             {only(`[{"path":""}]`), ErrBadConfig, "module 0: type: want a string, got nothing"},
		"no path":             {only(`[{"type":"sentence_transformers.models.Transformer"}]`), ErrBadConfig, "module 0: path: want a string"},
		"duplicate type":      {only(`[{"type":"x","type":"y","path":""}]`), ErrBadConfig, `duplicate key "type"`},
		"path to parent":      {only(`[{"type":"sentence_transformers.models.Transformer","path":"../x"}]`), ErrPath, "../x"},
		"absolute path":       {only(`[{"type":"sentence_transformers.models.Transformer","path":"/etc"}]`), ErrPath, "/etc"},
		"path of Windows":     {only(`[{"type":"sentence_transformers.models.Transformer","path":"..\\x"}]`), ErrPath, `..\\x`},
		"pooling without it":  {map[string]string{"1_Pooling/config.json": ""}, ErrNotFound, "1_Pooling"},
		"dense without it":    {withDense(map[string]string{"2/config.json": ""}), ErrNotFound, "2/config.json"},
		"dense, width":        {withDense(map[string]string{"2/config.json": dense(5, 2)}), ErrTensor, "want shape [2 5], got [2 4]"},
		"dense, input":        {withDense(map[string]string{"1/config.json": `{"embedding_dimension":3}`}), ErrBadConfig, "module 2, Dense: want an input of 3 values, got 4"},
		"dense, no bias":      {withDense(map[string]string{"2/model.safetensors": string(tensorFile(t, f32Tensor("linear.weight", []int{2, 4}, make([]float32, 8)...)))}), ErrTensor, `"linear.bias"`},
		"dense, pickled":      {withDense(map[string]string{"2/model.safetensors": "", "2/pytorch_model.bin": "x"}), ErrUnsupported, "pytorch_model.bin"},
		"dense, no weights":   {withDense(map[string]string{"2/model.safetensors": ""}), ErrNotFound, "model.safetensors"},
		"dense, activation":   {withDense(map[string]string{"2/config.json": `{"in_features":4,"out_features":2,"activation_function":"torch.nn.modules.activation.Mish"}`}), ErrUnsupported, "activation.Mish"},
		"dense, own function": {withDense(map[string]string{"2/config.json": `{"in_features":4,"out_features":2,"activation_function":"my.Tanh"}`}), ErrUnsupported, `"my.Tanh"; supported are torch.nn's GELU, Identity, ReLU, SiLU, Sigmoid, Tanh`},
		"dense, per token":    {withDense(map[string]string{"2/config.json": `{"in_features":4,"out_features":2,"module_input_name":"token_embeddings"}`}), ErrUnsupported, "token_embeddings"},
		"dense, residual":     {withDense(map[string]string{"2/config.json": `{"in_features":4,"out_features":2,"use_residual":true}`}), ErrUnsupported, "use_residual"},
		"dense, 0 outputs":    {withDense(map[string]string{"2/config.json": `{"in_features":4,"out_features":0}`}), ErrBadConfig, "out_features"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := Open(modelFiles(t, tt.change))
			require.ErrorIs(t, err, tt.want)
			assert.Nil(t, m)
			assert.ErrorContains(t, err, tt.says)
		})
	}
}

func TestDenseDefaults(t *testing.T) {
	d, err := (&opener{kind: KindEmbedding}).parseDense(testConfig(t, `{"in_features":4,"out_features":2}`))
	require.NoError(t, err)
	assert.Equal(t, Dense{In: 4, Out: 2, Bias: true, Activation: Tanh}, d)
	for class, want := range activations {
		d, err := (&opener{kind: KindEmbedding}).parseDense(testConfig(t, `{"in_features":4,"out_features":2,"bias":false,"activation_function":"torch.nn.modules.activation.`+class+`","module_input_name":"sentence_embedding"}`))
		require.NoError(t, err)
		assert.Equal(t, Dense{In: 4, Out: 2, Activation: want}, d)
	}
}

func TestMaxSeqLength(t *testing.T) {
	const huge = `"model_max_length":1000000000000000019884624838656`
	tests := map[string]struct {
		sentence, tokenizer, config string
		want                        int
	}{
		"the module's own":         {`{"max_seq_length":256}`, `{"model_max_length":512}`, `{"max_position_embeddings":512}`, 256},
		"capped":                   {`{"max_seq_length":1024}`, `{"model_max_length":512}`, `{"max_position_embeddings":512}`, 512},
		"null":                     {`{"max_seq_length":null}`, `{"model_max_length":384}`, `{"max_position_embeddings":512}`, 384},
		"6.x":                      {`{"transformer_task":"feature-extraction"}`, `{"model_max_length":128}`, `{"max_position_embeddings":512}`, 128},
		"tokenizer without limit":  {`{}`, `{` + huge + `}`, `{"max_position_embeddings":512}`, 512},
		"an old key":               {`{}`, `{"max_len":200}`, `{"max_position_embeddings":512}`, 200},
		"positions only":           {`{}`, `{}`, `{"max_position_embeddings":100}`, 100},
		"no limit":                 {`{}`, `{` + huge + `}`, `{}`, 0},
		"XLNet's -1":               {`{}`, `{` + huge + `}`, `{"max_position_embeddings":-1}`, 0},
		"RoBERTa":                  {`{}`, `{` + huge + `}`, `{"model_type":"roberta","max_position_embeddings":514,"pad_token_id":1}`, 512},
		"RoBERTa, no pad_token_id": {`{"max_seq_length":514}`, `{}`, `{"model_type":"xlm-roberta","max_position_embeddings":514}`, 512},
		"MPNet":                    {`{"max_seq_length":384}`, `{"model_max_length":512}`, `{"model_type":"mpnet","max_position_embeddings":514,"pad_token_id":1}`, 384},
		"processor_kwargs":         {`{"processor_kwargs":{"model_max_length":99}}`, `{"model_max_length":512}`, `{}`, 99},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := maxSeqLength(testConfig(t, tt.sentence), testConfig(t, tt.tokenizer), testConfig(t, tt.config))
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
	kinds := map[int][]string{ // of a table of 514 rows
		1024: {"eurobert", "gemma3_text", "gte", "jina_embeddings_v3", "modernbert", "mt5", "new", "nomic_bert", "qwen2", "qwen3", "t5"}, // there is none
		512:  {"camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"},                                                         // it begins later
		514:  {"albert", "bert", "distilbert", "electra"},
	}
	for want, names := range kinds {
		for _, name := range names {
			got, err := maxSeqLength(testConfig(t, `{"max_seq_length":1024}`), testConfig(t, `{}`), testConfig(t, `{"model_type":"`+name+`","max_position_embeddings":514}`))
			require.NoError(t, err)
			assert.Equal(t, want, got, name)
		}
	}
	for _, bad := range []string{`{"max_seq_length":0}`, `{"max_seq_length":-1}`, `{"max_seq_length":"256"}`} {
		_, err := maxSeqLength(testConfig(t, bad), testConfig(t, `{}`), testConfig(t, `{}`))
		require.ErrorIs(t, err, ErrBadConfig, bad)
	}
	_, err := maxSeqLength(testConfig(t, `{}`), testConfig(t, `{}`), testConfig(t, `{"model_type":"roberta","max_position_embeddings":2,"pad_token_id":1}`))
	require.ErrorIs(t, err, ErrBadConfig)
}

func TestOpenRefused(t *testing.T) {
	weights := "model.safetensors"
	tests := map[string]struct {
		change map[string]string
		want   error
		says   string
	}{
		"no config":           {map[string]string{"config.json": ""}, ErrNotFound, "no config.json"},
		"no config but GGUF":  {map[string]string{"config.json": "", weights: "", "model.gguf": "x"}, ErrUnsupported, "GGUF"},
		"only PyTorch":        {map[string]string{weights: "", "pytorch_model.bin": "x"}, ErrUnsupported, "pytorch_model.bin"},
		"no weights":          {map[string]string{weights: ""}, ErrNotFound, weights},
		"damaged weights":     {map[string]string{weights: "x"}, ErrBadHeader, weights},
		"damaged config":      {map[string]string{"config.json": "{"}, ErrBadConfig, "config.json"},
		"quantized":           {map[string]string{"config.json": `{"quantization_config":{}}`}, ErrUnsupported, "quantization_config"},
		"an adapter":          {map[string]string{"adapter_config.json": `{}`}, ErrUnsupported, "adapter_config.json"},
		"no hidden size":      {map[string]string{"modules.json": "", "config.json": `{}`}, ErrBadConfig, "hidden_size"},
		"SparseEncoder":       {map[string]string{"config_sentence_transformers.json": `{"model_type":"SparseEncoder"}`}, ErrUnsupported, "SparseEncoder"},
		"similarity":          {map[string]string{"config_sentence_transformers.json": `{"similarity_fn_name":"maxsim"}`}, ErrBadConfig, `want one of cosine, dot, euclidean, manhattan, got "maxsim"`},
		"default prompt":      {map[string]string{"config_sentence_transformers.json": `{"prompts":{"a":"b"},"default_prompt_name":"query"}`}, ErrBadConfig, `want one of the prompts (a), got "query"`},
		"prompt not text":     {map[string]string{"config_sentence_transformers.json": `{"prompts":{"a":1}}`}, ErrBadConfig, "prompts.a: want a string, got 1"},
		"duplicate prompt":    {map[string]string{"config_sentence_transformers.json": `{"prompts":{"a":"1","a":"2"}}`}, ErrBadConfig, "duplicate"},
		"truncate_dim":        {map[string]string{"config_sentence_transformers.json": `{"truncate_dim":0}`}, ErrBadConfig, "truncate_dim"},
		"another task":        {map[string]string{"sentence_bert_config.json": `{"transformer_task":"fill-mask"}`}, ErrUnsupported, "fill-mask"},
		"another output":      {map[string]string{"sentence_bert_config.json": `{"module_output_name":"sentence_embedding"}`}, ErrUnsupported, "sentence_embedding"},
		"chat template":       {map[string]string{"sentence_bert_config.json": `{"modality_config":{"text":{"method":"forward"},"message":{}}}`}, ErrUnsupported, "message"},
		"images only":         {map[string]string{"sentence_bert_config.json": `{"modality_config":{"image":{}}}`}, ErrBadConfig, "modality_config.text"},
		"query length":        {map[string]string{"sentence_bert_config.json": `{"query_length":32}`}, ErrUnsupported, "query_length"},
		"other configuration": {map[string]string{"sentence_bert_config.json": `{"config_args":{"hidden_act":"relu"}}`}, ErrUnsupported, "config_args.hidden_act"},
		"lower case":          {map[string]string{"sentence_bert_config.json": `{"do_lower_case":1}`}, ErrBadConfig, "do_lower_case"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := Open(modelFiles(t, tt.change))
			require.ErrorIs(t, err, tt.want)
			assert.Nil(t, m)
			assert.ErrorContains(t, err, tt.says)
		})
	}
	_, err := Open(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, ErrNotFound)
	_, err = Open(write(t, t.TempDir(), "file", nil))
	require.ErrorIs(t, err, ErrNotFound)
}

func TestOpenAccepts6(t *testing.T) {
	m, err := Open(modelFiles(t, map[string]string{
		"sentence_bert_config.json": `{"transformer_task":"feature-extraction","modality_config":{"text":{"method":"forward","method_output_name":"last_hidden_state"}},
			"module_output_name":"token_embeddings"}`,
		"modules.json":          modules(basic+"transformer.Transformer", newPrefix+"Pooling", basic+"normalize.Normalize"),
		"1/config.json":         `{"embedding_dimension":4,"pooling_mode":"mean","include_prompt":true}`,
		"2/config.json":         `{"module_input_name":"sentence_embedding","module_output_name":"sentence_embedding"}`,
		"tokenizer_config.json": `{"tokenizer_class":"BertTokenizer","model_max_length":256}`,
	}))
	require.NoError(t, err)
	defer m.Close()
	assert.Equal(t, 256, m.MaxSeqLength)
}

func TestConfigSymlinkToElsewhere(t *testing.T) {
	dir := modelFiles(t, map[string]string{"config.json": ""})
	require.NoError(t, os.Symlink(write(t, t.TempDir(), "config.json", []byte(bertConfig)), filepath.Join(dir, "config.json")))
	_, err := Open(dir)
	require.ErrorIs(t, err, ErrPath)
}

func TestRealModel(t *testing.T) {
	m, err := Open(realModel(t))
	require.NoError(t, err)
	defer m.Close()
	assert.Equal(t, []Module{Transformer{Path: "."}, Pooling{Dim: 384, Modes: []PoolingMode{PoolMean}, IncludePrompt: true}, Normalize{}}, m.Modules)
	assert.Equal(t, 256, m.MaxSeqLength)
	assert.False(t, m.LowerCase)
	assert.Equal(t, "cosine", m.Similarity)
	assert.Equal(t, 384, m.Dim())
	words, err := m.Weights.Want("embeddings.word_embeddings.weight", 30522, 384)
	require.NoError(t, err)
	sum := 0
	require.NoError(t, m.Weights.Stream(words, make([]byte, 1<<20), func(element int, chunk []byte) error {
		assert.Equal(t, sum, element)
		sum += len(chunk) / 4
		return nil
	}))
	assert.Equal(t, words.Elements(), sum)
	ids, ok := m.Weights.Lookup("embeddings.position_ids")
	require.True(t, ok)
	assert.Equal(t, DType("I64"), ids.DType)
}
