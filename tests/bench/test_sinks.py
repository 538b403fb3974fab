"""Who shows or records a run: what a reader sees, and that no sink can hurt a run."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from bench.cli import output
from bench.errors import UserError
from bench.images.grids import png
from bench.job.events import CellDone, Drawn, Elsewhere, Ended, EpochDone, Event, Failed, JobDone, Started, Stepped
from bench.score.kept import Progress
from bench.sinks import console, jsonl, sink
from bench.sinks.live import Live
from bench.sinks.plain import Plain
from bench.sinks.sink import SINKS, open_sink, tell
from bench.sinks.trackers import Tracker
from bench.store.store import Store
from bench.study.study import Study
from tests.said import CELL, EXAMPLES, JOB, REASON

LABEL = JOB["label"]
LINES = f"""\
another run on this machine is using results/[local]; waiting for it to end (Ctrl-C to stop)
{LABEL}: started (1 more jobs to go)
{LABEL}: resumed after epoch 1
{LABEL}: trained from the start: the code has changed since the epochs that were done
{LABEL}: training was done already
{LABEL}: epoch 2/4 in 1.5 s, held-out ε MSE 0.1250
01234567 ddim 10 steps: FID 12.35
01234567 ddim 10 steps: FAILED: diverged while sampling
damaged file, made again: results/[local]/cells/x.json
{LABEL}: another process is at work on it; leaving it to that one
{LABEL}: done, harness overhead 1.2%
{LABEL}: done by another process
{LABEL}: FAILED: n=201 is more than the 200 test images
{LABEL}: FAILED: {REASON}
{LABEL}: stopped; it goes on from there when run again
"""


class Toy:
    """Remembers what it is given."""

    def __init__(self, target: str = "") -> None:
        self.target, self.seen, self.closed = target, list[Event](), 0

    def emit(self, event: Event) -> None:
        """Remember."""
        self.seen.append(event)

    def close(self) -> None:
        """Count."""
        self.closed += 1


class Broken(Toy):
    """Fails at its second event, and when closed."""

    def emit(self, event: Event) -> None:
        """Fail."""
        super().emit(event)
        if len(self.seen) == 2:
            raise RuntimeError("no room\nat all")

    def close(self) -> None:
        """Fail."""
        super().close()
        raise SystemExit(1)


def plain(width: int = 200) -> Console:
    """A console that is a file."""
    return Console(file=io.StringIO(), width=width)


def said(on: Console) -> str:
    """What was printed."""
    assert isinstance(on.file, io.StringIO)
    return on.file.getvalue()


def screen() -> Console:
    """A console that is a terminal."""
    return Console(
        file=io.StringIO(), width=120, height=40, force_terminal=True, color_system=None, legacy_windows=False
    )


def shown(on: Console) -> str:
    """What a terminal was sent, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said(on))


# the seam


def test_a_new_sink_is_a_row_and_receives_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SINKS, "toy", Toy)
    toy = open_sink("toy:a:b")
    assert isinstance(toy, Toy)
    assert toy.target == "a:b"
    assert list(tell(EXAMPLES, [toy])) == list(EXAMPLES)
    assert toy.seen == list(EXAMPLES)
    assert toy.closed == 1


def test_a_broken_sink_is_left_out_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    good, broken = Toy(), Broken()
    assert list(tell(EXAMPLES, [broken, good])) == list(EXAMPLES)
    assert good.seen == list(EXAMPLES)
    assert (len(broken.seen), broken.closed, good.closed) == (2, 1, 1)
    assert capsys.readouterr().err == "warning: Broken failed and is left out from here on: no room\n"


