"""The report, from a store made up in exactly the form :mod:`bench.job.run` writes."""

import hashlib
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bench.analysis.effects import effects, factors, geometric_mean, pareto, profiles, scatter
from bench.analysis.frames import Results
from bench.images import datasets
from bench.images.grids import png, tile_grid
from bench.report import document, write
from bench.report.document import count, escape, listing
from bench.report.figures import short
from bench.report.pdf import compile_pdf
from bench.score.scorer import pinned
from bench.store.store import Store
from bench.study.study import Score, Study

FLOOR = {"fid": 0.0824, "kid": 1e-5, "kid_se": 2e-5, "inception_score": 9.81, "precision": 0.941, "recall": 0.938,
         "confidence": 0.996, "class_balance": 0.998}  # fmt: skip
CEILING = {"fid": 2301.0, "kid": 9.1, "kid_se": 0.004, "inception_score": 1.01, "precision": 0.0, "recall": 0.0,
           "confidence": 0.71, "class_balance": 0.05}  # fmt: skip
WORSE = {"eps": 1.0, "v": 1.15, "x0": 1.4, "mean": 2.6, "previous": 3.1, "linear": 1.3, "cosine": 1.0,
         "linear_unscaled": 1.5, "sigmoid": 1.1, "ancestral": 1.0, "ancestral_beta": 4.0, "ddim": 0.9,
         "unet": 1.0, "unet(classes=10)": 1.0, "scorenet": 6.0, "oracle": 0.5, "heun": 0.8}  # fmt: skip


def environment(**changes):
    return {
        "device": "cpu", "processor": "Made-up CPU @ 2.00GHz", "cores": 2, "threads": 2, "gpu": None, "driver": None,
        "cuda": None, "machine": "0123abcd", "system": "Linux x86_64", "python": "3.11.9", "torch": "2.9.0",
        "commit": "f" * 40, "dirty": False, "code": "abcdef012345", **changes,
    }  # fmt: skip


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


def write_job(store, job, exclusive=True, **env):
    size = {"unet": (448_321, 448_321, 1.713, 51_200_000), "scorenet": (1_115_425, 1_115_297, 4.257, 33_400_000)}
    params, trained, megabytes, flops = size[job.net]
    images = (job.train.images or 60_000) // job.train.batch_size * job.train.batch_size
    epochs = []
    for i in range(job.train.epochs):
        error = WORSE[job.objective] * (0.028 + 0.05 / (i + 1)) * noise(job.key, i)
        epochs.append({
            "seconds": images / 800 * (1.25 if i == 0 else 1) * noise(job.key, i, scale=0.01), "images": images,
            "warm": i > 0, "exclusive": exclusive, "loss": 0.1 / (i + 1), "eps_mse": error, "x0_mse": 3 * error,
        })  # fmt: skip
    store.write("jobs", job.key, {
        "status": "done", "epochs": epochs, "params": params, "trained_params": trained, "megabytes": megabytes,
        "flops_per_image": {"forward": flops, "train": 3 * flops}, "peak_rss_mb": 1234.5, "peak_device_mb": None,
        "config": job.model_dump(mode="json"), "environment": environment(**env),
        "created": "2026-01-02T03:04:05+00:00",
        "harness": [{"stages_s": {"train": 1.0}, "wall_s": 1.1, "overhead": 0.02}],
    })  # fmt: skip


def write_cell(store, cell, digits, exclusive=True, env=None, **metrics):
    fid = quality(cell)
    batches = -(-cell.n // 100)
    store.write("cells", cell.key, {
        "status": "done",
        "metrics": {
            "fid": fid, "kid": fid / 3000, "kid_se": fid / 30000, "inception_score": 9.8 - fid / 40,
            "precision": 0.9 / (1 + fid / 100), "recall": 0.9 / (1 + fid / 60),
            "confidence": 0.99 - fid / 800, "class_balance": 0.99, **metrics,
        },
        "sampling": {
            "batch_s": [cell.sampling.sample_steps / 32 * noise(cell.key, i, scale=0.02) for i in range(batches)],
            "batch_images": [100] * batches, "exclusive": exclusive, "peak_rss_mb": 1500.0, "peak_device_mb": None,
        },
        "config": cell.model_dump(mode="json"), "environment": environment(**(env or {})),
        "created": "2026-01-02T03:30:00+00:00", "job": cell.job.key,
        "provenance": {"classifier": pinned("mnist") or "c" * 64, "dataset_sha256": "d" * 64},
        "floor": FLOOR, "ceiling": CEILING,
    })  # fmt: skip
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
    return text


@pytest.fixture(scope="module")
def digits():
    images = datasets.load("mnist", None).test
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))[:64]]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def text_of(study, store, out):
    return clean(write(study, store, out).markdown.read_text())


