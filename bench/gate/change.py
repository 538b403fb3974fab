"""The gate of every change: a frozen network, sampled from the noise it was sampled from when the baseline was made.

All that is random being the same, images differ from the baseline's by rounding, or because something changed: a
schedule, a sampler, the algebra, how images are written. The two lie far apart (:data:`ROUNDING_AND_CHANGE`), so a
hundred images a way tell them apart in a second. What an image cannot show is compared as numbers: tables of every
schedule, objective and weight, the scores of the baseline's own images, and the averaged weights of two small training
runs. A change that is meant is acknowledged with ``check --update-baseline --why``.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from bench import files
from bench.errors import UserError
from bench.gate.baselines import Change, FrozenNumbers, read_json, write_json
from bench.gate.verdicts import FAIL, PASS, UNDECIDED, Outcome
from bench.images import datasets
from bench.job.generate import generate
from bench.paths import BASELINES
from bench.score.distances import Moments, frechet_distance
from bench.score.scorer import Scorer
from bench.store.records import Part
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.model import Budget, Sampling
from ddpm.nets import make_net
from ddpm.objective import OBJECTIVES, WEIGHTS, loss_weight, make_target
from ddpm.sampler import SAMPLERS, make_sampler
from ddpm.schedule import SCHEDULES, make_schedule
from ddpm.spacing import SPACINGS, space
from ddpm.spec import Variant
from ddpm.train import OPTIMISERS, Loss, Recipe, Trainer

NAME = BASELINES / "frozen"
"""The baseline: ``.json`` its numbers and history, ``.npz`` its images, ``.safetensors`` the network's weights."""
CPU = torch.device("cpu")
MAIN = "ancestral, 25 of 1000"
FULL_T, SHORT_T = 1000, 50

#: what is compared → (the most that rounding does, the least that a change does); between the two nobody can tell
ROUNDING_AND_CHANGE = {
    "images": (0.02, 0.05),  # mean absolute difference, in levels of 255
    "tables": (1e-9, 1e-7),  # relative
    "scores": (1e-3, 1e-2),  # relative
    "training": (1e-6, 1e-4),  # of the averaged weights, in float64, relative to how far they came
}


@dataclass(frozen=True)
class Way:
    """One way to sample the frozen network. It takes t/T, so that it serves a schedule of any T."""

    sampling: Sampling
    T: int = FULL_T
    n: int = 100


def ways() -> dict[str, Way]:
    """Every sampler, spacing and way to clip; with S = T where a sampler is defined by that."""

    def way(sampler: str | Variant, steps: int = 10, **own: Any) -> Sampling:
        return Sampling(sampler=Variant.of(sampler), sample_steps=steps, **own)

    every: dict[str, Way] = {MAIN: Way(way("ancestral", 25), n=500)}
    for name in SAMPLERS:
        if not make_sampler(name).learned:
            every[f"{name}, 10 of 1000"] = Way(way(name))
    for name in ("ancestral", "ancestral_beta"):
        every[f"{name}, 50 of 50"] = Way(way(name, SHORT_T), SHORT_T)
    every["heun with churn, 10 of 1000"] = Way(way(Variant("heun", (("churn", 5.0),))))
    every["ddim η=0.5, 10 of 1000"] = Way(way("ddim", eta=0.5))
    for label, clip in (("unclipped", False), ("dynamic", "dynamic")):
        every[f"ancestral {label}, 10 of 1000"] = Way(way("ancestral", clip=clip))
    for name in SPACINGS:
        if name != "linspace":
            every[f"ddim {name}, 10 of 1000"] = Way(way("ddim", spacing=Variant(name)))
    return every


def tables() -> dict[str, list[float]]:
    """A few numbers of every schedule, objective, weight and spacing."""
    at = [1, 2, 13, 25, 38, 49, 50]
    s = make_schedule("cosine", SHORT_T)
    found = {f"schedule {name}": make_schedule(name, SHORT_T).alpha[at].tolist() for name in SCHEDULES}
    for name in OBJECTIVES:
        target = make_target(s, name)
        found[f"objective {name}"] = torch.cat([target.a[at], target.b[at], target.c[at]]).tolist()
    for name in WEIGHTS:
        found[f"weight {name}"] = loss_weight(s, "v", name)[at].tolist()
    for name in SPACINGS:
        found[f"spacing {name}"] = [float(t) for t in space(make_schedule("linear", FULL_T), 10, name)]
    return found


def small(images: Tensor) -> nn.Module:
    """The network of the training runs, untrained; in float64, whose rounding training does not amplify to anything."""
    torch.manual_seed(0)
    return make_net("unet(width=8,inner=32,blocks=1,middle=1)", *images.shape[1:3]).double()


