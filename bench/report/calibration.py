"""The page on what each metric sees of known damage: ``ddpm-bench metrics`` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import files
from bench.errors import UserError
from bench.report.blocks import Block, Bullets, Cell, CodeSpan, Column, Spans, Strong, heading, table, text
from bench.report.write import write_files
from bench.score.calibrated import COPIES, FEW, MANY, SEEN, Calibration, distance, smallest
from bench.score.judges import panel, with_hash
from bench.text import listing

RECORD = "calibration.json"


def members(found: Calibration) -> list[str]:
    """The metrics that a conclusion is drawn from first: ``fid``, the other judges, what needs no network."""
    return ["fid", *panel("fid", found.classifier)]


def metrics_of(found: Calibration) -> list[str]:
    """Every metric measured, the panel first."""
    measured = dict.fromkeys(point.metric for point in found.points)
    return [name for name in dict.fromkeys([*members(found), *measured]) if name in measured]


def seen_by(found: Calibration, damage: str, n: int = FEW) -> list[str]:
    """The metrics that see the strength of a damage that is called slight."""
    slight = found.damages[damage].slight
    apart = {name: distance(found, name, damage, slight, n) for name in metrics_of(found)}
    return [name for name, value in apart.items() if value is not None and value >= SEEN]


def blind_to(found: Calibration, metric: str, n: int = FEW) -> list[str]:
    """The damages that a metric does not see at any strength that was tried."""
    return [damage for damage in found.damages if smallest(found, metric, damage, n) is None]


def compose(found: Calibration) -> Iterator[Block]:
    """The page's blocks."""
    judge = with_hash(found.classifier)
    yield heading(1, "What each metric sees")
    yield text(
        f"Real test images of {found.dataset} were damaged in known ways, a little and then more. A metric sees a "
        f"damage if its score is worse than for clean images by {SEEN:g} times its own scatter. The scatter is the "
        "standard deviation over clean sets of the same size. ",
        CodeSpan("fid"),
        " is by the judge ",
        CodeSpan(judge.name if judge else "own classifier"),
        f" ({found.classifier[:12]}).",
    )
    yield heading(2, "A slight damage")
    yield text(f"Which metrics see a damage of the strength that we call slight, in sets of {FEW:,} images?")
    yield table(
        [
            Column("damage", "left"),
            Column("strength", format="plain"),
            Column("unit", "left"),
            Column("seen by", "left"),
        ],
        [
            [damage, f"{row.slight:g}", row.unit, _codes(seen_by(found, damage)) or Strong("nobody")]
            for damage, row in found.damages.items()
        ],
    )
    for n in (FEW, MANY):
        yield heading(2, f"The smallest damage that is seen, N = {n:,}")
        yield from _smallest(found, n)
    yield heading(2, "What each metric cannot see")
    blind = {metric: blind_to(found, metric) for metric in metrics_of(found)}
    yield Bullets(tuple((CodeSpan(metric), f": {listing(damages)}.") for metric, damages in blind.items() if damages))
    yield text(
        f"That is at N = {FEW:,}, for all strengths that were tried. Copies of training images make FID lower, so no "
        "FID sees them as a damage."
    )
    yield heading(2, "The numbers")
    yield from _numbers(found)
    yield text(
        f"At N = {FEW:,} a number is the mean of {_draws(found)} sets, for clean images of "
        f"{_draws(found, clean=True)}. At N = {MANY:,} there is one set, and the scatter of clean sets is from images "
        f"drawn with replacement. {_pairs(found)} The metric ",
        CodeSpan(COPIES),
        " is what ",
        CodeSpan("score --thorough"),
        " reports: the share of images that are nearer to a training image, in pixels, than 99% of test images are.",
    )
    yield from _short(found)


def _pairs(found: Calibration) -> str:
    """What is said of metrics that would see an image that is drawn twice."""
    if found.at("kid", "", 0, MANY) is None:
        return "Metrics that compare all pairs of images were not measured there."
    return "For metrics that compare all pairs of images it is from halves of the set."


def _short(found: Calibration) -> Iterator[Block]:
    """The sets that are smaller than their N."""
    sizes = {f"{point.damage} {point.strength:g}": (point.n, point.size) for point in found.points if point.size}
    sets = [f"{size:,} images with {what} at N = {n:,}" for what, (n, size) in sizes.items()]
    if sets:
        yield text(f"Some sets are smaller than their N, because there were no more test images: {listing(sets)}.")


def _codes(names: list[str]) -> Spans:
    parts = [(", ", CodeSpan(name)) for name in names]
    return tuple(span for pair in parts for span in pair)[1:]


def _smallest(found: Calibration, n: int) -> Iterator[Block]:
    yield text(
        "A number is the smallest strength that is seen, in the units above. A dash: not seen at any strength that was "
        "tried.",
        " For jpeg, a larger number is a slighter damage." if "jpeg" in found.damages else "",
    )
    columns = [Column("metric", "left"), *(Column(damage, format="plain") for damage in found.damages)]
    rows: list[list[Cell]] = []
    for metric in metrics_of(found):
        if found.at(metric, "", 0, n) is None:
            continue
        strengths = (smallest(found, metric, damage, n) for damage in found.damages)
        rows.append([CodeSpan(metric), *(None if s is None else f"{s:g}" for s in strengths)])
    yield table(columns, rows)


def _numbers(found: Calibration) -> Iterator[Block]:
    shown = [*members(found), "kid", "precision", "recall", "repeated", COPIES]
    for n in (FEW, MANY):
        names = [name for name in shown if found.at(name, "", 0, n)]
        columns = [Column("damage", "left"), Column("strength", format="plain"), *map(_title, names)]
        clean = [found.at(name, "", 0, n) for name in names]
        rows: list[list[Cell]] = [
            ["none", "", *(point.mean if point else None for point in clean)],
            ["scatter of clean sets", "", *(point.sd if point else None for point in clean)],
        ]
        for damage, row in found.damages.items():
            for strength in row.strengths:
                points = [found.at(name, damage, strength, n) for name in names]
                rows.append([damage, f"{strength:g}", *(point.mean if point else None for point in points)])
        yield heading(3, f"N = {n:,}")
        yield table(columns, rows)


def _title(name: str) -> Column:
    return Column(name)


def _draws(found: Calibration, clean: bool = False) -> int:
    """How many sets of :data:`FEW` images there are of each kind."""
    return max((point.draws for point in found.points if point.n == FEW and (point.damage == "") == clean), default=0)


def write(found: Calibration, out: Path) -> None:
    """Write the record, then the page that is made of it: if the page fails, the numbers are there."""
    files.write_text(out / RECORD, found.model_dump_json(indent=1, exclude_none=True) + "\n")
    write_files(out, list(compose(found)))


def read(out: Path) -> Calibration:
    """The record beside a page.

    :raises UserError: if there is none, or it is something else.
    """
    path = out / RECORD
    try:
        return Calibration.parse(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(f"no {path}: measure it with `ddpm-bench metrics`") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a record of `ddpm-bench metrics`") from error
