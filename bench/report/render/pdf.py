"""Blocks as pages: a Typst document (https://typst.app/docs), set by Typst itself. Nothing is fetched.

All text goes in as string literals, in which Typst knows no markup.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from pathlib import Path
from typing import Literal

from bench.report.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    CodeSpan,
    Column,
    Emph,
    Figure,
    Gallery,
    Heading,
    Link,
    Picture,
    Span,
    Spans,
    Strong,
    Table,
    Text,
)
from bench.report.formats import shown
from bench.report.render.page import PAGE
from bench.text import visible

IN_ONE_PIECE = 110
"""Cells up to which a table is never split between pages."""
MANY_COLUMNS = 8
"""Tables with so many have titles in two lines."""
JOINED = "\\u{2060}"
"""Typst's escape of a character at which no line breaks."""


def render(blocks: Sequence[Block], path: Path) -> None:
    """Write the blocks to ``path``, with the pictures that lie in ``figures`` beside it."""
    (page,) = compile_pages(blocks, path.parent)
    path.write_bytes(page)


def compile_pages(blocks: Iterable[Block], root: Path, kind: Literal["pdf", "png", "html"] = "pdf") -> list[bytes]:
    """The blocks set in pages, pictures found below ``root``: one PDF or HTML file, or a PNG a page."""
    import typst

    compiler = typst.Compiler(source(blocks).encode(), root=root, ignore_system_fonts=True)
    made = compiler.compile(format=kind, timestamp=0)
    if made is None:
        raise RuntimeError("typst made no document")
    return made if isinstance(made, list) else [made]


def source(blocks: Iterable[Block]) -> str:
    """The Typst document."""
    numbers = itertools.count(1)
    return "\n\n".join([PAGE, *(f"#{_block(block, numbers)}" for block in blocks)])


def literal(text: str) -> str:
    """A Typst string that is shown as the text, white space as single spaces."""
    return _string(re.sub(r"[ \t\r\n]+", " ", visible(text)))


def _string(text: str) -> str:
    inner = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\n").replace("\t", "\\t")
    )
    return f'"{inner}"'


def inline(content: Spans) -> str:
    """Marked text as a Typst expression."""
    return f"({' + '.join(['[]', *map(_span, content)])})"


def _span(span: Span) -> str:
    match span:
        case Strong(text):
            return f"strong({prose(text)})"
        case Emph(text):
            return f"emph({prose(text)})"
        case CodeSpan(text):
            return f"raw({literal(text)})"
        case Link(text, target):
            return f"link({literal(target)}, {prose(text)})"
    return prose(span)


def prose(text: str) -> str:
    """A Typst string of words, with the apostrophe of print in them."""
    return literal(re.sub(r"(?<=\w)'(?=\w)", "’", text))


@singledispatch
def _block(block: Block, numbers: Iterator[int]) -> str:
    raise TypeError(f"the PDF has no form for {type(block).__name__}")


@_block.register
def _(block: Heading, numbers: Iterator[int]) -> str:
    return f"heading(level: {block.level}, {inline(block.content)})"


@_block.register
def _(block: Text, numbers: Iterator[int]) -> str:
    return f"par({inline(block.content)})"


@_block.register
def _(block: Bullets, numbers: Iterator[int]) -> str:
    return f"list({', '.join(map(inline, block.items))})"


@_block.register
def _(block: Code, numbers: Iterator[int]) -> str:
    language = f"lang: {literal(block.language)}, " if block.language else ""
    return f"raw(block: true, {language}{_string(visible(block.text))})"


@_block.register
def _(block: Table, numbers: Iterator[int]) -> str:
    sides = ", ".join(column.align for column in block.columns)
    narrow = len(block.columns) >= MANY_COLUMNS
    head = ", ".join(_title(column.title, narrow) for column in block.columns)
    rows = (", ".join(map(_cell, row, block.columns)) for row in block.rows)
    whole = "false" if len(block.columns) * len(block.rows) <= IN_ONE_PIECE else "true"
    lines = ",\n  ".join([f"table.header({head}, table.hline())", *rows])
    caption = inline(block.caption) if block.caption else "none"
    return (
        f"data-table(caption: {caption}, breakable: {whole}, columns: {len(block.columns)}, align: ({sides},),\n"
        f"  {lines},\n)"
    )


def _cell(cell: Cell, column: Column) -> str:
    """A cell; numbers stay on one line."""
    inner = inline(shown(cell, column))
    return inner if column.align == "left" else inner.replace("–", f"{JOINED}–{JOINED}")


def _title(title: str, narrow: bool) -> str:
    """A column's title, in two lines where it must be narrow."""
    words = title.split(" ")
    if not narrow or len(words) < 2:
        return prose(title)
    breaks = (abs(len(" ".join(words[:i])) - len(" ".join(words[i:]))) for i in range(1, len(words)))
    at = 1 + min(enumerate(breaks), key=lambda pair: pair[1])[0]
    return " + linebreak() + ".join(prose(" ".join(part)) for part in (words[:at], words[at:]))


@_block.register
def _(block: Figure, numbers: Iterator[int]) -> str:
    picture = f"image({_path(block.name)}, alt: {literal(block.alt)})"
    return f"captioned({picture}, {next(numbers)}, {inline(block.caption)})"


@_block.register
def _(block: Gallery, numbers: Iterator[int]) -> str:
    wide = min(block.columns, len(block.pictures))
    pictures = ",\n  ".join(map(_picture, block.pictures))
    alone = wide == 1 and not any(picture and picture.across for picture in block.pictures)
    return f"gallery({wide}, {'50%' if alone else '100%'}, {next(numbers)}, {inline(block.caption)},\n  {pictures},\n)"


def _picture(picture: Picture | None) -> str:
    if picture is None:
        return "[]"
    across = "".join(f"{literal(title)}, " for title in picture.across)
    path = _path(picture.name) if picture.png else "none"
    return f"picture({path}, {literal(picture.alt)}, {inline(picture.title)}, {inline(picture.note)}, ({across}))"


def _path(name: str) -> str:
    return literal(f"figures/{name}.png")
