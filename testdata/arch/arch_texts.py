"""The texts of the directories: every length that is an edge for a model, and ordinary ones in several scripts."""

import sys
from pathlib import Path
from typing import Callable

sys.path.insert(0, str(Path(__file__).parent.parent / "tiny"))

from directories import WORDS

SENTENCES = [
    "the cat sat by the river and the dog ran",
    "the dog sat by the river and the cat ran",
    "Who MADE this little stone house, and when?",
    "caf\u00e9 \u00fcber stra\u00dfe \u0142\u00f3dz cafe\u0301",
    "\u4f60\u597d\u4e16\u754c \u65e5\u672c\u8a9e\u3002",
    "\u043c\u0438\u0440, \u0432\u043e\u0434\u0430; \u0633\u0644\u0627\u0645 \u0e01\u0e02 \U0001f600 x",
    "[MASK] sun [SEP] moon </s> <mask>",
    "a1b2c3 3.14 = x**2; (unreadable)",
    "  water  water\twater\nwater ",
]


def of_length(tokens: int, start: int, count: Callable[[str], int]) -> str:
    """Words, then commas where a word would be too much: exactly that many tokens by count, which counts special tokens too."""
    text, words = "", [WORDS[(start + 7 * i) % len(WORDS)] for i in range(len(WORDS))]
    i = 0
    while (left := tokens - count(text)) > 0:
        word = words[i % len(words)]
        i += 1
        longer = f"{text} {word}".strip()
        if count(longer) > tokens:
            longer = text + ","
        if not text and count(longer) == count(text) == tokens:
            break
        text = longer
        assert i < 4000, (tokens, start, left)
    assert count(text) == tokens, (tokens, start, count(text))
    return text


def texts(limit: int, count: Callable[[str], int], window: int | None = None) -> list[str]:
    """limit: tokens that the model takes, special ones among them. window: how many tokens in a row a local layer's token sees."""
    edges = [limit - 1, limit, limit + 1, limit + 50]
    if window is not None:
        edges = sorted({window - 1, window, window + 1, 2 * window, *edges})
    edges = [n for n in edges if n > count("cat")]
    return ["", "cat", "the dog"] + [of_length(n, 3 + 13 * i, count) for i, n in enumerate(edges)] + SENTENCES


def pairs(limit: int, count: Callable[[str], int]) -> list[list[str]]:
    """Queries and documents: either empty, either over the limit, both over it, and ordinary ones."""
    long, longer = of_length(limit + 20, 5, count), of_length(limit + 50, 31, count)
    half, about = of_length(limit // 2 + 4, 11, count), of_length(limit // 2 + 7, 23, count)
    return [
        ["", ""], ["cat", ""], ["", "the dog"], ["cat", "the dog"], ["the dog", "cat"], ["Who made this?", long], [long, "a cat"], [long, longer],
        [longer, long], [half, about], [about, half], *[["where is the cat?", s] for s in SENTENCES], ["\u4f60\u597d", "\u043c\u0438\u0440 \u0432\u043e\u0434\u0430"],
    ]