def test_whole_report(store, digits, tmp_path):
    study = make_study()
    fill(study, store, digits)
    made = write(study, store, tmp_path / "out")
    assert made.fresh
    assert made.markdown == tmp_path / "out" / "trial" / "report.md"
    text = clean(made.markdown.read_text())
    best = min(study.cells, key=quality)
    opening = text.split("## What each choice costs")[0]
    assert f"The lowest FID is {short(quality(best))}" in opening
    assert f"objective {best.job.objective}, schedule {best.job.schedule}" in opening
    assert "0.0824" in opening
    assert "2,301" in opening
    assert "one training seed" in opening
    names = {path.stem for path in made.figures}
    assert names == {
        "choices",
        "profiles",
        "heat-map",
        "steps",
        "frontier",
        "losses",
        "durations",
        "samples-1",
        "denoising",
    }
    for path in made.figures:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"(figures/{path.name})" in text
    assert made.pdf.read_bytes().startswith(b"%PDF")
    for said in ("4.3 MB", "20 s an epoch", "Made-up CPU", "d" * 64, "`abcdef012345`", "f" * 40, "class_balance"):
        assert said in text
    assert text.count("\n| ") > 40


def test_ratios_are_paired(store, digits):
    study = make_study()
    fill(study, store, digits)
    results = Results(study, store)
    worst, best = effects(results.done, "objective", results.levels("objective"))
    fid = {
        (c.job.objective, c.job.schedule, c.sampling.sampler, c.sampling.sample_steps): quality(c) for c in study.cells
    }
    expected = [fid["previous", *k[1:]] / fid[k] for k in fid if k[0] == "eps"]
    assert sorted(worst.ratios) == pytest.approx(sorted(expected))
    assert worst.ratio == pytest.approx(np.exp(np.mean(np.log(expected))))
    assert (best.level, best.best, best.ratio) == ("eps", "eps", 1)


def test_pairs_need_everything_else_equal(store, digits):
    study = make_study()
    fill(study, store, digits)
    for cell in study.cells:
        if cell.job.objective == "eps" and cell.job.schedule == "linear":
            store.path("cells", cell.key, ".json").unlink()
    results = Results(study, store)
    by_objective = effects(results.done, "objective", results.levels("objective"))
    assert [len(effect.ratios) for effect in by_objective] == [4, 4]
    by_schedule = effects(results.done, "schedule", results.levels("schedule"))
    assert (by_schedule[0].level, len(by_schedule[0].ratios)) == ("linear", 4)


def test_replication(store, digits, tmp_path):
    """Training × sampling seeds: what either is worth, how often a level is better, and how near the best."""
    study = make_study(sampler=["ancestral"], seed=[0, 1, 2]).model_copy(update={"score": Score(n=200, seed=[0, 1])})
    fill(study, store, digits)
    results = Results(study, store)
    assert len(results.done) == 2 * len({(c.job.key, c.sampling.sample_steps) for c in study.cells})
    found = scatter(results.done)
    assert (found.runs, found.draws) == (3, 2)
    assert found.both.sd == pytest.approx(0.05, rel=0.5)  # the made-up noise depends on the cell alone
    worst, best = effects(results.done, "objective", results.levels("objective"))
    assert (worst.chance.value, worst.chance.settings, best.chance) == (1, 4, None)
    assert worst.chance.low < 0.5  # three runs against three
    shares, problems = profiles(results.done, "objective", ["previous", "eps"], np.array([1.0, 10.0]))
    assert problems == 24
    assert shares.tolist() == [[0, 1], [1, 1]]
    text = text_of(study, store, tmp_path)
    for said in (
        "P(best is better)",
        "Performance profiles",
        "Where chance comes from",
        "| training seed |",
        "0 and 1",
    ):
        assert said in text
    (settings,) = {row["seeds"] for _, row in results.settings.iterrows()}
    assert settings == 3


def test_scatter_needs_both_kinds_of_seeds(store, digits):
    study = make_study(sampler=["ancestral"], seed=[0, 1])
    fill(study, store, digits)
    assert scatter(Results(study, store).done) is None


