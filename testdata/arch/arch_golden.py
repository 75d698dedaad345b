"""What the reference gives for a directory of any kind, how far it is from itself, and what each mutation of the directory costs."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, MultiVectorEncoder, SentenceTransformer, SparseEncoder
from tokenizers import Tokenizer

import arch_texts
import reference

CLASSES = {"embed": SentenceTransformer, "static": SentenceTransformer, "router": SentenceTransformer, "cross": CrossEncoder, "sparse": SparseEncoder, "multi": MultiVectorEncoder}
HERE = Path(__file__).parent


def open_model(spec, path: Path, **model_kwargs):
    """The directory as sentence-transformers reads it, in f32. Where it names code of its own, that is not here: a copy of the
    directory that names our reference instead is read."""
    arguments = {"device": "cpu", "model_kwargs": {"dtype": torch.float32, **model_kwargs}}
    if spec.code is None:
        model = CLASSES[spec.kind](str(path), **arguments)
        return model.float().eval()
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(path, copy, dirs_exist_ok=True)
        file, config_class, model_class = spec.code
        shutil.copy(HERE / f"{file}.py", copy)
        edit(Path(copy) / "config.json", {"auto_map": {"AutoConfig": f"{file}.{config_class}", "AutoModel": f"{file}.{model_class}"}})
        modules = Path(copy) / "modules.json"
        modules.write_text(modules.read_text().replace("custom_st.Transformer", "sentence_transformers.models.Transformer"))
        model = CLASSES[spec.kind](copy, trust_remote_code=True, **arguments)
    assert type(model[0].model).__name__ == model_class, type(model[0].model)
    return model.float().eval()


def edit(path: Path, changes: dict) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes, indent=2) + "\n", encoding="ascii", newline="\n")


def counter(path: Path):
    """Tokens of a text by tokenizer.json alone, special ones among them."""
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text).ids)


def ids_of(model, texts, prompt=None, **kwargs) -> list[list[int]]:
    return [model.preprocess([t], prompt=prompt, **kwargs)["input_ids"].reshape(-1).tolist() for t in texts]


def embed(model, texts: list[str], batch_size: int = 1, how=None, **kwargs) -> np.ndarray:
    """[texts, dimensions] f32, one text a batch and no state left from the text before (dynamic RoPE keeps some)."""
    if batch_size > 1:
        return reference.encode(model, texts, batch_size=batch_size, how=how or type(model).encode, **kwargs)
    rows = []
    for text in texts:
        fresh(model)
        rows.append(reference.encode(model, [text], how=how or type(model).encode, **kwargs)[0])
    return np.stack(rows)


def fresh(model) -> None:
    for module in model.modules():
        if getattr(module, "rope_type", None) == "dynamic":
            module.inv_freq, module.max_seq_len_cached = module.original_inv_freq, module.original_max_seq_len


def embed_ids(model, rows: list[list[int]]) -> np.ndarray:
    """The vectors of token ids taken as they are: no special tokens, no prompt."""
    vectors = []
    with torch.inference_mode():
        for row in rows:
            fresh(model)
            ids = torch.tensor([row])
            features = model({"input_ids": ids, "attention_mask": torch.ones_like(ids), "modality": "text"})
            vectors.append(features["sentence_embedding"][0, : model.truncate_dim].numpy())
    return np.stack(vectors)


def golden(spec, path: Path) -> dict:
    return {"embed": _embed, "static": _static, "router": _router, "cross": _cross, "sparse": _sparse, "multi": _multi}[spec.kind](spec, path)


def lines_of(spec, path: Path) -> list[str]:
    return arch_texts.texts(spec.max_tokens, counter(path), spec.window)


def rounded(difference: float) -> float:
    return float(f"{difference:.2g}")


def _noise(spec, path: Path, run, value) -> dict[str, float]:
    """How far the reference is from itself where it does the same sums in another way."""
    def off(other) -> float:
        return rounded(max(float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max()) for a, b in zip(other, value)))

    exact = open_model(spec, path).double()
    out = {"f64": off(run(exact))}
    if spec.eager:
        out["eager_attention"] = off(run(open_model(spec, path, attn_implementation="eager")))
    return out


def _check_ids(path: Path, spec, ids: list[list[int]], lines: list[str]) -> None:
    """tokenizer.json alone must give what transformers' own tokenizer class gives: the latter rebuilds some of its parts."""
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_tokens)
    assert ids == [tokenizer.encode(t).ids for t in lines]


