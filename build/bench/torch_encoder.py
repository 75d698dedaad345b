"""What PyTorch makes of the same encoder on the same GPU, in fp16: the other side of bench_gpu.py.

A BertModel of random weights, token ids in, mean-pooled vectors of unit length out. A shape's figure is the best of eager (timed by the clock, as a
user has it), a replayed CUDA graph and torch.compile; mixed lengths go in padded batches, since that is what there is without packing.
"""

import time

import torch
from torch.nn import functional
from transformers import BertConfig, BertModel

SHAPES = {
    "minilm-l6": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {},
    "large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096},
}


def milliseconds(work, runs: int = 20, seconds: float = 3) -> float:
    """Median time of one call, the device's work included: as long as `vkbert bench` takes by itself, because a card at its power limit lowers its clock."""
    for _ in range(min(runs, 5)):
        work()
    torch.cuda.synchronize()
    times = []
    end = time.perf_counter() + seconds
    while len(times) < runs or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[len(times) // 2]


class Encoder:
    def __init__(self, name: str):
        config = BertConfig(**SHAPES[name], attn_implementation="sdpa")
        self.model = BertModel(config, add_pooling_layer=False).eval().to("cuda", torch.float16)

    def __call__(self, ids, mask):
        with torch.inference_mode():
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
            weight = mask.unsqueeze(-1).to(hidden.dtype)
            return functional.normalize((hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9), dim=1)

    def full_length(self, batch: int, tokens: int, compiled: bool) -> dict[str, float]:
        """Milliseconds of a batch of full-length texts, by how it is run."""
        ids = torch.randint(1000, 30000, (batch, tokens), device="cuda")
        mask = torch.ones(batch, tokens, device="cuda", dtype=torch.long)
        times = {"eager": milliseconds(lambda: self(ids, mask))}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self(ids, mask)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self(ids, mask)
        times["graph"] = milliseconds(graph.replay)
        if compiled:
            model = torch.compile(self.__call__, dynamic=False)
            times["compile"] = milliseconds(lambda: model(ids, mask))
        return times

    def mixed(self, lengths: list[int], size: int) -> float:
        """Milliseconds of all texts, in this order, in padded batches."""
        batches = []
        for first in range(0, len(lengths), size):
            chunk = torch.tensor(lengths[first : first + size], device="cuda")
            longest = int(chunk.max())
            ids = torch.randint(1000, 30000, (len(chunk), longest), device="cuda")
            batches.append((ids, (torch.arange(longest, device="cuda")[None, :] < chunk[:, None]).long()))

        def work():
            for ids, mask in batches:
                self(ids, mask)

        return milliseconds(work, 3)


def linear(rows: int, outputs: int, inputs: int) -> float:
    """Milliseconds of one linear layer with bias."""
    x = torch.randn(rows, inputs, device="cuda", dtype=torch.float16)
    weight = torch.randn(outputs, inputs, device="cuda", dtype=torch.float16)
    bias = torch.randn(outputs, device="cuda", dtype=torch.float16)

    def work():
        for _ in range(10):
            functional.linear(x, weight, bias)

    return milliseconds(work, 10, 0.5) / 10
