"""Makes minilm.json and minilm-f16w.json: the vectors that sentence-transformers gives for all-MiniLM-L6-v2, in f32 on the CPU.

    python make_minilm.py MODEL_DIR [--check] [--save-f16 DIR]

Made with torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, sentence-transformers 6.2.0, safetensors 0.8.0, numpy 2.4.6.

minilm-f16w.json is the same with every weight rounded to f16 and widened again: for machines that receive the model as f16.
"""

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer

import reference
from texts import TEXTS

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256


def save_f16(source: Path, target: Path) -> None:
    """The same directory with every floating tensor in F16, norms included; integer tensors and all other files as they are."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    with safe_open(source / "model.safetensors", framework="pt") as f:
        tensors = {name: f.get_tensor(name) for name in f.keys()}
        kept = f.metadata()
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    assert all(torch.isfinite(t).all() for t in tensors.values())
    save_file(tensors, target / "model.safetensors", metadata=kept)


def check_ids(model_dir: Path, ids: list[list[int]]) -> None:
    """tokenizer.json alone, its own truncation and padding off and 256 in their place, gives the ids that the reference made."""
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    for text, want in zip(TEXTS, ids):
        assert tokenizer.encode(text).ids == want, text
    lengths = [len(row) for row in ids]
    assert lengths[-5:] == [254, 255, 256, 256, 256], lengths[-5:]
    tokenizer.no_truncation()
    assert [len(tokenizer.encode(t).ids) for t in TEXTS[-5:]] == [254, 255, 256, 257, 400]
    assert sum(lengths) <= 3500, sum(lengths)


def golden(model_dir: Path, note: str) -> dict:
    model = reference.open_model(model_dir)
    assert model.max_seq_length == MAX_TOKENS
    vectors = reference.encode(model, TEXTS)
    return {
        "model": MODEL,
        "note": note,
        "versions": reference.versions(),
        "noise": reference.noise(model_dir, TEXTS, vectors),
        "texts": TEXTS,
        "ids": reference.token_ids(model, TEXTS),
        "vectors": vectors,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="directory of all-MiniLM-L6-v2")
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write none of them")
    parser.add_argument("--save-f16", type=Path, metavar="DIR", help="also write the model directory with f16 weights")
    args = parser.parse_args()

    digest = hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest()
    assert digest == WEIGHTS_SHA256, f"{args.model}: sha256 of model.safetensors: want {WEIGHTS_SHA256}, got {digest}"

    here = Path(__file__).parent
    plain = golden(args.model, "weights as released, f32")
    check_ids(args.model, plain["ids"])
    reference.finish(plain, here / "minilm.json", args.check, tolerance=1e-6)

    with tempfile.TemporaryDirectory() as temp:
        rounded_dir = args.save_f16 or Path(temp)
        save_f16(args.model, rounded_dir)
        rounded = golden(rounded_dir, "every weight rounded to f16, arithmetic in f32")
    assert rounded["ids"] == plain["ids"]
    reference.finish(rounded, here / "minilm-f16w.json", args.check, tolerance=1e-6)
    print(f"f16 weights move the vectors by at most {abs(rounded['vectors'] - plain['vectors']).max():.2g}")


if __name__ == "__main__":
    main()
