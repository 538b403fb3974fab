"""The page on speed: ``python -m perf.page`` writes ``reports/perf`` from whatever lies in ``results/perf``.

A measurement with a row in :data:`SECTIONS` is shown by its own function; any other by its ``rows`` (flat dicts), as a
table. ``claims`` (:func:`perf.record.claim`) of all of them open the page.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import seaborn as sns
from matplotlib import rc_context
from matplotlib.figure import Figure

from bench import ROOT, UserError
from bench.report import figures, write_files
from bench.report.document import Pictures, escape, grid, paragraphs, seconds
from bench.report.figures import short
from perf.gpu import page as gpu
from perf.record import FOLDER, claim, load

OUT = ROOT / "reports" / "perf"
Record = dict[str, Any]
LIBRARIES = ("ours", "diffusers", "denoising-diffusion-pytorch")
"""Colour and marker of the peers' curves, in this order."""
MARKERS = ("D", "o", "s", "^", "v", "P")


def compose(found: dict[str, Record], pictures: Pictures, folder: Path = FOLDER) -> str:
    """The whole Markdown; fills ``pictures`` with what it refers to.

    :param folder: where the measurements are, with the pictures that some of them keep.
    """
    parts = ["# ddpm-bench: speed", _claims(found)]
    others = [name for name in found if name not in SECTIONS and not name.startswith(gpu.PREFIX)]
    with rc_context(figures.STYLE):
        for name in [*(name for name in SECTIONS if name in found), *others]:
            title, section = SECTIONS.get(name, (name.replace("_", " ").capitalize(), plain))
            text = section(found[name], pictures)
            if text:
                parts.append(paragraphs(f"## {escape(title)}", text, _made(found[name])))
    for title, text, name in gpu.sections(found, folder, pictures):
        parts.append(paragraphs(f"## {title}", text, _made(found[name]) if name else ""))
    return "\n\n".join(parts) + "\n"


def _claims(found: dict[str, Record]) -> str:
    """What was asked for, what was measured, and the command that measured it."""
    rows = [
        [escape(one["claim"]), escape(one["bar"]), escape(one["measured"]), "yes" if one["met"] else "**no**", name]
        for name, record in found.items()
        for one in [*record.get("claims", ()), *(peer_claims(record) if name == "peers" else ())]
    ]
    if not rows:
        return "Nothing has been measured with a bar to meet."
    commands = [f"- {name}: `{found[name]['command']}`" for name in dict.fromkeys(row[-1] for row in rows)]
    return paragraphs(
        grid(["<claim", "bar", "measured", "<met", "<measurement"], rows),
        "\n".join(commands),
        "Every number is from one run on one machine, stated with its section; ratios are of things measured in turn.",
    )


def _made(record: Record) -> str:
    """Command, machine, versions and commit of a measurement."""
    about = record["environment"]
    machine = about["gpu"] or f"{about['processor']}, {about['cores']} cores, {about['threads']} threads"
    commit = f"commit `{(about['commit'] or 'unknown')[:12]}`{' with changes' if about['dirty'] else ''}"
    return f"*`{record['command']}`, {record['created'][:10]}, {escape(machine)}, torch {about['torch']}, {commit}.*"


def _range(values: Sequence[float], scale: float = 1.0) -> str:
    """The extremes of raw samples."""
    return f"{short(scale * min(values))} – {short(scale * max(values))}"


# Sections


def plain(record: Record, pictures: Pictures) -> str:
    """Rows of flat dicts as a table, the columns in the order they first appear."""
    rows = record.get("rows") or []
    columns = list(dict.fromkeys(name for row in rows for name in row))
    textual = [any(isinstance(row.get(name), str) for row in rows) for name in columns]
    titles = [
        ("<" if text else "") + escape(name.replace("_", " ")) for name, text in zip(columns, textual, strict=True)
    ]
    note = escape(record["note"]) if record.get("note") else ""
    return paragraphs(note, grid(titles, [[_shown(row.get(name)) for name in columns] for row in rows]) if rows else "")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return short(value)
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else escape(value)


