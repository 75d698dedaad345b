"""Small tokenizers of each family, as tokenizer.json and tokenizer_config.json spell them in released models."""

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tiny"))

from directories import ACCENTS, CJK, SUFFIXES, WORDS  # the words of the tiny BERT models
from directories import VOCABULARY as WORDPIECES

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CYRILLIC = "\u043c\u0438\u0440\u0432\u0430\u043e\u0434"
ARABIC = "\u0633\u0644\u0627\u0645"
PUNCTUATION = ".,?!()=*;:'-"


@dataclass
class Tokenizer:
    json: dict  # tokenizer.json
    config: dict  # tokenizer_config.json without model_max_length
    size: int  # rows of the embedding
    ids: dict[str, int]  # of the special tokens, by name

    def write(self, path: Path, max_length: int | None, **config) -> None:
        text = json.dumps(self.json, ensure_ascii=False, separators=(",", ":"))
        (path / "tokenizer.json").write_text(text + "\n", encoding="utf-8", newline="\n")
        limit = {} if max_length is None else {"model_max_length": max_length}
        text = json.dumps(self.config | limit | config, indent=2)
        (path / "tokenizer_config.json").write_text(text + "\n", encoding="ascii", newline="\n")


def _added(tokens: dict[str, int], lstrip: tuple[str, ...] = ()) -> list[dict]:
    return [
        {"id": i, "content": t, "single_word": False, "lstrip": t in lstrip, "rstrip": False, "normalized": False, "special": True}
        for t, i in sorted(tokens.items(), key=lambda item: item[1])
    ]


def _special(name: str, type_id: int = 0) -> dict:
    return {"SpecialToken": {"id": name, "type_id": type_id}}


def _sequence(name: str, type_id: int = 0) -> dict:
    return {"Sequence": {"id": name, "type_id": type_id}}


def _template(single: list[dict], pair: list[dict], ids: dict[str, int]) -> dict:
    used = {part["SpecialToken"]["id"] for part in single + pair if "SpecialToken" in part}
    return {
        "type": "TemplateProcessing", "single": single, "pair": pair,
        "special_tokens": {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in sorted(used)},
    }


def _bert_template(cls: str, sep: str, ids: dict[str, int], types: int = 1) -> dict:
    single = [_special(cls), _sequence("A"), _special(sep)]
    return _template(single, single + [_sequence("B", types), _special(sep, types)], ids)


def _whole(model: dict, added: list[dict], normalizer, pre_tokenizer, post_processor, decoder) -> dict:
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": decoder, "model": model,
    }


# WordPiece ------------------------------------------------------------------------------------------------------------

_BERT_NORMALIZER = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": False, "lowercase": True}


