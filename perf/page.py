"""The page on speed: ``python -m perf.page`` writes ``reports/perf`` from whatever lies in ``results/perf``.

A measurement with a row in :data:`SECTIONS` is shown by its own function; any other by its ``rows`` (flat dicts), as a
table. ``claims`` (:func:`perf.record.claim`) of all of them open the page.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from bench.errors import UserError
from bench.paths import ROOT
from bench.race.rules import N
from bench.report.blocks import Block, Bullets, Cell, CodeSpan, Column, Figure, Range, Strong, heading, table, text
from bench.report.formats import number
from bench.report.sections.common import numbers
from bench.report.write import write_files
from ddpm.ema import Ema
from perf import peers_page
from perf.gpu import page as gpu
from perf.record import FOLDER, claim, load
from perf.search import TRIALS

OUT = ROOT / "reports" / "perf"
ELSEWHERE = ("parity",)
"""Measurements with a page of their own."""
Record = dict[str, Any]
COMMIT = re.compile("[0-9a-f]{40}")


def compose(found: dict[str, Record], folder: Path = FOLDER) -> Iterator[Block]:
    """The page's blocks: claims first, then a section a measurement, then what a GPU did.

    :param folder: where the measurements are, with the pictures that some of them keep.
    """
    yield heading(1, "ddpm-bench: speed")
    yield from _claims(found)
    others = [name for name in found if name not in {*SECTIONS, *ELSEWHERE} and not name.startswith(gpu.PREFIX)]
    for name in [*(name for name in SECTIONS if name in found), *others]:
        title, about, section = SECTIONS.get(name, (name.replace("_", " ").capitalize(), "", plain))
        blocks = list(section(found[name]))
        if blocks:
            yield heading(2, title)
            if about:
                yield text(about)
            yield from blocks
            yield _made(found[name])
    for title, about, name in gpu.sections(found, folder):
        yield heading(2, title)
        yield from about
        if name:
            yield _made(found[name])


def _claims(found: dict[str, Record]) -> Iterator[Block]:
    """What was asked for, what was measured, and the command that measured it."""
    rows: list[list[Cell]] = [
        [one["claim"], one["bar"], one["measured"], "yes" if one["met"] else Strong("no"), name]
        for name, record in found.items()
        for one in [*record.get("claims", ()), *(CLAIMS[name](record) if name in CLAIMS else ())]
    ]
    if not rows:
        yield text("Nothing has been measured with a bar to meet.")
        return
    columns = [
        Column("claim", "left"), *numbers("bar", "measured"), Column("met", "left"), Column("measurement", "left"),
    ]  # fmt: skip
    yield table(columns, rows)
    names = dict.fromkeys(str(row[-1]) for row in rows)
    yield Bullets(tuple((f"{name}: ", CodeSpan(found[name]["command"])) for name in names))
    yield text(
        "Each measurement was run once, on one machine, which is named with its section. One machine of a name "
        "can be three times as fast as another. So compare times within a section only. Things that are compared there "
        "were run alternately."
    )


def _made(record: Record) -> Block:
    """Command, machine, versions and commit of a measurement."""
    about = record["environment"]
    machine = about["gpu"] or f"{about['processor']}, {about['cores']} cores, {about['threads']} threads"
    identity = f" (id {about['machine']})" if about.get("machine") else ""
    return text(
        CodeSpan(record["command"]), f", {record['created'][:10]}, {machine}{identity}, torch {about['torch']}",
        ", commit ", CodeSpan((about["commit"] or "unknown")[:12]), " with changes." if about["dirty"] else ".",
    )  # fmt: skip


# Sections


def plain(record: Record) -> Iterator[Block]:
    """Rows of flat dicts as a table, the columns in the order they first appear."""
    rows = record.get("rows") or []
    names = list(dict.fromkeys(name for row in rows for name in row))
    if record.get("note"):
        yield text(record["note"])
    if rows:
        columns = [
            Column(name.replace("_", " "), "left" if any(isinstance(row.get(name), str) for row in rows) else "right")
            for name in names
        ]
        yield table(columns, ([_shown(row.get(name)) for name in names] for row in rows))


def _shown(value: Any) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str) and COMMIT.fullmatch(value):
        return value[:12]
    return f"{value:,}" if isinstance(value, int) else value


def roofline(record: Record) -> Iterator[Block]:
    """Shares of the convolution rate as bars, everything as a table, and what a training step is made of."""
    works = [work for work in record["works"] if work["share"] is not None]
    yield _bars(works, record["yardstick"])
    rows = [
        [work["name"], f"{work['rate'] / 1e9:,.1f} G{work['unit']}" if work["rate"] else None, work["share"],
         work["images_per_s"], spread(work["seconds"], 1000)]
        for work in record["works"]
    ]  # fmt: skip
    columns = [
        Column("", "left"), *numbers("rate"), Column("share", format="percent"), Column("images/s", format="whole"),
        *numbers("raw, ms"),
    ]  # fmt: skip
    yield table(columns, rows)
    yield text(
        f"Batch {record['batch_size']} in training. Images a second in sampling count every step of every image."
    )  # fmt: skip
    engines = "; ".join(f"{name} {about['engine']}" for name, about in record.get("engines", {}).items())
    if engines:
        yield text(f"Engines, chosen by trial: {engines}.")
    yield from _of_half_precision(works)
    yield from _of_convolutions(works)
    if "step" in record:
        yield from _step(record["step"])


def _step(made: Record) -> Iterator[Block]:
    """The parts of a training step; below them, what groups of operators take of it."""
    whole = [sum(each) for each in zip(*made["seconds"].values(), strict=True)]
    middle = statistics.median(whole)
    parts = {**made["seconds"], "the whole step": whole}
    rows: list[list[Cell]] = [
        [part, 1000 * (median := statistics.median(of)), median / middle, spread(of, 1000)]
        for part, of in parts.items()
    ]
    rows += [[f"all {group}", None, share, None] for group, share in made["operators"].items()]
    columns = [
        Column("part of a training step", "left"), *numbers("ms, median"), Column("share", format="percent"),
        *numbers("raw, ms"),
    ]  # fmt: skip
    group, most = max(made["operators"].items(), key=lambda one: one[1])
    yield text(
        "The training step of our race entry ", CodeSpan(made["entry"]),
        f" in parts, with batches of {made['batch_size']}. Medians of {len(whole)} steps. Each kind of operator runs "
        "in several of these parts. Its share is of all operators' own time, as torch's profiler counts it. "
        f"{group.capitalize()} have {most:.0%}. So even if all else took no time, a step would be only {1 / most:.1f} "
        "times as fast.",
    )  # fmt: skip
    yield table(columns, rows)


def spread(values: Sequence[float], scale: float = 1.0) -> Range:
    """The extremes of raw samples."""
    return Range(scale * min(values), scale * max(values))


def _of_half_precision(works: list[Record]) -> Iterator[Block]:
    """What the shares would be of the fastest bfloat16 rate, where bfloat16 is the machine's own."""
    half = {work["name"]: work["rate"] for work in works if work["name"].endswith("bfloat16")}
    single = [work["rate"] for work in works if work["name"].endswith("float32")]
    if half and single and max(half.values()) < max(single):
        yield text("This machine emulates bfloat16: it is slower than float32.")
        return
    rates = {work["name"]: work["rate"] for work in works if work["name"] in ("unet training", "unet sampling")}
    if half and rates:
        quick = max(half, key=half.__getitem__)
        shares = " and ".join(f"{name} has {rate / half[quick]:.0%}" for name, rate in rates.items())
        yield text("Of the fastest bfloat16 rate (", CodeSpan(quick), f"), {shares}.")


