"""Makes the tiny BERT directories beside it, each with the golden.json that sentence-transformers gives for that very directory.

    python make_tiny.py [--check] [--figures] [NAME...]

Made with torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, sentence-transformers 6.2.0, safetensors 0.8.0, numpy 2.4.6.
"""

import argparse
import copy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

import reference
from directories import DIRECTORIES, RAW_IDS, texts

HERE = Path(__file__).parent


def encode_ids(model: SentenceTransformer, rows: list[list[int]]) -> np.ndarray:
    """The vectors of token ids taken as they are: no special tokens, no prompt."""
    vectors = []
    with torch.inference_mode():
        for row in rows:
            ids = torch.tensor([row])
            features = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
            vectors.append(model(features)["sentence_embedding"][0, : model.truncate_dim].numpy())
    return np.stack(vectors)


def golden(name: str) -> dict:
    spec, path = DIRECTORIES[name], HERE / name
    model = reference.open_model(path)
    assert model.max_seq_length == spec.max_tokens, (name, model.max_seq_length)
    lines = texts(spec.max_tokens)
    default = model.prompts.get(model.default_prompt_name) if model.default_prompt_name else None
    vectors = reference.encode(model, lines)
    out = {
        "model": f"tiny/{name}",
        "note": spec.note,
        "versions": reference.versions(),
        "noise": reference.noise(path, lines, vectors),
        "texts": lines,
        "ids": reference.token_ids(model, lines, default),
        "vectors": vectors,
        "raw": {"ids": RAW_IDS, "vectors": encode_ids(model, RAW_IDS)},
    }
    if any(model.prompts.values()):
        out["query"] = part(model, lines, model.prompts["query"], how=SentenceTransformer.encode_query)
        out["document"] = part(model, lines, model.prompts["document"], how=SentenceTransformer.encode_document)
        for prompt_name in sorted(set(model.prompts) - {"query", "document"}):
            out[f"prompt:{prompt_name}"] = part(model, lines, model.prompts[prompt_name], prompt_name=prompt_name)
    return out


def part(model: SentenceTransformer, lines: list[str], prompt: str, **kwargs) -> dict:
    return {"prompt": prompt, "ids": reference.token_ids(model, lines, prompt), "vectors": reference.encode(model, lines, **kwargs)}


# What each mutation of the encoder changes, so that a test that drops it can be seen to fail.
def _layers(model):
    return model[0].model.encoder.layer


def _set(modules, name, value):
    for module in modules:
        setattr(module, name, value)


def _zero(parameter):
    parameter.data.zero_()


MUTATIONS = {
    "attention scale dropped": lambda m: _set([l.attention.self for l in _layers(m)], "scaling", 1.0),
    "query bias of layer 0 dropped": lambda m: _zero(_layers(m)[0].attention.self.query.bias),
    "value bias of layer 0 dropped": lambda m: _zero(_layers(m)[0].attention.self.value.bias),
    "attention output bias of layer 0 dropped": lambda m: _zero(_layers(m)[0].attention.output.dense.bias),
    "intermediate bias of layer 0 dropped": lambda m: _zero(_layers(m)[0].intermediate.dense.bias),
    "output bias of layer 0 dropped": lambda m: _zero(_layers(m)[0].output.dense.bias),
    "norm bias of the embeddings dropped": lambda m: _zero(m[0].model.embeddings.LayerNorm.bias),
    "norm eps 1e-12 for 1e-3": lambda m: _set([x for x in m.modules() if isinstance(x, torch.nn.LayerNorm)], "eps", 1e-12),
    "type rows dropped": lambda m: _zero(m[0].model.embeddings.token_type_embeddings.weight),
    "position rows dropped": lambda m: _zero(m[0].model.embeddings.position_embeddings.weight),
    "last layer dropped": lambda m: _layers(m).__delitem__(-1),
    "GELU by tanh for erf": lambda m: _set([l.intermediate for l in _layers(m)], "intermediate_act_fn", torch.nn.GELU("tanh")),
}


def figures(name: str) -> None:
    """Prints how peaked attention is, how far the vectors are apart, and what each mutation costs."""
    path, lines = HERE / name, texts(DIRECTORIES[name].max_tokens)
    model = reference.open_model(path)
    vectors = reference.encode(model, lines)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[np.triu_indices(len(lines), 1)]
    print(f"{name}: largest component {np.abs(vectors).max():.3f}")
    print(f"  cosines of different texts: min {cosines.min():.3f}, median {np.median(cosines):.3f}, max {cosines.max():.3f}")

    exact = reference.encode(reference.open_model(path).double(), lines)
    off = np.abs(exact - vectors).max(axis=1) / np.abs(vectors).max(axis=1)
    print(f"  f32 against f64: {off.max():.1e} of a vector's largest value")

    eager = reference.open_model(path, attn_implementation="eager")
    ids = torch.tensor(reference.token_ids(eager, [lines[4]]))
    with torch.inference_mode():
        attention = eager[0].model(ids, output_attentions=True).attentions
    for i, p in enumerate(attention):
        entropy = -(p * p.clamp_min(1e-30).log()).sum(-1)
        uniform = np.log(ids.shape[1])
        print(f"  layer {i}, {ids.shape[1]} tokens: entropy {entropy.mean():.2f} of {uniform:.2f}, largest weight of a row {p.max(-1).values.mean():.2f}")

    for what, mutate in MUTATIONS.items():
        other = copy.deepcopy(model)
        mutate(other)
        change = np.abs(reference.encode(other, lines) - vectors).max(axis=1) / np.abs(vectors).max(axis=1)
        print(f"  {what}: {change.max():.1e} of the largest value, at least {change.min():.1e}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="directories to make; all by default")
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write none of them")
    parser.add_argument("--figures", action="store_true", help="print entropy, cosines and the effect of mutations, write nothing")
    args = parser.parse_args()
    for name in args.names or DIRECTORIES:
        if args.figures:
            figures(name)
            continue
        if not args.check:
            DIRECTORIES[name].make(HERE / name)
        reference.finish(golden(name), HERE / name / "golden.json", args.check, tolerance=1e-5)


if __name__ == "__main__":
    main()
