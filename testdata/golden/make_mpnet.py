"""Makes mpnet.json: the vectors that sentence-transformers gives for all-mpnet-base-v2, in f32 on the CPU.

    python make_mpnet.py MODEL_DIR [--check]

Made with torch 2.15.0, transformers 5.24.0, tokenizers 0.23.3, sentence-transformers 6.2.0, safetensors 0.8.0, numpy 2.4.6.

The texts are every third of those of make_minilm.py, and the longest, which is over the model's 384 tokens.
"""

import argparse
import hashlib
from pathlib import Path

import reference
from texts import TEXTS

MODEL = "sentence-transformers/all-mpnet-base-v2"
WEIGHTS_SHA256 = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"
MAX_TOKENS = 384
CHOSEN = TEXTS[::3] + [TEXTS[-1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="directory of all-mpnet-base-v2")
    parser.add_argument("--check", action="store_true", help="compare with the committed file, write nothing")
    args = parser.parse_args()

    digest = hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest()
    assert digest == WEIGHTS_SHA256, f"{args.model}: sha256 of model.safetensors: want {WEIGHTS_SHA256}, got {digest}"

    model = reference.open_model(args.model)
    assert model.max_seq_length == MAX_TOKENS
    ids = reference.token_ids(model, CHOSEN)
    assert len(ids[-1]) == MAX_TOKENS
    vectors = reference.encode(model, CHOSEN)
    golden = {
        "model": MODEL,
        "note": "weights as released, f32",
        "versions": reference.versions(),
        "noise": reference.noise(args.model, CHOSEN, vectors),
        "texts": CHOSEN,
        "ids": ids,
        "vectors": vectors,
    }
    reference.finish(golden, Path(__file__).parent / "mpnet.json", args.check, tolerance=1e-6)


if __name__ == "__main__":
    main()