def roofline(record: Record, pictures: Pictures) -> str:
    """Shares of the matrix rate as bars, and everything as a table."""
    works = [work for work in record["works"] if work["share"] is not None]
    picture = pictures.figure(
        "roofline",
        _bars(works, record["yardstick"]),
        f"Rates as shares of this machine's own rate in a 2048³ product (`{record['yardstick']}`), each taken within a "
        "round: the median over rounds (bar) and every round (dots). Lines mark what was asked of training (60%) and "
        "sampling (70%).",
    )
    rows = [
        [
            escape(work["name"]),
            f"{work['rate'] / 1e9:,.1f} G{work['unit']}" if work["rate"] else "–",
            "–" if work["share"] is None else f"{work['share']:.0%}",
            "–" if work["images_per_s"] is None else f"{work['images_per_s']:,.0f}",
            _range(work["seconds"], 1000),
        ]
        for work in record["works"]
    ]
    engines = "; ".join(f"{name} {about['engine']}" for name, about in record.get("engines", {}).items())
    note = paragraphs(
        f"Batch {record['batch_size']} in training; images a second in sampling count every step of every image.",
        f"Engines, chosen by trial: {engines}." if engines else "",
        _against_the_fastest(works, record["yardstick"]),
    )
    return paragraphs(picture, grid(["<", "rate", "share", "images/s", "raw, ms"], rows), note)


def _against_the_fastest(works: list[Record], yardstick: str) -> str:
    """What the shares would be of the fastest float32 rate, where the yardstick is not that."""
    plain = {work["name"]: work["rate"] for work in works if work["name"].endswith("float32")}
    fastest = max(plain, key=plain.__getitem__, default=yardstick)
    if fastest == yardstick:
        return ""
    rates = {work["name"]: work["rate"] for work in works}
    shares = [
        f"{name} has {rates[name] / plain[fastest]:.0%}" for name in ("unet training", "unet sampling") if name in rates
    ]
    return (
        f"On this processor the matrix product is not the fastest thing there is: `{fastest}` runs at "
        f"{plain[fastest] / plain[yardstick]:.0%} of it. Of that rate, {' and '.join(shares)}."
    )


def _bars(works: list[Record], yardstick: str) -> Figure:
    """One bar a work, the machine's own in grey."""
    figure = figures.blank(0.6 + 0.21 * len(works))
    ax = figure.add_subplot()
    unit = next(work for work in works if work["name"] == yardstick)
    blue = sns.color_palette("colorblind")[0]
    for y, work in enumerate(works):
        each = [
            work["amount"] * u / (unit["amount"] * s) for s, u in zip(work["seconds"], unit["seconds"], strict=True)
        ]
        ax.barh(y, work["share"], color=blue if work["images"] else "0.75", height=0.68, zorder=2)
        ax.plot(each, [y] * len(each), "o", color="0.15", markersize=2.2, zorder=3)
    for share, style in ((0.6, "--"), (0.7, ":")):
        ax.axvline(share, color="0.3", linestyle=style, linewidth=0.9, zorder=4)
    ax.set_yticks(range(len(works)), [work["name"] for work in works])
    ax.invert_yaxis()
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xlabel("share of the fp32 matrix rate")
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return figure


def scorenet(record: Record, pictures: Pictures) -> str:
    """The ratio of times, and how near the losses stay."""
    raw = {name: values[1:] for name, values in record["seconds_a_step"].items()}
    rows = [
        [name, short(1000 * statistics.median(values)), _range(values, 1000), len(values)]
        for name, values in raw.items()
    ]
    steps = len(record["losses"]["ours"])
    return paragraphs(
        grid(["<form", "ms a step, median", "raw, ms", "chunks"], rows),
        f"Our step takes {record['ratio']:.3f} of the plain form's time (median of chunks of {record['chunk']} steps "
        f"in turn; {_range(record['ratios'])}). Over {steps} steps from the same weights, with the same batches and "
        f"noise, the two losses differ by at most {record['max_relative_difference']:.1e} of their size. The network's "
        f"convolutions alone, without the last, take {record['convolutions_ratio']:.3f} of the plain form's step.",
    )


