"""The directories of decoders that embed, and of T5's encoder: config.json as released models spell it."""

import torch

from arch_mutations import causal, config, halve_swap, swap, without, zero
from arch_spec import Directory
from arch_tokenizers import Tokenizer

# Decoders -------------------------------------------------------------------------------------------------------------

def _qwen3(t: Tokenizer, **more) -> dict:
    end = t.ids["<|endoftext|>"]
    return {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": end, "eos_token_id": end, "head_dim": 10, "hidden_act": "silu",
        "hidden_size": 36, "initializer_range": 0.02, "intermediate_size": 50, "max_position_embeddings": 64, "max_window_layers": 28, "model_type": "qwen3",
        "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
        "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 16, "rope_type": "yarn"}, "rope_theta": 1000, "sliding_window": None,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "transformers_version": "4.51.3", "use_cache": True, "use_sliding_window": False, "vocab_size": t.size,
    } | more


def _qwen2(t: Tokenizer, **more) -> dict:
    end = t.ids["<|endoftext|>"]
    return {
        "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": end, "eos_token_id": end, "hidden_act": "silu", "hidden_size": 36, "initializer_range": 0.02,
        "intermediate_size": 50, "max_position_embeddings": 64, "max_window_layers": 1, "model_type": "qwen2", "num_attention_heads": 6, "num_hidden_layers": 3,
        "num_key_value_heads": 3, "rms_norm_eps": 1e-6, "rope_theta": 300.0, "sliding_window": 8, "tie_word_embeddings": False, "torch_dtype": "float16",
        "transformers_version": "4.41.2", "use_cache": True, "use_sliding_window": True, "vocab_size": t.size,
    } | more


def _gemma3(t: Tokenizer, **more) -> dict:
    return {
        "_sliding_window_pattern": 6, "architectures": ["Gemma3TextModel"], "attention_bias": False, "attention_dropout": 0.0, "attn_logit_softcapping": None, "bos_token_id": 2,
        "dtype": "float32", "eos_token_id": 1, "final_logit_softcapping": None, "head_dim": 12, "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 30,
        "initializer_range": 0.02, "intermediate_size": 46, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"], "max_position_embeddings": 40,
        "model_type": "gemma3_text", "num_attention_heads": 3, "num_hidden_layers": 3, "num_key_value_heads": 1, "pad_token_id": 0, "query_pre_attn_scalar": 20,
        "rms_norm_eps": 1e-6, "rope_local_base_freq": 40.0, "rope_scaling": None, "rope_theta": 400.0, "sliding_window": 8, "transformers_version": "4.57.0.dev0",
        "use_bidirectional_attention": True, "use_cache": True, "vocab_size": t.size,
    } | more


def _gemma3_causal(t: Tokenizer) -> dict:
    """The spelling of the first releases: a pattern number instead of a list, scaling for global layers."""
    base = {k: v for k, v in _gemma3(t, use_bidirectional_attention=False).items() if k not in ("_sliding_window_pattern", "layer_types", "dtype")}
    return base | {"sliding_window_pattern": 2, "num_hidden_layers": 4, "rope_scaling": {"factor": 3.0, "rope_type": "linear"}, "torch_dtype": "float32", "num_key_value_heads": 3, "cache_implementation": "hybrid"}


_PROMPTS = {"query": "Instruct: find\nQuery:", "document": ""}

