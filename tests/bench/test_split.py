"""``--workers auto``: what it chooses, that a study keeps it, and what it says where there is nothing to choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from filelock import FileLock

from bench import cli
from bench.execute import split, tryout
from bench.execute.local import lock_of
from bench.execute.schedule import Options
from bench.execute.split import Split, automatic, splits
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


@pytest.mark.parametrize(("threads", "workers"), [(1, 2), (2, 1), (4, 1)])
def test_threads_of_finished_jobs_decide(store: Store, threads: int, workers: int) -> None:
    """They were run before, with a number of threads that the rest of the study is to have too."""
    study = of_study()
    job = study.cells[-1].job
    here = environment(machine=machine_id(), device="cpu", threads=threads)
    store.write(job.key, trained_job(job, environment=here))
    options, why = automatic(study, store, CPU, never)
    assert (options.workers, options.threads) == (workers, threads)
    assert "finished" in why
    elsewhere = environment(machine="another", device="cpu", threads=threads)
    store.write(job.key, trained_job(job, environment=elsewhere))
    assert "a trial" in automatic(study, store, CPU, fake(1.3))[1]


def test_nothing_is_tried_where_there_is_nothing_to_try(store: Store) -> None:
    oracle = of_study(net=["oracle"], objective=["x0"], T=[50, 100])
    for study in (oracle, of_study(objective=["eps"])):
        options, why = automatic(study, store, CPU, never)
        assert (options.workers, options.threads, "nothing to try" in why) == (1, 2, True)
    assert not store.root.exists()


def test_another_run_would_disturb_a_trial(store: Store) -> None:
    store.path("locks", "x", "").parent.mkdir(parents=True)
    with FileLock(lock_of(store).lock_file):
        options, why = automatic(of_study(), store, CPU, never)
    assert (options.workers, "another run" in why) == (1, True)
    assert not (store.root / "workers").exists()


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
    """Where all fail, nothing is known and nothing is kept."""
    found = {Split(1, 2): 0.0, Split(2, 1): 0.0}
    assert split.compared([], list(found), lambda *_: []) == found
    assert split.fastest(found) == (1, 2)
    options, why = automatic(of_study(), store, CPU, lambda *_: [])
    assert (options.workers, options.threads, "could do the work" in why) == (1, 2, True)
    assert not (store.root / "workers").exists()


def test_processes_are_really_timed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes of a thread each answer with the seconds of a job; one that cannot work says nothing."""
    job, *_ = of_study().jobs.values()
    seconds = tryout.tried(job, 2, 1)
    assert len(seconds) == 2
    assert all(0 < each < 60 for each in seconds)
    odd = [job[0].model_copy(update={"n": "many"})]
    assert tryout.tried(odd, 1, 1) == []


def test_the_command_runs_a_study_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was chosen is what the run is told; and the choice is kept beside its results."""
    told: list[Options] = []

    def run_study(_: Study, __: Store, options: Options, ___: object) -> bool:
        told.append(options)
        return True

    monkeypatch.setattr("bench.cli.output.run_study", run_study)
    monkeypatch.setattr(split.automatic, "__defaults__", (fake(1.3),))
    argv = ["run", "quick", "--device", "cpu", "--workers", "auto", "--results", str(store.root)]
    assert cli.main(argv) == 0
    assert [(options.workers, options.threads) for options in told] == [(2, 1)]
    assert "workers: 2 jobs at once with 1 thread each (a trial: 1.30 times" in capsys.readouterr().err
    assert [record.workers for _, record in store.records(SplitRecord)] == [2]