def test_whoever_stops_listening_ends_the_run_and_closes_sinks() -> None:
    ended = []

    def run() -> Iterator[Event]:
        try:
            yield from EXAMPLES
        finally:
            ended.append(True)

    toy = Toy()
    events = tell(run(), [toy])
    next(events)
    events.close()
    assert ended == [True]
    assert toy.closed == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("jsnol:x", "unknown kind of log 'jsnol'.*plain, rich, jsonl"),
        ("jsonl", "needs a file"),
        ("jsonl:/nowhere/at/all", "cannot write to /nowhere/at/all"),
        ("plain:x", "has no target"),
    ],
)
def test_a_users_mistake_is_one_line(text: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        open_sink(text)


def test_the_console_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(console.on(plain()), Plain)
    assert isinstance(console.on(screen()), Live)
    assert {name: type(open_sink(name)) for name in ("plain", "rich")} == {"plain": Plain, "rich": Live}
    assert console.tell is sink.tell


# lines


def test_the_plain_lines() -> None:
    on, toy = plain(width=20), Toy()
    list(console.show(EXAMPLES, on, toy))
    assert said(on) == LINES
    assert toy.seen == list(EXAMPLES)


def test_something_is_said_while_nothing_happens() -> None:
    """After half a minute without a line, once, and for each job that runs."""
    on, now = plain(), [0.0]
    lines = Plain(on, tick_s=None, now=lambda: now[0])
    other = {"job": "1" * 16, "label": "other"}
    for event in (
        Started(**JOB, node="here", pid=1),
        Started(**other, node="here", pid=2),
        Stepped(**JOB, epoch=2, of=3, share=0.4, loss=0.125),
        Drawn(**other, **CELL, share=0.5),
    ):
        lines.emit(event)
    before = said(on)
    now[0] = 29.9
    lines.beat()
    assert said(on) == before
    now[0] = 30.0
    lines.beat()
    lines.beat()
    expected = f"{LABEL}: still training, epoch 2/3, 40%, loss 0.125\nother: still sampling, ddim 10 steps, 50%\n"
    assert said(on) == before + expected
    lines.emit(JobDone(**other, overhead=0.0))
    lines.emit(Failed(**JOB, reason="gone"))
    before = said(on)
    now[0] = 99.0
    lines.beat()
    assert said(on) == before, "nothing runs any more"


def test_it_is_said_without_any_event() -> None:
    on = plain()
    lines = Plain(on, quiet_s=0.05, tick_s=0.01)
    lines.emit(Started(**JOB, node="here", pid=1))
    deadline = time.monotonic() + 5
    while "still starting" not in said(on) and time.monotonic() < deadline:
        time.sleep(0.01)
    lines.close()
    assert f"{LABEL}: still starting\n" in said(on)
    before = said(on)
    time.sleep(0.1)
    assert said(on) == before, "a closed sink says nothing"


# the live display


def test_the_live_display_shows_bars_epochs_and_failures() -> None:
    on = screen()
    live = Live(on)
    live.emit(Started(**JOB, node="here", pid=1, left=3))
    live.emit(Stepped(**JOB, epoch=2, of=4, share=0.5, loss=0.125))
    live._progress.refresh()
    text = shown(on)
    assert LABEL in text
    assert "3 more jobs to go" in text
    assert "training, epoch 2/4, 50%, loss 0.125" in text
    assert re.search(r"━{10,}", text), "no bar"
    live.emit(EpochDone(**JOB, epoch=2, of=4, seconds=1, images=1, loss=0, eps_mse=0, x0_mse=0))
    task = live._progress.tasks[-1]
    assert (task.description, task.completed) == (LABEL, 0.5)
    live.emit(CellDone(**JOB, **CELL, status="done", metrics={"fid": 12.345}))
    live.emit(Failed(**JOB, reason=REASON))
    assert [task.description for task in live._progress.tasks] == ["study"]
    live.close()
    assert "FID 12.35" in shown(on)
    assert f"{LABEL}: FAILED: {REASON}" in shown(on)


def test_the_live_display_takes_any_event_in_any_order() -> None:
    """A job that was never started here, one that is started twice, the end twice."""
    on = screen()
    again = [Elsewhere(**JOB), *EXAMPLES[2:], Ended(failures=())]
    assert len(list(console.show([*reversed(EXAMPLES), *again], on))) == len(EXAMPLES) + len(again)
    assert "failed and is left out" not in shown(on)


# files


def test_json_lines_come_back(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    since = time.time()
    for _ in range(2):
        list(tell(EXAMPLES, [open_sink(f"jsonl:{path}")]))
    found = list(jsonl.read(path))
    assert [event for _, event in found] == [*EXAMPLES, *EXAMPLES]
    assert all(since - 1 < at < time.time() + 1 for at, _ in found)


def test_json_lines_are_there_at_once(tmp_path: Path) -> None:
    """For whoever watches the file, and for whoever is killed."""
    writer = open_sink(f"jsonl:{tmp_path / 'run.jsonl'}")
    writer.emit(EXAMPLES[0])
    assert [event for _, event in jsonl.read(tmp_path / "run.jsonl")] == [EXAMPLES[0]]
    writer.close()


def test_the_studys_bar_says_time_left_loss_and_the_last_fid() -> None:
    on, now = screen(), [0.0]
    live = Live(on, now=lambda: now[0])
    live.emit(Started(**JOB, node="here", pid=1, left=1))
    now[0] = 50.0
    live.emit(Stepped(**JOB, epoch=2, of=4, share=0.0, loss=0.125))
    (study, _) = live._progress.tasks
    assert (study.total, study.completed) == (2, 0.25)
    assert study.fields["what"] == "1 more jobs to go, about 5.8 min left, loss 0.125"
    live.emit(CellDone(**JOB, **CELL, status="done", metrics={"fid": 12.345}))
    live.emit(JobDone(**JOB, overhead=0.0))
    live.close()
    assert study.completed == 1
    assert study.fields["what"] == "1 more jobs to go, about 50 s left, loss 0.125, last FID 12.35"


# trackers


class Api:
    """What trackio and wandb share."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self.finished = 0

    def init(self, **about: Any) -> None:
        """Begin a run."""
        self.begun.append(about)

    def log(self, said: dict[str, Any]) -> None:
        """Record."""
        self.said.append(said)

    def finish(self) -> None:
        """End the run."""
        self.finished += 1

    Image = staticmethod(lambda path: ("image", path))


@pytest.fixture
def study_of_one(tmp_path: Path) -> tuple[Study, Store, dict[str, Any], dict[str, Any]]:
    """A study, a store with the picture of its cell, and what events of its job and cell have."""
    axes = {"net": ["scorenet"], "objective": ["eps"], "schedule": ["cosine"], "T": [50]}
    axes |= {"sampler": ["ddim"], "sample_steps": [4]}
    study = Study.model_validate({"name": "one", "train": {"epochs": 2}, "axes": axes, "score": {"n": 20}})
    (cells,) = study.jobs.values()
    store = Store(tmp_path / "results")
    store.write_bytes(store.path("cells", cells[0].key, ".png"), png(torch.full((1, 8, 8), 7, dtype=torch.uint8)))
    job = {"job": cells[0].job.key, "label": cells[0].job.label}
    return study, store, job, {"cell": cells[0].key, "way": cells[0].label}


def told(job: dict[str, Any], cell: dict[str, Any]) -> list[Event]:
    return [
        Started(**job, node="here", pid=1, left=0),
        Stepped(**job, epoch=1, of=2, share=0.5, loss=0.5),
        EpochDone(**job, epoch=1, of=2, seconds=1.5, images=1, loss=0.25, eps_mse=0.125, x0_mse=0.5),
        CellDone(**job, **cell, status="done", metrics={"fid": 12.5}),
        JobDone(**job, overhead=0.25),
        Ended(failures=()),
    ]


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_trackers_with_the_shared_api(
    name: str,
    study_of_one: tuple[Study, Store, dict[str, Any], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = Api()
    monkeypatch.setitem(sys.modules, name, api)  # type: ignore[arg-type]
    study, store, job, cell = study_of_one
    tracker = open_sink(f"{name}:mine")
    assert isinstance(tracker, Tracker)
    tracker.meet(study, store)
    list(tell(told(job, cell), [tracker]))
    (begun,) = api.begun
    assert (begun["project"], begun["name"], begun["config"]["epochs"]) == ("mine", study.name, study.train.epochs)
    assert begun["config"]["jobs"][job["label"]]["objective"] == "eps"
    found = {key.removeprefix(f"{job['label']}/"): value for said in api.said for key, value in said.items()}
    way = cell["way"]
    assert 0 <= found.pop("job/seconds") < 5
    assert found.pop(f"{way}/samples") == ("image", str(store.path("cells", cell["cell"], ".png")))
    assert found == {
        "loss": 0.5, "epochs": 1.0, "epoch/loss": 0.25, "epoch/eps_mse": 0.125, "epoch/x0_mse": 0.5,
        "epoch/seconds": 1.5, f"{way}/fid": 12.5, "job/overhead": 0.25,
    }  # fmt: skip
    assert api.finished == 1


def test_a_tracker_that_fails_is_one_warning(
    study_of_one: tuple[Study, Store, dict[str, Any], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    api = Api()

    def log(said: dict[str, Any]) -> None:
        raise OSError("no route to host\nat all")

    api.log = log  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "wandb", api)  # type: ignore[arg-type]
    study, store, job, cell = study_of_one
    tracker = open_sink("wandb")
    assert isinstance(tracker, Tracker)
    tracker.meet(study, store)
    assert len(list(tell(told(job, cell), [tracker]))) == 6
    assert capsys.readouterr().err == "warning: Shared failed and is left out from here on: no route to host\n"
    assert api.finished == 1


@pytest.mark.parametrize("name", ["tensorboard", "trackio", "wandb"])
def test_a_tracker_that_is_not_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=rf"pip install 'ddpm-bench\[{name}\]'$"):
        open_sink(name)


def test_a_tracker_that_cannot_begin(
    study_of_one: tuple[Study, Store, dict[str, Any], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api()

    def init(**about: Any) -> None:
        raise SystemExit("not logged in")

    api.init = init  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "wandb", api)  # type: ignore[arg-type]
    tracker = open_sink("wandb")
    assert isinstance(tracker, Tracker)
    with pytest.raises(UserError, match="the sink wandb cannot begin: not logged in"):
        tracker.meet(*study_of_one[:2])


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_files_come_back(study_of_one: tuple[Study, Store, dict[str, Any], dict[str, Any]]) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    study, store, job, cell = study_of_one
    tracker = open_sink("tensorboard")
    assert isinstance(tracker, Tracker)
    tracker.meet(study, store)
    list(tell(told(job, cell), [tracker]))
    (folder,) = (store.root / "tensorboard").iterdir()
    assert folder.name.endswith(job["job"][:8])
    read = EventAccumulator(str(folder))
    read.Reload()
    scalars = {name: [(one.step, one.value) for one in read.Scalars(name)] for name in read.Tags()["scalars"]}
    assert scalars["loss"] == [(50, 0.5)]
    assert scalars["epoch/eps_mse"] == [(100, 0.125)]
    assert scalars[f"{cell['way']}/fid"] == [(100, 12.5)]
    assert "job/seconds" in scalars
    assert read.Tags()["images"] == [f"{cell['way']}/samples"]
    assert "objective" in read.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()


def test_what_is_slow_says_so_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """Also while it tells nothing of its progress, with what it told last."""

    def slow() -> Iterator[Progress]:
        yield Progress("looking at training images", 0.5)
        time.sleep(0.2)

    output.watched(slow(), quiet_s=0.05)  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert set(lines) == {"still looking at training images, 50%"}
    assert len(lines) > 1
