"""Training, sampling and scoring as shares of what this machine can do: ``python -m perf.roofline``.

First the machine: fp32 and bf16 matrix products and 3×3 convolutions (TF32 too on CUDA), and the memory's bandwidth.
They are measured again in every round, in turn with each network's training step, sampling, forward pass and
convolutions alone (:mod:`perf.convolutions`), and with scoring. FLOPs are counted, 2 per multiply-add, in products
and convolutions alone. Last comes what a training step of our entry in the race is made of (:mod:`perf.step`).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.execute import processes
from bench.images import datasets
from bench.job import engine, speed
from bench.job.generate import TILE
from bench.job.speed import Work
from bench.paths import LOCAL
from bench.score.scorer import Scorer
from bench.store.records import EngineRecord
from bench.store.store import Store
from ddpm.denoiser import Net
from ddpm.nets import NETS
from perf import convolutions, step
from perf.record import claim, in_words, save
from perf.rounds import command

BARS = {"unet training": 0.65, "unet sampling": 0.80}
"""Least shares of the machine's own fp32 3×3 convolution rate."""
OVERHEAD = 0.05
"""Most of sampling that noise and the sampler's arithmetic may take."""
WITHOUT = "sampling without a network"
SCORED = 2000
STEPS = 10
"""Training steps a round that are looked at part by part."""


def scoring(device: torch.device, folder: Path, n: int = SCORED) -> Work:
    """All metrics of n images; of the FLOPs the classifier's alone are counted."""
    images = datasets.load("mnist")
    scorer = Scorer("mnist", images, Store(folder), device)
    flops = speed.classifying(device, n).amount
    return Work("scoring", lambda: scorer.score(images.test[:n]), flops, images=n)


def outside(net: str, raw: dict[str, list[float]]) -> list[float]:
    """The share of sampling that is not the network, a number a round: as long as sampling takes without one."""
    pairs = zip(raw[f"{net} sampling"], raw[WITHOUT], strict=True)
    return [rest / whole for whole, rest in pairs]


def without_network(device: torch.device) -> Work:
    """Sampling as ever, by a network that costs nothing."""
    out = torch.zeros(TILE[device.type], 1, speed.SIDE, speed.SIDE, device=device)
    images = TILE[device.type] * speed.SAMPLE_STEPS
    return Work(WITHOUT, speed.sampler(lambda x, u: out, device), 0, images=images)


def tuned(net: str, engines: dict[str, Any], work: engine.Work) -> Net:
    """:func:`bench.job.speed.tuned`, what there is to say of it going into ``engines``."""
    chosen = speed.tuned(net, work)
    record = Store(LOCAL).read(EngineRecord, chosen.about.trial) if chosen.about.trial else None
    engines[f"{net} {work.task}"] = chosen.about.as_json() | {"trials": record.as_json()["trials"] if record else {}}
    return chosen.net


def rows(works: list[Work], raw: dict[str, list[float]], yardstick: Work) -> list[dict[str, Any]]:
    """What is saved of each work: medians over rounds, and the raw seconds."""
    return [
        {
            "name": work.name,
            "unit": f"{work.unit}/s",
            "amount": work.amount,
            "images": work.images,
            "rate": statistics.median(speed.rates(work, raw)),
            "share": statistics.median(speed.shares(work, yardstick, raw))
            if work.unit == "FLOP" and work.amount
            else None,
            "images_per_s": work.images / statistics.median(raw[work.name]) if work.images else None,
            "seconds": raw[work.name],
        }
        for work in works
    ]


def claims(found: list[dict[str, Any]], raw: dict[str, list[float]]) -> list[dict[str, Any]]:
    """The bars, and whether they are met."""
    shares, of = {row["name"]: row["share"] for row in found}, "share of the fp32 3×3 convolution rate"
    made = [
        claim(f"{name}, {of}", f"≥ {bar:.0%}", f"{shares[name]:.0%}", shares[name] >= bar) for name, bar in BARS.items()
    ]
    extra = statistics.median(outside("unet", raw))
    what = "noise and the sampler's arithmetic, share of unet sampling"
    return [*made, claim(what, f"≤ {OVERHEAD:.0%}", f"{extra:.1%}", extra <= OVERHEAD)]


def main(argv: list[str] | None = None) -> int:
    """Measure, print, save; 2 for a user's mistake."""
    return command("roofline", __doc__, 7, _run, argv)


def _run(device: torch.device, rounds: int) -> None:
    own = speed.machine_in_full(device)
    yardstick = next(work for work in own if work.name == speed.YARDSTICK)
    engines: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        works = [*own]
        for net in NETS:
            prepare = partial(tuned, net, engines)
            works += [speed.training(net, device, prepare), *speed.sampling(net, device, prepare)]
            works += convolutions.works(net, device)
        works += [without_network(device), speed.classifying(device, SCORED), scoring(device, Path(folder))]
        raw = speed.measure(works, device, rounds)
    for name, about in engines.items():
        print(f"{name}: {about['engine']} ({about['why']})")
    print(f"{device}, medians of {rounds} rounds, in turn")
    for work in works:
        print(speed.line(work, raw, yardstick))
    found = rows(works, raw, yardstick)
    bars = claims(found, raw)
    for bar in bars:
        print(f"  {in_words(bar)}")
    divided = step.measure(device, STEPS * rounds)
    for part, seconds in divided["seconds"].items():
        print(f"  {part:18} {1000 * statistics.median(seconds):7.2f} ms a training step")
    content = {"yardstick": yardstick.name, "batch_size": speed.BATCH, "sample_steps": speed.SAMPLE_STEPS}
    content |= {"engines": engines, "works": found, "claims": bars, "step": divided}
    print(save("roofline", content, device=device))


if __name__ == "__main__":
    processes.start_again()
    sys.exit(main())
