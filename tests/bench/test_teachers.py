"""A network that is taught by another: a job of its own, which comes first, and what it costs is counted."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.analysis.table import training
from bench.errors import UserError
from bench.execute.plan import plan
from bench.execute.run import run_study
from bench.execute.schedule import Options, pending
from bench.execute.specs import Specs
from bench.job.checkpoints import taught_by, trained
from bench.job.draw import Trained, trained_network
from bench.job.events import JobDone, Started
from bench.job.failures import record_failure
from bench.job.process import waits
from bench.store.records import JobRecord, TrainedJob
from bench.study.load import load
from bench.study.model import Job
from ddpm.nets import NETS
from ddpm.spec import Variant
from ddpm.teach import TEACH, make_teach
from tests.conftest import TinyNet, World

TAUGHT = [name for name in TEACH if make_teach(name).teacher]
OPTIONS = Options("cpu", threads=1, engine="eager", executor="inline")


def study_of(make_study: Any, *teach: str, **budget: Any) -> Any:
    """Of one objective, three epochs of 64 images. T is the least that `progressive` takes."""
    return make_study(
        objective=["v"], sampler=["ddim"], teach=list(teach), T=[128],
        budget={"images": 64, "batch_size": 32} | budget,
    )  # fmt: skip


def test_data_leaves_no_trace(make_study: Any) -> None:
    (plain,), (said,) = (study.cells for study in (study_of(make_study, "data"), make_study(
        objective=["v"], sampler=["ddim"], T=[128], budget={"images": 64, "batch_size": 32})))  # fmt: skip
    assert plain.key == said.key
    assert "teach" not in plain.job.canonical
    assert plain.job.teacher is None
    assert "taught" not in plain.job.label


@pytest.mark.parametrize("name", TAUGHT)
def test_the_teacher_is_a_part_of_the_budget(make_study: Any, name: str) -> None:
    """The same configuration by `data`; together they take the study's epochs, whatever the share."""
    for share, epochs in ((0.5, 9), (0.01, 1), (0.99, 17)):
        (cell,) = study_of(make_study, f"{name}(teacher={share})", epochs=18, snapshots=2).cells
        teacher = cell.job.teacher
        assert teacher is not None
        assert (teacher.train.epochs, cell.job.epochs) == (epochs, 18 - epochs)
        same = teacher.model_dump(exclude={"teach", "train"})
        assert same == cell.job.model_dump(exclude={"teach", "train"})
        assert (teacher.teach, teacher.train.snapshots) == ("data", 0)
        assert Job.model_validate(cell.job.model_dump()).teacher == teacher


def test_equal_time(make_study: Any) -> None:
    """Ways to teach that take more evaluations train for fewer epochs, and plain networks stay the same job."""
    asked = ("data", "consistency", "progressive", "reflow")
    timed = study_of(make_study, *asked, epochs=8, equal="time")
    assert [cell.job.train.epochs for cell in timed.cells] == [8, 6, 6, 3]
    assert all(make_teach(cell.job.teach).cost(cell.job.train.epochs) <= 8 for cell in timed.cells)
    alike = study_of(make_study, *asked, epochs=8)
    assert [cell.job.train.epochs for cell in alike.cells] == [8] * 4
    assert timed.cells[0].key == alike.cells[0].key
    assert "equal" not in timed.cells[1].job.canonical
    assert (timed.train.length, alike.train.length) == ("8 epochs, or fewer that take as long", "8 epochs")


def test_time_that_is_too_short(make_study: Any) -> None:
    with pytest.raises(UserError, match=r"impossible cell: .*reflow takes as long as 5 epochs: train.epochs must be 5"):
        _ = study_of(make_study, "reflow", epochs=4, equal="time").cells
    with pytest.raises(UserError, match=r"consistency takes as long as 2 epochs: train.epochs must be 2 or more"):
        _ = study_of(make_study, "consistency", epochs=1, equal="time").cells
    assert load("samplers").cells, "the oracle's study, of no epochs"


