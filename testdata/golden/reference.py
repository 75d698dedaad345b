"""What the scripts that make golden files share: the reference run, its noise, and the JSON layout.

    python3 -m venv venv && venv/bin/pip install torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3 \
        sentence-transformers==6.2.0 safetensors==0.8.0 numpy==2.4.6

Nothing that is built or tested needs Python: these scripts only make the files that tests read.
"""

import json
import os
from importlib import metadata
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer

PACKAGES = ("torch", "transformers", "tokenizers", "sentence-transformers", "safetensors", "numpy")

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.set_float32_matmul_precision("highest")


def versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in PACKAGES}


def open_model(path: Path | str, **model_kwargs) -> SentenceTransformer:
    """The directory as sentence-transformers reads it. Weights are widened to f32: transformers 5 would compute in the file's own dtype."""
    model = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": torch.float32, **model_kwargs})
    model = model.float().eval()
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return model


def token_ids(model: SentenceTransformer, texts: list[str], prompt: str | None = None) -> list[list[int]]:
    """The ids of each text as the model sees them: prompt, special tokens and truncation applied, no padding."""
    return [model.preprocess([text], prompt=prompt)["input_ids"][0].tolist() for text in texts]


def encode(model: SentenceTransformer, texts: list[str], batch_size: int = 1, how=SentenceTransformer.encode, **kwargs) -> np.ndarray:
    """[texts, dimensions] f32. Batches of one hold no padding, so they are what the golden files keep."""
    vectors = how(model, texts, batch_size=batch_size, show_progress_bar=False, **kwargs)
    vectors = np.asarray(vectors)
    assert np.isfinite(vectors).all()
    return vectors


def noise(path: Path | str, texts: list[str], vectors: np.ndarray) -> dict[str, float]:
    """How far the reference is from itself (max abs difference of a component) where it does the same sums in another way."""
    exact = encode(open_model(path).double(), texts)
    assert exact.dtype == np.float64
    other = {
        "batch_32": encode(open_model(path), texts, batch_size=32),
        "eager_attention": encode(open_model(path, attn_implementation="eager"), texts),
        "f64": exact,
    }
    return {name: float(f"{np.abs(v - vectors).max():.2g}") for name, v in other.items()}


def _rows(rows) -> str:
    return "[\n" + ",\n".join(rows) + "\n]"


def _value(key: str, value) -> str:
    if isinstance(value, np.ndarray):  # 9 significant digits bring every f32 back bit for bit
        return _rows("[" + ",".join(f"{x:.9g}" for x in row) + "]" for row in value.astype(np.float32))
    if isinstance(value, list) and value and isinstance(value[0], np.ndarray):  # [texts] of [tokens, dimensions]
        return "[\n" + ",\n".join(_value(key, rows) for rows in value) + "\n]"
    if key in ("texts", "ids", "pairs", "type_ids", "attended", "kept", "sparse"):
        return _rows(json.dumps(row, separators=(",", ":")) for row in value)
    if isinstance(value, dict) and any(isinstance(v, (np.ndarray, list)) for v in value.values()):
        return write(value)
    return json.dumps(value)


def write(golden: dict, path: Path | None = None) -> str:
    """ASCII JSON, one text, id list or vector a line. What is read back must be what was written."""
    text = "{\n" + ",\n".join(f"{json.dumps(k)}: {_value(k, v)}" for k, v in golden.items()) + "\n}"
    if path is not None:
        path.write_text(text + "\n", encoding="ascii", newline="\n")
        same(golden, json.loads(path.read_text(encoding="ascii")), tolerance=0)
    return text


def same(want, got, tolerance: float, where: str = "golden") -> float:
    """Compares two golden files: everything equal, vectors within tolerance. Returns the largest difference."""
    if isinstance(want, np.ndarray):
        got = np.asarray(got, dtype=np.float32)
        assert want.shape == got.shape, f"{where}: shape: want {want.shape}, got {got.shape}"
        worst = float(np.abs(want.astype(np.float32) - got).max())
        assert worst <= tolerance, f"{where}: {worst} over {tolerance}"
        return worst
    if isinstance(want, dict):
        assert list(want) == list(got), f"{where}: keys: want {list(want)}, got {list(got)}"
        # Noise is a measurement: another machine measures another one.
        return max([0.0] + [same(v, got[k], tolerance, f"{where}.{k}") for k, v in want.items() if k != "noise" or tolerance == 0])
    if isinstance(want, list) and want and isinstance(want[0], (np.ndarray, dict)):
        assert len(want) == len(got), f"{where}: length: want {len(want)}, got {len(got)}"
        return max(same(w, g, tolerance, f"{where}[{i}]") for i, (w, g) in enumerate(zip(want, got)))
    if isinstance(want, float):
        assert abs(want - got) <= tolerance, f"{where}: want {want}, got {got}"
        return abs(want - got)
    if isinstance(want, list) and want and isinstance(want[0], float):
        return same(np.array(want), got, tolerance, where)
    assert want == got, f"{where}: want {want!r}, got {got!r}"
    return 0.0


def finish(golden: dict, path: Path, check: bool, tolerance: float) -> None:
    """Writes the file, or with check compares it with the one that is there; another machine may differ by tolerance."""
    if check:
        worst = same(golden, json.loads(path.read_text(encoding="ascii")), tolerance)
        print(f"{path}: same, vectors within {worst:.2g}")
        return
    write(golden, path)
    rows = golden.get("ids") or golden["query"]["ids"]
    print(f"{path}: {len(rows)} texts, {sum(map(len, rows))} tokens, {path.stat().st_size} bytes, noise {golden['noise']}")
