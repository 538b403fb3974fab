"""The gates as a whole: from a baseline's file to outcomes, or to a new baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.analysis.table import rows
from bench.errors import UserError
from bench.gate import baselines, change, nightly, verdicts
from bench.gate.verdicts import Outcome
from bench.images import datasets
from bench.job.failures import reason_of
from bench.machine.devices import pick_device
from bench.machine.provenance import environment
from bench.machine.sources import code_hash
from bench.paths import BASELINES, baseline
from bench.score.judges import named
from bench.score.scorer import Scorer
from bench.store.store import Store
from bench.study import load as studies
from bench.study.study import Study

Train = Callable[[Study, Store], bool]
"""What does a study's missing jobs, and says whether every cell is done."""


def check_change(
    store: Store, *, data_dir: Path | None = None, file: Path | None = None, only: str = ""
) -> list[Outcome]:
    """The gate of every change: the frozen network against its baseline.

    :param file: the baseline; that of the project if None.
    :param only: leave out every check whose name does not contain this text.
    :raises UserError: if there is no such baseline, or no check with such a name.
    """
    kept, weights = change.read((file or baseline("frozen.json")).with_suffix(""))
    network = change.Frozen(weights, _scorer(store, data_dir, kept.classifier))
    outcomes: list[Outcome] = []
    try:
        outcomes.extend(change.check(network, kept, only))
    except UserError:
        raise
    except Exception as error:  # whatever a change has broken
        outcomes.append(Outcome("frozen network", verdicts.NOT_MEASURED, None, None, reason_of(error)))
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
    if network:
        weights, history = change.trained(store, network), change.past(path)
    else:
        kept, weights = change.read((file or baseline("frozen.json")).with_suffix(""))
        history = kept.history
    frozen = change.Frozen(weights, _scorer(store, data_dir))
    change.write(change.measure(frozen, [*history, baselines.change(why)]), weights, path)
    return path


def _scorer(store: Store, data_dir: Path | None, classifier: str = "") -> Scorer:
    """What scores; with a hash, by the judge of that hash where there is one."""
    return Scorer("mnist", datasets.load("mnist", data_dir), store, change.CPU, named(classifier))


def check_runs(
    name: str,
    results: Path,
    train: Train,
    *,
    seeds: int | None = None,
    file: Path | None = None,
    promotion: bool = False,
) -> list[Outcome]:
    """The nightly gate: a study trained on fresh seeds against its baseline.

    :param seeds: how many; :data:`bench.gate.nightly.NIGHTLY_SEEDS` if None.
    :param promotion: whether a cell passes only where it is shown not to be worse.
    :raises UserError: if there is no baseline, or it does not compare.
    """
    study = studies.load(name)
    kept = nightly.read_baseline(file or baseline(f"{study.name}.json"))
    study = _on_seeds(study, nightly.fresh_seeds(kept, seeds or nightly.NIGHTLY_SEEDS))
    store = _of_this_code(results)
    if not train(study, store):
        return [Outcome(study.name, verdicts.NOT_MEASURED, None, None, "some cells failed")]
    return nightly.judge(rows(study, store), kept, promotion=promotion)


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
        raise UserError(f"--update-baseline needs {baselines.SEEDS} seeds at least")
    before = file or baseline(f"{study.name}.json")
    history = nightly.read_baseline(before).history if before.is_file() else ()
    study, store = _on_seeds(study, chosen), _of_this_code(results)
    train(study, store)
    here = environment(pick_device(device))
    made = nightly.make_baseline(study.name, rows(study, store), here, [*history, baselines.change(why)])
    baselines.write_json(path, made)
    return path, len(chosen)


def _on_seeds(study: Study, seeds: list[int]) -> Study:
    axes = study.axes.model_copy(update={"seed": seeds})
    return Study(**{**study.model_dump(), "axes": axes, "claims": []})


def _of_this_code(results: Path) -> Store:
    """Runs of one version of the code are kept apart from those of any other."""
    return Store(results / "check" / code_hash())
