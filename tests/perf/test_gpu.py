"""perf.gpu on a CPU: every line of every section, what is kept when it is cut off, what it needs to be installed."""

from __future__ import annotations

import ast
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import files
from bench.errors import UserError
from bench.gate import change
from bench.gate.subject import Subject
from bench.job import engine, run
from bench.job.engine import Engine
from bench.job.events import Event, Planned
from bench.paths import ROOT
from bench.score.scorer import Scorer
from bench.store.store import Store
from bench.study import load
from bench.study.study import Study
from perf import record as perf_record
from perf.gpu import ahead, budget, card, jobs, kernels, peers, sampling, scoring, sections, training
from perf.gpu.__main__ import card_name, main
from perf.gpu.budget import Budget, NoTimeError, OutOfTime
from perf.gpu.record import File, Row, Run, Section, read
from perf.gpu.sections import SECTIONS, Plan, deadlines, measure
from perf.gpu.session import SMALL, Session
from perf.peers.contender import Setting

ORDER = ["card", "scorenet", "unet", "sampling", "quick", "peers", "scoring", "demo"]
CPU = torch.device("cpu")
TINY = replace(
    SMALL,
    matmul=(32,),
    matmul_bfloat16=(16,),
    convolutions=((4, 2),),
    copied=1000,
    batches=(64, 32),
    tiles=(100, 50),
    scored=100,
    all_metrics=(50,),
    peers_drawn=2,
    peers_batch=4,
    repeats=2,
    each_s=1e-4,
    most_calls=2,
    sample_steps=2,
    profiled=1,
    scorenet_batch=64,
    demo_epochs=2,
    net="tiny",
    demo_net="tiny",
)


def make_file(path: Path, names: list[str] = ORDER) -> File:
    about = {
        "command": "python -m perf.gpu",
        "created": "2026-01-02T03:04:05+00:00",
        "environment": {"gpu": None, "processor": "A Processor", "torch": "2.x", "cores": 2, "threads": 2,
                        "commit": "c0ffee" * 7, "dirty": False},
    }  # fmt: skip
    made = [Section(name=name, title=name.title()) for name in names]
    return File(path, Run(name=path.stem, device="cpu", minutes=1, seed=0, sections=made, **about))


