"""The peers' entries in the race: their best settings, as ``perf.peers`` found them, trained and sampled by their code.

The settings are those of the contenders with the role ``best`` in ``results/perf/peers.json``. ``steps`` is how long a
run trains; it is chosen beforehand, as for every entry.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.images import datasets
from bench.machine import clocks
from bench.race.apart import Drawn, in_own_process
from bench.race.entries import Entry, Runner
from bench.race.rules import DATASET, Track, enough
from bench.race.task import Task
from perf.peers.build import CONTENDERS, build
from perf.peers.contender import Contender, Setting

MODULES = {"diffusers": "diffusers", "denoising-diffusion-pytorch": "denoising_diffusion_pytorch"}
"""Library → what it is imported as."""
FIELDS: dict[str, type] = {"library": str, "settings": dict, "recipe": dict, "steps": int, "evaluations": int}
"""What an entry's settings are: every one of these, and nothing else."""

PEERS: dict[str, Entry] = {
    "diffusers": Entry(
        ("cpu2", "gpu1"),
        "diffusers, as its documentation uses it; the size and the recipe by perf.peers",
        "UNet2DModel 16/32/32 and DDPMPipeline, for 4,500 steps",
        {
            "library": "diffusers",
            "settings": {
                "block_out_channels": [16, 32, 32],
                "layers_per_block": 1,
                "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D"],
                "up_block_types": ["UpBlock2D", "UpBlock2D", "UpBlock2D"],
                "norm_num_groups": 8,
            },
            "recipe": {"lr": 0.001, "batch_size": 16, "warmup_steps": 50, "decay": "over the run"},
            "steps": 4500,
            "evaluations": 50,
        },
        "peer",
    ),
    "lucidrains": Entry(
        ("cpu2", "gpu1"),
        "denoising-diffusion-pytorch, as its README uses it; the size and the recipe by perf.peers",
        "Unet of dim 16 and GaussianDiffusion, for 3,000 steps",
        {
            "library": "denoising-diffusion-pytorch",
            "settings": {
                "dim": 16, "dim_mults": [1, 2, 4], "attn_heads": 1, "attn_dim_head": 16, "flash_attn": True,
            },
            "recipe": {"lr": 0.0008, "batch_size": 64},
            "steps": 3000,
            "evaluations": 50,
        },
        "peer",
    ),
}  # fmt: skip
"""Name → entry."""


def check(settings: Mapping[str, Any], track: Track) -> None:
    """Refuse what cannot be run, or breaks a rule of the track.

    :raises UserError: in one line; for a library that is not installed, with the command that installs it.
    """
    if settings.keys() != FIELDS.keys():
        raise UserError(f"its settings are {', '.join(FIELDS)}, and not {', '.join(sorted(settings)) or 'none'}")
    if wrong := [name for name, kind in FIELDS.items() if type(settings[name]) is not kind]:
        raise UserError(f"'{wrong[0]}' is no {FIELDS[wrong[0]].__name__}")
    if not isinstance(settings["recipe"].get("batch_size"), int):
        raise UserError("its recipe has no whole number as batch_size")
    library = settings["library"]
    if library not in MODULES or library not in CONTENDERS:
        raise UserError(f"library '{library}' is none of {', '.join(MODULES)}")
    if find_spec(MODULES[library]) is None:
        raise UserError(f"{library} is not installed: pip install -e '.[peers]' installs it")
    if min(settings["steps"], settings["evaluations"]) < 1:
        raise UserError("steps and evaluations are whole numbers from 1")
    enough(track, settings["evaluations"])


def quick(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same for a try of seconds."""
    return {**settings, "steps": min(2, settings["steps"]), "evaluations": min(2, settings["evaluations"])}


def draw(task: Task) -> Drawn:
    """Train for the steps of the settings on all training images, then sample from the averaged weights."""
    chosen, device = task.settings, torch.device(task.rules.device)
    since = time.perf_counter()
    setting = Setting(chosen["library"], "race", chosen["settings"], chosen["recipe"])
    contender = build(setting, task.seed, device)
    images = datasets.load(DATASET).train.to(device)
    built = time.perf_counter() - since
    seconds = trained(contender, images, chosen["steps"], device)
    contender.restore(contender.averaged())
    since = time.perf_counter()
    with counting(contender.net) as seen:
        samples = contender.sample(task.n, chosen["evaluations"], task.seed).cpu()
    return Drawn(
        train_s=(seconds,),
        apart_s={"build": built, "sample": time.perf_counter() - since},
        evaluations=-(-seen[0] // task.n),
        images=chosen["steps"] * chosen["recipe"]["batch_size"],
        samples=samples,
        software={name: version(name) for name in (chosen["library"], "torch")},
    )


def trained(contender: Contender, images: Tensor, steps: int, device: torch.device) -> float:
    """Take so many steps; the seconds from before the first batch is drawn to the last update of the weights."""
    clock = clocks.make_clock(device)
    going = contender.steps(images, steps)
    clock.start()
    for _ in range(steps):
        next(going)
    return clock.stop()


@contextmanager
def counting(net: nn.Module) -> Iterator[list[int]]:
    """How many images the network is evaluated for, in a list of one."""
    seen = [0]

    def count(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = given[0] if given else next(value for value in named.values() if isinstance(value, Tensor))
        seen[0] += len(x)

    hook = net.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield seen
    finally:
        hook.remove()


RUNNER = Runner(in_own_process(draw), check, quick, code=(Path(__file__).parent,))
