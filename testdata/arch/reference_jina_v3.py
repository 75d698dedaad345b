"""What jina-embeddings-v3 computes with an adapter for each task, written from its configuration and tensor names; only the parts that
embedding uses. The released directory names code of its own by auto_map; this stands in for it when golden files are made.
"""

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class XLMRobertaFlashConfig(PretrainedConfig):
    model_type = "xlm-roberta"


class LoRA(nn.Module):
    def __init__(self, a: tuple[int, ...], b: tuple[int, ...]):
        super().__init__()
        self.lora_A, self.lora_B = nn.Parameter(torch.zeros(a)), nn.Parameter(torch.zeros(b))


class Adapted(nn.Module):
    """A matrix [rows, columns] with a low-rank change for each task, under the names that torch's parametrizations give."""

    def __init__(self, rows: int, columns: int, config, embedding: bool = False, bias: bool = True):
        super().__init__()
        tasks, rank = len(config.lora_adaptations), config.lora_rank
        self.scale, self.embedding, self.task = config.lora_alpha / rank, embedding, None
        weight = nn.Module()
        weight.original = nn.Parameter(torch.zeros(rows, columns))
        shapes = ((tasks, rows, rank), (tasks, rank, columns)) if embedding else ((tasks, rank, columns), (tasks, rows, rank))
        weight.add_module("0", LoRA(*shapes))
        self.parametrizations = nn.ModuleDict({"weight": weight})
        if not embedding:
            self.bias = nn.Parameter(torch.zeros(rows))

    def forward(self, x):
        part = self.parametrizations["weight"]
        weight = part.original
        if self.task is not None:
            lora = part.get_submodule("0")
            a, b = lora.lora_A[self.task], lora.lora_B[self.task]
            weight = weight + self.scale * (a @ b if self.embedding else b @ a)
        return F.embedding(x, weight) if self.embedding else F.linear(x, weight, self.bias)


def rope(x: torch.Tensor, base: float) -> torch.Tensor:
    """Turns x [B, heads, T, d], half-split pairs."""
    d = x.shape[-1]
    angle = torch.outer(torch.arange(x.shape[-2], dtype=torch.float32), base ** (-torch.arange(0, d, 2, dtype=torch.float32) / d))
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, inner = config.hidden_size, config.intermediate_size
        self.heads, self.base = config.num_attention_heads, config.rotary_emb_base
        self.mixer, self.mlp = nn.Module(), nn.Module()
        self.mixer.Wqkv, self.mixer.out_proj = Adapted(3 * hidden, hidden, config), Adapted(hidden, hidden, config)
        self.mlp.fc1, self.mlp.fc2 = Adapted(inner, hidden, config), Adapted(hidden, inner, config)
        self.norm1 = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.norm2 = nn.LayerNorm(hidden, eps=config.layer_norm_eps)

    def forward(self, x, mask):
        batch, length, hidden = x.shape
        q, k, v = self.mixer.Wqkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = rope(q, self.base) @ rope(k, self.base).mT / (hidden // self.heads) ** 0.5
        context = ((scores + mask).softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        x = self.norm1(x + self.mixer.out_proj(context))
        return self.norm2(x + self.mlp.fc2(F.gelu(self.mlp.fc1(x))))


class XLMRobertaLoRA(PreTrainedModel):
    config_class = XLMRobertaFlashConfig
    base_model_prefix = "lora"

    def __init__(self, config):
        super().__init__(config)
        self.roberta = nn.Module()
        self.roberta.embeddings = nn.Module()
        self.roberta.embeddings.word_embeddings = Adapted(config.vocab_size, config.hidden_size, config, embedding=True)
        self.roberta.embeddings.token_type_embeddings = Adapted(config.type_vocab_size, config.hidden_size, config, embedding=True)
        self.roberta.emb_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.roberta.encoder = nn.Module()
        self.roberta.encoder.layers = nn.ModuleList([Layer(config) for _ in range(config.num_hidden_layers)])
        self.post_init()

    def set_task(self, task: str | None) -> None:
        index = None if task is None else self.config.lora_adaptations.index(task)
        for module in self.modules():
            if isinstance(module, Adapted):
                module.task = index

    def forward(self, input_ids, attention_mask=None, **kwargs):
        e = self.roberta.embeddings
        x = self.roberta.emb_ln(e.word_embeddings(input_ids) + e.token_type_embeddings(torch.zeros_like(input_ids)))
        seen = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = (1.0 - seen[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.roberta.encoder.layers:
            x = layer(x, mask)
        return BaseModelOutput(last_hidden_state=x)
