"""A job: what it does, skips, repairs and records."""

from __future__ import annotations

import io
import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from filelock import FileLock
from torch import nn

from bench.analysis.frames import Results
from bench.analysis.table import rows
from bench.execute.schedule import pending
from bench.images.datasets import Images
from bench.images.grids import png, tile_grid
from bench.job import checkpoints, engine, process, sampling, training
from bench.job.engine import Calls, Chosen, Wish, Work
from bench.job.events import BUSY, Elsewhere, EpochDone, Event, Failed, Preparing, Refused, Resumed
from bench.job.failures import reason_of
from bench.job.run import run
from bench.job.setting import Setting
from bench.job.spec import JobSpec
from bench.job.stages import Stages
from bench.machine import clocks, memory
from bench.machine.clocks import HostClock
from bench.score import classifier, own
from bench.score.scorer import Scorer
from bench.store.records import CellRecord, JobRecord, ScoredCell, TrainedJob, Trial
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.model import Cell
from bench.study.study import Score, Study
from ddpm.nets import make_net
from ddpm.schedule import make_schedule
from tests.pretend import StaticOutput

if TYPE_CHECKING:
    from tests.conftest import World

CPU = torch.device("cpu")
ARTEFACTS = ("jobs/*.json", "cells/*.json", "cells/*.png", "samples/*.npz", "checkpoints/*.safetensors")


def cells_of(study: Study) -> list[Cell]:
    return next(iter(study.jobs.values()))


def events(cells: list[Cell], store: Store, **options: Any) -> list[str]:
    """The kinds of what a job says."""
    return [event.event for event in run(cells, store, device=CPU, **options)]


def content(store: Store, cells: list[Cell]) -> list[bytes]:
    """The bytes of samples and weights."""
    kept = store.load_tensors(Checkpoint, cells[0].job.key)
    assert kept is not None
    weights = [value.numpy().tobytes() for _, value in sorted(kept[0].items())]
    samples = [store.load_samples(cell.key) for cell in cells]
    return weights + [kept[0].tobytes() for kept in samples if kept is not None]


def test_a_job_leaves_every_artefact_and_then_does_nothing(world: World, tiny_study: Study) -> None:
    cells = cells_of(tiny_study)
    first = events(cells, world.store)
    assert first.count("epoch") == 3
    assert first.count("cell") == 2
    assert first[-1] == "done"
    assert all(list(world.store.root.glob(pattern)) for pattern in ARTEFACTS)
    assert not list(world.store.root.glob("resume/*"))
    again = events(cells, world.store)
    assert not {"epoch", "stepped", "drawn", "cell"} & set(again)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_resuming_is_bit_identical(world: World, tiny_study: Study, tmp_path: Path, stop_after: int) -> None:
    cells = cells_of(tiny_study)
    torch.set_num_threads(1)
    list(run(cells, world.store, device=CPU))
    cut = Store(tmp_path / "cut")
    job = run(cells, cut, device=CPU)
    for event in job:
        if isinstance(event, EpochDone) and event.epoch == stop_after:
            break
    job.close()
    resumed = [event for event in run(cells, cut, device=CPU) if isinstance(event, Resumed | EpochDone)]
    assert [event.epoch for event in resumed] == [stop_after, *range(stop_after + 1, 4)]
    assert content(cut, cells) == content(world.store, cells)
    record = cut.read(JobRecord, cells[0].job.key)
    assert isinstance(record, TrainedJob)
    assert [epoch.warm for epoch in record.epochs].count(False) == 2, "each process's first epoch is apart"


@pytest.mark.parametrize(
    ("pattern", "redone"),
    [
        ("jobs/*.json", {"epoch"}),
        ("checkpoints/*.safetensors", {"epoch"}),
        ("cells/*.json", {"cell"}),
        ("samples/*.npz", {"drawn", "cell"}),
    ],
)
def test_damage_is_repaired_and_reported(world: World, tiny_study: Study, pattern: str, redone: set[str]) -> None:
    cells = cells_of(tiny_study)
    list(run(cells, world.store, device=CPU))
    before = content(world.store, cells)
    path = next(world.store.root.glob(pattern))
    path.write_bytes(path.read_bytes()[:-9])
    seen = set(events(cells, world.store)) & {"epoch", "drawn", "cell"}
    assert seen == redone
    assert path in world.store.damaged
    assert content(world.store, cells) == before


