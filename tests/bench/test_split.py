"""``--workers auto``: what it chooses, that a study keeps it, and what it says where there is nothing to choose."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from bench import cli
from bench.errors import UserError
from bench.execute import split, tryout
from bench.execute.local import lock_of
from bench.execute.schedule import Options
from bench.execute.split import splits
from bench.images import datasets
from bench.job.events import Ended, Event, Planned
from bench.machine.provenance import machine_id
from bench.store.splits import SplitRecord
from bench.store.store import Store
from bench.study.model import Cell
from bench.study.study import Study
from tests.records import environment, trained_job

CPU = Options("cpu")


def of_study(name: str = "tiny", **axes: list[object]) -> Study:
    """Two jobs of a small network, or others."""
    given: dict[str, list[object]] = {"net": ["unet(width=8,inner=32)"], "objective": ["eps", "v"]}
    given |= {"schedule": ["cosine"], "T": [50], "sampler": ["ancestral"], "sample_steps": [2]}
    train = {"epochs": 1, "images": 64, "batch_size": 32}
    return Study.model_validate({"name": name, "train": train, "axes": given | axes, "score": {"n": 20}})


def fake(gain: float) -> Callable[[Sequence[Cell], int, int], list[float]]:
    """Trials in which jobs side by side get so many times as much done as one alone."""
    return lambda _, workers, __: [1.0] if workers == 1 else [workers / gain] * workers


def never(*_: object) -> list[float]:
    raise AssertionError("tried again")


def automatic(study: Study, store: Store, options: Options, attempt: tryout.Try) -> tuple[Options, str]:
    """What is chosen where no other run is at work."""
    events = split.automatic(study, store, options, attempt)
    try:
        raise AssertionError(f"an event: {next(events)}")
    except StopIteration as end:
        found: tuple[Options, str] = end.value
        return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    return Store(tmp_path / "results")


def test_splits_use_every_core_and_leave_no_worker_without_a_job() -> None:
    assert splits(2, 5) == [(1, 2), (2, 1)]
    assert splits(12, 5) == [(1, 12), (2, 6), (3, 4), (4, 3)]
    assert splits(8, 100, threads=2) == [(1, 2), (2, 2), (4, 2)]
    assert splits(2, 1) == splits(2, 0) == [(1, 2)]
    assert splits(2, 9, threads=4) == [(1, 4)]
    assert splits(64, 2, threads=1) == [(1, 1), (2, 1)]
    assert splits(8, 3, threads=2) == [(1, 2), (2, 2), (3, 2)]
    assert splits(2, 0, threads=1) == [(1, 1)]


@pytest.mark.parametrize(("gain", "expected"), [(1.3, (2, 1)), (1.02, (1, 2)), (0.8, (1, 2))])
def test_the_most_jobs_an_hour_win_if_the_gain_is_worth_it(
    store: Store, gain: float, expected: tuple[int, int]
) -> None:
    options, why = automatic(of_study(), store, CPU, fake(gain))
    assert (options.workers, options.threads) == expected
    assert "a trial" in why
    assert ("1.30 times" in why) == (gain == 1.3)


def test_a_study_keeps_what_was_chosen_first(store: Store) -> None:
    """Another number of threads would be other bytes. Another study, or threads that were asked for, are tried anew."""
    first, _ = automatic(of_study(), store, CPU, fake(1.3))
    again, why = automatic(of_study(), store, CPU, never)
    assert (again.workers, again.threads) == (first.workers, first.threads) == (2, 1)
    assert "before" in why
    other, _ = automatic(of_study("other"), store, CPU, fake(0.8))
    assert (other.workers, other.threads) == (1, 2)
    asked, _ = automatic(of_study(), store, Options("cpu", threads=1), fake(1.3))
    assert (asked.workers, asked.threads) == (2, 1)
    assert automatic(of_study(), store, CPU, never)[0] == again


def test_a_damaged_choice_is_made_again(store: Store) -> None:
    automatic(of_study(), store, CPU, fake(1.3))
    (path,) = (store.root / "workers").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"workers": 2', b'"workers": 9'))
    assert automatic(of_study(), store, CPU, fake(0.8))[0].workers == 1
    assert store.damaged == [path]


def finished(study: Study, store: Store, threads: int, machine: str | None = None) -> None:
    """Have the last job of the study done, with so many threads."""
    job = study.cells[-1].job
    here = environment(machine=machine or machine_id(), device="cpu", threads=threads)
    store.write(job.key, trained_job(job, environment=here))


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_of_finished_jobs_stay(store: Store, threads: int) -> None:
    """They were run before, with a number of threads that the rest of the study is to have too."""
    study = of_study()
    finished(study, store, threads)
    options, why = automatic(study, store, CPU, never)
    assert (options.workers, options.threads) == (1, threads)
    assert "finished" in why
    finished(study, store, threads, machine="another")
    assert "a trial" in automatic(study, store, CPU, fake(1.3))[1]


@pytest.mark.parametrize(("gain", "workers"), [(1.3, 2), (1.02, 1)])
def test_a_trial_finds_how_many_of_these_threads_at_once(store: Store, gain: float, workers: int) -> None:
    """The threads of finished jobs stay, whatever comes of it; the choice is kept."""
    study = of_study()
    finished(study, store, 1)
    options, why = automatic(study, store, CPU, fake(gain))
    assert (options.workers, options.threads, "a trial" in why) == (workers, 1, True)
    assert automatic(study, store, CPU, never)[0] == options


def test_no_more_at_once_than_jobs_are_left_or_have_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    tried: Counter[tuple[int, int]] = Counter()

    def attempt(_: Sequence[Cell], workers: int, threads: int) -> list[float]:
        tried[workers, threads] += 1
        return [1.0] * workers

    for name, jobs, room in (("few", 2, 4), ("small", 8, 4), ("full", 8, 0.5)):
        study = of_study(name, seed=list(range(jobs // 2)))
        finished(study, store, 1)
        monkeypatch.setattr(split, "memory_bytes", lambda room=room: int(room * split.JOB_BYTES))
        tried.clear()
        options, _ = automatic(study, store, CPU, attempt)
        assert options.workers == max(1, min(jobs, int(room)))
        assert all(workers <= options.workers and threads == 1 for workers, threads in tried)


def test_nothing_is_tried_where_there_is_nothing_to_try(store: Store) -> None:
    oracle = of_study(net=["oracle"], objective=["x0"], T=[50, 100])
    for study in (oracle, of_study(objective=["eps"])):
        options, why = automatic(study, store, CPU, never)
        assert (options.workers, options.threads, "nothing to try" in why) == (1, 2, True)
    assert not store.root.exists()


@pytest.fixture
def waits(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileLock]:
    """Another run is at work on this machine."""
    monkeypatch.setattr(split, "POLL_S", 0.01)
    store.path("locks", "x", "").parent.mkdir(parents=True)
    with FileLock(lock_of(store).lock_file, thread_local=False) as lock:
        yield lock


def ended(events: Iterator[Event]) -> Options:
    """The options that come of it in the end."""
    try:
        raise AssertionError(f"one more event: {next(events)}")
    except StopIteration as end:
        options: Options = end.value[0]
        return options


def test_a_trial_waits_for_another_run(store: Store, waits: FileLock) -> None:
    """That run would disturb it. What that run has finished counts then."""
    events = split.automatic(of_study(), store, CPU, fake(1.3))
    assert next(events).event == "waiting"
    finished(of_study(), store, 2)
    waits.release()
    assert (ended(events).workers, ended(split.automatic(of_study(), store, CPU, never)).threads) == (1, 2)


def test_two_runs_choose_the_same(store: Store, waits: FileLock) -> None:
    """The second finds what the first has chosen, while that is at work and after it; nobody tries it again."""
    during, after = (split.automatic(of_study(name), store, CPU, never) for name in ("tiny", "other"))
    assert [next(events).event for events in (during, after)] == ["waiting", "waiting"]
    for name in ("tiny", "other"):
        key = SplitRecord.key_of(name, machine_id(), 2, None)
        record = SplitRecord(
            study=name, machine=machine_id(), cores=2, asked=None, workers=2, threads=1, jobs_an_hour={}
        )
        store.write(key, record)
    chosen = ended(during)
    waits.release()
    assert (chosen.workers, chosen.threads) == (2, 1)
    assert ended(after) == chosen


def test_the_choice_is_kept_before_another_run_may_try(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []
    write = Store.write

    def looked(self: Store, key: str, record: Any) -> None:
        held.append(lock.is_locked)
        write(self, key, record)

    lock = lock_of(store)
    monkeypatch.setattr(split, "lock_of", lambda _: lock)
    monkeypatch.setattr(Store, "write", looked)
    automatic(of_study(), store, CPU, fake(1.3))
    assert held == [True]
    assert not lock.is_locked


def test_elsewhere_one_line_says_what_is_done(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    gpus, why = automatic(of_study(), store, Options("cuda"), never)
    assert (gpus.workers, gpus.exclusive, why) == (3, True, "workers: one job at a time on each of 3 GPUs")
    for options, said in (
        (Options("cuda:1"), "each of 1 GPU"),
        (Options("mps"), "on mps"),
        (Options("cpu", executor="inline"), "inline runs one job"),
        (Options("cpu", workers=99, executor="slurm"), "slurm runs as many jobs"),
        (Options("cpu", workers=99, executor="ray"), "ray runs as many jobs"),
    ):
        same, why = automatic(of_study(), store, options, never)
        assert (same.workers, said in why) == (options.workers, True)


def test_a_process_that_fails_does_no_work(store: Store) -> None:
    """Where all fail, or the one that is alone, nothing is known and nothing is kept."""
    for fails in ({1, 2}, {1}):
        options, why = automatic(
            of_study(), store, CPU, lambda _, workers, __, fails=fails: [] if workers in fails else [1.0]
        )
        assert (options.workers, options.threads, "could do the work" in why) == (1, 2, True)
        assert not (store.root / "workers").exists()
    assert automatic(of_study(), store, CPU, lambda _, workers, __: [1.0] if workers == 1 else [])[0].workers == 1


@pytest.fixture
def argv(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, whose trial finds that two jobs at once do most."""
    monkeypatch.setattr(split.automatic, "__defaults__", (fake(1.3),))
    monkeypatch.setattr("bench.execute.processes.warm", lambda: None)
    return ["run", "quick", "--device", "cpu", "--workers", "auto", "--results", str(store.root)]


