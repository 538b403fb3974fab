"""Studies: a YAML file of axes, expanded to jobs (training runs) and cells (ways to sample one) before anything runs.

A key is the hash of the canonical JSON of what it names, values equal to their field's default left out: a field added
later, with a default that means what was done before, changes no key. Never change a default; add a new field.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench import UserError
from ddpm.spec import canonical, parse

if TYPE_CHECKING:
    from bench.claims import Claim

STUDIES = Path(__file__).parent / "studies"

Positive = Annotated[int, Field(ge=1, strict=True)]
Natural = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Share = Annotated[float, Field(ge=0, lt=1, strict=True)]
Eta = Annotated[float, Field(ge=0, le=1, strict=True)]
Count = Annotated[int, Field(ge=20, strict=True)]
Length = Annotated[float, Field(gt=0, lt=0.288, strict=True)]  # σ_rel: ddpm.ema
Guidance = Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)]
Clip = Annotated[bool, Field(strict=True)] | Literal["dynamic"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Budget(_Model):
    """How each network is trained: the fields of :class:`ddpm.train.Recipe`, and how many images."""

    epochs: Natural
    batch_size: Positive = 128
    lr: Annotated[float, Field(gt=0, strict=True, allow_inf_nan=False)] = 2e-3
    warmup: Share = 0.05
    ema: Share = 0.995
    weight_decay: Annotated[float, Field(ge=0, strict=True, allow_inf_nan=False)] = 0.0
    optimiser: str = "adamw"
    images: Positive | None = None  # the first so many training images; all of them when not given
    snapshots: Natural = 0  # kept on the way, for the axis ``ema``


class Job(_Model):
    """One training run; of the oracle, which is not trained, its data."""

    dataset: str = "mnist"
    net: str
    objective: str
    weight: str
    schedule: str
    T: Positive
    seed: Natural
    timesteps: str = "uniform"
    train: Budget

    @cached_property
    def canonical(self) -> str:
        """The JSON that the key is the hash of; part of each of its cells'."""
        return _canonical(self.model_dump(exclude_defaults=True))

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name this run."""
        return _key(self.canonical)

    @property
    def label(self) -> str:
        """A short name for progress lines and figures."""
        drawn = "" if self.timesteps == "uniform" else f" {self.timesteps} t"
        return f"{self.net} {self.objective} {self.schedule} T={self.T}{drawn} seed {self.seed}"


class Cell(_Model):
    """One point of the grid: a training run, and a way to sample it. ``eta`` is None for samplers without η."""

    job: Job
    sampler: str
    sample_steps: Positive
    eta: Eta | None = None
    clip: Clip = True
    n: Count
    sample_seed: Natural = 0
    spacing: str = "linspace"
    ema: Length | None = None
    guidance: Guidance | None = None

    @cached_property
    def key(self) -> str:
        """16 hexadecimal digits that name this cell."""
        own = self.model_dump(exclude={"job"}, exclude_defaults=True)
        # the job's text is put in ready-made: a study has many cells a job (in a string the quotes would be escaped)
        text = _canonical({**own, "job": None}).replace('"job":null', f'"job":{self.job.canonical}')
        return _key(text)

    @property
    def label(self) -> str:
        """How the cell samples, for progress lines and figures."""
        way = method(self.sampler, self.eta, CLIPPING[self.clip], self.spacing, self.guidance, self.ema)
        noise = f" sampling seed {self.sample_seed}" if self.sample_seed else ""
        return f"{way} {self.sample_steps} steps{noise}"

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated for a sample."""
        from ddpm import guidance
        from ddpm.sampler import evaluations

        return guidance.evaluations(self.guidance) * evaluations(self.sampler, self.sample_steps)


CLIPPING: dict[bool | str, str] = {True: "static", False: "none", "dynamic": "dynamic"}
"""What a table calls each value of ``clip``."""


def method(
    sampler: str, eta: float | None, clipping: str, spacing: str, guidance: float | None, ema: float | None
) -> str:
    """How a cell samples but for the number of steps: whatever is not the usual is named (η = 0 is DDIM proper)."""
    said = [sampler, f"η={eta:g}" if eta is not None and eta > 0 else "", "" if spacing == "linspace" else spacing]
    said.append({"static": "", "none": "unclipped"}.get(clipping, clipping))
    said.append(f"guidance {guidance:g}" if guidance is not None and guidance >= 0 else "")
    said.append(f"EMA {ema:g}" if ema is not None and ema > 0 else "")
    return " ".join(filter(None, said))


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


ORACLE = "oracle"
"""The network that needs no training: exact for the data set's own training images (:class:`ddpm.oracle.Mixture`)."""
KINDS = ("net", "objective", "weight", "schedule", "timesteps", "sampler", "spacing")
"""What takes options."""


