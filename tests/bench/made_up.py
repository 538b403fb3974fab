"""A store made up in exactly the form :mod:`bench.job.run` writes, for tests of reports."""

import hashlib
import math
import re
from datetime import UTC, datetime

import numpy as np
import torch

from bench.images.grids import png, tile_grid
from bench.report.render import markdown
from bench.report.write import compose, write
from bench.score.judges import pinned
from bench.store.records import Flops, Provenance
from bench.study.study import Study
from tests.records import environment, epoch, harness_run, sampled, scored_cell, trained_job

FLOOR = {"fid": 0.0824, "kid": 1e-5, "kid_se": 2e-5, "inception_score": 9.81, "precision": 0.941, "recall": 0.938,
         "confidence": 0.996, "class_balance": 0.998}  # fmt: skip
CEILING = {"fid": 2301.0, "kid": 9.1, "kid_se": 0.004, "inception_score": 1.01, "precision": 0.0, "recall": 0.0,
           "confidence": 0.71, "class_balance": 0.05}  # fmt: skip
WORSE = {"eps": 1.0, "v": 1.15, "x0": 1.4, "mean": 2.6, "previous": 3.1, "linear": 1.3, "cosine": 1.0,
         "linear_unscaled": 1.5, "sigmoid": 1.1, "ancestral": 1.0, "ancestral_beta": 4.0, "ddim": 0.9,
         "unet": 1.0, "unet(classes=10)": 1.0, "scorenet": 6.0, "oracle": 0.5, "heun": 0.8}  # fmt: skip


def noise(*parts, scale=0.05):
    """A factor near 1 that depends on the parts alone."""
    seed = int(hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()[:8], 16)
    return math.exp(scale * np.random.default_rng(seed).standard_normal())


def quality(cell):
    """A plausible FID."""
    job = cell.job
    factor = WORSE[job.net] * WORSE[job.objective] * WORSE[job.schedule] * WORSE[cell.sampling.sampler]
    slope = 0.5 if cell.sampling.sampler == "ddim" else 1.1
    return (3 + 25 * (10 / cell.sampling.sample_steps) ** slope) * factor * noise(cell.key)


def write_job(store, job, exclusive=True, more=None, **env):
    size = {"unet": (448_321, 448_321, 1.713, 51_200_000), "scorenet": (1_115_425, 1_115_297, 4.257, 33_400_000)}
    params, trained, megabytes, flops = size[job.net.name]
    images = (job.train.images or 60_000) // job.train.batch_size * job.train.batch_size
    epochs = []
    for i in range(job.train.epochs):
        error = WORSE[job.objective] * (0.028 + 0.05 / (i + 1)) * noise(job.key, i)
        epochs.append(epoch(
            images / 800 * (1.25 if i == 0 else 1) * noise(job.key, i, scale=0.01), images, warm=i > 0,
            exclusive=exclusive, loss=0.1 / (i + 1), eps_mse=error, x0_mse=3 * error,
        ))  # fmt: skip
    made = trained_job(
        job, epochs, params=params, trained_params=trained, megabytes=megabytes, peak_rss_mb=1234.5,
        flops_per_image=Flops(forward=flops, train=3 * flops), environment=environment(**env),
        harness=(harness_run(1.1, 0.02, stages_s={"train": 1.0}),), **(more or {}),
    )  # fmt: skip
    store.write(job.key, made)


def write_cell(store, cell, digits, exclusive=True, env=None, dataset="d" * 64, **metrics):
    fid = quality(cell)
    batches = -(-cell.n // 100)
    metrics = {
        "fid": fid, "kid": fid / 3000, "kid_se": fid / 30000, "inception_score": 9.8 - fid / 40,
        "precision": 0.9 / (1 + fid / 100), "recall": 0.9 / (1 + fid / 60),
        "confidence": 0.99 - fid / 800, "class_balance": 0.99, **metrics,
    }  # fmt: skip
    seconds = [cell.sampling.sample_steps / 32 * noise(cell.key, i, scale=0.02) for i in range(batches)]
    made = scored_cell(
        cell, metrics, sampling=sampled(seconds, [100] * batches, exclusive=exclusive, peak_rss_mb=1500.0),
        environment=environment(**(env or {})), created=datetime(2026, 1, 2, 3, 30, tzinfo=UTC),
        provenance=Provenance(classifier=pinned("mnist") or "c" * 64, dataset_sha256=dataset), floor=FLOOR,
        ceiling=CEILING,
    )  # fmt: skip
    store.write(cell.key, made)
    random = torch.Generator().manual_seed(int(cell.key[:6], 16))
    blur = torch.randn(digits.shape, generator=random) * min(1.5 * fid, 90)
    samples = (digits + blur).clamp(0, 255).to(torch.uint8)
    store.write_bytes(store.path("cells", cell.key, ".png"), png(tile_grid(samples, 8)))
    shown = min(10, cell.sampling.sample_steps)
    level = torch.linspace(1, 0, shown)[None, None, :, None, None, None]
    clean = digits[:6][:, None, None].float().expand(6, 2, shown, 1, 28, 28)
    dirty = torch.cat([level, level**3], 1)
    frames = (clean * (1 - dirty) + dirty * (127 + 60 * torch.randn(clean.shape, generator=random))).clamp(0, 255)
    store.write_bytes(
        store.path("cells", cell.key, ".strip.png"), png(tile_grid(frames.reshape(-1, 1, 28, 28).byte(), shown))
    )


def fill(study, store, digits, **kwargs):
    """Every job and cell of the study."""
    for cells in study.jobs.values():
        write_job(store, cells[0].job, kwargs.get("exclusive", True), **(kwargs.get("env") or {}))
        for cell in cells:
            write_cell(store, cell, digits, **kwargs)


def make_study(name="trial", epochs=2, n=200, **axes):
    given = {"objective": ["previous", "eps"], "schedule": ["linear", "cosine"], "sampler": ["ancestral", "ddim"],
             "sample_steps": [10, 25], **axes}  # fmt: skip
    return Study(name=name, description="A trial.", train={"epochs": epochs}, axes=given, score={"n": n})


def clean(text):
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b|Axis\(|<NA>", text)
    return text.replace("\u00a0", " ")


def text_of(study, store, out):
    return clean(write(study, store, out).markdown.read_text())


def markdown_of(results):
    """A report's Markdown, without files and figures."""
    return clean(markdown.source(compose(results)))


def section_of(text, title):
    """What a report says under a title; "" where there is no such section."""
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def write_oracle(store, job):
    """The record of a job that trains nothing."""
    made = trained_job(
        job, params=0, trained_params=0, megabytes=0.0, flops_per_image=Flops(forward=188_160_000, train=0),
        harness=(harness_run(1.1, 0.02, stages_s={"sample": 1.0}),),
    )  # fmt: skip
    store.write(job.key, made.model_copy(update={"epochs": ()}))
