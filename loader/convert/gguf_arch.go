package convert

import (
	"fmt"
	"math"

	"github.com/vkbert/vkbert/loader"
)

// ggufArchs are the architectures by general.architecture. Their tensors' names:
// https://github.com/ggml-org/llama.cpp/blob/master/gguf-py/gguf/tensor_mapping.py
var ggufArchs map[string]*ggufArch

func init() { // the functions refer to the table
	ggufArchs = map[string]*ggufArch{
		"bert":            ggufBERT,
		"nomic-bert":      ggufNomic,
		"jina-bert-v2":    ggufJina,
		"modern-bert":     ggufModernBERT,
		"eurobert":        ggufEuroBERT,
		"qwen2":           ggufQwen2,
		"qwen3":           ggufQwen3,
		"llama":           ggufLlama,
		"gemma-embedding": ggufGemma,
	}
}

// Bounds of what a configuration may say. They keep products of them in range.
const (
	maxWidth  = 1 << 20
	maxHeads  = 1 << 12
	maxLength = 1 << 30
)

// bertEmbeddings and bertLayer are what the BERT family shares.
var bertEmbeddings = map[string]rewrite{
	"token_embd":      {to: "embeddings.word_embeddings"},
	"position_embd":   {to: "embeddings.position_embeddings", fix: padPositions},
	"token_types":     {to: "embeddings.token_type_embeddings", fix: asMatrix},
	"token_embd_norm": {to: "embeddings.LayerNorm"},
}

var ggufBERT = &ggufArch{
	whole: bertEmbeddings,
	layer: map[string]rewrite{
		"attn_q":            {to: "encoder.layer.%d.attention.self.query"},
		"attn_k":            {to: "encoder.layer.%d.attention.self.key"},
		"attn_v":            {to: "encoder.layer.%d.attention.self.value"},
		"attn_output":       {to: "encoder.layer.%d.attention.output.dense"},
		"attn_output_norm":  {to: "encoder.layer.%d.attention.output.LayerNorm"},
		"ffn_up":            {to: "encoder.layer.%d.intermediate.dense"},
		"ffn_down":          {to: "encoder.layer.%d.output.dense"},
		"layer_output_norm": {to: "encoder.layer.%d.output.LayerNorm"},
	},
	extra:  zeroTypes,
	config: bertConfig,
}

// bertFamilies are the models that llama.cpp calls bert, by their tokenizer.
var bertFamilies = map[string]struct{ modelType, class string }{
	"bert": {"bert", "BertModel"},
	"t5":   {"xlm-roberta", "XLMRobertaModel"},
	"gpt2": {"roberta", "RobertaModel"},
}

// positionOffset is the number of rows that were cut off the table of positions.
func (m *ggufModel) positionOffset() int {
	if m.stringOr("tokenizer.ggml.model", "") == "bert" {
		return 0
	}
	return m.intOr("tokenizer.ggml.padding_token_id", 1, 0, ggufMaxTokens) + 1
}

// zeroTypes makes the type embeddings of DistilBERT, which has none: zero, so
// that BERT gives the same.
func zeroTypes(m *ggufModel) ([]Tensor, error) {
	if _, ok := m.lookup("token_types.weight"); ok {
		return nil, nil
	}
	hidden := m.int("embedding_length", 1, maxWidth)
	return []Tensor{{Name: "embeddings.token_type_embeddings.weight", DType: loader.F32, Shape: []int{1, hidden}, Data: func(emit func([]byte) error) error {
		return emit(make([]byte, 4*hidden))
	}}}, nil
}

// bertSizes are the keys that all of the BERT family have.
func (m *ggufModel) bertSizes() (layers, hidden, heads, inner, context, vocabulary, types int, eps float64) {
	must(m, "attention.causal", false)
	layers, hidden, heads, inner = m.int("block_count", 1, 1024), m.int("embedding_length", 1, maxWidth), m.int("attention.head_count", 1, maxHeads), m.int("feed_forward_length", 1, maxWidth)
	must(m, "attention.head_count_kv", int64(heads))
	context = m.int("context_length", 1, maxLength)
	eps = m.float("attention.layer_norm_epsilon", 0, 1)
	vocabulary, types = m.rows("token_embd.weight", hidden), 1
	if t, ok := m.lookup("token_types.weight"); ok {
		types = int(t.rows())
	}
	m.intOr("tokenizer.ggml.token_type_count", types, 0, 1<<16)
	return
}

