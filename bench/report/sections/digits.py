"""The demo's “handwritten digits, somehow”: at which T, by which process, and what the conditioning predicted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.effects import geometric_mean, matched
from bench.analysis.frames import Results
from bench.analysis.stats import most_pairs
from bench.analysis.whole import block
from bench.report.blocks import (
    Block,
    Bullets,
    CodeSpan,
    Column,
    Gallery,
    Picture,
    Spans,
    Strong,
    heading,
    table,
    text,
)
from bench.report.formats import short
from bench.report.sections.common import judge_cells, judge_columns, numbers, other_judges
from bench.text import listing, plural

PART1, PART2 = {"previous": "", "mean": " (its mean as the target)"}, "eps"
"""Objectives of the demo's first part, each with what is said of it, and that of the second."""
Gains = dict[tuple[str, str, int], float]
"""(objective, schedule, T) → the largest |σ/D| over t."""
NO_DIGITS = "no digits"
CLEAR, ROUGH = 0.5, 30
"""A model's images are called digits where their FID is at least :data:`ROUGH` times lower than that of noise. They are
clear where their precision is also at least the share :data:`CLEAR` of that of real images."""


def part(results: Results) -> Iterator[Block]:
    """What the study's results say of the demo's first claim."""
    yield heading(3, "1. “We can observe somehow handwritten digits”, of both models.")
    models = results.settings[results.settings["objective"].isin((*PART1, PART2))] if len(results.settings) else None
    if models is None or models.empty or results.bounds is None:
        yield text("Not measured here: no samples of the demo's models have been scored yet.")
        return
    real, noise = results.bounds[0]["precision"], results.bounds[1]["fid"]
    models = models.assign(grade=[_grade(row, real, noise) for _, row in models.iterrows()])
    yield text(*_holds(results, models))
    yield text(
        "What is a digit? Samples are called digits here where their FID is at least "
        f"{ROUGH} times lower than that of noise. They are called clear where their precision is also at least "
        f"{CLEAR:.0%} of that of real test images ({real:.3f}), and rough where it is not. Precision is the share of "
        "samples that lie among real images in the features of the headline judge. Such lines are arbitrary, so look "
        "at the pictures too. "
        "The demo's own process is unclipped. Where no word says so, x̂₀ is clipped. ",
        _training(results),
    )
    yield Bullets(tuple(_digits(results, models, objective) for objective in results.levels("objective")
                        if objective in (*PART1, PART2)))  # fmt: skip
    yield from _clearer(results)
    yield from _conditioning(results, models)
    yield from _pictures(results, models)


def holds(seen: Iterable[tuple[int, int]]) -> str:
    """Whether a claim holds, from the cases in which it does and all cases, for each thing that it is about."""
    shares = [found / cases for found, cases in seen]
    return f"It {'holds' if min(shares) == 1 else 'holds in part' if min(shares) > 0 else 'does not hold'} here"


def _holds(results: Results, models: pd.DataFrame) -> Spans:
    """Of how many settings of each model the images are digits."""
    grades = {one: models["grade"][models["objective"] == one] for one in results.levels("objective")}
    seen = {one: (int((part != NO_DIGITS).sum()), len(part)) for one, part in grades.items() if len(part)}
    said = [(", ", CodeSpan(one), f" in {found} of {cases}") for one, (found, cases) in seen.items()]
    return (
        f"{holds(seen.values())}. These models give digits, clear or rough: ",
        *[span for spans in said for span in spans][1:], ". A case is a T and a sampler.",
    )  # fmt: skip


def _training(results: Results) -> str:
    train = results.study.train
    images = f"{train.images:,} images" if train.images else "all training images"
    return (
        f"Each network was trained for {plural(train.epochs, 'epoch')} of {images}. The results say nothing about "
        "longer training."
    )


def _grade(row: Any, real: float, noise: float) -> str:
    """What the samples of a setting are called."""
    if ROUGH * row["fid"] > noise:
        return NO_DIGITS
    return "clear digits" if row["precision"] >= CLEAR * real else "rough digits"


def _digits(results: Results, models: pd.DataFrame, objective: str) -> Spans:
    """Where the samples of an objective are digits, where not, and what is not known."""
    own = models[models["objective"] == objective]
    known = {_place(row) for _, row in own.iterrows()}
    asked = [_place(row) for _, row in results.shown[results.shown["objective"] == objective].iterrows()]
    lacking = sorted(set(asked) - known)
    grades = ("clear digits", "rough digits", NO_DIGITS)
    parts = [f"{grade} {_places(part)}" for grade in grades if len(part := own[own["grade"] == grade])]
    parts += [f"not measured at {listing(f'T = {T:,} ({method})' for T, method in lacking)}"] if lacking else []
    of = "Part 1" if objective in PART1 else "Part 2"
    return Strong(of), PART1.get(objective, ""), ", ", CodeSpan(objective), ": ", "; ".join(parts), "."


def _place(row: Any) -> tuple[int, str]:
    return int(row["T"]), str(row["method"])


def _places(frame: pd.DataFrame) -> str:
    """``at T = 50 (ancestral, ancestral unclipped) and T = 200 (ancestral)``."""
    by_T = [f"T = {T:,} ({listing(sorted(set(part['method'])))})" for T, part in frame.sort_values("T").groupby("T")]
    return f"at {listing(by_T)}"


