"""Blocks as Markdown of GitHub's kind (https://github.github.com/gfm/)."""

from __future__ import annotations

import html
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import singledispatch
from pathlib import Path

from bench.report.blocks import (
    Block,
    Bullets,
    Code,
    CodeSpan,
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
    words,
)
from bench.report.formats import shown
from bench.text import one_line, visible

FENCE = 3
WIDTH, STRIP_WIDTH = 272, 720
"""How wide a browser shows a picture, in pixels; a strip is one with titles of columns."""


def render(blocks: Sequence[Block], path: Path) -> None:
    """Write the blocks to ``path``."""
    path.write_text(source(blocks), encoding="utf-8")


def source(blocks: Iterable[Block]) -> str:
    """The blocks as Markdown."""
    numbers, blocks = itertools.count(1), list(blocks)
    made = [_block(block, numbers) for block in blocks]
    at = contents_at(blocks)
    if at is not None:
        made.insert(at, _contents(blocks))
    return "\n\n".join(made) + "\n"


def _contents(blocks: Sequence[Block]) -> str:
    """Links to the sections, by the addresses that GitHub gives to headings."""
    seen: Counter[str] = Counter()
    lines = []
    for block in blocks:
        if not isinstance(block, Heading):
            continue
        slug = re.sub(r"[^\w\- ]", "", words(block.content).lower()).strip().replace(" ", "-")
        address = f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1
        if block.level == 2:
            lines.append(f"- [{inline(block.content)}](<#{address}>)")
    return "\n".join(lines)


def escape(text: str) -> str:
    """Text in which nothing is markup, on one line."""
    plain = re.sub(r"[ \t\r\n]+", " ", visible(text))
    return re.sub(r"([\\`*_{}\[\]<>|#$~&])", r"\\\1", plain)


def inline(content: Spans) -> str:
    """Marked text on one line, at whose start nothing begins a list or a heading."""
    line = "".join(map(_span, content)).strip()
    return re.sub(r"^(?:([-+=])|(\d{1,9})([.)]))(?=\s|$|[-=])", _kept, line)


def _kept(start: re.Match[str]) -> str:
    """The start of a line that would begin a list, with a backslash."""
    return f"\\{start[1]}" if start[1] else f"{start[2]}\\{start[3]}"


def _span(span: Span) -> str:
    match span:
        case Strong(text):
            return _around("**", text)
        case Emph(text):
            return _around("*", text)
        case CodeSpan(text):
            return _code(text)
        case Link(text, target):
            address = re.sub(r"[<>\\\s]", "", visible(target))
            return f"[{escape(text)}](<{address}>)"
    return escape(span)


def _around(mark: str, text: str) -> str:
    """Text between marks; without any where it has no letters that they could stand beside."""
    inner = escape(text).strip()
    return f"{mark}{inner}{mark}" if inner else ""


def _code(text: str) -> str:
    """A span of code: longer backticks around than inside, and a bar that ends no cell of a table."""
    inner = one_line(text).replace("|", "\\|")
    if not inner:
        return ""
    marks = "`" * (max(map(len, re.findall("`+", inner)), default=0) + 1)
    room = " " if inner.startswith("`") or inner.endswith("`") else ""
    return f"{marks}{room}{inner}{room}{marks}"


@singledispatch
def _block(block: Block, numbers: Iterator[int]) -> str:
    raise TypeError(f"Markdown has no form for {type(block).__name__}")


@_block.register
def _(block: Heading, numbers: Iterator[int]) -> str:
    return f"{'#' * block.level} {inline(block.content)}"


@_block.register
def _(block: Text, numbers: Iterator[int]) -> str:
    return inline(block.content)


@_block.register
def _(block: Bullets, numbers: Iterator[int]) -> str:
    return "\n".join(f"- {inline(item)}" for item in block.items)


@_block.register
def _(block: Code, numbers: Iterator[int]) -> str:
    """A fence longer than any in the code."""
    text = visible(block.text)
    fence = "`" * max(FENCE, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}{block.language}\n{text}\n{fence}"


@_block.register
def _(block: Table, numbers: Iterator[int]) -> str:
    marks = [":---" if column.align == "left" else "---:" for column in block.columns]
    rows = (
        [inline(shown(cell, column)) for cell, column in zip(row, block.columns, strict=True)] for row in block.rows
    )
    lines = [[escape(column.title) for column in block.columns], marks, *rows]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{inline(block.caption)}\n\n{grid}" if block.caption else grid


@_block.register
def _(block: Figure, numbers: Iterator[int]) -> str:
    return f"![{escape(block.alt).strip()}](figures/{block.name}.png)\n\n{_caption(block.caption, numbers)}"


@_block.register
def _(block: Gallery, numbers: Iterator[int]) -> str:
    """A table of pictures, with their titles above and notes below."""
    wide = min(block.columns, len(block.pictures))
    rows = [block.pictures[i : i + wide] for i in range(0, len(block.pictures), wide)]
    lines = [["  "] * wide, [":---:"] * wide, *([*map(_picture, row), *[""] * (wide - len(row))] for row in rows)]
    grid = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{grid}\n\n{_caption(block.caption, numbers)}"


def _picture(picture: Picture | None) -> str:
    if picture is None:
        return ""
    title = f"**{inline(picture.title)}**" if picture.title else ""
    across = f"columns: {escape(', '.join(picture.across))}" if picture.across else ""
    width = STRIP_WIDTH if picture.across else WIDTH
    image = f'<img src="figures/{picture.name}.png" alt="{_attribute(picture.alt)}" width="{width}">'
    image = image if picture.png else ""
    return "<br>".join(filter(None, [title, image, across, inline(picture.note)]))


def _attribute(text: str) -> str:
    """Text between the quotes of an attribute, in a table: entities for whatever has a meaning there."""
    return html.escape(one_line(text)).replace("|", "&#124;").replace("`", "&#96;")


def _caption(content: Spans, numbers: Iterator[int]) -> str:
    return f"*Figure {next(numbers)}. {inline(content)}*"
