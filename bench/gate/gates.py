"""The gates as a whole: from a baseline's file to outcomes, or to a new baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.analysis.table import rows
from bench.errors import UserError
from bench.gate import baselines, change, nightly, verdicts
from bench.gate.subject import CPU, Subject
from bench.gate.verdicts import Outcome
from bench.images import datasets
from bench.job.engine import AUTO
from bench.machine.devices import pick_device
from bench.machine.provenance import environment
from bench.paths import BASELINES, baseline
from bench.store.store import Store
from bench.study import load as studies
from bench.study.study import Study

Train = Callable[[Study, Store], bool]
"""What does a study's missing jobs, and says whether every cell is done."""


def check_change(
    *,
    data_dir: Path | None = None,
    file: Path | None = None,
    only: str = "",
    device: str = "auto",
    engine: str = AUTO,
) -> list[Outcome]:
    """The gate of every change, against its baseline.

    :param file: the baseline; that of the project if None.
    :param only: leave out every check whose name does not contain this text.
    :param device: where the frozen networks are sampled; ``auto`` is the CPU, as when the baseline was made.
    :param engine: how they are evaluated; ``auto`` is eager, as when the baseline was made.
    :raises UserError: if there is no such baseline, device or engine, or no check with such a name.
    """
    kept, weights = change.read((file or baseline("frozen.json")).with_suffix(""))
    where = CPU if device == "auto" else pick_device(device)
    with Subject(weights, datasets.load("mnist", data_dir), where, "eager" if engine == AUTO else engine) as one:
        outcomes = list(change.check(one, kept, only))
    if only and not outcomes:
        raise UserError(f"no check has '{only}' in its name")
    return outcomes


def update_change(
    store: Store, why: str, *, data_dir: Path | None = None, file: Path | None = None, network: str | None = None
) -> Path:
    """Make the baseline of :func:`check_change` anew and return its path without an ending.

    :param network: freeze the network of this training run; None keeps the one that is frozen.
    :raises UserError: if there is no such training run or baseline.
    """
    path = (file or change.NAME).with_suffix("")
    before = (file or baseline("frozen.json")).with_suffix("")
    weights = change.trained(store, network) if network else change.read_weights(before)["net"]
    with Subject({"net": weights}, datasets.load("mnist", data_dir)) as subject:
        made, networks = change.measure(subject, [*change.past(before), baselines.change(why)])
    change.write(made, networks, path)
    return path


def check_runs(
    name: str,
    results: Path,
    train: Train,
    *,
    seeds: int | None = None,
    most: int | None = None,
    file: Path | None = None,
    promotion: bool = False,
) -> list[Outcome]:
    """The nightly gate: a study trained on fresh seeds against its baseline, on more seeds while nobody can tell.

    :param seeds: how many at first, and ``most``: how many in the end (:func:`bench.gate.nightly.looks`).
    :param promotion: whether a cell passes only where it is shown not to be worse.
    :raises UserError: if there is no baseline, or it does not compare.
    """
    study = studies.load(name)
    kept = nightly.read_baseline(file or baseline(f"{study.name}.json"))
    store, looks, outcomes = baselines.runs_of_this_code(results), nightly.looks(seeds, most), list[Outcome]()
    for count in looks:
        wider = _on_seeds(study, nightly.fresh_seeds(kept, count))
        if not train(wider, store):
            return [Outcome(study.name, verdicts.NOT_MEASURED, None, None, "some cells failed")]
        outcomes = nightly.judge(rows(wider, store), kept, promotion=promotion, looks=len(looks))
        if verdicts.overall(outcomes) != verdicts.UNDECIDED:
            break
    return outcomes


def update_runs(
    name: str,
    results: Path,
    train: Train,
    why: str,
    *,
    seeds: int | None = None,
    file: Path | None = None,
    device: str = "auto",
) -> tuple[Path, int]:
    """Make the baseline of :func:`check_runs` anew; its path, and of how many seeds it is.

    :raises UserError: if there are too few seeds, or a cell is not done.
    """
    study = studies.load(name)
    path = file or BASELINES / f"{study.name}.json"
    chosen = list(range(seeds or nightly.REFERENCE_SEEDS))
    if len(chosen) < baselines.SEEDS:
        raise UserError(f"--update-baseline needs at least {baselines.SEEDS} seeds")
    before = file or baseline(f"{study.name}.json")
    history = nightly.read_baseline(before).history if before.is_file() else ()
    study, store = _on_seeds(study, chosen), baselines.runs_of_this_code(results)
    train(study, store)
    here = environment(pick_device(device))
    made = nightly.make_baseline(study.name, rows(study, store), here, [*history, baselines.change(why)])
    baselines.write_json(path, made)
    return path, len(chosen)


def _on_seeds(study: Study, seeds: list[int]) -> Study:
    axes = study.axes.model_copy(update={"seed": seeds})
    return Study(**{**study.model_dump(), "axes": axes, "claims": []})
