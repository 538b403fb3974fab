"""How much work a network is: floating-point operations of one image."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from bench.store.records import Flops

if TYPE_CHECKING:
    from bench.study.model import Job
    from ddpm.spec import Variant


def oracle_flops(job: Job) -> Flops:
    """FLOPs of the exact denoiser: x_t with every training image, and their weighted sum."""
    from bench.images import datasets

    row = datasets.row(job.dataset)
    return Flops(forward=4 * (job.train.images or row.train) * row.channels * row.side**2, train=0)


def taught_flops(flops: Flops, job: Job, sign: int = 1) -> Flops:
    """FLOPs of a training step with the evaluations that the job's way to teach adds; −1 takes them away again."""
    from ddpm.teach import TEACH, make_teach

    extra = make_teach(job.teach).extra if job.teach.name in TEACH else 0.0
    return flops.model_copy(update={"train": flops.train + sign * round(extra * flops.forward)}) if extra else flops


@lru_cache
def count_flops(net: Variant, dataset: str, base: Variant | str = "none") -> Flops:
    """FLOPs of a network on a base for one image of a data set. A study's jobs share the counting."""
    from bench.images import datasets
    from bench.machine.flops import flops_per_image
    from ddpm.base import make_based
    from ddpm.schedule import make_schedule

    row = datasets.row(dataset)
    made = make_based(net, base, make_schedule("cosine", 2), "v", row.channels, row.side)  # any other takes as many
    return Flops(**flops_per_image(made, row.channels, row.side))