def test_a_lost_record_of_a_sampled_cell_is_scored_without_sampling(world: World, tiny_study: Study) -> None:
    cells = cells_of(tiny_study)
    list(run(cells, world.store, device=CPU))
    path = world.store.path("cells", cells[0].key, ".json")
    before = json.loads(path.read_text())["record"]["metrics"]
    path.unlink()
    assert not {"epoch", "drawn"} & set(events(cells, world.store))
    assert json.loads(path.read_text())["record"]["metrics"] == before


def test_another_classifier_scores_the_same_samples_again(world: World, tiny_study: Study) -> None:
    cells = cells_of(tiny_study)
    list(run(cells, world.store, device=CPU))
    new = world.pin(1)
    assert {row["status"] for row in rows(tiny_study, world.store)[:2]} == {"stale"}
    seen = events(cells, world.store)
    assert seen.count("cell") == 2
    assert "drawn" not in seen
    assert {row["classifier"] for row in rows(tiny_study, world.store)[:2]} == {new[:12]}


def test_durations_of_a_shared_device_stay_out_of_the_table(world: World, tiny_study: Study) -> None:
    list(run(cells_of(tiny_study), world.store, device=CPU, exclusive=False))
    row = rows(tiny_study, world.store)[0]
    assert row["status"] == "done"
    assert [row[k] for k in ("epoch_s", "train_images_per_s", "sample_images_per_s", "train_s", "sample_s")] == [
        None
    ] * 5


def test_the_table_has_the_numbers_of_the_records(world: World, tiny_study: Study) -> None:
    cells = cells_of(tiny_study)
    list(run(cells, world.store, device=CPU))
    done, *_, missing = rows(tiny_study, world.store)
    record = world.store.read(JobRecord, cells[0].job.key)
    assert isinstance(record, TrainedJob)
    warm = sorted(epoch.seconds for epoch in record.epochs[1:])
    assert done["epoch_s"] == pytest.approx(sum(warm) / 2)
    assert done["train_images_per_s"] == pytest.approx(256 / done["epoch_s"])
    assert done["first_epoch_s"] == record.epochs[0].seconds
    assert done["params"] == sum(p.numel() for p in make_net("tiny", 1, 28).parameters())
    assert done["fid_ceiling"] is not None
    assert missing["status"] == "missing"
    assert missing["fid"] is None


def test_overhead_is_what_is_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([110.0, 120.0])
    monkeypatch.setattr(time, "time", lambda: next(now))
    stages = Stages(100.0)
    stages.seconds = {"start": 2.0, "load": 1.0}
    stages.add("train", 102.0)
    assert stages.summary(None).overhead == pytest.approx(1 - 8 / 20)


