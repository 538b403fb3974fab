"""What every part of a job works with."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.images.datasets import Images
from bench.job.engine import Wish
from bench.job.stages import Stages
from bench.store.store import Store
from bench.study.model import Job
from ddpm.schedule import Schedule


@dataclass(frozen=True)
class Setting:
    """A job, its images and schedule, and where and how it runs.

    ``exclusive`` says whether the device is this job's alone, ``wish`` which engine is to evaluate the network.
    """

    job: Job
    images: Images
    schedule: Schedule
    store: Store
    device: torch.device
    exclusive: bool
    stages: Stages
    wish: Wish
