"""Blocks as HTML. All text is escaped; pictures are part of the file."""

from __future__ import annotations

import base64
import html
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import singledispatch
from typing import NamedTuple

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
    words,
)
from bench.report.formats import shown
from bench.text import one_line, visible

MOST_ROWS = 40
"""A longer table is closed at first: a reader opens it."""
SAFE = re.compile(r"(https?:|mailto:|#|[\w./-]+$)", re.ASCII)
"""What a link may lead to."""


class Context(NamedTuple):
    """The pictures by path, and the numbers of figures."""

    pictures: Mapping[str, bytes]
    numbers: Iterator[int]


def elements(blocks: Iterable[Block], pictures: Mapping[str, bytes], numbers: Iterator[int] | None = None) -> str:
    """The blocks as HTML.

    :param pictures: path → PNG, as :func:`bench.report.write.draw` yields them.
    """
    context = Context(pictures, numbers or itertools.count(1))
    return "\n".join(_block(block, context) for block in blocks)


def escape(text: str) -> str:
    """Text in which nothing is markup."""
    return html.escape(re.sub(r"[ \t\r\n]+", " ", visible(text)))


def inline(content: Spans) -> str:
    """Marked text."""
    return "".join(map(_span, content))


def embedded(content: bytes, kind: str = "png") -> str:
    """A picture as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def slug(text: str) -> str:
    """A name for an element."""
    return "s-" + re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _span(span: Span) -> str:
    match span:
        case Strong(text):
            return f"<strong>{escape(text)}</strong>"
        case Emph(text):
            return f"<em>{escape(text)}</em>"
        case CodeSpan(text):
            return f"<code>{escape(text)}</code>"
        case Link(text, target):
            address = visible(target)
            return f'<a href="{escape(address)}">{escape(text)}</a>' if SAFE.match(address) else escape(text)
    return escape(span)


@singledispatch
def _block(block: Block, context: Context) -> str:
    raise TypeError(f"HTML has no form for {type(block).__name__}")


@_block.register
def _(block: Heading, context: Context) -> str:
    return f'<h{block.level} id="{slug(words(block.content))}">{inline(block.content)}</h{block.level}>'


@_block.register
def _(block: Text, context: Context) -> str:
    return f"<p>{inline(block.content)}</p>"


@_block.register
def _(block: Bullets, context: Context) -> str:
    return f"<ul>{''.join(f'<li>{inline(item)}</li>' for item in block.items)}</ul>"


@_block.register
def _(block: Code, context: Context) -> str:
    return f'<pre tabindex="0"><code>{html.escape(visible(block.text))}</code></pre>'


@_block.register
def _(block: Table, context: Context) -> str:
    head = "".join(
        f'<th scope="col" class="{column.align}">{escape(column.title) or "<span class=unseen>rank</span>"}</th>'
        for column in block.columns
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td class="{column.align}">{inline(shown(cell, column))}</td>'
            for cell, column in zip(row, block.columns, strict=True)
        )
        + "</tr>"
        for row in block.rows
    )
    caption = f"<caption>{inline(block.caption)}</caption>" if block.caption else ""
    label = escape(words(block.caption)) or "Table: " + ", ".join(escape(one.title) for one in block.columns[:4])
    table = (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
        f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
    if len(block.rows) <= MOST_ROWS:
        return table
    return f"<details><summary>Table of {len(block.rows)} rows</summary>{table}</details>"


@_block.register
def _(block: Figure, context: Context) -> str:
    source = embedded(context.pictures[f"figures/{block.name}.png"])
    return (
        f'<figure id="figure-{escape(block.name)}"><img src="{source}" alt="{escape(block.alt)}" loading="lazy">'
        f"{_caption(block.caption, context)}</figure>"
    )


@_block.register
def _(block: Gallery, context: Context) -> str:
    pictures = "".join(f"<div>{_picture(one)}</div>" for one in block.pictures)
    wide = " strip" if any(one is not None and one.across for one in block.pictures) else ""
    return f'<figure><div class="gallery{wide}">{pictures}</div>{_caption(block.caption, context)}</figure>'


def _picture(picture: Picture | None) -> str:
    if picture is None:
        return ""
    title = f"<p><strong>{inline(picture.title)}</strong></p>" if picture.title else ""
    across = f'<p class="across">{"".join(f"<span>{escape(one)}</span>" for one in picture.across)}</p>'
    image = (
        f'<img class="pixels" src="{embedded(picture.png)}" alt="{html.escape(one_line(picture.alt))}" loading="lazy">'
        if picture.png
        else ""
    )
    return title + (across if picture.across else "") + image + f"<p>{inline(picture.note)}</p>"


def _caption(content: Spans, context: Context) -> str:
    return f"<figcaption>Figure {next(context.numbers)}. {inline(content)}</figcaption>"
