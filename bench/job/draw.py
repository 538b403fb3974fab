"""A trained cell's network, ready to draw from, and image files of what it draws."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from bench import files
from bench.errors import UserError, unknown
from bench.images import datasets
from bench.images.grids import png, tile_grid
from bench.job.checkpoints import averaged
from bench.job.generate import generate
from bench.job.network import network_of
from bench.paths import shown
from bench.rows import known, needed
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.model import ORACLE, Cell, Sampling
from bench.study.possible import impossible
from ddpm.base import base_of
from ddpm.nets import classes_of
from ddpm.oracle import Mixture
from ddpm.schedule import make_schedule
from ddpm.spec import parse

FORMATS = (".png", ".npz")
WAY = {"sampler": "sampler", "steps": "sample_steps", "eta": "eta", "clip": "clip", "spacing": "spacing",
       "guidance": "guidance", "start": "start"}  # fmt: skip
"""What may be changed of a cell's way to sample: our short name → the field of :class:`bench.study.model.Sampling`."""


class Trained(nn.Module):
    """The network of a cell and the way that the cell samples it.

    Calling it gives the network's own output: (x_t (B, C, H, W), t/T (B,)) → (B, C, H, W), in the cell's objective.
    """

    def __init__(self, cell: Cell, net: nn.Module) -> None:
        super().__init__()
        self.cell, self.net = cell, net
        row = datasets.row(cell.job.dataset)
        self.shape = (row.channels, row.side)
        self.schedule = make_schedule(cell.job.schedule, cell.job.T)

    def forward(self, x: Tensor, u: Tensor, *y: Tensor) -> Tensor:
        """The output for noised images at times u = t/T."""
        out: Tensor = self.net(x, u, *y)
        return out

    def sample(self, n: int = 64, *, seed: int = 0, **way: Any) -> Tensor:
        """``n`` samples, uint8 (n, C, H, W) on the CPU; image i depends on the seed, i and the way only.

        :param way: changes to the way that the cell samples: ``sampler``, ``steps``, ``eta``, ``clip``, ``spacing``,
            ``guidance``, ``start``, as a study names them.
        :raises UserError: for a way that does not exist or is not for this network, or samples that are not finite.
        """
        sampling = changed(self.cell.sampling, seed, way)
        if why := impossible(self.cell.job, sampling):
            raise UserError(why)
        device = next((p.device for p in [*self.net.parameters(), *self.net.buffers()]), torch.device("cpu"))
        batches = generate(
            self.net,
            self.schedule,
            self.cell.job.objective,
            sampling,
            shape=self.shape,
            n=n,
            device=device,
            classes=classes_of(self.cell.job.net),
            base=base_of(self.net),
        )
        try:
            return torch.cat([batch.images for batch in batches])
        except (FloatingPointError, ValueError) as error:  # not finite
            raise UserError(str(error)) from error


def changed(sampling: Sampling, seed: int, way: Mapping[str, Any]) -> Sampling:
    """A way to sample with another seed and with changes, named as in :data:`WAY`.

    :raises UserError: for a change that does not exist or is not possible.
    """
    fields = sampling.model_dump(exclude={"packages"})
    for name, value in way.items():
        if name not in WAY:
            raise unknown("option", name, WAY)
        if name in ("sampler", "spacing"):
            known(name, parse(str(value)).name)
        fields[WAY[name]] = value
    try:
        return Sampling.model_validate(fields | {"sample_seed": seed})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from error


def trained_network(cell: Cell, store: Store, device: torch.device) -> Trained:
    """The network of a cell as it was sampled: averaged weights, or the oracle of its training images.

    :raises UserError: if its weights are not kept in this results folder.
    """
    needed(cell.packages)
    job = cell.job
    row = datasets.row(job.dataset)
    kept = None if job.net == ORACLE else store.load_tensors(Checkpoint, job.key)
    if kept is None and job.net != ORACLE:
        raise UserError(
            f"no checkpoint of {job.label} in {shown(store.root)}; "
            "checkpoints of the results that come with the project are not all kept: run its study first"
        )
    if kept is None:
        images = datasets.load(job.dataset).train[: job.train.images]
        net: nn.Module = Mixture(make_schedule(job.schedule, job.T), job.objective, images)
    else:
        net = network_of(job, row.channels, row.side)
        own = {k[4:]: v for k, v in kept[0].items() if k.startswith("ema.")}
        net.load_state_dict(own if cell.sampling.ema is None else averaged(job, store, cell.sampling.ema))
    return Trained(cell, net).to(device).eval()


def check_format(out: Path) -> None:
    """Refuse a file name that :func:`write_images` does not know.

    :raises UserError: naming the endings there are.
    """
    if out.suffix not in FORMATS:
        raise UserError(f"--out must end in {' or '.join(FORMATS)}, not '{out.name}'")


def write_images(images: Tensor, out: Path) -> None:
    """Write uint8 images (N, C, H, W) as one grid (.png) or as an array (.npz).

    :raises UserError: for any other ending, or a folder that cannot be written.
    """
    check_format(out)
    if out.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images.numpy())
        content = buffer.getvalue()
    else:
        content = png(tile_grid(images, max(1, round(len(images) ** 0.5))))
    files.write_bytes(out, content)