def train(optimiser: str, images: Tensor) -> dict[str, Tensor]:
    """A small network's averaged weights after 256 steps; the study's defaults are the recipe."""
    net = small(images)
    budget = Budget(epochs=2, batch_size=16, optimiser=optimiser)
    loss = Loss(make_schedule("cosine", FULL_T), "v", "unit")
    trainer = Trainer(net, loss, Recipe(**budget.model_dump(exclude={"images"})), 0)
    for _ in trainer.steps(images[:2048], lambda batch: datasets.to_float(batch).double()):
        pass
    return trainer.ema.weights


class Frozen:
    """The network, and whatever is measured with it.

    :param weights: name → tensor, of the default network trained on v under ``cosine``.
    :raises UserError: if they are not of the default network as it is.
    """

    def __init__(self, weights: dict[str, Tensor], scorer: Scorer) -> None:
        self.scorer = scorer
        self.net = make_net("unet", *scorer.images.shape).eval()
        try:
            self.net.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                "the frozen network is not of this version: freeze another with `ddpm-bench check --update-baseline "
                "--network KEY --why …`"
            ) from error

    @property
    def device(self) -> torch.device:
        """Where it samples: on the CPU, as the baseline was, whatever scores the images."""
        return CPU

    def draw(self, way: Way) -> Tensor:
        """The images of one way, uint8 (n, C, H, W).

        :raises FloatingPointError: if they are not finite.
        """
        batches = generate(
            self.net,
            make_schedule("cosine", way.T),
            "v",
            way.sampling,
            shape=self.scorer.images.shape,
            n=way.n,
            device=self.device,
        )
        return torch.cat([batch.images for batch in batches])


@dataclass(frozen=True)
class Baseline:
    """What was measured when the baseline was made; ``history`` says by whom and why, the newest last."""

    images: dict[str, np.ndarray]
    tables: Mapping[str, Sequence[float]]
    scores: dict[str, float]
    training: dict[str, dict[str, Tensor]]
    classifier: str
    history: tuple[Change, ...]

    @cached_property
    def drawn(self) -> dict[str, Tensor]:
        """The images as tensors."""
        return {name: torch.from_numpy(value) for name, value in self.images.items()}


def measure(frozen: Frozen, history: Iterable[Change]) -> Baseline:
    """A baseline of the code as it is."""
    images = {name: frozen.draw(way).numpy() for name, way in ways().items()}
    scores = frozen.scorer.score(torch.from_numpy(images[MAIN]))
    training = {name: train(name, frozen.scorer.images.train) for name in OPTIMISERS}
    return Baseline(images, tables(), scores, training, frozen.scorer.classifier, tuple(history))


def check(frozen: Frozen, baseline: Baseline, only: str = "") -> Iterator[Outcome]:
    """Everything that the baseline has, against the code as it is, an outcome at a time.

    :param only: leave out every check whose name does not contain this text.
    :raises UserError: for a baseline of another classifier, or without what is needed.
    """
    if baseline.classifier != frozen.scorer.classifier:
        raise UserError(
            f"the baseline was scored by classifier {baseline.classifier[:12]}, and {frozen.scorer.classifier[:12]} is "
            "here: make it anew with `ddpm-bench check --update-baseline --why …`"
        )
    for part in (_check_tables, _check_scores, _check_training, _check_images):
        yield from part(frozen, baseline, only)


def _check_tables(frozen: Frozen, baseline: Baseline, only: str) -> Iterator[Outcome]:
    now = tables()
    for name, numbers in baseline.tables.items():
        if only in name:
            yield _outcome("tables", name, _relative(now.get(name, []), numbers))


def _check_scores(frozen: Frozen, baseline: Baseline, only: str) -> Iterator[Outcome]:
    wanted = {f"score {name}": name for name in baseline.scores if only in f"score {name}"}
    own = frozen.scorer.score(baseline.drawn[MAIN]) if wanted else {}
    for label, name in wanted.items():
        value = baseline.scores[name]
        yield _outcome("scores", label, abs(own.get(name, float("nan")) - value) / max(abs(value), 1e-2))


def _check_training(frozen: Frozen, baseline: Baseline, only: str) -> Iterator[Outcome]:
    for name, weights in baseline.training.items():
        if only not in f"training {name}":
            continue
        if name not in OPTIMISERS:
            yield Outcome(f"training {name}", FAIL, None, None, "no such optimiser any more")
            continue
        found = train(name, frozen.scorer.images.train)
        start = small(frozen.scorer.images.train).state_dict()
        yield _outcome("training", f"training {name}", _apart(found, weights, start))


def _check_images(frozen: Frozen, baseline: Baseline, only: str) -> Iterator[Outcome]:
    every = ways()
    for name, way in every.items():
        if only in f"images {name}":
            yield _check_way(frozen, baseline, name, way)
    for name in baseline.drawn.keys() - every.keys():
        if only in f"images {name}":
            yield Outcome(f"images {name}", FAIL, None, None, "no such way to sample any more")


