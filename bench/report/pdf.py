"""Markdown → PDF: pandoc writes Typst, Typst sets the page. Both come as Python packages; nothing is fetched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

READER = "gfm+implicit_figures-tex_math_dollars"

#: an image and the paragraph in italics below it, which is its caption where Markdown has none
_FIGURE = re.compile(r"^!\[[^\]]*\]\(([^)]+)\)\n\n\*(.+)\*$", re.MULTILINE)

PREAMBLE = """
#set page(paper: "a4", margin: (x: 19mm, top: 18mm, bottom: 20mm), numbering: "1 / 1", number-align: center)
#set text(font: "Libertinus Serif", size: 10pt, lang: "en", region: "GB")
#set par(justify: true, leading: 0.62em, spacing: 0.95em)
#set heading(numbering: none)
#show heading.where(level: 1): it => block(below: 0.9em)[
  #set text(size: 20pt, weight: "bold")
  #set par(justify: false)
  #it.body
  #v(-0.45em)
  #line(length: 100%, stroke: 0.8pt)
]
#show heading.where(level: 2): it => block(above: 1.7em, below: 0.8em, sticky: true, text(size: 13.5pt, it.body))
#show heading.where(level: 3): it => block(above: 1.3em, below: 0.7em, sticky: true, text(size: 11pt, it.body))
#set list(indent: 0.4em, spacing: 0.6em)
#set table(
  inset: (x: 3.6pt, y: 2.7pt),
  stroke: none,
  fill: (_, y) => if y > 0 and calc.even(y) { luma(245) },
)
#show table: set text(size: 8pt, number-width: "tabular")
#show table: set par(justify: false, leading: 0.5em)
#show table.cell.where(y: 0): set text(weight: "bold")
#set table.hline(stroke: 0.6pt)
#set figure(numbering: none, gap: 0.7em)
#show figure: set block(above: 1.2em, below: 1.2em)
#show figure.where(kind: table): it => {
  // pandoc's tables are figure(align(center, table)): a short one stays in one piece
  let table = it.body.body
  set block(breakable: not table.has("children") or table.children.len() > 110)
  it
}
#set figure.caption(separator: none)
#show figure.caption: it => block(width: 96%, {
  set text(size: 8.6pt)
  set par(justify: true, leading: 0.55em)
  align(left, it.body)
})
#show raw: set text(font: "DejaVu Sans Mono", size: 0.84em)
#show raw.where(block: true): it => block(width: 100%, fill: luma(246), inset: 7pt, radius: 2pt, it)
#show link: it => if type(it.dest) == str { text(fill: rgb("#1f4e8c"), it) } else { it }
#let horizontalrule = line(length: 100%, stroke: 0.5pt)
"""


def typst_source(markdown: str) -> str:
    """The Typst document: the preamble, then what pandoc makes of the Markdown."""
    import pypandoc

    captioned = _FIGURE.sub(r"![\2](\1)", markdown)
    # so many columns that no table is taken for a wide one and given fixed widths
    body = pypandoc.convert_text(captioned, "typst", format=READER, extra_args=["--columns=100000", "--wrap=none"])
    return f"{PREAMBLE}\n{body}"


def compile_pdf(markdown: str, root: Path, kind: Literal["pdf", "png"] = "pdf") -> list[bytes]:
    """The document set in pages, images found below ``root``: one PDF, or a PNG a page."""
    import typst

    compiler = typst.Compiler(typst_source(markdown).encode(), root=root, ignore_system_fonts=True)
    made = compiler.compile(format=kind, timestamp=0)
    if made is None:
        raise RuntimeError("typst made no document")
    return made if isinstance(made, list) else [made]
