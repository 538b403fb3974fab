"""``python typeset.py TEXT PDF INPUTS``: set a Typst document, write its PDF, and print where its last page ends.

A program of its own, with nothing but Typst in it: what Typst has set stays in its memory, about 100 MB a layout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import typst


def main(text: Path, pdf: Path, inputs: dict[str, str]) -> None:
    """:param inputs: what the document reads as ``sys.inputs``."""
    compiler = typst.Compiler(str(text), root=text.parent, ignore_system_fonts=True, sys_inputs=inputs)
    made = compiler.compile(format="pdf", timestamp=0)
    if not isinstance(made, bytes):
        raise SystemExit("typst made no document")
    pdf.write_bytes(made)
    print(compiler.query("<end>", field="value"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
