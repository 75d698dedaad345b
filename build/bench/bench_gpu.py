"""vkbert and PyTorch on one GPU, one after the other in one command; prints the table of docs/performance.md.

    make bench-gpu [ARGS="--quick"]          python3 build/bench/bench_gpu.py [--quick] [--only PART,…] [--models NAME,…] [--json FILE]

Needs a Python with torch (CUDA) and transformers. Medians; f16 unless said; random weights of the true shapes, full-length batches, token ids in and
vectors out. build/out/vkbert is the Go program: its times hold the way from a Go call to the vector.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import torch_encoder

ROOT = Path(__file__).parent.parent.parent
OUT = ROOT / "build" / "out"
LENGTHS = ROOT / "testdata" / "lengths.txt"
LINEAR = ((2304, 768), (3072, 768), (768, 3072), (768, 768), (4096, 1024), (1152, 384), (1536, 384), (384, 1536))
ROWS = 32768

results: list[dict] = []


class Refused(Exception):
    """What vkbert cannot do on this device; it says why."""


def run(program: str, *args: object) -> dict:
    command = [str(OUT / program), *map(str, args), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(done.stderr.strip())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return next((line for line in lines if line.get("op") == "LINEAR"), lines[-1])


def row(what: str, measure: Callable[[], float], theirs: float, unit: str, more_is_better: bool, note: str = "") -> None:
    try:
        ours = measure()
    except Refused as why:
        print(f"| {what} | {why} | {theirs:.4g} {unit} | |", flush=True)
        return
    ratio = ours / theirs if more_is_better else theirs / ours
    results.append({"what": what, "vkbert": ours, "pytorch": theirs, "unit": unit, "ratio": ratio, "note": note})
    print(f"| {what} | {ours:.4g} {unit} | {theirs:.4g} {unit}{f' ({note})' if note else ''} | {ratio:.2f}× |", flush=True)


def batches(device: str, name: str, quick: bool) -> None:
    encoder = torch_encoder.Encoder(name)
    times = encoder.full_length(256, 128, compiled=not quick)
    best = min(times, key=times.get)
    theirs = 256 * 128 / times[best] / 1e3
    for dtype in ("f16", "int8"):
        def measure(dtype: str = dtype) -> float:
            flags = ("--batch", 256, "--tokens", 128, "--device", device, "--dtype", dtype)
            return run("vkbert", "bench", "-m", f"random:{name}", *flags)["tokens_per_second"] / 1e6

        row(f"{name}, 256 × 128, {dtype}", measure, theirs, "M tokens/s", True, best)


def latency(device: str, name: str) -> None:
    encoder = torch_encoder.Encoder(name)
    for tokens in (16, 128):
        times = encoder.full_length(1, tokens, compiled=False)
        for interval in (0, 10):
            def measure(tokens: int = tokens, interval: int = interval) -> float:
                flags = ("--batch", 1, "--tokens", tokens, "--device", device, "--dtype", "f16", "--interval", f"{interval}ms")
                return run("vkbert", "bench", "-m", f"random:{name}", *flags)["median_ms"]

            every = f", one every {interval} ms" if interval else ""
            row(f"{name}, 1 × {tokens}{every}", measure, times["graph"], "ms", False, f"graph; eager {times['eager']:.3g}")


def mixed(device: str, name: str) -> None:
    encoder = torch_encoder.Encoder(name)
    lengths = [int(line) for line in LENGTHS.read_text().split()]
    flags = ("bench", "-m", f"random:{name}", "--device", device, "--dtype", "f16", "--lengths", LENGTHS)
    for what, order, size, extra in (
        ("as one corpus", sorted(lengths, reverse=True), 256, ()),
        ("32 texts a call, in the order of the file, 64 callers", lengths, 32, ("--callers", 64, "--per-call", 32)),
    ):
        theirs = sum(lengths) / encoder.mixed(order, size) / 1e3

        def measure(extra: tuple = extra) -> float:
            return run("vkbert", *flags, *extra)["tokens_per_second"] / 1e6

        row(f"{name}, 20,000 mixed lengths, {what}", measure, theirs, "M tokens/s", True, f"padded batches of {size}")


def linears(device: str) -> None:
    with tempfile.TemporaryDirectory() as cache:  # so that kernels are tested once
        for outputs, inputs in LINEAR:
            work = 2 * ROWS * outputs * inputs / 1e9
            theirs = work / torch_encoder.linear(ROWS, outputs, inputs)
            for dtype in ("f16", "int8"):
                def measure(outputs: int = outputs, inputs: int = inputs, dtype: str = dtype) -> float:
                    flags = ("--device", device, "--dtype", dtype, "--seconds", 0.5, "--cache-dir", cache)
                    return run("vkbert-bench", "gemm", ROWS, outputs, inputs, *flags)["tflops"]

                row(f"linear {inputs} → {outputs}, {ROWS} rows, {dtype}", measure, theirs, "TFLOP/s", True)


def several(device: str, name: str) -> None:
    """All GPUs of the machine against the first of them, both vkbert: the mixed lengths five times over, so that the last batches weigh little."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as corpus:
        corpus.write(LENGTHS.read_text() * 5)
        corpus.flush()
        flags = ("bench", "-m", f"random:{name}", "--dtype", "f16", "--lengths", corpus.name, "--device")
        try:
            one, every = (run("vkbert", *flags, d)["tokens_per_second"] / 1e6 for d in (f"{device}:0", f"{device}:all"))
        except Refused as why:
            print(f"| {name}, every GPU | {why} | | |", flush=True)
            return
    results.append({"what": f"{name}, every GPU", "vkbert": every, "one": one, "unit": "M tokens/s", "ratio": every / one})
    print(f"| {name}, 100,000 mixed lengths, {torch.cuda.device_count()} GPUs | {every:.4g} M tokens/s | one: {one:.4g} M tokens/s | {every / one:.2f}× |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="vulkan")
    parser.add_argument("--quick", action="store_true", help="no torch.compile")
    parser.add_argument("--only", default="batches,latency,mixed,linears,several", help="which parts of the table")
    parser.add_argument("--models", default=",".join(torch_encoder.SHAPES), help="which models")
    parser.add_argument("--json", type=Path, help="where the figures go too")
    args = parser.parse_args()
    parts, models = args.only.split(","), args.models.split(",")
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}\n\n| | vkbert | PyTorch fp16 | |\n|---|---|---|---|")
    for name in models:
        if "batches" in parts:
            batches(args.device, name, args.quick)
        if "latency" in parts and name != "large":
            latency(args.device, name)
        if "mixed" in parts and name != "large":
            mixed(args.device, name)
        if "several" in parts and torch.cuda.device_count() > 1:
            several(args.device, name)
    if "linears" in parts:
        linears(args.device)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