@pytest.mark.parametrize(
    ("teach", "said"),
    [
        ("progressive(first=6,last=4)", "first=6 is not last=4 doubled"),
        ("progressive(first=128)", r"progressive\(first=128\) needs T of 256 or more, not 128$"),
        ("reflow(steps=200)", r"reflow\(steps=200\) needs T of 200 or more, not 128$"),
        ("reflow", "divides the epochs between two networks: train.epochs must be 2 or more"),
    ],
)
def test_impossible_teachers_are_refused(make_study: Any, teach: str, said: str) -> None:
    with pytest.raises(UserError, match=f"impossible cell: .*{said}"):
        _ = study_of(make_study, teach, epochs=1).cells


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"teach": ["meanflow"]}, "teach meanflow needs a network that is told of a second time .*, not unet"),
        ({"sampler": ["jump"]}, "sampler jump needs a network that has learned to jump .teach: meanflow, shortcut."),
        (
            {"sampler": ["renoise"]},
            r"sampler renoise in 2 steps needs a network whose x̂₀ is a sample \(teach: consistency, progressive, "
            r"reflow\): that of data is a mean. Exclude it, or take one step$",
        ),
        (
            {"teach": ["meanflow"], "net": ["unet(second_time=true)"], "T": [2], "schedule": ["cosine"]},
            "teach meanflow needs T of 3 or more",
        ),
        (
            {"teach": ["consistency"], "net": ["unet(variance=true)"]},
            r"net unet\(variance=true\) learns its variance from the bound, where x̂₀ is a mean \(teach: data\): "
            "that of consistency is not$",
        ),
        ({"teach": ["shortcut"], "net": ["dit(second_time=true,variance=true)"]}, "net dit.* that of shortcut is not$"),
    ],
)
def test_what_needs_another_way_to_teach(make_study: Any, axes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"impossible cell: {said}"):
        _ = make_study(**{"net": ["unet"], "objective": ["v"], "sampler": ["ddim"], "sample_steps": [2]} | axes).cells


def test_what_may_be_renoised(make_study: Any) -> None:
    """In one step every x̂₀, as any sampler gives; in more that of networks which map noise to samples."""
    plain = make_study(objective=["v"], sampler=["renoise"], sample_steps=[1], teach=list(TEACH), T=[128],
                       net=["unet(second_time=true)"]).cells  # fmt: skip
    assert len(plain) == len(TEACH)
    maps = [name for name in TEACH if make_teach(name).maps]
    assert len(make_study(objective=["v"], sampler=["renoise"], teach=maps, T=[128]).cells) == len(maps) == 3


class TwoTimes(TinyNet):
    """A tiny network that is told of a second time."""

    def __init__(self, channels: int = 1, side: int = 28, *, second_time: bool = True) -> None:
        super().__init__(channels, side)
        assert second_time

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, C, H, W), (B,) or (B, 2) → (B, C, H, W)."""
        return super().forward(x, u if u.ndim == 1 else 3 * u[:, 0] - 2 * u[:, 1])


def test_jumps_share_no_first_output(world: World, make_study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network says of x_T depends on where it is asked to go. Other cells change none of a cell's bytes."""
    monkeypatch.setitem(NETS, "two", TwoTimes)
    about: dict[str, Any] = {"net": ["two"], "objective": ["flow"], "teach": ["shortcut"], "sampler": ["ddim", "jump"]}
    study = make_study(**about, sample_steps=[1, 2], budget={"epochs": 1, "images": 64})
    assert len(study.jobs) == 1
    assert len(study.cells) == 4
    list(run_study(study, world.store, OPTIONS))
    drawn = {cell.label: world.store.load_samples(cell.key) for cell in study.cells}
    one, two = (drawn[f"jump {steps} steps"] for steps in (1, 2))
    assert one is not None
    assert two is not None
    alone = trained_network(study.cells[2], world.store, torch.device("cpu"))
    assert (alone.sample(20, seed=0).numpy() == one[0]).all()
    assert (one[0] != two[0]).any()
    plain = study.cells[2].model_copy(update={"job": study.cells[2].job.model_copy(update={"teach": Variant("data")})})
    with pytest.raises(UserError, match="sampler jump needs a network that has learned to jump"):
        Trained(plain, TwoTimes()).sample(20)