def test_a_failing_cell_does_not_stop_the_others(
    world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sampling.generate

    def broken(*args: Any, **kwargs: Any) -> Any:
        if args[3].sampler == "ancestral":
            raise FloatingPointError("diverged while sampling")
        return whole(*args, **kwargs)

    monkeypatch.setattr(sampling, "generate", broken)
    list(run(cells_of(tiny_study), world.store, device=CPU))
    first, second = rows(tiny_study, world.store)[:2]
    assert (first["status"], first["reason"]) == ("failed", "diverged while sampling")
    assert second["status"] == "done"


def as_process(cells: list[Cell], store: Store) -> tuple[int, list[Event]]:
    """Do what the job's process does, here: its exit code and events."""
    store.writable()
    said: list[Event] = []
    return process.work(JobSpec(cells=tuple(cells), results=store.root, device="cpu"), said.append), said


def test_divergence_is_recorded(world: World, make_study: Any) -> None:
    study = make_study(budget={"lr": 1e30})
    code, said = as_process(cells_of(study), world.store)
    assert code == 1
    assert isinstance(said[-1], Failed)
    row = rows(study, world.store)[0]
    assert row["status"] == "failed"
    assert row["reason"].startswith("diverged: the mean loss of epoch")


def test_a_busy_job_is_left_alone(world: World, tiny_study: Study) -> None:
    cells = cells_of(tiny_study)
    world.store.writable()
    with FileLock(world.store.path("locks", cells[0].job.key, ".lock")):
        code, said = as_process(cells, world.store)
    assert code == BUSY
    assert [type(event) for event in said] == [Elsewhere], "it says so itself too"
    assert not (world.store.root / "jobs").exists()


def test_a_job_ends_when_nobody_listens(world: World, tiny_study: Study) -> None:
    """Whoever started it is gone: it stops at its next event, and that is not a failure of the job."""

    def closed(event: object) -> None:
        raise BrokenPipeError

    cells = cells_of(tiny_study)
    world.store.writable()
    assert process.work(JobSpec(cells=tuple(cells), results=world.store.root, device="cpu"), closed) == 1
    assert not (world.store.root / "jobs").exists()


def test_a_users_mistake_is_refused_with_its_line(world: World, make_study: Any) -> None:
    study = make_study(n=201)
    code, said = as_process(cells_of(study), world.store)
    assert code == 2
    assert isinstance(said[-1], Refused)
    assert "n=201" in said[-1].reason
    row = rows(study, world.store)[0]
    assert (row["status"], row["reason"]) == ("failed", said[-1].reason)
    assert pending(study, world.store, retry=False).keys() == study.jobs.keys(), "the next run tries it again"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to\nmore"), "out of memory: CUDA out of memory. Tried to"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9"), "out of memory: [enforce"),
        (FloatingPointError("diverged: x"), "diverged: x"),
        (KeyError("k"), "crashed: KeyError: 'k'"),
    ],
)
def test_reasons_are_one_line(error: Exception, reason: str) -> None:
    assert reason_of(error).startswith(reason)
    assert "\n" not in reason_of(error)


def test_grid_and_png() -> None:
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    grid = tile_grid(images, 2)
    assert grid.tolist() == [[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 0, 0], [2, 2, 0, 0]]]
    from PIL import Image

    with Image.open(io.BytesIO(png(grid))) as picture:
        assert picture.size == (4, 4)
        assert picture.getpixel((0, 2)) == 2