def _embed(spec, path: Path) -> dict:
    model, lines = open_model(spec, path), lines_of(spec, path)
    assert model.max_seq_length == spec.max_tokens, (model.max_seq_length, spec.max_tokens)
    vectors = embed(model, lines)
    ids = ids_of(model, lines, model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None)
    if not model.default_prompt_name:
        _check_ids(path, spec, ids, lines)
    noise = _noise(spec, path, lambda m: embed(m, lines), vectors)
    if not spec.stateful:
        noise = {"batch_32": rounded(np.abs(embed(open_model(spec, path), lines, batch_size=32) - vectors).max())} | noise
    raw = spec.raw_ids()
    out = {"noise": noise, "texts": lines, "ids": ids, "vectors": vectors, "raw": {"ids": raw, "vectors": embed_ids(model, raw)}}
    for task in spec.tasks:
        model[0].model.set_task(task)
        prompt = model.prompts.get(task, "")
        out[f"task:{task}"] = {"prompt": prompt, "ids": ids_of(model, lines, prompt), "vectors": embed(model, lines, prompt=prompt)}
    if not spec.tasks and any(model.prompts.values()):
        for name, how in (("query", SentenceTransformer.encode_query), ("document", SentenceTransformer.encode_document)):
            prompt = model.prompts.get(name, "")
            out[name] = {"prompt": prompt, "ids": ids_of(model, lines, prompt), "vectors": embed(model, lines, how=how)}
        for name in sorted(set(model.prompts) - {"query", "document"}):
            prompt = model.prompts[name]
            out[f"prompt:{name}"] = {"prompt": prompt, "ids": ids_of(model, lines, prompt), "vectors": embed(model, lines, prompt_name=name)}
    return out


def _static(spec, path: Path) -> dict:
    model, lines = open_model(spec, path), lines_of(spec, path / spec.tokenizer_folder)
    vectors = embed(model, lines)
    return {"noise": {"batch_32": rounded(np.abs(embed(model, lines, batch_size=32) - vectors).max())}, "texts": lines, "ids": ids_of(model, lines), "vectors": vectors}


def _router(spec, path: Path) -> dict:
    model, lines = open_model(spec, path), lines_of(spec, path / spec.tokenizer_folder)
    out = {"noise": _noise(spec, path, lambda m: embed(m, lines, task="document"), embed(model, lines, task="document")), "texts": lines}
    out |= {"ids": ids_of(model, lines), "vectors": embed(model, lines)}
    for name, how in (("query", SentenceTransformer.encode_query), ("document", SentenceTransformer.encode_document)):
        out[name] = {"prompt": model.prompts.get(name, ""), "ids": ids_of(model, lines, model.prompts.get(name), task=name), "vectors": embed(model, lines, how=how)}
    return out


def _scores(model, pairs) -> np.ndarray:
    return np.stack([np.atleast_1d(model.predict([tuple(p)], show_progress_bar=False)[0]) for p in pairs])


def _cross(spec, path: Path) -> dict:
    model, pairs = open_model(spec, path), arch_texts.pairs(spec.max_tokens, counter(path))
    features = [model.preprocess([tuple(p)]) for p in pairs]
    ids = [f["input_ids"][0].tolist() for f in features]
    types = [f["token_type_ids"][0].tolist() if "token_type_ids" in f else [0] * len(row) for f, row in zip(features, ids)]
    assert max(map(len, ids)) == spec.max_tokens
    scores = _scores(model, pairs)
    with torch.inference_mode():
        logits = np.stack([model.predict([tuple(p)], activation_fn=torch.nn.Identity(), show_progress_bar=False).reshape(-1) for p in pairs])
    noise = {"batch_32": rounded(np.abs(model.predict([tuple(p) for p in pairs], show_progress_bar=False).reshape(scores.shape) - scores).max())}
    noise |= _noise(spec, path, lambda m: _scores(m, pairs), scores)
    return {"noise": noise, "pairs": pairs, "ids": ids, "type_ids": types, "scores": scores, "logits": logits}


def _dense(model, lines, how, **kwargs) -> np.ndarray:
    """Sparse vectors written out in full."""
    return np.stack([how(model, [t], convert_to_sparse_tensor=False, show_progress_bar=False, **kwargs)[0].detach().cpu().numpy() for t in lines])


def _entries(rows: np.ndarray) -> list[dict]:
    return [{"indices": np.flatnonzero(r).tolist(), "values": [float(f"{v:.9g}") for v in r[np.flatnonzero(r)]]} for r in rows]


def _sparse(spec, path: Path) -> dict:
    folder = path / spec.tokenizer_folder
    model, lines = open_model(spec, path), arch_texts.texts(spec.max_tokens, counter(folder), spec.window)
    rows = _dense(model, lines, SparseEncoder.encode)
    noise = _noise(spec, path, lambda m: _dense(m, lines, SparseEncoder.encode), rows)
    out = {"noise": noise, "dimensions": rows.shape[1], "texts": lines, "ids": ids_of(model, lines), "sparse": _entries(rows)}
    if spec.routed:
        for name, how in (("query", SparseEncoder.encode_query), ("document", SparseEncoder.encode_document)):
            out[name] = {"ids": ids_of(model, lines, task=name), "sparse": _entries(_dense(model, lines, how))}
    return out