def test_same_bytes_and_skipped_when_unchanged(store, digits, tmp_path):
    study = make_study(schedule=["linear"], sample_steps=[10])
    fill(study, store, digits)
    first, second = (write(study, store, tmp_path / name) for name in "ab")
    assert len(first.figures) == len(second.figures)
    for name in ("report.md", "report.pdf", *(f"figures/{path.name}" for path in first.figures)):
        a, b = (made.markdown.parent / name for made in (first, second))
        assert a.read_bytes() == b.read_bytes(), a
    again = write(study, store, tmp_path / "a")
    assert not again.fresh
    assert again.figures == first.figures

    first.figures[0].unlink()
    assert write(study, store, tmp_path / "a").fresh
    first.markdown.write_text(first.markdown.read_text()[:-20])
    assert write(study, store, tmp_path / "a").fresh
    write_cell(store, study.cells[0], digits, fid=99.0)
    assert write(study, store, tmp_path / "a").fresh
    assert not write(study, store, tmp_path / "a").fresh
    stray = tmp_path / "a" / "trial" / "figures" / "old.png"
    stray.write_bytes(b"")
    first.pdf.unlink()
    assert write(study, store, tmp_path / "a").fresh
    assert not stray.exists()


def test_nothing_done(store, tmp_path):
    study = make_study()
    made = write(study, store, tmp_path)
    text = clean(made.markdown.read_text())
    assert "No cell of this study has been scored yet" in text
    assert "not run yet" in text
    assert made.figures == ()
    assert made.pdf.stat().st_size > 5000


def test_what_is_missing_or_failed_is_listed(store, digits, tmp_path):
    study = make_study()
    fill(study, store, digits)
    first, second, third, *_ = study.jobs
    reason = "crashed: RuntimeError: a|b *c* `d` $e$ <f> [g](h) _i_ #j @k"
    store.write("jobs", first, {"status": "failed", "reason": reason, "config": {}})
    for cell in study.jobs[first]:
        store.path("cells", cell.key, ".json").unlink()
    cell = study.jobs[second][0]
    store.write("cells", cell.key, {"status": "failed", "reason": "diverged while sampling", "job": second})
    cell = study.jobs[third][0]
    store.path("cells", cell.key, ".json").write_text("{")
    write_cell(store, study.jobs[third][1], digits, fid=math.nan)
    text = text_of(study, store, tmp_path / "out")
    assert "**Not in these results: 5 failed and 1 missing**" in text
    assert escape(reason) in text
    assert "diverged while sampling" in text
    assert "its FID is not a finite number" in text
    assert f"{cell.key}.json" in text


@pytest.mark.parametrize(
    "axes",
    [
        {"objective": ["eps"], "schedule": ["linear"], "sampler": ["ddim"], "sample_steps": [10]},
        {"net": ["scorenet"], "schedule": ["linear"], "sampler": ["ancestral"], "sample_steps": [1000]},
        {"objective": ["eps", "v", "x0"], "schedule": ["cosine"], "eta": [0.0, 0.5], "seed": [0, 1, 2]},
        {"net": ["unet", "scorenet"], "T": [100, 1000], "weight": ["unit", "default"], "objective": ["previous", "v"]},
    ],
    ids=["one cell", "seed", "seeds and eta", "every axis"],
)
def test_shapes_of_study(axes, store, digits, tmp_path):
    study = make_study(epochs=1, n=100, **axes) if axes.get("weight") is None else None
    if study is None:
        study = make_study(epochs=1, n=100, **{**axes, "weight": ["unit"]})
    fill(study, store, digits)
    text = text_of(study, store, tmp_path / "out")
    if "seed" in axes:
        assert "medians over 3 training seeds" in text
        assert "one training seed" not in text
        assert "ddim η=0.5" in text
    if axes.get("net") == ["scorenet"]:
        assert "1,115,425 parameters, 4.257 MiB" in text
        assert "has no ScoreNet" not in text
        assert "Every cell was sampled in 1,000 steps" in text


def test_durations_of_a_shared_device_are_left_out(store, digits, tmp_path):
    study = make_study(schedule=["linear"])
    fill(study, store, digits, exclusive=False)
    text = text_of(study, store, tmp_path / "out")
    assert "taken while others used the device" in text
    assert "No sampling durations to show" in text
    assert "figures/durations" not in text
    assert "figures/steps" in text


