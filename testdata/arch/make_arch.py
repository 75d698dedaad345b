"""Makes the directories beside it, one of each architecture, each with the golden.json that sentence-transformers gives for that very directory.

    python make_arch.py [--check] [--figures] [NAME...]

Made with torch 2.15.0, transformers 5.23.0, tokenizers 0.23.3, sentence-transformers 6.2.0, safetensors 0.8.0, numpy 2.4.6.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "golden"))
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="modules-")

import arch_golden
import reference
from arch_decoders import DECODERS
from arch_kinds import KINDS
from arch_table import BERT, ENCODERS
from arch_variants import VARIANTS

DIRECTORIES = BERT | ENCODERS | DECODERS | KINDS | VARIANTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="directories to make; all by default")
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write none of them")
    parser.add_argument("--figures", action="store_true", help="print cosines, noise and what each mutation costs, write nothing")
    args = parser.parse_args()
    for name in args.names or DIRECTORIES:
        spec, path = DIRECTORIES[name], HERE / name
        if args.figures:
            arch_golden.figures(spec, path)
            continue
        if not args.check:
            spec.make(path)
        golden = {"model": f"arch/{name}", "note": spec.note, "versions": reference.versions()} | arch_golden.golden(spec, path)
        reference.finish(golden, path / "golden.json", args.check, tolerance=1e-5)


if __name__ == "__main__":
    main()
