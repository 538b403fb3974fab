"""The report's text: a section is a function from the page to Markdown, and a row of :data:`SECTIONS`."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.image import imread

from bench.analysis.effects import Effect, effects, factors, geometric_mean, matched, pareto, profiles, scatter
from bench.analysis.frames import AXES, MODEL_AXES, SHARED, Results, different
from bench.execute.cost import past
from bench.machine.environment import Environment
from bench.report import figures
from bench.report.figures import short
from bench.study.model import ORACLE

MOST_ROWS = 200
"""Longest table; the stable table has the rest."""
MOST_PROFILES = 6
"""Axes whose performance profiles are drawn."""
MOST_LEVELS = 12
"""Levels of an axis that are compared, the best ones where there are more."""
ENOUGH = 1.1
"""A number of steps is enough where FID is within this factor of the sampler's best."""
LEARNT = 10
"""A cell has learnt something where its FID is under this share of noise's."""
GUIDED = ("class_accuracy", "worst_class_accuracy", "precision", "recall")
"""What is said of cells whose network was told of a class."""


@dataclass(kw_only=True)
class Pictures:
    """The pictures drawn so far: relative path → PNG."""

    drawn: dict[str, bytes] = field(default_factory=dict)
    count: int = 0

    def figure(self, name: str, figure: Figure, caption: str) -> str:
        """Keep a figure and return the Markdown that shows it with its caption below."""
        self.count += 1
        path = f"figures/{name}.png"
        self.drawn[path] = figures.to_png(figure)
        plain = re.sub(r"[*`\\\[\]]", "", caption).split(". ")[0].rstrip(".")
        return f"![{plain}]({path})\n\n*Figure {self.count}. {caption}*"


@dataclass(kw_only=True)
class Page(Pictures):
    """A report being written."""

    results: Results


def compose(results: Results, pictures: dict[str, bytes]) -> str:
    """The whole Markdown; fills ``pictures`` with what it refers to."""
    page = Page(results=results, drawn=pictures)
    parts = [_head(results)]
    with rc_context(figures.STYLE):
        for title, section in SECTIONS:
            text = section(page)
            if text:
                parts.append(f"## {title}\n\n{text}")
    return "\n\n".join(parts) + "\n"


# Markdown


def escape(value: object) -> str:
    """Text in which nothing is markup, on one line."""
    text = re.sub(r"([\\`*_{}\[\]<>|#$~&])", r"\\\1", str(value))
    return re.sub(r"\s+", " ", text).strip()


