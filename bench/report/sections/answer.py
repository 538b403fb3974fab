"""The best cells, and how far they are from real images and from noise."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pandas as pd

from bench.analysis.best import Best, best_of
from bench.analysis.frames import AXES, MODEL_AXES, Results, hardware
from bench.report.blocks import Block, CodeSpan, Column, Strong, Text, heading, text
from bench.report.formats import best_marked, number, short
from bench.report.sections.common import (
    CELL,
    axis_cells,
    axis_columns,
    axis_names,
    filled,
    judge_cells,
    judge_columns,
    levels_in_words,
    numbers,
    of_classes,
    other_judges,
    several_draws,
    several_seeds,
    spread,
    versions,
    words,
)
from bench.score.judges import with_hash
from bench.store.records import Bounds
from bench.text import listing, plural
from ddpm.spec import parse

OTHERS = [axis for axis in MODEL_AXES if axis not in ("objective", "schedule", "T")]
"""The axes of a model that are named where they vary. These three are named in any case."""

BEST, MOST = 5, 12
"""Rows of the table, and how many at most where more settings may be the best."""
ENOUGH = 0.9
"""The share of the usual accuracy that a classifier needs before its FIDs are believed."""
NEAR = 0.1
"""Where none is stated: the share that it must get right of what naming the most frequent class only gets wrong."""


def section(results: Results) -> Iterator[Block]:
    """The answer in a paragraph and a table, and how to read it."""
    yield heading(2, "The answer")
    if results.done.empty or results.bounds is None:
        yield text(
            Strong("No cell of this study has been scored yet."),
            " There is nothing to rank. What is missing, and why, is listed below.",
        )
        yield text(CodeSpan(f"ddpm-bench run {results.study.name}"), " does what is missing.")
        return
    found = best_of(results)
    yield from own_classifier(results)
    yield _best(results, results.bounds)
    yield from _how_sure(results, found)
    yield _table(results, results.bounds, found)
    yield _seeds(results)
    yield _reading(results)
    states = results.cells["status"].value_counts()
    lacking = [f"{states[name]} {name}" for name in ("failed", "missing", "stale") if states.get(name)]
    if lacking:
        yield text(Strong(f"Not in these results: {listing(lacking)}"), " (see the section Provenance).")
    if (codes := versions(results)) > 1:
        yield text(Strong(f"These results come from {codes} versions of the code"), " (see the section Provenance).")


def own_classifier(results: Results) -> Iterator[Text]:
    """How good the data set's own classifier is: the first thing to know where it is bad."""
    if results.accuracy is None:
        return
    stated = expected_accuracy(results.study.dataset)
    chance = next((kept.chance for kept in results.kept.values() if kept.chance is not None), None)
    if stated is not None:
        least, usual = ENOUGH * stated, f"{stated:.0%} is usual for this data set."
    elif chance is not None:
        least, usual = chance + NEAR * (1 - chance), f"Naming the most frequent class only gets {chance:.1%} right."
    else:
        least, usual = 0.0, ""
    said = f"The classifier behind these numbers gets {results.accuracy:.1%} of the test images right"
    if results.accuracy < least:
        yield text(
            Strong(f"Do not trust these numbers: {said[0].lower()}{said[1:]}."),
            f" {usual} FID in its features says little. Look at the distances that need no network, and train the "
            "classifier again.",
        )
    else:
        yield text(f"{said}.", f" {usual}" if usual else "")


def _best(results: Results, bounds: Bounds) -> Text:
    """The best setting beside the floor and the ceiling."""
    best, (floor, ceiling) = results.settings.iloc[0], bounds
    lowest = "lowest median FID" if several_seeds(results) else "lowest FID"
    alone = ", of one training seed alone" if several_seeds(results) and best["seeds"] == 1 else ""
    answer = f"The {lowest} is {short(best['fid'])}{alone}: {_named(results, best)}."
    scale = (
        f" On the same scale {int(best['n']):,} real test images score {short(floor['fid'])} (the floor). Pure noise "
        f"scores {short(ceiling['fid'])} (the ceiling), {short(ceiling['fid'] / best['fid'])} times this lowest FID. "
        "These two numbers only help to read the scale. A model can score worse than noise."
    )
    for name in of_classes(results, "confidence"):
        scale += (
            f" The mean confidence of the classifier is {best[name]:.1%} for these samples, {floor[name]:.1%} for real "
            f"images and {ceiling[name]:.1%} for noise."
            f"{' So confidence alone does not show quality.' if ceiling[name] > best[name] else ''}"
        )
    time = ""
    if pd.notna(best["sample_time"]):
        time = f" Drawing 1,000 samples takes {number(best['sample_time'], 'seconds')} on {_timed_on(results, best)}."
    return text(Strong(answer), scale, time)


