"""Estimates of what jobs take, from made-up records whose true rates are known."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from bench import cli, text
from bench.analysis import estimates
from bench.execute import cost
from bench.execute.plan import about, plan
from bench.execute.schedule import Options, pending
from bench.images import datasets
from bench.job import work
from bench.machine import provenance, sources
from bench.machine.environment import Environment
from bench.paths import REFERENCE
from bench.sinks.follow import in_words
from bench.store.records import CellRecord, Flops, JobRecord, ScoredCell, TrainedJob
from bench.store.status import Found, judge, survey
from bench.store.store import Store
from bench.store.tensors import Checkpoint, Resume
from bench.study.model import Cell, Job
from bench.study.study import Study
from tests.records import environment, epoch, failed_job, harness_run, sampled, scored_cell, trained_job

FLOPS = {
    "unet": Flops(forward=50_000_000, train=150_000_000),
    "scorenet": Flops(forward=30_000_000, train=90_000_000),
}
TRAIN, SAMPLE = {"unet": 2.0e11, "scorenet": 1.5e11}, {"unet": 2.5e11, "scorenet": 1.3e11}  # FLOP/s
HERE = Options("cpu", threads=2)
START, WARMING, SCORE = 3.0, 5.0, 0.001  # s, s, s an image


def make_study(net: Any = "unet", epochs: int = 3, n: int = 1000, **axes: Any) -> Study:
    given = {"net": [net], "objective": ["eps"], "schedule": ["linear"], "sampler": ["ddim"], "sample_steps": [10, 50]}
    return Study(name="s", train={"epochs": epochs, "batch_size": 64}, axes=given | axes, score={"n": n})


def here(**changes: Any) -> Environment:
    return environment(**{"machine": provenance.machine_id(), "code": sources.code_hash(), **changes})


def record(
    store: Store, study: Study, slower: float = 1.0, noise: float = 1.0, alone: bool = True, **env: Any
) -> float:
    """Write the records of a study's jobs as if they had run at the rates above; the seconds of the last."""
    for cells in study.jobs.values():
        job = cells[0].job
        epoch_s = 59_968 * FLOPS[job.net].train / TRAIN[job.net] * slower
        epochs = [
            epoch((epoch_s + WARMING * (i == 0)) * noise, 59_968, warm=i > 0, exclusive=alone)
            for i in range(job.train.epochs)
        ]
        sample_s = {
            cell.key: cell.n * cell.sampling.sample_steps * FLOPS[job.net].forward / SAMPLE[job.net] * slower * noise
            for cell in cells
        }
        for cell in cells:
            timed = sampled([sample_s[cell.key]], [cell.n], exclusive=alone)
            store.write(cell.key, scored_cell(cell, sampling=timed, environment=here(**env)))
        stages = {
            "train": sum(one.seconds for one in epochs),
            "sample": sum(sample_s.values()),
            "score": SCORE * sum(cell.n for cell in cells),
        }
        wall = sum(stages.values()) + START
        run = harness_run(wall, stages_s=stages)
        made = trained_job(job, epochs, flops_per_image=FLOPS[job.net], environment=here(**env), harness=(run,))
        store.write(job.key, made)
    return wall


def longer(store: Store, job: Job, stage: str, seconds: float) -> TrainedJob:
    """The job's record, with so much more time in a stage that it had none of."""
    kept = store.read(JobRecord, job.key)
    assert isinstance(kept, TrainedJob)
    (run,) = kept.harness
    changes = {"stages_s": run.stages_s | {stage: seconds}, "wall_s": run.wall_s + seconds}
    return kept.model_copy(update={"harness": (run.model_copy(update=changes),)})


def missing(study: Study) -> list[Found]:
    return [judge(cell, None, None, None) for cell in study.cells]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "scoring").mkdir()  # the reference is there
    return Store(tmp_path)


def test_nothing_is_known_before_anything_has_run(store: Store) -> None:
    model = cost.calibrate(store, HERE)
    assert model == cost.UNKNOWN
    assert model.seconds(missing(make_study()), store) is None


def test_another_shape_of_job_is_predicted_from_its_work(store: Store, tmp_path: Path) -> None:
    """Other epochs, samples and steps than were measured: the four parts scale each by itself."""
    record(store, make_study())
    model = cost.calibrate(store, HERE)
    assert model.here
    other = make_study(epochs=7, n=2000, sample_steps=[20, 100, 1000], schedule=["cosine"])
    expected = model.seconds(missing(other), store)
    assert expected == pytest.approx(record(Store(tmp_path / "other"), other), rel=1e-3)


