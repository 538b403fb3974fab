"""What every section is given: the device, the sizes, the time, and what earlier sections found."""

from __future__ import annotations

import gc
import math
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from bench.images import datasets
from bench.images.datasets import Images
from bench.job.engine import COMPILING_S, ENGINES, Task
from bench.job.failures import reason_of
from bench.machine import clocks, memory
from bench.store.store import Store
from perf.gpu.budget import Budget, NoTimeError
from perf.gpu.record import File, Row, Value

Found = dict[str, Value]
Raw = dict[str, list[float]]
SIDE = 28
CUDA_COMPILING_S: dict[Task, float] = {"train": 30.0, "sample": 15.0}
"""Seconds to compile on a GPU before anything was compiled: a guess, replaced by what the first one takes."""
MOST_S = 3.0
"""About how long all samples of one thing may take: what is slow is timed less often."""
MODES = (None, "reduce-overhead", "default")
"""Engines in the order of what they may show: a small network waits for the host, which captured graphs spare it."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything; a slow device does less of it, and says so in its rows."""

    matmul: tuple[int, ...]
    matmul_bfloat16: tuple[int, ...]
    convolutions: tuple[tuple[int, int], ...]  # channels, images
    copied: int  # float32 numbers
    batches: tuple[int, ...]
    tiles: tuple[int, ...]  # the device's own first
    scored: int
    all_metrics: tuple[int, ...]
    peers_drawn: int
    peers_batch: int
    repeats: int = 5
    each_s: float = 0.1  # a sample takes about this long
    most_calls: int = 400  # of a training step in a sample
    scorenet_batch: int = 128
    sample_steps: int = 20
    profiled: int = 3
    demo_epochs: int = 50
    net: str = "unet"
    demo_net: str = "scorenet"


FULL = Sizes(
    matmul=(8192, 2048),
    matmul_bfloat16=(8192, 2048),
    convolutions=((256, 2048), (64, 128)),
    copied=2**28,
    batches=(128, 512, 64, 2048),
    tiles=(500, 2000, 100),
    scored=50_000,
    all_metrics=(2_000, 10_000),
    peers_drawn=500,
    peers_batch=512,
)
SMALL = Sizes(
    matmul=(1024,),
    matmul_bfloat16=(256,),
    convolutions=((64, 128),),
    copied=2**24,
    batches=(128, 64, 512, 2048),
    tiles=(100, 50),
    scored=50_000,
    all_metrics=(1_000,),
    peers_drawn=20,
    peers_batch=64,
    repeats=3,
    most_calls=20,
    sample_steps=4,
)
SIZES = {"cuda": FULL}
"""By device type; any other is only tried out, with :data:`SMALL`."""


class Timed(NamedTuple):
    """Seconds of the first call, which warms up, and of a call in each sample."""

    first_s: float
    seconds: list[float]

    @property
    def median(self) -> float:
        """Of the samples."""
        return statistics.median(self.seconds)