def _of_convolutions(works: list[Record]) -> Iterator[Block]:
    """What share the library's own convolutions reach alone at the default network's shapes: nothing can reach more."""
    alone = {work["name"].partition(", ")[2]: work for work in works if work["name"].startswith("unet convolutions")}
    if not alone:
        return
    each = ", ".join(f"{work['share']:.0%} in {name}" for name, work in alone.items())
    # a share is FLOPs over seconds and rate: so these are the seconds, but for the rate
    bound = sum(work["amount"] for work in alone.values()) / sum(
        work["amount"] / work["share"] for work in alone.values()
    )
    yield text(
        "The convolutions of ", CodeSpan("unet"), f" alone, at the shapes of training, have {each}. So a training step "
        f"that did nothing else would have {bound:.0%}.",
    )  # fmt: skip


def _bars(works: list[Record], yardstick: str) -> Block:
    """One bar a work, the machine's own in grey."""
    unit = next(work for work in works if work["name"] == yardstick)
    bars = [{"name": work["name"], "share": work["share"], "own": bool(work["images"])} for work in works]
    dots = [
        {"name": work["name"], "share": work["amount"] * u / (unit["amount"] * s)}
        for work in works
        for s, u in zip(work["seconds"], unit["seconds"], strict=True)
    ]
    return Figure(
        name="roofline",
        mark="bars",
        data={"bars": pd.DataFrame(bars), "dots": pd.DataFrame(dots)},
        caption=(
            "Rates as shares of this machine's own rate of ", CodeSpan(yardstick),
            ". Each share is taken within a round. Bars are medians over rounds, dots are single rounds. Lines mark "
            "what was asked of training (65%) and sampling (80%).",
        ),
        alt="Rates as shares of the machine's rate of 3×3 convolutions",
        options={"label": "share of the fp32 3×3 convolution rate", "bars_to_meet": {0.65: "--", 0.8: ":"}},
    )  # fmt: skip


