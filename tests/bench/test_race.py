"""The race: what counts as faster, what is a record, who may take part, and a contest that is cut off."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from bench import cli, facts, paths
from bench.cli import output
from bench.errors import UserError
from bench.images.readers import MNIST
from bench.job.events import Ended, Failure
from bench.machine.clocks import HostClock
from bench.machine.environment import Environment
from bench.race import apart, contest, entries, jobs, records, rules, verify, words
from bench.race.entries import ENTRIES, RUNNERS, Entry, Racer, Runner
from bench.race.records import Attempt, Done, RaceRecord, Run, Side, as_record, chance
from bench.race.rules import RUNS, TRACKS, N
from bench.race.seeds import seeds_of
from bench.race.task import Task
from bench.score.judges import panel, pinned
from bench.store.records import JobRecord, Provenance, TrainedJob
from bench.store.store import Store
from tests.conftest import World, standing_in
from tests.records import CREATED, environment

JUDGED = Provenance(classifier=str(pinned("mnist")), dataset_sha256=rules.DATASET_SHA256)
GOOD = {"fid": TRACKS["cpu2"].fid, **TRACKS["cpu2"].limits}
"""Scores that just meet the target."""


def made_run(seconds: float, seed: int = 1, evaluations: int = 50, **scores: float) -> Run:
    """A run of that long, whose samples are named by its seed."""
    return Run(
        seed=seed,
        train_s=(seconds / 2, seconds / 2),
        apart_s={"load": 1.0, "compile": 2.0, "score": 9.0},
        evaluations=evaluations,
        images=100,
        scores=GOOD | scores,
        samples_sha256=hashlib.sha256(str(seed).encode()).hexdigest(),
    )


SEEDS = seeds_of("cpu2", 2)


def seeded(runs: list[Run]) -> list[Run]:
    """The runs with the seeds of an attempt, each with samples of its own."""
    own = [{"seed": seed, "samples_sha256": made_run(1.0, seed).samples_sha256} for seed in (*SEEDS, 5, 6, 7)]
    return [run.model_copy(update=changes) for run, changes in zip(runs, own, strict=False)]


def made_side(name: str, runs: list[Run]) -> Side:
    """An entry as it was run."""
    return Side(name=name, who="somebody", runner="made", settings={"name": name}, software={}, runs=tuple(runs))


def made(
    times: list[float] | None = None, others: list[float] | None = None, runs: list[Run] | None = None, **changes: Any
) -> Attempt:
    """An attempt on ``cpu2``: faster than the record before it, unless said otherwise."""
    runs = seeded(runs or [made_run(seconds) for seconds in times or [1, 2, 3, 4, 5]])
    rivals = seeded([made_run(seconds) for seconds in others or [6, 7, 8, 9, 10]])
    given: dict[str, Any] = {
        "track": "cpu2", "number": 2, "entry": made_side("new", runs), "against": made_side("old", rivals),
        "rules": records.rules_of(TRACKS["cpu2"], N, JUDGED.classifier, JUDGED.dataset_sha256),
        "environment": here(), "created": CREATED,
    } | changes  # fmt: skip
    return in_turn(Attempt(**given))


def in_turn(attempt: Attempt, order: str = "ABBAABBAAB") -> Attempt:
    """The attempt with runs that began a minute after each other: A is the entry, B its rival, if it has one."""
    own, theirs = ([CREATED + timedelta(minutes=i) for i, who in enumerate(order) if who == side] for side in "AB")
    entry = _at(attempt.entry, own)
    return attempt.model_copy(update={"entry": entry, "against": attempt.against and _at(attempt.against, theirs)})


def _at(side: Side, began: list[datetime]) -> Side:
    runs = [run.model_copy(update={"began": one}) for run, one in zip_longest(side.runs, began[: len(side.runs)])]
    return side.model_copy(update={"runs": tuple(runs)})


def here(**changes: Any) -> Environment:
    """A made-up machine of the track's kind."""
    return environment(**{"device": "cpu", "threads": 2, "commit": "a" * 40} | changes)


def done_of(run: Run, where: Environment | None = None) -> Done:
    """A run that is done, on a made-up machine."""
    return Done(run=run, environment=where or here(), provenance=JUDGED, software={})


# what counts as faster


def _exact(new: list[float], old: list[float]) -> float:
    return float(stats.mannwhitneyu(new, old, alternative="less", method="exact").pvalue)