def test_mixed_code_versions_and_machines_warn(store, digits, tmp_path):
    study = make_study(schedule=["linear"])
    fill(study, store, digits)
    env = {"code": "000000000000", "gpu": "A GPU", "driver": "1", "dirty": True}
    write_cell(store, study.cells[0], digits, env=env)
    text = text_of(study, store, tmp_path / "out")
    assert "from 2 versions of the code" in text
    assert "more than one kind of machine" in text
    assert "uncommitted changes" in text


def test_scores_of_another_reference_are_not_mixed_in(store, digits):
    study = make_study(schedule=["linear"])
    fill(study, store, digits)
    odd = study.cells[0]
    record = store.read("cells", odd.key)
    record["provenance"]["dataset_sha256"] = "e" * 64
    store.write("cells", odd.key, record)
    results = Results(study, store)
    assert odd.key not in set(results.done["key"])
    assert list(results.cells.set_index("key").loc[[odd.key], "status"]) == ["stale"]


def test_report_without_pictures(store, digits, tmp_path):
    study = make_study(schedule=["linear"], sample_steps=[10])
    fill(study, store, digits)
    for path in (store.root / "cells").glob("*.png"):
        path.unlink()
    assert "No pictures were kept" in text_of(study, store, tmp_path / "out")


def test_pdf_pages_are_a4():
    pages = compile_pdf("# A title\n\nText | with $5 and x̂₀ and ε̂.\n", Path.cwd(), "png")
    assert len(pages) == 1
    width, height = (int.from_bytes(pages[0][i : i + 4], "big") for i in (16, 20))
    assert height / width == pytest.approx(297 / 210, rel=0.01)


def test_pareto():
    frame = pd.DataFrame({"t": [1, 2, 3, 4, 4], "fid": [5.0, 6.0, 2.0, 2.0, 1.0]})
    assert list(pareto(frame, "t").index) == [0, 2, 4]
    assert list(pareto(frame, "t", within=0.5).index) == [0, 4]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (4.3, "4.30"), (0.0824, "0.0824"), (12.345, "12.3"), (2301.2, "2,301"), (1e-5, "1.00e-05"),
     (99.97, "100"), (0.99999, "1.00"), (math.nan, "–"), (math.inf, "–")],
)  # fmt: skip
def test_short(value, said):
    assert short(value) == said


def test_words():
    assert listing("abc") == "a, b and c"
    assert listing(["a"]) == "a"
    assert listing([]) == "none"
    assert count(33_400_000) == "33.4 M"
    assert count(None) == "–"
    assert math.isnan(geometric_mean(()))


def test_importing_the_package_does_not_import_torch():
    check = "import sys, bench.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_oracle_splits_a_fid(tmp_path, digits):
    """A trained cell's FID in three parts; the oracle's cells are not ranked with the others."""
    study = make_study(net=["unet", "oracle"], objective=["eps"])
    store = Store(tmp_path / "store")
    for cells in study.jobs.values():
        job = cells[0].job
        if job.net == "unet":
            write_job(store, job)
        else:
            write_oracle(store, job)
        for cell in cells:
            write_cell(
                store, cell, digits, **({"fid": 1.0 + 10 / cell.sampling.sample_steps} if job.net == "oracle" else {})
            )
    results = Results(study, store)
    assert set(results.done["net"]) == {"unet"}
    assert "net" not in results.varying
    text = clean(document.compose(results, {}))
    section = text.split("## Where the FID comes from")[1].split("\n## ")[0]
    assert section.count("\n| ") == 8 + 2
    first = results.settings.iloc[0]
    exact = 1.0 + 10 / first["sample_steps"]
    line = next(line for line in section.splitlines() if short(first["fid"]) in line)
    assert short(exact - FLOOR["fid"]) in line
    assert short(first["fid"] - exact) in line


def test_a_study_of_the_oracle_alone(tmp_path, digits):
    """Nothing was trained: no loss curves, no durations of epochs, and the rest as ever."""
    study = make_study(net=["oracle"], objective=["x0"], sampler=["ancestral", "ddim", "heun"], epochs=0)
    store = Store(tmp_path / "store")
    for cells in study.jobs.values():
        write_oracle(store, cells[0].job)
        for cell in cells:
            write_cell(store, cell, digits)
    text = clean(document.compose(Results(study, store), {}))
    assert "Nothing was trained." in text
    assert "## Loss curves" not in text
    assert "## Where the FID comes from" not in text
    assert "network evaluations a sample (Heun's method" in text