def test_networks_have_their_own_rates_and_unknown_ones_the_median(store: Store, tmp_path: Path) -> None:
    record(store, make_study())
    record(store, make_study("scorenet"))
    model = cost.calibrate(store, HERE)
    assert model.train == pytest.approx(TRAIN)
    assert model.sample == pytest.approx(SAMPLE)
    variant = missing(make_study("unet(width=24)"))
    assert model.seconds(variant, store) == pytest.approx(
        START + WARMING + SCORE * 2000
        + sum(w / r for w, r in zip(cost.work(variant, store, work.count_flops(variant[0].cell.job.net, "mnist")),
                                    (sum(TRAIN.values()) / 2, sum(SAMPLE.values()) / 2), strict=True)),
        rel=1e-3,
    )  # fmt: skip


def test_the_likest_records_count(store: Store) -> None:
    """Those of the same machine first, then alone on it or not as asked, then threads, then code."""
    record(store, make_study(seed=[1]), slower=7, machine="elsewhere")
    assert not cost.calibrate(store, HERE).here
    assert cost.calibrate(store, HERE).train["unet"] == pytest.approx(TRAIN["unet"] / 7)
    record(store, make_study(seed=[6]), slower=11, alone=False)
    assert not cost.calibrate(store, HERE).here
    assert cost.calibrate(store, HERE).train["unet"] == pytest.approx(TRAIN["unet"] / 11)
    record(store, make_study(seed=[2]), slower=5, threads=1)
    assert cost.calibrate(store, HERE).train["unet"] == pytest.approx(TRAIN["unet"] / 5)
    record(store, make_study(seed=[3]), slower=3, code="older")
    assert cost.calibrate(store, HERE).train["unet"] == pytest.approx(TRAIN["unet"] / 3)
    record(store, make_study(seed=[4]), slower=13, alone=False, threads=1)
    record(store, make_study(seed=[5]))
    model = cost.calibrate(store, HERE)
    assert model.train["unet"] == pytest.approx(TRAIN["unet"])
    assert model.here
    shared = cost.calibrate(store, Options("cpu", workers=2, threads=1))
    assert shared.train["unet"] == pytest.approx(TRAIN["unet"] / 13)
    assert shared.here
    assert not cost.calibrate(store, Options("cuda", threads=2)).train


