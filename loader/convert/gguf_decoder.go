package convert

import (
	"fmt"
	"maps"

	"github.com/vkbert/vkbert/loader"
)

// decoderWhole and decoderLayer are the tensors of models of Llama's kind, named
// as in their base class (no "model." in front).
var decoderWhole = map[string]rewrite{
	"token_embd":  {to: "embed_tokens"},
	"output_norm": {to: "norm"},
	"output":      {}, // the head that predicts tokens
}

var decoderLayer = map[string]rewrite{
	"attn_norm":   {to: "layers.%d.input_layernorm"},
	"attn_q":      {to: "layers.%d.self_attn.q_proj"},
	"attn_k":      {to: "layers.%d.self_attn.k_proj"},
	"attn_v":      {to: "layers.%d.self_attn.v_proj"},
	"attn_output": {to: "layers.%d.self_attn.o_proj"},
	"ffn_norm":    {to: "layers.%d.post_attention_layernorm"},
	"ffn_gate":    {to: "layers.%d.mlp.gate_proj"},
	"ffn_up":      {to: "layers.%d.mlp.up_proj"},
	"ffn_down":    {to: "layers.%d.mlp.down_proj"},
}

// with returns a table with more rows, or others.
func with(table, more map[string]rewrite) map[string]rewrite {
	out := maps.Clone(table)
	maps.Copy(out, more)
	return out
}

var qkNorms = map[string]rewrite{
	"attn_q_norm": {to: "layers.%d.self_attn.q_norm"},
	"attn_k_norm": {to: "layers.%d.self_attn.k_norm"},
}

var (
	ggufQwen2 = &ggufArch{whole: decoderWhole, layer: decoderLayer, config: func(m *ggufModel) map[string]any {
		return extend(m.decoderConfig("qwen2", "Qwen2Model", true), map[string]any{"use_sliding_window": false})
	}}
	ggufQwen3 = &ggufArch{whole: decoderWhole, layer: with(decoderLayer, qkNorms), config: func(m *ggufModel) map[string]any {
		return extend(m.decoderConfig("qwen3", "Qwen3Model", true), map[string]any{"use_sliding_window": false, "attention_bias": m.hasBias("attn_q")})
	}}
	ggufLlama = &ggufArch{whole: decoderWhole, layer: with(decoderLayer, map[string]rewrite{
		"attn_q": {to: "layers.%d.self_attn.q_proj", fix: interleaved("attention.head_count")},
		"attn_k": {to: "layers.%d.self_attn.k_proj", fix: interleaved("attention.head_count_kv")},
	}), config: func(m *ggufModel) map[string]any {
		return extend(m.decoderConfig("llama", "LlamaModel", true), map[string]any{"attention_bias": m.hasBias("attn_q"), "mlp_bias": m.hasBias("ffn_up")})
	}}
	ggufEuroBERT = &ggufArch{whole: decoderWhole, layer: decoderLayer, config: func(m *ggufModel) map[string]any {
		return extend(m.decoderConfig("eurobert", "EuroBertModel", false), map[string]any{"attention_bias": m.hasBias("attn_q"), "mlp_bias": m.hasBias("ffn_up")})
	}}
	ggufGemma = &ggufArch{
		whole: with(decoderWhole, map[string]rewrite{"output_norm": {to: "norm", fix: plusOne}}),
		layer: with(decoderLayer, map[string]rewrite{
			"attn_norm":           {to: "layers.%d.input_layernorm", fix: plusOne},
			"attn_q_norm":         {to: "layers.%d.self_attn.q_norm", fix: plusOne},
			"attn_k_norm":         {to: "layers.%d.self_attn.k_norm", fix: plusOne},
			"post_attention_norm": {to: "layers.%d.post_attention_layernorm", fix: plusOne},
			"ffn_norm":            {to: "layers.%d.pre_feedforward_layernorm", fix: plusOne},
			"post_ffw_norm":       {to: "layers.%d.post_feedforward_layernorm", fix: plusOne},
		}),
		config: gemmaConfig,
	}
	ggufModernBERT = &ggufArch{
		whole: map[string]rewrite{
			"token_embd":      {to: "embeddings.tok_embeddings"},
			"token_embd_norm": {to: "embeddings.norm"},
			"output_norm":     {to: "final_norm"},
		},
		layer: map[string]rewrite{
			"attn_norm":   {to: "layers.%d.attn_norm"},
			"attn_qkv":    {to: "layers.%d.attn.Wqkv"},
			"attn_output": {to: "layers.%d.attn.Wo"},
			"ffn_norm":    {to: "layers.%d.mlp_norm"},
			"ffn_up":      {to: "layers.%d.mlp.Wi"},
			"ffn_down":    {to: "layers.%d.mlp.Wo"},
		},
		config: modernBERTConfig,
	}
)

// extend adds to a configuration.
func extend(config, more map[string]any) map[string]any {
	maps.Copy(config, more)
	return config
}