def write_oracle(store, job):
    """The record of a job that trains nothing."""
    store.write("jobs", job.key, {
        "status": "done", "epochs": [], "params": 0, "trained_params": 0, "megabytes": 0.0,
        "flops_per_image": {"forward": 188_160_000, "train": 0}, "peak_rss_mb": 900.0, "peak_device_mb": None,
        "config": job.model_dump(mode="json"), "environment": environment(), "engine": {"engine": "eager"},
        "created": "2026-01-02T03:04:05+00:00",
        "harness": [{"stages_s": {"sample": 1.0}, "wall_s": 1.1, "overhead": 0.02}],
    })  # fmt: skip


def test_claims_get_verdicts(tmp_path, digits):
    """A study's claims in its report: one that seeds support, one that nothing measured."""
    study = make_study(seed=[0, 1, 2], objective=["previous", "eps"]).model_copy(
        update={"claims": ["eps < previous on fid", "linear < cosine on fid at {sampler: ddim}"]}
    )
    store = Store(tmp_path / "store")
    fill(study, store, digits)
    text = clean(document.compose(Results(study, store), {}))
    section = text.split("## Claims")[1].split("\n## ")[0]
    assert "| `eps < previous on fid` | **supported** |" in section
    assert "| `linear < cosine on fid at {sampler: ddim}` | **contradicted** |" in section
    assert "## Claims" not in clean(document.compose(Results(make_study(), Store(tmp_path / "none")), {}))


def test_likelihoods_and_classes(tmp_path, digits):
    """Sections of their own, where there is something to say; medians over seeds."""
    store = Store(tmp_path / "results")
    told = make_study(net=["unet(classes=10)"], objective=["eps", "v"], sampler=["ddim"], guidance=[None, 1.0, 4.0],
                      schedule=["cosine"], sample_steps=[10], seed=[0, 1])  # fmt: skip
    for i, cells in enumerate(told.jobs.values()):
        job = cells[0].job
        write_job(store, job.model_copy(update={"net": "unet"}))
        record = store.read("jobs", job.model_copy(update={"net": "unet"}).key)
        bound = 2.0 + 0.1 * i
        record["likelihood"] = {
            "n": 50, "terms": [bound / job.T] * job.T, "bound": bound, "bound_se": 0.012, "prior": 0.0001,
            "prior_se": 0.0, "decoder": 0.31, "decoder_se": 0.001, "flow": None if i == 3 else bound - 0.4,
            "flow_se": None if i == 3 else 0.011,
        }  # fmt: skip
        store.write("jobs", job.key, record)
        for cell in cells:
            seen = (
                {} if cell.sampling.guidance is None else {"class_accuracy": 0.9 + i / 100, "worst_class_accuracy": 0.7}
            )
            write_cell(store, cell, digits, **seen)
    made = write(told, store, tmp_path / "out")
    text = clean(made.markdown.read_text())
    likelihood = text.split("## Likelihood")[1].split("\n## ")[0]
    assert re.search(r"\| eps \| cosine \| 1.650 ± 0.011 \| 2.050 ± 0.012 \| 1.00e-04 \| 0.310 \|", likelihood)
    assert "Of 50 test images" in likelihood
    assert "(figures/terms.png)" in likelihood
    classes = text.split("## Classes and guidance")[1].split("\n## ")[0]
    assert "ddim guidance 4" in classes
    assert "0.905" in classes
    assert len(re.findall(r"\| 0.700 \|", classes)) == 4, "the cells that asked for no class are not there"


def grid_of(fid, objectives="abc", schedules="xy", steps=(10, 50), seeds=range(4)):
    """A frame of every combination, its FID from ``fid(objective, schedule, steps, seed)``."""
    cells = [(o, s, n, seed) for o in objectives for s in schedules for n in steps for seed in seeds]
    frame = pd.DataFrame(cells, columns=["objective", "schedule", "sample_steps", "seed"])
    return frame.assign(fid=[fid(*cell) for cell in cells])


