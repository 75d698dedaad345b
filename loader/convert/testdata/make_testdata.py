"""Makes the files beside it: PyTorch's, GGUF files of tiny models, and golden.json, what converting them must give.

    python make_testdata.py

Made with torch 2.15.0, transformers 5.23.0, sentence-transformers 6.2.0, gguf 0.19.0, sentencepiece 0.2.3, protobuf 7.36.2, numpy 2.4.6. What is done to tensors and
vocabularies on the way into a GGUF file follows the documentation and converter of llama.cpp.
"""

import collections
import hashlib
import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from models import LIMIT, MODELS, TEXTS, unigram

HERE = Path(__file__).parent
F32, F16, BF16, Q8 = (gguf.GGMLQuantizationType[k] for k in ("F32", "F16", "BF16", "Q8_0"))


def digest(x: torch.Tensor) -> str:
    return hashlib.sha256(x.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b"").hexdigest()


def described(tensors: dict[str, torch.Tensor]) -> dict:
    names = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.bool: "BOOL", torch.uint8: "U8"}
    return {k: {"dtype": names[v.dtype], "shape": list(v.shape), "sha256": digest(v)} for k, v in sorted(tensors.items())}


# PyTorch


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/vkbert-was-here",)


def state_dict() -> dict[str, torch.Tensor]:
    """Everything that a storage and a view can be."""
    torch.manual_seed(3)
    base = torch.randn(7, 12)
    return collections.OrderedDict(
        plain=torch.randn(5, 4),
        half=torch.randn(3, 3).half(),
        bfloat=torch.randn(9).bfloat16(),
        double=torch.randn(4).double(),
        ids=torch.arange(6).expand(1, 6),
        flags=torch.tensor([True, False, True]),
        bytes=torch.tensor([1, 2, 255], dtype=torch.uint8),
        scalar=torch.tensor(1.5),
        empty=torch.empty(0, 3),
        transposed=base.t(),
        corner=base[2:5, 3:9],
        steps=base[::2, 1::3],
        permuted=torch.randn(2, 3, 4).permute(2, 0, 1),
        shared=base,
        parameter=torch.nn.Parameter(torch.randn(2, 2)),
        big=torch.randn(300_000)[:1000],  # a little of a large storage: cloned below
    )


def make_torch(golden: dict) -> None:
    out = HERE / "torch"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    tensors = state_dict()
    tensors["big"] = tensors["big"].clone()
    expected = {k: v.detach() if v.dtype != torch.float64 else v.float() for k, v in tensors.items()}
    torch.save(tensors, out / "views.bin")
    torch.save(dict(tensors), out / "protocol4.bin", pickle_protocol=4)
    golden["torch/views.bin"] = golden["torch/protocol4.bin"] = {"tensors": described(expected)}

    linear = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))  # a state dict with the versions of its modules
    torch.save(linear.state_dict(), out / "module.bin")
    golden["torch/module.bin"] = {"tensors": described(linear.state_dict())}

    torch.save(tensors, out / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"weight": torch.ones(1), "evil": Evil()}, out / "evil.bin")
    torch.save([torch.ones(2)], out / "list.bin")
    torch.save({"epoch": 3, "state_dict": {"w": torch.ones(2)}}, out / "checkpoint.bin")
    torch.save(linear, out / "whole_module.bin")

    shards = HERE / "torch_shards"
    shutil.rmtree(shards, ignore_errors=True)
    shards.mkdir()
    torch.save({"a": torch.ones(2), "b": torch.zeros(3)}, shards / "pytorch_model-00001-of-00002.bin")
    torch.save({"c": torch.full((2, 2), 0.5)}, shards / "pytorch_model-00002-of-00002.bin")
    index = {"metadata": {"total_size": 36}, "weight_map": {k: f"pytorch_model-0000{n}-of-00002.bin" for k, n in (("a", 1), ("b", 1), ("c", 2))}}
    (shards / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")
    (shards / "config.json").write_text('{\n  "model_type": "bert",\n  "torch_dtype": "float32"\n}\n')


# GGUF


def phantom(token: str, special: bool) -> str:
    if special:
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def add_word_pieces(w: gguf.GGUFWriter, path: Path, rows: int) -> None:
    doc = json.loads((path / "tokenizer.json").read_text())
    vocab = sorted(doc["model"]["vocab"].items(), key=lambda x: x[1])
    special = {t["content"] for t in doc["added_tokens"]}
    tokens = [phantom(t, t in special) for t, _ in vocab]
    types = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t, _ in vocab]
    for i in range(len(tokens), rows):
        tokens.append(f"[PAD{i}]")
        types.append(gguf.TokenType.UNUSED)
    w.add_tokenizer_model("bert")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_type_count(2)
    w.add_unk_token_id(1), w.add_sep_token_id(3), w.add_pad_token_id(0), w.add_mask_token_id(4)
    w.add_uint32("tokenizer.ggml.cls_token_id", 2)


