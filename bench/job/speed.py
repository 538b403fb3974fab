"""How fast a machine is, and how much of that training, sampling and scoring use.

Everything is timed in turn, round after round, so that a machine whose speed drifts slows all of it alike: a share of
the machine's rate is taken within a round, and the median over rounds is what is reported.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from bench.images import datasets
from bench.job import engine
from bench.job.engine import AUTO, FORMATS, Calls, Wish, precision
from bench.job.generate import TILE, Batch, generate
from bench.machine import clocks
from bench.machine.flops import flops as count
from bench.machine.flops import flops_per_image
from bench.paths import LOCAL
from bench.score import classifier, eyes
from bench.score.judges import judges_of
from bench.store.store import Store
from bench.study.model import Sampling
from ddpm.denoiser import Net
from ddpm.nets import make_net
from ddpm.schedule import make_schedule
from ddpm.spec import Variant
from ddpm.train import Loss, Recipe, Trainer

BATCH = 128
SCHEDULE = make_schedule("linear", 1000)
SAMPLE_STEPS = 20
SIDE = 28
ENOUGH = 10**6
"""Evaluations."""
STREAM = 2**26
"""Numbers in an array of the bandwidth test: 256 MiB, far beyond any cache."""
YARDSTICK = "conv3x3 64 float32"
"""The rate that shares are taken of: most of a network's work is 3×3 convolutions."""


@dataclass(frozen=True)
class Work:
    """Something to time.

    ``run()`` does it once, which is ``amount`` of ``unit`` (``FLOP`` or ``B``) and, where it is about images,
    ``images`` images (times sampling steps).
    """

    name: str
    run: Callable[[], object]
    amount: float
    unit: str = "FLOP"
    images: int = 0


def measure(works: Sequence[Work], device: torch.device, rounds: int, seconds: float = 0.1) -> dict[str, list[float]]:
    """Seconds a run of each work, a number a round; in each round a work fills about ``seconds``.

    Every work runs twice beforehand: to warm up, and to be timed for how often it fits.
    """
    clock = clocks.make_clock(device)

    def timed(work: Work, times: int) -> float:
        clock.start()
        for _ in range(times):
            work.run()
        return clock.stop() / times

    for work in works:
        timed(work, 1)
    times = {work.name: math.ceil(seconds / max(timed(work, 1), 1e-6)) for work in works}
    raw: dict[str, list[float]] = {work.name: [] for work in works}
    for _ in range(rounds):
        for work in works:
            raw[work.name].append(timed(work, times[work.name]))
    return raw


def rates(work: Work, raw: dict[str, list[float]]) -> list[float]:
    """``amount`` a second, a number a round."""
    return [work.amount / seconds for seconds in raw[work.name]]


def shares(work: Work, yardstick: Work, raw: dict[str, list[float]]) -> list[float]:
    """The work's rate over the yardstick's of the same round."""
    return [a / b for a, b in zip(rates(work, raw), rates(yardstick, raw), strict=True)]


def machine(device: torch.device) -> list[Work]:
    """fp32 products and convolutions: the short list, with the yardstick."""
    return [_matmul(device, "float32"), _convolution(device, "float32", 64)]


def machine_in_full(device: torch.device) -> list[Work]:
    """fp32 and bf16 products and convolutions, TF32 too on CUDA, and the memory's bandwidth."""
    works = [*machine(device), _convolution(device, "float32", 32)]
    if device.type == "cuda":
        works += [_matmul(device, "tf32"), *(_convolution(device, "tf32", width) for width in (64, 32))]
    # a processor without bf16 units falls back to loops that take a minute for 2048³
    works.append(_matmul(device, "bfloat16", 256 if device.type == "cpu" else 2048))
    works += [_convolution(device, "bfloat16", width) for width in (64, 32)]
    return [*works, *_bandwidth(device)]


def _matmul(device: torch.device, kind: str, side: int = 2048) -> Work:
    a, b = torch.randn(2, side, side, device=device).to(FORMATS[kind][0]).unbind()
    return Work(f"matmul {side} {kind}", _in_format(kind, device, lambda: a @ b), 2 * side**3)


def _convolution(device: torch.device, kind: str, width: int) -> Work:
    dtype = FORMATS[kind][0]
    conv = nn.Conv2d(width, width, 3, padding=1).to(device, dtype).to(memory_format=torch.channels_last)
    conv.requires_grad_(False)
    x = torch.randn(BATCH, width, 14, 14).to(device, dtype).contiguous(memory_format=torch.channels_last)
    flops = 2 * 9 * width * width * 14 * 14 * BATCH
    return Work(f"conv3x3 {width} {kind}", _in_format(kind, device, lambda: conv(x)), flops)


def _in_format(kind: str, device: torch.device, run: Callable[[], object]) -> Callable[[], object]:
    """``run`` at this precision."""

    def precisely() -> None:
        with precision(kind, device):
            run()

    return precisely