def test_a_crash_after_training_costs_no_training(
    world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the cells' failure: the training's record stays, and the next run only samples."""
    cells = cells_of(tiny_study)
    with monkeypatch.context() as broken:
        broken.setattr(sampling, "generate", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
        code, _ = as_process(cells, world.store)
    assert code == 1
    record = world.store.read(JobRecord, cells[0].job.key)
    assert isinstance(record, TrainedJob)
    assert record.status == "done"
    found = rows(tiny_study, world.store)[: len(cells)]
    assert [(row["status"], row["reason"]) for row in found] == [("failed", "out of memory")] * len(cells)
    assert "epoch" not in events(cells, world.store)
    assert {row["status"] for row in rows(tiny_study, world.store)[: len(cells)]} == {"done"}


def test_epochs_of_other_code_are_not_gone_on_from(
    world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = cells_of(tiny_study)
    job = run(cells, world.store, device=CPU)
    next(event for event in job if isinstance(event, EpochDone))
    job.close()
    monkeypatch.setattr(training, "code_hash", lambda: "other")
    seen = events(cells, world.store)
    assert "outdated" in seen
    assert "resumed" not in seen
    assert seen.count("epoch") == 3


def test_samples_are_of_the_averaged_weights(world: World, tiny_study: Study) -> None:
    cells = cells_of(tiny_study)
    list(run(cells, world.store, device=CPU))
    kept, samples = world.store.load_tensors(Checkpoint, cells[0].job.key), world.store.load_samples(cells[0].key)
    assert kept is not None
    assert samples is not None
    net = make_net("tiny", 1, 28).eval()
    schedule = make_schedule(cells[0].job.schedule, cells[0].job.T)
    drawn = {}
    for which in ("ema", "net"):
        net.load_state_dict({k[4:]: v for k, v in kept[0].items() if k.startswith(f"{which}.")})
        batches = sampling.generate(
            net, schedule, cells[0].job.objective, cells[0].sampling, shape=(1, 28), n=20, device=CPU
        )
        drawn[which] = torch.cat([batch.images for batch in batches]).numpy()
    assert (drawn["ema"] == samples[0]).all()
    assert not (drawn["net"] == samples[0]).all()


def test_a_network_that_knows_classes(world: World, make_study: Any) -> None:
    """Trained with them, sampled with and without: only cells that asked for a class say whether it is there."""
    study = make_study(
        budget={"epochs": 2},
        net=["unet(width=8,inner=32,classes=10)"],
        objective=["v"],
        sampler=["ddim"],
        guidance=[None, 1.0, 3.0],
    )
    (cells,) = study.jobs.values()
    assert events(cells, world.store).count("cell") == 3
    found = rows(study, world.store)
    assert [row["guidance"] for row in found] == [None, 1.0, 3.0]
    assert found[0]["class_accuracy"] is None
    assert all(0 <= row["worst_class_accuracy"] <= row["class_accuracy"] <= 1 for row in found[1:])
    samples = [world.store.load_samples(cell.key) for cell in cells]
    assert len({one[0].tobytes() for one in samples if one is not None}) == 3


def test_the_likelihood_of_test_images(world: World, make_study: Any) -> None:
    """Worked out once, of a training run that may be done already, and kept with it; nothing is trained for it."""
    study = make_study(objective=["eps"], sampler=["ddim"])
    (cells,) = study.jobs.values()
    list(run(cells, world.store, device=CPU))
    assert rows(study, world.store)[0]["flow_bpd"] is None
    asked = study.model_copy(update={"score": Score(n=20, likelihood=8)})
    assert [c.key for c in asked.cells] == [c.key for c in study.cells]
    assert not pending(study, world.store, retry=False)
    assert pending(asked, world.store, retry=False)
    assert "epoch" not in events(cells, world.store, likelihood_of=8)
    assert not pending(asked, world.store, retry=False)
    record = world.store.read(JobRecord, cells[0].job.key)
    assert isinstance(record, TrainedJob)
    found = record.likelihood
    assert found is not None
    assert found.n == 8
    assert len(found.terms) == 100
    assert found.bound == pytest.approx(found.prior + sum(found.terms), rel=1e-5)
    assert found.decoder == pytest.approx(found.terms[0], rel=1e-5)
    row = rows(study, world.store)[0]
    assert (row["bound_bpd"], row["flow_bpd"]) == (found.bound, found.flow)
    assert all(row[f"{name}_bpd_se"] > 0 for name in ("bound", "flow"))


def test_a_classifier_cut_short_is_trained_again(world: World, own_classifier: None) -> None:
    """A data set without a pinned one keeps its own in the store, checked like everything there."""
    sha256 = Scorer("mnist", world.images, world.store, CPU).classifier
    path = own.path_of("mnist", world.store)
    before = path.stat().st_mtime_ns
    assert Scorer("mnist", world.images, world.store, CPU).classifier == sha256
    assert path.stat().st_mtime_ns == before
    path.write_bytes(path.read_bytes()[:-9])
    assert Scorer("mnist", world.images, world.store, CPU).classifier == sha256
    assert world.store.damaged == [path]
    assert classifier.load(path, sha256, build=classifier.RECIPE.network)


def test_a_data_set_s_own_classifier_is_told_of_and_its_accuracy_recorded(
    world: World, tiny_study: Study, own_classifier: None
) -> None:
    cells = cells_of(tiny_study)
    events = list(run(cells, world.store, device=CPU))
    told = [event for event in events if isinstance(event, Preparing)]
    assert told[0].what == "training the classifier of mnist"
    record = world.store.read(CellRecord, cells[0].key)
    assert isinstance(record, ScoredCell)
    scorer = Scorer("mnist", world.images, world.store, CPU)
    assert record.accuracy == scorer.accuracy is not None
    assert record.metrics.keys() >= {"fid", "pixel_distance", "spectrum_distance"}
    assert record.chance == scorer.chance == world.images.test_labels.bincount().max().item() / len(world.images.test)
    results = Results(tiny_study, world.store)
    assert results.accuracy == record.accuracy
    assert {kept.chance for kept in results.kept.values()} == {record.chance}


def test_cells_share_what_the_network_says_of_the_start(
    world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cells of four steps: seven evaluations, whose time is in both cells' durations; and alone the same bytes."""
    cells = cells_of(tiny_study)
    counted = []
    plain = engine.choose

    def counting(work: Work, *rest: Any) -> Chosen:
        chosen = plain(work, *rest)
        if work.task == "train":
            return chosen
        return chosen._replace(net=lambda x, u: counted.append(1) or chosen.net(x, u))

    monkeypatch.setattr(engine, "choose", counting)
    list(run(cells, world.store, device=CPU))
    assert len(counted) == 4 + 4 - 1
    whole = content(world.store, cells)
    for kind, suffix in (("cells", ".json"), ("samples", ".npz")):
        world.store.path(kind, cells[1].key, suffix).unlink()
    list(run(cells, world.store, device=CPU))
    assert len(counted) == 7 + 4, "one cell has nobody to share with"
    assert content(world.store, cells) == whole


def drawing_of(cells: list[Cell], images: Images, net: nn.Module) -> sampling.Sampling:
    """What draws the samples of these cells, which is ready."""
    job = cells[0].job
    schedule, store = make_schedule(job.schedule, job.T), Store(Path("nowhere"))
    drawing = sampling.Sampling(Setting(job, images, schedule, store, CPU, True, Stages(0.0), Wish("eager")), net)
    drawing.prepare(cells)
    return drawing


def test_shared_time_is_part_of_every_cells_durations(
    world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that adds a second at every look: a second for x_T, a second for the rest, of each tile."""
    cells = [cell.model_copy(update={"n": 250}) for cell in cells_of(tiny_study)]
    monkeypatch.setattr(clocks, "make_clock", lambda device: HostClock(now=iter(range(1000)).__next__))
    net = make_net("tiny", 1, 28).eval()
    drawing = drawing_of(cells, world.images, net)
    assert [seconds for _, seconds in drawing.draw(cells[0], None)] == [2, 2, 2]
    assert [seconds for _, seconds in drawing.draw(cells[0], 200)] == [3, 2]
    drawing = drawing_of(cells[:1], world.images, net)
    assert [seconds for _, seconds in drawing.draw(cells[0], None)] == [1, 1, 1]


def test_peak_memory_is_of_the_training_or_the_cell_alone(
    world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device on which training takes 900 MB, scoring 500, sampling 100 for the first cell and 200 for the next."""
    cells, peak, cell_mb = cells_of(tiny_study), [0.0], iter((100.0, 200.0))

    def using(megabytes: float) -> None:
        peak[0] = max(peak[0], megabytes)

    plain_draw, plain_extract, plain_steps = sampling.generate, classifier.extract, training.Trainer.steps
    monkeypatch.setattr(sampling, "generate", lambda *a, **k: using(next(cell_mb)) or plain_draw(*a, **k))
    monkeypatch.setattr(classifier, "extract", lambda *a, **k: using(500.0) or plain_extract(*a, **k))
    monkeypatch.setattr(
        training.Trainer, "steps", lambda *a, **k: (using(900.0) or one for one in plain_steps(*a, **k))
    )
    monkeypatch.setattr(memory, "reset_peak", lambda device: peak.__setitem__(0, 7.0))
    monkeypatch.setattr(memory, "peak_device_mb", lambda device: peak[0])
    using(3000.0)  # what somebody did before
    list(run(cells, world.store, device=CPU))
    records = [world.store.read(CellRecord, cell.key) for cell in cells]
    assert [record.sampling.peak_device_mb for record in records if isinstance(record, ScoredCell)] == [100, 200]
    trained = world.store.read(JobRecord, cells[0].job.key)
    assert isinstance(trained, TrainedJob)
    assert trained.peak_device_mb == 900


@pytest.mark.parametrize("shared", [1, 2])
def test_an_engine_that_returns_the_same_memory_each_time(
    shared: int, world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samples of several tiles, sharing their first evaluation or not, are those of an engine that does not."""
    cells = [cell.model_copy(update={"n": 230}) for cell in cells_of(tiny_study)]
    torch.manual_seed(0)
    net = make_net("tiny", 1, 28).eval()
    drawn, captured, plain = [], StaticOutput(net), engine.choose
    for choose in (plain, lambda *work: plain(*work)._replace(net=captured)):
        monkeypatch.setattr(engine, "choose", choose)
        drawing = drawing_of(cells[:shared], world.images, net)
        batches = [batch for cell in cells for batch, _ in drawing.draw(cell, 200)]
        drawn.append(torch.cat([batch.images for batch in batches]))
    assert len(drawn[0]) == 2 * 230
    assert torch.equal(*drawn)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_job_gives_the_same_pictures(world: World, tiny_study: Study, tmp_path: Path) -> None:
    cells = cells_of(tiny_study)
    list(run(cells, world.store, device=CPU))
    compiled = Store(tmp_path / "compiled")
    list(run(cells, compiled, device=CPU, wish=Wish("compiled")))
    torch.compiler.reset()
    record = compiled.read(JobRecord, cells[0].job.key)
    assert isinstance(record, TrainedJob)
    assert record.engine.engine == "compiled"
    assert record.harness[0].stages_s["compile"] > 0
    for cell in cells:
        here, there = compiled.load_samples(cell.key), world.store.load_samples(cell.key)
        assert here is not None
        assert there is not None
        assert here[1].engine.engine == "compiled"
        assert there[1].engine.engine == "eager"
        assert abs(here[0].astype(int) - there[0].astype(int)).max() <= 2


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_trying_engines_is_a_stage_of_its_own(world: World, tiny_study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work, done once for the study, and not what each job takes to warm up."""

    def slow(work: Work, names: list[str]) -> dict[str, Trial]:
        time.sleep(0.2)
        return {name: Trial(failed="made up") for name in names}

    monkeypatch.setattr(engine, "trial", slow)
    amount = Calls(10, 10**9)
    list(run(cells_of(tiny_study), world.store, device=CPU, wish=Wish("auto", {"train": amount, "sample": amount})))
    record = world.store.read(JobRecord, cells_of(tiny_study)[0].job.key)
    assert isinstance(record, TrainedJob)
    stages = record.harness[0].stages_s
    assert stages["trial"] >= 0.4 > stages["compile"]
    assert record.engine.why == "nothing else saves time"


def test_the_oracle_samples_without_training(world: World, make_study: Any) -> None:
    """A job of the data's exact denoiser: no epochs, samples that are training images, and nothing done twice."""
    study = make_study(
        net=["oracle"], objective=["eps"], sampler=["ddim", "heun"], sample_steps=[30], spacing=["trailing"],
        clip=["dynamic"], n=40, budget={"epochs": 0, "images": 100},
    )  # fmt: skip
    cells = cells_of(study)
    seen = events(cells, world.store)
    assert "epoch" not in seen
    assert seen.count("cell") == 2
    record = world.store.read(JobRecord, cells[0].job.key)
    assert isinstance(record, TrainedJob)
    assert (record.epochs, record.params, record.flops_per_image.train) == ((), 0, 0)
    kept = world.store.load_samples(cells[0].key)
    assert kept is not None
    drawn = torch.from_numpy(kept[0]).flatten(1).double()
    nearest = torch.cdist(drawn, world.images.train[:100].flatten(1).double()).min(1).values
    assert float(nearest.median()) < 100, "less than 4 levels a pixel from the nearest image"
    assert not {"drawn", "cell"} & set(events(cells, world.store))
    first, second, *_ = rows(study, world.store)
    assert (first["status"], first["epochs"], first["train_s"], first["epoch_s"]) == ("done", 0, 0, None)
    assert (first["evaluations"], second["evaluations"]) == (30, 59)
    assert (first["spacing"], first["clip"], first["clipping"]) == ("trailing", True, "dynamic")


def test_first_outputs_are_shared_by_what_starts_at_the_end(world: World, make_study: Any) -> None:
    """A spacing that starts below T evaluates its own first step; samples are those of each cell alone."""
    study = make_study(objective=["eps"], sampler=["ddim"], spacing=["linspace", "leading", "trailing"])
    cells = cells_of(study)
    list(run(cells, world.store, device=CPU))
    for cell in cells:
        alone = Store(world.store.root.parent / cell.sampling.spacing.text)
        shutil.copytree(world.store.root / "checkpoints", alone.root / "checkpoints")
        shutil.copytree(world.store.root / "jobs", alone.root / "jobs")
        list(run([cell], alone, device=CPU))
        together, apart = world.store.load_samples(cell.key), alone.load_samples(cell.key)
        assert together is not None
        assert apart is not None
        assert (together[0] == apart[0]).all()


def test_every_choice_of_t_trains_and_the_bound_is_recorded(world: World, make_study: Any) -> None:
    study = make_study(objective=["eps"], timesteps=["uniform", "importance"], weight=["vlb"], sampler=["ddim"])
    for cells in study.jobs.values():
        list(run(cells, world.store, device=CPU))
        record = world.store.read(JobRecord, cells[0].job.key)
        assert isinstance(record, TrainedJob)
        assert all(0 < epoch.bpd_se < epoch.bpd for epoch in record.epochs)
    uniform, important = rows(study, world.store)
    assert (uniform["timesteps"], important["timesteps"]) == ("uniform", "importance")
    assert uniform["bpd"] != important["bpd"]


def test_averages_of_any_length_from_one_training_run(world: World, make_study: Any) -> None:
    """Cells of several lengths share a training run; each draws what its own weights draw; a lost snapshot retrains."""
    study = make_study(
        objective=["eps"], sampler=["ddim"], sample_steps=[4, 8], ema=[None, 0.05, 0.2], budget={"snapshots": 4}
    )
    cells = cells_of(study)
    list(run(cells, world.store, device=CPU))
    assert len(list(world.store.root.glob("snapshots/*"))) == 4
    samples = {cell.label: world.store.load_samples(cell.key) for cell in cells}
    drawn = {label: kept[0].tobytes() for label, kept in samples.items() if kept is not None}
    assert len(set(drawn.values())) == len(cells) == 6
    weights = checkpoints.averaged(cells[0].job, world.store, 0.2)
    own = checkpoints.averaged(cells[0].job, world.store, None)
    assert weights.keys() == own.keys()
    assert not torch.equal(weights["first.weight"], own["first.weight"])
    world.store.path("samples", cells[4].key, ".npz").unlink()
    world.store.path("cells", cells[4].key, ".json").unlink()
    assert "epoch" not in events(cells, world.store)
    again = world.store.load_samples(cells[4].key)
    assert again is not None
    assert again[0].tobytes() == drawn[cells[4].label]
    assert {row["ema"] for row in rows(study, world.store)} == {None, 0.05, 0.2}
    damaged = min(world.store.root.glob("snapshots/*"))  # in its middle: its header says that all is well
    content = bytearray(damaged.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    damaged.write_bytes(content)
    assert "epoch" in events(cells, world.store)