DECODERS = {
    "qwen3": Directory(
        "Qwen3-Embedding: causal, q/k norm, 4 heads on 2, head size 10 of its own, yarn scaling 4, last token; byte-level BPE whose template adds the end of text; bf16 weights", "qwen", seed=41, pad_id=346,
        config=_qwen3, pooling="lasttoken", prompts=_PROMPTS, limit_in="tokenizer", dtype=torch.bfloat16,
        mutations={"causal mask dropped": {"modules": causal}, "q and k norms dropped": without("q_norm", "k_norm"), "RoPE scaling dropped": config(rope_scaling=None),
                   "yarn's factor on cos and sin dropped": config(rope_scaling={"factor": 4.0, "original_max_position_embeddings": 16, "rope_type": "yarn", "attention_factor": 1.0}),
                   "base 10000": config(rope_theta=10000), "gate and up swapped": swap("gate_proj", "up_proj")},
    ),
    "qwen2": Directory(
        "gte-Qwen2: causal, biases on q, k and v, 6 heads on 3, layers from 1 on within 8 tokens; f16 weights", "qwen", seed=42, pad_id=346, window=8,
        config=_qwen2, pooling="lasttoken", names=lambda n: n if n.startswith("model.") else f"model.{n}", dtype=torch.float16,
        mutations={"causal mask dropped": {"modules": causal}, "window dropped": config(use_sliding_window=False), "window of 7 for 8": config(sliding_window=7), "base 10000": config(rope_theta=10000.0),
                   "biases dropped": zero("q_proj.bias", "v_proj.bias"), "gate and up swapped": swap("gate_proj", "up_proj")},
    ),
    "gemma3": Directory(
        "EmbeddingGemma: bidirectional, local layers within 4 tokens, two RoPE bases, q/k norm, four norms a layer, embeddings scaled; two Dense; BPE with bytes to fall back on", "gemma", seed=43, pad_id=0, window=8,
        config=_gemma3, limit_in="tokenizer", spelling="new", weights={"norm_offset": 1.0, "word_gain": 0.5},
        after=(("Dense", 50, False, "torch.nn.modules.linear.Identity"), ("Dense", 30, False, "torch.nn.modules.linear.Identity"), "Normalize"),
        prompts={"query": "task: find | query: ", "document": "title: none | text: "},
        mutations={"causal mask kept": config(use_bidirectional_attention=False), "window dropped": config(sliding_window=1000), "window of 6 for 8": config(sliding_window=6), "window of 10 for 8": config(sliding_window=10),
                   "q and k norms dropped": without("q_norm", "k_norm"), "global base for local": config(rope_local_base_freq=400.0), "local base for global": config(rope_theta=40.0),
                   "scale by head size": config(query_pre_attn_scalar=12), "GELU by erf": config(hidden_activation="gelu"), "norm after attention dropped": without("post_attention_layernorm")},
    ),
    "gemma3_causal": Directory(
        "Gemma 3 as a causal encoder: local layers see 8 tokens back, every second layer global with RoPE stretched 3 times; sliding_window_pattern; last token", "gemma", seed=44, pad_id=0, window=8,
        config=_gemma3_causal, limit_in="tokenizer", pooling="lasttoken", weights={"norm_offset": 1.0, "word_gain": 0.5},
        mutations={"causal mask dropped": config(use_bidirectional_attention=True), "window dropped": config(sliding_window=1000), "window of 7 for 8": config(sliding_window=7),
                   "RoPE scaling dropped": config(rope_scaling=None), "all layers local": config(sliding_window_pattern=9)},
    ),
}

# T5 -------------------------------------------------------------------------------------------------------------------

def _t5(t: Tokenizer, feed_forward: str, **more) -> dict:
    return {
        "architectures": ["T5EncoderModel"], "d_ff": 46, "d_kv": 7, "d_model": 30, "decoder_start_token_id": 0, "dropout_rate": 0.1, "eos_token_id": 1, "feed_forward_proj": feed_forward,
        "initializer_factor": 1.0, "is_encoder_decoder": True, "layer_norm_epsilon": 1e-6, "model_type": "t5", "n_positions": 512, "num_decoder_layers": 3, "num_heads": 4,
        "num_layers": 3, "output_past": True, "pad_token_id": 0, "relative_attention_num_buckets": 32, "torch_dtype": "float32", "transformers_version": "4.11.3",
        "use_cache": True, "vocab_size": t.size,
    } | more


_T5_MUTATIONS = {
    "bias table dropped": zero("relative_attention_bias"), "norm eps 1e-2": config(layer_norm_epsilon=1e-2),
    "bias table's direction turned": halve_swap("relative_attention_bias"), "distances to 200": config(relative_attention_max_distance=200),
}

T5 = {
    "t5": Directory(
        "sentence-t5, gtr: T5 encoder, relative bias of layer 0, no scale, heads wider than the model, ReLU; mean, Dense without bias, Normalize; Unigram", "t5", seed=51, pad_id=0,
        config=lambda t: _t5(t, "relu"), model="T5EncoderModel", weights={"qk_gain": 1.25}, after=(("Dense", 24, False, "torch.nn.modules.linear.Identity"), "Normalize"),
        mutations=_T5_MUTATIONS | {"GELU for ReLU": config(feed_forward_proj="gelu")},
    ),
    "t5_gated": Directory(
        "T5 1.1: gated feed-forward (gated-gelu, which is the tanh form), 10 buckets to distance 20", "t5", seed=52, pad_id=0,
        config=lambda t: _t5(t, "gated-gelu", relative_attention_num_buckets=10, relative_attention_max_distance=20, tie_word_embeddings=False, dense_act_fn="gelu_new", is_gated_act=True),
        model="T5EncoderModel", weights={"qk_gain": 1.25}, limit_in="tokenizer",
        mutations=_T5_MUTATIONS | {"gate and plain half swapped": swap("wi_0", "wi_1"), "GELU by erf": config(dense_act_fn="gelu")},
    ),
}

DECODERS = DECODERS | T5