def peers(record: Record, pictures: Pictures) -> str:
    """Quality against training time, time to the target, and the speed of sampling and scoring."""
    return paragraphs(
        _curves(record, pictures),
        "### After equal time", _equal_time(record),
        "### Time to the target", _time_to_target(record),
        "### Rates", _rates(record), _equal_network(record),
        "### Scoring", _scoring(record),
        "### The search for each peer's best size", _search(record),
    )  # fmt: skip


def _curves(record: Record, pictures: Pictures) -> str:
    figure = figures.blank(3.1)
    ax = figure.add_subplot()
    palette = sns.color_palette("colorblind")
    labels = {one["id"]: one for one in record["contenders"]}
    values, times = [], []
    for i, (name, about) in enumerate(labels.items()):
        points = sorted((s["train_s"], s["fid"]) for run in record["runs"] if run["id"] == name
                        for s in run["snapshots"] if s["fid"] is not None)  # fmt: skip
        if not points:
            continue
        colour = palette[LIBRARIES.index(about["library"])] if about["library"] in LIBRARIES else "0.4"
        label = "ours" if about["role"] == "ours" else f"{about['library']}, {about['role']}"
        ax.plot(*zip(*points, strict=True), marker=MARKERS[i % len(MARKERS)], color=colour, label=label,
                linestyle="" if about["role"] == "ours" else "--" if about["role"] == "documented" else "-")  # fmt: skip
        times += [time for time, _ in points]
        values += [fid for _, fid in points]
    if not values:
        return ""
    target = max(record["bounds"].values(), key=lambda bound: bound["target"])["target"]
    ceiling = max(bound["ceiling"] for bound in record["bounds"].values())
    for y, text in ((target, f"target {target:.1f}"), (ceiling, "noise")):
        ax.axhline(y, color="0.3", linestyle=":", linewidth=0.9)
        ax.annotate(text, (1, y), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
                    ha="right", fontsize=7, color="0.3")  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    figures.log_limits([ax], [*values, target, ceiling], "y")
    figures.log_limits([ax], times, "x", 1.25)
    ax.set_xlabel("training, seconds (log scale)")
    ax.set_ylabel("FID (log scale)")
    figure.legend(loc="outside upper center", ncols=3, handlelength=2.6)
    sns.despine(ax=ax)
    caption = (
        f"FID against training time, {record['setup']['evaluations']} network evaluations an image. Ours is a run of its "
        "own at each point, since its learning rate falls to zero within the time; each peer's are averaged weights "
        f"along a run. The target is {_share(record)} of the FID of noise."
    )
    return pictures.figure("peers", figure, caption)


def _share(record: Record) -> str:
    return f"1/{1 / record['setup']['target']:.0f}"


def _label(record: Record, name: str) -> str:
    about = next(one for one in record["contenders"] if one["id"] == name)
    role = "" if about["role"] == "ours" else f", {about['role']}"
    return escape(f"{about['library']}{role}: {about['label']}")


def _fid(value: float | None) -> str:
    return "not finite" if value is None else short(value)


def _equal_time(record: Record) -> str:
    rows = [
        [_label(record, row["id"]), short(row["train_s"]), f"{row['n']:,}", _fid(row["fid"]),
         _fid(row["ours_at_n"]), "–" if row["ratio"] is None else f"{short(row['ratio'])}×"]
        for row in record["equal_time"]
    ]  # fmt: skip
    return grid(["<", "training, s", "N", "FID", "ours at that N", "ratio"], rows)


def _time_to_target(record: Record) -> str:
    rows = []
    for row in record["time_to_target"]:
        ratio = "–" if row["ratio"] is None else f"{'> ' if row['missed'] else ''}{short(row['ratio'])}×"
        reached = "∞" if row["missed"] else seconds(row["seconds"])
        rows.append([_label(record, row["id"]), reached, seconds(row["budget_s"]), ratio])
    note = "∞: not within its budget; its ratio is then the budget's, a lower bound."
    return paragraphs(grid(["<", "to the target", "budget", "ours is faster by"], rows), note)