def scorenet(record: Record) -> Iterator[Block]:
    """The ratio of times, and how near the losses stay."""
    raw = {name: values[1:] for name, values in record["seconds_a_step"].items()}
    rows = [
        [name, 1000 * statistics.median(values), spread(values, 1000), len(values)] for name, values in raw.items()
    ]  # fmt: skip
    columns = [Column("form", "left"), *numbers("ms a step, median", "raw, ms"), Column("chunks", format="plain")]
    yield table(columns, rows)
    low, high = (number(value) for value in (min(record["ratios"]), max(record["ratios"])))
    yield text(
        f"Our step takes {record['ratio']:.3f} of the plain form's time. This is the median of chunks of "
        f"{record['chunk']} steps in turn, from {low} to {high}. Both forms then ran {len(record['losses']['ours'])} "
        "steps from the same weights, with the same batches and noise. Their losses differ by at most "
        f"{record['max_relative_difference']:.1e} of their size. The network's convolutions alone, without the last, "
        f"take {record['convolutions_ratio']:.3f} of the plain form's step."
    )


def outside(record: Record) -> Iterator[Block]:
    """What each judge says of each set, and how far it agrees with the judges from outside."""
    yield from plain(record)
    pair = record["correlation"]["of the two outside"]
    names, others = list(record["noise_16"]), list(record["correlation"]["fid"])
    yield text(
        f"A judge is good if it ranks the sets as {' and '.join(others)} do (Spearman's rank correlation). These two "
        f"agree with each other at {pair:.3f} only. A judge must also see noise that a person sees. The last column "
        "says how much worse it finds test images with noise of 16 grey levels than clean ones. The unit is the "
        "standard deviation of its score over clean sets."
    )
    columns = [
        Column("judge", "left"), *(Column(f"correlation with {name}", format="three decimals") for name in others),
        Column("noise 16"),
    ]  # fmt: skip
    rows = [[CodeSpan(n), *(record["correlation"][n][o] for o in others), record["noise_16"][n]] for n in names]
    yield table(columns, rows)


def _outside_claims(record: Record) -> Iterator[Record]:
    """The headline judge's: agreement with either judge from outside, and that it sees noise."""
    for other, value in record["correlation"]["fid"].items():
        yield claim(f"rank correlation of fid with {other}", "≥ 0.97", f"{value:.3f}", value >= 0.97)
    noise = record["noise_16"]["fid"]
    yield claim("noise of 16 grey levels seen by fid, in its scatter", "≥ 10", f"{noise:.1f}", noise >= 10)


def streaming(record: Record) -> Iterator[Block]:
    """A row a run."""
    names = {"images": "n", "FID": "fid", "seconds": "seconds", "peak memory, MB": "peak_mb"}
    yield from plain({"rows": [{title: run[name] for title, name in names.items()} for run in record["runs"]]})