def grid(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table. A column whose title starts with ``<`` holds text; any other, numbers. Cells are Markdown already."""
    titles = [title.removeprefix("<") for title in columns]
    marks = [":---" if title.startswith("<") else "---:" for title in columns]
    lines = [titles, marks, *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def paragraphs(*parts: str | None) -> str:
    """The parts that say something, apart."""
    return "\n\n".join(part for part in parts if part)


def plural(count: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def listing(items: Iterable[object]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = [str(item) for item in items]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "none"


def seconds(value: float) -> str:
    """A duration a reader can take in."""
    if not pd.notna(value):
        return "–"
    return f"{short(value)} s" if value < 120 else f"{value / 60:.1f} min"


def count(value: float | None) -> str:
    """A large number with its prefix: 33.4 M."""
    if value is None or not pd.notna(value):
        return "–"
    power = next((p for p in (1e9, 1e6, 1e3) if abs(value) >= p), 1)
    return f"{value / power:.4g} {({1e9: 'G', 1e6: 'M', 1e3: 'k', 1: ''})[power]}".strip()


def _spread(row: Any, many: bool) -> str:
    text = short(row["fid"])
    return f"{text} ({short(row['low'])}–{short(row['high'])})" if many else text


def _axis_columns(results: Results, axes: Iterable[str], always: tuple[str, ...]) -> dict[str, str]:
    """The axes worth a column: those that vary, and some always."""
    return {axis: AXES[axis] for axis in axes if axis in always or axis in results.varying}


def _cells_of(columns: dict[str, str], row: Any) -> list[object]:
    return [row[axis] if axis in ("T", "sample_steps") else escape(row[axis]) for axis in columns]


def _titles(columns: dict[str, str]) -> list[str]:
    return [title if axis in ("T", "sample_steps") else f"<{title}" for axis, title in columns.items()]


_CELL = ("objective", "schedule", "method", "sample_steps")


# Sections


def _head(results: Results) -> str:
    study, cells = results.study, results.cells
    nets = listing(escape(net) for net in results.levels("net"))
    seeds = len(results.seeds)
    facts = [
        f"{int((cells['status'] == 'done').sum())} of {plural(len(cells), 'cell')} done",
        f"data set {escape(study.dataset)}",
        f"network {nets}",
        plural(study.train.epochs, "epoch"),
        plural(seeds, "training seed") if seeds else "",
        f"N = {study.score.n:,} samples a cell",
    ]
    about = escape(study.description.strip())
    return paragraphs(f"# ddpm-bench: the *{escape(study.name)}* study", about, " · ".join(filter(None, facts)))


def answer(page: Page) -> str:
    """The best cells, and how far they are from real images and from noise."""
    results = page.results
    if results.done.empty or results.bounds is None:
        return paragraphs(
            "**No cell of this study has been scored yet**, so there is nothing to rank. What is missing, and why, "
            "is listed below.",
            f"`ddpm-bench run {results.study.name}` does what is missing.",
        )
    frame, (floor, ceiling) = results.settings, results.bounds
    best, many = frame.iloc[0], len(results.seeds) > 1
    n = int(best["n"])
    axes = ", ".join(
        f"{AXES[axis]} {escape(best[axis])}" for axis in ("net", "role", "T", "timesteps") if axis in results.varying
    )
    median = "median " if many else ""
    text = (
        f"**The lowest {median}FID is {short(best['fid'])}: objective {escape(best['objective'])}, schedule "
        f"{escape(best['schedule'])}{', ' + axes if axes else ''}, sampled by {escape(best['method'])} in "
        f"{plural(int(best['sample_steps']), 'step')}.** "
        f"On the same scale {n:,} real test images score {short(floor['fid'])} (the floor) and pure noise "
        f"{short(ceiling['fid'])} (the ceiling, {short(ceiling['fid'] / best['fid'])} times as much). "
        f"The classifier is {best['confidence']:.1%} confident of what it sees in these samples, and "
        f"{floor['confidence']:.1%} in real images."
    )
    if pd.notna(best["sample_time"]):
        text += f" Drawing 1,000 of them takes {seconds(best['sample_time'])} on {_processors(results)}."
    columns = _axis_columns(results, AXES, _CELL)
    fid = "FID, median (range)" if many else "FID"
    rows = [
        [i, *_cells_of(columns, row), _spread(row, many), short(floor["fid"]), short(ceiling["fid"]),
         f"{row['confidence']:.3f}", short(row["sample_time"])]
        for i, (_, row) in enumerate(frame.head(5).iterrows(), 1)
    ]  # fmt: skip
    titles = ["", *_titles(columns), fid, "floor", "ceiling", "confidence", "s per 1,000 samples"]
    return paragraphs(text, grid(titles, rows), _seed_note(results), _reading_note(results), _unfinished_note(results))


def _seed_note(results: Results) -> str:
    if len(results.seeds) == 1:
        return (
            f"**There is one training seed ({results.seeds[0]}).** How much FID changes from one training run to the "
            "next was not measured, so small differences between models cannot be told from seed noise yet. All "
            "cells share their sampling noise, so cells of one model compare more closely than cells of two."
        )
    short_of = results.settings["seeds"].min() < len(results.seeds)
    return (
        f"Numbers are medians over {plural(len(results.seeds), 'training seed')} "
        f"({listing(results.seeds)}), with the range from lowest to highest beside them"
        + ("; some settings have fewer seeds so far." if short_of else ".")
    )


def _reading_note(results: Results) -> str:
    classifier = results.reference.classifier[:12] if results.reference else ""
    n = results.study.score.n
    return (
        f"FID here is the Fréchet distance between {n:,} samples and the training images in the features of this "
        f"project's own {escape(results.study.dataset)} classifier (`{classifier}`). It "
        "compares only with FIDs from the same classifier, the same reference set and the same N, and not with those "
        "of Inception networks."
    )


def _unfinished_note(results: Results) -> str:
    states = results.cells["status"].value_counts()
    words = [f"{states[name]} {name}" for name in ("failed", "missing", "stale") if states.get(name)]
    return f"**Not in these results: {listing(words)}** (see *Provenance*)." if words else ""


def costs(page: Page) -> str:
    """Each axis: its levels against the best one, over matched pairs."""
    results = page.results
    found = [(axis, effects(results.done, axis, results.levels(axis))) for axis in AXES if axis in results.varying]
    found = [(axis, group) for axis, group in found if any(effect.ratios for effect in group)]
    if not found:
        return ""
    long = [AXES[axis] for axis, group in found if len(group) > MOST_LEVELS]
    found = [(axis, _best_levels(group)) for axis, group in found]
    many = len(results.seeds) > 1
    rows = []
    for axis, group in found:
        for i, effect in enumerate(group):
            is_best = effect.level == effect.best
            rows.append([
                f"**{AXES[axis]}**" if i == 0 else "",
                escape(effect.level),
                "best" if is_best else _ratio(effect.ratio),
                "" if is_best else _range(effect.ratios),
                *(["" if is_best else _over_seeds(effect), "" if is_best else _chance(effect)] if many else []),
                "" if is_best else len(effect.ratios),
            ])  # fmt: skip
    over_seeds = ["median (range) over seeds", "P(best is better)"] if many else []
    titles = ["<choice", "<level", "FID ratio to the best", "range over pairs", *over_seeds]
    text = (
        "How many times larger the FID gets by choosing each level instead of its axis's best one, everything else "
        "being equal: the geometric mean over matched pairs of cells. The range over pairs shows how much that depends "
        "on the other choices; it is not a confidence interval."
    )
    if many:
        text += (
            " P is the probability of improvement: how likely a training run of the best level is to score lower than "
            "a run of this one, and its 95% interval over training runs."
        )
    drawn = [(AXES[axis], group) for axis, group in found]
    caption = (
        "What each choice costs. Ticks are matched pairs of cells, dots their geometric mean, diamonds the best level "
        "of each axis. To the right is worse."
    )
    less = f"Of {listing(long)} only the {MOST_LEVELS} levels with the lowest ratios are shown." if long else ""
    figure = page.figure("choices", figures.effect_ratios(drawn), caption)
    return paragraphs(
        text,
        less,
        figure,
        grid([*titles, "pairs"], rows),
        _profiles(page, found),
        *_factors(results),
        *_scatter(results),
    )


def _profiles(page: Page, found: list[tuple[str, list[Effect]]]) -> str:
    """How often each level of an axis is within a factor of the best one."""
    drawn = []
    for axis, group in found:
        levels = [effect.level for effect in group]
        shares, problems = profiles(page.results.done, axis, levels, figures.FACTORS)
        if problems > 1 and len(levels) > 1:
            drawn.append((f"{AXES[axis]}, {plural(problems, 'setting')}", levels, shares))
    if not drawn:
        return ""
    caption = (
        "Performance profiles (Dolan & Moré 2002): the share of settings in which a level's FID is at most so many times "
        "that of the best level there. At 1, how often it is the best; higher and further to the left is better. A setting "
        "is one of everything else, seed included, in which every level was measured."
    )
    return page.figure("profiles", figures.profiles(drawn[:MOST_PROFILES]), caption)


def _scatter(results: Results) -> tuple[str, ...]:
    """How much of the scatter is the training run's, and how much the sampling noise's."""
    found = scatter(results.done)
    if found is None:
        return ()
    parts = {
        "training seed": (found.training, "another network, the same sampling noise"),
        "sampling seed": (found.noise, "other noise, whatever the network"),
        "both together": (found.both, "how this noise goes through this network"),
    }
    rows = [[name, what, f"{part.sd:.1%}", f"{part.low:.1%}–{part.high:.1%}"] for name, (part, what) in parts.items()]
    seeds = [(found.runs, found.draws), (2 * found.runs, found.draws), (found.runs, 2 * found.draws)]
    now, runs, draws = itertools.starmap(found.error, seeds)
    text = (
        f"Where chance comes from: {found.runs} training seeds, each sampled with {found.draws} sampling seeds, give the "
        "standard deviations of log FID (a number near 5% means a factor near 1.05) that belong to either, and their 95% "
        "intervals."
    )
    worth = (
        f"The mean over these seeds has a standard error of {now:.1%}; twice as many training seeds would make it "
        f"{runs:.1%}, twice as many sampling seeds {draws:.1%}. A single run sampled once is off by {found.error(1, 1):.1%}."
    )
    return text, grid(["<source", "<what changes", "s.d. of log FID", "95% interval"], rows), worth


def _learnt(results: Results) -> pd.DataFrame:
    """The comparable cells that learnt something."""
    noise = results.bounds[1]["fid"] if results.bounds else math.inf
    return results.done[results.done["fid"] < noise / LEARNT]


def _factors(results: Results) -> tuple[str, ...]:
    """Which choice matters: shares of the variance, over all cells and over those that learnt something."""
    done = results.done
    sets = {"all cells": done, "cells that learnt": _learnt(results)}
    if len(sets["cells that learnt"]) == len(done):
        del sets["cells that learnt"]
    found = {name: _factors_of(frame) for name, frame in sets.items()}
    found = {name: shares for name, shares in found.items() if shares}
    if not found:
        return ()
    names = list(dict.fromkeys(axes for shares in found.values() for axes in shares))
    names.sort(key=("left",).__eq__)  # last
    rows = [[" × ".join(AXES.get(axis, axis) for axis in axes)] for axes in names]
    for shares in found.values():
        for row, axes in zip(rows, names, strict=True):
            row.append(shares.get(axes, "–"))
    text = (
        "Which choice matters: the share of the variance of log FID that a choice explains by itself, and (×) that two "
        "explain by how they go together; what is left is chance, and how three or more go together. Shares under 0.5% are "
        "left out."
    )
    if len(sets) > 1:
        text += f" Cells that learnt are those under 1/{LEARNT} of noise's FID."
    if len(results.seeds) > 2:
        text += " In brackets the 95% interval, the jackknife's over training seeds."
    return (text, grid(["<choice", *found], rows))


def _factors_of(frame: pd.DataFrame) -> dict[tuple[str, ...], str]:
    """What each choice explains, in words; nothing where only one varies."""
    axes = [axis for axis in AXES if frame[axis].nunique() > 1]
    if len(axes) < 2:
        return {}
    found, left = factors(frame, axes)
    shown = {
        factor.axes: f"{factor.share:.1%}"
        + ("" if math.isnan(factor.low) else f" ({factor.low:.1%}–{factor.high:.1%})")
        for factor in found
        if factor.share >= 0.005
    }
    return shown and shown | {("left",): f"{left:.1%}"}


def _best_levels(group: list[Effect]) -> list[Effect]:
    """The levels with the lowest ratios, as many as can be shown, in the study's order."""
    ratios = sorted(effect.ratio for effect in group if effect.ratios)
    limit = ratios[MOST_LEVELS - 1] if len(group) > MOST_LEVELS <= len(ratios) else math.inf
    return [effect for effect in group if effect.ratio <= limit or limit == math.inf][:MOST_LEVELS]


def _ratio(value: float) -> str:
    return f"× {short(value)}" if pd.notna(value) else "–"


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{short(min(values))}–{short(max(values))}" if len(values) > 1 else short(values[0])


def _chance(effect: Effect) -> str:
    found = effect.chance
    if found is None:
        return "–"
    return f"{found.value:.0%}" + ("" if math.isnan(found.low) else f" ({found.low:.0%}–{found.high:.0%})")


def _over_seeds(effect: Effect) -> str:
    return f"{short(statistics.median(effect.by_seed))} ({_range(effect.by_seed)})" if effect.by_seed else "–"


def heat_map(page: Page) -> str:
    """Objective × schedule, where both vary."""
    results = page.results
    if results.done.empty:
        return ""
    if not {"objective", "schedule"} <= set(results.varying):
        single = [f"{AXES[a]} ({escape(results.levels(a)[0])})" for a in ("objective", "schedule")
                  if a not in results.varying]  # fmt: skip
        return f"The study has one {listing(single)}, so there is no map to draw: see the table of all cells."
    fixed = None
    if {"method", "sample_steps"} & set(results.varying):
        best = results.settings.iloc[0]
        fixed = (str(best["method"]), int(best["sample_steps"]))
    caption = "FID by objective and schedule; lighter is better, empty was not measured. "
    caption += (
        "Left: each pair with the sampler and number of steps that suit it best. Right: all sampled alike, as the best "
        "cell is."
        if fixed
        else ""
    )
    return page.figure(
        "heat-map", figures.heat_map(results, fixed), f"{caption.strip()} {_panels_note(results)}".strip()
    )


def _panels_note(results: Results) -> str:
    """What a figure leaves out, so that it can be read."""
    every = results.shown.drop_duplicates(results.extras) if results.extras else results.shown[:1]
    names = listing(AXES[axis] for axis in results.extras)
    more = len(every) - len(results.panels)
    return f"Of {len(every):,} combinations of {names}, the {len(results.panels)} with the best cells." if more else ""


def _methods_note(results: Results) -> str:
    """The samplers that a figure leaves out."""
    every, shown = results.levels("method"), results.methods
    return f"Of {len(every):,} samplers, the {len(shown)} with the best cells." if len(every) > len(shown) else ""


def _rows_note(results: Results, count: int, what: str, most: int = MOST_ROWS) -> str:
    """What a table leaves out, and where it is."""
    name = results.study.name
    return (
        f"The first {most} of {count:,} {what}; `ddpm-bench table {name} --format csv` has all." if count > most else ""
    )


def steps(page: Page) -> str:
    """FID against the number of sampling steps."""
    results = page.results
    if results.done.empty:
        return ""
    if "sample_steps" not in results.varying:
        return (
            f"Every cell was sampled in {plural(results.levels('sample_steps')[0], 'step')}: there is no curve to draw."
        )
    even = (results.done["evaluations"] == results.done["sample_steps"]).all()
    what = "sampling steps, which is the number of network evaluations a sample" if even else (
        "network evaluations a sample (Heun's method takes two a step, but for the last)"
    )  # fmt: skip
    caption = (
        f"FID against the number of {what}{_whiskers(results)}. The dashed line is the floor; noise, at {_ceiling(results)}, is off the scale. "
        f"{_panels_note(results)} {_methods_note(results)}"
    ).strip()
    x, label = ("sample_steps", "sampling steps") if even else ("evaluations", "network evaluations a sample")
    alone = results.settings.groupby(["schedule", *results.extras])[x].nunique()
    if (alone == 1).any() and (alone > 1).any():
        caption = f"{caption} Models sampled in one number of steps are left out."
    return paragraphs(
        page.figure("steps", figures.against(results, x, f"{label} (log scale)"), caption), *_enough(results)
    )


def _enough(results: Results) -> tuple[str, ...]:
    """How many steps each sampler needs."""
    learnt = _learnt(results)
    exact = results.exact.reset_index()
    sources = [("", learnt)] + (
        [("exact network, ", exact)] if len(exact) and results.shown is not results.cells else []
    )
    steps = sorted(results.done["sample_steps"].unique())
    models = [*MODEL_AXES, "seed"]
    rows = []
    for prefix, frame in sources:
        for method in dict.fromkeys(frame["way"] if prefix else frame["method"]):
            of = frame[(frame["way"] if prefix else frame["method"]) == method]
            table = of.pivot_table(index=models, columns="sample_steps", values="fid", aggfunc="first").reindex(
                columns=steps
            )
            table = np.log(table[table > 0]).dropna()
            if len(table) == 0:
                continue
            means = np.exp(table.mean())
            enough = next(n for n in steps if means[n] <= ENOUGH * means.min())
            rows.append([prefix + escape(method), *(short(means[n]) for n in steps), f"**{enough:,}**", len(table)])
    if not rows or len(steps) < 2:
        return ()
    text = (
        f"How many steps are enough: FID by number of steps, the geometric mean over the training runs that were sampled in "
        f"all of them (and reached 1/{LEARNT} of noise's FID), and the fewest with which it is within "
        f"{ENOUGH - 1:.0%} of the sampler's own best."
    )
    return (text, grid(["<sampler", *(f"{n:,}" for n in steps), "enough", "runs"], rows))


def split(page: Page) -> str:
    """How much of each trained cell's FID its sampler makes, by the oracle's cell that is sampled alike."""
    results = page.results
    if results.exact.empty or results.shown is results.cells or results.bounds is None:
        return ""
    floor = results.bounds[0]["fid"]
    best = results.exact["fid"].groupby(level=SHARED).median().to_dict()
    rows = []
    columns = _axis_columns(results, AXES, _CELL)
    for _, row in results.settings.iterrows():
        exact = best.get(tuple(row[axis] for axis in SHARED))
        if exact is not None:
            sampler, model = exact - floor, row["fid"] - exact
            rows.append([*_cells_of(columns, row), short(row["fid"]), short(floor), short(sampler), short(model),
                         f"{max(sampler, 0) / row['fid']:.0%}"])  # fmt: skip
    if not rows:
        return "No trained network was sampled as the oracle was, so there is nothing to set side by side."
    text = (
        "The oracle is the network that training could at best give: the exact E[x₀ | x_t] of the training images. What "
        "a sampler makes of it shows the sampler's own error. So each FID is split in three: what as many real test "
        "images score (sample size), what the oracle's samples score above that (sampler), and the rest (model). A "
        "negative part means that errors cancel."
    )
    titles = [*_titles(columns), "FID", "sample size", "sampler", "model", "sampler's share"]
    return paragraphs(text, grid(titles, rows[:60]), _rows_note(results, len(rows), "settings", 60))


def _whiskers(results: Results) -> str:
    return "; medians over training seeds, with whiskers from lowest to highest" if len(results.seeds) > 1 else ""


def _ceiling(results: Results) -> str:
    return short(results.bounds[1]["fid"]) if results.bounds else "–"


def frontier(page: Page) -> str:
    """Quality against sampling time, and the settings that none beats in both."""
    results = page.results
    timed = results.settings.dropna(subset=["sample_time"]) if not results.done.empty else results.done
    if timed.empty:
        return "" if results.done.empty else f"No sampling durations to show. {_shared_note(results)}".strip()
    best = pareto(timed, "sample_time", within=figures.SAME_TIME)
    columns = _axis_columns(results, AXES, _CELL)
    rows = [
        [*_cells_of(columns, row), short(row["sample_time"]), _spread(row, len(results.seeds) > 1),
         f"{row['confidence']:.3f}"]
        for _, row in best.iterrows()
    ]  # fmt: skip
    caption = (
        f"FID against the time to draw 1,000 samples on {_processors(results)}. Circled cells form the Pareto front "
        f"(the grey band, the same in every panel): nothing measured gives a lower FID in no more time, where times "
        f"within {figures.SAME_TIME:.0%} count as equal{_whiskers(results)}. {_panels_note(results)} "
        f"{_methods_note(results)}"
    ).strip()
    label = "seconds per 1,000 samples (log scale)"
    figure = figures.against(results, "sample_time", label, front=True)
    table = grid([*_titles(columns), "s per 1,000 samples", "FID", "confidence"], rows)
    ways = f"has {len(best)} settings, fastest first" if len(best) > 1 else "is a single setting"
    return paragraphs(
        page.figure("frontier", figure, caption),
        f"The Pareto front {ways}:",
        table,
    )


def losses(page: Page) -> str:
    """Held-out errors in spaces that all objectives share."""
    results = page.results
    if results.epochs.empty:
        return ""
    text = (
        "An objective's own loss cannot be compared with another's, since the targets differ in scale and, for "
        "`previous`, contain noise that nothing can predict. So after each epoch the averaged network's output is "
        "turned into ε̂ and x̂₀, and both are compared with the truth on the same 1,000 test images, times and noise. "
        "The table has the errors after the last epoch, and the variational bound on the likelihood of those images."
    )
    over = " Lines are medians over training seeds, bands their range." if len(results.seeds) > 1 else ""
    caption = f"Mean squared error per pixel on held-out images, of ε̂ and of x̂₀, after each epoch.{over}"
    caption = f"{caption} {_panels_note(results)}".strip()
    final = results.epochs.sort_values("epoch").groupby("job", sort=False).tail(1)
    columns = _axis_columns(results, MODEL_AXES, ("objective", "schedule"))
    order = {axis: results.levels(axis) for axis in columns}
    grouped = final.groupby(list(columns), sort=False)[["eps_mse", "x0_mse", "bpd", "loss"]].median().reset_index()
    ranks = [tuple(order[axis].index(row[axis]) for axis in columns) for _, row in grouped.iterrows()]
    grouped = grouped.iloc[sorted(range(len(ranks)), key=ranks.__getitem__)]
    rows = [
        [*_cells_of(columns, row), short(row["eps_mse"]), short(row["x0_mse"]), short(row["bpd"]), short(row["loss"])]
        for _, row in grouped.iterrows()
    ]
    table = grid([*_titles(columns), "MSE of ε̂", "MSE of x̂₀", "bound, bits/dim", "own training loss"], rows[:60])
    note = _rows_note(results, len(rows), "models", 60)
    curves = results.epochs["epoch"].max() > 1
    return paragraphs(text, page.figure("losses", figures.losses(results), caption) if curves else "", table, note)


def likelihood(page: Page) -> str:
    """Bits a dimension of test images, where the study asked for them."""
    results = page.results
    frame = results.likelihoods
    if frame.empty:
        return ""
    columns = _axis_columns(results, MODEL_AXES, ("objective", "schedule"))
    names = ["flow", "bound", "prior", "decoder"]
    grouped = frame.groupby(list(columns), sort=False)[[*names, "bound_se", "flow_se"]].median().reset_index()
    rows = [
        [
            *_cells_of(columns, row),
            *(_with_error(row[k], row[f"{k}_se"]) for k in names[:2]),
            *map(short, row[names[2:]]),
        ]
        for _, row in grouped.sort_values("bound", kind="stable").iterrows()
    ]
    n = listing(sorted(frame["n"].unique()))
    text = (
        f"Of {n} test images, in bits a dimension, best bound first; the errors are over images. The bound is the sum of "
        "L_T, which no network can change, of the discretised decoder's L₀, and of a term for each step between, which "
        "the figure shows. The flow's figure keeps L₀ and puts in place of all else the likelihood of x₁ along the "
        "probability-flow equation, by Heun's method: what the bound bounds."
    )
    over = " Medians over training seeds." if len(results.seeds) > 1 else ""
    caption = f"The bound's terms over t, bits a dimension.{over} {_panels_note(results)}".strip()
    titles = [*_titles(columns), "flow", "bound", "L\\_T", "L₀"]
    note = _rows_note(results, len(rows), "models", 60)
    return paragraphs(text, page.figure("terms", figures.terms(results), caption), grid(titles, rows[:60]), note)


def _with_error(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}" if pd.notna(value) else "–"


def guidance(page: Page) -> str:
    """What classes were asked for, and seen."""
    results = page.results
    told = results.settings[results.settings["class_accuracy"].notna()] if len(results.settings) else results.settings
    if told.empty:
        return ""
    columns = _axis_columns(results, AXES, _CELL)
    many = len(results.seeds) > 1
    rows = [
        [*_cells_of(columns, row), _spread(row, many), *(f"{row[k]:.3f}" for k in GUIDED)]
        for _, row in told.head(MOST_ROWS).iterrows()
    ]
    text = (
        "Cells whose network was told of a class, each of the ten in turn. Class accuracy is the share of samples that the "
        "classifier takes for the class that was asked for: averaged over classes, and of the class that fares worst. "
        "Scale 0 is no class and 1 the class alone; more trades variety (recall) for it."
    )
    return paragraphs(
        text, grid([*_titles(columns), "FID", "class accuracy", "worst class", "precision", "recall"], rows)
    )


def times(page: Page) -> str:
    """Epochs, sampling, memory and size."""
    results = page.results
    if not results.jobs:
        return ""
    columns = _axis_columns(results, MODEL_AXES, ("objective", "schedule"))
    models = results.cells.drop_duplicates("job")
    models = models[models["job"].isin(list(results.jobs)) & (models["net"] != ORACLE)]
    if models.empty:
        return paragraphs("Nothing was trained.", _shared_note(results), _rates(results), _estimates(results))
    many = models["seed"].nunique() > 1
    rows, sizes = [], {}
    device = bool(models["peak_device_mb"].notna().any())
    for _, row in models.head(MOST_ROWS).iterrows():
        record = results.jobs[row["job"]]
        alone = [e.seconds for e in record.epochs if e.exclusive and e.warm]
        rate = row["train_images_per_s"]
        rows.append([
            *_cells_of(columns, row), *([int(row["seed"])] if many else []),
            short(row["first_epoch_s"]), short(row["epoch_s"]), _range(alone) if len(alone) > 1 else "–",
            seconds(row["train_s"]), short(rate), short(rate * row["train_flops_per_image"] / 1e9),
            short(row["peak_rss_mb"]), *([short(row["peak_device_mb"])] if device else []),
        ])  # fmt: skip
    for _, row in models.drop_duplicates("net").iterrows():
        record = results.jobs[row["job"]]
        sizes[row["net"]] = [
            f"{record.params:,}", f"{record.trained_params:,}", f"{record.megabytes:.3f}",
            count(row["forward_flops_per_image"]), count(row["train_flops_per_image"]),
        ]  # fmt: skip
    titles = [
        *_titles(columns), *(["seed"] * many), "first epoch, s", "epoch, s", "range, s", "training", "images/s",
        "GFLOP/s", "peak process MB", *(["peak device MB"] * device),
    ]  # fmt: skip
    size_titles = ["<network", "parameters", "trained", "MiB saved", "FLOPs, forward", "FLOPs, training"]
    text = (
        f"Measured on {_processors(results)}. An epoch's duration is the median of all but the first of each process, "
        "which also warms up; FLOPs are per image, two for each multiply-add, and GFLOP/s is images per second times "
        "the FLOPs of a training step."
    )
    drawn = None
    if results.epochs["exclusive"].any() or len(results.batches):
        caption = (
            "Raw durations. Training: every epoch of every model; the hollow marker is a process's first. Sampling: "
            "every batch but the first of each cell, as seconds per 1,000 images, with medians joined"
            f"{'; of very many, evenly spread ones' if len(results.batches) > 10_000 else ''}. {_methods_note(results)}"
        ).strip()
        drawn = page.figure("durations", figures.durations(results), caption)
    return paragraphs(
        text, _shared_note(results), _machines_note(results), drawn, grid(titles, rows),
        _rows_note(results, len(models), "training runs"), _rates(results),
        grid(size_titles, [[escape(net), *size] for net, size in sizes.items()]), _estimates(results),
    )  # fmt: skip


def _estimates(results: Results) -> str:
    """What `ddpm-bench plan` expected of the jobs against what they took."""
    runs = past(results.jobs.values())
    if not runs:
        return ""
    by_error = sorted(runs, key=lambda run: run.error)
    rows = [
        [name, seconds(run.estimate_s), seconds(run.wall_s), f"{run.estimate_s / run.wall_s - 1:+.0%}"]
        for name, run in ((f"farthest off: {escape(by_error[-1].label)}", by_error[-1]),)
    ]
    expected, taken = sum(run.estimate_s for run in runs), sum(run.wall_s for run in runs)
    rows.append([f"all {len(runs)} together", seconds(expected), seconds(taken), f"{expected / taken - 1:+.0%}"])
    text = (
        f"Before each of {plural(len(runs), 'run')} of a job its duration was estimated from those before it, start "
        f"and scoring included. The median error was {statistics.median(run.error for run in runs):.0%}."
    )
    return paragraphs(text, grid(["<runs", "estimate", "truth", "error"], rows))


def _rates(results: Results) -> str | None:
    """Sampling times by network, sampler and steps."""
    batches = results.batches
    if batches.empty:
        return None
    by = [axis for axis in ("net", "method", "sample_steps") if axis != "net" or "net" in results.varying]
    rows = []
    order = {axis: results.levels(axis).index for axis in by}
    takes = results.done.groupby(["method", "sample_steps"])["evaluations"].first()
    groups: Any = batches.groupby(by, sort=False, observed=True)
    for key, part in sorted(groups, key=lambda item: [order[axis](at) for axis, at in zip(by, item[0], strict=True)]):
        median = part["per_1000"].median()
        evaluations = 1000 / median * takes[key[-2:]]
        spread = _range(list(part["per_1000"]))
        rows.append([*map(escape, key), short(median), spread, short(1000 / median), short(evaluations), len(part)])
    titles = [AXES[axis] if axis == "sample_steps" else f"<{AXES[axis]}" for axis in by]
    titles += ["s per 1,000 images", "range, s", "images/s", "network evaluations/s", "batches"]
    return grid(titles, rows)


def _shared_note(results: Results) -> str:
    """What was left out because the device was shared."""
    epochs = int((~results.epochs["exclusive"].astype(bool)).sum())
    cells = sum(not results.kept[key].exclusive for key in results.done["key"])
    if not (epochs or cells):
        return ""
    words = [plural(n, noun) for n, noun in ((epochs, "epoch"), (cells, "sampling run")) if n]
    return f"Durations of {listing(words)} were taken while others used the device, and left out of every number here."


def _machines_note(results: Results) -> str:
    return (
        "**These durations come from more than one kind of machine, so they do not all compare.**"
        if len(_machines(results)) > 1
        else ""
    )


def samples(page: Page) -> str:
    """Pictures of every trained model."""
    results = page.results
    if not any(results.preview(key) for key in results.done["key"]):
        return "" if results.done.empty else "No pictures were kept with these cells."
    models = figures.gallery_rows(results)
    pages = list(figures.galleries(results, models))
    parts = []
    which = "every trained model"
    if len(models) > figures.MOST_GALLERY_ROWS:
        which = f"the trained models in the best {figures.MOST_GALLERY_ROWS} of {len(models):,} rows of models"
    for i, figure in enumerate(pages):
        where = f" ({i + 1} of {len(pages)})" if len(pages) > 1 else ""
        seed = f", training seed {results.seeds[0]}" if len(results.seeds) > 1 else ""
        parts.append(page.figure(
            f"samples-{i + 1}", figure,
            f"The first 64 samples of {which}{where}, not selected, each from its best cell{seed}. All "
            "start from the same noise.",
        ))  # fmt: skip
    return paragraphs(*parts)


def denoising(page: Page) -> str:
    """The best cell, step by step."""
    results = page.results
    for _, row in results.done.iterrows():
        path = results.preview(row["key"], ".strip.png")
        if path is None:
            continue
        from bench.job.generate import STRIP_TIMES
        from ddpm.schedule import make_schedule
        from ddpm.spacing import space

        schedule = make_schedule(row["schedule"], int(row["T"]))
        kept = space(schedule, int(row["sample_steps"]), row["spacing"])
        shown = min(STRIP_TIMES, len(kept))
        times = [kept[round(i * (len(kept) - 1) / max(shown - 1, 1))] for i in range(shown)]
        caption = (
            f"Sampling, step by step: {escape(results.model(row))}, {escape(row['method'])} in "
            f"{plural(int(row['sample_steps']), 'step')} (FID {short(row['fid'])}). For each of two samples, the "
            "noisy state x above the clean image x̂₀ that the network guesses from it, at the times above the columns."
        )
        return page.figure("denoising", figures.strip(imread(path), times), caption)
    return ""


def metrics(page: Page) -> str:
    """Every metric of every cell."""
    results = page.results
    if results.bounds is None:
        return ""
    many = len(results.seeds) > 1
    columns = _axis_columns(results, AXES, _CELL)
    rows: list[list[object]] = []
    blank = [""] * (len(columns) - 1)
    for name, record in zip(("floor", "ceiling"), results.bounds, strict=True):
        rows.append([f"*{name}*", *blank, *_scores({**record, "low": record["fid"], "high": record["fid"]}, False)])
    for _, row in results.settings.head(MOST_ROWS).iterrows():
        rows.append([*_cells_of(columns, row), *_scores(row, many)])
    titles = [*_titles(columns), "FID", "KID × 1000 ± s.e.", "IS", "precision", "recall", "confidence", "class balance"]
    n = results.study.score.n
    text = (
        f"Sorted by FID, below real test images (floor) and noise (ceiling); N = {n:,} everywhere. "
        "KID's standard error is over draws of samples from one trained model. "
        "IS is the inception score, at most 10 here. Confidence is the mean of the classifier's largest class "
        "probability. Class balance is the entropy of the predicted classes over log 10: 1 when all are equally "
        "frequent. FID and KID are better when lower, the others when higher."
    )
    over = len(results.settings) - MOST_ROWS
    more = (
        f"The {over} cells after these are in `ddpm-bench table {results.study.name} --format csv`." if over > 0 else ""
    )
    return paragraphs(text, grid(titles, rows), more)


def _scores(row: Any, many: bool) -> list[str]:
    kid = f"{short(1000 * row['kid'])} ± {short(1000 * row['kid_se'])}".replace(" ", " ")
    rest = [f"{row[name]:.3f}" for name in ("precision", "recall", "confidence", "class_balance")]
    return [_spread(row, many).replace(" ", " "), kid, f"{row['inception_score']:.2f}", *rest]


def hypotheses(page: Page) -> str:
    """The study's claims, each with a verdict."""
    results = page.results
    if not results.study.claims:
        return ""
    from bench.analysis.claims import judge

    rows = []
    verdicts = judge(results.study.hypotheses, results.done.to_dict("records"), dict(results.study.axes))
    for one in verdicts:
        found = one.ratio
        more = "" if one.needed is None else f"about {one.needed:,} seeds"
        rows.append([
            f"`{one.claim.text}`", f"**{one.word}**" if one.word in ("supported", "contradicted") else one.word,
            "–" if found is None else f"× {short(found.value)}",
            "–" if found is None or pd.isna(found.low) else f"{short(found.low)}–{short(found.high)}",
            short(one.p), one.pairs, one.seeds, more,
        ])  # fmt: skip
    text = (
        "Each claim compares two levels of one axis over all pairs of cells that differ in nothing else; a training seed "
        "gives one number, the geometric mean of its ratios, and the seeds decide. p is that of a paired t-test on "
        "logarithms, adjusted for the number of claims (Holm); below 0.05 a claim is supported or contradicted. One "
        "seed cannot decide anything. The last column is how many seeds would decide with a chance of 80%, at the same "
        "adjustment, if what was seen were the truth."
    )
    titles = ["<claim", "<verdict", "ratio", "95% interval", "p (Holm)", "pairs", "seeds", "<would decide it"]
    return paragraphs(text, grid(titles, rows))


def claims(page: Page) -> str:
    """The three things the seed project said, and what was measured here."""
    results = page.results
    scorenet = "scorenet" in results.levels("net")
    aside = (
        ""
        if scorenet or results.study.name == "seed"
        else "This study has no ScoreNet, the seed's network, so what follows is about the networks it has. The seed's "
        "own comparison is the study `seed` (`ddpm-bench run seed --report`)."
    )
    text = (
        "This project grew from a small demonstration that trained one network, ScoreNet, to predict the mean of the "
        "previous state (here `previous`: the target is that state as drawn) and to predict the error (here `eps`), "
        "and said three things about them."
    )
    return paragraphs(text, aside, _claim_clearer(results), _claim_size(results), _claim_epoch(results))


def _claim_clearer(results: Results) -> str:
    title = "### 1. “The error model gives clearer images than the mean model.”"
    done = results.done[results.done["fid"] > 0]
    if not {"previous", "eps"} <= set(done["objective"]):
        return paragraphs(title, "Not measured here: that needs scored cells of both `previous` and `eps`.")
    fids = matched(done, "objective")[["previous", "eps"]].dropna()
    sure = matched(done, "objective", "confidence")[["previous", "eps"]].dropna()
    pairs = fids.add_suffix(" fid").join(sure.add_suffix(" confidence"), how="inner")
    if pairs.empty:
        return paragraphs(title, "Not measured here: no cells of `previous` and `eps` agree in everything else.")
    ratios = tuple(pairs["previous fid"] / pairs["eps fid"])
    lower = sum(ratio > 1 for ratio in ratios)
    surer = int((pairs["eps confidence"] > pairs["previous confidence"]).sum())
    gain = (pairs["eps confidence"] - pairs["previous confidence"]).median()
    mean = geometric_mean(ratios)
    total = len(pairs)
    floor = results.bounds[0]["confidence"] if results.bounds else float("nan")
    if total == 1:
        text = (
            f"In the one pair of cells that differ in nothing else, `previous` has {short(mean)} times the FID of "
            f"`eps`, and the classifier's confidence in the samples of `eps` differs by {gain:+.3f}"
        )
    else:
        text = (
            f"`eps` has the lower FID in {lower} of {total} matched pairs of cells; over all of them `previous` has "
            f"{short(mean)} times the FID of `eps` (geometric mean). The classifier is surer of the samples of `eps` "
            f"in {surer} of {total} pairs, by {gain:+.3f} in the median"
        )
    text += f"; real images have {floor:.3f}."
    if len(results.seeds) == 1:
        text += " That is one training run of each model: whether it holds for others is not known yet."
    flat = pairs.reset_index()
    flat["ratio"] = ratios
    columns = {a: t for a, t in AXES.items() if a != "objective" and (a in results.varying or a in _CELL)}
    many = len(results.seeds) > 1
    rows = [
        [*_cells_of(columns, row), *([int(row["seed"])] if many else []),
         *(short(row[name]) for name in ("previous fid", "eps fid", "ratio")),
         *(f"{row[name]:.3f}" for name in ("previous confidence", "eps confidence"))]
        for _, row in flat.head(24).iterrows()
    ]  # fmt: skip
    titles = [*_titles(columns), *(["seed"] * many), "FID, previous", "FID, eps", "ratio", "confidence, previous",
              "confidence, eps"]  # fmt: skip
    more = f"The first 24 of {total:,} pairs:" if total > 24 else ""
    return paragraphs(title, text, more, grid(titles, rows))


def _claim_size(results: Results) -> str:
    title = "### 2. “4.3 MB for one ScoreNet.”"
    sizes = {record.config.net: record for record in results.jobs.values()}
    lines = [
        f"- `{net}`: {record.params:,} parameters, {record.megabytes:.3f} MiB "
        f"({record.megabytes * 2**20 / 1e6:.3f} MB) saved."
        for net, record in sizes.items()
    ]
    if not lines:
        return paragraphs(title, "Not measured here: no network has been trained yet.")
    note = "The seed's figure counts a megabyte as 2²⁰ bytes." if "scorenet" in sizes else ""
    return paragraphs(title, "\n".join(lines), note)


def _claim_epoch(results: Results) -> str:
    title = "### 3. “Around 20 s an epoch” on a GPU that was not named."
    frame = results.epochs[results.epochs["exclusive"].astype(bool)]
    if frame.empty:
        why = _shared_note(results) or "No network has been trained yet."
        return paragraphs(title, f"Not measured here. {why}")
    warm = frame[frame["warm"].astype(bool)]
    frame = frame if warm.empty else warm
    lines = []
    groups: Any = frame.groupby(["net", "images"], sort=False)
    for (net, images), part in groups:
        environments = {_hardware(results.jobs[job].environment) for job in part["job"]}
        scaled = part["seconds"].median() * 60_000 / images
        full = "" if abs(images - 60_000) < 600 else f", which is {short(scaled)} s for 60,000"
        lines.append(
            f"- `{net}`: {short(part['seconds'].median())} s for an epoch of {images:,} images{full} (median of "
            f"{plural(len(part), 'epoch')}, {_range(list(part['seconds']))} s) on {listing(sorted(environments))}."
        )
    note = (
        "Times on different hardware are no verdict on one another; the seed named neither its GPU nor its batch size."
    )
    return paragraphs(title, "\n".join(lines), note)


def provenance(page: Page) -> str:
    """Where every number comes from."""
    results = page.results
    cells, jobs = results.kept.values(), results.jobs.values()
    seen_in = [*(one.environment for one in cells), *(record.environment for record in jobs)]
    environments = different(seen_in)
    made = [*(one.created for one in cells), *(record.created for record in jobs)]
    created = sorted(made)

    def seen(*names: str) -> str:
        found = dict.fromkeys(" ".join(str(v) for n in names if (v := getattr(e, n)) is not None) for e in environments)
        return listing(f"`{escape_code(value)}`" for value in found if value) if any(found) else "unknown"

    dirty = any(e.dirty for e in environments)
    facts = {
        "commit": seen("commit") + (", **with uncommitted changes**" if dirty else ""),
        "code (hash of the sources behind the numbers)": seen("code"),
        "machine": listing(map(escape, _machines(results))) or "unknown",
        "machine's id": seen("machine"),
        "system, Python, torch": "; ".join(seen(name) for name in ("system", "python", "torch")),
        "training seeds": listing(results.levels("seed")),
        "sampling seeds": listing(results.study.score.seed),
        "N": f"{results.study.score.n:,}",
    }
    if results.reference:
        facts["classifier (sha256)"] = f"`{results.reference.classifier}`"
        facts["data set (sha256)"] = f"`{results.reference.dataset_sha256}`"
    if created:
        facts["made"] = f"{created[0].isoformat()} to {created[-1].isoformat()}"
    codes = {e.code for e in environments}
    warning = (
        f"**Warning: these results come from {len(codes)} versions of the code.** Numbers of different versions may "
        "not compare; rerun the older ones before drawing conclusions."
        if len(codes) > 1
        else ""
    )
    scores = ""
    if results.bounds:
        names = [name for name in results.bounds.floor if name in results.bounds.ceiling]
        rows = [[f"`{name}`", *(short(record[name]) for record in results.bounds)] for name in names]
        scores = paragraphs(
            "### Floor and ceiling", grid(["<metric", "floor (real test images)", "ceiling (noise)"], rows)
        )
    study = yaml.safe_dump(
        results.study.model_dump(mode="json", exclude_defaults=True),
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=90,
    )
    again = f"ddpm-bench run {results.study.name}\nddpm-bench report {results.study.name}"
    damaged = [escape(path.name) for path in results.store.damaged]
    return paragraphs(
        warning, grid(["<", "<"], [[name, value] for name, value in facts.items()]), scores, _unfinished(results),
        f"Damaged files, treated as missing: {listing(damaged)}." if damaged else "",
        "### The study", f"```yaml\n{study.strip()}\n```",
        "### To reproduce", f"```sh\n{again}\n```",
        "That is at the commit above, with the package installed. What is done is kept; delete the results folder to "
        "start from nothing. On the same processor, thread count "
        "and versions the samples are the same to the byte.",
    )  # fmt: skip


def escape_code(value: str) -> str:
    """Text that fits between backticks, in a table."""
    return value.replace("`", "'").replace("|", "\\|")


def _unfinished(results: Results) -> str:
    """A row a training run and a reason: the cells that are missing, failed, or scored against something else."""
    frame = results.cells[results.cells["status"] != "done"]
    odd = results.cells[
        (results.cells["status"] == "done") & ~results.cells["key"].isin([*results.done["key"], *results.exact["key"]])
    ]
    frame = pd.concat([frame, odd.assign(status="no FID", reason="its FID is not a finite number")])
    if frame.empty:
        return ""
    reasons = {"missing": "not run yet", "stale": "scored by another classifier, or against another data set"}
    rows: list[list[Any]] = []
    sizes = results.cells["job"].value_counts()
    frame = frame.assign(why=[r or reasons.get(s, "") for r, s in zip(frame["reason"], frame["status"], strict=True)])
    groups = frame.groupby(["job", "status", "why"], sort=False)
    for (_, status, why), part in groups:
        if len(rows) == MOST_ROWS:
            break
        first = part.iloc[0]
        seed = f", seed {first['seed']}"
        whole = len(part) == sizes[first["job"]]
        which = "all" if whole else "; ".join(f"{row['method']} {row['sample_steps']}" for _, row in part.iterrows())
        rows.append(
            [escape(f"{first['net']}, {results.model(first)}{seed}"), len(part), escape(which), status, escape(why)]
        )
    return paragraphs(
        "### Not in these results",
        grid(["<model", "cells", "<which", "<state", "<reason"], rows),
        _rows_note(results, groups.ngroups, "such groups of cells"),
    )


def _hardware(environment: Environment) -> str:
    """The device that did the work, as a reader would name it."""
    if environment.gpu:
        return f"{environment.gpu} (driver {environment.driver})"
    threads = plural(environment.threads, "thread")
    cores = "" if environment.cores is None else f", {plural(environment.cores, 'core')}"
    return f"{environment.processor} ({threads}{cores})"


def _machines(results: Results) -> list[str]:
    return list(dict.fromkeys(map(_hardware, results.machines)))


def _processors(results: Results) -> str:
    return listing(map(escape, _machines(results)))


SECTIONS: list[tuple[str, Callable[[Page], str]]] = [
    ("The answer", answer),
    ("What each choice costs", costs),
    ("Objective by schedule", heat_map),
    ("Sampling steps", steps),
    ("Where the FID comes from", split),
    ("Quality against time", frontier),
    ("Loss curves", losses),
    ("Likelihood", likelihood),
    ("Classes and guidance", guidance),
    ("Time, memory and size", times),
    ("Samples", samples),
    ("Denoising", denoising),
    ("All cells", metrics),
    ("Claims", hypotheses),
    ("The seed's claims", claims),
    ("Provenance", provenance),
]
