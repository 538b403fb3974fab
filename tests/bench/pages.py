"""A document's pages as pictures."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import typst

from bench.report.blocks import Block
from bench.report.render import pdf


def compile_pages(
    blocks: Iterable[Block],
    root: Path,
    kind: Literal["pdf", "png"] = "pdf",
    ppi: float | None = None,
    layout: pdf.Layout = pdf.LAYOUTS[0],
) -> list[bytes]:
    """The blocks set in pages, pictures found below ``root``: one PDF, or a PNG a page."""
    text = pdf.source(blocks).encode()
    compiler = typst.Compiler(text, root=root, ignore_system_fonts=True, sys_inputs=pdf.inputs(layout))
    made = compiler.compile(format=kind, timestamp=0, ppi=ppi)
    assert made is not None
    return made if isinstance(made, list) else [made]
