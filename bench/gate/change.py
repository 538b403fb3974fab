"""The gate of every change: what this version of the code gives, beside what it gave when the baseline was made.

All that is random being the same, two versions differ by rounding, or because something changed. The two lie far apart
(:data:`bench.gate.kinds.KINDS`). Checks are made from the tables of rows: whoever adds a row has a check for it, which
cannot tell until the baseline has it. A change that is meant is acknowledged with ``check --update-baseline --why``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from bench import files
from bench.errors import UserError
from bench.gate import data, drawn, jobs, numbers, training
from bench.gate.baselines import Change, FrozenNumbers, read_json, write_json
from bench.gate.drawn import MAIN, SCORED
from bench.gate.kinds import KINDS, Check, compare
from bench.gate.subject import FROZEN, Subject
from bench.gate.verdicts import FAIL, NOT_MEASURED, PASS, UNDECIDED, Outcome
from bench.job.failures import reason_of
from bench.paths import BASELINES
from bench.store.records import Part
from bench.store.store import Store
from bench.store.tensors import Checkpoint

NAME = BASELINES / "frozen"
"""The baseline: ``.json`` its numbers and history, ``.npz`` its images, ``.safetensors`` the networks' weights."""

PARTS: tuple[Callable[[], Iterable[tuple[str, Check]]], ...] = (
    numbers.tables,
    numbers.losses,
    numbers.teachings,
    numbers.bases,
    numbers.sampled,
    numbers.likelihoods,
    numbers.averages,
    numbers.choices,
    numbers.nets,
    data.rows,
    training.rows,
    drawn.rows,
    jobs.rows,
)
"""What is compared."""


def checks() -> dict[str, Check]:
    """Every check by its name."""
    return dict(one for part in PARTS for one in part())


@dataclass(frozen=True)
class Baseline:
    """What was measured when the baseline was made; ``history`` says by whom and why, the newest last."""

    images: dict[str, np.ndarray]
    numbers: Mapping[str, Sequence[float]]
    classifier: str
    history: tuple[Change, ...]

    @property
    def names(self) -> set[str]:
        """Every check that it has."""
        return {f"images {name}" if not name.startswith("job ") else name for name in self.images} | set(self.numbers)

    def value(self, name: str) -> np.ndarray:
        """What a check found then."""
        if name in self.numbers:
            return np.array(self.numbers[name], dtype=float)
        return self.images[name.removeprefix("images ")]


def measure(subject: Subject, history: Iterable[Change]) -> tuple[Baseline, dict[str, dict[str, Tensor]]]:
    """A baseline of the code as it is, and its networks' weights: a small one is trained for it."""
    subject.also("classes", jobs.averaged(jobs.done(subject, "told")))
    main = subject.draw(drawn.ways()[MAIN], SCORED, 100)
    subject.made["main"] = main
    images, found = {}, {}
    for name, check in checks().items():
        value = check.of(subject)
        if "images" in check.kind:
            images[name.removeprefix("images ")] = value
        else:
            found[name] = value.tolist()
    images[MAIN] = main.numpy()
    return Baseline(images, found, subject.scorer.classifier, tuple(history)), subject.weights


def check(subject: Subject, baseline: Baseline, only: str = "") -> Iterator[Outcome]:
    """Everything that the baseline has, against the code as it is, an outcome at a time.

    :param only: leave out every check whose name does not contain this text.
    :raises UserError: for a baseline of another classifier.
    """
    subject.made["main"] = torch.from_numpy(baseline.images[MAIN])
    every = checks()
    wanted = {name: one for name, one in every.items() if only in name and applies(subject, one)}
    if any(name.startswith("score ") for name in wanted) and baseline.classifier != subject.scorer.classifier:
        raise UserError(
            f"the baseline was scored by classifier {baseline.classifier[:12]}, but this version has "
            f"{subject.scorer.classifier[:12]}: make a new one with `ddpm-bench check --update-baseline --why …`"
        )
    for name, one in wanted.items():
        yield _outcome(subject, baseline, name, one)
    for name in sorted(baseline.names - every.keys()):
        if only in name:
            yield Outcome(name, FAIL, None, None, "there is no such check any more")


def applies(subject: Subject, one: Check) -> bool:
    """Whether a check compares on the subject's device and in its number format."""
    return not KINDS[one.kind].exact or (subject.device.type == "cpu" and subject.format == "float32")