@pytest.fixture
def session(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session on tiny images, networks and sizes, with two engines: eager, and one that only seems to compile."""
    engines = {"eager": Engine(), "compiled": Engine("default")}
    for module in (engine, training, peers):
        monkeypatch.setattr(module, "ENGINES", engines)
    monkeypatch.setattr("perf.gpu.session.ENGINES", engines)
    monkeypatch.setattr(torch, "compile", lambda net, **_: net)
    monkeypatch.setattr(training, "quick_recipe", dict)  # Muon finds no matrix in the tiny network
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    file = make_file(tmp_path / "results" / "gpu-test.json")
    return Session(CPU, TINY, file, Budget(time.monotonic() + 1000), scratch)


def rows_of(session: Session, name: str) -> list[Row]:
    """What a section finds; the rows go into the session's file, as later sections read them there."""
    section = next(one for one in session.file.run.sections if one.name == name)
    session.file.begin(section, 1.0)
    for row in SECTIONS[name].measure(session):
        session.file.add(section, row)
    return section.rows


def figures(rows: list[Row], name: str) -> dict[str, Any]:
    return {row.name: row.found[name] for row in rows if name in row.found}


def failures(rows: list[Row]) -> list[str]:
    return [f"{row.name}: {row.reason}" for row in rows if row.status == "failed"]


# Each section's every line


def test_card(session: Session) -> None:
    rows = rows_of(session, "card")
    assert not failures(rows)
    rates = figures(rows, "rate")
    assert set(rates) == {
        "matmul 32 float32", "matmul 16 bfloat16", "conv3x3 4 wide, 2 images, float32",
        "conv3x3 4 wide, 2 images, bfloat16", "copy",
    }  # fmt: skip
    assert all(value > 0 for value in rates.values())
    assert session.rate("matmul", "float32") == rates["matmul 32 float32"]
    assert session.rate("matmul", "tf32") is None
    assert rows[0].found["torch"] == torch.__version__


def test_nvidia_smi_is_read_by_name(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a machine without it has no such figures."""
    monkeypatch.setattr(Session, "cuda", property(lambda self: True))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="12ab"))
    values = "580.1, P0, 40, 71.5, 700.00, 1980, 2619, 1980, 2619, 81559"
    asked: list[list[str]] = []

    def run_smi(words: list[str], **_: Any) -> Any:
        asked.append(words)
        return SimpleNamespace(stdout=f"{values}\n")

    monkeypatch.setattr(subprocess, "run", run_smi)
    found = card.smi(session)
    assert (found["driver_version"], found["clocks.sm"], found["memory.total"]) == ("580.1", "1980", "81559")
    assert "--id=GPU-12ab" in asked[0]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    assert card.smi(session) == {}


def test_scorenet(session: Session) -> None:
    rows_of(session, "card")
    rows = rows_of(session, "scorenet")
    assert not failures(rows)
    epochs = figures(rows, "epoch_s")
    last = rows[-1]
    assert list(epochs) == ["tiny, eager", "tiny, compiled", last.name]
    fastest = min(("eager", "compiled"), key=lambda name: epochs[f"tiny, {name}"])
    assert last.name == f"the fastest: {fastest}"
    eager = rows[0]
    assert eager.found["whole"] is True
    assert eager.found["steps_timed"] == 256 // 64
    assert eager.raw["seconds"]
    assert eager.found["share_of_matmul"] > 0
    assert last.found["epoch_s"] == min(epochs["tiny, eager"], epochs["tiny, compiled"])
    assert [row.status for row in rows if row.name == "compiling ahead"] == ["not reached"]


def test_unet(session: Session) -> None:
    rows_of(session, "card")
    rows = rows_of(session, "unet")
    assert not failures(rows)
    names = [row.name for row in rows]
    assert names == [
        "tiny, batch 64, eager", "tiny, batch 32, eager", "tiny, batch 64, compiled", "tiny, batch 32, compiled",
        "tiny, batch 64, eager, again",
    ]  # fmt: skip
    for row in rows:
        assert row.found["images_per_s"] == pytest.approx(int(str(row.at["batch"])) / row.found["step_s"])
        assert {"network_s", "share_of_conv3x3", "loss"} <= row.found.keys()
        assert row.raw["seconds"]
        assert row.raw["network_seconds"]


def test_a_step_on_a_card_is_profiled(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where the profiler fails, the step's other figures stay."""
    monkeypatch.setattr(Session, "cuda", property(lambda self: True))
    summary = kernels.Summary(kernels=500.0, launches=20.0, busy_s=0.0, top="a kernel")
    monkeypatch.setattr(kernels, "profile", lambda *_: summary)
    found, _ = training._step(session, "eager", 32)
    assert (found["kernels"], found["launches"], found["idle"], found["top"]) == (500.0, 20.0, 1.0, "a kernel")

    def broken(*_: Any) -> Any:
        raise RuntimeError("no CUPTI")

    monkeypatch.setattr(kernels, "profile", broken)
    found, raw = training._step(session, "eager", 32)
    assert found["top"] == "no profile: crashed: RuntimeError: no CUPTI"
    assert raw["seconds"]


def test_a_batch_that_would_take_too_long_is_not_tried(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def step(session: Session, name: str, batch: int) -> Any:
        calls.append(batch)
        return {"step_s": 1e6}, {}

    monkeypatch.setattr(training, "_step", step)
    rows = list(training.unet(session))
    assert calls == [64, 64]  # the first of each engine
    assert [row.status for row in rows] == ["done", "not reached", "done", "not reached", "not reached"]
    assert "three steps would take about" in str(rows[1].reason)


def test_sampling(session: Session) -> None:
    rows = rows_of(session, "sampling")
    assert not failures(rows)
    drawn = figures(rows, "image_steps_per_s")
    assert list(drawn)[:2] == ["tiny, tile 100, eager", "tiny, tile 100, compiled"]
    assert "tiny, tile 50, eager" in drawn
    assert {"noise alone", "without a network"} <= figures(rows, "step_s").keys()
    from bench.job.generate import TILE

    assert TILE["cpu"] == 100


def test_scoring(session: Session) -> None:
    rows = rows_of(session, "scoring")
    assert not failures(rows)
    assert [row.name for row in rows] == [
        "features", "a reference, from features", "FID, from features", "FID, a part at a time",
        "every metric, from features",
    ]  # fmt: skip
    assert rows[0].at["images"] == 100
    assert all(row.raw["seconds"] for row in rows)


def test_peers_that_are_not_installed_are_named(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "ours": Setting("ours", "tiny", {"net": "tiny"}, {"batch_size": 32, "lr": 1e-3}),
        "theirs/best": Setting("theirs", "big", {}, {"batch_size": 8}),
    }
    monkeypatch.setattr(peers, "settings", lambda: settings)
    monkeypatch.setattr(peers, "EVALUATIONS", 2)
    monkeypatch.setitem(__import__("perf.peers.build", fromlist=["x"]).CONTENDERS, "theirs", ("no_such_library", "X"))
    session.file.run.sections[2].rows = [Row(name="x", at={"engine": "compiled", "batch": 32}, found={"step_s": 0.1})]
    rows = rows_of(session, "peers")
    assert {row.reason for row in rows if row.at["id"] == "theirs/best"} == {
        "crashed: RuntimeError: not installed: no_such_library"
    }
    own = [row for row in rows if row.at["id"] == "ours"]
    assert [row.at["engine"] for row in own] == ["eager", "compiled", "eager"]
    assert [row.at["batch"] for row in own] == [32, 32, 4]
    for row in own:
        assert row.status == "done", row.reason
        assert row.found["images_per_s"] > 0
        assert row.found["image_steps_per_s"] > 0


def test_the_settings_are_those_of_the_comparison_with_peers() -> None:
    found = peers.settings()
    assert set(found) == {"ours", *(f"{one}/{role}" for one in ("diffusers", "denoising-diffusion-pytorch")
                                    for role in ("best", "documented"))}  # fmt: skip
    assert found["ours"].recipe["optimiser"] == "muon"


@pytest.mark.parametrize("library", ["diffusers", "denoising_diffusion_pytorch"])
def test_peers(session: Session, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    pytest.importorskip(library)
    settings = peers.settings()
    name = f"{library.replace('_', '-')}/best"
    monkeypatch.setattr(peers, "settings", lambda: {name: settings[name].using(batch_size=2)})
    monkeypatch.setattr(peers, "formats", lambda session: ["float32"])
    monkeypatch.setattr(peers, "EVALUATIONS", 2)
    rows = rows_of(session, "peers")
    assert not failures(rows)
    assert all(row.found["step_s"] > 0 and row.found["image_steps_per_s"] > 0 for row in rows)


def in_this_process(study: Study, store: Store, options: Any) -> Iterator[Event]:
    """What :func:`bench.execute.run.run_study` yields, its jobs run here."""
    yield Planned(jobs=len(study.jobs), cells=len(study.cells))
    for cells in study.jobs.values():
        yield from run.run(cells, store, device=CPU)


@pytest.fixture
def here(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session whose jobs run in this process, on a small ``quick`` and a small demo."""
    monkeypatch.setattr(jobs, "run_study", in_this_process)
    plain = load.load
    axes: dict[str, Any] = {
        "net": ["tiny"],
        "schedule": ["linear"],
        "T": [50],
        "sampler": ["ddim"],
        "sample_steps": [2],
    }

    def small(name: str) -> Study:
        whole = plain(name)
        if name == "quick":
            small_axes = axes | {"objective": ["eps", "v"], "seed": [0, 1]}
            return jobs.altered(whole, axes=small_axes, exclude=[], train={"epochs": 1}, score={"n": 20}, claims=[])
        T = {"T": [30, 25], "sample_steps": [30, 25], "net": ["tiny"]}
        return jobs.altered(whole, axes=whole.axes.model_copy(update=T), exclude=[], score={"n": 20})

    monkeypatch.setattr(load, "load", small)
    return session


def test_quick_and_the_gate(here: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcomes(subject: Subject, baseline: Any, only: str) -> Iterator[change.Outcome]:
        assert subject.device == here.device
        yield change.Outcome(f"{only}x", "pass", 0.0, 0.02)

    monkeypatch.setattr(change, "check", outcomes)
    rows = rows_of(here, "quick")
    assert not failures(rows)
    assert rows[0].name == "quick, as planned"
    assert rows[0].found["whole"] is True
    assert len(figures(rows, "fid")) == 2  # one training seed of two
    together = next(row for row in rows if row.name == "quick, together")
    assert (together.found["jobs"], together.found["of"], together.found["cells"]) == (2, 2, 2)
    assert together.found["stage train"] > 0
    assert len(together.raw["wall_seconds"]) == 2
    assert rows[-1].name == "check, together"
    assert rows[-1].found == {"passed": 2, "of": 2}


def test_demo(here: Session) -> None:
    rows = rows_of(here, "demo")
    assert not failures(rows)
    planned = [row for row in rows if row.name.endswith("as planned")]
    assert [row.found["epochs"] for row in planned] == [2, 2]  # as many as the sizes allow, with all that time
    cells = [row for row in rows if "fid" in row.found]
    assert {(row.at["objective"], row.at["T"], row.at["clip"]) for row in cells} == {
        (objective, T, clip) for objective in ("previous", "eps") for T in (30, 25) for clip in ("True", "False")
    }
    for row in cells:
        picture = here.file.path.parent / str(row.found["picture"])
        assert picture.parent.name == "gpu-test"
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert len({row.found["picture"] for row in cells}) == len(cells)


def test_without_time_jobs_are_not_started(here: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(jobs, "run_study", lambda *_: started.append(1) or iter(()))
    monkeypatch.setattr(scoring, "images_per_s", lambda session: 1e-3)
    for name in ("quick", "demo"):
        rows = rows_of(here, name)
        assert rows
        assert {row.status for row in rows} == {"not reached"}
    assert not started


def test_the_real_harness(scorer: Scorer, session: Session, tmp_path: Path) -> None:
    """A process for each job, as in a study of a user's."""
    scorer.bounds(20)
    shutil.copytree(scorer.store.root, session.store.root)
    path = tmp_path / "small.yaml"
    path.write_text("""
train: {epochs: 1, images: 128, batch_size: 64}
axes: {objective: [eps], schedule: [linear], T: [50], sampler: [ddim], sample_steps: [2]}
score: {n: 20}
""")
    rows = list(jobs.rows_of(session, load.load(str(path)), "eager", "small", grids=True))
    assert [row.status for row in rows] == ["done", "done"]
    assert rows[0].found["fid"] > 0
    assert rows[1].found["stage train"] > 0
    assert (tmp_path / "results" / str(rows[0].found["picture"])).is_file()


def test_epochs_that_fit() -> None:
    whole = load.load(str(jobs.DEMO))
    assert len(whole.jobs) == 4
    assert len(whole.cells) == 8
    assert all(cell.sampling.sample_steps == cell.job.T for cell in whole.cells)
    assert (whole.train.epochs, whole.train.lr) == (50, 1e-4)
    pair = jobs.altered(whole, axes=whole.axes.model_copy(update={"T": [50], "sample_steps": [50]}), exclude=[],
                        train=whole.train.model_copy(update={"epochs": 1}))  # fmt: skip
    pace = jobs.Pace(start_s=1.0, reference_s=2.0, image_s=1e-5, evaluation_s=0.0)
    fixed = 2.0 + 2 * 1.0 + 4 * jobs.SCORE_S / 2  # reference, two jobs, four cells of half as many images
    an_epoch = 2 * 0.6 * 1.1
    for allowed, epochs in ((fixed + 7.5 * an_epoch, 7), (fixed + 0.9 * an_epoch, 0), (1e6, 50)):
        assert jobs.epochs_for(pace, pair, allowed, 50) == epochs
    assert pace.seconds(jobs.shrunk(whole, 0.01)) < pace.seconds(whole)
    assert jobs.shrunk(whole, 1.0) is whole
    assert jobs.shrunk(whole, 0.01).train.images == 600


# Kernels


def test_a_trace_is_summed_up() -> None:
    """Two steps: kernels of 10 and 20 µs that overlap by 5, a copy, and annotations that are no kernels."""
    events = [
        {"cat": "kernel", "name": "a", "ts": 0, "dur": 10},
        {"cat": "kernel", "name": "b" * 99, "ts": 5, "dur": 20},
        {"cat": "gpu_memcpy", "name": "copy", "ts": 100, "dur": 5},
        {"cat": "gpu_user_annotation", "name": "Optimizer.step", "ts": 0, "dur": 1000},
        {"cat": "cuda_runtime", "name": "cudaLaunchKernel", "ts": 0, "dur": 1},
        {"cat": "cuda_runtime", "name": "cudaGraphLaunch", "ts": 0, "dur": 1},
        {"cat": "cuda_runtime", "name": "cudaStreamSynchronize", "ts": 0, "dur": 1},
        {"cat": "cuda_driver", "name": "cuLaunchKernelEx", "ts": 0, "dur": 1},
        {"cat": "cpu_op", "name": "aten::add", "ts": 0, "dur": 1},
        {"ph": "M", "name": "process_name"},
    ]
    found = kernels.summarise(events, steps=2)
    assert (found.kernels, found.launches) == (1.5, 1.5)
    assert found.busy_s == pytest.approx(15e-6)
    assert found.found(60e-6)["idle"] == pytest.approx(0.75)
    assert found.found(1e-6)["idle"] == 0
    assert found.top.startswith(f"57% {'b' * kernels.NAME}; 29% a")


def test_a_profile_of_a_cpu_has_no_kernels(tmp_path: Path) -> None:
    found = kernels.profile(lambda: torch.ones(3) + 1, 1, tmp_path)
    assert found.found(1.0) == {"kernels": None, "idle": None}
    assert not list(tmp_path.iterdir())


# Compiling ahead


def test_compiling_ahead(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every shape at every number format, shared out among processes that say what they have done."""
    monkeypatch.setattr(Session, "cuda", property(lambda self: True))
    monkeypatch.setattr(ahead.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(Session, "_peak", lambda self: {})
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    started: list[list[str]] = []

    def say(words: list[str], **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(words)
        lines = len(json.loads(words[-1]))
        return subprocess.Popen([sys.executable, "-c", f"print('done\\n' * {lines}, end='')"], stdout=subprocess.PIPE,
                                start_new_session=True)  # fmt: skip

    monkeypatch.setattr(ahead, "Popen", say)
    tasks = training.tasks(session)
    assert tasks[:3] == [
        ahead.Task("train", "tiny", 64),
        ahead.Task("train", "tiny", 64),
        ahead.Task("sample", "tiny", 100),
    ]
    (row,) = ahead.compile_ahead(session, tasks)
    assert row.status == "done", row.reason
    assert row.found["compiled"] == row.found["of"] == len(tasks) * 3
    given = [json.loads(words[-1]) for words in started]
    assert len(given) == 2
    assert given[0][0] == ["train", "tiny", 64, "float32"]


def test_a_process_that_compiles_goes_on_after_a_failure(
    session: Session, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled: list[str] = []
    monkeypatch.setattr(ahead, "ENGINES", engine.ENGINES)
    monkeypatch.setattr(engine, "evaluator", lambda name, net, device: compiled.append(name) or net)
    each = [["train", "no such net", 8, "float32"], ["sample", "tiny", 8, "float32"], ["train", "tiny", 8, "float32"]]
    assert ahead.main(["cpu", json.dumps(each)]) == 0
    assert compiled == ["compiled", "compiled"]
    assert capsys.readouterr().out.splitlines() == ["float32 sample tiny 8", "float32 train tiny 8"]


# Time


def test_sections_are_in_order_and_share_the_time() -> None:
    assert list(SECTIONS) == ORDER
    assert sum(plan.share for plan in SECTIONS.values()) == pytest.approx(1)
    uneven = {name: SECTIONS[name]._replace(share=share) for name, share in (("card", 1.0), ("demo", 2.0))}
    ends = deadlines(["card", "demo"], 100.0, 30.0, uneven)
    assert ends["card"] == pytest.approx(110)
    assert ends["demo"] == pytest.approx(130)
    assert list(deadlines(ORDER, 0.0, 1.0, SECTIONS).values()) == sorted(deadlines(ORDER, 0.0, 1.0, SECTIONS).values())


def test_scale() -> None:
    assert budget.scale(0.1, most=468, allowed_s=10) == 100
    assert budget.scale(0.1, most=50, allowed_s=10) == 50
    assert budget.scale(100.0, most=50, allowed_s=10) == 1
    assert budget.scale(0.0, most=50, allowed_s=10) == 50


def test_a_budget_says_what_does_not_fit() -> None:
    one = Budget(10.0, now=lambda: 4.0)
    assert one.left() == 6
    one.need(6.0, "this")
    with pytest.raises(NoTimeError, match="compiling would take about 7 s, and 6 s are left"):
        one.need(7.0, "compiling")
    assert Budget(1.0, now=lambda: 4.0).left() == 0


def test_what_takes_too_long_is_interrupted() -> None:
    before = signal.getsignal(signal.SIGALRM)
    since = time.monotonic()
    with pytest.raises(OutOfTime), budget.limit(0.05):
        time.sleep(5)
    assert time.monotonic() - since < 1
    with budget.limit(60):
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_an_import_is_not_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a module would stay behind."""
    (tmp_path / "slow_to_import.py").write_text(
        "import time\ntime.sleep(0.3)\nwhole = True\nwait = lambda: time.sleep(5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OutOfTime), budget.limit(0.05):
        import_module("slow_to_import").wait()
    assert sys.modules.pop("slow_to_import").whole


def test_samples_fit_the_time(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    timed = session.timed(lambda: calls.append(1))
    assert len(timed.seconds) == TINY.repeats
    monkeypatch.setattr("perf.gpu.session.MOST_S", 0.0)
    assert len(session.timed(lambda: calls.append(1)).seconds) == 1
    session.budget = Budget(0.0)
    with pytest.raises(NoTimeError):
        session.timed(lambda: time.sleep(1e-3))


def plans(**measures: Callable[[Session], Generator[Row]]) -> dict[str, Plan]:
    return {name: Plan(name.title(), of, 1.0) for name, of in measures.items()}


def one_row(session: Session) -> Generator[Row]:
    yield Row(name="a row", found={"rate": 1.0}, raw={"seconds": [1.0]})


def test_late_and_failing_sections_stop_no_other(session: Session) -> None:
    """And what a section had started is closed when its time is over."""
    closed: list[str] = []

    def slow(session: Session) -> Generator[Row]:
        yield from one_row(session)
        try:
            time.sleep(30)
        finally:
            closed.append("slow")

    def broken(session: Session) -> Generator[Row]:
        yield from one_row(session)
        raise ValueError("one line\nand another")

    found = plans(slow=slow, broken=broken, sound=one_row)
    session.file = make_file(session.file.path, list(found))
    session.budget = Budget(time.monotonic() + 3)
    said: list[str] = []
    measure(session, list(found), said.append, found)
    kept = read(session.file.path)
    assert kept is not None
    assert [(one.status, len(one.rows)) for one in kept.sections] == [("cut off", 1), ("failed", 1), ("done", 1)]
    assert "its time was over after" in str(kept.sections[0].reason)
    assert kept.sections[1].reason == "crashed: ValueError: one line"
    assert closed == ["slow"]
    assert "  a row: rate 1" in said


def test_sections_that_are_not_reached_say_so(session: Session) -> None:
    session.file.start()
    session.budget = Budget(time.monotonic() + 0.1)
    measure(session, ORDER, lambda text: None)
    kept = read(session.file.path)
    assert kept is not None
    assert [one.name for one in kept.sections] == ORDER
    assert {one.status for one in kept.sections} == {"not reached"}


def test_a_measurement_that_fails_has_a_reason(session: Session) -> None:
    def out_of_memory() -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")

    assert session.attempt("x", {}, out_of_memory).reason == "out of memory: CUDA out of memory. Tried to allocate"

    def late() -> Any:
        raise OutOfTime

    with pytest.raises(OutOfTime):
        session.attempt("x", {}, late)


# The file


def test_what_is_cut_off_at_any_write_is_whole(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write in turn is the last: the file then holds what was there before it, or all of it."""
    found = plans(card=one_row, scorenet=one_row)
    whole = files.write_bytes
    counts = []
    for last in range(1, 8):
        file = make_file(tmp_path / f"{last}" / "gpu-x.json", list(found))
        written: list[Path] = []

        def write(path: Path, content: bytes, *, last: int = last, written: list[Path] = written, **how: Any) -> None:
            written.append(path)
            if len(written) == last:
                path.parent.mkdir(exist_ok=True)
                path.with_name(f".{path.name}.tmp").write_bytes(content[: len(content) // 2])
                raise KeyboardInterrupt
            whole(path, content, **how)

        monkeypatch.setattr(files, "write_bytes", write)
        session.file, session.budget = file, Budget(time.monotonic() + 100)
        try:
            file.start()
            measure(session, list(found), lambda text: None, found)
        except KeyboardInterrupt:
            kept = read(file.path)
            counts.append(None if kept is None else sum(len(one.rows) for one in kept.sections))
        else:
            counts.append(-1)
    assert counts == [None, 0, 0, 1, 1, 1, 2]


def test_killed_in_the_middle_the_file_is_valid(tmp_path: Path) -> None:
    """By the system, at any moment: a process that does nothing but write is killed once it has written a few rows."""
    path = tmp_path / "gpu-x.json"
    code = f"""
from pathlib import Path
from perf.gpu.record import File, Row, Run, Section
run = Run(name="x", command="", created="", environment={{}}, device="cpu", minutes=1, seed=0,
          sections=[Section(name="card", title="Card")])
file = File(Path({str(path)!r}), run)
file.start()
file.begin(run.sections[0], 1.0)
while True:
    file.add(run.sections[0], Row(name="row", raw={{"seconds": [0.1] * 50}}))
"""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while (found := read(path)) is None or len(found.sections[0].rows) < 5:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    kept = read(path)
    assert kept is not None
    assert len(kept.sections[0].rows) >= 5
    assert kept.sections[0].status == "cut off"


def test_numbers_that_are_not_finite_are_none(tmp_path: Path) -> None:
    file = make_file(tmp_path / "gpu-x.json")
    file.add(file.run.sections[0], Row(name="x", found={"fid": float("nan"), "rate": float("inf"), "n": 3}))
    kept = read(file.path)
    assert kept is not None
    assert kept.rows("card")[0].found == {"fid": None, "rate": None, "n": 3}


# The command


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0"], "--minutes must be a number of at least 0.1, not 0"),
        (["--minutes", "nan"], "--minutes must be a number of at least 0.1, not nan"),
        (["--device", "cpux"], "cpu"),
        (["--device", "cpu", "--sections", "card,sampeling"], "sampling"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("perf.gpu: ")
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_gpu_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["--out", str(tmp_path / "out")]) == 2
    assert "device 'cuda' is not available here" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("")
    assert main(["--device", "cpu", "--out", str(tmp_path / "out")]) == 2
    assert "out is not a folder" in capsys.readouterr().err


@pytest.fixture
def quick_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections that take no time."""
    monkeypatch.setattr(sections, "SECTIONS", SECTIONS)
    monkeypatch.setattr(
        sections.measure, "__defaults__", ({name: plan._replace(measure=one_row) for name, plan in SECTIONS.items()},)
    )
    monkeypatch.setattr("perf.gpu.__main__.BEGAN", time.monotonic())
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # which the command changes


@pytest.mark.usefixtures("quick_sections")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run; the same again, which keeps the one before; and one section again, which leaves the others."""
    words = ["--device", "cpu", "--minutes", "1", "--out", str(tmp_path)]
    path = tmp_path / "gpu-cpu.json"
    assert main(words) == 0
    assert capsys.readouterr().out.endswith(f"{path}\n")
    first = read(path)
    assert first is not None
    assert [(one.name, one.status) for one in first.sections] == [(name, "done") for name in ORDER]
    assert first.environment["torch"] == torch.__version__
    assert first.seed == 0

    assert main([*words, "--sections", "demo, card"]) == 0
    again = read(path)
    assert again is not None
    assert [(one.name, one.status) for one in again.sections] == [(name, "done") for name in ORDER]
    assert read(tmp_path / "gpu-cpu.json.previous") == first

    other = json.loads(path.read_text())
    other["environment"]["code"] = "another"
    path.write_text(json.dumps(other))
    assert main([*words, "--sections", "card"]) == 0
    fresh = read(path)
    assert fresh is not None
    assert [one.status for one in fresh.sections] == ["done"] + ["not reached"] * 7


def test_a_try_out_is_no_measurement_of_a_gpu() -> None:
    from bench.paths import LOCAL
    from perf.gpu.__main__ import default_folder

    assert default_folder(CPU) == LOCAL / "perf"
    assert default_folder(torch.device("cuda")) == perf_record.FOLDER
    assert card_name(CPU) == "gpu-cpu"


def test_the_time_counts_from_the_start_of_the_process() -> None:
    from perf.gpu.__main__ import age

    first = age()
    assert (first > 0) == Path("/proc/self/stat").exists()
    assert first <= age() < first + 60


def test_the_name_of_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.machine import provenance

    monkeypatch.setattr(provenance, "environment", lambda device: SimpleNamespace(gpu="NVIDIA H100 80GB HBM3"))
    assert card_name(torch.device("cuda")) == "gpu-nvidia-h100-80gb-hbm3"


# The wheels

PINS = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)$", re.MULTILINE)
THERE = {
    "torch", "torchvision", "numpy", "scipy", "pandas", "matplotlib", "seaborn", "filelock", "safetensors", "yaml",
    "rich", "PIL", "tabulate", "torchmetrics", "pytest",
}  # fmt: skip
"""What the bare machine has."""


def pins(path: Path) -> dict[str, str]:
    return {name.lower().replace("-", "_"): version for name, version in PINS.findall(path.read_text())}


def test_the_wheels_are_pinned_as_everything_is() -> None:
    wheels, constraints = pins(ROOT / "perf" / "gpu-wheels.txt"), pins(ROOT / "constraints.txt")
    lines = [line for line in (ROOT / "perf" / "gpu-wheels.txt").read_text().splitlines() if line and line[0] != "#"]
    assert len(lines) == len(wheels) > 10
    assert wheels.items() <= constraints.items()


def names(tree: ast.AST, lazy: bool) -> Iterator[str]:
    """What is imported: when the file is, and with ``lazy`` also inside functions; never for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        elif lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from names(node, lazy)


def source(name: str) -> Path | None:
    """The file of one of our modules, given its name or that of something in it."""
    while name.partition(".")[0] in ("bench", "ddpm", "perf"):
        for path in (ROOT / f"{name.replace('.', '/')}.py", ROOT / name.replace(".", "/") / "__init__.py"):
            if path.is_file():
                return path
        name = name.rpartition(".")[0]
    return None


def test_all_that_measuring_imports_is_there_or_among_the_wheels() -> None:
    """From the files of perf.gpu and the peers (late imports too) through all that importing those imports."""
    own = [path for path in (ROOT / "perf" / "gpu").glob("*.py") if path.name != "page.py"]
    own += [ROOT / "perf" / "peers" / f"{name}.py" for name in ("build", "ours", "huggingface", "lucidrains")]
    waiting = [(path, True) for path in own] + [(ROOT / "bench" / "execute" / "preload.py", False)]
    seen: set[Path] = set()
    outside: dict[str, Path] = {}
    while waiting:
        path, lazy = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in names(ast.parse(path.read_text(encoding="utf-8")), lazy):
            found = source(name)
            if found is not None:
                waiting += [(found, False), (found.parent / "__init__.py", False)]
            else:
                outside[name.partition(".")[0]] = path
    wanted = {
        name: path for name, path in outside.items() if name not in sys.stdlib_module_names and name != "__future__"
    }
    allowed = THERE | set(pins(ROOT / "perf" / "gpu-wheels.txt"))
    assert {"torch", "pydantic", "diffusers", "denoising_diffusion_pytorch"} <= set(wanted)
    assert ROOT / "bench" / "job" / "run.py" in seen
    assert not {name: str(path) for name, path in wanted.items() if name not in allowed}


def test_peers_have_no_circle() -> None:
    """What all contenders share knows none of them."""
    shared = set(names(ast.parse((ROOT / "perf" / "peers" / "contender.py").read_text()), lazy=True))
    assert not [name for name in shared if name.startswith("perf")]


def test_batches_on_a_device() -> None:
    """The order of images is drawn where they lie, and is what it was on a CPU."""
    from perf.peers.contender import batches

    drawn: Tensor = next(batches(torch.arange(10), 10, seed=0))
    assert drawn.tolist() == torch.randperm(10, generator=torch.Generator().manual_seed(0)).tolist()


def test_unknown_settings_are_a_row(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_record, "load", dict)
    (row,) = peers.peers(session)
    assert row.status == "not reached"
    assert "perf.peers" in str(row.reason)
    with pytest.raises(UserError):
        load.load("no such study")
    assert sampling.evaluation_s(session, "tiny", "eager", 50) > 0