// decoderConfig is what models of Llama's kind share. causal is what the
// architecture does if the file does not say.
func (m *ggufModel) decoderConfig(modelType, class string, causal bool) map[string]any {
	hidden, heads := m.int("embedding_length", 1, maxWidth), m.int("attention.head_count", 1, maxHeads)
	headDim := m.intOr("attention.key_length", hidden/heads, 1, maxWidth)
	must(m, "attention.value_length", int64(headDim))
	must(m, "rope.dimension_count", int64(headDim))
	config := map[string]any{
		"model_type": modelType, "architectures": []string{class},
		"num_hidden_layers": m.int("block_count", 1, 1024), "hidden_size": hidden,
		"num_attention_heads": heads, "num_key_value_heads": m.intOr("attention.head_count_kv", heads, 1, heads), "head_dim": headDim,
		"intermediate_size": m.int("feed_forward_length", 1, maxWidth), "hidden_act": "silu",
		"vocab_size": m.rows("token_embd.weight", hidden), "max_position_embeddings": m.int("context_length", 1, maxLength),
		"rms_norm_eps": decimal(m.float("attention.layer_norm_rms_epsilon", 0, 1)), "rope_theta": decimal(m.floatOr("rope.freq_base", 10000, 1, 1e12)),
		"tie_word_embeddings": true,
	}
	if scaling := m.ropeScaling(); scaling != nil {
		config["rope_scaling"] = scaling
	}
	if now := m.boolOr("attention.causal", causal); now != causal {
		config["is_causal"] = now
	}
	for key, name := range map[string]string{"bos_token_id": "tokenizer.ggml.bos_token_id", "eos_token_id": "tokenizer.ggml.eos_token_id", "pad_token_id": "tokenizer.ggml.padding_token_id"} {
		if m.has(name) {
			config[key] = m.int(name, 0, ggufMaxTokens)
		}
	}
	return config
}

// ropeScaling returns rope_scaling, nil for none.
func (m *ggufModel) ropeScaling() map[string]any {
	switch kind := m.stringOr("rope.scaling.type", "none"); kind {
	case "none":
		return nil
	case "linear":
		return map[string]any{"rope_type": kind, "factor": decimal(m.float("rope.scaling.factor", 1, 1e6))}
	case "yarn":
		scaling := map[string]any{
			"rope_type": kind, "factor": decimal(m.float("rope.scaling.factor", 1, 1e6)),
			"original_max_position_embeddings": m.int("rope.scaling.original_context_length", 1, maxLength),
		}
		for key, name := range map[string]string{"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow", "attention_factor": "rope.scaling.yarn_attn_factor"} {
			if m.has(name) {
				scaling[key] = decimal(m.float(name, 0, 1e6))
			}
		}
		return scaling
	default:
		m.fail(fmt.Errorf("%w: key %q: %q; supported: linear, none, yarn", loader.ErrUnsupported, m.key("rope.scaling.type"), kind))
		return nil
	}
}

// gemmaPattern: each sixth layer sees the whole text, the others a window.
const gemmaPattern = 6

// gemmaConfig is that of EmbeddingGemma. What scales the queries is not in the
// file: the released model takes the width of a head, as llama.cpp does for all.
func gemmaConfig(m *ggufModel) map[string]any {
	config := m.decoderConfig("gemma3_text", "Gemma3TextModel", true)
	delete(config, "hidden_act")
	must(m, "attention.sliding_window_pattern", int64(gemmaPattern))
	layers, _ := config["num_hidden_layers"].(int)
	types := make([]string, layers)
	for i := range types {
		if types[i] = "sliding_attention"; (i+1)%gemmaPattern == 0 {
			types[i] = "full_attention"
		}
	}
	delete(config, "is_causal") // it is never: use_bidirectional_attention says so
	return extend(config, map[string]any{
		"hidden_activation": "gelu_pytorch_tanh", "use_bidirectional_attention": true, "query_pre_attn_scalar": config["head_dim"],
		"sliding_window": m.int("attention.sliding_window", 1, maxLength), "layer_types": types,
		"rope_local_base_freq": decimal(m.floatOr("rope.freq_base_swa", 10000, 1, 1e12)),
		"rope_theta":           decimal(m.float("rope.freq_base", 1, 1e12)),
		"attention_bias":       m.hasBias("attn_q"),
	})
}

// modernBERTConfig is spelled as that of ModernBERT-base.
func modernBERTConfig(m *ggufModel) map[string]any {
	layers, hidden, heads, inner, context, vocabulary, _, eps := m.bertSizes()
	must(m, "attention.layer_norm_rms_epsilon", eps)
	must(m, "rope.dimension_count", int64(hidden/heads))
	must(m, "rope.scaling.type", "none")
	_, normBias := m.lookup("output_norm.bias")
	return map[string]any{
		"model_type": "modernbert", "architectures": []string{"ModernBertModel"},
		"num_hidden_layers": layers, "hidden_size": hidden, "num_attention_heads": heads, "intermediate_size": inner,
		"vocab_size": vocabulary, "max_position_embeddings": context, "norm_eps": decimal(eps), "norm_bias": normBias,
		"hidden_activation":          m.stringOr("hidden_activation", "gelu"),
		"global_rope_theta":          decimal(m.float("rope.freq_base", 1, 1e12)),
		"local_rope_theta":           decimal(m.floatOr("rope.freq_base_swa", 10000, 1, 1e12)),
		"local_attention":            m.int("attention.sliding_window", 1, maxLength),
		"global_attn_every_n_layers": m.intOr("attention.sliding_window_pattern", 3, 1, 1024),
		"attention_bias":             m.hasBias("attn_qkv"),
		"mlp_bias":                   m.hasBias("ffn_up"),
		"pad_token_id":               m.intOr("tokenizer.ggml.padding_token_id", 0, 0, ggufMaxTokens),
		"cls_token_id":               m.intOr("tokenizer.ggml.bos_token_id", 0, 0, ggufMaxTokens),
		"sep_token_id":               m.intOr("tokenizer.ggml."+separatorKey, 0, 0, ggufMaxTokens),
		"attention_dropout":          0.0,
		"mlp_dropout":                0.0,
		"embedding_dropout":          0.0,
		"tie_word_embeddings":        true,
	}
}
