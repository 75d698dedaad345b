"""What gte-*-v1.5 computes (model_type "new"), written from its configuration and tensor names; only the parts that embedding uses.

The released directories name code of their own by auto_map; this stands in for it when golden files are made.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class NewConfig(PretrainedConfig):
    model_type = "new"

    def __init__(self, rope_theta=10000.0, rope_scaling=None, **kwargs):
        self.base = rope_theta
        self.ntk_factor = (rope_scaling or {}).get("factor", 1.0)
        assert rope_scaling is None or rope_scaling["type"] == "ntk"
        super().__init__(**kwargs)


def rope(x: torch.Tensor, base: float, factor: float) -> torch.Tensor:
    """Turns x [B, heads, T, d]: half-split pairs, base and frequencies scaled for every length."""
    d = x.shape[-1]
    frequency = (base * factor) ** (-torch.arange(0, d, 2, dtype=torch.float32) / d) / factor ** (2 / d)
    angle = torch.outer(torch.arange(x.shape[-2], dtype=torch.float32), frequency)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.base, self.factor = config.num_attention_heads, config.base, config.ntk_factor
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x, mask):
        batch, length, hidden = x.shape
        q, k, v = self.qkv_proj(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k = rope(q, self.base, self.factor), rope(k, self.base, self.factor)
        scores = (q @ k.mT) / (hidden // self.heads) ** 0.5
        context = (scores + mask).softmax(-1) @ v
        return self.o_proj(context.transpose(1, 2).reshape(x.shape))


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.up_gate_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x):
        up, gate = self.up_gate_proj(x).chunk(2, -1)
        return self.down_proj(up * F.gelu(gate))


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.attention, self.mlp = Attention(config), MLP(config)
        self.attn_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x, mask):
        x = self.attn_ln(x + self.attention(x, mask))
        return self.mlp_ln(x + self.mlp(x))


class NewModel(PreTrainedModel):
    config_class = NewConfig
    base_model_prefix = "new"

    def __init__(self, config):
        super().__init__(config)
        self.embeddings = nn.Module()
        self.embeddings.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        if config.type_vocab_size:
            self.embeddings.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.embeddings.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.post_init()

    def forward(self, input_ids, attention_mask=None, token_type_ids=None, **kwargs):
        x = self.embeddings.word_embeddings(input_ids)
        if self.config.type_vocab_size:
            x = x + self.embeddings.token_type_embeddings(torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids)
        x = self.embeddings.LayerNorm(x)
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = (1.0 - seen[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return BaseModelOutput(last_hidden_state=x)
