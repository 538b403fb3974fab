"""What a study's report says: one file a section, each a function from the results to blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bench.analysis.frames import Results
from bench.report.blocks import Block
from bench.report.sections import (
    answer,
    beside,
    cells,
    claims,
    costs,
    demo,
    denoising,
    frontier,
    guidance,
    head,
    heat_map,
    likelihood,
    losses,
    names,
    provenance,
    samples,
    split,
    steps,
    taught,
    times,
)

SECTIONS: tuple[Callable[[Results], Iterator[Block]], ...] = (
    head.section,
    answer.section,
    costs.section,
    heat_map.section,
    taught.section,
    steps.section,
    split.section,
    frontier.section,
    losses.section,
    likelihood.section,
    guidance.section,
    times.section,
    samples.section,
    denoising.section,
    cells.section,
    claims.section,
    beside.section,
    demo.section,
    names.section,
    provenance.section,
)
"""The report, in order. A section that has nothing to say yields nothing."""
