"""How the tiny model directories are made: vocabulary, random weights, and the files of each spelling."""

import json
import shutil
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer

MAX_TOKENS = 40
OLD_MAX_TOKENS = 24  # what the directory "old" says in sentence_bert_config.json

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of and to in is it a was for on are with as his they at be this from have or by one had not but what all were
when we there can an your which their said if do will each about how up out them then she many some so these would other into
has more her two like him see time could no make than first been its who now people my made over did down only way find use
may water long little very after words called just where most know find text sort un re cat dog house tree sun moon river
stone name good sentence man think say great help through much before line right too mean old any same tell boy follow came
want show also around form three small set put end""".split()
SUFFIXES = "ing ed er ly es tion able ment ness al un re".split()
ACCENTS = "\u00e9\u00e8\u00fc\u00f6\u00e4\u00f1\u00e7\u00df\u0142"
CJK = "\u4f60\u597d\u4e16\u754c\u65e5\u672c\u8a9e\u4e2d\u56fd\u5927\u5c0f\u6c34\u706b\u5c71"


def vocabulary() -> dict[str, int]:
    pieces = SPECIAL + list(string.punctuation) + list(string.digits + string.ascii_lowercase + ACCENTS + CJK)
    pieces += ["##" + c for c in string.digits + string.ascii_lowercase + ACCENTS + "\u0301"] + WORDS + ["##" + s for s in SUFFIXES]
    return {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}


VOCABULARY = vocabulary()


def texts(limit: int) -> list[str]:
    """Texts for a model that takes that many tokens, [CLS] and [SEP] among them: every length that is an edge, and ordinary ones."""
    def of_length(tokens: int, start: int) -> str:
        return " ".join(WORDS[(start + 7 * i) % len(WORDS)] for i in range(tokens - 2))

    return [
        "",
        "cat",
        "the dog",
        of_length(limit - 1, 3),
        of_length(limit, 11),
        of_length(limit + 1, 29),
        of_length(limit + 50, 42),
        "the cat sat by the river and the dog ran",
        "the dog sat by the river and the cat ran",
        "Who MADE this little stone house, and when?",
        "caf\u00e9 \u00fcber stra\u00dfe \u0142\u00f3dz cafe\u0301",
        "\u4f60\u597d\u4e16\u754c \u65e5\u672c\u8a9e\u3002",
        "\u043c\u0438\u0440 \U0001f600 x",
        "zero\u0000one",
        "[MASK] sun [SEP] moon",
        "a1b2c3 3.14 = x**2; (unreadable)",
        "water water water water",
    ]


# Token ids given as they are, without special tokens: one token, two, the pad id among others, the longest.
RAW_IDS = [
    [3],
    [2, 3],
    [150, 0, 150],
    [(17 * i + 5) % len(VOCABULARY) for i in range(MAX_TOKENS)],
]


def config(**changes) -> BertConfig:
    base = dict(
        vocab_size=len(VOCABULARY), hidden_size=60, num_attention_heads=5, intermediate_size=100, num_hidden_layers=3,
        max_position_embeddings=MAX_TOKENS, type_vocab_size=2, layer_norm_eps=1e-3, hidden_act="gelu", pad_token_id=0,
    )
    return BertConfig(**(base | changes))


# Standard deviation of what each matrix gives for inputs of unit variance. Large queries and keys make attention peaked; a small
# attention output keeps the tokens of a text, and so the vectors of texts, apart from each other through the layers.
GAINS = {"word": 1.5, "position": 0.5, "query": 2.0, "key": 2.0, "value": 1.0, "attention.output": 0.6, "intermediate": 1.4}


def weights(cfg: BertConfig, seed: int) -> dict[str, torch.Tensor]:
    """Random weights that leave nothing near zero: peaked attention, a type row far from zero, norms that scale and shift."""
    rng = np.random.RandomState(seed)  # its stream is frozen, unlike that of newer generators
    shapes = {name: tuple(t.shape) for name, t in BertModel(cfg, add_pooling_layer=False).state_dict().items()}

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name == "embeddings.token_type_embeddings.weight":
            return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.4, 0.8, shape)
        if "LayerNorm.weight" in name:
            return rng.uniform(0.5, 1.5, shape)
        if name.endswith("bias"):
            return 0.2 * rng.standard_normal(shape)
        part = next((gain for key, gain in GAINS.items() if key in name), 1.0)
        fan_in = 1 if "embeddings" in name else shape[1]
        matrix = part / np.sqrt(fan_in) * rng.standard_normal(shape)
        if name.endswith("output.dense.weight"):
            # What enters has a mean of its own (GELU's is positive): rows that sum to zero keep it from becoming one vector for all texts.
            matrix -= matrix.mean(axis=1, keepdims=True)
        return matrix

    tensors = {name: torch.from_numpy(draw(name, shape).astype(np.float32)) for name, shape in shapes.items()}
    centre(cfg, tensors)
    return tensors


def centre(cfg: BertConfig, tensors: dict[str, torch.Tensor]) -> None:
    """Takes what the vectors of all texts share, [CLS] and [SEP] above all, out of the last bias, so that their directions differ.
    One decimal: another machine gets the same bias."""
    bert = BertModel(cfg, add_pooling_layer=False).eval()
    bert.load_state_dict(tensors)
    lines = BertTokenizer(vocab=VOCABULARY, strip_accents=False)(texts(MAX_TOKENS), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    with torch.inference_mode():
        means = [bert(torch.tensor([ids])).last_hidden_state[0].mean(0) for ids in lines]
    bias = f"encoder.layer.{cfg.num_hidden_layers - 1}.output.LayerNorm.bias"
    tensors[bias] = (tensors[bias] - torch.stack(means).mean(0)).mul(10).round().div(10)


def dense(inputs: int, outputs: int, seed: int, **kwargs) -> Dense:
    rng = np.random.RandomState(seed)
    layer = Dense(inputs, outputs, **kwargs)
    state = {
        name: torch.from_numpy((rng.standard_normal(tuple(p.shape)) / np.sqrt(inputs)).astype(np.float32))
        for name, p in layer.state_dict().items()
    }
    layer.load_state_dict(state)
    return layer


@dataclass
class Directory:
    """One model directory: what it differs in from the plain one, in the config, in the modules after the encoder, and in the files."""

    note: str
    config: dict = field(default_factory=dict)
    seed: int = 1
    pooling: str | tuple[str, ...] = "mean"
    include_prompt: bool = True
    after: Callable[[], list] = list  # modules after pooling
    model: dict = field(default_factory=dict)  # arguments of SentenceTransformer
    rewrite: Callable[[Path], None] | None = None  # last, on the written files
    max_tokens: int = MAX_TOKENS

    def make(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        cfg = config(**self.config)
        bert = BertModel(cfg, add_pooling_layer=False)
        bert.load_state_dict(weights(cfg, self.seed))
        bert.save_pretrained(path)
        BertTokenizer(vocab=VOCABULARY, do_lower_case=True, strip_accents=False, model_max_length=MAX_TOKENS).save_pretrained(path)
        modules = [Transformer(str(path)), Pooling(cfg.hidden_size, self.pooling, include_prompt=self.include_prompt)]
        # The encoder is saved as it was made: loading it gave it a pooler that this directory does not have.
        modules[0].model = bert
        SentenceTransformer(modules=modules + self.after(), device="cpu", **self.model).save_pretrained(str(path), create_model_card=False)
        if self.rewrite:
            self.rewrite(path)
        for file in path.rglob("*.safetensors"):
            file.chmod(0o644)


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="ascii", newline="\n")


def edit_json(path: Path, **changes) -> None:
    """Sets keys; a value of None removes the key."""
    value = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {k: v for k, v in value.items() if v is not None})


def save_weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file({k: v.contiguous() for k, v in tensors.items()}, path / "model.safetensors", metadata={"format": "pt"})


def to_dtype(dtype: torch.dtype) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        save_weights(path, {k: v.to(dtype) for k, v in load_file(path / "model.safetensors").items()})
        edit_json(path / "config.json", dtype=str(dtype).removeprefix("torch."))

    return rewrite


def to_shards(path: Path) -> None:
    bert = BertModel.from_pretrained(path, add_pooling_layer=False)
    (path / "model.safetensors").unlink()
    bert.save_pretrained(path, max_shard_size="150KB")


def to_legacy_names(path: Path) -> None:
    """The names of the first BERT releases: gamma and beta, a prefix, and a language-model head that no encoder uses."""
    tensors = load_file(path / "model.safetensors")
    renamed = {
        "bert." + k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
        for k, v in tensors.items()
    }
    renamed["cls.predictions.bias"] = torch.ones(len(VOCABULARY))
    renamed["cls.seq_relationship.weight"] = torch.ones(2, 60)
    save_weights(path, renamed)
    edit_json(path / "config.json", architectures=["BertForPreTraining"])


def to_plain(path: Path) -> None:
    """What transformers alone writes."""
    shutil.rmtree(path / "1_Pooling")
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (path / name).unlink()


def to_old_spelling(path: Path) -> None:
    """What releases up to 5.3 wrote, with the traps of real directories: a tokenizer.json that pads and truncates, a tokenizer_config
    that allows more than the model, a module whose folder is missing, and tensors that nothing uses."""
    shutil.rmtree(path / "2_Normalize", ignore_errors=True)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(path / "modules.json", [
        {"idx": i, "name": str(i), "path": folder, "type": f"sentence_transformers.models.{kind}"} for i, (folder, kind) in enumerate(kinds)
    ])
    write_json(path / "sentence_bert_config.json", {"max_seq_length": OLD_MAX_TOKENS, "do_lower_case": False})
    made_with = {"sentence_transformers": "2.0.0", "transformers": "4.6.1", "pytorch": "1.8.1"}
    write_json(path / "config_sentence_transformers.json", {"__version__": made_with})
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    write_json(path / "1_Pooling" / "config.json", {"word_embedding_dimension": 60} | {f"pooling_mode_{mode}": True for mode in modes})
    edit_json(path / "config.json", dtype=None, torch_dtype="float32", transformers_version="4.6.1",
              position_embedding_type="absolute", gradient_checkpointing=False, _name_or_path="tiny")
    edit_json(path / "tokenizer_config.json", model_max_length=512)
    edit_json(
        path / "tokenizer.json",
        truncation={"max_length": 16, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        padding={"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    )
    (path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8", newline="\n")
    tensors = load_file(path / "model.safetensors")
    tensors["embeddings.position_ids"] = torch.arange(MAX_TOKENS).unsqueeze(0)
    tensors["pooler.dense.weight"], tensors["pooler.dense.bias"] = torch.ones(60, 60), torch.ones(60)
    save_weights(path, tensors)


def without_document_prompt(path: Path) -> None:
    """The installed release always writes a document prompt; older ones wrote only what they were given."""
    edit_json(path / "config_sentence_transformers.json", prompts={"query": "find: ", "passage": "text: "})


PROMPTS = {"query": "find: ", "document": "text: ", "sort": "sort this: ", "joined": "un"}
ALL_MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")

DIRECTORIES = {
    "mean": Directory("mean pooling; files as sentence-transformers 6.2 writes them"),
    "cls": Directory("first token", pooling="cls"),
    "max": Directory("maximum over tokens", pooling="max"),
    "mean_sqrt_len": Directory("sum over tokens by the root of their number", pooling="mean_sqrt_len_tokens"),
    "weightedmean": Directory("mean weighted by position, from 1", pooling="weightedmean"),
    "lasttoken": Directory("last token", pooling="lasttoken"),
    "modes": Directory("three modes at once, concatenated in the order of the list", pooling=("lasttoken", "mean", "cls")),
    "normalize": Directory("mean, Normalize", after=lambda: [Normalize()]),
    "dense": Directory("mean, Dense 60 to 48 with Tanh, Normalize", after=lambda: [dense(60, 48, 7), Normalize()]),
    "dense_identity": Directory(
        "mean, Dense 60 to 20 with Identity and no bias",
        after=lambda: [dense(60, 20, 8, bias=False, activation_function=torch.nn.Identity())],
    ),
    "prompts": Directory(
        "four prompts, one the default; prompt tokens left out of mean pooling",
        include_prompt=False, model={"prompts": PROMPTS, "default_prompt_name": "sort"},
    ),
    "prompts_modes": Directory(
        "a prompt for queries; all six pooling modes, in their fixed order, without the prompt's tokens",
        pooling=ALL_MODES, include_prompt=False, model={"prompts": {"query": PROMPTS["query"]}},
    ),
    "prompts_passage": Directory(
        "prompts query and passage, none of them document, no default; prompt tokens pooled",
        model={"prompts": {"query": "find: ", "passage": "text: "}}, rewrite=without_document_prompt,
    ),
    "truncate_dim": Directory("mean, Normalize, then the first 24 components, not normalised again", after=lambda: [Normalize()], model={"truncate_dim": 24}),
    "gelu_new": Directory("GELU by tanh", config={"hidden_act": "gelu_new"}),
    "relu": Directory("ReLU", config={"hidden_act": "relu"}),
    "old": Directory(
        "files as releases up to 5.3 wrote them; all six pooling modes by booleans; 24 tokens at most", pooling=ALL_MODES,
        after=lambda: [Normalize()], rewrite=to_old_spelling, max_tokens=OLD_MAX_TOKENS,
    ),
    "plain": Directory("no modules.json: a directory of transformers alone", rewrite=to_plain),
    "legacy": Directory("tensor names with bert. prefix, gamma and beta, and unused heads", rewrite=to_legacy_names),
    "f16": Directory("weights in F16", rewrite=to_dtype(torch.float16)),
    "bf16": Directory("weights in BF16", rewrite=to_dtype(torch.bfloat16)),
    "sharded": Directory("weights in shards with an index", rewrite=to_shards),
    "head24": Directory(
        "hidden 72, 3 heads of 24, intermediate 130, 2 layers", seed=2,
        config=dict(hidden_size=72, num_attention_heads=3, intermediate_size=130, num_hidden_layers=2),
    ),
    "head11": Directory(
        "hidden 33, 3 heads of 11, intermediate 37, 2 layers", seed=3,
        config=dict(hidden_size=33, num_attention_heads=3, intermediate_size=37, num_hidden_layers=2),
    ),
}
