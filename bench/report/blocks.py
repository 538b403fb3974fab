"""What a page says, before anyone decides how it looks: blocks of text, tables, figures and pictures.

Text is plain text with marked parts, never markup: each renderer escapes it in its own way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pandas as pd

MADE_BY = "ddpm-bench"
"""Every form of a page says it, so that a page of ours is known from another's file of the same name."""


@dataclass(frozen=True)
class Strong:
    """Important words."""

    text: str


@dataclass(frozen=True)
class Emph:
    """Words in italics."""

    text: str


@dataclass(frozen=True)
class CodeSpan:
    """Code, a name or a value, shown letter by letter."""

    text: str


@dataclass(frozen=True)
class Link:
    """Words that lead to an address."""

    text: str
    target: str


Span = str | Strong | Emph | CodeSpan | Link
Spans = tuple[Span, ...]


@dataclass(frozen=True)
class Spread:
    """A number and the range it is from: 5.87 (5.46–6.07)."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OneSeed:
    """A number of one training seed, beside others of several: 5.87 (1 seed)."""

    value: float


@dataclass(frozen=True)
class Range:
    """From the lowest to the highest: 5.46–6.07."""

    low: float
    high: float


@dataclass(frozen=True)
class WithError:
    """A number and its standard error: 140 ± 8.54."""

    value: float
    error: float


Cell = Span | Spans | int | float | None | Spread | OneSeed | Range | WithError
"""What a table's cell may hold; None is shown as a dash."""


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, on which side its cells stand, and how numbers are written.

    :param format: a name of :data:`bench.report.formats.FORMATS`.
    """

    title: str
    align: Literal["left", "right"] = "right"
    format: str = "short"


@dataclass(frozen=True)
class Heading:
    """A title; level 1 is the page's own, 2 a section's."""

    level: Literal[1, 2, 3]
    content: Spans


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    content: Spans


@dataclass(frozen=True)
class Bullets:
    """A list of short texts."""

    items: tuple[Spans, ...]


@dataclass(frozen=True)
class Code:
    """Lines of code, shown letter by letter."""

    text: str
    language: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of typed cells below a caption.

    :raises ValueError: if a row is longer or shorter than the columns.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: Spans = ()

    def __post_init__(self) -> None:
        odd = next((row for row in self.rows if len(row) != len(self.columns)), None)
        if odd is not None:
            raise ValueError(f"a row of {len(odd)} cells in a table of {len(self.columns)} columns: {odd}")


@dataclass(frozen=True, eq=False)
class Figure:
    """Data to draw.

    :param name: a file's name without its ending.
    :param mark: a name of :data:`bench.report.marks.MARKS`, which says what ``data`` and ``options`` hold.
    :param alt: what a reader who does not see the figure should know.
    """

    name: str
    mark: str
    data: Mapping[str, pd.DataFrame]
    caption: Spans
    alt: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A picture of the store at its own resolution.

    :param name: a file's name without its ending.
    :param png: the file; None where there is none, so that title and note stand alone.
    :param title: said above it; ``note`` below it.
    :param across: the titles of its columns, where it has columns of equal width.
    """

    name: str
    png: bytes | None
    alt: str
    title: Spans = ()
    note: Spans = ()
    across: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures in rows of ``columns``, scaled to the page; None leaves a gap."""

    pictures: tuple[Picture | None, ...]
    columns: int
    caption: Spans


Block = Heading | Text | Bullets | Code | Table | Figure | Gallery


def heading(level: Literal[1, 2, 3], *content: Span) -> Heading:
    """A title of these parts."""
    return Heading(level, content)


def text(*content: Span) -> Text:
    """A paragraph of these parts."""
    return Text(content)


def table(columns: Iterable[Column], rows: Iterable[Iterable[Cell]], *caption: Span) -> Table:
    """A table from any sequences."""
    return Table(tuple(columns), tuple(tuple(row) for row in rows), caption)


MANY_SECTIONS = 4
"""Sections from which on a page has a list of its contents."""


def contents_at(blocks: Sequence[Block]) -> int | None:
    """Where the list of contents stands: before the first section; None where there are few."""
    sections = [i for i, block in enumerate(blocks) if isinstance(block, Heading) and block.level == 2]
    return sections[0] if len(sections) >= MANY_SECTIONS else None


def words(content: Span | Spans) -> str:
    """The text alone."""
    spans = content if isinstance(content, tuple) else (content,)
    return "".join(span if isinstance(span, str) else span.text for span in spans)


def with_one_file_each(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks, with one name for all pictures of the same bytes: a picture that is shown twice is one file."""
    names: dict[bytes, str] = {}

    def named(picture: Picture | None) -> Picture | None:
        if picture is None or picture.png is None:
            return picture
        return replace(picture, name=names.setdefault(picture.png, picture.name))

    for block in blocks:
        yield replace(block, pictures=tuple(map(named, block.pictures))) if isinstance(block, Gallery) else block