def add_unigram(w: gguf.GGUFWriter, path: Path, rows: int, from_json: bool) -> None:
    spm, _ = unigram(path)
    kinds = gguf.TokenType
    if from_json:
        pieces = json.loads((path / "tokenizer.json").read_text())["model"]["vocab"]
        special = {"<s>": kinds.CONTROL, "<pad>": kinds.CONTROL, "</s>": kinds.CONTROL, "<unk>": kinds.UNKNOWN, "<mask>": kinds.CONTROL}
        tokens, scores = [p for p, _ in pieces], [s for _, s in pieces]
        types = [special.get(p, kinds.NORMAL) for p in tokens]
    else:  # the converter's realignment of SentencePiece's own file: its last token is no <mask>
        tokens, scores, types = [f"[PAD{i}]" for i in range(rows)], [-10000.0] * rows, [kinds.UNUSED] * rows
        for i, p in enumerate(spm.pieces):
            tokens[i], scores[i], types[i] = p.piece, p.score, kinds.NORMAL
        tokens = ["<s>", "<pad>", "</s>", "<unk>", *tokens[3:-1]]
        scores = [0.0] * 4 + scores[3:-1]
        types = [kinds.CONTROL] * 3 + [kinds.UNKNOWN] + types[3:-1]
    w.add_tokenizer_model("t5")
    w.add_tokenizer_pre("default")
    w.add_token_list([t.encode() for t in tokens])
    w.add_token_scores(scores)
    w.add_token_types(types)
    w.add_add_space_prefix(True)
    w.add_token_type_count(1)
    w.add_remove_extra_whitespaces(True)
    w.add_precompiled_charsmap(spm.normalizer_spec.precompiled_charsmap)
    w.add_bos_token_id(0), w.add_eos_token_id(2), w.add_unk_token_id(3), w.add_sep_token_id(2), w.add_pad_token_id(1), w.add_mask_token_id(len(tokens) - 1)
    w.add_add_bos_token(True), w.add_add_eos_token(True)


def add_byte_pairs(w: gguf.GGUFWriter, path: Path, rows: int) -> None:
    doc = json.loads((path / "tokenizer.json").read_text())
    tokens, types = [f"[PAD{i}]" for i in range(rows)], [gguf.TokenType.UNUSED] * rows
    special = {t["content"] for t in doc["added_tokens"]}
    for t, i in doc["model"]["vocab"].items():
        tokens[i], types[i] = t, gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("qwen2")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges([" ".join(m) for m in doc["model"]["merges"]])
    w.add_eos_token_id(0), w.add_bos_token_id(1), w.add_pad_token_id(0)
    w.add_chat_template("{{ messages }}" * 40)


def permute(x: torch.Tensor, heads: int) -> torch.Tensor:
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def add_tensors(w: gguf.GGUFWriter, arch, layers: int, tensors: dict, kind, config: dict, golden: dict) -> None:
    """Adds the tensors under their GGUF names, and records what must come back."""
    names = gguf.get_tensor_name_map(arch, layers)
    for home, x in tensors.items():
        x = x.float()
        name = home
        if name in ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"):
            continue
        shift = arch == gguf.MODEL_ARCH.GEMMA_EMBEDDING and name.endswith("norm.weight")
        y = x + 1 if shift else x
        if config.get("model_type") == "xlm-roberta" and name == "embeddings.position_embeddings.weight":
            y = y[2:]
        if arch == gguf.MODEL_ARCH.LLAMA and ("q_proj" in name or "k_proj" in name):
            y = permute(y, config["num_attention_heads"] if "q_proj" in name else config["num_key_value_heads"])
        lookup = name
        if arch in (gguf.MODEL_ARCH.QWEN2, gguf.MODEL_ARCH.QWEN3, gguf.MODEL_ARCH.LLAMA, gguf.MODEL_ARCH.GEMMA_EMBEDDING):
            lookup = "model." + name
        to = names.get_name(lookup, try_suffixes=(".weight", ".bias"))
        assert to, name
        data = y.squeeze().contiguous().numpy()
        stored = kind if data.ndim == 2 and "token_types" not in to and "position_embd" not in to else F32
        raw = gguf.quants.quantize(data, stored)
        back = torch.from_numpy(np.ascontiguousarray(gguf.quants.dequantize(raw, stored))).reshape(y.shape)
        w.add_tensor(to, raw, raw_dtype=stored)
        # In the form that it had before, with what the type of the file has rounded away.
        if stored is F32:
            back = x if not shift else y - 1
        elif arch == gguf.MODEL_ARCH.LLAMA and ("q_proj" in name or "k_proj" in name):
            back = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(x.numpy(), stored), stored)).reshape(x.shape)
        if config.get("model_type") == "xlm-roberta" and name == "embeddings.position_embeddings.weight":
            back = torch.cat([torch.zeros(2, x.shape[1]), back[2:]])
        golden[home] = back.contiguous()