def _tokens(model, lines, how) -> list[np.ndarray]:
    return [np.asarray(how(model, [t], show_progress_bar=False)[0]) for t in lines]


def _multi(spec, path: Path) -> dict:
    model, lines = open_model(spec, path), lines_of(spec, path)
    out: dict = {"texts": lines}
    for name, how in (("query", MultiVectorEncoder.encode_query), ("document", MultiVectorEncoder.encode_document)):
        prompt = model.prompts.get(name) or None
        features = [model.preprocess([t], prompt=prompt, task=name) for t in lines]
        vectors = _tokens(model, lines, how)
        with torch.inference_mode():
            kept = [model(dict(f), task=name)["attention_mask"][0].bool().tolist() for f in features]
        assert [sum(k) for k in kept] == [len(v) for v in vectors]
        out[name] = {
            "prompt": prompt or "", "ids": [f["input_ids"][0].tolist() for f in features],
            "attended": [f["attention_mask"][0].tolist() for f in features], "kept": [[int(k) for k in row] for row in kept], "vectors": vectors,
        }
        noise = _noise(spec, path, lambda m: _tokens(m, lines, how), vectors)
        out.setdefault("noise", {}).update({f"{name}_{k}": v for k, v in noise.items()})
    queries, documents = out["query"]["vectors"][1:6], out["document"]["vectors"][1:]
    out["maxsim"] = np.array([[float((q @ d.T).max(axis=1).sum()) for d in documents] for q in queries], np.float32)
    return {"noise": out.pop("noise")} | out


# Figures --------------------------------------------------------------------------------------------------------------

def run(spec, path: Path, model) -> list[np.ndarray]:
    """One array a text (or pair), by which a mutation is measured."""
    if spec.kind == "cross":
        with torch.inference_mode():
            return [model.predict([tuple(p)], activation_fn=torch.nn.Identity(), show_progress_bar=False).reshape(-1) for p in arch_texts.pairs(spec.max_tokens, counter(path))]
    if spec.kind == "sparse":
        lines = arch_texts.texts(spec.max_tokens, counter(path / spec.tokenizer_folder), spec.window)
        return list(_dense(model, lines, SparseEncoder.encode_document if spec.routed else SparseEncoder.encode))
    if spec.kind == "multi":
        return _tokens(model, lines_of(spec, path), MultiVectorEncoder.encode_document)
    if spec.kind == "router":
        return list(embed(model, lines_of(spec, path / spec.tokenizer_folder), task="document"))
    if spec.tasks:
        model[0].model.set_task(spec.tasks[0])
    return list(embed(model, lines_of(spec, path)))


def mutated(spec, path: Path, change):
    """The model with one thing changed: keys of config.json, tensors, or the modules themselves."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(path, copy, dirs_exist_ok=True)
        folder = Path(copy) / spec.tokenizer_folder
        if "config" in change:
            edit(folder / "config.json", change["config"])
        if "tensors" in change:
            tensors = load_file(folder / "model.safetensors")
            before = {k: v.clone() for k, v in tensors.items()}
            change["tensors"](tensors)
            assert any(not torch.equal(before[k], v) for k, v in tensors.items())
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        model = open_model(spec, Path(copy))
    if "modules" in change:
        change["modules"](model)
    return model


def figures(spec, path: Path) -> None:
    right = run(spec, path, open_model(spec, path))
    largest = max(float(np.abs(r).max()) for r in right)
    print(f"{path.name}: largest component {largest:.3f}")

    def off(other) -> list[float]:
        """Of each text's largest value; one score has no other beside it, so of the file's largest for cross-encoders."""
        return [float(np.abs(a - b).max() / (largest if spec.kind == "cross" else max(np.abs(b).max(), 1e-9))) for a, b in zip(other, right) if b.size]

    if spec.kind == "static":
        return
    if spec.kind in ("embed", "router"):
        unit = np.stack(right) / np.linalg.norm(right, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[np.triu_indices(len(right), 1)]
        print(f"  cosines of different texts: min {cosines.min():.3f}, median {np.median(cosines):.3f}, max {np.sort(cosines)[-3]:.3f}")
    exact = run(spec, path, open_model(spec, path).double())
    print(f"  f32 against f64: {max(off(exact)):.1e} of the largest value")
    for what, change in spec.mutations.items():
        cost = off(run(spec, path, mutated(spec, path, change)))
        print(f"  {what}: {max(cost):.1e} of the largest value, at least {min(cost):.1e}, texts over 1e-5: {sum(c > 1e-5 for c in cost)} of {len(cost)}")
