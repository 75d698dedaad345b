"""Tiny models with random weights, one for each architecture that a GGUF file may hold."""

import json
import string
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling, Transformer
from transformers import AutoConfig, AutoModel, BertTokenizer, PreTrainedTokenizerFast, XLMRobertaTokenizer

TEXTS = [
    "", "cat", "the dog sat by the river and the cat ran", "Who MADE this little stone house, and when?", "caf\u00e9 \u00fcber stra\u00dfe",
    "\u4f60\u597d\u4e16\u754c", "  two   spaces\tand\na line ", "\uff21\uff22 \u2460 \ufb01n", "<mask> [MASK] </s> [SEP]", "unknown \U0001f600 x", "river " * 60,
]
WORDS = "the of and to in is it you that he was for on are with as his they at be this cat dog river stone house who made little when ran sat by two spaces line a".split()
SUFFIXES = "ing ed er ly s".split()
LIMIT = 40  # tokens


def word_pieces() -> dict[str, int]:
    letters = string.digits + string.ascii_lowercase + "\u00e9\u00fc\u00df\u4f60\u597d"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", *string.punctuation, *letters, *("##" + c for c in letters), *WORDS, *("##" + s for s in SUFFIXES)]
    return {p: i for i, p in enumerate(dict.fromkeys(pieces))}


def bert_tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab=word_pieces(), do_lower_case=True, strip_accents=False, model_max_length=LIMIT)


