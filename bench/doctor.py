"""What ``ddpm-bench doctor`` prints: whether this machine can run studies, and how fast."""

from __future__ import annotations

import importlib.metadata
import shutil
import statistics
from pathlib import Path

import torch

from bench import UserError, classifier, data, timing
from bench.scoring import pinned
from bench.store import Store
from ddpm.nets import NETS, make_net
from ddpm.schedule import make_schedule
from ddpm.train import Loss, Recipe, Trainer

LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "pandas", "seaborn", "torch-fidelity", "pydantic", "typst")
BATCH = 128


def report(device_name: str, results: Path, data_dir: Path | None, speed: bool) -> int:
    """Print the checks, one a line; 1 if any fails."""
    device = timing.pick_device(device_name)
    about = timing.environment(device)
    healthy = True

    def line(name: str, text: object, good: bool = True) -> None:
        nonlocal healthy
        healthy &= good
        print(f"{'ok ' if good else 'BAD'}  {name:12} {text}", flush=True)

    line(
        "device", f"{device}: {about['gpu'] or about['processor']}, {about['cores']} cores, {about['threads']} threads"
    )
    line("python", f"{about['python']} on {about['system']}")
    for name in LIBRARIES:
        try:
            line(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            line(name, "not installed", good=False)
    line("code", f"{about['commit'] or 'no git commit'}{' with changes' if about['dirty'] else ''}, {about['code']}")
    images = None
    try:
        images = data.load("mnist", data_dir)
        line("mnist", f"{len(images.train):,} + {len(images.test):,} images, {images.sha256[:12]}")
    except UserError as error:
        line("mnist", error, good=False)
    try:
        path, sha256 = classifier.PINNED["mnist"]
        network = classifier.load(path, pinned("mnist"))
        accuracy = f"{classifier.accuracy(network, images):.2%} of test images right" if images else ""
        line("classifier", f"{sha256[:12]} {accuracy}")
    except UserError as error:
        line("classifier", error, good=False)
    try:
        Store(results).writable()
        line("results", f"{results}, {shutil.disk_usage(results).free / 1e9:.0f} GB free")
    except UserError as error:
        line("results", error, good=False)
    if speed:
        _speed(device)
    return 0 if healthy else 1


def _speed(device: torch.device, rounds: int = 5, steps: int = 5) -> None:
    """Print the machine's fp32 rates, and each network's training as a share of them, measured in turn."""
    trainers = {name: _trainer(name, device) for name in NETS}
    images = torch.randint(0, 256, (BATCH * (rounds + 1) * steps, 1, 28, 28), dtype=torch.uint8, device=device)
    running = {name: trainer.steps(images, data.to_float) for name, trainer in trainers.items()}
    clock = timing.make_clock(device)
    rates: dict[str, list[float]] = {"matmul": [], "conv3x3": []}
    raw: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(rounds + 1):
        for name, measured in timing.matrix_rates(device, 3).items():
            rates[name].append(statistics.median(measured))
        for name, loop in running.items():
            clock.start()
            for _ in range(steps):
                next(loop)
            if turn:
                raw[name].append(clock.stop() / steps)
    machine = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\nspeed of {device}, medians of {rounds} interleaved rounds, float32, batch {BATCH}")
    for name, value in machine.items():
        print(f"  {name:10} {value:8.1f} GFLOP/s    raw {' '.join(f'{v:.0f}' for v in rates[name])}")
    for name, trainer in trainers.items():
        seconds = statistics.median(raw[name])
        rate = timing.flops_per_image(trainer.net, 1, 28)["train"] * BATCH / seconds / 1e9
        shares = ", ".join(f"{rate / value:.0%} of {kind}" for kind, value in machine.items())
        print(
            f"  {name:10} {rate:8.1f} GFLOP/s    training, {shares}; {BATCH / seconds:.0f} images/s; "
            f"ms a step {' '.join(f'{1000 * v:.0f}' for v in raw[name])}"
        )


def _trainer(name: str, device: torch.device) -> Trainer:
    torch.manual_seed(0)
    net = make_net(name, 1, 28).to(device)
    return Trainer(net, Loss(make_schedule("linear", 1000), "eps", "unit"), Recipe(epochs=1), 0)
