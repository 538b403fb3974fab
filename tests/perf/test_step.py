"""A training step's parts are all of it, and each is counted as its own."""

from __future__ import annotations

import itertools

import pytest
import torch

from bench.images import datasets
from bench.machine.clocks import HostClock
from bench.race.entries import ENTRIES
from bench.race.jobs import cell_of
from perf import step

CPU = torch.device("cpu")
SMALL = ENTRIES[step.ENTRY].settings | {
    "net": "unet(inner=32,width=16)",
    "train": {**ENTRIES[step.ENTRY].settings["train"], "batch_size": 4},
}


def test_every_part_of_a_step_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks once a look: each part is between two looks, and the rest between the others."""
    ticks = itertools.count()
    monkeypatch.setattr("bench.machine.clocks.CLOCKS", {"cpu": lambda: HostClock(now=lambda: float(next(ticks)))})
    monkeypatch.setitem(ENTRIES, step.ENTRY, type(ENTRIES[step.ENTRY])(("cpu2",), "", "", SMALL))
    found = step.measure(CPU, steps=2)
    assert list(found["seconds"]) == [
        "drawing the batch", "forward", "backward", "Muon", "AdamW", "average", step.REST,
    ]  # fmt: skip
    own = [seconds for part, seconds in found["seconds"].items() if part != step.REST]
    assert own == [[1.0, 1.0]] * 6
    assert found["batch_size"] == 4
    assert set(found["operators"]) == set(step.OPERATORS)
    assert all(share > 0.01 for share in found["operators"].values())
    assert sum(found["operators"].values()) < 1


def test_who_is_watched_trains_as_ever() -> None:
    images = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8)
    ends = []
    for watched in (False, True):
        trainer = step.make_trainer(cell_of(SMALL, 20, 0)[1].job, CPU)
        marks: list[str] = []
        if watched:
            step.watch(trainer, marks.append)
        for _ in trainer.steps(images, datasets.to_float):
            pass
        ends.append(trainer.state())
    assert marks.count("backward") == 3
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