@dataclass
class Session:
    """One run. ``budget`` is the time of the section that is at work."""

    device: torch.device
    sizes: Sizes
    file: File
    budget: Budget
    scratch: Path
    seed: int = 0
    compile_s: dict[Task, float] = field(default_factory=dict)
    has_compiled: bool = False

    @cached_property
    def images(self) -> Images:
        """MNIST."""
        return datasets.load("mnist")

    @cached_property
    def train_images(self) -> Tensor:
        """The training images on the device, uint8."""
        return self.images.train.to(self.device)

    @cached_property
    def store(self) -> Store:
        """The results folder of the jobs that are run; it goes when the run ends."""
        return Store(self.scratch / "results")

    @property
    def cuda(self) -> bool:
        """Whether the device is a CUDA card."""
        return self.device.type == "cuda"

    def engines(self, formats: tuple[str, ...] = ()) -> list[str]:
        """Engines that fit the device, those first that may show most; only of these number formats, if any."""
        fitting = [name for name, one in ENGINES.items() if one.fits(self.device)]
        wanted = [name for name in fitting if not formats or ENGINES[name].format in formats]
        return sorted(wanted, key=lambda name: MODES.index(ENGINES[name].mode))

    def compiling(self, name: str, task: Task) -> None:
        """Make sure that there is time to compile, where an engine does.

        :raises NoTimeError: if there is not.
        """
        if ENGINES[name].mode is not None:
            guess = (CUDA_COMPILING_S if self.cuda else COMPILING_S)[task]
            self.budget.need(self.compile_s.get(task, guess), "compiling")
            self.has_compiled = True

    def compiled(self, name: str, task: Task, seconds: float) -> None:
        """Remember how long compiling took, for what is compiled next."""
        if ENGINES[name].mode is not None:
            self.compile_s[task] = seconds

    def timed(self, run: Callable[[], object], *, most_calls: int | None = None) -> Timed:
        """Time it by the device's clock: once to warm up, once to see how often it fits, then in samples.

        :raises NoTimeError: if nothing fits after the first call.
        """
        clock, sizes = clocks.make_clock(self.device), self.sizes

        def seconds(calls: int) -> float:
            clock.start()
            for _ in range(calls):
                run()
            return clock.stop() / calls

        first = seconds(1)
        self.budget.need(min(first, 1.0), "another call")
        once = seconds(1)
        calls = max(1, math.ceil(sizes.each_s / max(once, 1e-6)))
        calls = min(calls, most_calls or calls)
        found = [once] if once >= sizes.each_s else []
        enough = min(sizes.repeats, 1 + int(MOST_S / max(calls * once, 1e-6)))
        while len(found) < enough and (self.budget.fits(calls * once) or not found):
            found.append(seconds(calls))
        return Timed(first, found)

    def attempt(self, name: str, at: Found, measure: Callable[[], tuple[Found, Raw]]) -> Row:
        """A row, whatever happens: what fails or does not fit is recorded with its reason, and the next goes on."""
        try:
            if self.cuda:
                torch.cuda.reset_peak_memory_stats(self.device)
            found, raw = measure()
            return Row(name=name, at=at, found=found | self._peak(), raw=raw)
        except Exception as error:  # a compiler, a driver or a library can fail in any way
            return self.refused(name, error, at)
        finally:
            self.clean()

    @staticmethod
    def refused(name: str, error: Exception, at: Found | None = None) -> Row:
        """The row of a measurement that failed, or that there was no time for."""
        if isinstance(error, NoTimeError):
            return Row(name=name, at=at or {}, status="not reached", reason=str(error))
        return Row(name=name, at=at or {}, status="failed", reason=reason_of(error)[:300])

    def _peak(self) -> Found:
        peak = memory.peak_device_mb(self.device) if self.cuda else None
        return {} if peak is None else {"peak_mb": peak}

    def clean(self) -> None:
        """Let go of compiled networks and of the device's memory."""
        if self.has_compiled:
            self.has_compiled = False
            torch.compiler.reset()
        if self.cuda:
            gc.collect()
            with suppress(RuntimeError):  # of a card that has failed for good
                torch.cuda.empty_cache()

    def rate(self, kind: str, number_format: str) -> float | None:
        """The most operations a second that the section ``card`` measured of matrix products or convolutions."""
        rows = self.file.run.rows("card")
        found = [row.found["rate"] for row in rows if row.at.get("kind") == kind and row.at["format"] == number_format]
        return max((value for value in found if isinstance(value, float)), default=None)

    def shares(self, flops_per_s: float, engine: str) -> Found:
        """A rate as shares of the card's own, at the engine's number format."""
        rates = {kind: self.rate(kind, ENGINES[engine].format) for kind in ("matmul", "conv3x3")}
        own: Found = {f"share_of_{kind}": flops_per_s / rate for kind, rate in rates.items() if rate}
        return {"flops_per_s": flops_per_s} | own

    def best(self, section: str, figure: str, **at: Value) -> Row | None:
        """The row of a section with the smallest figure, among those at these settings."""
        rows = [row for row in self.file.run.rows(section) if at.items() <= row.at.items()]
        known = [(value, i) for i, row in enumerate(rows) if isinstance(value := row.found.get(figure), float)]
        return rows[min(known)[1]] if known else None


def pending(name: str, reason: str, **at: Value) -> Row:
    """A row for what was not measured."""
    return Row(name=name, at=at, status="not reached", reason=reason)


@contextmanager
def tile_of(device: torch.device, size: int) -> Iterator[None]:
    """Have samples drawn so many at a time."""
    from bench.job.generate import TILE

    before = TILE[device.type]
    TILE[device.type] = size
    try:
        yield
    finally:
        TILE[device.type] = before
