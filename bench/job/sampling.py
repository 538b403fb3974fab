"""Sampling and scoring the cells of one job."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bench.images.grids import png, tile_grid
from bench.job import engine
from bench.job.checkpoints import averaged
from bench.job.events import Drawn, Entered, Event
from bench.job.generate import TILE, Batch, asked, first_outputs, generate
from bench.job.setting import Setting
from bench.job.training import choose
from bench.machine import clocks, memory
from bench.score.scorer import Scorer
from bench.store.records import Sampled, Scores
from bench.store.store import Store
from bench.study.model import Cell
from ddpm.base import base_of
from ddpm.nets import classes_of
from ddpm.sampler import make_sampler
from ddpm.spacing import space

PREVIEW = 64


class FirstOutput(NamedTuple):
    """What decides the network's first output: cells alike in it share that evaluation."""

    seed: int
    ema: float | None
    guidance: float | None

    @classmethod
    def of(cls, cell: Cell) -> FirstOutput:
        """That of a cell that starts from noise."""
        return cls(cell.sampling.sample_seed, cell.sampling.ema, cell.sampling.guidance)


class Sampling:
    """Draws the samples of a job's cells, evaluating the network for x_T but once for all that start alike."""

    def __init__(self, setting: Setting, net: nn.Module) -> None:
        self.setting, self.net = setting, net
        self.job, self.images, self.schedule = setting.job, setting.images, setting.schedule
        self.store, self.device, self.stages = setting.store, setting.device, setting.stages
        self.shape, self.tile = setting.images.shape, TILE[setting.device.type]
        self._first: dict[FirstOutput, tuple[Tensor, list[float]]] = {}
        self._length: float | None = None

    def prepare(self, cells: list[Cell]) -> None:
        """Get ready for these cells."""
        work = engine.Work("sample", self.net, self.tile, self.shape, self.device, classes_of(self.job.net))
        self.chosen = choose(work, self.setting)
        since = time.time()
        starts: dict[FirstOutput, list[int]] = {}
        for cell in filter(self._starts_at_end, cells):
            starts.setdefault(FirstOutput.of(cell), []).append(cell.n)
        for start, alike in starts.items():
            if len(alike) > 1:
                self._use(start.ema)
                self._first[start] = self._evaluate_first(start, max(alike))
        self.stages.add("sample", since)

    def _use(self, length: float | None) -> None:
        """Have the network's weights be the average of that length."""
        if length != self._length:
            self.net.load_state_dict(averaged(self.job, self.store, length))
            self._length = length

    def _starts_at_end(self, cell: Cell) -> bool:
        """Whether the first of its times is T and all it is told of, so that its first output can be shared."""
        if make_sampler(cell.sampling.sampler).jumps or cell.sampling.start is not None:
            return False
        return space(self.schedule, cell.sampling.sample_steps, cell.sampling.spacing)[0] == self.schedule.T

    def _evaluate_first(self, start: FirstOutput, n: int) -> tuple[Tensor, list[float]]:
        """The network's outputs for x_T, and the seconds that each tile took."""
        clock = clocks.make_clock(self.device)
        outputs, seconds = [], []
        clock.start()
        steps = first_outputs(
            self.chosen.net,
            shape=self.shape,
            n=n,
            seed=start.seed,
            device=self.device,
            guidance=start.guidance,
            classes=classes_of(self.job.net),
        )
        for out in self.chosen.inside(steps, self.device):
            seconds.append(clock.stop())
            outputs.append(out)
            clock.start()
        return torch.cat(outputs), seconds

    def draw(self, cell: Cell, batch: int | None) -> Iterator[tuple[Batch, float]]:
        """A cell's samples, a batch at a time, with the seconds each took (its share of what was shared included)."""
        self._use(cell.sampling.ema)
        first, shared = self._first.get(FirstOutput.of(cell), (None, [])) if self._starts_at_end(cell) else (None, [])
        clock = clocks.make_clock(self.device)
        steps = generate(
            self.chosen.net,
            self.schedule,
            self.job.objective,
            cell.sampling,
            shape=self.shape,
            n=cell.n,
            device=self.device,
            batch=batch,
            first=first,
            classes=classes_of(self.job.net),
            base=base_of(self.net),
        )
        clock.start()
        for drawn in self.chosen.inside(steps, self.device):
            tiles = slice(drawn.start // self.tile, -(-(drawn.start + len(drawn.images)) // self.tile))
            yield drawn, clock.stop() + sum(shared[tiles])
            clock.start()


def sample_and_score(
    cell: Cell,
    sampling: Sampling,
    scorer: Scorer,
    batch: int | None,
) -> Generator[Event, None, tuple[Scores, Sampled]]:
    """Sample (unless that was done) and score one cell; its metrics, and how it was sampled."""
    store, stages = sampling.store, sampling.stages
    kept = store.load_samples(cell.key)
    if kept is None:
        since = time.time()
        batches: list[Batch] = []
        durations: list[float] = []
        memory.reset_peak(sampling.device)
        for drawn, seconds in sampling.draw(cell, batch):
            durations.append(seconds)
            batches.append(drawn)
            share = (drawn.start + len(drawn.images)) / cell.n
            yield Drawn(job=cell.job.key, label=cell.job.label, cell=cell.key, way=cell.label, share=share)
        samples = torch.cat([drawn.images for drawn in batches])
        stages.add("sample", since)
        since = time.time()
        about = Sampled(
            batch_s=tuple(durations),
            batch_images=tuple(len(drawn.images) for drawn in batches),
            exclusive=sampling.setting.exclusive,
            engine=sampling.chosen.about,
            peak_rss_mb=memory.peak_rss_mb(),
            peak_device_mb=memory.peak_device_mb(sampling.device),
        )
        _previews(cell, store, samples, batches[0].strip)
        store.save_samples(cell.key, samples.numpy(), about)
        stages.add("store", since)
    else:
        samples, about = torch.from_numpy(kept[0]), kept[1]
    yield Entered(job=cell.job.key, label=cell.job.label, stage="scoring")
    since = time.time()
    classes = None if cell.sampling.guidance is None else asked(0, cell.n, classes_of(cell.job.net))
    scores = scorer.score(samples, classes)
    stages.add("score", since)
    return scores, about


def _previews(cell: Cell, store: Store, samples: Tensor, strip: Tensor | None) -> None:
    """The pictures kept with a cell: 8×8 samples; and for each of six, a row of x_t above a row of x̂₀ over time."""
    pictures = {".png": tile_grid(samples[:PREVIEW], 8)}
    if strip is not None:
        frames = strip.permute(2, 1, 0, 3, 4, 5)  # image, (x_t, x̂₀), time
        flat = frames.reshape(-1, *frames.shape[3:])
        pictures[".strip.png"] = tile_grid(flat, frames.shape[2])
    for ending, picture in pictures.items():
        store.write_bytes(store.path("cells", cell.key, ending), png(picture), durable=False)