def _bandwidth(device: torch.device) -> list[Work]:
    """Copy and triad, counting the bytes as STREAM does (McCalpin 1995): each array once, however it is cached."""
    a, b, c = (torch.ones(STREAM, device=device) for _ in range(3))
    return [
        Work("copy", lambda: a.copy_(b), 2 * 4 * STREAM, "B"),
        Work("triad", lambda: torch.add(b, c, alpha=3.0, out=a), 3 * 4 * STREAM, "B"),
    ]


# What a study does


def trainer(name: str, device: torch.device, batch_size: int = BATCH, epochs: int = 1000) -> Trainer:
    """The trainer a job of this network would have, at its first step."""
    torch.manual_seed(0)
    net = make_net(name, 1, SIDE).to(device)
    return Trainer(net, Loss(SCHEDULE, "eps", "unit"), Recipe(epochs=epochs, batch_size=batch_size), 0)


def sampler(net: Net, device: torch.device, steps: int = SAMPLE_STEPS) -> Callable[[], object]:
    """Draws a tile of samples as a cell of a study would, DDPM's ancestral way."""

    def draw() -> list[Batch]:
        return list(
            generate(
                net,
                SCHEDULE,
                "eps",
                Sampling(sampler=Variant("ancestral"), sample_steps=steps),
                shape=(1, SIDE),
                n=TILE[device.type],
                device=device,
            )
        )

    return draw


Prepare = Callable[[engine.Work], Net]
"""How a network is to be evaluated."""


def eager(work: engine.Work) -> Net:
    """As it is."""
    return work.net


def tuned(net: str, work: engine.Work) -> engine.Chosen:
    """The engine of a study that has so much to do that any trial is worth its time."""
    return engine.choose(work, net, Store(LOCAL), Wish(AUTO, {work.task: Calls(ENOUGH, ENOUGH)}))


def training(name: str, device: torch.device, prepare: Prepare = eager) -> Work:
    """One training step."""
    made = trainer(name, device)
    images = torch.randint(0, 256, (100 * BATCH, 1, SIDE, SIDE), dtype=torch.uint8, device=device)
    evaluate = prepare(engine.Work("train", made.net.train(), BATCH, (1, SIDE), device))
    steps = made.steps(images, datasets.to_float, evaluate)
    flops = flops_per_image(made.net, 1, SIDE)["train"]
    return Work(f"{name} training", lambda: next(steps), flops * BATCH, images=BATCH)


def sampling(name: str, device: torch.device, prepare: Prepare = eager) -> list[Work]:
    """One tile of samples, :data:`SAMPLE_STEPS` steps; and the network's part of that, on its own."""
    torch.manual_seed(0)
    net = make_net(name, 1, SIDE).to(device).eval()
    tile = TILE[device.type]
    work = engine.Work("sample", net, tile, (1, SIDE), device)
    evaluate = prepare(work)
    with torch.inference_mode():
        flops = count(lambda: net(work.x, work.u))

    def forward() -> None:
        with torch.inference_mode():
            evaluate(work.x, work.u)

    images = tile * SAMPLE_STEPS
    return [
        Work(f"{name} sampling", sampler(evaluate, device), flops * SAMPLE_STEPS, images=images),
        Work(f"{name} forward", forward, flops, images=tile),
    ]


def classifying(device: torch.device, n: int = 2000) -> Work:
    """The first judge's features and logits of n images: most of what scoring takes."""
    network = eyes.load(judges_of("mnist")["classifier"]).to(device)
    images = datasets.load("mnist").test[:n]
    flops = count(lambda: network(images[:1].to(device))) * n
    return Work("classifier", lambda: classifier.extract(network, images, device), flops, images=n)


def report(device: torch.device, nets: Sequence[str], rounds: int = 5) -> Iterator[str]:
    """The short form, a line at a time: the machine's fp32 rates, and each network's training as a share of them."""
    own = machine(device)
    yardstick = next(work for work in own if work.name == YARDSTICK)
    works = [*own, *(training(name, device) for name in nets)]
    raw = measure(works, device, rounds)
    yield f"speed of {device}, medians of {rounds} interleaved rounds, float32, batch {BATCH}"
    for work in works:
        yield line(work, raw, yardstick)


def line(work: Work, raw: dict[str, list[float]], yardstick: Work) -> str:
    """A work's rate, its share of the yardstick, its images a second, and the raw milliseconds."""
    seconds = statistics.median(raw[work.name])
    counted = work.unit == "FLOP" and work.amount
    share = f"{statistics.median(shares(work, yardstick, raw)):5.0%} of {yardstick.name}" if counted else ""
    images = f"{work.images / seconds:8,.0f} images/s" if work.images else ""
    text = f"  {work.name:22} {statistics.median(rates(work, raw)) / 1e9:8.1f} G{work.unit}/s  {share:24}{images:18}"
    return f"{text}ms {' '.join(f'{1000 * v:.3g}' for v in raw[work.name])}"