def search(record: Record) -> Iterator[Block]:
    """The trials there are, and why there is none of the average's length."""
    yield text(
        "What the next recipe of our race entry is chosen from. Each trial changes one setting of ", CodeSpan("base"),
        ". Those with a comma in the name change several. ", CodeSpan("AdamW"), " has its own learning rate, and ",
        CodeSpan("flow"),
        " its own objective. Each trains for the same number of FLOPs. There is one seed each, so a difference of a "
        "few per cent may be chance.",
    )  # fmt: skip
    yield text(
        f"FID is by the headline judge, of {record['n']:,} samples. The race has limits for the other scores too. Each "
        "score is divided by its limit, and the table has the largest of these shares. The race's limits are for "
        f"{N:,} samples. Scores of fewer samples are higher, so these shares are too large."
    )
    rows = [row for row in record["rows"] if row["trial"] in TRIALS]
    yield from plain({"rows": rows})
    average = Ema(nn.Identity(), 1.0)
    images = next(row["images"] for row in rows if row["trial"] == "base")
    average.updates = images // record["base"]["train"]["batch_size"]
    yield text(
        "There is no trial of the length of the average. Early in a training the average is shorter than its decay "
        f"says. After the {average.updates:,} steps of ", CodeSpan("base"),
        f", an update keeps {average.rate():.3f} of the average at most. All larger decays give the same weights.",
    )  # fmt: skip


CLAIMS: dict[str, Callable[[Record], Iterable[Record]]] = {"peers": peers_page.claims, "outside": _outside_claims}
"""Measurement → claims that follow from its record, beside those that are in it."""

SECTIONS: dict[str, tuple[str, str, Callable[[Record], Iterator[Block]]]] = {
    "roofline": ("Share of the machine", "", roofline),
    "scorenet": (
        "ScoreNet against its plain form",
        "The demo's network trains in our form and as tutorials write it, a chunk of steps at a time, in turn.",
        scorenet,
    ),
    "peers": ("Against the peers", "", peers_page.section),
    "nets": (
        "Networks",
        "The networks in turn, a step of 128 training images and a batch of samples a round. Ratios are taken within a "
        "round, and are medians over rounds.",
        plain,
    ),
    "mutants": (
        "Mutants",
        "The code of a module is changed in many small ways, one at a time. A test must fail each time, or there is a "
        "reason why none can. What is left may be 5% of a module. The record has the lines of each. Each module was "
        "run by itself, at the commit in its row. The last line is of the last one.",
        plain,
    ),
    "fuzz": (
        "Fuzz",
        "Files and texts that users give are changed at random, and then read. A reader has to read them, or to say in "
        "a line what is wrong. Everything else counts as a fault.",
        plain,
    ),
    "harness": (
        "Harness",
        "One row for each training run of the study quick, as it was at that commit, that had the machine alone. "
        "Overhead is the share of the time that was not training, validation, sampling or scoring. A start is what "
        "comes before a job's own work: its process, the data, and what scores compare with. The first job's start is "
        "left out, because it makes what the others find. The estimate is what the plan said before the run. Its error "
        "is relative to the truth. The first job warms up longer, because nothing is compiled yet.",
        plain,
    ),
    "outside": (
        "Judges from outside",
        "Two networks that are not in the project, resnet and lenet, judge the same sets of 1,000 images as the "
        "project's own metrics do. The sets are damaged test images and samples of trained models. Lower is better.",
        outside,
    ),
    "quality": (
        "Quality",
        "The best recipe for the default network, trained with three seeds. FID is by the judge classifier. The floor "
        "is the FID of real test images, and the ceiling that of noise.",
        plain,
    ),
    "scale": (
        "Scale",
        "A study of 100,000 made-up cells. Each command that reads results runs on it in a process of its own. Most of "
        "the memory of a small study is PyTorch.",
        plain,
    ),
    "streaming": (
        "Many images",
        "FID of a few real images and of many, in parts, so that memory does not grow with their number.",
        streaming,
    ),
    "search": ("Search", "", search),
}
"""Measurement → title, a sentence or two on what it is, and what shows it."""


def main(argv: list[str] | None = None) -> int:
    """Write the page and name it."""
    parser = argparse.ArgumentParser(prog="python -m perf.page", description=__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    try:
        found = load(args.results)
        if not found:
            raise UserError(f"nothing in {args.results}: measure something first (`make perf`)")
        write_files(args.out, list(compose(found, args.results)))
    except UserError as error:
        print(f"perf.page: {error}", file=sys.stderr)
        return 2
    print(args.out / "report.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
