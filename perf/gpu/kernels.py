"""What a device does in a training step: how many kernels, for how long, and how long it does nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.gpu.session import Found

ON_DEVICE = ("kernel", "gpu_memcpy", "gpu_memset")
LAUNCHING = ("LaunchKernel", "GraphLaunch", "Memcpy", "Memset")
"""Calls of the host's that give the device something to do."""
TOP, NAME = 3, 60


@dataclass(frozen=True)
class Summary:
    """A step on average: kernels run, calls that launched them, busy seconds, and the longest kernels' shares."""

    kernels: float
    launches: float
    busy_s: float
    top: str

    def found(self, step_s: float) -> Found:
        """For a row. Of a device without kernels (a CPU) there is nothing to say.

        :param step_s: what a step takes unprofiled: a profiler slows the host, not the kernels.
        """
        if not self.kernels:
            return {"kernels": None, "idle": None}
        idle = max(0.0, 1 - self.busy_s / step_s)
        return {
            "kernels": self.kernels, "launches": self.launches, "busy_s": self.busy_s, "idle": idle, "top": self.top,
        }  # fmt: skip


def profile(step: Callable[[], object], steps: int, folder: Path) -> Summary:
    """Run so many steps under torch's profiler."""
    import torch
    from torch.profiler import ProfilerActivity

    cuda = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        for _ in range(steps):
            step()
        if cuda:
            torch.cuda.synchronize()
    path = folder / "trace.json"
    profiler.export_chrome_trace(str(path))
    trace = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    path.unlink()
    return summarise(trace["traceEvents"], steps)


def summarise(events: Iterable[dict[str, Any]], steps: int) -> Summary:
    """The summary of a trace in Chrome's format (times in microseconds), of so many steps."""
    spans: list[tuple[float, float]] = []
    by_name: dict[str, float] = {}
    kernels = launches = 0
    for event in events:
        kind, name = event.get("cat", ""), str(event.get("name", ""))
        if kind in ON_DEVICE and "dur" in event:
            kernels += 1
            start = float(event["ts"])
            spans.append((start, start + float(event["dur"])))
            by_name[name] = by_name.get(name, 0.0) + float(event["dur"])
        elif kind in ("cuda_runtime", "cuda_driver"):
            launches += any(word in name for word in LAUNCHING)
    busy = union(spans)
    longest = sorted(by_name, key=by_name.__getitem__, reverse=True)[:TOP]
    top = "; ".join(f"{by_name[name] / sum(by_name.values()):.0%} {name[:NAME]}" for name in longest)
    return Summary(kernels / steps, launches / steps, busy / steps / 1e6, top)


def union(spans: Iterable[tuple[float, float]]) -> float:
    """The length of what the intervals cover together."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
