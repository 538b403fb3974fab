"""A trained cell's network, ready to draw from, and image files of what it draws."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench import files
from bench.errors import UserError, unknown
from bench.images import datasets
from bench.images.grids import png, tile_grid
from bench.job.checkpoints import averaged
from bench.job.generate import generate, ways
from bench.paths import shown
from bench.store.store import Store
from bench.study.model import ORACLE, Cell
from ddpm.nets import make_net
from ddpm.oracle import Mixture
from ddpm.sampler import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.spacing import SPACINGS
from ddpm.spec import parse

FORMATS = (".png", ".npz")
NAMED: dict[str, Iterable[str]] = {"sampler": list(SAMPLERS), "spacing": list(SPACINGS)}
"""What of a way to sample is chosen by name."""


class Trained(nn.Module):
    """The network of a cell and the way that the cell samples it.

    Calling it gives the network's own output: (x_t (B, C, H, W), t/T (B,)) → (B, C, H, W), in the cell's objective.
    """

    def __init__(self, cell: Cell, net: nn.Module) -> None:
        super().__init__()
        self.cell, self.net = cell, net
        row = datasets.DATASETS[cell.job.dataset]
        self.shape = (row.channels, row.side)
        self.schedule = make_schedule(cell.job.schedule, cell.job.T)

    def forward(self, x: Tensor, u: Tensor, *y: Tensor) -> Tensor:
        """The output for noised images at times u = t/T."""
        out: Tensor = self.net(x, u, *y)
        return out

    def sample(self, n: int = 64, *, seed: int = 0, **way: Any) -> Tensor:
        """``n`` samples, uint8 (n, C, H, W) on the CPU; image i depends on the seed, i and the way only.

        :param way: changes to the way that the cell samples: ``sampler``, ``steps``, ``eta``, ``clip``, ``spacing``,
            ``guidance``, as a study names them.
        :raises UserError: for a way that does not exist, or samples that are not finite.
        """
        chosen = ways(self.cell)
        for name, value in way.items():
            if name not in chosen:
                raise unknown("option", name, chosen)
            if name in NAMED and parse(value)[0] not in NAMED[name]:
                raise unknown(name, value, NAMED[name])
        device = next((p.device for p in [*self.net.parameters(), *self.net.buffers()]), torch.device("cpu"))
        options: dict[str, Any] = {"shape": self.shape, "n": n, "seed": seed, "device": device, **chosen, **way}
        batches = generate(self.net, self.schedule, self.cell.job.objective, **options)
        try:
            return torch.cat([batch.images for batch in batches])
        except (FloatingPointError, TypeError, ValueError) as error:  # not finite, or options that do not exist
            raise UserError(str(error)) from error


def trained_network(cell: Cell, store: Store, device: torch.device, data_dir: Path | None = None) -> Trained:
    """The network of a cell as it was sampled: averaged weights, or the oracle of its training images.

    :raises UserError: if its weights are not kept in this results folder.
    """
    job = cell.job
    row = datasets.DATASETS[job.dataset]
    kept = None if job.net == ORACLE else store.load_tensors("checkpoints", job.key)
    if kept is None and job.net != ORACLE:
        raise UserError(
            f"no checkpoint of {job.label} in {shown(store.root)}; "
            "checkpoints of the results that come with the project are not all kept: run its study first"
        )
    if kept is None:
        images = datasets.load(job.dataset, data_dir).train[: job.train.images]
        net: nn.Module = Mixture(make_schedule(job.schedule, job.T), job.objective, images)
    else:
        net = make_net(job.net, row.channels, row.side)
        own = {k[4:]: v for k, v in kept[0].items() if k.startswith("ema.")}
        net.load_state_dict(own if cell.ema is None else averaged(job, store, cell.ema))
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
