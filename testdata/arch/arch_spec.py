"""One directory: what it is made of, and how its files are written in the spelling that released models have."""

import json
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Callable

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer as Tokenizers

import arch_texts
from arch_tokenizers import FAMILIES, Tokenizer
from arch_weights import draw

NEW_TYPES = {  # where 6.2 says that a module lives
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}
MADE_WITH = {
    "old": {"sentence_transformers": "3.0.1", "transformers": "4.41.2", "pytorch": "2.3.1"},
    "new": {"sentence_transformers": "6.2.0", "transformers": "5.23.0", "pytorch": "2.15.0"},
}


def write_json(path: Path, value) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="ascii", newline="\n")


def dense_layer(inputs: int, outputs: int, seed: int, bias: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {"linear.weight": torch.randn(outputs, inputs, generator=generator) / inputs**0.5}
    return tensors | ({"linear.bias": 0.2 * torch.randn(outputs, generator=generator)} if bias else {})


@dataclass
class Directory:
    """An embedding model; other kinds add what they need by `modules`, which writes its files after the encoder's."""

    note: str
    tokenizer: str  # family
    config: Callable[[Tokenizer], dict]  # config.json in its released spelling
    model: str = "AutoModel"  # the class of transformers whose tensors the file holds; "FILE.CLASS" for a reference of our own
    kind: str = "embed"
    seed: int = 1
    max_tokens: int = 40
    window: int | None = None
    pooling: str = "mean"
    spelling: str = "old"
    after: tuple = ("Normalize",)  # or ("Dense", outputs, bias, activation)
    prompts: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)  # more of config_sentence_transformers.json
    limit_in: str = "sentence_bert_config"  # or "tokenizer": where the directory says how many tokens it takes
    names: Callable[[str], str] = str  # from the names that transformers writes to those of the file
    dtype: torch.dtype = torch.float32
    weights: dict = field(default_factory=dict)  # arguments of draw
    centre: str | None = None  # the bias of the last norm: takes out what the vectors of all texts share
    code: tuple[str, str, str] | None = None  # file, config class, model class of the reference that stands in for code of its own
    eager: bool = True  # whether there is another way to attend to compare with
    stateful: bool = False  # whether one text changes the next: not compared in batches
    tasks: tuple[str, ...] = ()
    pad_id: int = 1
    mutations: dict = field(default_factory=dict)
    modules: Callable | None = None
    routed: bool = False
    tokenizer_folder: str = "."

    @cached_property
    def family(self) -> Tokenizer:
        return FAMILIES[self.tokenizer]()

    def raw_ids(self) -> list[list[int]]:
        """One token, two, the pad id among others, the longest."""
        size, first = self.family.size, min(set(range(5)) - {self.pad_id})
        return [[first], [first, 100], [120, self.pad_id, 120, 7], [(17 * i + 5) % size for i in range(self.max_tokens)]]

    def make(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        if self.kind in ("static", "router"):
            self.modules(self, path)
            return
        self.write_encoder(path)
        if self.modules is not None:
            self.modules(self, path)
        elif self.kind == "embed":
            self.write_modules(path)

    def write_encoder(self, path: Path) -> None:
        write_json(path / "config.json", self.config(self.family))
        limit = self.max_tokens if self.limit_in == "tokenizer" else 512
        self.family.write(path, limit)
        tensors, written = self.tensors(path)
        assert set(tensors) == set(written), set(tensors) ^ set(written)
        kept = {self.names(k): written[k].to(self.dtype).contiguous() for k in sorted(written)}
        save_file(kept, path / "model.safetensors", metadata={"format": "pt"})
        (path / "model.safetensors").chmod(0o644)

    def _class(self):
        if "." not in self.model:
            return getattr(transformers, self.model)
        file, name = self.model.split(".")
        return getattr(import_module(file), name)

    def build(self, path: Path):
        """The model with its shapes, from the config.json of the directory."""
        cls = self._class()
        if "." in self.model:
            return cls(cls.config_class(**json.loads((path / "config.json").read_text())))
        config = transformers.AutoConfig.from_pretrained(path)
        return cls.from_config(config) if cls.__name__.startswith("AutoModel") else cls(config)

    def tensors(self, path: Path) -> tuple[dict, dict]:
        """The tensors as the file names them, twice: the names that transformers writes, and what it writes."""
        model = self.build(path).float().eval()
        state = {k: v for k, v in model.state_dict().items() if not k.endswith(("position_ids", "token_type_ids", "inv_freq"))}
        tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
        own = {k: tuple(v.shape) for k, v in state.items() if k not in tied and not k.startswith("pooler.") or "Sequence" in self.model}
        state.update(draw(own, self.seed, **self.weights))
        for target, source in (getattr(model, "all_tied_weights_keys", {}) or {}).items():
            state[target] = state[source]
        model.load_state_dict(state, strict=False)
        if self.centre:
            self._centre(path, model)
        if "." in self.model:
            return model.state_dict(), model.state_dict()
        if getattr(model, "pooler", None) is not None and self.kind == "embed":
            model.pooler = None  # no embedding uses it
        with tempfile.TemporaryDirectory() as temporary:
            model.save_pretrained(temporary)
            written = load_file(Path(temporary) / "model.safetensors")
        return written, written

    def _centre(self, path: Path, model) -> None:
        tokenizer = Tokenizers.from_file(str(path / "tokenizer.json"))
        lines = arch_texts.texts(self.max_tokens, lambda t: len(tokenizer.encode(t).ids))
        rows, means = [torch.tensor([tokenizer.encode(t).ids[: self.max_tokens]]) for t in lines], []
        for task in self.tasks or (None,):
            if task:
                model.set_task(task)
            with torch.inference_mode():
                means += [model(row).last_hidden_state[0].mean(0) for row in rows]
        bias = model.get_parameter(self.centre)
        bias.data = (bias.data - torch.stack(means).mean(0)).mul(10).round().div(10)  # one decimal: the same on any machine

    def width(self, path: Path) -> int:
        config = json.loads((path / "config.json").read_text())
        return next(config[k] for k in ("hidden_size", "d_model", "dim", "n_embd") if k in config)

    def write_modules(self, path: Path) -> None:
        """modules.json, pooling and what follows, prompts and limit, in the spelling of releases up to 5.3 or of 6.2."""
        width, listed = self.width(path), [("", "Transformer"), ("1_Pooling", "Pooling")]
        if self.spelling == "old":
            modes = ("cls", "mean", "max", "mean_sqrt_len", "weightedmean", "lasttoken")
            suffix = {"cls": "cls_token", "lasttoken": "lasttoken", "weightedmean": "weightedmean_tokens"}
            booleans = {f"pooling_mode_{suffix.get(m, m + '_tokens')}": m == self.pooling for m in modes}
            write_json(path / "1_Pooling" / "config.json", {"word_embedding_dimension": width} | booleans | {"include_prompt": True})
        else:
            write_json(path / "1_Pooling" / "config.json", {"embedding_dimension": width, "pooling_mode": self.pooling, "include_prompt": True})
        for i, module in enumerate(self.after, 2):
            if module == "Normalize":
                listed.append((f"{i}_Normalize", "Normalize"))
                if self.spelling == "new":
                    write_json(path / f"{i}_Normalize" / "config.json", {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"})
                continue
            _, outputs, bias, activation = module
            listed.append((f"{i}_Dense", "Dense"))
            values = {"in_features": width, "out_features": outputs, "bias": bias, "activation_function": activation}
            write_json(path / f"{i}_Dense" / "config.json", values)
            save_file(dense_layer(width, outputs, self.seed + i, bias), path / f"{i}_Dense" / "model.safetensors", metadata={"format": "pt"})
            (path / f"{i}_Dense" / "model.safetensors").chmod(0o644)
            width = outputs
        kinds = {k: NEW_TYPES[k] if self.spelling == "new" else f"sentence_transformers.models.{k}" for _, k in listed}
        if self.tasks:
            kinds["Transformer"] = "custom_st.Transformer"
        entries = [{"idx": i, "name": str(i), "path": folder, "type": kinds[k]} for i, (folder, k) in enumerate(listed)]
        if self.tasks:
            entries[0]["kwargs"] = ["task"]
        write_json(path / "modules.json", entries)
        settings = {"__version__": MADE_WITH[self.spelling], "prompts": self.prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"}
        write_json(path / "config_sentence_transformers.json", settings | self.settings)
        if self.limit_in == "sentence_bert_config":
            write_json(path / "sentence_bert_config.json", {"max_seq_length": self.max_tokens, "do_lower_case": False})
        elif self.spelling == "new":
            text = {"method": "forward", "method_output_name": "last_hidden_state"}
            write_json(path / "sentence_bert_config.json", {"transformer_task": "feature-extraction", "modality_config": {"text": text}, "module_output_name": "token_embeddings"})