@pytest.mark.parametrize("report", [False, True])
def test_the_command_runs_a_study_so(
    store: Store, argv: list[str], report: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was chosen is what the run is told; and the choice is kept beside its results."""
    told: list[Options] = []

    def run_study(_: Study, __: Store, options: Options, *, tell: Callable[[Any], None]) -> Iterator[Event]:
        told.append(options)
        yield Planned(jobs=1, cells=1)
        tell(SimpleNamespace(whole_s=None, first_s=None))
        yield Ended(failures=())

    monkeypatch.setattr("bench.sinks.follow.run_study", run_study)
    monkeypatch.setattr("bench.cli.output.report", lambda *_: (True, "files"))
    assert cli.main(argv + ["--report"] * report) == 1  # no cell is done
    assert [(options.workers, options.threads) for options in told] == [(2, 1)]
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert "workers: 2 jobs at once with 1 thread each (a trial: 1.30 times" in first
    assert second.startswith("time: ")
    assert [record.workers for _, record in store.records(SplitRecord)] == [2]


def missing(_: Path) -> None:
    raise UserError("no images here")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--with", "nonsense=1"], "executor local has no settings, so 'nonsense' cannot be set"),
        (["--executor", "inline", "--with", "nonsense=1"], "executor inline has no settings"),
        (["--executor", "nowhere"], "unknown executor 'nowhere'"),
        (["--log", "nope:x"], "unknown kind of log 'nope'"),
        (["--log", "jsonl:/dev/null/x"], "cannot write to /dev/null/x"),
        ([], "no images here"),
    ],
)
def test_a_mistake_is_refused_before_the_trial(
    store: Store, argv: list[str], wrong: list[str], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The choice of a trial stays with the study for good. One line says what is wrong, and nothing is written.

    In the last case the data set is not there.
    """
    monkeypatch.setattr(split.automatic, "__defaults__", (never,))
    if not wrong:
        gone = replace(datasets.DATASETS["mnist"], read=missing)
        monkeypatch.setitem(datasets.DATASETS, "mnist", gone)
    assert cli.main([*argv, *wrong]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert (out, len(lines)) == ("", 1), err
    assert said in lines[0]
    assert not store.root.exists()


def test_events_of_the_wait_reach_every_sink(
    store: Store, argv: list[str], waits: FileLock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial is a part of the run: whoever watches hears why nothing happens yet."""

    def sleep(_: float) -> None:
        waits.release()

    monkeypatch.setattr("bench.execute.split.time.sleep", sleep)
    monkeypatch.setattr("bench.sinks.follow.run_study", lambda *_, **__: iter([Ended(failures=())]))
    assert cli.main([*argv, "--log", f"jsonl:{tmp_path / 'log'}"]) == 1
    assert [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()] == ["waiting", "ended"]
