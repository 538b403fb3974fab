"""Two sets of results on one page: verdicts with intervals, pictures side by side, and what differs in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.analysis.claims import scale_of
from bench.analysis.compare import Row, config_of
from bench.report.blocks import Block, Bullets, Cell, Column, Gallery, Picture, Strong, heading, table, text
from bench.report.formats import short
from bench.report.plain import interval, plain, rows, scale
from bench.report.web.elements import elements, escape
from bench.store.records import CellRecord, ScoredCell
from bench.store.store import Store
from bench.study.axes import AXES
from bench.study.model import Cell as Setting
from bench.text import listing, plural

MOST_PICTURES = 60
"""Settings that are shown in pictures: a page of more is slow to open."""
CLASSES = {"B better": "supported", "B worse": "contradicted"}


@dataclass(frozen=True)
class Side:
    """What the page says of a set: each setting's label and picture, the levels of each axis, and who made it."""

    labels: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)
    levels: dict[str, dict[str, None]] = field(default_factory=dict)
    made: dict[str, dict[str, None]] = field(default_factory=dict)


def side(folder: Path) -> Side:
    """Read a results folder; the picture of a setting is that of its lowest seeds."""
    store, found = Store(folder), Side()
    records = [(key, one) for key, one in store.records(CellRecord) if isinstance(one, ScoredCell)]
    for key, record in sorted(records, key=lambda pair: (pair[1].config.job.seed, pair[1].config.sampling.sample_seed)):
        cell, config = record.config, config_of(record.config)
        found.labels.setdefault(config, f"{cell.job.setting}, {cell.sampling.setting}")
        path = store.path("cells", key, ".png")
        if config not in found.pictures and path.is_file():
            found.pictures[config] = path
        for axis, value in _levels(cell):
            found.levels.setdefault(axis, {})[value] = None
        made = record.environment
        facts = {
            "commit": f"{made.commit or 'none'}{' and changes' if made.dirty else ''}",
            "code (hash)": made.code[:12],
            "torch": made.torch,
            "Python": made.python,
            "device": made.gpu or made.processor,
            "threads": str(made.threads),
            "judge (sha256)": record.provenance.classifier[:12],
            "data set (sha256)": record.provenance.dataset_sha256[:12],
            "N": f"{cell.n:,}",
        }
        for name, said in facts.items():
            found.made.setdefault(name, {})[said] = None
    return found


def _levels(cell: Setting) -> Iterator[tuple[str, str]]:
    for axis in AXES:
        part = cell.job if axis.part == "training" else cell.sampling
        yield axis.title, str(axis.tell(getattr(part, axis.name)))


def page(
    names: tuple[str, str], sides: tuple[Side, Side], compared: Sequence[Row], metric: str, left_out: Sequence[str] = ()
) -> str:
    """The page.

    :param compared: as :func:`bench.analysis.compare.compare` yields them.
    :param left_out: a line for each thing that could not be compared.
    """
    a, b = sides
    counts = Counter(row.verdict for row in compared)
    answer = listing(f"{count} {verdict}" for verdict, count in counts.most_common())
    alone = [len(one.labels.keys() - other.labels.keys()) for one, other in ((a, b), (b, a))]
    above: list[Block] = [
        heading(1, "A against B"),
        text(Strong(f"{metric}, {plural(len(compared), 'setting')} that both have: {answer}.")),
        text(
            "A is ", Strong(names[0]), ". B is ", Strong(names[1]), f". Only in A: {alone[0]}. Only in B: {alone[1]}."
        ),
        heading(2, "Verdicts"),
        text(
            "Intervals are 95%, over training seeds. Cells with the same training and sampling seed are compared as "
            "pairs, if there are pairs of two training seeds or more. A verdict needs p below 0.05, adjusted for the "
            "number of settings (Holm). The line in the middle is no difference."
        ),
    ]
    if any(row.found.shared for row in compared):
        above.append(text("Training seeds share a sampling seed here, so p is too small and intervals are too narrow."))
    if left_out:
        above.append(Bullets(tuple((line,) for line in left_out)))
    below: list[Block] = [*_differences(a, b), *_alone(a, b), *_pictures(a, b)]
    return plain("A against B: ddpm-bench", [elements(above, {}), _verdicts(compared, metric), elements(below, {})])


def _verdicts(compared: Sequence[Row], metric: str) -> str:
    ratio = scale_of(metric) == "ratio"
    none = 1.0 if ratio else 0.0
    between = "B / A" if ratio else "B - A"
    place = scale([value for row in compared for value in row.found[:3]], none)

    def words(row: Row) -> str:
        value, low, high = map(short, row.found[:3])
        whole = f"× {value}" if ratio else value
        return f"{whole}, from {low} to {high}" if row.found.low == row.found.low else whole

    body = (
        [
            escape(row.label), f"{row.n:,}", f"{row.runs_a}\u00a0and\u00a0{row.runs_b}", short(row.a), short(row.b),
            interval(*row.found[:3], place, none, words(row)), short(row.p_holm),
            f'<span class="verdict {CLASSES.get(row.verdict, "")}">{escape(row.verdict)}</span>',
        ]
        for row in compared
    )  # fmt: skip
    titles = ("setting", "N", "runs", f"A, {metric}", f"B, {metric}", f"{between}, 95% interval", "p (Holm)", "verdict")
    return rows(f"{metric} of each setting that both have", titles, body)


def _differences(a: Side, b: Side) -> Iterator[Block]:
    """What one set has and the other has not: levels of axes, versions and machines."""
    yield heading(2, "What differs")
    lines: list[list[Cell]] = []
    for mine, theirs in ((a.levels, b.levels), (a.made, b.made)):
        for name in dict.fromkeys([*mine, *theirs]):
            one, other = mine.get(name, {}), theirs.get(name, {})
            if one.keys() != other.keys():
                lines.append([name, listing(sorted(one)) or None, listing(sorted(other)) or None])
    if lines:
        yield table([Column("fact", "left"), Column("A", "left"), Column("B", "left")], lines)
    else:
        yield text("Nothing. Settings, code, versions, machine and judge are the same.")


def _alone(a: Side, b: Side) -> Iterator[Block]:
    """The settings of one set only."""
    lines: list[list[Cell]] = [
        [where, label]
        for where, one, other in (("A", a, b), ("B", b, a))
        for config, label in sorted(one.labels.items(), key=lambda item: item[1])
        if config not in other.labels
    ]
    if lines:
        yield heading(2, "In one set only")
        yield table([Column("set", "left"), Column("setting", "left")], lines)


def _pictures(a: Side, b: Side) -> Iterator[Block]:
    """A row a setting, A on the left, where both have a picture."""
    both = sorted(a.pictures.keys() & b.pictures.keys(), key=lambda config: a.labels[config])
    if not both:
        return
    yield heading(2, "Pictures")
    more = f" The first {MOST_PICTURES} of {len(both):,} settings." if len(both) > MOST_PICTURES else ""
    yield text(f"The first samples of the lowest training seed, not selected. A is on the left.{more}")
    for config in both[:MOST_PICTURES]:
        label = a.labels[config]
        yield Gallery(
            tuple(
                Picture(f"picture-{name}", one.pictures[config].read_bytes(), f"Samples of {label}, {name}", (name,))
                for name, one in (("A", a), ("B", b))
            ),
            2,
            (label,),
        )