ARCHS = {
    "bert": ("BERT", F32), "xlmr": ("BERT", F16), "nomic": ("NOMIC_BERT", F32), "qwen2": ("QWEN2", BF16), "qwen3": ("QWEN3", Q8), "llama": ("LLAMA", F16),
    "gemma": ("GEMMA_EMBEDDING", F32), "modern": ("MODERN_BERT", F16), "euro": ("EUROBERT", Q8),
}


def make_gguf(name: str, file: str, arch_name: str, kind, path: Path, golden: dict, from_json: bool = True, pooling: bool = True) -> None:
    model = MODELS[name]
    config = json.loads((path / "config.json").read_text())
    tensors = load_file(path / "model.safetensors")
    arch = gguf.MODEL_ARCH[arch_name]
    layers = model.config["num_hidden_layers"]
    w = gguf.GGUFWriter(HERE / "gguf" / file, gguf.MODEL_ARCH_NAMES[arch])
    w.add_type("model")
    w.add_name(name)
    offset = 2 if name == "xlmr" else 0
    w.add_block_count(layers), w.add_context_length(LIMIT), w.add_embedding_length(32), w.add_feed_forward_length(64), w.add_head_count(4)
    if "num_key_value_heads" in model.config:
        w.add_head_count_kv(model.config["num_key_value_heads"])
    assert LIMIT + offset == model.config["max_position_embeddings"]
    for key, add in (("rms_norm_eps", w.add_layer_norm_rms_eps), ("norm_eps", w.add_layer_norm_rms_eps), ("layer_norm_eps", w.add_layer_norm_eps)):
        if config.get(key) is not None:
            add(config[key])
    if name == "modern":
        w.add_layer_norm_eps(config["norm_eps"])
        w.add_sliding_window(config["local_attention"]), w.add_sliding_window_pattern(3), w.add_rope_scaling_type(gguf.RopeScalingType.NONE)
        w.add_string("modern-bert.hidden_activation", "gelu")
    if name == "gemma":
        w.add_sliding_window(8)
    if "head_dim" in model.config:
        w.add_key_length(config["head_dim"]), w.add_value_length(config["head_dim"])
    rope = config.get("rope_parameters") or {}
    full = rope.get("full_attention", rope)
    if "rope_theta" in full:
        w.add_rope_freq_base(full["rope_theta"])
    if "sliding_attention" in rope:
        w.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
    if model.tokenizer != "bytes" or name in ("modern", "euro"):
        w.add_causal_attention(False)
    if name == "llama":
        w.add_rope_dimension_count(8), w.add_vocab_size(320)
    if pooling:
        w.add_pooling_type({"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS, "lasttoken": gguf.PoolingType.LAST}[model.pooling])
    expected = {}
    add_tensors(w, arch, layers, tensors, kind, config, expected)
    rows = config["vocab_size"]
    if model.tokenizer == "unigram":
        add_unigram(w, path, rows, from_json)
    else:
        {"word": add_word_pieces, "bytes": add_byte_pairs}[model.tokenizer](w, path, rows)
    entry = {"model": name, "tensors": described(expected), "config": model.original_config(path), "pooling": model.pooling}
    for i, out in enumerate(model.dense):
        x = load_file(path / f"{i + 2}_Dense" / "model.safetensors")["linear.weight"]
        w.add_tensor(f"dense_{i + 2}.weight", x.numpy())
        w.add_dense_features_dims(f"dense_{i + 2}", x.shape[1], x.shape[0])
        entry[f"dense_{i + 2}"] = described({"linear.weight": x})
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    golden["gguf/" + file] = entry


JINA = {  # their code comes with the model: the tensors alone, named as in the released files
    "jina": ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "attention.output.LayerNorm", "mlp.gated_layers", "mlp.wo", "mlp.layernorm"],
    "jina_code": ["attention.self.query", "attention.self.key", "attention.self.value", "attention.self.layer_norm_q", "attention.self.layer_norm_k", "attention.output.dense",
                  "attention.output.LayerNorm", "layer_norm_1", "layer_norm_2", "mlp.up_gated_layer", "mlp.down_layer"],
}


def make_jina(name: str, split: bool, word_path: Path, bytes_path: Path, golden: dict) -> None:
    rng = np.random.RandomState(5)
    code = name == "jina_code"
    path = bytes_path if code else word_path
    rows = 320 if code else len(json.loads((path / "tokenizer.json").read_text())["model"]["vocab"])
    arch = gguf.MODEL_ARCH.JINA_BERT_V2
    file = name + ("_split" if split else "") + ".gguf"
    w = gguf.GGUFWriter(HERE / "gguf" / file, gguf.MODEL_ARCH_NAMES[arch])
    w.add_block_count(1), w.add_context_length(8192), w.add_embedding_length(32), w.add_feed_forward_length(64), w.add_head_count(4)
    w.add_layer_norm_eps(1e-12), w.add_causal_attention(False), w.add_pooling_type(gguf.PoolingType.MEAN)
    shapes = {"embeddings.word_embeddings.weight": (rows, 32), "embeddings.token_type_embeddings.weight": (2, 32), "embeddings.LayerNorm.weight": (32,), "embeddings.LayerNorm.bias": (32,)}
    for stem in JINA[name]:
        norm = "orm" in stem
        shape = {"mlp.gated_layers": (128, 32), "mlp.up_gated_layer": (128, 32), "mlp.wo": (32, 64), "mlp.down_layer": (32, 64)}.get(stem, (32,) if norm else (32, 32))
        shapes[f"encoder.layer.0.{stem}.weight"] = shape
        if "gated" not in stem:
            shapes[f"encoder.layer.0.{stem}.bias"] = (32,)
    names = gguf.get_tensor_name_map(arch, 1)
    expected = {}
    for home, shape in shapes.items():
        x = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        expected[home] = x
        if "gated" in home and split:
            first, second = ("ffn_up", "ffn_gate") if code else ("ffn_gate", "ffn_up")
            w.add_tensor(f"blk.0.{first}.weight", x[:64].contiguous().numpy())
            w.add_tensor(f"blk.0.{second}.weight", x[64:].contiguous().numpy())
            continue
        w.add_tensor(names.get_name(home, try_suffixes=(".weight", ".bias")), x.numpy())
    (add_byte_pairs if code else add_word_pieces)(w, path, rows)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    golden["gguf/" + file] = {"model": "jina", "tensors": described(expected), "pooling": "mean",
                              "config": {"model_type": "bert", "position_embedding_type": "alibi", "feed_forward_type": "geglu", "max_position_embeddings": 8192}}


def make_all_gguf(golden: dict, folder: Path) -> None:
    out = HERE / "gguf"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    golden["texts"] = TEXTS
    golden["models"] = {}
    for name, model in MODELS.items():
        path = folder / name
        model.make(path)
        st = SentenceTransformer(str(path), device="cpu")
        tok = st.tokenizer
        golden["models"][name] = {
            "ids": [tok(t, truncation=True, max_length=LIMIT)["input_ids"] for t in TEXTS],
            "vectors": [[float(f"{x:.9g}") for x in v] for v in st.encode(TEXTS)],
            "tokenizer": "tokenizer" if model.tokenizer == "bytes" and name != "modern" else "tokenizer_modern" if name == "modern" else "",
        }
        if model.tokenizer == "bytes":
            to = out / golden["models"][name]["tokenizer"]
            to.mkdir(exist_ok=True)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copyfile(path / file, to / file)
        arch, kind = ARCHS[name]
        make_gguf(name, name + ".gguf", arch, kind, path, golden)
    make_gguf("bert", "bert_q8.gguf", "BERT", Q8, folder / "bert", golden, pooling=False)
    make_gguf("xlmr", "xlmr_spm.gguf", "BERT", BF16, folder / "xlmr", golden, from_json=False)
    for name in JINA:
        for split in (False, True):
            make_jina(name, split, folder / "bert", folder / "qwen2", golden)
    torch.save(load_file(folder / "bert" / "model.safetensors"), HERE / "torch" / "bert.bin")
    golden["torch/bert.bin"] = {"model": "bert", "tensors": described(load_file(folder / "bert" / "model.safetensors"))}


def main() -> None:
    golden: dict = {}
    make_torch(golden)
    with tempfile.TemporaryDirectory() as folder:
        make_all_gguf(golden, Path(folder))
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