def _clearer(results: Results) -> Iterator[Block]:
    """Whether ε has the lower FID, T by T, over all pairs that differ in nothing else."""
    lines: list[Spans] = []
    fids = matched(results.done[results.done["fid"] > 0], "objective")
    for T in sorted(results.levels("T")):
        for other in PART1:
            if not {other, PART2} <= set(fids):
                continue
            pairs = fids[fids.index.get_level_values("T") == T][[other, PART2]].dropna()
            if len(pairs):
                ratios = tuple(pairs[other] / pairs[PART2])
                lower = f"{sum(ratio > 1 for ratio in ratios)} of {plural(len(ratios), 'pair')}"
                lines.append((
                    f"T = {T:,}: ", CodeSpan(PART2), f" has the lower FID in {lower}. ",
                    CodeSpan(other), f" has {short(geometric_mean(ratios))} times its FID (geometric mean).",
                ))  # fmt: skip
    if lines:
        yield text("Are the images of Part 2 clearer at each T? A lower FID means nearer to real images.")
        yield Bullets(tuple(lines))


def _conditioning(results: Results, models: pd.DataFrame) -> Iterator[Block]:
    """The gain of every objective and T beside what was seen."""
    keys = [(str(row["objective"]), str(row["schedule"]), int(row["T"])) for _, row in models.iterrows()]
    gains = {key: _gain(*key) for key in dict.fromkeys(keys)}
    yield text(
        "What the formulas predict: an error of the network's output becomes an error of x̂₀ that is |σ/D| times as "
        "large. The table has the largest of these factors over t. Does FID rise with it, from one T to the next? Only "
        "training seeds that each of these T has count here. Where their ranges overlap, it is too close to say. This "
        "is no test: ranges of three seeds often lie apart by chance."
    )
    pairs = dict.fromkeys(key[:2] for key in keys)
    lines = [line for pair in pairs if (line := _order(results, *pair, gains)) is not None]
    yield Bullets(tuple(lines)) if lines else text("These results cannot say: no training seed was run at two T.")
    ordered, others = models.assign(gain=[gains[key] for key in keys]), other_judges(results)
    columns = [
        Column("objective", "left"), Column("T", format="plain"), Column("sampler", "left"), *numbers("largest |σ/D|"),
        *numbers("FID"), *judge_columns(others), *numbers("precision", "confidence", how="three decimals"),
    ]  # fmt: skip
    rows = [
        [str(row["objective"]), int(row["T"]), str(row["method"]), row["gain"], row["fid"], *judge_cells(others, row),
         row["precision"], row["confidence"]]
        for _, row in ordered.sort_values(["objective", "T", "method"], kind="stable").iterrows()
    ]  # fmt: skip
    yield table(columns, rows)


def _gain(objective: str, schedule: str, T: int) -> float:
    from ddpm import objective as objectives  # which loads torch
    from ddpm.schedule import make_schedule

    return float(objectives.gain(make_schedule(schedule, T), objective).max())


def _order(results: Results, objective: str, schedule: str, gains: Gains) -> Spans | None:
    """Whether FID rises with the gain, over the largest block of cells and T; None where there are no two T."""
    done = results.done[results.done["fid"] > 0]
    grid = matched(done[(done["objective"] == objective) & (done["schedule"] == schedule)], "T")
    rows = [(int(seed), i) for i, seed in enumerate(grid.index.get_level_values("seed"))]
    every = np.array([int(T) for T in grid.columns])
    have = {row: every[there].tolist() for row, there in zip(rows, grid.notna().to_numpy(), strict=True)}
    whole, kept = block(have, lambda rows, Ts: (len(Ts) > 1, *most_pairs(rows, Ts)))
    if len(kept) < 2:
        return None
    left = [f"T = {int(T):,}" for T in every if T not in kept]
    fids = grid.iloc[[i for _, i in whole]][kept].apply(np.log).groupby(level="seed").mean().apply(np.exp)
    low, high = fids.min(), fids.max()
    order = sorted(kept, key=lambda T: gains[objective, schedule, T])
    both = list(itertools.pairwise(order))
    rises, falls = all(high[a] < low[b] for a, b in both), any(low[a] > high[b] for a, b in both)
    found = "In these seeds FID rises with the gain." if rises else "It does not." if falls else "Too close to say."
    found = found if len(fids) > 1 else "One seed cannot tell."
    fewer = f" Left out, with fewer seeds: {listing(left)}." if left else ""
    each = [f"T = {T:,} (gain {short(gains[objective, schedule, T])}, FID {_ranged(fids[T])})" for T in order]
    return CodeSpan(objective), f": {listing(each)}, over {plural(len(fids), 'training seed')}. {found}{fewer}"


def _ranged(fids: pd.Series) -> str:
    """The geometric mean over training seeds, and their range where there are several."""
    mean = short(geometric_mean(tuple(fids)))
    return f"{mean}, from {short(fids.min())} to {short(fids.max())}" if len(fids) > 1 else mean


def _pictures(results: Results, models: pd.DataFrame) -> Iterator[Block]:
    """A row for each T and process, a column for each objective."""
    objectives = [one for one in results.levels("objective") if one in (*PART1, PART2)]
    found = {(str(row["objective"]), *_place(row)): row for _, row in models.iterrows()}
    places = sorted({(T, method) for _, T, method in found})
    pictures = tuple(
        _picture(results, found.get((objective, T, method))) for T, method in places for objective in objectives
    )
    if any(picture and picture.png for picture in pictures):
        yield Gallery(
            pictures,
            len(objectives),
            ("The first 64 samples of each, not selected, of the lowest training seed. A row is a T and a process.",),
        )


def _picture(results: Results, row: Any) -> Picture | None:
    png = None if row is None else results.preview(row["key"])
    if png is None:
        return None
    title = f"{row['objective']}, T = {int(row['T'])}, {row['method']}"
    slug = re.sub(r"[^\w.]+", "-", title, flags=re.ASCII)
    note = f"FID {short(row['fid'])}, precision {row['precision']:.3f}"
    return Picture(f"digits-{slug}", png, f"Samples of {title}", (title,), (note,))
