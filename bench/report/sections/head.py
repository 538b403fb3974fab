"""The title, and the study in one line."""

from __future__ import annotations

from collections.abc import Iterator

from bench.analysis.frames import Results
from bench.report.blocks import Block, CodeSpan, Emph, Strong, heading, text
from bench.rows import identity
from bench.score.judges import pinned
from bench.text import listing, plural


def section(results: Results) -> Iterator[Block]:
    """The study's name, description and size."""
    study, cells, seeds = results.study, results.cells, len(results.seeds)
    yield heading(1, "ddpm-bench: the ", Emph(study.name), " study")
    if study.description.strip():
        yield text(study.description.strip())
    facts = [
        f"{int((cells['status'] == 'done').sum())} of {plural(len(cells), 'cell')} done",
        f"data set {identity('dataset', study.dataset)}",
        f"network {listing(results.levels('net'))}",
        study.train.length,
        plural(seeds, "training seed") if seeds else "",
        f"N = {study.score.n:,} samples a cell",
    ]
    yield text(" · ".join(filter(None, facts)))
    judge = pinned(study.dataset)
    if results.reference is not None and judge is not None and results.reference.classifier != judge:
        yield text(
            Strong("These results are stale:"),
            " they were scored by an older judge than today's. Compare the numbers below with one another, but not "
            "with newer ones. ",
            CodeSpan(f"ddpm-bench run {study.name}"),
            " renews them.",
        )