def _variants(kind: str) -> tuple[Iterable[str], Callable[[str], list[Callable[..., Any]]]]:
    """The names of a kind that takes options, and name → the functions whose keyword-only parameters those are."""
    from ddpm.nets import NETS
    from ddpm.objective import OBJECTIVES, WEIGHTS
    from ddpm.sampler import SAMPLERS
    from ddpm.schedule import SCHEDULES, rescale
    from ddpm.spacing import SPACINGS
    from ddpm.timestep import TIMESTEPS

    kinds: dict[str, tuple[Iterable[str], Callable[[str], list[Callable[..., Any]]]]] = {
        "net": ([*NETS, ORACLE], lambda name: [NETS[name]] if name in NETS else []),
        "objective": (OBJECTIVES, lambda name: [OBJECTIVES[name].target]),
        "weight": (WEIGHTS, lambda name: [WEIGHTS[name].table]),
        "schedule": (SCHEDULES, lambda name: [SCHEDULES[name], rescale]),
        "timesteps": (TIMESTEPS, lambda name: [TIMESTEPS[name]]),
        "sampler": (SAMPLERS, lambda name: [SAMPLERS[name]]),
        "spacing": (SPACINGS, lambda name: [SPACINGS[name]]),
    }
    return kinds[kind]


def named(kind: str, value: object) -> Any:
    """``{unet: {width: 24}}`` → ``unet(width=24)``; whatever is not of that form is left for others to refuse."""
    if kind not in KINDS:
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((name, options),) = value.items()
        options = {} if options is None else options
    elif isinstance(value, str):
        name, options = parse(value)
    else:
        return value
    names, functions = _variants(kind)
    if name not in names:
        return name
    if not isinstance(options, dict):
        raise ValueError(f"the options of '{name}' are a mapping, not {options!r}")
    return canonical(name, options, *functions(name))


# names with their options, as one string
Net = Annotated[str, BeforeValidator(partial(named, "net"))]
Objective = Annotated[str, BeforeValidator(partial(named, "objective"))]
Weight = Annotated[str, BeforeValidator(partial(named, "weight"))]
Schedule = Annotated[str, BeforeValidator(partial(named, "schedule"))]
Timesteps = Annotated[str, BeforeValidator(partial(named, "timesteps"))]
Sampler = Annotated[str, BeforeValidator(partial(named, "sampler"))]
Spacing = Annotated[str, BeforeValidator(partial(named, "spacing"))]


class Axes(_Model):
    """The lists whose product is the grid. ``weight: default`` is the objective's own."""

    net: list[Net] = ["unet"]
    objective: list[Objective]
    weight: list[Weight] = ["default"]
    schedule: list[Schedule]
    T: list[Positive] = [1000]
    seed: list[Natural] = [0]
    timesteps: list[Timesteps] = ["uniform"]
    sampler: list[Sampler]
    sample_steps: list[Positive]
    eta: list[Eta] = [0.0]
    clip: list[Clip] = [True]
    spacing: list[Spacing] = ["linspace"]
    ema: list[Length | None] = [None]
    guidance: list[Guidance | None] = [None]

    @model_validator(mode="after")
    def _no_repeats(self) -> Axes:
        for name, values in self:
            if not values:
                raise ValueError(f"axis '{name}' is empty")
            twice = next((v for i, v in enumerate(values) if v in values[:i]), None)
            if twice is not None:
                raise ValueError(f"axis '{name}' lists {twice} twice: duplicate cells")
        return self


class Score(_Model):
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


class Study(_Model):
    """A parsed study file."""

    name: Annotated[str, Field(pattern=r"^[^/.][^/]*$")]  # also a folder's name
    description: str = ""
    dataset: str = "mnist"
    train: Budget
    axes: Axes
    exclude: list[dict[str, Any]] = []
    score: Score = Score()
    claims: list[str] = []  # what its report is to judge: see bench.claims

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
        from bench.claims import parse as read
        from bench.metrics import METRICS

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

        from bench.data import DATASETS
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


def choices() -> dict[str, list[str]]:
    """The valid names of whatever a study chooses by name."""
    from bench.data import DATASETS
    from ddpm.nets import NETS
    from ddpm.objective import OBJECTIVES, WEIGHTS
    from ddpm.sampler import SAMPLERS
    from ddpm.schedule import SCHEDULES
    from ddpm.spacing import SPACINGS
    from ddpm.timestep import TIMESTEPS
    from ddpm.train import OPTIMISERS

    return {
        "dataset": list(DATASETS),
        "optimiser": list(OPTIMISERS),
        "net": [*NETS, ORACLE],
        "objective": list(OBJECTIVES),
        "weight": ["default", *WEIGHTS],
        "schedule": list(SCHEDULES),
        "timesteps": list(TIMESTEPS),
        "sampler": list(SAMPLERS),
        "spacing": list(SPACINGS),
    }


