"""What jina-embeddings-v2 computes, its code variant among them, written from configuration and tensor names; only the parts that embedding uses.

The released directories name code of their own by auto_map; this stands in for it when golden files are made.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class JinaBertConfig(PretrainedConfig):
    model_type = "bert"

    def __init__(self, attn_implementation=None, **kwargs):  # names an implementation of the released code
        super().__init__(**kwargs)


def slopes(heads: int) -> list[float]:
    """The ALiBi slope of each head: powers of two, and for other numbers of heads every second slope of the next power's."""
    power = 1 << (heads.bit_length() - 1)
    first = [2.0 ** (-8.0 * (k + 1) / power) for k in range(power)]
    return first if power == heads else first + [2.0 ** (-8.0 * (k + 1) / (2 * power)) for k in range(0, 2 * (heads - power), 2)]


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, size = config.num_attention_heads, config.hidden_size
        self.query, self.key, self.value = nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, size)
        if config.qk_norm:
            self.layer_norm_q = nn.LayerNorm(size, eps=config.layer_norm_eps)
            self.layer_norm_k = nn.LayerNorm(size, eps=config.layer_norm_eps)

    def forward(self, x, bias):
        q, k, v = self.query(x), self.key(x), self.value(x)
        if hasattr(self, "layer_norm_q"):  # over all heads at once
            q, k = self.layer_norm_q(q), self.layer_norm_k(k)
        q, k, v = (t.view(*x.shape[:2], self.heads, -1).transpose(1, 2) for t in (q, k, v))
        context = (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1) @ v
        return context.transpose(1, 2).reshape(x.shape)


class SelfOutput(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x, residual):
        return self.LayerNorm(self.dense(x) + residual)


class GatedFirst(nn.Module):
    """jina-embeddings-v2: the rows that go through GELU come first; its norm is inside."""

    def __init__(self, config):
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x):
        gated, plain = self.gated_layers(x).chunk(2, -1)
        return self.layernorm(x + self.wo(F.gelu(gated) * plain))


class GatedSecond(nn.Module):
    """The code variant: the rows that go through GELU come second."""

    def __init__(self, config):
        super().__init__()
        self.up_gated_layer = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_layer = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x):
        plain, gated = self.up_gated_layer(x).chunk(2, -1)
        return self.down_layer(plain * F.gelu(gated))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention = nn.Module()
        self.attention.self, self.attention.output = SelfAttention(config), SelfOutput(config)
        self.mlp = (GatedSecond if config.qk_norm else GatedFirst)(config)
        if config.qk_norm:
            self.layer_norm_1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.layer_norm_2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x, bias):
        attended = self.attention.output(self.attention.self(x, bias), x)
        if not hasattr(self, "layer_norm_1"):
            return self.mlp(attended)
        a = self.layer_norm_1(x + attended)
        return self.layer_norm_2(a + self.mlp(a))


class JinaBertModel(PreTrainedModel):
    config_class = JinaBertConfig
    base_model_prefix = "bert"
    qk_norm = False

    def __init__(self, config):
        super().__init__(config)
        assert config.position_embedding_type == "alibi" and config.feed_forward_type == "geglu" and config.hidden_act == "gelu"
        config.qk_norm = self.qk_norm
        self.slopes = slopes(config.num_attention_heads)
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embeddings.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embeddings.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs):
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        x = self.embeddings.LayerNorm(self.embeddings.word_embeddings(input_ids) + self.embeddings.token_type_embeddings(types))
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = (1.0 - seen[:, None, None, :].to(x.dtype)) * -1e9
        i = torch.arange(input_ids.shape[1])
        slope = torch.tensor(self.slopes, dtype=x.dtype)
        bias = -slope[:, None, None] * (i[:, None] - i).abs().to(x.dtype) + mask
        for layer in self.encoder.layer:
            x = layer(x, bias)
        return BaseModelOutput(last_hidden_state=x)


class JinaBertCodeModel(JinaBertModel):
    qk_norm = True