def unigram(folder: Path):
    """A SentencePiece model, and the tokenizer that transformers makes of it for XLM-RoBERTa."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    rules = folder / "rules.tsv"  # the released map takes 240 kB
    rules.write_text("FF21\t41\nFF22\t42\n2460\t31\nFB01\t66 69\n200B\t\n3000\t20\n9\t20\nA\t20\n")
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(" ".join(WORDS[(i + 7 * j) % len(WORDS)] for j in range(9)) for i in range(200)))
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_writer=out, vocab_size=80, model_type="unigram", hard_vocab_limit=False, minloglevel=2, normalization_rule_tsv=str(rules)
    )
    spm = proto.ModelProto()
    spm.ParseFromString(out.getvalue())
    charmap = spm.normalizer_spec.precompiled_charsmap
    pieces = [(p.piece, p.score) for p in spm.pieces]  # <unk> <s> </s> …
    vocab = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces[3:], ("<mask>", 0.0)]
    return spm, XLMRobertaTokenizer(vocab=vocab, _spm_precompiled_charsmap=charmap, model_max_length=LIMIT)


def byte_pairs(bos: bool) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<|end|>", "<|start|>"], initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False)
    tok.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    first = ["<|start|>"] if bos else []
    tok.post_processor = processors.TemplateProcessing(single=[*first, "$A", "<|end|>"], pair=[*first, "$A", "$B", "<|end|>"], special_tokens=[("<|end|>", 0), ("<|start|>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="<|end|>", eos_token="<|end|>", bos_token="<|start|>", model_max_length=LIMIT)


def sizes(**more) -> dict:
    return dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=320) | more


@dataclass
class Model:
    """One model: its config and what sentence-transformers puts around it."""

    model_type: str
    config: dict
    tokenizer: str  # word, unigram or bytes
    pooling: str = "mean"
    dense: tuple = ()
    keys: tuple = ()  # of config.json that a converted directory must have with the same value
    seed: int = field(default=0)

    def make(self, path: Path) -> None:
        path.mkdir(parents=True)
        tok = {"word": bert_tokenizer, "unigram": lambda: unigram(path)[1], "bytes": lambda: byte_pairs(self.model_type == "modernbert")}[self.tokenizer]()
        if self.tokenizer != "bytes":
            self.config["vocab_size"] = len(tok)
        torch.manual_seed(self.seed)
        # Attention that looks at something: weights of a normal width, not the initialiser's.
        cfg = AutoConfig.for_model(self.model_type, **self.config)
        model = AutoModel.from_config(cfg).eval()
        rng = np.random.RandomState(self.seed)
        with torch.no_grad():
            for name, p in model.named_parameters():
                x = rng.standard_normal(tuple(p.shape)).astype(np.float32)
                if p.dim() == 1:
                    scale, shift = (0.2, 0.0) if name.endswith("bias") or self.model_type == "gemma3_text" else (0.2, 1.0)
                    p.copy_(torch.from_numpy(scale * x + np.float32(shift)))
                else:
                    p.copy_(torch.from_numpy(x / np.float32(1 if "embed" in name else np.sqrt(p.shape[1]) / 2)))
        tok.save_pretrained(path)
        model.save_pretrained(path)
        modules = [Transformer(str(path)), Pooling(cfg.hidden_size, self.pooling)]
        modules[0].model = model  # as it was made
        width = cfg.hidden_size
        for out in self.dense:
            torch.manual_seed(out)
            modules.append(Dense(width, out, bias=False, activation_function=torch.nn.Identity()))
            width = out
        SentenceTransformer(modules=[*modules, Normalize()], device="cpu").save_pretrained(str(path), create_model_card=False)

    def original_config(self, path: Path) -> dict:
        config = json.loads((path / "config.json").read_text())
        rope = config.get("rope_parameters") or {}
        full = rope.get("full_attention", rope)
        if "rope_theta" in full:
            config["rope_theta"] = config["global_rope_theta"] = full["rope_theta"]
        if "sliding_attention" in rope:
            config["rope_local_base_freq"] = config["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
        return {k: config[k] for k in self.keys}


COMMON = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings")
BERT = (*COMMON, "layer_norm_eps", "hidden_act", "type_vocab_size", "pad_token_id")
DECODER = (*COMMON, "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta")

MODELS = {
    "bert": Model("bert", sizes(max_position_embeddings=LIMIT, num_hidden_layers=3), "word", keys=BERT),
    "xlmr": Model("xlm-roberta", sizes(max_position_embeddings=LIMIT + 2, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5),
                  "unigram", "cls", keys=BERT),
    "nomic": Model("nomic_bert", sizes(max_position_embeddings=LIMIT, rope_parameters={"rope_type": "default", "rope_theta": 1000.0}), "word"),
    "qwen2": Model("qwen2", sizes(num_key_value_heads=2, max_position_embeddings=LIMIT, rope_theta=1e6, rms_norm_eps=1e-6), "bytes", "lasttoken",
                   keys=tuple(k for k in DECODER if k != "head_dim")),
    "qwen3": Model("qwen3", sizes(num_key_value_heads=2, head_dim=16, max_position_embeddings=LIMIT, rope_theta=1e6), "bytes", "lasttoken", keys=DECODER),
    "llama": Model("llama", sizes(num_key_value_heads=2, max_position_embeddings=LIMIT, attention_bias=True), "bytes", "lasttoken", keys=(*DECODER, "attention_bias")),
    "gemma": Model("gemma3_text", sizes(num_hidden_layers=7, num_key_value_heads=1, head_dim=8, query_pre_attn_scalar=8, max_position_embeddings=LIMIT, sliding_window=8,
                                        use_bidirectional_attention=True), "bytes", "mean", dense=(48, 24),
                   keys=(*DECODER, "sliding_window", "use_bidirectional_attention", "query_pre_attn_scalar", "layer_types", "rope_local_base_freq", "hidden_activation")),
    "modern": Model("modernbert", sizes(num_hidden_layers=4, max_position_embeddings=LIMIT, local_attention=8, pad_token_id=0, cls_token_id=1, sep_token_id=0), "bytes", "cls",
                    keys=(*COMMON, "norm_eps", "local_attention", "global_rope_theta", "local_rope_theta", "hidden_activation")),
    "euro": Model("eurobert", sizes(num_key_value_heads=2, max_position_embeddings=LIMIT, rope_theta=250000.0, pad_token_id=0, bos_token_id=1, eos_token_id=0, mask_token_id=1),
                  "bytes", "mean", keys=DECODER),
}