// rows returns the rows of a matrix, whose columns must be as many as given.
func (m *ggufModel) rows(name string, columns int) int {
	t, ok := m.lookup(name)
	if !ok || t.rank != 2 || t.dims[0] != int64(columns) || t.dims[1] > math.MaxInt32 {
		m.fail(ggufErrorf("tensor %q: want a matrix of rows of %d values, got dimensions %v", name, columns, t.dims[:t.rank]))
		return 0
	}
	return int(t.dims[1])
}

func bertConfig(m *ggufModel) map[string]any {
	tokenizer := m.stringOr("tokenizer.ggml.model", "")
	family, ok := bertFamilies[tokenizer]
	if !ok {
		m.fail(fmt.Errorf("%w: key \"tokenizer.ggml.model\": %q; supported for this architecture: bert, gpt2, t5", loader.ErrUnsupported, tokenizer))
		return nil
	}
	layers, hidden, heads, inner, context, vocabulary, types, eps := m.bertSizes()
	positions := m.rows("position_embd.weight", hidden)
	if positions < context {
		m.fail(ggufErrorf("tensor \"position_embd.weight\": want at least the %d rows of context_length, got %d", context, positions))
	}
	m.note("the activation is not in the file: taken to be gelu")
	return map[string]any{
		"model_type": family.modelType, "architectures": []string{family.class},
		"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": inner,
		"vocab_size": vocabulary, "type_vocab_size": types, "max_position_embeddings": positions + m.positionOffset(),
		"layer_norm_eps": decimal(eps), "hidden_act": "gelu", "position_embedding_type": "absolute",
		"pad_token_id": m.intOr("tokenizer.ggml.padding_token_id", max(m.positionOffset()-1, 0), 0, ggufMaxTokens),
	}
}

var ggufNomic = &ggufArch{
	whole: map[string]rewrite{
		"token_embd":      {to: "embeddings.word_embeddings"},
		"token_types":     {to: "embeddings.token_type_embeddings", fix: asMatrix},
		"token_embd_norm": {to: "emb_ln"},
	},
	layer: map[string]rewrite{
		"attn_qkv":          {to: "encoder.layers.%d.attn.Wqkv"},
		"attn_output":       {to: "encoder.layers.%d.attn.out_proj"},
		"attn_output_norm":  {to: "encoder.layers.%d.norm1"},
		"ffn_up":            {to: "encoder.layers.%d.mlp.fc11"},
		"ffn_gate":          {to: "encoder.layers.%d.mlp.fc12"},
		"ffn_down":          {to: "encoder.layers.%d.mlp.fc2"},
		"layer_output_norm": {to: "encoder.layers.%d.norm2"},
	},
	config: nomicConfig,
}