def wordpiece(unused: int = 0) -> Tokenizer:
    """unused: how many [unusedN] words follow, which a ColBERT model takes for its marks; they are no special tokens."""
    vocab = WORDPIECES | {f"[unused{i}]": len(WORDPIECES) + i for i in range(unused)}
    ids = {t: WORDPIECES[t] for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}
    whole = _whole(
        model, _added(ids), _BERT_NORMALIZER, {"type": "BertPreTokenizer"}, _bert_template("[CLS]", "[SEP]", ids),
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    config = {
        "tokenizer_class": "BertTokenizer", "do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": True,
        "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]",
    }
    return Tokenizer(whole, config, len(vocab), ids)


def wordpiece_unused() -> Tokenizer:
    return wordpiece(unused=2)


def mpnet() -> Tokenizer:
    """WordPiece with the specials of RoBERTa, as all-mpnet-base-v2."""
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = names + [p for p in WORDPIECES if p not in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")] + ["<mask>"]
    vocab = {p: i for i, p in enumerate(pieces)}
    ids = {t: vocab[t] for t in (*names, "[UNK]", "<mask>")}
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}
    post = {"type": "RobertaProcessing", "sep": ["</s>", vocab["</s>"]], "cls": ["<s>", vocab["<s>"]], "trim_offsets": True, "add_prefix_space": False}
    whole = _whole(model, _added(ids, lstrip=("<mask>",)), _BERT_NORMALIZER, {"type": "BertPreTokenizer"}, post, {"type": "WordPiece", "prefix": "##", "cleanup": True})
    config = {
        "tokenizer_class": "MPNetTokenizer", "do_lower_case": True, "strip_accents": False, "tokenize_chinese_chars": True, "bos_token": "<s>",
        "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "[UNK]", "mask_token": "<mask>",
    }
    return Tokenizer(whole, config, len(vocab), ids)


# Byte-level BPE -------------------------------------------------------------------------------------------------------

def _byte_alphabet() -> dict[int, str]:
    """The printable character that stands for each byte (GPT-2): itself where it is printable, else the next free one from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}


def _merges(words: Counter, count: int) -> list[tuple[str, str]]:
    """The most frequent pair joined, count times; the first in order where two are equally frequent."""
    split = {w: tuple(w) for w in words}
    merges = []
    for _ in range(count):
        pairs = Counter()
        for w, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[w]
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for w, parts in split.items():
            joined, i = [], 0
            while i < len(parts):
                step = 2 if parts[i : i + 2] == best else 1
                joined.append("".join(parts[i : i + step]))
                i += step
            split[w] = tuple(joined)
    return merges


def _corpus(space: str, prefix: bool) -> Counter:
    weights = {w: 2 + (len(WORDS) - i) // 8 for i, w in enumerate(WORDS)}
    out = Counter({space + w: n for w, n in weights.items()})
    if prefix:
        out += Counter({w: 1 for w in weights})
    return out


_BYTES = _byte_alphabet()
_BYTE_MERGES = _merges(_corpus("\u0120", True), 90)
_BYTE_DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
_QWEN_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3_SPLIT = _QWEN_SPLIT.replace(r"\p{N}| ", r"\p{N}{1,3}| ")


def _byte_bpe(first: list[str], last: list[str], lstrip: tuple[str, ...] = ()) -> tuple[dict, dict[str, int], int, list[dict]]:
    pieces = first + sorted(_BYTES.values()) + ["".join(m) for m in _BYTE_MERGES]
    vocab = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
    ids = {t: vocab[t] for t in first} | {t: len(vocab) + i for i, t in enumerate(last)}
    model = {
        "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
        "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": [" ".join(m) for m in _BYTE_MERGES],
    }
    return model, ids, len(vocab) + len(last), _added(ids, lstrip)


def roberta() -> Tokenizer:
    model, ids, size, added = _byte_bpe(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"], lstrip=("<mask>",))
    post = {"type": "RobertaProcessing", "sep": ["</s>", ids["</s>"]], "cls": ["<s>", ids["<s>"]], "trim_offsets": True, "add_prefix_space": False}
    whole = _whole(model, added, None, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}, post, _BYTE_DECODER)
    config = {
        "tokenizer_class": "RobertaTokenizer", "add_prefix_space": False, "trim_offsets": True, "errors": "replace", "bos_token": "<s>", "eos_token": "</s>",
        "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>",
    }
    return Tokenizer(whole, config, size, ids)


def modernbert() -> Tokenizer:
    model, ids, size, added = _byte_bpe([], ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], lstrip=("[MASK]",))
    whole = _whole(
        model, added, {"type": "NFC"}, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        _bert_template("[CLS]", "[SEP]", ids, types=0), _BYTE_DECODER,
    )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": True, "model_input_names": ["input_ids", "attention_mask"],
        "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]",
    }
    return Tokenizer(whole, config, size, ids)


def _split_bytes(pattern: str) -> dict:
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
    ]}


_BYTE_POST = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def qwen() -> Tokenizer:
    """As Qwen3-Embedding: the end-of-text token is added by the template."""
    model, ids, size, added = _byte_bpe([], ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    end = _special("<|endoftext|>")
    template = _template([_sequence("A"), end], [_sequence("A"), end, _sequence("B", 1), _special("<|endoftext|>", 1)], ids)
    whole = _whole(model, added, {"type": "NFC"}, _split_bytes(_QWEN_SPLIT), {"type": "Sequence", "processors": [_BYTE_POST, template]}, _BYTE_POST)
    config = {
        "tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "add_prefix_space": False, "bos_token": None, "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "errors": "replace", "pad_token": "<|endoftext|>", "split_special_tokens": False, "unk_token": None,
    }
    return Tokenizer(whole, config, size, ids)


def llama3() -> Tokenizer:
    """As EuroBERT."""
    model, ids, size, added = _byte_bpe([], ["<|begin_of_text|>", "<|end_of_text|>", "<|mask|>", "<|pad|>"])
    single = [_special("<|begin_of_text|>"), _sequence("A"), _special("<|end_of_text|>")]
    template = _template(single, single + [_sequence("B", 1), _special("<|end_of_text|>", 1)], ids)
    whole = _whole(model, added, None, _split_bytes(_LLAMA3_SPLIT), {"type": "Sequence", "processors": [_BYTE_POST, template]}, _BYTE_POST)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "mask_token": "<|mask|>",
        "pad_token": "<|pad|>", "clean_up_tokenization_spaces": True, "model_input_names": ["input_ids", "attention_mask"],
    }
    return Tokenizer(whole, config, size, ids)


# BPE over characters with bytes to fall back on -----------------------------------------------------------------------

def gemma() -> Tokenizer:
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    merges = _merges(_corpus("\u2581", True), 60)
    letters = sorted(set("\u2581" + LETTERS + "0123456789" + ACCENTS + CJK + CYRILLIC + PUNCTUATION))
    pieces = first + [f"<0x{b:02X}>" for b in range(256)] + letters + ["".join(m) for m in merges]
    vocab = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
    ids = {t: vocab[t] for t in first}
    model = {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
        "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": [list(m) for m in merges],
    }
    single = [_special("<bos>"), _sequence("A"), _special("<eos>")]
    post = _template(single, single + [_special("<bos>", 1), _sequence("B", 1), _special("<eos>", 1)], ids)
    whole = _whole(
        model, _added(ids), {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}, post,
        {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
    )
    config = {
        "tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": True, "bos_token": "<bos>", "eos_token": "<eos>",
        "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>", "clean_up_tokenization_spaces": False,
    }
    return Tokenizer(whole, config, len(vocab), ids)


# Unigram --------------------------------------------------------------------------------------------------------------

_SPACE = "\u2581"


def _pieces() -> list[tuple[str, float]]:
    """Words, endings and letters with scores as log probabilities: frequent words cost least, single letters most."""
    words = [(_SPACE + w, -3.0 - 0.02 * i) for i, w in enumerate(WORDS)]
    ends = [(s, -6.0 - 0.1 * i) for i, s in enumerate(dict.fromkeys([*SUFFIXES, "s", "y", "in", "on", "th", "st"]))]
    letters = dict.fromkeys(LETTERS + "0123456789" + ACCENTS + CJK + CYRILLIC + ARABIC + PUNCTUATION)
    singles = [(c, -9.0 - 0.03 * i) for i, c in enumerate(letters)]
    return list(dict([(_SPACE, -4.5), *words, *singles, *ends]).items())


_METASPACE = {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": True}
_SPLIT_METASPACE = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, _METASPACE]}


def _unigram(first: list[tuple[str, float]], last: list[str], unk: int, specials: list[str], normalizer, pre_tokenizer, template, config, lstrip=()) -> Tokenizer:
    vocab = first + _pieces() + [(t, 0.0) for t in last]
    number = {p: i for i, (p, _) in enumerate(vocab)}
    assert len(number) == len(vocab)
    ids = {t: number[t] for t in specials}
    model = {"type": "Unigram", "unk_id": unk, "vocab": [list(p) for p in vocab], "byte_fallback": False}
    return Tokenizer(_whole(model, _added(ids, lstrip), normalizer, pre_tokenizer, template(ids), _METASPACE), config, len(vocab), ids)


def _roberta_template(ids: dict[str, int]) -> dict:
    single = [_special("<s>"), _sequence("A"), _special("</s>")]
    return _template(single, single + [_special("</s>"), _sequence("B"), _special("</s>")], ids)


_ROBERTA_SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}


def xlm_roberta() -> Tokenizer:
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    config = {"tokenizer_class": "XLMRobertaTokenizer"} | _ROBERTA_SPECIALS
    return _unigram([(t, 0.0) for t in names], ["<mask>"], 3, [*names, "<mask>"], None, _SPLIT_METASPACE, _roberta_template, config, lstrip=("<mask>",))


def camembert() -> Tokenizer:
    """Two spellings of each special token, of which one is not used; <s> is 5, </s> is 6."""
    first = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0), ("<s>", 0.0), ("</s>", 0.0)]
    specials = ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>", "<mask>"]
    config = {"tokenizer_class": "CamembertTokenizer", "additional_special_tokens": ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"]} | _ROBERTA_SPECIALS
    return _unigram(first, ["<mask>"], 3, specials, None, _SPLIT_METASPACE, _roberta_template, config, lstrip=("<mask>",))


def t5() -> Tokenizer:
    names = ["<pad>", "</s>", "<unk>"]
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "additional_special_tokens": []}

    def template(ids):
        single = [_sequence("A"), _special("</s>")]
        return _template(single, single + [_sequence("B"), _special("</s>")], ids)

    return _unigram([(t, 0.0) for t in names], [], 2, names, None, _SPLIT_METASPACE, template, config)


def albert() -> Tokenizer:
    """unk_id is not the first special, and the normaliser lower-cases and drops accents."""
    names = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    replace = [{"type": "Replace", "pattern": {"String": q}, "content": '"'} for q in ("``", "''")]
    normalizer = {"type": "Sequence", "normalizers": [*replace, {"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "[CLS]", "eos_token": "[SEP]", "cls_token": "[CLS]", "sep_token": "[SEP]",
        "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "[MASK]", "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    return _unigram(
        [(t, 0.0) for t in names], [], 1, names, normalizer, _SPLIT_METASPACE, lambda ids: _bert_template("[CLS]", "[SEP]", ids), config, lstrip=("[MASK]",)
    )


def deberta_v2() -> Tokenizer:
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "[CLS]", "eos_token": "[SEP]", "cls_token": "[CLS]", "sep_token": "[SEP]",
        "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]", "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
    }
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]}
    return _unigram(
        [(t, 0.0) for t in names], ["[MASK]"], 3, [*names, "[MASK]"], normalizer, _METASPACE, lambda ids: _bert_template("[CLS]", "[SEP]", ids), config
    )


FAMILIES = {f.__name__: f for f in (wordpiece, wordpiece_unused, mpnet, roberta, modernbert, qwen, llama3, gemma, xlm_roberta, camembert, t5, albert, deberta_v2)}
