"""How a network is evaluated: as it is or compiled, and in which number format. A trial on this machine decides.

The trial times every engine that fits the device in turn, on the shapes it will see, and checks what it returns. It is
kept in the results folder, so that a machine tries once. Compiled kernels are kept in the user's cache, so that later
jobs warm up in seconds.

An engine is tried only where the study has so much to do that the engine may be hoped to win more time than trying it
takes, and a job takes another engine than ``eager`` only where it will win more time than warming up takes. Both follow
from the study and one timing that is kept, not from what is left to do, so that a study's jobs of one kind, the resumed
ones too, take the same engine.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from bench.errors import UserError, unknown
from bench.images import datasets
from bench.job.generate import TILE
from bench.machine import clocks, provenance
from bench.machine.devices import multiplying
from bench.machine.environment import Environment
from bench.paths import cache_dir
from bench.store.records import EngineChoice, EngineConfig, EngineRecord, Trial
from bench.store.store import Store
from bench.study.model import Cell
from ddpm.denoiser import Net

Task = Literal["train", "sample"]
T = TypeVar("T")
AUTO = "auto"
ROUNDS = 7
ROUND_S = 0.3
COMPILING_S: dict[Task, float] = {"train": 120.0, "sample": 40.0}
"""Seconds to compile for the first time, on two slow cores."""
COMPILED = 256
"""How often a process may compile one function. torch's own limit is 8, for all networks of a class together."""
TOLERANCE = 0.01
"""The most that an engine's output may differ from float32's, relative, root mean square: bfloat16 has about half."""

