"""Random weights for any architecture, by the names of its tensors: nothing near zero, peaked attention, texts that differ."""

import re
from math import prod

import numpy as np
import torch

# What a tensor is, by its name; the first that fits. Names are those of the models' own modules.
KINDS = [
    ("qk_norm", r"(q_norm|k_norm|layer_norm_q|layer_norm_k)\.weight$"),
    ("norm", r"(norm|layernorm|LayerNorm|layer_norm\w*|_ln|norm1|norm2)\.weight$"),
    ("lora", r"lora_[AB]$"),
    ("bias", r"bias$"),
    ("type", r"(token_type_embeddings|type_embedding)"),
    ("position", r"position_embeddings\.weight"),
    ("bias_table", r"relative_attention_bias\.weight"),
    ("relative", r"rel_embeddings\.weight"),
    ("word", r"(word_embeddings|tok_embeddings|embed_tokens|shared)\b"),
    ("qkv", r"(qkv_proj|Wqkv)"),
    ("qk", r"(query|key|pos_key_proj|pos_query_proj|query_proj|key_proj|q_lin|k_lin|q_proj|k_proj|attn\.q|attn\.k|SelfAttention\.q|SelfAttention\.k)\.weight$"),
    ("value", r"(value|value_proj|v_lin|v_proj|attn\.v|SelfAttention\.v)\.weight$"),
    ("head", r"(^dense|classifier|pooler|pre_classifier|predictions|vocab_\w+|lm_head|head|decoder|score)\b"),
    ("down", r"((?<!attention\.)output\.dense|lin2|ffn_output|down_proj|fc2|mlp\.wo|mlp\.Wo|DenseReluDense\.wo|down_layer)\b"),
    ("attended", r"(attention\.output\.dense|out_lin|attn\.o|o_proj|out_proj|attention\.dense|SelfAttention\.o|attn\.Wo)\b"),
    ("up", r"(intermediate\.dense|lin1|\.ffn|gate_proj|up_proj|fc1|fc11|fc12|gated_layers|mlp\.Wi|wi|wi_0|wi_1|up_gated_layer|up_gate_proj)\b"),
    ("project", r"(embedding_hidden_mapping_in|embeddings_project|embed_proj|conv\.conv|linear)\b"),
]

# Standard deviation of what a matrix gives for inputs of unit variance. Large queries and keys make attention peaked; a small attention
# output keeps the tokens of a text, and so the vectors of texts, apart from each other through the layers.
GAINS = {
    "word": 1.5, "position": 0.5, "relative": 1.0, "bias_table": 1.5, "qk": 2.0, "value": 1.0, "head": 1.5, "down": 1.0, "attended": 0.6,
    "up": 1.4, "project": 1.2,
}


def kind(name: str) -> str:
    for what, pattern in KINDS:
        if re.search(pattern, name):
            return what
    raise KeyError(f"no kind for the tensor {name}")


def draw(
    shapes: dict[str, tuple[int, ...]], seed: int, qk_gain: float = 2.0, word_gain: float = 1.5, norm_offset: float = 0.0, vocabulary_bias: float = 0.0
) -> dict[str, torch.Tensor]:
    """qk_gain is for scores that are divided by the root of the head size; norm_offset 1 for norms that multiply by 1 + weight;
    vocabulary_bias is added to the last bias of a language-model head: below zero it makes what a SPLADE model gives sparse."""
    rng = np.random.RandomState(seed)  # its stream is frozen, unlike that of newer generators
    gains = GAINS | {"qk": qk_gain, "word": word_gain}
    tensors = {name: torch.from_numpy(_draw(rng, name, shape, gains, norm_offset).astype(np.float32)) for name, shape in shapes.items()}
    for name in ("cls.predictions.bias", "vocab_projector.bias"):
        if name in tensors:
            tensors[name] += vocabulary_bias
    return tensors


def _draw(rng: np.random.RandomState, name: str, shape: tuple[int, ...], gains: dict[str, float], norm_offset: float) -> np.ndarray:
    what = kind(name)
    if what == "qk_norm":
        return rng.uniform(1.4, 2.4, shape) - norm_offset
    if what == "norm" or (what == "head" and len(shape) == 1 and name.endswith("weight")):
        return rng.uniform(0.5, 1.5, shape) - norm_offset
    if what == "bias" or len(shape) == 1:
        return 0.2 * rng.standard_normal(shape)
    if what == "type":
        return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.4, 0.8, shape)
    if what == "lora":  # a change of a quarter of the matrix or more
        deviation = 0.4 if name.endswith("B") else 0.5 if "embeddings" in name else shape[-1] ** -0.5
        return deviation * rng.standard_normal(shape)
    fan_in = 1 if what in ("word", "position", "bias_table", "relative") else prod(shape[1:])
    matrix = rng.standard_normal(shape) / np.sqrt(fan_in)
    if what == "qkv":  # query, key and value rows in turn
        third = shape[0] // 3
        matrix[: 2 * third] *= gains["qk"]
        return matrix * gains["value"]
    matrix = matrix * gains[what]
    if what == "down":
        # What enters has a mean of its own (GELU's is positive): rows that sum to zero keep it from becoming one vector for all texts.
        matrix -= matrix.mean(axis=1, keepdims=True)
    return matrix