def _named(results: Results, setting: pd.Series) -> str:
    """A setting in words."""
    axes = levels_in_words(results, OTHERS, setting)
    of = f"{setting['sample_steps']:,.0f} of T = {setting['T']:,.0f} steps"
    steps = of if "T" in results.varying else plural(int(setting["sample_steps"]), "step")
    return (
        f"objective {setting['objective']}, schedule {setting['schedule']}{axes}, sampled by {setting['method']} in "
        f"{steps}"
    )


def _timed_on(results: Results, setting: pd.Series) -> str:
    """The machines that a setting's sampling time is from."""
    axes = list(AXES)
    own = results.done[(results.done[axes] == setting[axes]).all(axis=1) & results.done["sample_time"].notna()]
    found = list(dict.fromkeys(hardware(results.kept[key].environment) for key in own["key"]))
    over = ": the median of runs on these kinds of machines" if len(found) > 1 else ""
    return f"{listing(found)}{over}"


def _how_sure(results: Results, found: Best | None) -> Iterator[Text]:
    """What being the lowest of many settings is worth."""
    count = len(results.settings)
    if count < 2:
        return
    lowest = f"It is the lowest of {count:,} settings, so chance may have made it lower than it really is."
    if found is None:
        yield text(
            f"{lowest} To know by how much, and which other settings are as good, each setting needs two training "
            "seeds or more."
        )
        return
    members = len(found.members)
    others = (
        "only this setting may be the best."
        if found.members == (0,)
        else f"{plural(members, 'setting')} may be the best, as marked in the table below."
        if members <= MOST
        else f"{members} settings may be the best. The table below marks those among its rows."
    )
    mean, value = (short(math.exp(log)) for log in (found.mean, found.value))
    luck: tuple[str | Strong, ...] = (
        " Without that luck the best has about ", Strong(value), ". For this, each training seed is left out in turn. "
        "The others choose the best setting, and the seed that is left out gives its FID.",
    )  # fmt: skip
    if math.isclose(found.mean, found.value, abs_tol=1e-12):
        luck = (
            " Leaving out any one training seed does not change which setting is the lowest. So no luck was found, but "
            "there may be some.",
        )
    yield text(
        f"{lowest} Its geometric mean over seeds is {mean}.",
        *luck,
        " The chance that the setting named above really is the best is ",
        Strong(percent(found.chance)),
        f".{_likelier(results, found)} By the headline judge, {others}{_marked(found)}{_alike(found)}"
        f"{_elsewhere(results)}{_compared(results, found)}",
    )


def _alike(found: Best) -> str:
    """What the chance takes for granted, where that matters."""
    if len(found.members) < 2:
        return ""
    return (
        " The chance assumes that all settings scatter alike over seeds. If they do not, it may be too large. "
        "Then trust the marks."
    )


def _elsewhere(results: Results) -> str:
    """The other judges that have another setting first."""
    first = {name: results.settings[name].idxmin() for name in other_judges(results)}
    odd = [words(name).removeprefix("FID, ") for name, at in first.items() if at != results.settings.index[0]]
    if not odd:
        return ""
    judges, have = ("judge", "has") if len(odd) == 1 else ("judges", "have")
    return f" The {judges} {listing(odd)} {have} another setting first."


def _marked(found: Best) -> str:
    """How often the settings that may be the best hold the best."""
    method = " (Multiple comparisons with the best, Hsu 1984"
    if not found.shared:
        return f"{method}: in simulations the best setting was among those marked in 92 to 100 of 100 studies.)"
    return (
        f"{method}.) But several training seeds were sampled from the same noise. What this noise does to a setting "
        "cannot be seen. So too few settings are marked, and the chance is too large. Give training seeds sampling "
        "seeds of their own to know more."
    )


