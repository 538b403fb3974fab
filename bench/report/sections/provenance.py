"""Where every number comes from, what is missing, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pandas as pd

from bench.analysis.frames import Results
from bench.report.blocks import Block, Cell, Code, CodeSpan, Column, Span, Spans, Strong, heading, table, text
from bench.report.sections.common import MOST_ROWS, left_out, numbers, versions
from bench.score.judges import with_hash
from bench.study import load, yaml12
from bench.study.study import Study
from bench.text import listing

REASONS = {"missing": "not run yet", "stale": "scored by another classifier, or against another data set"}


def section(results: Results) -> Iterator[Block]:
    """Facts, floor and ceiling, what is missing, the study itself and the commands."""
    yield heading(2, "Provenance")
    if (codes := versions(results)) > 1:
        yield text(
            Strong(f"Warning: these results come from {codes} versions of the code."),
            " Their numbers may differ for that reason. Run the older ones again before you draw conclusions.",
        )
    yield table([Column("fact", "left"), Column("value", "left")], _facts(results))
    if results.bounds:
        yield heading(3, "Floor and ceiling")
        rows: list[list[Cell]] = [
            [CodeSpan(name), *(bound[name] for bound in results.bounds)]
            for name in results.bounds.floor
            if name in results.bounds.ceiling
        ]
        yield table([Column("metric", "left"), *numbers("floor (real test images)", "ceiling (noise)")], rows)
    yield from _unfinished(results)
    damaged = [path.name for path in results.store.damaged]
    if damaged:
        yield text(f"These files are damaged and count as missing: {listing(damaged)}.")
    yield heading(3, "The study")
    yield Code(_study(results), "yaml")
    yield from _reproduce(results)
    yield text(
        "Use the commit above, with the package installed. Finished work is kept. To start from nothing, delete the "
        "results folder. On the same processor, with the same number of threads, the same engine and the same "
        "versions, the samples are the same to the byte."
    )


def _facts(results: Results) -> Iterator[list[Span | Spans]]:
    dirty = bool(results.environments.get("dirty", pd.Series(dtype=bool)).any())
    changes: Spans = (", ", Strong("with uncommitted changes")) if dirty else ()
    yield ["commit", _seen(results, "commit") + changes]
    yield ["code (hash of the sources behind the numbers)", _seen(results, "code")]
    yield ["machine", listing(results.hardware) if results.hardware else "unknown"]
    yield ["machine's id", _seen(results, "machine")]
    versions = (_seen(results, name) for name in ("system", "python", "torch"))
    yield ["system, Python, torch", _joined(list(versions), "; ", "; ")]
    yield ["training seeds", listing(results.levels("seed"))]
    draws = results.study.score.seed
    yield ["sampling seeds", "each network's own training seed" if draws is None else listing(draws)]
    yield ["N", f"{results.study.score.n:,}"]
    if results.reference:
        judge = with_hash(results.reference.classifier)
        whose = f"headline judge ({judge.name})" if judge else "judge of FID (the data set's own classifier)"
        yield [f"{whose}, sha256", CodeSpan(results.reference.classifier)]
        yield ["data set (sha256)", CodeSpan(results.reference.dataset_sha256)]
    if results.made:
        yield ["made", f"{results.made[0]} to {results.made[1]}"]


def _seen(results: Results, name: str) -> Spans:
    """The different values of a part of the environment."""
    column = results.environments.get(name)
    values = [] if column is None else [str(value) for value in column.dropna().unique() if str(value)]
    return _joined([(CodeSpan(value),) for value in values], ", ", " and ") if values else ("unknown",)


def _joined(parts: list[Spans], comma: str, last: str) -> Spans:
    """The parts with words between them."""
    between = [comma] * (len(parts) - 2) + [last]
    rest = (span for word, part in zip(between, parts[1:], strict=False) for span in (word, *part))
    return (*parts[0], *rest)


def _study(results: Results) -> str:
    content = results.study.model_dump(mode="json", exclude_defaults=True)
    return yaml12.dump(content, default_flow_style=None, width=90).strip()


def _reproduce(results: Results) -> Iterator[Block]:
    """Commands that run as they stand: a study of one's own is a file, whose content is above."""
    study = results.study
    file = study.name
    yield heading(3, "To reproduce")
    if not _shipped(study):
        file = f"{'./' * file.startswith('-')}{file}.yaml"
        yield text("Save the study above as ", CodeSpan(file), ", and run:")
    options, different = [], []
    for option, values in _settings(results):
        if len(values) == 1:
            options += [f"--{option}", str(*values)]
        elif values:
            different.append(f"{option}: {listing(values)}")
    yield Code(
        shlex.join(["ddpm-bench", "run", file, *options]) + "\n" + shlex.join(["ddpm-bench", "report", file]), "sh"
    )
    if different:
        yield text(
            f"The results were made with different settings ({'; '.join(different)}), so the command above leaves "
            "these options out."
        )


def _settings(results: Results) -> Iterator[tuple[str, list[str]]]:
    """Option of ``run`` → its different values in the records; the usual device is not worth a word."""
    for name in ("device", "threads"):
        column = results.environments.get(name, pd.Series(dtype=object))
        values = [str(value) for value in column.dropna().unique()]
        yield name, [] if values == ["cpu"] else values
    engines = pd.concat([results.cells["train_engine"], results.cells["sample_engine"]]).dropna()
    yield "engine", [str(name) for name in engines.unique() if name]


def _shipped(study: Study) -> bool:
    return study.name in load.available() and load.load(study.name) == study


def _unfinished(results: Results) -> Iterator[Block]:
    """A row a training run and a reason: the cells that are missing, failed, or scored against something else."""
    frame = _without_score(results)
    if frame.empty:
        return
    sizes = results.cells["job"].value_counts()
    groups = frame.groupby(["job", "status", "why"], sort=False)
    rows = []
    for (_, status, why), part in [*groups][:MOST_ROWS]:
        first = part.iloc[0]
        whole = len(part) == sizes[first["job"]]
        which = "all" if whole else "; ".join(f"{row['method']} {row['sample_steps']}" for _, row in part.iterrows())
        model = f"{first['net']}, {results.model(first)}, seed {first['seed']}"
        rows.append([model, len(part), which, status, why])
    left = [Column(title, "left") for title in ("model", "which", "state", "reason")]
    yield heading(3, "Not in these results")
    yield table([left[0], Column("cells", format="plain"), *left[1:]], rows)
    yield from left_out(results, groups.ngroups, "such groups of cells")


def _without_score(results: Results) -> pd.DataFrame:
    """The cells that are not ranked, with why."""
    cells = results.cells
    known = cells["key"].isin([*results.done["key"], *results.exact["key"]])
    odd = cells[(cells["status"] == "done") & ~known].assign(status="no FID", reason="its FID is not a finite number")
    frame = pd.concat([cells[cells["status"] != "done"], odd])
    reasons = zip(frame["reason"], frame["status"], strict=True)
    return frame.assign(why=[reason or REASONS.get(state, "") for reason, state in reasons])
