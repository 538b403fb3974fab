"""Clocks with fake hardware, memory units, FLOPs by hand, and what names the code."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bench.errors import UserError
from bench.machine import clocks, devices, flops, memory, provenance


def test_host_clock_reads_only_an_idle_device() -> None:
    calls: list[str] = []
    times = iter([10.0, 12.5])

    def now() -> float:
        calls.append("read")
        return next(times)

    clock = clocks.HostClock(lambda: calls.append("synchronise"), now)
    clock.start()
    assert clock.stop() == 2.5
    assert calls == ["synchronise", "read", "synchronise", "read"]


def test_cuda_clock_waits_for_its_second_event() -> None:
    log: list[str] = []

    class Event:
        def __init__(self) -> None:
            self.name = f"event {len({x for x in log if 'record' in x})}"

        def record(self) -> None:
            log.append(f"record {self.name}")

        def synchronize(self) -> None:
            log.append(f"wait {self.name}")

        def elapsed_time(self, end: Event) -> float:
            assert log[-1] == f"wait {end.name}"
            return 1500.0

    clock = clocks.CudaClock(Event)
    clock.start()
    assert clock.stop() == 1.5
    assert log == ["record event 0", "record event 1", "wait event 1"]


def test_every_device_has_a_clock() -> None:
    assert set(clocks.CLOCKS) == set(devices.DEVICES) - {"auto"}
    clock = clocks.make_clock(torch.device("cpu"))
    clock.start()
    assert 0 <= clock.stop() < 1


@pytest.mark.parametrize(("system", "peak", "expected"), [("linux", 1000, 1.024), ("darwin", 1_000_000, 1.0)])
def test_peak_memory_in_either_systems_unit(system: str, peak: int, expected: float) -> None:
    usage = lambda who: SimpleNamespace(ru_maxrss=peak)  # noqa: E731
    assert memory.peak_rss_mb(usage, system) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "says"), [("gpu", "unknown device 'gpu'"), ("cuda:x", "unknown device"), ("cpux", "cpu")]
)
def test_devices_that_do_not_exist(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        devices.pick_device(name)


def test_devices_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"not available here \(available: cpu\)"):
        devices.pick_device("cuda")
    assert devices.pick_device("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.pick_device("auto").type == "cuda"
    assert devices.pick_device("cuda:1").index == 1
    with pytest.raises(UserError, match="2 CUDA devices"):
        devices.pick_device("cuda:2")


def test_flops_are_two_a_multiply_add() -> None:
    """Forward; and in training twice more, less the gradient of the input that nobody asks for."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

        def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))

    one = 2 * 9 * 8 * 28 * 28
    assert flops.flops_per_image(Two(), 1, 28) == {"forward": 2 * one, "train": 2 * one + one + 2 * one}


def test_environment_says_what_a_number_may_depend_on() -> None:
    about = provenance.environment(torch.device("cpu"))
    named = {"processor", "cores", "threads", "gpu", "driver", "torch", "python", "commit", "dirty", "code"}
    assert named <= type(about).model_fields.keys()
    assert about.device == "cpu"
    assert about.gpu is None
    assert about.processor


def test_a_missing_command_is_no_error() -> None:
    assert provenance._command("no-such-command-anywhere") is None
    assert provenance._command("false") is None
