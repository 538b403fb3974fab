"""What each choice costs: its levels against the best one, over matched pairs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from bench.analysis.effects import Effect, alike, effects, narrower, profiles
from bench.analysis.frames import AXES, METHOD, Results
from bench.analysis.stats import FEWEST
from bench.report.blocks import Block, Bullets, Cell, Column, Figure, Spans, Spread, Strong, heading, table, text
from bench.report.formats import DASH, span_of
from bench.report.sections import variance
from bench.report.sections.common import headline_alone, numbers
from bench.text import listing, plural
from ddpm.spec import parse

MOST_PROFILES = 6
"""Axes whose performance profiles are drawn."""
MOST_LEVELS = 12
"""Levels of an axis that are compared, the best ones where there are more."""
MOST_NAMED = 4
"""Levels of another axis that are named."""
MOST_MARKS = 1000
"""Pairs of a level that are drawn: more than that are one smear."""
FACTORS = np.geomspace(1, 10, 121)
"""How many times the best level's FID: where performance profiles are drawn."""

Group = tuple[str, list[Effect]]


def section(results: Results) -> Iterator[Block]:
    """Ratios and profiles by choice; then which choice matters, and where chance comes from."""
    found = [(axis, effects(results.done, axis, results.levels(axis))) for axis in AXES if axis in results.varying]
    found = [(axis, group) for axis, group in found if any(one.ratios for one in group if one.level != one.best)]
    if not found:
        return
    long = [AXES[axis] for axis, group in found if len(group) > MOST_LEVELS]
    found = [(axis, _best_levels(group)) for axis, group in found]
    yield heading(2, "What each choice costs")
    yield from _how_to_read(found, len(results.seeds), headline_alone(results), _whole_way(results))
    yield from _limits(results, found)
    if long:
        yield text(f"Of {listing(long)} only the {MOST_LEVELS} levels with the lowest ratios are shown.")
    yield _figure(found)
    yield from _without_class(found)
    yield _table(found, len(results.seeds))
    yield from _profiles(results, found)
    yield from variance.factors_of(results)
    yield from variance.scatter_of(results)


def _how_to_read(found: Sequence[Group], seeds: int, judge: str, more: str) -> Iterator[Block]:
    yield text(
        "The ratio says how many times larger the FID is with one level than with the best level of the same choice. "
        "Everything else is equal: the ratio is the geometric mean over matched pairs of cells. The range over pairs "
        "shows how much it varies with the other choices and with seeds. It is not a confidence interval. The best "
        "level is the one with the lowest mean. Whether chance explains the difference is not tested here.",
        judge,
        " P(best is better) is the probability of improvement: how likely a training run with the best level has a "
        "lower FID than a run with this level. Its 95% interval is over training runs."
        if seeds >= FEWEST
        else "",
        more,
    )
    unsure = [AXES[axis] for axis, group in found if _has_reference(group)]
    if unsure:
        yield text(
            f"For {listing(unsure)} not every setting has every level, or which level is the best depends on the other "
            "choices. The ratios are then to a reference level. A ratio below 1 is better than that level. Two of "
            "these ratios may be of different settings: do not compare them with each other."
        )


def _whole_way(results: Results) -> str:
    """What else the choice “sampler” stands for here."""
    others = [
        axis.title for axis in METHOD if axis.name != "sampler" and results.done[axis.column].nunique(dropna=False) > 1
    ]
    return f" The choice “sampler” stands for more than the sampler: also for {listing(others)}." if others else ""


def _limits(results: Results, found: Sequence[Group]) -> Iterator[Block]:
    """Which pairs hold for a part of the study only, and which levels do the same."""
    items: list[Spans] = []
    for axis, group in found:
        words = []
        for other, levels in narrower(results.done, axis, group, results.varying).items():
            named = listing(level for level in results.levels(other) if level in levels)
            words.append(f"{AXES[other]} {named if len(levels) <= MOST_NAMED else f'in {len(levels)} of its levels'}")
        if words:
            items.append((Strong(AXES[axis]), f": {'; '.join(words)}."))
    if items:
        yield text(
            "Not every choice was tried with every other. A choice in this list was compared only with these levels of "
            "the others:"
        )
        yield Bullets(tuple(items))
    same = [f"{AXES[axis]} {listing(levels)}" for axis, group in found for levels in alike(group)]
    if same:
        yield text(f"These levels have the same FID in every pair, so they do the same here: {'; '.join(same)}.")


def _without_class(found: Sequence[Group]) -> Iterator[Block]:
    """How a network that knows classes is compared with one that knows none."""
    nets = [str(effect.level) for axis, group in found if axis == "net" for effect in group if effect.ratios]
    told = [net for net in nets if dict(parse(net).options).get("classes")]
    if told and len(told) < len(nets):
        yield text(
            f"A network that can be told the class ({listing(told)}) is compared with others without a class: no other "
            "way to sample is common to both. It learned to draw without one only from the few images whose class was "
            "hidden in training. Told the class, it may be the better one."
        )


