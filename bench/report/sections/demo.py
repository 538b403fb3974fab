"""What the original demo said, and what was measured here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from bench.analysis.effects import geometric_mean, matched
from bench.analysis.frames import AXES, Results
from bench.report.blocks import Block, Bullets, CodeSpan, Column, Spans, heading, table, text
from bench.report.formats import short
from bench.report.sections import digits
from bench.report.sections.common import (
    CELL,
    axis_cells,
    axis_columns,
    headline_alone,
    numbers,
    several_seeds,
    shared_note,
)
from bench.text import listing, plural

STUDIES = ("demo", "demo-short")
"""The studies of the demo: its own, and the same with less training."""
MOST_PAIRS = 24
"""Rows of the table of pairs."""
MNIST, SIZE = 60_000, 4.3
"""Images of the demo's epoch, and the size of its network (MiB)."""


def section(results: Results) -> Iterator[Block]:
    """The four claims of the demo; nothing in the report of another study."""
    if results.study.name not in STUDIES:
        return
    yield heading(2, "The demo's claims")
    yield text(
        "This project began as a small demo. It trained one network, ScoreNet, in two ways: to predict the mean of the "
        "previous state (here ", CodeSpan("previous"), ": the target is that state as drawn), and to predict the error "
        "(here ", CodeSpan("eps"), "). It said four things about them.",
    )  # fmt: skip
    yield from digits.part(results)
    yield from _clearer(results)
    yield from _size(results)
    yield from _epoch(results)


def _clearer(results: Results) -> Iterator[Block]:
    yield heading(3, "2. “The error model gives clearer images than the mean model.”")
    pairs = _pairs(results)
    if pairs.empty:
        yield text(
            "Not measured here: no scored cells of ", CodeSpan("previous"), " and ", CodeSpan("eps"),
            " agree in everything else.",
        )  # fmt: skip
        return
    yield text(*_ratios_in_words(results, pairs), headline_alone(results))
    axes = [a for a in AXES if a != "objective" and (a in results.varying or a in CELL)]
    many = several_seeds(results)
    rows = [
        [*axis_cells(axes, row), *([int(row["seed"])] if many else []),
         row["previous fid"], row["eps fid"], row["ratio"], row["previous confidence"], row["eps confidence"]]
        for _, row in pairs.head(MOST_PAIRS).iterrows()
    ]  # fmt: skip
    seed = [Column("training seed", format="plain")] if many else []
    sure = numbers("confidence, previous", "confidence, eps", how="three decimals")
    columns = [*axis_columns(axes), *seed, *numbers("FID, previous", "FID, eps", "ratio"), *sure]
    caption = [f"The first {MOST_PAIRS} of {len(pairs):,} pairs:"] if len(pairs) > MOST_PAIRS else []
    yield table(columns, rows, *caption)


def _pairs(results: Results) -> pd.DataFrame:
    """A row for each pair of cells of ``previous`` and ``eps`` that differ in nothing else."""
    done, both = results.done[results.done["fid"] > 0], ["previous", "eps"]
    if not set(both) <= set(done["objective"]):
        return pd.DataFrame()
    fids = matched(done, "objective")[both].dropna()
    sure = matched(done, "objective", "confidence")[both].dropna()
    pairs = fids.add_suffix(" fid").join(sure.add_suffix(" confidence"), how="inner")
    return pairs.assign(ratio=pairs["previous fid"] / pairs["eps fid"]).reset_index()


def _ratios_in_words(results: Results, pairs: pd.DataFrame) -> Spans:
    previous, eps = CodeSpan("previous"), CodeSpan("eps")
    ratios, gains = tuple(pairs["ratio"]), pairs["eps confidence"] - pairs["previous confidence"]
    mean, gain, total = short(geometric_mean(ratios)), f"{gains.median():+.3f}", len(pairs)
    real = (
        f" Real images have {results.bounds[0]['confidence']:.3f}."
        if results.bounds and "confidence" in results.bounds[0]
        else ""
    )
    one = " That is one training run of each model. Nobody knows yet whether it holds for others."
    alone = "" if several_seeds(results) else one
    each: Any = pairs.groupby("T")["ratio"]
    lower = {int(T): (int((part > 1).sum()), len(part)) for T, part in each}
    said = listing(f"{found} of {plural(cases, 'pair')} at T = {T:,}" for T, (found, cases) in lower.items())
    first = f"{digits.holds(lower.values())}, by FID: ", eps, f" has the lower FID in {said}. "
    if total == 1:
        return (
            *first, "The two cells differ in nothing else. ", previous, f" has {mean} times the FID of ", eps,
            ". The classifier's mean confidence in the samples of ", eps, f" differs by {gain}.{real}{alone}",
        )  # fmt: skip
    return (
        *first, "The cells of a pair differ in nothing else. Over all pairs ", previous,
        f" has {mean} times the FID of ", eps, " (geometric mean). The classifier's mean confidence is "
        "higher for the samples of ", eps,
        f" in {int((gains > 0).sum())} of {total} pairs. The median difference is {gain}.{real}{alone}",
    )  # fmt: skip


def _size(results: Results) -> Iterator[Block]:
    yield heading(3, "3. “4.3 MB for one ScoreNet.”")
    networks = results.networks
    if networks.empty:
        yield text("Not measured here: no network has been trained yet.")
        return
    nets = list(networks["net"][networks["megabytes"].round(1) == SIZE])
    yield text(f"It holds here, for {listing(nets)}." if nets else "It does not hold here: no network is of that size.")
    yield Bullets(tuple(
        (CodeSpan(row["net"]), f": {row['params']:,} parameters, {row['megabytes']:.3f} MiB "
         f"({row['megabytes'] * 2**20 / 1e6:.3f} MB) saved.")
        for _, row in networks.iterrows()
    ))  # fmt: skip
    yield text("The demo counts a megabyte as 2²⁰ bytes.")


def _epoch(results: Results) -> Iterator[Block]:
    yield heading(3, "4. “Around 20 s an epoch” on a GPU that was not named.")
    yield text(
        "Whether it holds cannot be said: the demo named neither its GPU nor its batch size, and times on different "
        "hardware cannot be compared."
    )
    frame = results.epochs[results.epochs["exclusive"].astype(bool)]
    if frame.empty:
        yield text(f"Not measured here. {shared_note(results) or 'No network has been trained yet.'}")
        return
    warm = frame[frame["warm"].astype(bool)]
    groups: Any = (frame if warm.empty else warm).groupby(["net", "images"], sort=False)
    yield Bullets(tuple(_duration(net, images, part) for (net, images), part in groups))


def _duration(net: str, images: int, part: pd.DataFrame) -> Spans:
    middle, low, high = part["seconds"].median(), part["seconds"].min(), part["seconds"].max()
    full = "" if abs(images - MNIST) < MNIST / 100 else f". That is {short(middle * MNIST / images)} s for {MNIST:,}"
    spread = f"{short(low)}–{short(high)}" if len(part) > 1 else short(low)
    return (
        CodeSpan(net), f": {short(middle)} s for an epoch of {images:,} images{full} (median of "
        f"{plural(len(part), 'epoch')}, {spread} s) on {listing(sorted(set(part['hardware'])))}.",
    )  # fmt: skip