def test_factors_of_a_balanced_grid():
    """Textbook sums of squares: n Σ (mean of level − mean)² and the same for pairs; they add up to the whole."""
    random = np.random.default_rng(0)
    noisy = {}
    frame = grid_of(lambda o, s, n, seed: math.exp(
        {"a": 0, "b": 1, "c": 3}[o] + 0.5 * (s == "y") + 0.8 * (s == "y" and o == "c") - 0.3 * math.log(n)
        + noisy.setdefault((o, s, n, seed), 0.1 * random.standard_normal())
    ))  # fmt: skip
    axes = ["objective", "schedule", "sample_steps"]
    found, left = factors(frame, axes)
    y = np.log(frame["fid"])
    total = ((y - y.mean()) ** 2).sum()
    means = y.groupby(frame["objective"]).transform("mean")
    shares = {factor.axes: factor.share for factor in found}
    assert shares["objective",] == pytest.approx(((means - y.mean()) ** 2).sum() / total)
    pair = y.groupby([frame["objective"], frame["schedule"]]).transform("mean")
    other = y.groupby(frame["schedule"]).transform("mean")
    assert shares["objective", "schedule"] == pytest.approx(((pair - means - other + y.mean()) ** 2).sum() / total)
    assert sum(shares.values()) + left == pytest.approx(1)
    assert found[0].axes == ("objective",)
    assert all(factor.low <= factor.share <= factor.high for factor in found)
    assert found[0].high - found[0].low < 0.1


def test_factors_of_a_grid_with_holes():
    """What is missing makes no choice look as if it mattered: the schedule does nothing here."""
    frame = grid_of(lambda o, s, n, seed: {"a": 1.0, "b": 2.0, "c": 9.0}[o] * (1 + 0.001 * seed), seeds=[0])
    holes = frame[~((frame["objective"] == "c") & (frame["schedule"] == "y"))]
    shares = {factor.axes: factor.share for factor in factors(holes, ["objective", "schedule"])[0]}
    assert shares["schedule",] < 1e-6
    assert shares["objective",] > 0.8
    assert all(math.isnan(factor.low) for factor in factors(holes, ["objective", "schedule"])[0])
    same = frame.assign(fid=3.0)
    assert factors(same, ["objective", "schedule"])[0] == []


def test_how_many_steps_are_enough(tmp_path, digits):
    """The fewest within a tenth of the sampler's best; geometric means over runs, of those that learnt."""
    store = Store(tmp_path / "results")
    study = make_study(objective=["eps", "previous"], schedule=["cosine"], sample_steps=[5, 10, 25], seed=[0, 1])
    fids = {("ancestral", 5): 40.0, ("ancestral", 10): 9.0, ("ancestral", 25): 5.0,
            ("ddim", 5): 20.0, ("ddim", 10): 6.4, ("ddim", 25): 6.0}  # fmt: skip
    for cells in study.jobs.values():
        write_job(store, cells[0].job)
        for cell in cells:
            fid = fids[cell.sampling.sampler, cell.sampling.sample_steps] * (1 if cell.job.seed else 4)
            write_cell(store, cell, digits, fid=fid if cell.job.objective == "eps" else 2000.0)
    text = clean(write(study, store, tmp_path / "out").markdown.read_text())
    assert "| ancestral | 80.0 | 18.0 | 10.0 | **25** | 2 |" in text
    assert "| ddim | 40.0 | 12.8 | 12.0 | **10** | 2 |" in text
    assert "cells that learnt" in text


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_factors_cover(seeds):
    """Nominal 95% intervals hold the share in the population in 92% to 98% of simulated studies."""
    random, trials, hits = np.random.default_rng(0), 200, np.zeros(3)
    axes = {"objective": np.array([0, 0.5, 1]), "schedule": np.array([0, 0.3]), "sample_steps": np.array([0, 0.2, 0.5])}
    of_model, of_cell = 0.1, 0.05
    parts = [effect.var() for effect in axes.values()]
    truth = np.array(parts) / (sum(parts) + of_model**2 + of_cell**2)
    grid = np.array(np.meshgrid(*(range(len(effect)) for effect in axes.values()), range(seeds), indexing="ij"))
    frame = pd.DataFrame(grid.reshape(4, -1).T, columns=[*axes, "seed"])
    for _ in range(trials):
        scatter_of = [(3, 2, 1, seeds), (3, 2, 3, seeds)]
        model, cell = (random.standard_normal(shape) for shape in scatter_of)
        logs = sum(effect[grid[i]] for i, effect in enumerate(axes.values())) + of_model * model + of_cell * cell
        found = {factor.axes: factor for factor in factors(frame.assign(fid=np.exp(logs).ravel()), list(axes))[0]}
        hits += [found[axis,].low <= share <= found[axis,].high for axis, share in zip(axes, truth, strict=True)]
    assert (hits / trials >= 0.92).all()
    assert (hits / trials <= 0.98).all()
