"""The network of a job."""

from __future__ import annotations

from torch import nn

from bench.study.model import Job
from ddpm.base import make_based
from ddpm.schedule import make_schedule


def network_of(job: Job, channels: int, side: int) -> nn.Module:
    """The network, on the base that the job says, if it says one; neither is trained yet.

    :raises ValueError: if there is none for this shape.
    """
    return make_based(job.net, job.base, make_schedule(job.schedule, job.T), job.objective, channels, side)