def _has_reference(group: Sequence[Effect]) -> bool:
    """Whether a level has a lower mean than the one that the others are measured against."""
    return any(effect.ratio < 1 for effect in group if effect.ratios)


def _best_levels(group: list[Effect]) -> list[Effect]:
    """The levels with the lowest ratios, as many as can be shown, in the study's order."""
    ratios = sorted(effect.ratio for effect in group if effect.ratios)
    limit = ratios[MOST_LEVELS - 1] if len(group) > MOST_LEVELS <= len(ratios) else math.inf
    return [effect for effect in group if effect.ratio <= limit or limit == math.inf][:MOST_LEVELS]


def _table(found: Sequence[Group], seeds: int) -> Block:
    over_seeds = numbers("median (range) over seeds") if seeds > 1 else []
    if seeds >= FEWEST:  # with three, the interval is 34% to 100% whatever was seen
        over_seeds.append(Column("P(best is better)", format="percent"))
    columns = [
        Column("choice", "left"), Column("level", "left"), Column("FID ratio", format="times"),
        *numbers("range over pairs"), *over_seeds, Column("pairs", format="plain"),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for axis, group in found:
        for i, effect in enumerate(group):
            name: Cell = Strong(AXES[axis]) if i == 0 else ""
            rows.append([name, str(effect.level), *_row(effect, _has_reference(group), len(over_seeds))])
    return table(columns, rows)


def _row(effect: Effect, reference: bool, over_seeds: int) -> list[Cell]:
    if effect.level == effect.best:
        return ["reference level" if reference else Strong("best"), *[""] * (2 + over_seeds)]
    seeds: list[Cell] = [_over_seeds(effect), _chance(effect)]
    return [effect.ratio, span_of(effect.ratios), *seeds[:over_seeds], len(effect.ratios)]


def _chance(effect: Effect) -> Cell:
    found = effect.chance
    if found is None:
        return None
    return found.value if math.isnan(found.low) else Spread(found.value, found.low, found.high)


def _over_seeds(effect: Effect) -> Cell:
    if not effect.by_seed:
        return DASH
    return Spread(statistics.median(effect.by_seed), min(effect.by_seed), max(effect.by_seed))


def _figure(found: Sequence[Group]) -> Block:
    levels = [
        {"choice": AXES[axis], "level": str(effect.level), "ratio": effect.ratio,
         "reference": bool(effect.ratios) and effect.level == effect.best}
        for axis, group in found for effect in group
    ]  # fmt: skip
    pairs = [
        {"choice": AXES[axis], "level": str(effect.level), "ratio": ratio}
        for axis, group in found for effect in group if effect.level != effect.best
        for ratio in _thinned(effect.ratios)
    ]  # fmt: skip
    reference = any(_has_reference(group) for _, group in found)
    level = "best level (or the reference level)" if reference else "best level"
    return Figure(
        name="choices",
        mark="choices",
        data={"levels": pd.DataFrame(levels), "pairs": pd.DataFrame(pairs, columns=["choice", "level", "ratio"])},
        caption=(
            "What each choice costs. Ticks are matched pairs of cells, dots their geometric mean, diamonds the "
            f"{level} of each choice. To the right is worse.",
        ),
        alt="FID ratio of each level of each choice, on a log scale",
        options={"label": f"FID relative to the {level} (log scale; 1 = as good)"},
    )


def _thinned(values: Sequence[float]) -> Sequence[float]:
    """About as many as can be told apart, in order, the extremes among them."""
    if len(values) <= MOST_MARKS:
        return values
    ordered = sorted(values)
    return [*ordered[:: len(ordered) // MOST_MARKS], ordered[-1]]


def _profiles(results: Results, found: Sequence[Group]) -> Iterator[Block]:
    """How often each level of an axis is within a factor of the best one."""
    panels = []
    for axis, group in found:
        levels = [effect.level for effect in group]
        shares, problems = profiles(results.done, axis, levels, FACTORS)
        if problems > 1 and len(levels) > 1:
            wide = pd.DataFrame(shares, columns=[str(level) for level in levels]).assign(factor=FACTORS)
            long = wide.melt("factor", var_name="level", value_name="share")
            panels.append(long.assign(panel=f"{AXES[axis]}, {plural(problems, 'case')}"))
    if panels:
        yield Figure(
            name="profiles",
            mark="profiles",
            data={"shares": pd.concat(panels[:MOST_PROFILES], ignore_index=True)},
            caption=(
                "Performance profiles (Dolan & Moré 2002). A line says in which share of cases a level's FID is at "
                "most so many times the lowest FID of the case. At 1 it says how often the level is the best. Higher "
                "and further to the left is better. A case is one combination of everything else, with its seeds, in "
                "which every level was measured.",
            ),
            alt="Performance profiles: how often each level is within a factor of the best",
        )
