"""Compares what sentence-transformers gives for converted directories with the vectors of the models that the GGUF files were made of.

    python check.py DIR     DIR holds a converted directory for each file of gguf/, named like it

The files in f16, bf16 and Q8_0 have rounded weights, so that they are close and not the same.
"""

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

golden = json.loads((Path(__file__).parent / "golden.json").read_text())
for path in sorted(Path(sys.argv[1]).iterdir()):
    entry = golden[f"gguf/{path.name}.gguf"]
    want = golden["models"][entry["model"]]
    model = SentenceTransformer(str(path), device="cpu", model_kwargs={"dtype": "float32"})
    ids = [model.tokenizer(t, truncation=True, max_length=model.max_seq_length)["input_ids"] for t in golden["texts"]]
    got = model.encode(golden["texts"])
    apart = 1 - np.min(np.abs(np.array(want["vectors"]) @ np.array(want["vectors"]).T))
    print(f"{path.name:12} ids {'equal' if ids == want['ids'] else 'DIFFER'}  max |d| {np.abs(got - np.array(want['vectors'])).max():.1e}  texts up to {apart:.2f} apart")