def _check_way(frozen: Frozen, baseline: Baseline, name: str, way: Way) -> Outcome:
    label = f"images {name}"
    if name not in baseline.drawn:
        return Outcome(label, UNDECIDED, None, None, "not in the baseline: update it")
    try:
        images = frozen.draw(way)
    except FloatingPointError as error:
        return Outcome(label, FAIL, None, None, str(error))
    before = baseline.drawn[name]
    if images.shape != before.shape:
        return Outcome(label, FAIL, None, None, f"{tuple(images.shape)} images, not {tuple(before.shape)}")
    outcome = _outcome("images", label, float((images.float() - before.float()).abs().mean()))
    if name == MAIN and outcome.verdict != PASS:
        return outcome._replace(note=_quality(frozen.scorer, images, before))
    return outcome


def _outcome(kind: str, name: str, value: float) -> Outcome:
    rounding, change = ROUNDING_AND_CHANGE[kind]
    if not np.isfinite(value):
        return Outcome(name, FAIL, None, rounding, "not finite, or not there")
    verdict = PASS if value <= rounding else FAIL if value >= change else UNDECIDED
    note = {PASS: "", FAIL: "changed", UNDECIDED: "more than rounding, less than any change known"}[verdict]
    return Outcome(name, verdict, value, rounding, note)


def _relative(found: Sequence[float], expected: Sequence[float]) -> float:
    """The largest relative difference of numbers, NaN where there are not as many."""
    if len(found) != len(expected):
        return float("nan")
    a, b = np.array(found), np.array(expected)
    return float((np.abs(a - b) / np.maximum(np.abs(b), 1e-8)).max())


def _apart(found: dict[str, Tensor], expected: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """The distance of weights, relative to how far they came."""
    if not found.keys() == expected.keys() <= start.keys():
        return float("nan")
    a, b, c = (torch.cat([weights[k].flatten() for k in expected]) for weights in (found, expected, start))
    return float((a - b).norm() / (b - c).norm())


def _quality(scorer: Scorer, images: Tensor, before: Tensor, resamples: int = 100) -> str:
    """Whether images that differ are worse: the ratio of FIDs, and its interval over images, resampled in pairs."""
    from bench.score import classifier

    a, b = (classifier.extract(scorer.network, x, scorer.device).features for x in (before, images))
    reference, random = scorer.reference.moments, np.random.default_rng(0)

    def ratio(rows: Any) -> float:
        return frechet_distance(Moments.of(b[rows]), reference) / frechet_distance(Moments.of(a[rows]), reference)

    # resampled images have a larger bias: only the spread means anything
    spread = np.std([np.log(ratio(random.integers(len(a), size=len(a)))) for _ in range(resamples)])
    middle = ratio(slice(None))
    low, high = middle * np.exp(-1.96 * spread), middle * np.exp(1.96 * spread)
    word = "worse" if low > 1 else "better" if high < 1 else "no worse for certain"
    return f"changed; FID × {middle:.3f} ({low:.3f} to {high:.3f}): {word}"


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
            raise UserError(f"training run {key} has {what}={found}: what is frozen has {value}")
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


def write(baseline: Baseline, weights: dict[str, Tensor], name: Path = NAME) -> None:
    """Keep a baseline and the network it is of."""
    from safetensors.torch import save

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **baseline.images)  # type: ignore[arg-type]
    files.write_bytes(name.with_suffix(".npz"), buffer.getvalue())
    tensors = {f"net.{k}": v.contiguous() for k, v in weights.items()}
    for run, trained in baseline.training.items():
        tensors |= {f"{run}.{k}": v.contiguous() for k, v in trained.items()}
    files.write_bytes(name.with_suffix(".safetensors"), save(tensors))
    numbers = FrozenNumbers(
        classifier=baseline.classifier,
        history=baseline.history,
        scores=baseline.scores,
        tables={name: tuple(values) for name, values in baseline.tables.items()},
    )
    write_json(name.with_suffix(".json"), numbers)


def read(name: Path = NAME) -> tuple[Baseline, dict[str, Tensor]]:
    """The baseline, and the weights of the network it is of.

    :raises UserError: if there is none, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        numbers = read_json(name.with_suffix(".json"), FrozenNumbers, "a baseline")
        with np.load(io.BytesIO(name.with_suffix(".npz").read_bytes()), allow_pickle=False) as file:
            images = {key: file[key] for key in file.files}
        tensors = load(name.with_suffix(".safetensors").read_bytes())
        parts: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            part, _, rest = key.partition(".")
            parts.setdefault(part, {})[rest] = value
        weights = parts.pop("net")
        made = Baseline(images, numbers.tables, numbers.scores, parts, numbers.classifier, numbers.history)
        return made, weights
    except OSError as error:
        raise UserError(f"no baseline {name}.*: {error.strerror}") from error
    except (UserError, ValueError, KeyError, BadZipFile, SafetensorError) as error:
        raise UserError(f"{name}.* is not a baseline of this version: make it anew with --update-baseline") from error
