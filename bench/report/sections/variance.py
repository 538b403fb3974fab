"""Which choice matters, and where chance comes from: shares of the variance of log FID."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import pandas as pd

from bench.analysis.effects import Factor, factors, scatter
from bench.analysis.frames import AXES, Results
from bench.analysis.stats import Components
from bench.analysis.stats import Spread as Deviation
from bench.report.blocks import Block, Cell, Column, Range, Spread, table, text
from bench.report.formats import short
from bench.report.sections.common import LEARNT, learnt, limit
from bench.text import listing, plural

LEAST = 0.005
"""Shares under this are left out."""
LEFT = ("left",)
ALL = "all cells"

Shares = dict[tuple[str, ...], Cell]


def factors_of(results: Results) -> Iterator[Block]:
    """What each choice explains, over all cells and over those that learnt something."""
    sets, some = {ALL: results.done}, learnt(results)
    under = f"FID under {short(limit(results))}"
    if len(some) < len(results.done):
        sets[under] = some
    parts = {name: shares for name, frame in sets.items() if (shares := _shares(results, frame))}
    found = {name: shares for name, (shares, _) in parts.items()}
    if not found:
        return
    plain = [name for name, (_, one) in parts.items() if not one.corrected]
    fewer = {name: len(sets[name]) - one.cells for name, (_, one) in parts.items() if one.corrected}
    names = list(dict.fromkeys(axes for shares in found.values() for axes in shares))
    names.sort(key=LEFT.__eq__)  # last
    rows = [
        [" × ".join(AXES.get(axis, axis) for axis in axes), *(shares.get(axes) for shares in found.values())]
        for axes in names
    ]
    yield text(
        "Which choice matters? The table has the share of the variance of log FID that each choice explains by itself. "
        "A row with × is the share of two choices together, beyond what each explains alone. What is left is chance, "
        "and three or more choices together. Shares under 0.5% are left out.",
        _chance(results, plain, len(found)),
        f" The column “{under}” leaves out {len(results.done) - len(some):,} of {len(results.done):,} cells, whose FID "
        f"is not {LEARNT} times lower than that of noise{_without(results, some)}."
        if under in found
        else "",
        *(
            f" Of “{name}” {plural(count, 'cell')} more {'is' if count == 1 else 'are'} left out, because among "
            "these cells two levels were run together with one training seed alone."
            for name, count in fewer.items()
            if count
        ),
        " In brackets is the 95% interval over training seeds (jackknife)."
        if any(isinstance(share, Spread) for shares in found.values() for share in shares.values())
        else "",
        " The shares add up to more than 100%, because each is worked out by itself."
        if any(_total(shares) > 1.005 for shares in found.values())
        else "",
        " Shares may add up to less than 100%: not all choices were tried together, so a part belongs to none of them."
        if any(_total(shares) < 0.995 for shares in found.values())
        else "",
    )
    columns = [Column("choice", "left"), *(Column(name, format="percent, one decimal") for name in found)]
    yield table(columns, rows)


def _chance(results: Results, plain: Sequence[str], columns: int) -> str:
    """Whether what chance explains is taken away; ``plain``: the columns where it is not."""
    if len(results.seeds) < 2:
        return (
            " Chance alone explains something too. With one training seed nobody can take that away, so small shares "
            "are too large."
        )
    taken = " What chance would explain is taken away (jackknife over training seeds)."
    if not plain:
        return taken
    where = f" of {listing(f'“{name}”' for name in plain)}" if len(plain) < columns else ""
    kept = (
        f" Chance is still in the shares{where}, so small ones are too large. They have no interval. Among these cells "
        "a level has one training seed only, so chance cannot be taken away."
    )
    return kept if len(plain) == columns else taken + kept


def _without(results: Results, some: pd.DataFrame) -> str:
    """The objectives of which all or most cells are left out."""
    kept, every = some["objective"].value_counts(), results.done["objective"].value_counts(sort=False)
    gone = {
        "all": [str(name) for name in every.index if name not in kept],
        "most": [str(name) for name, count in every.items() if 0 < kept.get(name, 0) < count / 2],
    }
    said = listing(f"{share} cells of {listing(names)}" for share, names in gone.items() if names)
    return f". Among them are {said}" if said else ""


def _total(shares: Shares) -> float:
    """The sum of shares, as far as they are numbers."""
    values = (share.value if isinstance(share, Spread) else share for share in shares.values())
    return sum(value for value in values if isinstance(value, float) and not math.isnan(value))


def _shares(results: Results, frame: pd.DataFrame) -> tuple[Shares, Factor] | None:
    """What each choice explains, with one of them in full; nothing where only one varies."""
    axes = [axis for axis in results.varying if frame[axis].nunique() > 1]
    if len(axes) < 2:
        return None
    found, left = factors(frame, axes)
    shown: Shares = {
        factor.axes: factor.share if math.isnan(factor.low) else Spread(factor.share, factor.low, factor.high)
        for factor in found
        if factor.share >= LEAST
    }
    return (shown | {LEFT: left}, found[0]) if shown else None


def scatter_of(results: Results) -> Iterator[Block]:
    """How much of the scatter is the training run's, and how much the sampling noise's: for each objective."""
    parts = {objective: found for objective in results.levels("objective")
             if (found := scatter(results.done[results.done["objective"] == objective])) is not None}  # fmt: skip
    if not parts:
        return
    first = next(iter(parts.values()))
    many = len(parts) > 1
    yield text(
        f"Where does chance come from? Each of {first.runs} training seeds was sampled with {first.draws} sampling "
        "seeds. The table has the standard deviation of log FID that belongs to each source, with its 95% interval. A "
        "standard deviation of 5% is a factor of about 1.05.",
        " Each objective has its own rows." if many else "",
    )
    columns = [
        *([Column("objective", "left")] if many else []), Column("source", "left"), Column("what changes", "left"),
        *(Column(title, format="percent, one decimal") for title in ("s.d. of log FID", "95% interval")),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for objective, found in parts.items():
        for i, (name, part, what) in enumerate(_sources(found)):
            own: list[Cell] = [str(objective) if i == 0 else ""] if many else []
            rows.append([*own, name, what, part.sd, Range(part.low, part.high)])
    yield table(columns, rows)
    for objective, found in parts.items():
        yield text(_worth(found, f" of {objective}" if many else ""))


def _sources(found: Components) -> Iterator[tuple[str, Deviation, str]]:
    yield "training seed", found.training, "another network, the same sampling noise"
    yield "sampling seed", found.noise, "other noise, whatever the network"
    yield "training × sampling seed", found.both, "how this noise goes through this network"


def _worth(found: Components, of: str) -> str:
    """What more seeds would be worth."""
    seeds = [(found.runs, found.draws), (2 * found.runs, found.draws), (found.runs, 2 * found.draws)]
    now, runs, draws = itertools.starmap(found.error, seeds)
    return (
        f"The mean{of} over these seeds has a standard error of {now:.1%}. Twice as many training seeds would make it "
        f"{runs:.1%}. Twice as many sampling seeds would make it {draws:.1%}. A single run that is sampled once has "
        f"a standard error of {found.error(1, 1):.1%}."
    )