def test_the_teacher_comes_first_and_is_counted(world: World, make_study: Any) -> None:
    study = study_of(make_study, "data", "reflow(steps=2)", "progressive(first=2)")
    teacher = study.cells[1].job.teacher
    assert teacher == study.cells[2].job.teacher, "one teacher for both"
    before = plan(study, world.store, detail=True)
    assert (before.jobs, before.left, before.detail[0].key) == (4, 4, teacher.key)
    assert next(Specs(study, world.store, OPTIONS)).only_train
    events = list(run_study(study, world.store, OPTIONS))
    done = [event.job for event in events if isinstance(event, JobDone)]
    assert done[0] == teacher.key
    assert len(done) == 4
    record = world.store.read(JobRecord, done[1])
    first = world.store.read(JobRecord, teacher.key)
    assert isinstance(first, TrainedJob)
    for cell in study.cells[1:]:
        record = world.store.read(JobRecord, cell.job.key)
        assert isinstance(record, TrainedJob)
        assert (len(first.epochs), len(record.epochs)) == (2, 1)
        assert record.teacher_images == 2 * 64
        assert record.teacher_s == pytest.approx(sum(epoch.seconds for epoch in first.epochs))
        assert training(record)["train_s"] == pytest.approx(record.teacher_s + record.epochs[0].seconds)
        assert record.flops_per_image.train > first.flops_per_image.train
    plain = world.store.read(JobRecord, study.cells[0].job.key)
    assert isinstance(plain, TrainedJob)
    assert "teacher_s" not in plain.as_json()
    assert not pending(study, world.store, retry=False)
    assert plan(study, world.store).jobs == 3


def test_the_student_starts_as_its_teacher(world: World, make_study: Any) -> None:
    """With a learning rate of next to nothing it still is."""
    study = study_of(make_study, "reflow(steps=1)", epochs=2, lr=1e-12)
    list(run_study(study, world.store, OPTIONS))
    job = study.cells[0].job
    student, _ = trained(job, world.store)
    teacher, _ = taught_by(job, world.store)
    assert student.keys() == teacher.keys()
    assert all(torch.allclose(student[name], teacher[name], atol=1e-6) for name in teacher)


def test_a_teacher_that_failed_is_named_in_one_line(world: World, make_study: Any) -> None:
    study = study_of(make_study, "reflow")
    (cell,) = study.cells
    with pytest.raises(UserError, match=f"its teacher is not trained .job {cell.job.teacher.key}, [^\n]*$"):
        taught_by(cell.job, world.store)
    teacher = cell.model_copy(update={"job": cell.job.teacher})
    record_failure([teacher], world.store, "diverged: the mean loss of epoch 1 is nan", torch.device("cpu"))
    assert [found[0].cell.job for found in pending(study, world.store, retry=False).values()] == [cell.job]
    *_, ended = run_study(study, world.store, OPTIONS)
    (failure,) = ended.failures
    assert failure.job == cell.job.key
    assert failure.reason.endswith("): diverged: the mean loss of epoch 1 is nan")
    assert len(pending(study, world.store, retry=True)) == 2


def test_a_student_waits_while_somebody_is_at_its_teacher(world: World, make_study: Any) -> None:
    from filelock import FileLock

    (cell,) = study_of(make_study, "reflow").cells
    path: Path = world.store.path("locks", cell.job.teacher.key, ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path, thread_local=False):
        assert waits(cell.job, world.store)
    assert not waits(cell.job, world.store)


def test_two_workers_do_not_overtake_a_teacher(world: World, make_study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool starts the student when the teacher is gone, other jobs before."""
    from bench.execute import local

    study = study_of(make_study, "reflow", "data")
    started: list[str] = []

    class Immediate:
        """In place of a process: ends when it is looked at."""

        def __init__(self, spec: Any, slot: str, said: Any) -> None:
            self.spec, self.slot, self.ended, self.pid = spec, slot, False, 1
            started.append(spec.key)
            if len(started) > 1:
                for worker in workers:
                    said.put((worker, JobDone(job=worker.spec.key, label="", overhead=None)))
                    said.put((worker, None))
            workers.append(self)
            if len(started) > 2:
                said.put((self, JobDone(job=spec.key, label="", overhead=None)))
                said.put((self, None))

        def wait(self) -> int:
            """Its exit code."""
            return 0

        def terminate(self) -> None:
            """Nothing to end."""

        def end(self) -> None:
            """Nothing to end."""

    workers: list[Any] = []
    monkeypatch.setattr(local, "Worker", Immediate)
    specs = Specs(study, world.store, OPTIONS)
    pool = local.Local(Options("cpu", workers=2, threads=1), world.store.root)
    events = list(pool.run(specs, stop=threading.Event()))
    reflow, data = (cell.job for cell in study.cells)
    assert started == [reflow.teacher.key, data.key, reflow.key]
    assert [event.job for event in events if isinstance(event, Started)] == started
