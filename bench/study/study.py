"""A study, expanded to jobs (training runs) and cells (ways to sample one) before anything runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from bench.errors import UserError

if TYPE_CHECKING:
    from bench.study.claims import Claim

from bench.study.axes import Axes
from bench.study.model import ORACLE, Budget, Cell, Count, Job, Natural, StrictModel
from bench.study.variants import named


class Score(StrictModel):
    """How many samples are drawn of each cell, and from which noise; of how many test images to find the likelihood.

    ``seed`` is a number or a list of them: a cell for each, sampled from the same network.
    """

    n: Count = 2000
    seed: Annotated[list[Natural], BeforeValidator(lambda given: given if isinstance(given, list) else [given])] = [0]
    likelihood: Natural = 0

    @field_validator("seed")
    @classmethod
    def _no_repeats(cls, seeds: list[int]) -> list[int]:
        if not seeds:
            raise ValueError("seed is empty")
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seed lists {max(seeds, key=seeds.count)} twice: duplicate cells")
        return seeds


class Study(StrictModel):
    """A parsed study file."""

    name: Annotated[str, Field(pattern=r"^[^/.][^/]*$")]  # also a folder's name
    description: str = ""
    dataset: str = "mnist"
    train: Budget
    axes: Axes
    exclude: list[dict[str, Any]] = []
    score: Score = Score()
    claims: list[str] = []  # what its report is to judge: see bench.analysis.claims

    @field_validator("exclude")
    @classmethod
    def _as_on_the_axes(cls, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Names with options spelt as the axes spell them."""

        def spelt(axis: str, value: Any) -> Any:
            if isinstance(value, list):
                return [spelt(axis, item) for item in value]
            return named(axis, value)

        return [{axis: spelt(axis, value) for axis, value in rule.items()} for rule in rules]

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, jobs in order, exclusions applied.

        :raises UserError: for impossible or duplicate cells, naming them.
        """
        return list(self._expand())

    @cached_property
    def hypotheses(self) -> list[Claim]:
        """The claims, read.

        :raises ValueError: saying what is wrong with one.
        """
        from bench.score.metrics import METRICS
        from bench.study.claims import parse as read

        return [read(text, dict(self.axes), list(METRICS), named) for text in self.claims]

    @cached_property
    def jobs(self) -> dict[str, list[Cell]]:
        """Job key → its cells."""
        jobs: dict[str, list[Cell]] = {}
        for cell in self.cells:
            jobs.setdefault(cell.job.key, []).append(cell)
        return jobs

    def _expand(self) -> Iterable[Cell]:
        import torch

        from bench.images.datasets import DATASETS
        from ddpm.nets import classes_of, learns_variance, make_net
        from ddpm.objective import check, default_weight
        from ddpm.sampler import make_sampler
        from ddpm.schedule import make_schedule

        data = DATASETS[self.dataset]
        try:
            with torch.device("meta"):
                for net in self.axes.net:
                    if net != ORACLE:
                        make_net(net, data.channels, data.side)
                    if (known := classes_of(net)) not in (0, data.classes):
                        raise ValueError(f"net {net}: {self.dataset} has {data.classes} classes, not {known}")
        except ValueError as error:
            raise UserError(f"study '{self.name}': impossible cell: {error}") from error
        images = min(self.train.images or data.train, data.train)
        steps = self.train.epochs * max(1, images // self.train.batch_size)
        if self.train.snapshots > steps:
            raise UserError(
                f"study '{self.name}': train.snapshots: {self.train.snapshots} are more than the {steps} training steps"
            )
        names, values = zip(*self.axes, strict=True)
        seen: dict[tuple[Any, ...], tuple[Any, ...]] = {}  # a cell's values → what the study asked for
        jobs: dict[tuple[Any, ...], Job] = {}
        checked: set[tuple[str, str, int]] = set()
        for point in itertools.product(*values):
            at = dict(zip(names, point, strict=True))
            if any(self._matches(rule, at) for rule in self.exclude):
                continue
            asked = point
            rule = make_sampler(at["sampler"])
            if not rule.uses_eta:
                at["eta"] = None  # the same cell for every η
                asked = tuple(at.values())
            if at["net"] == ORACLE:  # the same whatever it would be trained on, and with
                at |= {"objective": "x0", "weight": "default", "seed": 0, "timesteps": "uniform", "ema": None}
                at["guidance"] = None
                asked = tuple(at.values())
            if at["weight"] == "default":
                at["weight"] = default_weight(at["objective"])
            if at["ema"] is not None and self.train.snapshots < 2:
                raise UserError(
                    f"study '{self.name}': impossible cell: ema={at['ema']:g} is made of a training run's snapshots: "
                    "train.snapshots must be 2 or more (8 are enough)"
                )
            if at["guidance"] is not None and not classes_of(at["net"]):
                raise UserError(
                    f"study '{self.name}': impossible cell: guidance={at['guidance']:g} needs a network that knows "
                    f"classes (net: [{{unet: {{classes: {data.classes}}}}}]), not {at['net']}"
                )
            if rule.learned and not learns_variance(at["net"]):
                raise UserError(
                    f"study '{self.name}': impossible cell: sampler {at['sampler']} needs a network that learns its "
                    f"variance (net: [{{unet: {{variance: true}}}}]), not {at['net']}"
                )
            if at["sample_steps"] > at["T"]:
                raise UserError(
                    f"study '{self.name}': sample_steps={at['sample_steps']} is more than T={at['T']}; "
                    "exclude it or lower it"
                )
            try:
                if (triple := (at["schedule"], at["objective"], at["T"])) not in checked:
                    check(make_schedule(at["schedule"], at["T"]), at["objective"])
                    checked.add(triple)
            except ValueError as error:
                raise UserError(f"study '{self.name}': impossible cell: {error}") from error
            before = seen.setdefault(tuple(at.values()), asked)
            if before is not asked and before == asked:
                continue
            trained = {k: at[k] for k in ("net", "objective", "weight", "schedule", "T", "seed", "timesteps")}
            train = Budget(epochs=0, images=self.train.images) if at["net"] == ORACLE else self.train
            job = jobs.setdefault(tuple(trained.values()), Job(dataset=self.dataset, train=train, **trained))
            own = {k: at[k] for k in ("sampler", "sample_steps", "eta", "clip", "spacing", "ema", "guidance")}
            cells = [Cell(job=job, n=self.score.n, sample_seed=seed, **own) for seed in self.score.seed]
            if before is not asked:
                twice = next(i for i, value in enumerate(asked) if value != before[i])
                raise UserError(
                    f"study '{self.name}': duplicate cells: {job.label}, {cells[0].label} "
                    f"comes from {names[twice]}={before[twice]} and from {names[twice]}={asked[twice]}"
                )
            yield from cells

    @staticmethod
    def _matches(rule: dict[str, Any], at: dict[str, Any]) -> bool:
        return all(at[k] in v if isinstance(v, list) else at[k] == v for k, v in rule.items())

    def warnings(self) -> list[str]:
        """What a careful reader should know before running: schedules that leave signal in x_T."""
        from ddpm.schedule import RESIDUAL_SIGNAL, make_schedule

        found = []
        for name, T in dict.fromkeys((c.job.schedule, c.job.T) for c in self.cells):
            left = make_schedule(name, T).alpha[-1].item() ** 2
            if left > RESIDUAL_SIGNAL:
                found.append(
                    f"schedule '{name}' at T={T} leaves ᾱ_T = {left:.3g} of the signal in x_T: "
                    "sampling starts from noise it was never trained on"
                )
        return found
