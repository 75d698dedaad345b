#!/usr/bin/env python3
"""Makes a golden file for "vkbert verify": what sentence-transformers gives for a few texts, in f32 on the CPU, one text a batch.

    pip install sentence-transformers
    python make_golden.py MODEL golden.json [--texts FILE] [--kind auto|embed|cross|sparse|multi] [--revision REV] [--trust-remote-code]
    vkbert verify -m MODEL golden.json

MODEL is an id or a directory. FILE has a text a line; for a cross-encoder, a query, a tab and a text.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import sentence_transformers as st
import transformers

TEXTS = [
    "", " ", "a", "The quick brown fox jumps over the lazy dog.", "query: how do birds navigate?", "Ärger über naïve façades — déjà vu, Ærøskøbing",
    "Привет, мир! Как дела?", "日本語の文章と中文句子混在。", "مرحبا بالعالم", "नमस्ते दुनिया", "안녕하세요 세계", "emoji 👩‍👩‍👧‍👦 🇪🇺 👍🏽 and e\u0301 o\u0308", "tabs\tand\nnew lines\r\n",
    "[CLS] [SEP] [MASK] <s> </s> <pad>", "def f(x):\n    return x**2  # code", "https://example.org/a?b=c&d=%20e", "ﬁ ① Ａ ½ ™ ㎏", "1234567890 3.14 1e-5", "x" * 150,
    "repeat " * 40, "many words in one text, " * 120,
]  # fmt: skip
CLASSES = {"embed": "SentenceTransformer", "cross": "CrossEncoder", "sparse": "SparseEncoder", "multi": "MultiVectorEncoder"}


def read(model: str, name: str, revision: str | None):
    """A JSON file of the model; {} if there is none."""
    path = Path(model) / name
    try:
        if not Path(model).is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(model, name, revision=revision))
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def kind_of(model: str, revision: str | None) -> str:
    """As sentence-transformers writes it down; a classifier without modules is a cross-encoder."""
    named = read(model, "config_sentence_transformers.json", revision).get("model_type", "")
    for kind, name in CLASSES.items():
        if named == name:
            return kind
    architectures = read(model, "config.json", revision).get("architectures") or [""]
    if "HF_ColBERT" in architectures or "query_prefix" in read(model, "config_sentence_transformers.json", revision):
        return "multi"  # of Stanford's ColBERT, or of PyLate
    if not read(model, "modules.json", revision) and architectures[0].endswith("ForSequenceClassification"):
        return "cross"
    return "embed"


def features(model, text, **kwargs):
    prepare = getattr(model, "preprocess", None) or model.tokenize  # the name before 5.4
    return prepare([text], **kwargs)


def ids(model, texts, **kwargs):
    return [features(model, t, **kwargs)["input_ids"].reshape(-1).tolist() for t in texts]


def numbers(row):
    return [float(f"{x:.9g}") for x in np.asarray(row, np.float32).reshape(-1)]  # 9 digits bring every f32 back


def embed(model, texts):
    def run(how, prompt, **kwargs):
        task = {"task": kwargs.pop("task")} if "task" in kwargs else {}
        vectors = [numbers(how([t], batch_size=1, show_progress_bar=False, **kwargs)[0]) for t in texts]
        return {"prompt": prompt, "ids": ids(model, [prompt + t for t in texts], **task), "vectors": vectors}

    prompts = model.prompts or {}
    out = {"texts": texts} | run(model.encode, prompts.get(model.default_prompt_name, "") if model.default_prompt_name else "")
    routed = {"task": "query"} if is_routed(model) else {}
    if hasattr(model, "encode_query") and (routed or any(prompts.values())):
        document = next((p for p in ("document", "passage", "corpus") if p in prompts), None)
        out["query"] = run(model.encode_query, prompts.get("query", ""), **routed)
        out["document"] = run(model.encode_document, prompts.get(document, ""), **({"task": "document"} if routed else {}))
    for name in sorted(set(prompts) - {"query", "document"}):
        out[f"prompt:{name}"] = run(model.encode, prompts[name], prompt_name=name)
    return out


def is_routed(model):
    return any(type(m).__name__ in ("Router", "Asym") for m in model)


def cross(model, pairs):
    def run(**kwargs):
        return [numbers(model.predict([tuple(p)], batch_size=1, show_progress_bar=False, **kwargs)) for p in pairs]

    if hasattr(model, "preprocess"):
        rows = ids(model, [tuple(p) for p in pairs])
    else:
        rows = [model.tokenizer(*p, truncation="longest_first", max_length=model.max_length)["input_ids"] for p in pairs]
    return {"pairs": pairs, "ids": rows, "scores": run(), "logits": run(activation_fn=torch.nn.Identity())}


def sparse(model, texts):
    def run(how, **task):
        rows = [how([t], batch_size=1, convert_to_sparse_tensor=False, show_progress_bar=False)[0].detach().numpy() for t in texts]
        entries = [{"indices": np.flatnonzero(r).tolist(), "values": numbers(r[np.flatnonzero(r)])} for r in rows]
        return {"ids": ids(model, texts, **task), "sparse": entries}

    out = {"texts": texts} | (run(model.encode) if not is_routed(model) else run(model.encode_document, task="document"))
    if is_routed(model):
        out |= {"query": run(model.encode_query, task="query"), "document": run(model.encode_document, task="document")}
    return out


def multi(model, texts):
    out = {"texts": texts}
    for name, how in (("query", model.encode_query), ("document", model.encode_document)):
        rows = ids(model, texts, prompt=model.prompts.get(name) or None, task=name)
        out[name] = {"ids": rows, "vectors": [[numbers(v) for v in how([t], batch_size=1, show_progress_bar=False)[0]] for t in texts]}
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("output", nargs="?", default="golden.json")
    p.add_argument("--texts")
    p.add_argument("--kind", default="auto", choices=["auto", *CLASSES])
    p.add_argument("--revision")
    p.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    a = p.parse_args()
    kind = kind_of(a.model, a.revision) if a.kind == "auto" else a.kind
    texts = TEXTS
    if a.texts:
        texts = Path(a.texts).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if kind == "cross":
        texts = [t.split("\t", 1) for t in texts] if a.texts else [[q, t] for q in (TEXTS[3], TEXTS[4]) for t in TEXTS]
    torch.set_grad_enabled(False)
    dtype = "dtype" if int(transformers.__version__.split(".")[0]) > 4 else "torch_dtype"
    arguments = {"device": "cpu", "revision": a.revision, "trust_remote_code": a.trust_remote_code, "model_kwargs": {dtype: torch.float32}}
    model = getattr(st, CLASSES[kind])(a.model, **arguments)
    model = (model.float() if hasattr(model, "float") else model).eval()
    out = {"model": a.model, "kind": kind, "versions": {"sentence-transformers": st.__version__, "torch": torch.__version__}}
    out |= {"embed": embed, "cross": cross, "sparse": sparse, "multi": multi}[kind](model, texts)
    Path(a.output).write_text(json.dumps(out, separators=(",", ":")) + "\n", encoding="ascii")
    print(f"{a.output}: {len(texts)} of kind {kind}; now: vkbert verify -m {a.model} {a.output}")


if __name__ == "__main__":
    main()
