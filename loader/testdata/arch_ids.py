"""Makes arch_ids.json: token ids that transformers gives for texts and pairs with the tokenizers of ../../testdata/arch, cut to
several lengths at either end, as sentence-transformers calls it.

    python arch_ids.py

Made with transformers 5.23.0, tokenizers 0.23.3.
"""

import json
from pathlib import Path

from transformers import AutoTokenizer

HERE = Path(__file__).parent
ARCH = HERE.parent.parent / "testdata" / "arch"
# One of each tokenizer that differs.
NAMES = ["albert", "camembert", "deberta_v2", "eurobert", "gemma3", "modernbert", "mpnet", "nomic_bert", "qwen3", "roberta", "t5", "xlm_roberta"]
TEXTS = ["\0", "a\0b", "the\0 dog", " \0\0 cat\0", "caf\u00e9\0\u4f60\U0001f600", "\U0010ffff x"]
PAIRS = [
    ["", ""], ["cat", ""], ["", "the dog"], ["who made this?", "the dog ran"], ["the dog ran by the river and sat", "cat"], ["cat", "the dog ran by the river and sat"],
    ["the cat sat by the river", "the dog ran by the river and sat"], ["a b c d e f g h", "i j k l m n o p"], ["\u4f60\u597d", "\u043c\u0438\u0440 \0 </s> [SEP]"],
]
LIMITS = [None, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16]


def main() -> None:
    out = {"texts": TEXTS, "pairs": PAIRS, "limits": [n or 0 for n in LIMITS], "models": {}}
    for name in NAMES:
        rows = {}
        for side in ("right", "left"):
            t = AutoTokenizer.from_pretrained(ARCH / name, truncation_side=side)
            both = []
            for a, b in PAIRS:
                for limit in LIMITS:
                    e = t([[a, b]], truncation="longest_first" if limit else False, max_length=limit)
                    ids = e["input_ids"][0]
                    both.append([ids, e["token_type_ids"][0] if "token_type_ids" in e else [0] * len(ids)])
            rows[side] = both
        rows["ids"] = t(TEXTS)["input_ids"]
        out["models"][name] = rows
    (HERE / "arch_ids.json").write_text(json.dumps(out, separators=(",", ":")) + "\n", encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