#: number format → (type of tensors, how CUDA is to treat those that are float32)
FORMATS = {
    "float32": (torch.float32, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "bfloat16": (torch.bfloat16, "ieee"),
}


def _anywhere(device: torch.device) -> bool:
    return True


def _cuda(device: torch.device) -> bool:
    return device.type == "cuda"


def _bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is the hardware's own: elsewhere it is emulated, and slow."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    here = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(here.get("amx_bf16") or here.get("avx512_bf16"))


@dataclass(frozen=True)
class Engine:
    """``torch.compile``'s mode (None: not compiled), the number format, the devices that it fits, and a guess.

    ``saves`` is the share of eager's time that it may be hoped to save, before there has been a trial: for those that
    fit a CPU about what trials of ``unet`` gave (compiled 0.05 to 0.1, compiled_bf16 0.2 to 0.35), else unmeasured.
    """

    mode: str | None = None
    format: str = "float32"
    fits: Callable[[torch.device], bool] = _anywhere
    saves: float = 0.3

    def worth_trying(self, task: Task, eager_s: float) -> bool:
        """Whether it may win more than compiling costs where there are so many seconds of work for eager."""
        return self.saves * eager_s > (COMPILING_S[task] if self.mode else 0.0)


ENGINES: dict[str, Engine] = {
    "eager": Engine(),
    "compiled": Engine("default", saves=0.1),
    "eager_tf32": Engine(None, "tf32", _cuda),
    "compiled_tf32": Engine("default", "tf32", _cuda),
    "graphs": Engine("reduce-overhead", "float32", _cuda),
    "graphs_tf32": Engine("reduce-overhead", "tf32", _cuda),
    "compiled_bf16": Engine("default", "bfloat16", _bfloat16),
    "graphs_bf16": Engine("reduce-overhead", "bfloat16", lambda device: _cuda(device) and _bfloat16(device)),
}


class Calls(NamedTuple):
    """Evaluations of the network, each of one batch or tile: a job's, and those of the study's jobs like it."""

    job: int
    study: int


@dataclass(frozen=True)
class Wish:
    """The engine asked for (:data:`AUTO`: the fastest), and for each task how much there is to do."""

    name: str = "eager"
    calls: Mapping[str, Calls] = field(default_factory=dict)


class Chosen(NamedTuple):
    """An engine's name, the network as it evaluates it, and what to record of the choice."""

    name: str
    net: Callable[..., Tensor]
    about: EngineChoice

    def inside(self, steps: Iterator[T], device: torch.device) -> Iterator[T]:
        """The same steps, each taken at the engine's precision."""
        while True:
            with precision(ENGINES[self.name].format, device):
                try:
                    step = next(steps)
                except StopIteration:
                    return
            yield step


def precision(name: str, device: torch.device) -> AbstractContextManager[None]:
    """How float32 is multiplied in a number format of :data:`FORMATS`."""
    return multiplying(FORMATS[name][1], device)


def check(name: str, device: torch.device) -> None:
    """Refuse what is no engine, or none for this device.

    :raises UserError: naming those that are.
    """
    names = [AUTO, *(name for name, engine in ENGINES.items() if engine.fits(device))]
    if name in ENGINES and name not in names:
        raise UserError(f"engine '{name}' does not fit device {device} (engines that do: {', '.join(names)})")
    if name not in names:
        raise unknown("engine", name, names)


def calls(job_cells: Sequence[Cell], tile: int) -> dict[Task, int]:
    """Evaluations in training and in sampling one job's cells, all of them, done or not."""
    job = job_cells[0].job
    images = datasets.row(job.dataset).trained_on(job.train.images)
    return {
        "train": job.epochs * max(1, images // job.train.batch_size),
        "sample": sum(-(-cell.n // tile) * cell.evaluations for cell in job_cells),
    }


def wish(name: str, job_cells: Sequence[Cell], jobs: Iterable[Sequence[Cell]], device: str) -> Wish:
    """The wish of one of a study's jobs. Jobs are alike whose network sees the same shapes."""
    tile = TILE[torch.device(device).type]

    def shapes(cells: Sequence[Cell]) -> dict[Task, tuple[object, ...]]:
        job = cells[0].job
        return {"train": (job.network, job.dataset, job.train.batch_size), "sample": (job.network, job.dataset)}

    own, of = calls(job_cells, tile), shapes(job_cells)
    counts = [(shapes(cells), calls(cells, tile)) for cells in jobs]
    return Wish(
        name,
        {task: Calls(own[task], sum(n[task] for like, n in counts if like[task] == of[task])) for task in own},
    )


def keep_kernels() -> None:
    """Have this process compile into the user's cache, and find there what was compiled before on this machine.

    Never into a results folder: torch runs whatever lies there, and results come from anywhere.
    """
    folder = cache_dir() / "compiled" / provenance.machine_id()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))


def evaluator(name: str, net: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """The network as that engine evaluates it: the same function, up to rounding.

    It is compiled as one graph, or it fails. Otherwise torch goes on uncompiled past its limit, and a timing or a check
    would be of another engine than it says.
    """
    engine = ENGINES[name]
    run: Callable[..., Tensor] = net
    if engine.mode is not None:
        run = torch.compile(net, mode=engine.mode, dynamic=False, fullgraph=True)
        torch._dynamo.config.recompile_limit = COMPILED
    if engine.mode != "reduce-overhead" and engine.format != "bfloat16":
        return run

    def evaluate(x: Tensor, u: Tensor, *y: Tensor) -> Tensor:
        if engine.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()  # what the last replay returned has been used
        reduced = engine.format == "bfloat16"
        with torch.autocast(device.type, torch.bfloat16) if reduced else nullcontext():
            return run(x, u, *y).to(x.dtype)

    return evaluate


class Work:
    """What a trial times: one evaluation of made-up images, and the way back where it is for training.

    ``net`` must be in the mode (training or not) that it will be used in; its weights stay as they are. It is told of
    classes where it knows so many.
    """

    def __init__(
        self,
        task: Task,
        net: nn.Module,
        batch: int,
        shape: tuple[int, int],
        device: torch.device,
        classes: int = 0,
    ) -> None:
        self.task, self.net, self.device = task, net, device
        random = torch.Generator().manual_seed(0)
        with self._mode():
            self.x = torch.randn((batch, shape[0], shape[1], shape[1]), generator=random).to(device)
            # training has a time for each image; a tile of samples has one time
            self.u = torch.rand(batch if task == "train" else 1, generator=random).to(device)
            self.y = [torch.randint(classes, (batch,), generator=random).to(device)] if classes else []

    def _mode(self) -> Any:
        return torch.inference_mode() if self.task == "sample" else nullcontext()

    def __call__(self, name: str, net: Net) -> Tensor:
        """Do it once by that engine; what the network returned."""
        with precision(ENGINES[name].format, self.device), self._mode():
            out = net(self.x, self.u, *self.y)
            if self.task == "train":
                out.square().mean().backward()
                self.net.zero_grad()
        return out.detach().clone()


def trial(work: Work, names: Sequence[str]) -> dict[str, Trial]:
    """For each engine: seconds to compile, and again from what was kept; and raw seconds a call, beside eager's.

    One that fails, or whose output is not float32's to within :data:`TOLERANCE`, has ``failed``, a reason.
    """
    clock = clocks.make_clock(work.device)

    def seconds(name: str, net: Net, times: int = 1) -> float:
        clock.start()
        for _ in range(times):
            work(name, net)
        return clock.stop() / times

    expected = work("eager", work.net)
    once = seconds("eager", work.net)
    found: dict[str, Trial] = {}
    for name in names:
        try:
            torch.compiler.reset()
            cold = seconds(name, evaluator(name, work.net, work.device))
            torch.compiler.reset()
            net = evaluator(name, work.net, work.device)
            warm = seconds(name, net)
            error = float((work(name, net) - expected).square().mean().sqrt() / expected.square().mean().sqrt())
            if not error <= TOLERANCE:
                why = f"differs from eager by {error:.1%}"
                found[name] = Trial(cold_s=cold, warm_s=warm, error=error, failed=why)
                continue
            times = max(1, round(ROUND_S / once))
            pairs = [(seconds("eager", work.net, times), seconds(name, net, times)) for _ in range(ROUNDS)]
            eager_s, own_s = zip(*pairs, strict=True)
            found[name] = Trial(cold_s=cold, warm_s=warm, error=error, eager_s=eager_s, seconds=own_s)
        except Exception as error:  # a compiler can fail in any way, and eager is always there
            found[name] = Trial(failed=_line(error))
            work.net.zero_grad()
    return found


def fastest(trials: Mapping[str, Trial], times: int) -> tuple[str, float]:
    """The engine that saves most in so many calls, warming up included, and the seconds it saves beside eager."""
    saved = {
        name: times * statistics.median(a - b for a, b in zip(tried.eager_s, tried.seconds, strict=True)) - tried.warm_s
        for name, tried in trials.items()
        if tried.failed is None and tried.warm_s is not None
    }
    best = max(saved, key=saved.__getitem__, default="eager")
    return (best, saved[best]) if saved and saved[best] > 0 else ("eager", 0.0)


def choose(work: Work, net: str, store: Store, wanted: Wish) -> Chosen:
    """The engine for this work, tried and warmed up.

    :param net: the network's name, as studies write it.
    :raises UserError: if an engine that was asked for by name fails.
    """
    if wanted.name == "eager":
        return _eager(work, "asked for")
    if wanted.name != AUTO:
        keep_kernels()
        return _warmed(wanted.name, work, "asked for")
    key, record = learn(work, net, store, wanted)
    amount = wanted.calls[work.task]
    if not record.trials:
        why = f"no other engine may save what trying it takes, of about {amount.study * (record.call_s or 0):.0f} s"
        return _eager(work, why if _can_compile(work.device) else "no C++ compiler")
    name, saved = fastest(record.trials, amount.job)
    if name == "eager":
        return _eager(work, "nothing else saves time", key)
    try:
        return _warmed(name, work, f"saves {saved:.0f} s", key)
    except UserError as error:
        return _eager(work, str(error), key)


def learn(work: Work, net: str, store: Store, wanted: Wish) -> tuple[str, EngineRecord]:
    """The key and the record of what is known of engines for this work, once those worth it have been tried."""
    keep_kernels()
    environment = provenance.environment(work.device)
    config = EngineConfig(task=work.task, net=net, shape=tuple(work.x.shape), **_machine(environment))
    key = config.key
    record = store.read(EngineRecord, key)
    call_s = record.call_s if record else None
    if record is None or call_s is None:
        call_s = _call_s(work)
        record = EngineRecord(config=config, environment=environment, call_s=call_s, trials={})
        store.write(key, record)
    expected = wanted.calls[work.task].study * call_s
    untried = [name for name in ENGINES if name not in ("eager", *record.trials)]
    fitting = [name for name in untried if ENGINES[name].fits(work.device)]
    names = [name for name in fitting if ENGINES[name].worth_trying(work.task, expected)]
    if names and _can_compile(work.device):
        record = record.model_copy(update={"trials": {**record.trials, **trial(work, names)}})
        store.write(key, record)
    return key, record


def _can_compile(device: torch.device) -> bool:
    """Whether there is what ``torch.compile`` needs: on a CPU a compiler of C++."""
    compilers = ("g++", "c++", "clang++", os.environ.get("CXX", ""))
    return device.type != "cpu" or any(map(shutil.which, compilers))


def _call_s(work: Work) -> float:
    """Median seconds of an eager call."""
    work("eager", work.net)
    clock, seconds = clocks.make_clock(work.device), []
    for _ in range(5):
        clock.start()
        work("eager", work.net)
        seconds.append(clock.stop())
    return statistics.median(seconds)


def _eager(work: Work, why: str, trial: str | None = None) -> Chosen:
    return Chosen("eager", work.net, _choice("eager", why, trial))


def _choice(engine: str, why: str, trial: str | None, **more: Any) -> EngineChoice:
    about = {"engine": engine, "why": why, "trial": trial, **more}
    return EngineChoice(**{name: value for name, value in about.items() if value is not None})


def _warmed(name: str, work: Work, why: str, trial: str | None = None) -> Chosen:
    since = time.perf_counter()
    try:
        net = evaluator(name, work.net, work.device)
        work(name, net)
    except Exception as error:
        raise UserError(f"engine '{name}' fails here: {_line(error)}") from error
    return Chosen(name, net, _choice(name, why, trial, warm_s=time.perf_counter() - since))


def _machine(environment: Environment) -> dict[str, Any]:
    """What of a machine the fastest engine depends on."""
    return {name: getattr(environment, name) for name in EngineConfig.model_fields if name in Environment.model_fields}


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
