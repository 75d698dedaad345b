"""vkbert, ONNX Runtime, PyTorch and sentence-transformers on this machine's CPU, in turns in one command; prints the table of docs/performance.md.

    make bench-cpu [ARGS="--rounds 5"]       python build/bench/bench_cpu.py MODEL_DIR [--rounds N] [--seconds S] [--threads N] [--texts FILE]

all-MiniLM-L6-v2, token ids in, vectors out (mean pooling and normalisation included), or texts in. The ONNX files are exported here from the model's own
weights; ONNX Runtime gets all its graph optimisations, and for int8 its dynamic quantisation. Every figure is the median of rounds in which the programs take
turns. Texts are the lines of a file, or the golden ones again and again.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
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
TEXTS = ROOT / "testdata" / "golden" / "minilm.json"
FIRST = 1000
RANDOM = ("-m", "random:minilm-l6")


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


def vkbert(*args: object) -> dict:
    done = subprocess.run([str(OUT / "vkbert"), "bench", "--device", "cpu", "--json", *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"vkbert: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Table:
    """Rows of rounds: figures where more is better."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.results: list[dict] = []

    def row(self, what: str, unit: str, ours, others: dict) -> None:
        """Each is called once a round and gives so many a second, or ms."""
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
            cells.append(f"{name} {medians[name]:.5g}, {ratio:.2f}×")
        self.results.append({"what": what, "unit": unit, "medians": medians})
        print(f"| {what} | {first:.5g} {unit} | {' | '.join(cells)} |", flush=True)


def encode(model, texts: list[str]) -> float:
    """Texts a second."""
    start = time.perf_counter()
    model.encode(texts, batch_size=32, show_progress_bar=False)
    return len(texts) / (time.perf_counter() - start)


def golden_texts() -> list[str]:
    texts = [" ".join(text.split()) for text in json.loads(TEXTS.read_text())["texts"]]
    texts = [text for text in texts if text]
    return (texts * (FIRST // len(texts) + 1))[:FIRST]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--texts", type=Path, help=f"a text a line; the first {FIRST} are taken")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    model = Sentence(args.model).eval()
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
    table = Table(args.rounds)

    def row(what: str, unit: str, key: str, arguments: tuple, others: dict) -> None:
        if args.only in what:
            table.row(what, unit, lambda: vkbert(*arguments)[key], others)

    def full(batch: int, tokens: int, dtype: str, latency: bool, others: dict) -> None:
        ids, mask = padded([tokens] * batch)

        def figure(call) -> float:
            seconds = median_seconds(call, ids, mask, args.seconds)
            return seconds * 1e3 if latency else batch * tokens / seconds

        row(f"{dtype}, {batch} × {tokens}", "ms" if latency else "tokens/s", "median_ms" if latency else "tokens_per_second",
            (*RANDOM, "--batch", batch, "--tokens", tokens, "--dtype", dtype, "--seconds", args.seconds),
            {name: lambda call=call: figure(call) for name, call in others.items()})

    full(32, 128, "f32", False, {"ONNX Runtime": run("f32"), "PyTorch": pytorch})
    full(1, 16, "f32", True, {"ONNX Runtime": run("f32"), "PyTorch": pytorch})
    full(32, 128, "f16", False, {"ONNX Runtime f32": run("f32")})
    full(1, 16, "f16", True, {"ONNX Runtime f32": run("f32")})
    full(32, 128, "int8", False, {"ONNX Runtime int8": run("int8")})
    full(1, 16, "int8", True, {"ONNX Runtime int8": run("int8")})

    lengths = [int(line) for line in LENGTHS.read_text().split()[:FIRST]]
    mixed = (*RANDOM, "--dtype", "f32", "--lengths", LENGTHS, "--limit", FIRST, "--runs", 1)  # of seconds each

    def batches(order: list[int]):
        padded_batches = [padded(order[i : i + 32]) for i in range(0, len(order), 32)]

        def once() -> float:
            start = time.perf_counter()
            for ids, mask in padded_batches:
                run("f32")(ids, mask)
            return sum(lengths) / (time.perf_counter() - start)

        return {"ONNX Runtime, padded batches of 32": once}

    row("f32, mixed lengths, one corpus", "tokens/s", "tokens_per_second", mixed, batches(sorted(lengths, reverse=True)))
    row("f32, mixed lengths, 32 a call, 1 caller", "tokens/s", "tokens_per_second", (*mixed, "--per-call", 32), batches(lengths))
    row("f32, mixed lengths, 32 a call, 8 callers", "tokens/s", "tokens_per_second", (*mixed, "--per-call", 32, "--callers", 8), batches(lengths))
    row("f32, a one-text call beside one of 100,000, p99", "budgets", "call_p99_budgets",
        (*RANDOM, "--dtype", "f32", "--lengths", LENGTHS, "--limit", 100, "--per-call", 1, "--beside", 100000), {})

    texts = args.texts.read_text().splitlines()[:FIRST] if args.texts else golden_texts()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(texts) + "\n")
        file.flush()
        real = ("-m", args.model, "--dtype", "f32", "--texts", file.name, "--seconds", args.seconds)
        if args.only in (what := f"f32, {len(texts)} texts, text in, vectors out"):
            from sentence_transformers import SentenceTransformer  # here, for it takes seconds

            whole = SentenceTransformer(str(args.model), device="cpu")
            encode(whole, texts[:100])
            row(what, "texts/s", "texts_per_second", real, {"sentence-transformers": lambda: encode(whole, texts)})
        row("f32, the same, 64 goroutines, one text a call", "texts/s", "texts_per_second", (*real, "--per-call", 1, "--callers", 64),
            {"one call": lambda: vkbert(*real)["texts_per_second"]})
    if args.json:
        args.json.write_text(json.dumps(table.results, indent=1))


if __name__ == "__main__":
    main()