def _outcome(subject: Subject, baseline: Baseline, name: str, one: Check) -> Outcome:
    if name not in baseline.names:
        return Outcome(name, UNDECIDED, None, None, "not in the baseline: update it")
    try:
        found = one.of(subject)
    except FloatingPointError as error:
        return Outcome(name, FAIL, None, None, str(error))
    except UserError:
        raise
    except Exception as error:  # whatever a change has broken
        return Outcome(name, NOT_MEASURED, None, None, reason_of(error))
    expected = baseline.value(name)
    main = name == f"images {MAIN}"
    outcome = compare(name, one.kind, found, expected[: len(found)] if main else expected, subject.format)
    if main and outcome.verdict != PASS:
        images = subject.draw(drawn.ways()[MAIN], SCORED, 100)
        return outcome._replace(note=drawn.quality(subject.scorer, images, torch.from_numpy(expected)))
    return outcome


def trained(store: Store, key: str) -> dict[str, Tensor]:
    """The averaged weights of a training run, to be frozen.

    :raises UserError: if it is not there, or of another kind than what is sampled here.
    """
    kept = store.load_tensors(Checkpoint, key)
    if kept is None:
        raise UserError(f"no weights of a training run {key} in {store.root}")
    weights, about = kept
    wanted = {"dataset": "mnist", "net": "unet", "objective": "v", "schedule": "cosine"}
    for what, value in wanted.items():
        if (found := getattr(about.job, what)) != value:
            raise UserError(f"training run {key} has {what}={found}, but a frozen network must have {value}")
    return {k[4:]: v for k, v in weights.items() if k.startswith("ema.")}


class _Past(Part):
    """What is left of a baseline of another version."""

    history: tuple[Change, ...]


def past(name: Path = NAME) -> tuple[Change, ...]:
    """The history of a baseline that may be of another version; nothing where there is none."""
    try:
        return read_json(name.with_suffix(".json"), _Past, "a baseline").history
    except (OSError, UserError):
        return ()


def write(baseline: Baseline, weights: dict[str, dict[str, Tensor]], name: Path = NAME) -> None:
    """Keep a baseline and the networks it is of."""
    from safetensors.torch import save

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **baseline.images)  # type: ignore[arg-type]
    files.write_bytes(name.with_suffix(".npz"), buffer.getvalue())
    tensors = {f"{net}.{k}": v.contiguous() for net, own in weights.items() for k, v in own.items()}
    files.write_bytes(name.with_suffix(".safetensors"), save(tensors))
    kept = {label: tuple(values) for label, values in baseline.numbers.items()}
    write_json(
        name.with_suffix(".json"),
        FrozenNumbers(classifier=baseline.classifier, history=baseline.history, numbers=kept),
    )


def read_weights(name: Path = NAME) -> dict[str, dict[str, Tensor]]:
    """The weights of the frozen networks, by their names.

    :raises UserError: if there are none, or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(name.with_suffix(".safetensors").read_bytes())
    except OSError as error:
        raise UserError(f"no baseline {name}.*: {error.strerror}") from error
    except SafetensorError as error:
        raise _another_version(name) from error
    parts: dict[str, dict[str, Tensor]] = {net: {} for net in FROZEN}
    for key, value in tensors.items():
        part, _, rest = key.partition(".")
        parts.setdefault(part, {})[rest] = value
    return {net: parts[net] for net in FROZEN}


def _another_version(name: Path) -> UserError:
    return UserError(f"{name}.* is not a baseline of this version: make a new one with --update-baseline")


def read(name: Path = NAME) -> tuple[Baseline, dict[str, dict[str, Tensor]]]:
    """The baseline, and the weights of the networks it is of.

    :raises UserError: if there is none, or it is damaged.
    """
    weights = read_weights(name)
    try:
        kept = read_json(name.with_suffix(".json"), FrozenNumbers, "a baseline")
        with np.load(io.BytesIO(name.with_suffix(".npz").read_bytes()), allow_pickle=False) as file:
            images = {key: file[key] for key in file.files}
        if MAIN not in images or not all(weights.values()):
            raise ValueError("a part is missing")
    except OSError as error:
        raise UserError(f"no baseline {name}.*: {error.strerror}") from error
    except (UserError, ValueError, KeyError, BadZipFile) as error:
        raise _another_version(name) from error
    return Baseline(images, kept.numbers, kept.classifier, kept.history), weights