def _rates(record: Record) -> str:
    rows = [
        [_label(record, row["id"]), short(row["train_images_per_s"]), row["batch_size"],
         _range(row["train_step_s"], 1000), short(row["sample_image_steps_per_s"]), _range(row["sample_s"])]
        for row in record["rates"]
    ]  # fmt: skip
    return grid(
        ["<", "training, images/s", "batch", "raw, ms a step", "sampling, images·steps/s", "raw, s a batch"], rows
    )


def _equal_network(record: Record) -> str:
    row = record["equal_network"]
    return (
        f"With one network ({escape(row['label'])}; batch {row['batch']}, {row['steps']} steps), our sampling does "
        f"{short(row['ours_image_steps_per_s'])} images·steps/s and diffusers' pipeline loop "
        f"{short(row['diffusers_image_steps_per_s'])}: {row['ratio']:.2f}× (raw, s: ours {_range(row['ours_s'])}, "
        f"diffusers {_range(row['diffusers_s'])}). FID of {row['fid_n']:,}: {_fid(row['ours_fid'])} and "
        f"{_fid(row['diffusers_fid'])}."
    )


def _scoring(record: Record) -> str:
    rows = [
        [escape(row["library"]), short(row["images_per_s"]), _range(row["seconds"]), _fid(row["fid"]),
         f"{row['ratio']:.2f}×"]
        for row in record["scoring"]["libraries"]
    ]  # fmt: skip
    n = f"{record['scoring']['n']:,} images against {record['scoring']['reference_n']:,}, one extractor for all."
    return paragraphs(n, grid(["<library", "images/s", "raw, s", "FID", "time over ours"], rows))


def _search(record: Record) -> str:
    rows = [
        [escape(row["library"]), escape(row["label"]), escape(", ".join(f"{k} {v}" for k, v in row["recipe"].items())),
         f"{row['params']:,}", short(row["train_s"]), row["steps"], _fid(row["fid"]), "yes" if row["chosen"] else ""]
        for row in record["search"]
    ]  # fmt: skip
    return grid(["<library", "<size", "<recipe", "parameters", "training, s", "steps", "FID", "<chosen"], rows)


def peer_claims(record: Record) -> list[Record]:
    """The bars of the comparison with peers."""
    roles = {one["id"]: one["role"] for one in record["contenders"]}
    ratios = [row["ratio"] for row in record["equal_time"] if row["id"] != "ours" and row["ratio"] is not None]
    made = []
    if ratios:
        what = "FID after equal training time, ours over the better peer's"
        made.append(claim(what, "≤ 1/10", f"1/{short(min(ratios))}", min(ratios) >= 10))
    for role, bar in (("best", 5), ("documented", 10)):
        rows = [row for row in record["time_to_target"] if roles[row["id"]] == role]
        known = [row for row in rows if row["ratio"] is not None]
        if rows and len(known) == len(rows):
            least = min(known, key=lambda row: row["ratio"])
            text = f"{'> ' if least['missed'] else ''}{short(least['ratio'])}×"
            what = f"time to {_share(record)} of noise's FID, the faster peer's ({role} setting) over ours"
            made.append(claim(what, f"≥ {bar}×", text, least["ratio"] >= bar))
    ratio = record["equal_network"]["ratio"]
    return [
        *made,
        claim("sampling with one network, ours over diffusers' loop", "≥ 1.5×", f"{ratio:.2f}×", ratio >= 1.5),
    ]


SECTIONS: dict[str, tuple[str, Callable[[Record, Pictures], str]]] = {
    "roofline": ("Share of the machine", roofline),
    "scorenet": ("ScoreNet against its plain form", scorenet),
    "peers": ("Against the peers", peers),
}


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
        pictures = Pictures()
        text = compose(found, pictures, args.results)
        write_files(args.out, text, pictures.drawn)
    except UserError as error:
        print(f"perf.page: {error}", file=sys.stderr)
        return 2
    print(args.out / "report.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