def _compared(results: Results, found: Best) -> str:
    """What is not in the comparison."""
    seeds, settings = len(results.seeds) - found.runs, len(results.settings) - found.of
    said = ""
    if seeds:
        said = f" This is over {found.runs} training seeds of {len(results.seeds)}: not all settings have all."
    if settings:
        said += f" {plural(settings, 'setting')} without these seeds {'is' if settings == 1 else 'are'} not compared."
    return said


def _likelier(results: Results, found: Best) -> str:
    """The setting with the lowest mean, where that is not the one with the lowest median."""
    if found.likeliest == found.named:
        return ""
    other = results.settings.iloc[found.likeliest]
    return (
        f" By the geometric mean another setting is lower, at {short(math.exp(found.likeliest_mean))}: "
        f"{_named(results, other)}. The chance that it is the best is {percent(found.likeliest_chance)}."
    )


def percent(chance: float) -> str:
    """A chance that simulation found; one that it never saw is not 0."""
    return "under 1%" if chance < 0.01 else "over 99%" if chance > 0.99 else f"{chance:.0%}"


def _table(results: Results, bounds: Bounds, found: Best | None) -> Block:
    floor, ceiling = bounds
    members = () if found is None else found.members
    shown = min(max(BEST, *(i + 1 for i in members), 0), MOST)
    many, others = several_seeds(results), other_judges(results)
    axes = axis_names(results, AXES, CELL)
    sure = of_classes(results, "confidence")
    columns = [
        Column("", "right", "plain"), *axis_columns(axes),
        *numbers("FID, median (range)" if many else "FID", "floor", "ceiling"), *judge_columns(others),
        *numbers(*sure, how="three decimals"), *numbers("s per 1,000 samples"),
        *([Column("may be the best", "left")] if members else []),
    ]  # fmt: skip
    rows = [
        [i + 1, *axis_cells(axes, row), spread(row, many), floor["fid"], ceiling["fid"],
         *judge_cells((*others, *sure), row), row["sample_time"],
         *(["yes" if i in members else ""] if members else [])]
        for i, (_, row) in enumerate(results.settings.head(shown).iterrows())
    ]  # fmt: skip
    first = len(axes) + 1
    own = {first: "lower"} | {first + 3 + i: "lower" for i in range(len(others))}
    own |= {len(columns) - 1 - bool(members): "lower"}
    return filled(columns, best_marked(columns, rows, own))


def _seeds(results: Results) -> Text:
    if len(results.seeds) == 1:
        return text(
            Strong(f"There is one training seed ({results.seeds[0]})."),
            " How much FID changes from one training run to the next was not measured. So a small difference between "
            "two models may be chance. All cells share their sampling noise. So two cells of one model can be compared "
            "more closely than two cells of different models.",
        )
    fewer = results.settings["seeds"].min() < len(results.seeds)
    return text(
        f"Numbers are medians over {plural(len(results.seeds), 'training seed')} ({listing(results.seeds)})"
        f"{', each with several sampling seeds' if several_draws(results) else ''}. The range from the lowest to the "
        "highest stands beside them. The best of a column is bold, where lower is better.",
        " Some settings have fewer seeds so far." if fewer else "",
    )


def expected_accuracy(dataset: str) -> float | None:
    """The accuracy stated for a data set; None where none is stated, or the data set is not here."""
    from bench.rows import entries  # its rows need torch

    row = entries("dataset").get(parse(dataset).name)
    return row.accuracy if row else None


def _reading(results: Results) -> Text:
    classifier = results.reference.classifier[:12] if results.reference else ""
    judge = with_hash(results.reference.classifier) if results.reference else None
    own = f"own {parse(results.study.dataset).name}"
    unnamed = f"{own} {'classifier' if of_classes(results, 'fid') else 'judge'}"
    whose = ("judge ", CodeSpan(judge.name)) if judge else (unnamed,)
    return text(
        f"FID here is the Fréchet distance between {results.study.score.n:,} samples and the training images. The "
        "features are those of this project's ",
        *whose,
        " (",
        CodeSpan(classifier),
        "). Compare it only with FIDs of the same judge, the same reference set and the same N. FIDs of Inception "
        "networks are on another scale. FID sees neither images that are drawn twice nor copies of training images.",
    )