def unknown(kind: str, value: object, valid: Iterable[str]) -> UserError:
    """One line for a name that does not exist: the nearest that does, and all of them."""
    valid = list(valid)
    near = difflib.get_close_matches(str(value), valid, 1, 0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown {kind} '{value}'{hint} (choices: {', '.join(valid)})")


def available() -> list[str]:
    """The studies that come with the project."""
    return sorted(path.stem for path in STUDIES.glob("*.yaml"))


def load(name: str) -> Study:
    """A shipped study by name, or any by the path of its YAML file.

    :raises UserError: naming file, line and what is wrong with it.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else STUDIES / f"{name}.yaml"
    if not path.is_file():
        if path.parent != STUDIES:
            raise UserError(f"no study file {path}")
        raise unknown("study", name, available())
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
        _no_key_twice(root)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UserError(f"{where}: malformed YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of bytes, dates, and lists within themselves
        raise UserError(f"{path}: malformed YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}:1: a study is a mapping with 'train' and 'axes'")
    try:
        study = Study(**{"name": path.stem, **content})
    except ValidationError as error:
        # a field that does not exist explains the one that is missing
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        where = f"{path}:{_line(root, first['loc'])}"
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            owner: Any = Study
            for part in first["loc"][:-1]:
                owner = owner.model_fields[part].annotation
            raise UserError(f"{where}: {unknown('field', field.split('.')[-1], owner.model_fields)}") from error
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {field + ': ' if field else ''}{message[0].lower()}{message[1:]}") from error
    _check_names(study, path, root)
    _check_claims(study, path, root)
    try:
        if not study.cells:
            raise UserError(f"study '{study.name}': every cell is excluded")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return study


def _check_names(study: Study, path: Path, root: yaml.Node | None) -> None:
    """Refuse names that do not exist, with the nearest that do, and more samples than there are test images.

    :raises UserError: naming file and line.
    """
    from bench.data import DATASETS

    chosen: dict[str, list[tuple[list[int | str], str]]] = {
        "dataset": [(["dataset"], study.dataset)],
        "optimiser": [(["train", "optimiser"], study.train.optimiser)],
    }
    if study.train.epochs == 0 and set(study.axes.net) != {ORACLE}:
        raise UserError(f"{path}:{_line(root, ['train', 'epochs'])}: train.epochs: 0 trains nothing but '{ORACLE}'")
    for kind, names in choices().items():
        given = chosen.get(kind) or [(["axes", kind, i], value) for i, value in enumerate(getattr(study.axes, kind))]
        for loc, value in given:
            if value.partition("(")[0] not in names:
                raise UserError(f"{path}:{_line(root, loc)}: {unknown(kind, value, names)}")
    most = DATASETS[study.dataset].test
    for field, what in (("n", "that the floor is drawn from"), ("likelihood", "that there are")):
        if (n := getattr(study.score, field)) > most:
            line = _line(root, ["score", field])
            raise UserError(f"{path}:{line}: score.{field}: {n} is more than the {most} test images {what}")
    for i, rule in enumerate(study.exclude):
        for axis, value in rule.items():
            line = _line(root, ["exclude", i, axis])
            if axis not in Axes.model_fields:
                raise UserError(f"{path}:{line}: {unknown('axis', axis, Axes.model_fields)}")
            on_axis = getattr(study.axes, axis)
            for item in value if isinstance(value, list) else [value]:
                if item not in on_axis:
                    raise UserError(
                        f"{path}:{line}: exclusion of {axis}={item} matches nothing "
                        f"(axis: {', '.join(map(str, on_axis))})"
                    )


def _check_claims(study: Study, path: Path, root: yaml.Node | None) -> None:
    """Refuse claims that the study cannot test.

    :raises UserError: naming file and line.
    """
    for i, text in enumerate(study.claims):
        try:
            _ = study.model_copy(update={"claims": [text]}).hypotheses
        except ValueError as error:
            raise UserError(f"{path}:{_line(root, ['claims', i])}: claims: {error}") from error


def _no_key_twice(node: yaml.Node | None) -> None:
    """Refuse what YAML would silently let the last one win.

    :raises yaml.MarkedYAMLError: at the second of two equal keys.
    """
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is not a plain word", problem_mark=key.start_mark)
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' is there twice", problem_mark=key.start_mark)
            keys.add(key.value)
            _no_key_twice(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _no_key_twice(value)


def _line(root: yaml.Node | None, loc: Iterable[int | str]) -> int:
    """The line in the file of the deepest part of ``loc`` that exists there."""
    line, node = 1, root
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line