// nomicConfig is spelled as that of nomic-embed-text-v1.5, and as transformers 5
// has it.
func nomicConfig(m *ggufModel) map[string]any {
	layers, hidden, heads, inner, context, vocabulary, types, eps := m.bertSizes()
	base := m.float("rope.freq_base", 1, 1e12)
	must(m, "rope.dimension_count", int64(hidden/heads))
	must(m, "rope.scaling.type", "none")
	const code = "nomic-ai/nomic-bert-2048--"
	return map[string]any{
		"model_type": "nomic_bert", "architectures": []string{"NomicBertModel"},
		"auto_map": map[string]string{
			"AutoConfig": code + "configuration_hf_nomic_bert.NomicBertConfig",
			"AutoModel":  code + "modeling_hf_nomic_bert.NomicBertModel",
		},
		"n_layer": layers, "n_embd": hidden, "n_head": heads, "n_inner": inner, "vocab_size": vocabulary, "type_vocab_size": types,
		"n_positions": context, "max_trained_positions": context, "layer_norm_epsilon": decimal(eps), "activation_function": "swiglu",
		"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": inner, "hidden_act": "silu",
		"max_position_embeddings": context, "layer_norm_eps": decimal(eps), "pad_token_id": m.intOr("tokenizer.ggml.padding_token_id", 0, 0, ggufMaxTokens),
		"rope_parameters": map[string]any{"rope_type": "default", "rope_theta": decimal(base)},
		"rotary_emb_base": decimal(base), "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": false, "rotary_emb_scale_base": nil, "rotary_scaling_factor": nil,
		"qkv_proj_bias": m.hasBias("attn_qkv"), "mlp_fc1_bias": m.hasBias("ffn_up"), "mlp_fc2_bias": m.hasBias("ffn_down"),
		"prenorm": false, "causal": false, "use_rms_norm": false, "parallel_block": false, "scale_attn_weights": true,
		"pad_vocab_size_multiple": 1, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0,
		"use_flash_attn": false, "fused_bias_fc": false, "fused_dropout_add_ln": false, "use_xentropy": false,
	}
}

// hasBias says that a projection of the layers has a bias.
func (m *ggufModel) hasBias(stem string) bool {
	_, ok := m.lookup("blk.0." + stem + ".bias")
	return ok
}

var ggufJina = &ggufArch{
	whole: bertEmbeddings,
	layer: map[string]rewrite{
		"attn_q":            {to: "encoder.layer.%d.attention.self.query"},
		"attn_k":            {to: "encoder.layer.%d.attention.self.key"},
		"attn_v":            {to: "encoder.layer.%d.attention.self.value"},
		"attn_q_norm":       {to: "encoder.layer.%d.attention.self.layer_norm_q"},
		"attn_k_norm":       {to: "encoder.layer.%d.attention.self.layer_norm_k"},
		"attn_output":       {to: "encoder.layer.%d.attention.output.dense"},
		"attn_output_norm":  {to: "encoder.layer.%d.attention.output.LayerNorm"},
		"attn_norm_2":       {to: "encoder.layer.%d.layer_norm_1"},
		"ffn_up":            {to: "encoder.layer.%d.mlp.gated_layers", fix: jinaGate},
		"ffn_gate":          {}, // goes into the one before
		"ffn_down":          {to: "encoder.layer.%d.mlp.wo", fix: jinaName("mlp.wo", "mlp.down_layer")},
		"layer_output_norm": {to: "encoder.layer.%d.mlp.layernorm", fix: jinaName("mlp.layernorm", "layer_norm_2")},
	},
	config: jinaConfig,
}

func jinaConfig(m *ggufModel) map[string]any {
	layers, hidden, heads, inner, context, vocabulary, types, eps := m.bertSizes()
	must(m, "attention.max_alibi_bias", 8.0)
	code := "jinaai/jina-bert-implementation--"
	if m.jinaCode() {
		code = "jinaai/jina-bert-v2-qk-post-norm--"
	}
	m.note("the activation is not in the file: taken to be geglu")
	return map[string]any{
		"model_type": "bert", "architectures": []string{"JinaBertModel"},
		"auto_map":          map[string]string{"AutoConfig": code + "configuration_bert.JinaBertConfig", "AutoModel": code + "modeling_bert.JinaBertModel"},
		"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": inner,
		"vocab_size": vocabulary, "type_vocab_size": types, "max_position_embeddings": context, "layer_norm_eps": decimal(eps),
		"hidden_act": "gelu", "position_embedding_type": "alibi", "feed_forward_type": "geglu", "emb_pooler": "mean",
		"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0,
		"pad_token_id": m.intOr("tokenizer.ggml.padding_token_id", 0, 0, ggufMaxTokens),
	}
}

// jinaCode says that it is jina-embeddings-v2-base-code, whose implementation has
// norms on queries and keys, and other names.
func (m *ggufModel) jinaCode() bool {
	_, ok := m.lookup("blk.0.attn_q_norm.weight")
	return ok
}
