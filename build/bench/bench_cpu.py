"""vkbert, ONNX Runtime and PyTorch on this machine's CPU, in turns in one command; prints the table of docs/performance.md.

    make bench-cpu [ARGS="--rounds 5"]       python build/bench/bench_cpu.py MODEL_DIR [--rounds N] [--seconds S] [--threads N]

all-MiniLM-L6-v2, token ids in, vectors out (mean pooling and normalisation included). The ONNX files are exported here from the model's own weights; ONNX
Runtime gets all its graph optimisations, and for int8 its dynamic quantisation. Every figure is the median of rounds in which the programs take turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModel

ROOT = Path(__file__).parent.parent.parent
OUT = ROOT / "build" / "out"
LENGTHS = ROOT / "testdata" / "lengths.txt"
FIRST = 1000


class Sentence(torch.nn.Module):
    """ids and mask to unit vectors, as sentence-transformers does it."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.model = AutoModel.from_pretrained(directory, attn_implementation="eager").eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)


def export(model: Sentence, path: Path) -> None:
    ids = torch.randint(1000, 20000, (2, 16))
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0  # with no padding the model leaves the mask out of its graph
    axes = {0: "batch", 1: "tokens"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (ids, mask), str(path), input_names=["input_ids", "attention_mask"], output_names=["vectors"], opset_version=17,
                          dynamic_axes={"input_ids": axes, "attention_mask": axes, "vectors": {0: "batch"}}, dynamo=False)


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def padded(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.zeros((len(lengths), max(lengths)), np.int64)
    for row, n in enumerate(lengths):
        ids[row, :n] = np.arange(n) * 2654435761 % 28000 + 1000
    return ids, (ids > 0).astype(np.int64)


def median_seconds(call, ids: np.ndarray, mask: np.ndarray, seconds: float) -> float:
    call(ids, mask)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call(ids, mask)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def harness(*args: object) -> dict:
    done = subprocess.run([str(OUT / "vkbert-bench"), *map(str, args), "--device", "cpu", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vkbert-bench: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Table:
    """Rows of rounds: figures where more is better."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.results: list[dict] = []

    def row(self, what: str, unit: str, ours, others: dict) -> None:
        """Each is called once a round and gives tokens a second, or ms."""
        figures: dict[str, list[float]] = {"vkbert": [], **{name: [] for name in others}}
        for _ in range(self.rounds):
            figures["vkbert"].append(ours())
            for name, call in others.items():
                figures[name].append(call())
        medians = {name: statistics.median(values) for name, values in figures.items()}
        first = medians["vkbert"]
        cells = []
        for name in others:
            ratio = medians[name] / first if unit == "ms" else first / medians[name]
            cells.append(f"{name} {medians[name]:.4g}, {ratio:.2f}×")
        self.results.append({"what": what, "unit": unit, "medians": medians})
        print(f"| {what} | {first:.4g} {unit} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    model = Sentence(args.model)
    f32, int8 = OUT / "minilm.onnx", OUT / "minilm-int8.onnx"
    if not int8.exists():
        export(model, f32)
        quantize_dynamic(f32, int8, weight_type=QuantType.QInt8)
    sessions = {"f32": session(f32, args.threads), "int8": session(int8, args.threads)}

    def run(dtype: str):
        return lambda ids, mask: sessions[dtype].run(None, {"input_ids": ids, "attention_mask": mask})

    def pytorch(ids: np.ndarray, mask: np.ndarray) -> torch.Tensor:
        return model(torch.from_numpy(ids), torch.from_numpy(mask))

    ids, mask = padded([9, 16, 5])
    difference = np.abs(run("f32")(ids, mask)[0] - pytorch(ids, mask).numpy()).max()
    print(f"ONNX Runtime {onnxruntime.__version__}, PyTorch {torch.__version__}, {args.threads} threads; they differ by {difference:.1e}\n")
    print("| MiniLM-L6 | vkbert | against | |\n|---|---|---|---|")
    table, wanted = Table(args.rounds), lambda what: args.only in what

    def full(batch: int, tokens: int, dtype: str, latency: bool, others: dict) -> None:
        what = f"{dtype}, {batch} × {tokens}"
        if not wanted(what):
            return
        ids, mask = padded([tokens] * batch)

        def figure(seconds: float) -> float:
            return seconds * 1e3 if latency else batch * tokens / seconds

        def ours() -> float:
            return figure(harness("model", "minilm-l6", "--batch", batch, "--tokens", tokens, "--dtype", dtype, "--seconds", args.seconds)["median_ms"] / 1e3)

        table.row(what, "ms" if latency else "tokens/s", ours,
                  {name: lambda call=call: figure(median_seconds(call, ids, mask, args.seconds)) for name, call in others.items()})

    full(32, 128, "f32", False, {"ONNX Runtime": run("f32"), "PyTorch": pytorch})
    full(1, 16, "f32", True, {"ONNX Runtime": run("f32"), "PyTorch": pytorch})
    full(32, 128, "f16", False, {"ONNX Runtime f32": run("f32")})
    full(1, 16, "f16", True, {"ONNX Runtime f32": run("f32")})
    full(32, 128, "int8", False, {"ONNX Runtime int8": run("int8")})
    full(1, 16, "int8", True, {"ONNX Runtime int8": run("int8")})

    lengths = [int(line) for line in LENGTHS.read_text().split()[:FIRST]]
    for what, key, order in (("f32, mixed lengths, one corpus", "corpus_tokens_per_second", sorted(lengths, reverse=True)),
                             ("f32, mixed lengths, 32 a call", "calls_tokens_per_second", lengths)):
        if not wanted(what):
            continue
        batches = [padded(order[i : i + 32]) for i in range(0, len(order), 32)]

        def theirs() -> float:
            start = time.perf_counter()
            for ids, mask in batches:
                run("f32")(ids, mask)
            return sum(lengths) / (time.perf_counter() - start)

        table.row(what, "tokens/s", lambda key=key: harness("lengths", "minilm-l6", LENGTHS, "--first", FIRST, "--seconds", 1)[key],
                  {"ONNX Runtime, padded batches of 32": theirs})
    if args.json:
        args.json.write_text(json.dumps(table.results, indent=1))


if __name__ == "__main__":
    main()
