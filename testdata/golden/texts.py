"""The texts of the golden files for real models, written for this purpose.

Every invisible, right-to-left or combining character is an escape, so that the file reads the same in any editor.
The sum of tokens is kept small: software Vulkan runs all of them in CI.
"""

# Words that are one WordPiece token each in BERT's uncased vocabulary; make_minilm.py checks the lengths that follow.
_WORDS = (
    "the river ran past an old stone mill where two brothers had worked since the war and their sister kept "
    "the books in a small green room above the water while every spring the road from town was closed by snow "
    "until a man with a horse came over the hill to open it again and bring them letters salt and news"
).split()


def prose(tokens: int, start: int) -> str:
    """A text of that many tokens, [CLS] and [SEP] among them. Another start gives another text."""
    return " ".join(_WORDS[(start + i * (1 + start % 3)) % len(_WORDS)] for i in range(tokens - 2))


TEXTS = [
    # Nothing, or nothing that is left after normalisation: [CLS][SEP].
    "",
    " ",
    " \t\r\n\u00a0\u3000 ",
    "\u0000",
    "\ufffd",
    "\ue000\uf8ff\U000f0000",
    "\u200b\u200d\ufeff\u200e",
    # One token and a few.
    "a",
    "Hello",
    "7",
    ".",
    "cat sat",
    # Sentences, some near to each other.
    "The quick brown fox jumps over the lazy dog.",
    "A fast auburn fox leapt above a sleepy hound.",
    "How do I reset the password of my account?",
    "I can't log in because I forgot my login details.",
    "Interest rates rose by a quarter of a point on Thursday.",
    "He said: \u201cIt\u2019s 5 o\u2019clock \u2014 we\u2019re late\u2026\u201d, then left.",
    "Buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo",
    "this is NOT good; this is good; is this not good?",
    # Case and accents: composed, decomposed, ligatures, full width, and marks that stand alone.
    "MiXeD CaSe wItH ACRONYMS like NASA, iPhone and eBay",
    "Caf\u00e9 cr\u00e8me br\u00fbl\u00e9e, na\u00efve fa\u00e7ade, \u00c5ngstr\u00f6m, Stra\u00dfe",
    "Cafe\u0301 cre\u0300me bru\u0302le\u0301e, nai\u0308ve fac\u0327ade, A\u030angstro\u0308m, Strasse",
    "\u0130stanbul \u0131l\u0131k \u01c5 \ufb01ne o\ufb03ce \uff26\uff55\uff4c\uff4c\u3000\uff37\uff49\uff44\uff54\uff48 \u210c \u00bd \u00b2",
    "\u0301",
    "\u0301\u0300\u0302 a \u20dd b\u0336c\u0336",
    "Z\u0351\u036b\u0343\u0348a\u0329\u0354\u0300l\u032b\u030eg\u0324\u035bo\u0321\u0346",
    # Languages and scripts.
    "Die W\u00e4rmepumpe hei\u00dft so, weil sie W\u00e4rme aus der Umgebung pumpt.",
    "El ni\u00f1o comi\u00f3 pi\u00f1a ma\u00f1ana por la ma\u00f1ana. \u00bfVerdad?",
    "Dzi\u0119kuj\u0119, \u0142\u00f3d\u017a p\u0142ynie; \u0159eka \u017elut\u00e1; t\u0151zsde; Ti\u1ebfng Vi\u1ec7t",
    "\u041c\u043e\u0441\u043a\u0432\u0430 \u2014 \u0441\u0442\u043e\u043b\u0438\u0446\u0430; \u0451\u043b\u043a\u0430 \u0438 \u0439\u043e\u0433\u0443\u0440\u0442",
    "\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1 \u03ba\u03cc\u03c3\u03bc\u03b5, \u039f\u0394\u039f\u03a3 \u03bf\u03b4\u03cc\u03c2",
    "\u6211\u559c\u6b22\u5728\u56fe\u4e66\u9986\u8bfb\u4e66\u3002\u5929\u6c14\u5f88\u597d\uff01",
    "\u6771\u4eac\u306f\u65e5\u672c\u306e\u9996\u90fd\u3067\u3059\u3002\u30ab\u30bf\u30ab\u30ca\u3068\u304c\u304e\u3050",
    "\uc11c\uc6b8\uc740 \ub300\ud55c\ubbfc\uad6d\uc758 \uc218\ub3c4\uc774\ub2e4",
    "\U00020000\U0002a6b2 \uf900 \u9fff\ua000",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u064a\u0641\u064e \u062d\u064e\u0627\u0644\u064f\u0643\u061f \u0661\u0662\u0663",
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd (abc) \u05e1\u05d5\u05e3",
    "\u202eright to left override\u202c and \u2066isolate\u2069",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u0e01\u0e33\u0e25\u0e31\u0e07\u0e17\u0e14\u0e2a\u0e2d\u0e1a",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e, \u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f",
    "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd \u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0 \u0532\u0561\u0580\u0587 \u1230\u120b\u121d",
    # Emoji: plain, joined, skin tone, flags, keycap, variation selector, between letters.
    "\U0001f600",
    "family \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 wave \U0001f44b\U0001f3fd flag \U0001f1eb\U0001f1f7 key 3\ufe0f\u20e3 heart \u2764\ufe0f",
    "good\U0001f44dbad\U0001f44e and \u2713 \u2714 \u2605 \u2192 \u221e \u2260",
    # NUL and other control characters: what follows them counts.
    "before\u0000after the zero byte",
    "\u0000leading and trailing\u0000",
    "tab\there\nnew line\r\nwindows line\u000bvertical\u000cfeed \u0085 next \u2028 line \u2029 paragraph",
    "bell\u0007 back\u0008space esc\u001b[31m red \u007f del \u009f c1 soft\u00adhyphen",
    # Special tokens as text; one broken by a NUL, which is deleted only after the special tokens have been found.
    "[CLS] a [SEP] b [MASK] c [PAD] d [UNK]",
    "x[SEP]y [sep] [ SEP ] [SE\u0000P] <s> </s> <|endoftext|>",
    # Addresses, numbers, mark-up, code.
    "https://example.org/a/b.html?q=1&lang=en#top",
    "Write to first.last+tag@mail.example.co.uk or call +44 (0)20 7946 0018.",
    "3.14159 1,000,000 -2.5e-10 0xFF 1/2 50% $9.99 \u20ac12 2024-02-29T23:59:60Z v1.2.3-rc4",
    "<p class=\"x\">Tom &amp; Jerry</p><!-- end -->",
    "func Sum(xs []int) (n int) {\n\tfor _, x := range xs {\n\t\tn += x\n\t}\n\treturn n\n}",
    "def f(x):\n    return {k: v**2 for k, v in x.items() if v != None}  # square",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY 1;",
    "for (int i = 0; i < n && a[i]; ++i) { p->q |= ~(1u << i); }",
    "{\"a\": [1, 2.0, null, true], \"b\\n\": \"\\u00e9\"}",
    "\\frac{a^2}{b_1} \\leq \\sum_{i=0}^{n} x_i",
    # Words: 100 characters are still split into pieces, 101 are [UNK]; a long compound; a long run of one mark.
    "ab" * 50,
    "ab" * 50 + "a",
    "pneumonoultramicroscopicsilicovolcanoconiosis Donaudampfschifffahrtsgesellschaft",
    "!" * 40 + "?",
    "_".join(["snake", "case", "name"]) + " camelCaseName kebab-case-name",
    # Around the limit of 256 tokens, and past it.
    prose(254, 1),
    prose(255, 2),
    prose(256, 3),
    prose(257, 4),
    prose(400, 5),
]
