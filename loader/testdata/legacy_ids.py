"""Makes legacy_ids.json: what sentence-transformers and transformers make of files that older releases and other libraries wrote, over
the directories of ../../testdata/arch: ColBERT models as PyLate saves them, and a vocab.txt without tokenizer.json.

    python legacy_ids.py

Made with sentence-transformers 6.2.0, transformers 5.23.0.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from sentence_transformers import MultiVectorEncoder
from transformers import AutoTokenizer

HERE = Path(__file__).parent
ARCH = HERE.parent.parent / "testdata" / "arch"
TEXTS = ["", "cat", "the dog, the cat.", "who made this little stone house, and when?", "the cat sat by the river and the dog ran " * 6, "[MASK] [unused0] x"]
OLD = "sentence_transformers.models."
DENSE = {"in_features": 24, "out_features": 8, "bias": False, "activation_function": "torch.nn.modules.linear.Identity"}
ST = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "MaxSim"}
MODULES = [{"idx": 0, "name": "0", "path": "", "type": OLD + "Transformer"}, {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"}]
SAVES = {
    "typed": ST | {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 16, "document_length": 20, "attend_to_expansion_tokens": False,
                   "skiplist_words": [".", ","]},
    "untyped": ST | {"query_prefix": "[unused0] ", "document_prefix": "[unused1] ", "query_length": 14, "document_length": 25, "attend_to_expansion_tokens": True},
    "unexpanded": ST | {"model_type": "ColBERT", "query_prefix": "find: ", "document_prefix": "", "prompts": {"query": "find: now "}, "do_query_expansion": False, "query_length": 9},
    "least": ST | {"model_type": "MultiVectorEncoder", "query_expansion": {"strategy": "min", "length": 12, "attend": True, "token": "[UNK]"}, "query_length": 18},
}


def colbert(saved: dict) -> dict:
    files = {"modules.json": json.dumps(MODULES), "config_sentence_transformers.json": json.dumps(saved), "1_Dense/config.json": json.dumps(DENSE)}
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "m"
        shutil.copytree(ARCH / "colbert_stanford", path)
        for name in ("artifact.metadata", "golden.json"):
            (path / name).unlink()
        config = json.loads((path / "config.json").read_text()) | {"architectures": ["BertModel"]}
        files["config.json"] = json.dumps(config)
        (path / "1_Dense").mkdir()
        shutil.copy(ARCH / "colbert" / "1_Dense" / "model.safetensors", path / "1_Dense")
        for name, text in files.items():
            (path / name).write_text(text)
        model = MultiVectorEncoder(str(path), device="cpu")
        out = {"files": files, "modules": [type(m).__name__ for m in model]}
        for task in ("query", "document"):
            prompt = model.prompts.get(task) or ""
            rows = []
            for text in TEXTS:
                f = model.preprocess([text], prompt=prompt or None, task=task)
                ids, attended = f["input_ids"][0].tolist(), f["attention_mask"][0].tolist()
                with torch.inference_mode():
                    kept = model(dict(f), task=task)["attention_mask"][0].int().tolist()
                rows.append([ids, attended, kept])
            out[task] = {"prompt": prompt, "rows": rows}
        return out


def vocabulary(**config) -> dict:
    vocab = json.loads((ARCH / "splade" / "tokenizer.json").read_text())["model"]["vocab"]
    files = {"vocab.txt": "".join(t + "\n" for t in sorted(vocab, key=vocab.get)), "tokenizer_config.json": json.dumps({"tokenizer_class": "BertTokenizer"} | config)}
    texts = TEXTS + ["Who MADE caf\u00e9 \u4f60\u597d\0 [SEP] x"]
    with tempfile.TemporaryDirectory() as temporary:
        for name, text in files.items():
            (Path(temporary) / name).write_text(text)
        shutil.copy(ARCH / "splade" / "config.json", temporary)
        tokenizer = AutoTokenizer.from_pretrained(temporary)
        pair = tokenizer([["the dog", "cat"]])
        return {"config": config, "texts": texts, "ids": tokenizer(texts)["input_ids"], "pair": [pair["input_ids"][0], pair["token_type_ids"][0]]}


def main() -> None:
    out = {"texts": TEXTS, "colbert": {name: colbert(saved) for name, saved in SAVES.items()}}
    out["vocab"] = [vocabulary(), vocabulary(do_lower_case=False), vocabulary(strip_accents=False, tokenize_chinese_chars=False)]
    (HERE / "legacy_ids.json").write_text(json.dumps(out, separators=(",", ":")) + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
