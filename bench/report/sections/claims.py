"""The study's claims, each with a verdict, and what the other judges of the panel say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from bench.analysis.claims import CONTRADICTED, NOT_MEASURED, SUPPORTED, UNDECIDED, Verdict
from bench.analysis.frames import Results
from bench.analysis.stats import Scale
from bench.report.blocks import Block, Bullets, Cell, CodeSpan, Column, Range, Spans, Strong, heading, table, text
from bench.report.formats import number
from bench.report.sections.common import numbers, shared_noise
from bench.score.judges import Pinned, with_hash
from bench.text import listing, plural


def section(results: Results) -> Iterator[Block]:
    """A row a claim; nothing where the study claims nothing."""
    if not results.study.claims:
        return
    verdicts = results.verdicts
    scales = {one.scale for one in verdicts}
    yield heading(2, "Claims")
    yield text(*_how_to_read(scales, any(one.needed for one in verdicts)), shared_noise(results))
    seats = any(one.panel for one in verdicts)
    columns = [
        Column("claim", "left"), Column("verdict", "left"), *([Column("other judges", "left")] if seats else []),
        Column(" or ".join(sorted(scales, reverse=True))), *numbers("95% interval", "p (Holm)"),
        Column("pairs", format="plain"), Column("seeds", format="plain"),
        *([Column("would decide it", "left")] if any(one.needed for one in verdicts) else []),
    ]  # fmt: skip
    yield table(columns, (_row(one, seats, len(columns)) for one in verdicts))
    yield from _panel(verdicts, with_hash(results.reference.classifier) if results.reference else None)
    for one in verdicts:
        if said := list(_cautions(one, results.one_noise)):
            yield text(CodeSpan(one.claim.text), ": ", " ".join(said))


def _cautions(one: Verdict, told: bool) -> Iterator[str]:
    """What a verdict is without, and what its test cannot see; ``told``: shared noise was spoken of above."""
    no_ratio, failed, uneven, worst = one.left_out
    if any(failed):
        yield (
            f"{plural(sum(failed), 'pair')} left out, because a cell failed or its score is not finite "
            f"({_sides(failed)}). No ratio can say so, but a run that diverged speaks against its side."
        )
    if any(worst):
        yield (
            f"{plural(sum(worst), 'pair')} left out, because a score is 0 ({_sides(worst)}). No ratio can say so, but "
            "0 is the worst there is, and speaks against its side."
            + (" A pair with 0 on both sides says nothing." if worst[2] else "")
        )
    if no_ratio:
        yield f"{plural(no_ratio, 'pair')} left out, because a score is not above zero and has no ratio."
    if uneven:
        yield f"{plural(uneven, 'pair')} left out, because not all seeds have them: only the same pairs compare."
    if one.found is not None and one.found.shared and not told:
        yield "Several training seeds were sampled from one noise. Its chance is not in the test, so p is too small."


def _sides(counts: Sequence[int]) -> str:
    """``2 on the first side and 1 on both sides``."""
    words = ("on the first side", "on the second side", "on both sides")
    return listing(f"{count} {word}" for count, word in zip(counts, words, strict=True) if count)


def _how_to_read(scales: set[Scale], planned: bool) -> Iterator[str]:
    yield (
        "Each claim compares two levels of an axis, or two settings, over all pairs of cells that differ in nothing "
        "else. A training seed gives one number, the geometric mean of its ratios, over the pairs that all seeds have. "
        "p is that of a paired t-test on the "
        "logarithms of these numbers, adjusted for the number of claims (Holm). The intervals are not adjusted. Below "
        "0.05 a claim is supported or contradicted. One seed cannot decide anything. If all networks share several "
        "sampling seeds, the test counts chance from training and from sampling."
    )
    if "difference" in scales:
        yield " A metric that can be negative is compared by the difference of its means (first less second)."
    if planned:
        yield (
            " The last column says how many seeds would decide with a chance of 80%, at the same adjustment. It is a "
            "range, because the effect is hardly known: the range is right about half of the time."
        )


def _row(one: Verdict, seats: bool, columns: int) -> list[Cell]:
    found = one.found
    odd = {"failed": sum(one.left_out.failed), "at 0": sum(one.left_out.worst)}
    more = listing(f"{count:,} {word}" for word, count in odd.items() if count) if any(odd.values()) else ""
    said = "no ratio" if one.word == NOT_MEASURED and more else one.word
    word: Cell = Strong(said) if said in (SUPPORTED, CONTRADICTED) else said
    asked = [each for each in one.panel.values() if each != NOT_MEASURED]
    votes = {SUPPORTED: "for", CONTRADICTED: "against", UNDECIDED: "undecided"}
    counts = (f"{asked.count(word)} {vote}" for word, vote in votes.items() if word in asked)
    panel = [", ".join(counts)] if seats else []
    value: list[Cell] = [None, None]
    if found is not None:
        value[0] = number(found.value, "times") if one.scale == "ratio" else found.value
        if pd.notna(found.low):
            value[1] = Range(found.low, found.high)
    pairs: Cell = f"{one.pairs:,} (and {more})" if more else one.pairs
    cells = [CodeSpan(one.claim.text), word, *panel, *value, one.p, pairs, one.seeds]
    return [*cells, _needed(one)][:columns]


def _needed(one: Verdict) -> str:
    if one.needed is None:
        return ""
    low, high = one.needed
    return (
        f"{low:,} seeds or more" if high is None else f"{low:,} to {high:,} seeds" if high > low else f"{low:,} seeds"
    )


def _panel(verdicts: Sequence[Verdict], headline: Pinned | None) -> Iterator[Block]:
    """Which judges say something else than the headline judge, claim by claim."""
    judges = list(dict.fromkeys(name for one in verdicts for name in one.panel))
    if not judges:
        return
    members = [judge.name for judge, _ in headline.members] if headline else []
    odd = [one for one in verdicts if any(said != one.word for said in one.panel.values())]
    yield text(
        "The verdict is that of the headline judge. The same claims were tested under each of the other judges of the "
        f"panel ({listing(judges)}): other features, the same samples.",
        f" The headline judge is made of {listing(members)}, so these agree with it more easily." if members else "",
        " They disagree about these claims:" if odd else " All of them say the same of every claim.",
    )
    if odd:
        yield Bullets(tuple(_disagreement(one) for one in odd))


def _disagreement(one: Verdict) -> Spans:
    words: dict[str, list[str]] = {}
    for name, said in one.panel.items():
        if said != one.word:
            words.setdefault(said, []).append(name)
    others = "; ".join(f"{said} under {listing(names)}" for said, names in words.items())
    return (CodeSpan(one.claim.text), f": {one.word} under the headline judge; {others}.")