def test_p_is_that_of_the_exact_mann_whitney_test() -> None:
    random = np.random.default_rng(0)
    for _ in range(10):
        new, old = random.normal(size=5).tolist(), random.normal(0.8, size=5).tolist()
        assert chance(new, old) == pytest.approx(_exact(new, old))
    assert chance([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == 1 / 252
    assert chance([1, 2, 3, 4, 6], [5, 7, 8, 9, 10]) == 2 / 252 < rules.P < chance([1, 2, 3, 4, 7], [5, 6, 8, 9, 10])


def test_p_is_exact_with_ties() -> None:
    """Against every way to divide the values, as scipy counts them."""

    def ranks(new: np.ndarray, old: np.ndarray) -> float:
        return float(stats.rankdata([*new, *old])[: len(new)].sum())

    for new, old in ([1, 1, 2, 3, 3], [2, 3, 4, 4, 4]), ([1] * 5, [1] * 5):
        expected = stats.permutation_test((new, old), ranks, alternative="less", vectorized=False).pvalue
        assert chance(new, old) == pytest.approx(expected)


# what is a record


def first_record() -> RaceRecord:
    """The record that :func:`made` is run against: it ran alone."""
    runs = [made_run(8.0 + i, seed) for i, seed in enumerate(seeds_of("cpu2", 1))]
    return as_record(made(number=1, entry=made_side("old", runs), against=None))


def put(record: RaceRecord, folder: Path) -> RaceRecord:
    """Put a record's file there, whatever is there already."""
    path = folder / record.track / f"{record.number}-{record.entry.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(records.text_of(record))
    return record


def test_a_record_comes_back_from_its_file(tmp_path: Path) -> None:
    record = as_record(made())
    before = put(first_record(), tmp_path)
    path = records.write(record, tmp_path)
    assert path == tmp_path / "cpu2" / "2-new.json"
    assert records.read(path) == record
    assert records.records("cpu2", tmp_path) == [before, record]
    assert records.where(Path("cpu2/2"), tmp_path) == path
    assert record.entry.median_s == 3
    assert record.p == 1 / 252


@pytest.mark.parametrize("missed", [{"fid": 12.01}, {"fid_mixer": 1e3}, {"spectrum_distance": 1e9}])
def test_one_run_may_miss_and_no_second(missed: dict[str, float]) -> None:
    runs = [made_run(1 + i, i, **(missed if i < 1 else {})) for i in range(RUNS)]
    assert as_record(made(runs=runs)).missed == 1
    two = [made_run(1 + i, i, **(missed if i < 2 else {})) for i in range(RUNS)]
    assert list(made(runs=two).reasons()) == ["2 of 5 runs miss the target, and 1 may"]


def lacking(metric: str) -> list[Run]:
    """Runs that say nothing of a score."""
    one = made_run(1.0)
    scores = {name: value for name, value in one.scores.items() if name != metric}
    return [one.model_copy(update={"scores": scores})] * RUNS


NO_RECORD: dict[str, tuple[Attempt, str]] = {
    "slower": (made(others=[1, 2, 3, 4, 5], times=[6, 7, 8, 9, 10]), "p = 1 that it is no faster"),
    "not surely faster": (made([1, 2, 3, 4, 7], [5, 6, 8, 9, 10]), "p = 0.0159"),
    "misses": (made(runs=[made_run(1.0, fid=12.01)] * RUNS), "its median fid is 12"),
    "misses by a judge": (made(runs=[made_run(1.0, fid_texture=99.0)] * RUNS), "its median fid_texture is 99"),
    "lacks a judge": (made(runs=lacking("pixel_distance")), "its median pixel_distance is inf"),
    "evaluations": (made(runs=[made_run(1.0, evaluations=51)] * RUNS), "51 evaluations"),
    "dirty": (made(environment=here(dirty=True)), "differs from its commit"),
    "no commit": (made(environment=here(commit="v0.1.0")), "differs from its commit"),
    "other threads": (made(environment=here(threads=64)), "it ran on cpu with 64 threads"),
    "another device": (made(environment=here(device="cuda")), "it ran on cuda"),
    "chosen seeds": (made(entry=made_side("new", [made_run(1.0, seed) for seed in range(RUNS)])), "the seeds of new"),
    "a rival's seeds": (made(against=made_side("old", [made_run(9.0, s) for s in range(RUNS)])), "the seeds of old"),
    "seeds of another number": (made(number=3), "the seeds of new"),
    "one run copied": (
        made(entry=made_side("new", [made_run(1.0).model_copy(update={"seed": seed}) for seed in SEEDS])),
        "two runs of new have the same samples",
    ),
    "a calibration": (made(number=0), "to choose a target by"),
    "two diverged": (made(runs=[*[made_run(1.0)] * 3, *[Run(seed=0, diverged="diverged")] * 2]), "2 of 5 runs miss"),
    "few runs": (made(runs=[made_run(1.0)] * 4), "5 runs"),
    "few rivals": (made(others=[6, 7, 8, 9]), "5 runs"),
    "all of one first": (in_turn(made(), "AAAAABBBBB"), "did not begin in turn"),
    "the rival always second": (in_turn(made(), "ABABABABAB"), "did not begin in turn"),
    "nobody knows when": (in_turn(made(), ""), "did not begin in turn"),
}


@pytest.mark.parametrize("case", NO_RECORD)
def test_what_breaks_a_rule_is_no_record(case: str, tmp_path: Path) -> None:
    """Neither when it is made nor when it is read."""
    attempt, why = NO_RECORD[case]
    assert why in " ".join(attempt.reasons())
    with pytest.raises(ValueError, match="Value error"):
        as_record(attempt)
    path = tmp_path / "x.json"
    path.write_text(records.text_of(attempt))
    with pytest.raises(UserError, match="is not a record") as error:
        records.read(path)
    assert "\n" not in str(error.value)


DAMAGE: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda text: "",
    "cut short": lambda text: text[: len(text) // 2],
    "no JSON": lambda text: b"\xff\xfe\x00" * 50,
    "a list": lambda text: "[]",
    "deep": lambda text: "[" * 100_000,
    "a number as text": lambda text: text.replace('"number": 2', '"number": "2"'),
    "a track with a path": lambda text: text.replace('"cpu2"', '"../cpu2"'),
    "a name with markup": lambda text: text.replace('"name": "new"', '"name": "<script>"', 1),
    "no seconds": lambda text: text.replace('"train_s": [', '"train_s": [], "x": ['),
    "negative seconds": lambda text: text.replace("0.5", "-0.5", 1),
    "not a number": lambda text: text.replace('"fid": 12.0', '"fid": NaN', 1),
    "negative FID": lambda text: text.replace('"fid": 12.0', '"fid": -1.0', 1),
    "negative set-up": lambda text: text.replace('"load": 1.0', '"load": -1.0', 1),
    "seconds altered": lambda text: text.replace("0.5", "500.0").replace("1.0,\n", "500.0,\n"),
    "a seed altered": lambda text: text.replace(f'"seed": {SEEDS[0]}', '"seed": 1', 1),
    "two began at once": lambda text: text.replace("03:05:05Z", "03:04:05Z", 1),
    "large": lambda text: text + " " * 1_000_001,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_one_line(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    text = records.text_of(made())
    altered = DAMAGE[damage](text)
    content = altered if isinstance(altered, bytes) else altered.encode()
    assert content != text.encode()
    put(first_record(), tmp_path)
    path = tmp_path / "cpu2" / "2-new.json"
    path.write_bytes(content)
    for argv in (["race"], ["race", "--verify", str(path)]):
        assert cli.main(argv) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "is not a record" in said


@pytest.mark.parametrize(("by_rules", "made_runs"), [(9, 5), (5, 9)])
def test_no_file_asks_for_many_ways_to_divide(by_rules: int, made_runs: int, tmp_path: Path) -> None:
    content = json.loads(records.text_of(made()))
    content["rules"]["runs"] = by_rules
    content["entry"]["runs"] = (content["entry"]["runs"] * 2)[:made_runs]
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"(less than or equal to|at most) 8"):
        records.read(tmp_path / "x.json")


def numbered(number: int, name: str = "new") -> RaceRecord:
    """A record of any number, run against the first one."""
    new, old = ([made_run(s + i, seed) for i, seed in enumerate(seeds_of("cpu2", number))] for s in (1.0, 6.0))
    return as_record(made(number=number, entry=made_side(name, new), against=made_side("old", old)))


def test_records_are_numbered_without_gaps(tmp_path: Path) -> None:
    put(first_record(), tmp_path)
    far = numbered(900)
    with pytest.raises(UserError, match="set while this ran"):
        records.write(far, tmp_path)
    put(far, tmp_path)
    with pytest.raises(UserError, match=r"900-new\.json is not a record: it is number 900, and number 2 comes next"):
        records.records("cpu2", tmp_path)
    put(numbered(2), tmp_path)
    put(numbered(2, "newer"), tmp_path)
    with pytest.raises(UserError, match="it is number 2, and number 3 comes next"):
        records.records("cpu2", tmp_path)


def test_a_record_under_another_name_is_refused(tmp_path: Path) -> None:
    put(first_record(), tmp_path)
    path = records.write(as_record(made()), tmp_path)
    path.rename(path.with_name("3-new.json"))
    with pytest.raises(UserError, match="it is number 2 of cpu2, by new"):
        records.records("cpu2", tmp_path)


def test_a_record_by_other_rules_does_not_stand() -> None:
    record = as_record(made())
    changes: list[dict[str, Any]] = [{"fid": 11.0}, {"judge": "c" * 64}, {"limits": {}}, {"evaluations": 49}]
    for change in [*changes, {"runs": 7}, {"misses": 0}, {"p": 0.05}, {"dataset_sha256": "f" * 64}]:
        other = record.model_copy(update={"rules": record.rules.model_copy(update=change)})
        assert records.present([record, other]) == record
        assert records.present([other]) is None


@pytest.mark.parametrize("change", [{"cores": 4}, {"device": "cuda"}, {"fid": 9.0}, {}])
def test_a_record_stays_when_the_rules_change(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of them does: those of a track, or the number of samples."""
    record = put(first_record(), tmp_path)
    if not change:
        monkeypatch.setattr(records, "N", N + 1)
    with standing_in(TRACKS, TRACKS | {"cpu2": replace(TRACKS["cpu2"], **change)}):
        assert records.records("cpu2", tmp_path) == [record]
        assert records.present([record]) is None
        assert "1 (other rules)" in words.standing(tmp_path)


def test_the_data_are_those_that_are_pinned() -> None:
    assert hashlib.sha256("".join(MNIST.sha256).encode()).hexdigest() == rules.DATASET_SHA256


def test_a_record_stands_only_after_a_race_with_the_one_before_it(tmp_path: Path) -> None:
    """However it came into the folder. A record by other rules is nobody's rival."""
    third = made_side("third", seeded([made_run(9.0)] * RUNS))
    for case, attempt in {"alone": made(against=None), "another": made(against=third)}.items():
        put(first_record(), tmp_path / case)
        put(as_record(attempt), tmp_path / case)
        with pytest.raises(UserError, match="it was not run against record 1"):
            records.records("cpu2", tmp_path / case)
    by_others = first_record().model_copy(update={"rules": made().rules.model_copy(update={"fid": 99.0})})
    put(by_others, tmp_path / "nobody")
    put(as_record(made()), tmp_path / "nobody")
    with pytest.raises(UserError, match="there was no record by its rules then"):
        records.records("cpu2", tmp_path / "nobody")
    put(by_others, tmp_path / "rules")
    put(as_record(made(against=None)), tmp_path / "rules")
    assert [record.number for record in records.records("cpu2", tmp_path / "rules")] == [1, 2]


def test_a_record_that_was_overtaken_is_not_written(tmp_path: Path) -> None:
    record = as_record(made())
    put(first_record(), tmp_path)
    records.write(record, tmp_path)
    before = sorted(tmp_path.rglob("*.json"))
    with pytest.raises(UserError, match="record 2 of cpu2 was set while this ran"):
        records.write(record, tmp_path)
    assert sorted(tmp_path.rglob("*.json")) == before


def test_a_run_that_diverged_is_the_slowest(tmp_path: Path) -> None:
    """One of the first record may diverge. A present record that does so on other seeds can still be beaten."""
    lost = Run(seed=0, diverged="diverged: the loss is nan")
    seeds = seeds_of("cpu2", 1)
    runs = [made_run(1.0 + i, seed) for i, seed in enumerate(seeds)]
    runs[0] = lost.model_copy(update={"seed": seeds[0]})
    first = as_record(made(number=1, entry=made_side("old", runs), against=None))
    assert (first.missed, first.entry.median_s, first.entry.times[0]) == (1, 4, math.inf)
    assert records.read(records.write(first, tmp_path)) == first
    assert "diverged" in words.outcome(first)
    rivals = seeded([*[made_run(6.0 + i) for i in range(4)], lost])
    record = as_record(made(against=made_side("old", rivals)))
    assert record.p == 1 / 252
    assert records.read(records.write(record, tmp_path)) == record
    assert "0.38 × old" in words.standing(tmp_path)
    with pytest.raises(ValueError, match="has times"):
        Run(seed=0, train_s=(1.0,))


# who may take part


def test_the_other_judges_are_all_limited() -> None:
    for track in TRACKS.values():
        assert track.limits.keys() == set(panel("fid"))


@pytest.mark.parametrize(("name", "track"), [(name, track) for name, one in ENTRIES.items() for track in one.tracks])
def test_every_entry_keeps_the_rules(name: str, track: str) -> None:
    """On a machine without the track's device too."""
    entry = ENTRIES[name]
    jobs.check(entry.settings, replace(TRACKS[track], device="cpu"))
    jobs.check(jobs.quick(entry.settings), replace(TRACKS[track], device="cpu"))
    assert json.loads(json.dumps(entry.settings)) == entry.settings, "so that a record's is the same"


TINY: dict[str, Any] = {
    "train": {"epochs": 2, "batch_size": 64}, "net": "tiny", "objective": "x0", "schedule": "linear", "T": 100,
    "sampler": "ddim", "sample_steps": 4,
}  # fmt: skip
UNET = TINY | {"net": "unet"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"net": "oracle"}, "nothing is trained"),
        ({"train": {"epochs": 0}}, "train.epochs: 0 trains nothing"),
        ({"train": {"epochs": 1, "images": 60_001}}, "60000 training images"),
        ({"sample_steps": 51}, "51 evaluations of the network for each sample: the track allows 50"),
        ({"sampler": "heun", "sample_steps": 27}, "53 evaluations"),
        ({"net": "unet(classes=10)"}, "net unet(classes=10) is told the labels"),
        ({"seed": 3}, "'seed' is not an entry's to choose"),
        ({"dataset": "kmnist"}, "'dataset' is not"),
        ({"nets": "unet"}, "nets"),
        ({"objective": "x1"}, "unknown objective 'x1'"),
        ({"train": {"epochs": 1, "lr": -1.0}}, "train.lr"),
        ({"engine": "fast"}, "unknown engine"),
        ({"engine": "auto"}, "names its engine"),
        ({"beside": "quick"}, "'beside' is not an entry's to choose"),
        ({"sample_steps": 101}, "more than T=100"),
    ],
)
def test_an_entry_that_breaks_a_rule_is_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        jobs.check(UNET | changes, TRACKS["cpu2"])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_rows_of_another_package_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.study.model.packages", lambda rows: ("toys 1.0",))
    with pytest.raises(UserError, match=r"it uses rows of toys 1\.0: an entry's rows are to be in this repository"):
        jobs.check(UNET, TRACKS["cpu2"])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--track", "cpu3"], "unknown track 'cpu3'; did you mean 'cpu2'"),
        (["--entry", "unet-w"], "unknown entry 'unet-w'; did you mean 'unet-v'"),
        (["--entry", "unet-v"], "say --track cpu2 or gpu1"),
        (["--entry", "unet-v", "--track", ""], "unknown track ''"),
        (["--verify", "cpu2/9", "--track", ""], "--track, --calibrate and --quick are for --entry"),
        (["--entry", "unet-v", "--track", "cpu2-one-step"], "is of cpu2 and gpu1, not of cpu2-one-step"),
        (["--calibrate"], "say --entry NAME too"),
        (["--quick"], "say --entry NAME too"),
        (["--verify", "cpu2/9"], "no record cpu2/9 (there are: none)"),
        (["--verify", "x", "--entry", "unet-v"], "not allowed with"),
        (["--verify", "cpu2/9", "--quick"], "--quick are for --entry"),
        (["--verify", "cpu2/9", "--calibrate"], "--calibrate and --quick are for --entry"),
        (["--verify", "cpu2/9", "--track", "cpu2"], "--track, --calibrate and --quick are for --entry"),
        (["--work", "x"], "say --entry NAME too"),
        (["--entry", "unet-v", "--track", "cpu2", "--calibrate", "--out", "."], "is no file: name one"),
        (["--entry", "unet-v", "--track", "cpu2", "--calibrate", "--out", "/proc/no/x"], "cannot write to folder"),
    ],
)
def test_mistakes_are_one_line(
    argv: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    try:
        code = cli.main(["race", *argv])
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr().err
    assert (code, said.count("\n")) == (2, 1)
    assert says in said
    assert not list(tmp_path.iterdir())


# a contest


class Made:
    """A runner that trains nothing: an entry's settings say how long its runs take, and what they score."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int]] = []
        self.stop_at: int | None = None
        self.where: Environment | None = None

    def __call__(self, task: Task) -> Done:
        """A run, at once."""
        if len(self.runs) == self.stop_at:
            raise KeyboardInterrupt
        self.runs.append((task.settings["name"], task.seed))
        seconds = task.settings["seconds"] + task.seed % 100 / 1e6
        return done_of(made_run(seconds, task.seed, **task.settings.get("scores", {})), self.where)


def made_entry(name: str, seconds: float, **scores: float) -> Entry:
    return Entry(("cpu2",), "somebody", "made up", {"name": name, "seconds": seconds, "scores": scores}, "made")


@pytest.fixture
def runner(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """Made-up entries, records in a folder of their own, and a lock that no real race holds."""
    found = Made()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    rows = {
        "slow": made_entry("slow", 10), "fast": made_entry("fast", 5), "same": made_entry("same", 10.0),
        "bad": made_entry("bad", 1, fid=99.0),
    }  # fmt: skip
    monkeypatch.setattr(records, "FOLDER", tmp_path / "records")
    monkeypatch.setattr(contest, "uncommitted", lambda: False)
    monkeypatch.setattr(contest, "on_cores", nullcontext)
    with (
        standing_in(ENTRIES, rows),
        standing_in(RUNNERS, {"made": Runner(found, lambda *_: None, dict)}),
    ):
        yield found


def enter(name: str, tmp_path: Path, *more: str) -> int:
    return cli.main(["race", "--entry", name, "--work", str(tmp_path / "work"), *more])


def test_who_waits_is_told_whose_run_it_is(runner: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each run, and after the last one, where nothing more is to come."""
    said: list[str] = []

    @contextmanager
    def waiting(what: Callable[[], str]) -> Iterator[None]:
        monkeypatch.setattr(words, "turn", lambda turn: said.append(what()))
        said.append(what())
        yield

    monkeypatch.setattr(output, "waiting", waiting)
    assert enter("slow", tmp_path) == 0
    assert enter("fast", tmp_path) == 0
    alone = [f"at run {number} of 5: slow, for 0 s" for number in (*range(1, RUNS + 1), RUNS)]
    names = ["fast", "slow", "slow", "fast"] * 2 + ["fast", "slow"]
    assert said[: len(alone)] == alone
    assert said[len(alone) :] == [
        f"at run {number} of 10: {names[number - 1]}, for 0 s" for number in (*range(1, 11), 10)
    ]


def test_records_are_set_in_turn(runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enter("slow", tmp_path) == 0
    assert [name for name, _ in runner.runs] == ["slow"] * RUNS
    runner.runs.clear()
    assert enter("fast", tmp_path) == 0
    order = [name for name, _ in runner.runs]
    assert order == ["fast", "slow", "slow", "fast"] * 2 + ["fast", "slow"]
    first, second = records.records("cpu2", records.FOLDER)
    assert (first.entry.name, first.against, first.p) == ("slow", None, None)
    assert (second.number, second.entry.name, second.p) == (2, "fast", 1 / 252)
    assert records.present([first, second]) == second
    assert {run.seed for run in first.entry.runs}.isdisjoint(run.seed for run in second.entry.runs)
    capsys.readouterr()
    assert cli.main(["race"]) == 0
    assert "5.0 s, fast" in capsys.readouterr().out
    assert cli.main(["race", "--track", "gpu1"]) == 0
    assert "fast" not in capsys.readouterr().out


@pytest.mark.parametrize(("name", "says"), [("bad", "no record: its median fid is 99"), ("same", "no record: p = ")])
def test_what_is_no_record_is_not_written(
    name: str, says: str, runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter("slow", tmp_path) == 0
    before = sorted(records.FOLDER.rglob("*"))
    assert enter(name, tmp_path, "--out", str(tmp_path / "attempt.json")) == 1
    assert says in capsys.readouterr().out
    assert sorted(records.FOLDER.rglob("*")) == before
    kept = Attempt.parse((tmp_path / "attempt.json").read_bytes())
    assert kept.entry.name == name
    assert enter(name, tmp_path, "--out", str(tmp_path / "attempt.json")) == 1, "over the earlier one"
    with pytest.raises(UserError, match="is not a record"):
        records.read(tmp_path / "attempt.json")


def test_what_is_no_attempt_is_not_written_over(
    runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter("slow", tmp_path) == 0
    runner.runs.clear()
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "link.json").symlink_to(records.FOLDER / "cpu2" / "1-slow.json")
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    cases = {"notes": "no earlier attempt", "link.json": "among the records", "records/new/x": "among the records"}
    for out, says in cases.items():
        assert enter("bad", tmp_path, "--out", str(tmp_path / out)) == 2
        assert says in capsys.readouterr().err
    assert enter("bad", tmp_path, "--out", os.devnull) == 2
    assert "is no file" in capsys.readouterr().err
    assert not runner.runs
    assert {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option", ["--quick", "--calibrate"])
def test_a_try_writes_no_record(option: str, runner: Made, tmp_path: Path) -> None:
    """However good it is."""
    assert enter("fast", tmp_path, option) == 0
    assert not records.FOLDER.exists()
    assert len(runner.runs) == (2 if option == "--quick" else RUNS)


def test_a_race_goes_on_after_the_last_finished_run(runner: Made, tmp_path: Path) -> None:
    runner.stop_at = 3
    assert enter("fast", tmp_path) == 130
    assert not records.FOLDER.exists()
    runner.stop_at = None
    done = list(runner.runs)
    kept = sorted(tmp_path.glob("work/*/*.json"))
    assert len(kept) == len(done) == 3
    kept[1].write_text("{}")  # a damaged one is done again, and what came after it, so that all are in turn
    assert enter("fast", tmp_path) == 0
    again = runner.runs[3:]
    assert len(again) == RUNS - 1
    assert len(set(done + again)) == RUNS
    (record,) = records.records("cpu2", records.FOLDER)
    assert [run.starts for run in record.entry.runs] == [1, 2, 2, 2, 1], "one was cut off"


def test_another_name_makes_no_runs_anew(runner: Made, tmp_path: Path) -> None:
    assert enter("fast", tmp_path, "--calibrate") == 0
    runner.runs.clear()
    ENTRIES["renamed"] = ENTRIES["fast"]
    assert enter("renamed", tmp_path, "--calibrate") == 0
    assert not runner.runs


def test_code_that_changes_between_runs_ends_the_race(
    runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "loop.py").write_text("slow = True")

    def edited(task: Task) -> Done:
        if runner.runs:
            (code / "loop.py").write_text("slow = False")
        return runner(task)

    RUNNERS["made"] = replace(RUNNERS["made"], run=edited, code=(code,))
    assert enter("fast", tmp_path) == 2
    assert "the code or a version changed during a run" in capsys.readouterr().err
    assert not records.FOLDER.exists()
    assert len(list(tmp_path.glob("work/*/*.json"))) == 1
    RUNNERS["made"] = replace(RUNNERS["made"], run=runner)
    assert enter("fast", tmp_path) == 0
    (code / "loop.py").write_text("slow = True")
    assert cli.main(["race", "--verify", "cpu2/1", "--work", str(tmp_path / "work")]) == 0
    assert "need not be, as software differ" in capsys.readouterr().out


def test_uncommitted_code_sets_no_record(
    runner: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(contest, "uncommitted", lambda: True)
    assert enter("fast", tmp_path) == 2
    assert "commit first" in capsys.readouterr().err
    assert not runner.runs
    assert enter("fast", tmp_path, "--out", str(tmp_path / "attempt.json")) == 1
    assert "no record: the code differs from its commit" in capsys.readouterr().out
    monkeypatch.setattr(contest, "uncommitted", lambda: False)
    assert enter("fast", tmp_path) == 0, "its runs are made again"
    assert len(runner.runs) == 2 * RUNS


def test_the_record_itself_is_not_entered_again(
    runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter("slow", tmp_path) == 0
    assert enter("slow", tmp_path) == 2
    assert "is the present record" in capsys.readouterr().err


def test_a_runner_that_is_not_loaded_is_one_line(
    runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a record of somebody else's, say: nothing is imported by a name in a file."""
    assert enter("slow", tmp_path) == 0
    del RUNNERS["made"]
    RUNNERS["job"] = Runner(runner, lambda *_: None, dict)
    assert cli.main(["race", "--verify", "cpu2/1"]) == 2
    assert "'made', which is not loaded" in capsys.readouterr().err


def test_seeds_follow_from_the_attempt() -> None:
    seeds = seeds_of("cpu2", 1)
    assert len(set(seeds)) == RUNS
    assert all(set(seeds).isdisjoint(other) for other in [seeds_of("gpu1", 1), seeds_of("cpu2", 2)])


def test_no_configuration_chooses_seeds(runner: Made, tmp_path: Path) -> None:
    for name in ("slow", "bad"):
        enter(name, tmp_path, "--calibrate")
    seeds = [seed for _, seed in runner.runs]
    assert len(seeds) == 2 * RUNS
    assert seeds[:RUNS] == seeds[RUNS:]


OURS: dict[str, Any] = UNET | {"objective": "v", "sampler": "dpmpp_2m_sde"}
SPELLINGS: dict[str, dict[str, Any]] = {
    "η of a sampler without": {"eta": 0.37}, "the objective's own weight": {"weight": "unit"},
    "equal in time": {"train": OURS["train"] | {"equal": "time"}},
    "snapshots for nothing": {"train": OURS["train"] | {"snapshots": 7}},
    "all images": {"train": OURS["train"] | {"images": 60_000}},
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_present_record_is_known_however_it_is_spelt(
    spelling: str, runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RUNNERS["job"] = Runner(lambda task: done_of(made_run(1.0, task.seed)), jobs.check, dict, jobs.plain)
    ENTRIES["one"] = Entry(("cpu2",), "somebody", "", OURS)
    ENTRIES["other"] = Entry(("cpu2",), "somebody", "", OURS | SPELLINGS[spelling])
    assert ENTRIES["one"].settings != ENTRIES["other"].settings
    assert jobs.plain(ENTRIES["one"].settings) == jobs.plain(ENTRIES["other"].settings)
    assert enter("one", tmp_path) == 0
    assert enter("other", tmp_path) == 2
    assert "is the present record" in capsys.readouterr().err


def test_settings_that_change_something_are_kept() -> None:
    average = {"train": OURS["train"] | {"snapshots": 7}, "ema": 0.1}
    fewer = {"train": OURS["train"] | {"images": 59_999}}
    for change in ({"eta": 0.37, "sampler": "ddim"}, {"weight": "snr"}, fewer, average):
        assert jobs.plain(OURS | change) != jobs.plain(OURS), change
    assert jobs.plain(OURS | average)["train"]["snapshots"] == 7


def test_settings_have_one_form() -> None:
    """Whatever is spelt out, left out or written another way."""
    plain = jobs.plain(UNET)
    spellings: list[dict[str, Any]] = [
        {"net": {"unet": {}}}, {"engine": "eager"}, {"eta": 0.0, "clip": True, "weight": "default"},
        {"train": {"epochs": 2, "batch_size": 64, "warmup": 0.05}},
    ]  # fmt: skip
    assert all(jobs.plain(UNET | other) == plain for other in spellings)
    assert jobs.plain(plain) == plain == json.loads(json.dumps(plain))
    assert jobs.cell_of(plain, 20, 3)[1].key == jobs.cell_of(UNET, 20, 3)[1].key
    assert jobs.plain(UNET | {"engine": "compiled"})["engine"] == "compiled"
    for entry in ENTRIES.values():
        assert jobs.cell_of(jobs.plain(entry.settings), 20, 0)[1] == jobs.cell_of(entry.settings, 20, 0)[1]


def test_runs_of_two_machines_make_no_attempt() -> None:
    racer = Racer("a", "x", "job", {})
    race = contest.Contest("cpu2", 1, (racer,), (1, 2), N)
    turns = [
        contest.Turn(i, 2, 0, racer, done_of(made_run(1.0, i), where), kept=False)
        for i, where in enumerate([here(), here(machine="ffffffff")])
    ]
    with pytest.raises(UserError, match="several machines"):
        contest.attempt(race, turns)
    assert contest.attempt(race, [turns[0], turns[0]]).entry.times == [1.0, 1.0]


def test_runs_by_two_judges_make_no_attempt() -> None:
    """Also where the first run has none, as it diverged."""
    race = contest.Contest("cpu2", 1, (Racer("a", "x", "job", {}),), (1, 2, 3), N)
    lost = Done(run=Run(seed=0, diverged="diverged"), environment=here())
    judged = [lost, *(done_of(made_run(1.0, i)) for i in range(2))]
    turns = [contest.Turn(i, 3, 0, race.racers[0], one, kept=False) for i, one in enumerate(judged)]
    assert contest.attempt(race, turns).entry.times[0] == math.inf
    other = judged[2].model_copy(update={"provenance": Provenance(classifier="c" * 64, dataset_sha256="d" * 64)})
    with pytest.raises(UserError, match="several machines or versions"):
        contest.attempt(race, [*turns[:2], turns[2]._replace(done=other)])


def test_runs_of_other_software_make_no_attempt() -> None:
    race = contest.Contest("cpu2", 1, (Racer("a", "x", "job", {}),), (1, 2), N)
    done = [done_of(made_run(1.0, i)).model_copy(update={"software": {"theirs": f"{i}.0"}}) for i in range(2)]
    turns = [contest.Turn(i, 2, 0, race.racers[0], one, kept=False) for i, one in enumerate(done)]
    with pytest.raises(UserError, match="the runs of a had different software"):
        contest.attempt(race, turns)


def test_runs_of_other_code_are_not_taken(runner: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any file of the runner, and of any version of another package."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "loop.py").write_text("slow = True")
    RUNNERS["made"] = replace(RUNNERS["made"], code=(code,))
    race = contest.Contest("cpu2", 1, (Racer("a", "x", "made", {}),), (1, 2), N)
    found = {race.folder(tmp_path)}
    assert found == {race.folder(tmp_path)}
    (code / "loop.py").write_text("slow = False")
    found.add(race.folder(tmp_path))
    monkeypatch.setattr("bench.rows.installed", lambda: "rows 2.0")
    found.add(race.folder(tmp_path))
    monkeypatch.setattr(torch, "__version__", "3.0.0")
    found.add(race.folder(tmp_path))
    monkeypatch.setattr(contest, "uncommitted", lambda: True)
    assert len(found | {race.folder(tmp_path)}) == 5


def test_another_version_is_noticed_at_its_first_run(
    runner: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runner.stop_at = 2
    assert enter("fast", tmp_path) == 130
    runner.stop_at, runner.where = None, here(torch="3.0.0")
    assert enter("fast", tmp_path) == 2
    assert len(runner.runs) == 3
    assert "several machines or versions" in capsys.readouterr().err


def test_one_race_at_a_time(runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contest.alone():
        assert enter("fast", tmp_path) == 2
    assert "another race is being run on this machine" in capsys.readouterr().err
    assert not runner.runs
    assert enter("fast", tmp_path) == 0


def test_a_name_that_is_no_files_is_refused_at_once(
    runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ENTRIES["my_entry"] = made_entry("my_entry", 5)
    assert enter("my_entry", tmp_path) == 2
    assert "a name has small letters, digits and -" in capsys.readouterr().err
    assert not runner.runs


def test_without_git_nothing_counts_as_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, bool] = {"## main": False, "## main\n M bench/x.py": True}
    for state, expected in said.items():
        monkeypatch.setattr("bench.machine.provenance.git", lambda *_, state=state: state)
        assert contest.uncommitted() is expected
    monkeypatch.setattr("bench.machine.provenance.git", lambda *_: None)
    assert contest.uncommitted()


# verifying


def test_a_record_is_run_again(runner: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its own seeds and new runs, beside the one that it was run against, or beside the present one."""
    for name in ("slow", "fast"):
        enter(name, tmp_path)
    record = records.records("cpu2", records.FOLDER)[1]
    for _ in range(2):
        runner.runs.clear()
        capsys.readouterr()
        assert cli.main(["race", "--verify", "cpu2/2", "--work", str(tmp_path / "work")]) == 0
        assert [seed for name, seed in runner.runs if name == "fast"] == [run.seed for run in record.entry.runs]
        assert len(runner.runs) == 2 * RUNS
        said = capsys.readouterr().out
        assert "holds: against slow: 0.500 of its time here" in said
        assert "holds: samples: the same bytes in 5 of 5 runs" in said
    runner.runs.clear()
    with pytest.raises(UserError, match=r"\(there are: (.*) and (.*)\)") as refused:
        records.where(Path("cpu2/3"), records.FOLDER)
    offered = re.findall(r"cpu2/[\w-]+", str(refused.value))[1:]
    assert [records.where(Path(name), records.FOLDER).stem for name in offered] == ["1-slow", "2-fast"]
    with pytest.raises(UserError, match="no record cpu2/1-slo "):
        records.where(Path("cpu2/1-slo"), records.FOLDER)
    assert cli.main(["race", "--verify", "cpu2/1", "--work", str(tmp_path / "work")]) == 0
    assert {name for name, _ in runner.runs} == {"slow", "fast"}
    assert not list((tmp_path / "work").glob("verify-*")), "so that no run verifies another attempt"


def test_a_gain_that_is_not_sure_is_for_the_reader() -> None:
    record = as_record(made())
    for times, others, holds in (
        ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10], True),
        ([1, 2, 3, 4, 11], [6, 7, 8, 9, 10], None),
        ([6, 7, 8, 9, 10], [1, 2, 3, 4, 5], False),
    ):
        again = made([float(one) for one in times], [float(one) for one in others])
        told = next(one for one in verify.findings(record, again) if one.text.startswith("against"))
        assert told.holds is holds


def test_what_does_not_hold_is_said() -> None:
    record = as_record(made())
    entry = made(runs=[made_run(9.0, fid=99.0)] * RUNS).entry
    runs = tuple(run.model_copy(update={"samples_sha256": "0" * 64}) for run in entry.runs)
    other = made(entry=entry.model_copy(update={"runs": runs}))
    said = {one.text: one.holds for one in verify.findings(record, other)}
    broken = " ".join(text for text, holds in said.items() if holds is False)
    assert "fid: 99 here" in broken
    assert "5 of 5 runs miss" in broken
    assert "the same bytes in 0 of 5" in broken
    assert "against old: 1.125" in broken
    for change, holds in (({"torch": "3.0.0"}, None), ({"code": "0" * 12}, None), ({"commit": "b" * 40}, False)):
        elsewhere = other.model_copy(update={"environment": here(**change)})
        assert next(one for one in verify.findings(record, elsewhere) if "same bytes" in one.text).holds is holds


# what really trains


@pytest.fixture
def one_core(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The track, with one thread: more would wait for each other where others run tests. Jobs run in this process."""
    monkeypatch.setattr("bench.race.jobs.EXECUTOR", "inline")
    with standing_in(TRACKS, {"cpu2": replace(TRACKS["cpu2"], cores=1)}):
        yield


def test_a_job_is_a_run(world: World, one_core: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its seconds are those of its epochs, whatever else takes time. It begins anew, whatever is there already."""
    ticks = iter(range(10**6))
    monkeypatch.setattr("bench.machine.clocks.CLOCKS", {"cpu": lambda: HostClock(now=lambda: float(next(ticks)))})
    task = Task(TINY, 7, "cpu2", 20, world.store.root)
    _, cell = jobs.cell_of(TINY, 20, 7)
    done = jobs.run(task)
    before = next(ticks)
    assert jobs.run(task).run.samples_sha256 == done.run.samples_sha256
    assert next(ticks) - before > 2 * 2, "it is trained and sampled again"
    record = world.store.read(JobRecord, cell.job.key)
    assert isinstance(record, TrainedJob)
    assert done.run.train_s == tuple(epoch.seconds for epoch in record.epochs) == (1.0, 1.0)
    assert done.run.images == 2 * 256
    assert done.run.evaluations == 4
    assert {"load", "validate", "sample", "score"} <= done.run.apart_s.keys()
    assert "train" not in done.run.apart_s
    kept = world.store.load_samples(cell.key)
    assert kept is not None
    assert done.run.samples_sha256 == hashlib.sha256(kept[0].tobytes()).hexdigest()
    assert (done.run.seed, cell.sampling.sample_seed) == (7, 7)
    assert set(done.run.scores) == {"fid", *panel("fid", done.provenance.classifier)}


def test_what_a_run_left_is_forgotten_but_for_locks(tmp_path: Path) -> None:
    _, cell = jobs.cell_of(UNET, 20, 7)
    store = Store(tmp_path)
    for kind in ("cells", "locks", "checkpoints"):
        store.write_bytes(store.path(kind, cell.key, ".x"), b"x")
    jobs.forget(cell, store)
    assert [path.parent.name for path in tmp_path.rglob("*.x")] == ["locks"]


def test_a_job_that_diverges_misses(world: World, one_core: None) -> None:
    settings = TINY | {"train": {"epochs": 1, "batch_size": 64, "lr": 1e30, "warmup": 0.0}}
    done = jobs.run(Task(settings, 7, "cpu2", 20, world.store.root))
    assert done.run.diverged is not None
    assert done.run.diverged.startswith("diverged")
    assert (done.provenance, done.run.seconds) == (None, math.inf)


@pytest.mark.parametrize("teach", ["progressive", "reflow"])
def test_a_teacher_that_diverges_misses(teach: str, world: World, one_core: None) -> None:
    """Its student fails too, for want of a teacher."""
    train = {"epochs": 4, "batch_size": 64, "lr": 1e30, "warmup": 0.0}
    settings = TINY | {"train": train, "objective": "v", "schedule": "cosine", "T": 128, "teach": teach}
    done = jobs.run(Task(settings, 7, "cpu2", 20, world.store.root))
    assert (done.run.diverged or "").startswith("diverged")
    assert (done.provenance, done.run.seconds) == (None, math.inf)


def test_a_run_that_fails_otherwise_is_one_line(world: World, one_core: None, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = tuple(Failure(job="0", cell=None, label="", reason=reason) for reason in ("no space is left", "not run"))
    monkeypatch.setattr("bench.execute.run.run_study", lambda *_: iter([Ended(failures=failures)]))
    with pytest.raises(UserError, match=r"^a run failed: no space is left$"):
        jobs.run(Task(TINY, 7, "cpu2", 20, world.store.root))


def noise(task: Task) -> apart.Drawn:
    """A training loop of somebody's that draws noise."""
    samples = torch.randint(0, 256, (task.n, 1, 28, 28), dtype=torch.uint8)
    return apart.Drawn((1.0, 2.0), {"build": 0.5}, 3, 64, samples, {"theirs": "1.0"})


def test_another_training_loop_is_scored_the_same(world: World, one_core: None) -> None:
    task = Task({}, 3, "cpu2", 20, world.store.root)
    done = apart.scored(noise, task)
    assert (done.run.seconds, done.run.evaluations, done.software) == (3.0, 3, {"theirs": "1.0"})
    assert done.run.apart_s.keys() == {"build", "score"}
    assert set(done.run.scores) == {"fid", *panel("fid", done.provenance.classifier)}
    assert apart.scored(noise, task).run.samples_sha256 == done.run.samples_sha256, "its seed is set"
    with pytest.raises(UserError, match="shape"):
        apart.scored(lambda one: replace(noise(one), samples=torch.zeros(3, 1, 28, 28, dtype=torch.uint8)), task)


def broken(task: Task) -> apart.Drawn:
    """A training loop with a fault."""
    raise KeyError(f"no layer\n{task.seed}")


def lost(task: Task) -> apart.Drawn:
    """A training loop that diverges."""
    raise FloatingPointError("the samples are not finite")


def test_a_training_loop_with_a_fault_is_one_line(world: World, one_core: None) -> None:
    task = Task({}, 3, "cpu2", 20, world.store.root)
    with (
        standing_in(RUNNERS, {"broken": Runner(apart.in_own_process(broken), lambda *_: None, dict)}),
        pytest.raises(UserError) as error,
    ):
        Racer("mine", "x", "broken", {}).run(3, "cpu2", 20, world.store.root)
    assert str(error.value).startswith("entry 'mine', seed 3: a run failed: KeyError: ")
    assert "\n" not in str(error.value)
    assert apart.scored(lost, task).run.diverged == "the samples are not finite"


WAITING = """
import sys
from pathlib import Path
from bench.race import apart
from bench.race.task import Task
from tests.bench.test_race import waits
apart.in_own_process(waits)(Task({"file": sys.argv[1]}, 0, "cpu2", 20, Path(sys.argv[2])))
"""


def waits(task: Task) -> apart.Drawn:
    """A training loop that says which process it is, and then takes long."""
    Path(task.settings["file"]).write_text(str(os.getpid()))
    time.sleep(60)
    raise AssertionError


def test_a_run_ends_with_the_command(tmp_path: Path) -> None:
    """However that ends: a run that went on would take the cores of the next."""
    said = tmp_path / "pid"
    command = [sys.executable, "-c", WAITING, str(said), str(tmp_path)]
    with subprocess.Popen(command, cwd=paths.ROOT) as process:
        until(lambda: said.is_file() and said.read_text() != "")
        process.kill()
    until(lambda: not Path(f"/proc/{said.read_text()}/cmdline").is_file())


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for something that may take long where others run tests."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


# what is said


def test_tables_of_records(tmp_path: Path) -> None:
    assert words.standing(tmp_path) == "No record yet."
    assert words.NONE_YET in words.tracks(tmp_path)
    entry = made().entry.model_copy(update={"who": "a|b <i>\n"})
    put(first_record(), tmp_path)
    records.write(as_record(made(entry=entry)), tmp_path)
    table = words.standing(tmp_path)
    row = table.splitlines()[-2]
    assert "2 (present)" in row
    assert r"a\|b &lt;i>" in row
    assert "0.38 × old" in row
    assert row.count(" 3.0 s ") == 2, "training, and set-up apart"
    assert "3.0 s, new" in words.tracks(tmp_path)


def test_pages_have_the_rules_numbers() -> None:
    assert facts.answer("race P") == f"{rules.P}"
    assert facts.answer("race N") == "5,000"
    for name, track in TRACKS.items():
        assert f"`{name}`" in facts.answer("race targets")
        assert str(track.fid) in facts.answer("race targets")


def test_every_track_has_an_entry() -> None:
    assert all(entries.of_track(name) for name in TRACKS)


def test_a_track_needs_its_cores() -> None:
    with pytest.raises(UserError, match="needs 1000000 CPU cores"), contest.on_cores(10**6):
        raise AssertionError
    with contest.on_cores(1):
        inside = len(os.sched_getaffinity(0))
    assert inside == 1 <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("siblings", "may", "cores"),
    [
        (["0-1", "0-1", "2-3", "2-3"], {0, 1, 2, 3}, [0, 2]),
        (["0,2", "1,3", "0,2", "1,3"], {0, 1, 2, 3}, [0, 1]),
        (["0-1", "0-1", "2-3", "2-3"], {1, 3}, [1, 3]),
        (["0-1", "0-1"], {0, 1}, [0]),
        (["0", "1"], {0, 1}, [0, 1]),
        ([], {4, 5}, [4, 5]),
    ],
)
def test_two_threads_of_a_core_are_one_core(
    siblings: list[str], may: set[int], cores: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cpu, listed in enumerate(siblings):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{listed}\n")
    held: list[Any] = []
    monkeypatch.setattr(contest, "CPUS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: may)
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: held.append(cpus))
    if len(cores) < 2:
        with pytest.raises(UserError, match=r"needs 2 CPU cores, and this process may use 1$"), contest.on_cores(2):
            raise AssertionError
        return
    with contest.on_cores(2):
        pass
    assert held == [cores, may]
