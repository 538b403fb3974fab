"""Blocks as pages: a Typst document (https://typst.app/docs), set by Typst itself. Nothing is fetched.

All text goes in as string literals, in which Typst knows no markup.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import pikepdf

from bench.images.whole import decoded
from bench.report.blocks import (
    MADE_BY,
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
    contents_at,
)
from bench.report.formats import shown
from bench.report.render.page import PAGE
from bench.text import visible

TYPESET = Path(__file__).with_name("typeset.py")
Layout = Mapping[str, float]
IN_ONE_PIECE, MOST_TOGETHER = 110, 22
"""Cells and rows up to which a table is never split between pages."""
MANY_COLUMNS = 8
"""Tables with so many have titles in two lines."""
PRINTED, GAP = 172, 4
"""Width of the text, and of the space between pictures (mm)."""
ONE_ROW, SEVERAL_ROWS = 57, 35
"""Pictures of a gallery are at most so wide (mm), where it has one row and where it has more: two rows are a third of a
page."""
LAYOUTS = (
    *({"tight": tight, "low": 0.0} for tight in (1.0, 0.95, 0.9, 0.85, 0.8)),
    *({"tight": 1.0, "low": low} for low in (15.0, 30.0, 45.0, 60.0)),
)
"""What is tried, until the last page is at least half full: the size of pictures (1: as drawn), then more room at the
foot of every page (mm)."""
HALF = 0.5
END = b"#context [#metadata((here().position().y / 1mm, here().page(), counter(page).final().first())) <end>]"
GREYS = 16
JOINED = "\\u{2060}"
"""Typst's escape of a character at which no line breaks."""


class Made(NamedTuple):
    """A document in a layout: its PDF, how far down text goes on the last page as a share of the room, and its pages.

    The share is 0 where the last page has figures alone, which had no room before.
    """

    pdf: bytes
    fill: float
    pages: int


def render(blocks: Sequence[Block], path: Path) -> None:
    """Write the blocks to ``path``. In ``figures`` beside it lie a PDF of each figure and a PNG of each picture."""
    text = path.with_name(f"{path.name}.typ")
    text.write_bytes(b"\n\n".join([source(blocks).encode(), END]))
    tried = (_made(text, layout) for layout in LAYOUTS)
    made = first = next(tried)
    if first.fill < HALF and first.pages > 1:
        # a page less: what was the last but one is full
        good = (one for one in tried if one.pages < first.pages or (one.fill >= HALF and one.pages == first.pages))
        made = next(good, first)
    path.write_bytes(packed(made.pdf))
    text.unlink()


def packed(pdf: bytes) -> bytes:
    """The same document in about half of the bytes: Typst leaves the tags for screen readers, which are most of it, as
    plain text.
    """
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(pdf)) as document:
        document.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate, deterministic_id=True)
    return out.getvalue()


def _made(text: Path, layout: Layout) -> Made:
    """The document in that file, set by a process of its own.

    :raises RuntimeError: if Typst cannot set it.
    """
    top, room = 18, 259  # mm
    pdf = text.with_suffix(".made")
    command = [sys.executable, "-IB", str(TYPESET), str(text), str(pdf), json.dumps(inputs(layout))]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip() or f"typst ended with {done.returncode}")
    ((height, page, pages),) = json.loads(done.stdout)
    content = pdf.read_bytes()
    pdf.unlink()
    return Made(content, float((height - top) / room) if page == pages else 0.0, int(pages))


def inputs(layout: Layout) -> dict[str, str]:
    """A layout as Typst gets it."""
    return {name: f"{value:g}" for name, value in layout.items()}


def source(blocks: Iterable[Block]) -> str:
    """The Typst document."""
    numbers, blocks = itertools.count(1), list(blocks)
    around = zip([None, *blocks], blocks, [*blocks[1:], None], strict=False)
    made = [f"#{_placed(block, last, following, numbers)}" for last, block, following in around]
    at = contents_at(blocks)
    if at is not None:
        made.insert(at, "#contents()")
    title = next((block.content for block in blocks if isinstance(block, Heading)), ())
    about = f"#set document(author: {literal(MADE_BY)}, title: {inline(title)})"
    return "\n\n".join([about, PAGE, *made])


def _placed(block: Block, last: Block | None, following: Block | None, numbers: Iterator[int]) -> str:
    """A block; a figure stays below a heading that would have nothing below it otherwise, and any that is not high."""
    said = _block(block, numbers)
    if isinstance(block, Figure) and isinstance(last, Heading):
        alone = following is None or isinstance(following, Heading)
        return f"captioned(floats: {'false' if alone else 'auto'}, {said.removeprefix('captioned(')}"
    return said


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
    titles = ", ".join(_title(column.title, narrow) for column in block.columns)
    rows = (", ".join(map(_cell, row, block.columns)) for row in block.rows)
    few = len(block.rows) <= MOST_TOGETHER and len(block.columns) * len(block.rows) <= IN_ONE_PIECE
    whole = "false" if few else "true"
    lines = ",\n  ".join(rows)
    caption = inline(block.caption) if block.caption else "none"
    return (
        f"data-table(caption: {caption}, breakable: {whole}, columns: {len(block.columns)}, align: ({sides},),\n"
        f"  titles: ({titles},),\n  {lines},\n)"
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
    path = _path(block.name, "pdf")
    return f"captioned({path}, {literal(block.alt)}, {next(numbers)}, {inline(block.caption)})"


@_block.register
def _(block: Gallery, numbers: Iterator[int]) -> str:
    wide = min(block.columns, len(block.pictures))
    pictures = ",\n  ".join(map(_picture, block.pictures))
    strip = any(picture and picture.across for picture in block.pictures)
    room = (PRINTED - (wide - 1) * GAP) / wide
    width = room if strip else min(room, SEVERAL_ROWS if len(block.pictures) > wide else ONE_ROW)
    return f"gallery({wide}, {width:.4g}mm, {next(numbers)}, {inline(block.caption)},\n  {pictures},\n)"


def _picture(picture: Picture | None) -> str:
    if picture is None:
        return "[]"
    across = "".join(f"{literal(title)}, " for title in picture.across)
    path = _path(picture.name) if picture.png else "none"
    return f"picture({path}, {literal(picture.alt)}, {inline(picture.title)}, {inline(picture.note)}, ({across}))"


def _path(name: str, ending: str = "png") -> str:
    return literal(f"figures/{name}.{ending}")


def in_print(png: bytes) -> bytes:
    """A picture as the PDF shows it: grey ones have :data:`GREYS` greys, in a third of the room.

    The Markdown and the HTML have the picture as it is in the store.
    """
    try:
        picture = decoded(png)
    except ValueError:
        return png
    if picture.mode != "L":
        return png
    step, buffer = 255 / (GREYS - 1), io.BytesIO()
    picture.point([round(round(grey / step) * step) for grey in range(256)]).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
