"""Writes minilm_ids.json: token ids of all-MiniLM-L6-v2 by the tokenizers package.

    pip install tokenizers
    python minilm_ids.py MODEL_DIR > minilm_ids.json

As sentence-transformers does, tokenizer.json's own padding and truncation are
dropped and texts are cut at the model's 256 tokens. Texts that are not UTF-8 or
hold U+0000 are in the Go tests.
"""

import json
import sys

from tokenizers import Tokenizer

TEXTS = [
    "",
    "   \t\n ",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "ÀÉÎÕÜ naïve café Ångström",
    "cafe\u0301 e\u0301e\u0302 \u0301",
    "\u0301\u0302",
    "日本語のテキスト 中文文本 한국어",
    "مرحبا بالعالم שלום עולם",
    "emoji 😀 👩‍👩‍👧 🇩🇪 end",
    "[CLS] a [SEP] b [MASK] [PAD] [UNK]",
    "[sep] [Sep] [ SEP ]",
    "func main() { fmt.Println(\"hi\\n\") } // x != y && z",
    "don't can't it's we're",
    "1234567890 3.14159 1e-12 $99.99 50%",
    "zero\u200bwidth soft\u00adhyphen bidi\u202emark bom\ufeff",
    "replacement \ufffd and nbsp\u00a0here\u3000there",
    "İstanbul ΣΊΣΥΦΟΣ ǅ ﬁ ﬂ ½ ②",
    "a" * 100,
    "a" * 101,
    "x" * 5_000,
    "word " * 300,
    "Line one\nLine two\r\nLine three\u2028four",
    "control \x01\x02\x7f\x85 chars",
    "https://example.com/path?query=1&other=two#frag user@example.org",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "นี่คือข้อความภาษาไทย Это русский текст Ελληνικά",
    "𝕄𝕒𝕥𝕙 𠀀𠀁 \U0001f9d1\u200d\U0001f4bb",
]


def main():
    tokenizer = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(256, strategy="longest_first")
    ids = [tokenizer.encode(text).ids for text in TEXTS]
    json.dump({"texts": TEXTS, "ids": ids}, sys.stdout, separators=(",", ":"))
    print()


main()