def test_machines_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud gives its names to one machine after another: durations of the fast one say nothing of the slow one."""
    import torch

    found = set()
    for kind in ("AVX2", "AVX512", "AVX2"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda kind=kind: kind)
        found.add(provenance.machine_id.__wrapped__())
    assert len(found) == 2


def test_only_what_is_left_counts(store: Store) -> None:
    """Trained with its checkpoint: sampling alone. Sampled: scoring alone. Some epochs: the others."""
    record(store, make_study())
    model, study = cost.calibrate(store, HERE), make_study(seed=[9])
    left, key = missing(study), study.cells[0].job.key
    whole = model.seconds(left, store)
    assert whole is not None
    epoch_s = 59_968 * FLOPS["unet"].train / TRAIN["unet"]
    import torch

    store.save_tensors(key, {"a": torch.zeros(1)}, Resume(code="any", epochs=(epoch(), epoch())))
    assert model.seconds(left, store) == pytest.approx(whole - 2 * epoch_s)
    record(store, make_study(seed=[9]))
    trained = [judge(found.cell, None, store.read(JobRecord, key), None) for found in left]
    store.save_tensors(key, {"a": torch.zeros(1)}, Checkpoint(job=study.cells[0].job))
    assert model.seconds(trained, store) == pytest.approx(whole - 3 * epoch_s)
    for found in left:
        store.write_bytes(store.path("samples", found.cell.key, ".npz"), b"")
    assert model.seconds(trained, store) == pytest.approx(START + WARMING + SCORE * 2000)
    assert model.seconds([], store) == 0


def test_the_first_job_of_a_folder_makes_the_reference(tmp_path: Path) -> None:
    store, study = Store(tmp_path), make_study()
    record(store, study)
    job = study.cells[0].job
    store.write(job.key, longer(store, job, "reference", 16.0))
    model = cost.calibrate(store, HERE)
    first = model.seconds(missing(make_study(seed=[1])), store)
    (tmp_path / "scoring").mkdir()
    later = model.seconds(missing(make_study(seed=[1])), store)
    assert first is not None
    assert later is not None
    assert first - later == pytest.approx(16)


def test_trying_engines_is_done_once_and_no_part_of_later_jobs(store: Store) -> None:
    study, later = make_study(), missing(make_study(seed=[1]))
    record(store, study)
    before = cost.calibrate(store, HERE).seconds(later, store)
    job = study.cells[0].job
    store.write(job.key, longer(store, job, "trial", 64.0))
    assert cost.calibrate(store, HERE).seconds(later, store) == pytest.approx(before)


def test_longest_first(store: Store) -> None:
    """By seconds where rates are known, by FLOPs where not; all jobs stay."""
    studies = [make_study(sample_steps=[steps]) for steps in (10, 1000, 100)] + [make_study("scorenet", epochs=30)]
    jobs = [missing(study) for study in studies]
    assert cost.longest_first(jobs, store, cost.UNKNOWN) == [jobs[3], jobs[1], jobs[2], jobs[0]]
    record(store, make_study(seed=[7]))
    record(store, make_study("scorenet", seed=[7]), slower=0.001)
    assert cost.longest_first(jobs, store, cost.calibrate(store, HERE)) == [jobs[1], jobs[2], jobs[0], jobs[3]]


def test_past_is_estimate_and_truth(store: Store) -> None:
    study = make_study()
    record(store, study)
    job = study.cells[0].job
    kept = store.read(JobRecord, job.key)
    assert kept is not None
    assert estimates.past([kept]) == [], "nothing was estimated"
    timed = trained_job(job, harness=(harness_run(100.0, estimate_s=120.0),))
    (run,) = estimates.past([timed, failed_job(job, "diverged")])
    assert run.label == job.label
    assert run.error == pytest.approx(0.2)
    shared = timed.model_copy(update={"epochs": (epoch(exclusive=False), *timed.epochs[1:])})
    assert estimates.past([shared]) == [], "a shared device is no fair test"


@pytest.mark.parametrize(("value", "said"), [(4, "4 s"), (99.4, "99 s"), (222, "3.7 min"), (7560, "2.1 h")])
def test_duration(value: float, said: str) -> None:
    assert text.duration(value) == said


def test_data_sets_have_as_many_training_images_as_they_say() -> None:
    assert len(datasets.load("mnist").train) == datasets.DATASETS["mnist"].train


def left_out(store: Store) -> list[float]:
    """Relative errors of the duration of each job that had its device alone, estimated from all others."""
    errors = []
    records = list(store.records(JobRecord))
    cells: dict[str, list[Cell]] = {}
    for _, cell in store.records(CellRecord):
        if isinstance(cell, ScoredCell):
            cells.setdefault(cell.job, []).append(cell.config)
    for key, kept in records:
        if not isinstance(kept, TrainedJob) or key not in cells or len(kept.harness) != 1:
            continue
        if not kept.exclusive:  # what shared its device took longer than it would have alone
            continue
        hidden = [store.path("jobs", key, ".json"), *(store.path("cells", c.key, ".json") for c in cells[key])]
        for path in hidden:
            os.rename(path, path.with_suffix(".hidden"))
        with pytest.MonkeyPatch.context() as patch:  # as it was asked then: hosts of one name differ in speed
            patch.setattr("bench.machine.sources.code_hash", lambda code=kept.environment.code: code)
            patch.setattr("bench.machine.provenance.machine_id", lambda there=kept.environment.machine: there)
            model = cost.calibrate(store, Options(kept.environment.device, threads=kept.environment.threads))
        for path in hidden:
            os.rename(path.with_suffix(".hidden"), path)
        estimate = model.seconds([judge(cell, None, None, None) for cell in cells[key]], store)
        truth = kept.harness[0].wall_s - kept.harness[0].stages_s.get("reference", 0.0)
        errors.append(math.inf if estimate is None else abs(estimate / truth - 1))
    return errors


def test_each_committed_job_is_predicted_from_the_others(tmp_path: Path) -> None:
    """The bar: a median error of at most 15%, on real durations."""
    import shutil
    import statistics

    shutil.copytree(REFERENCE, tmp_path / "r", ignore=shutil.ignore_patterns("*.png"))
    (tmp_path / "r" / "scoring").mkdir(exist_ok=True)
    errors = left_out(Store(tmp_path / "r"))
    assert len(errors) >= 16, "committed results"
    assert statistics.median(errors) <= 0.15


def test_estimates_ignore_what_is_done(store: Store) -> None:
    """``survey`` and the model agree on what is left."""
    study = make_study()
    record(store, study)
    left = [found for found in survey(study.cells, store, None) if found.status != "done"]
    assert cost.calibrate(store, HERE).seconds(left, store) == 0


def test_a_job_is_read_back_from_its_record(store: Store) -> None:
    study = make_study()
    record(store, study)
    kept = store.read(JobRecord, study.cells[0].job.key)
    assert kept is not None
    assert kept.config == study.cells[0].job


def test_the_first_report_is_forecast_beside_the_whole(store: Store, tmp_path: Path) -> None:
    """Of two seeds half; two workers take half as long; nothing known is said as such."""
    study = make_study(objective=["eps", "v"], seed=[0, 1])
    left = [[found for found in missing(study) if found.cell.job.key == key] for key in study.jobs]
    record(store, make_study())
    one = cost.forecast(left, study, store, Options("cpu", threads=1))
    two = cost.forecast(left, study, store, Options("cpu", threads=1, workers=2))
    assert one.whole_s == pytest.approx(2 * (one.first_s or 0))
    assert two.whole_s == pytest.approx((one.whole_s or 0) / 2)
    assert in_words(one).startswith(f"time: about {text.duration(one.whole_s or 0)} in all; a first report")
    unknown = cost.forecast(left, study, Store(tmp_path / "none"), Options("cpu"))
    assert in_words(unknown) == "time: unknown until a job has run here"


def test_the_plan_counts_with_so_many_jobs_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two equal jobs at once take as long as one, by the records of jobs that shared a machine; one alone is slower."""
    record(store, make_study(), slower=2)
    record(store, make_study(seed=[1]), alone=False, threads=1)
    study = make_study(seed=[2, 3])
    one = cost.calibrate(store, Options("cpu", workers=2, threads=1)).seconds(missing(make_study(seed=[2])), store)
    assert plan(study, store, workers=2, threads=1).seconds == pytest.approx(one)
    assert not plan(study, store, workers=2, threads=1).elsewhere
    alone = plan(study, store, threads=2)
    assert one is not None
    assert alone.seconds is not None
    assert alone.seconds > 3 * one
    assert plan(study, store, workers=4, threads=1).seconds == pytest.approx(one)
    monkeypatch.setattr("bench.study.load.load", lambda _: study)
    assert cli.main(["plan", "any", "--workers", "2", "--threads", "1", "--results", str(store.root)]) == 0
    assert f"left: 2 jobs, {about(one)} with 2 at once\n" in capsys.readouterr().out


def test_the_plan_has_left_what_a_run_would_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A likelihood that is wanted and not there, or a job's record that is gone, though all cells are done."""
    for module in ("bench.execute.plan", "bench.score.judges"):
        monkeypatch.setattr(f"{module}.pinned", lambda dataset: None)  # scores by any judge will do
    study = make_study()
    record(store, study)
    assert plan(study, store).left == 0
    wanted = study.model_copy(update={"score": study.score.model_copy(update={"likelihood": 8})})
    assert plan(wanted, store).left == len(pending(wanted, store, retry=False)) == 1
    store.path("jobs", study.cells[0].job.key, ".json").unlink()
    assert plan(study, store).left == len(pending(study, store, retry=False)) == 1


def test_guidance_counts_in_the_rate_and_in_the_forecast(store: Store) -> None:
    """A cell that was sampled with guidance is predicted to take what it took."""
    study = make_study(net={"unet": {"classes": 10}}, guidance=[2.0], sample_steps=[10])
    (cell,) = study.cells
    assert cell.evaluations == 2 * cell.sampling.sample_steps
    flops = Flops(forward=50_000_000, train=150_000_000)
    epochs = [epoch(100.0, 59_968, warm=i > 0, exclusive=True) for i in range(cell.job.train.epochs)]
    stages = {"train": 300.0, "sample": 40.0, "score": 0.0}
    store.write(cell.key, scored_cell(cell, sampling=sampled([40.0], [cell.n]), environment=here()))
    job = trained_job(
        cell.job, epochs, flops_per_image=flops, environment=here(), harness=(harness_run(340.0, stages_s=stages),)
    )
    store.write(cell.job.key, job)
    store.path("checkpoints", cell.job.key, ".safetensors").parent.mkdir()
    model = cost.calibrate(store, HERE)
    left = missing(study)
    assert model.seconds(left, store) == pytest.approx(300 + 40 + model.start_s)
