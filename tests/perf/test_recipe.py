"""The race's present record against the recipe that it was searched from. The runs themselves are not made here."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bench.race import contest
from bench.race.contest import Contest, Turn
from bench.race.entries import ENTRIES
from bench.race.records import FOLDER, Attempt, Done, RaceRecord, present, records
from bench.store.records import Provenance
from bench.study import load as studies
from perf import recipe
from perf.record import load


@pytest.fixture
def record() -> RaceRecord:
    found = present(records(recipe.TRACK, FOLDER))
    assert found is not None
    return found


def _again(record: RaceRecord, slower: float) -> Iterator[tuple[int, int, Done]]:
    """The record's own runs, and the same as the recipe's, but slower."""
    for index, run in enumerate(record.entry.runs):
        for place, times in ((0, slower), (1, 1.0)):
            changed = run.model_copy(update={"train_s": tuple(times * one for one in run.train_s)})
            yield place, index, Done(run=changed, environment=record.environment)


def _attempt(record: RaceRecord, slower: float) -> Attempt:
    sides = []
    for place, name in enumerate((recipe.RECIPE, record.entry.name)):
        runs = tuple(done.run for side, _, done in _again(record, slower) if side == place)
        sides.append(record.entry.model_copy(update={"name": name, "runs": runs}))
    return Attempt.model_construct(**{**dict(record), "entry": sides[0], "against": sides[1]})


@pytest.mark.parametrize(("slower", "share", "met"), [(4.0, "0.250", True), (1.6, "0.625", False)])
def test_shares_of_the_time(record: RaceRecord, slower: float, share: str, met: bool) -> None:
    """Of the recipe in this measurement, and of the peer in the record's own race."""
    mine, peers = recipe.claims(_attempt(record, slower), record)
    assert (mine["measured"], mine["met"]) == (share, met)
    assert record.against is not None
    assert peers["measured"] == f"{record.entry.median_s / record.against.median_s:.3f}"
    assert len(recipe.claims(_attempt(record, slower), record.model_copy(update={"against": None}))) == 1


def test_a_row_has_times_and_how_often_the_target_was_reached(record: RaceRecord) -> None:
    attempt = _attempt(record, 2.0)
    row = recipe.row(attempt.entry, attempt)
    assert row["entry"] == recipe.RECIPE
    assert row["training, s"] == pytest.approx(2 * record.entry.median_s)
    assert row["shortest, s"] <= row["training, s"] <= row["longest, s"]
    assert row["runs that reach the target"] == row["runs"] == len(record.entry.runs)
    strict = attempt.model_copy(update={"rules": attempt.rules.model_copy(update={"fid": 0.1})})
    assert recipe.row(attempt.entry, strict)["runs that reach the target"] == 0


def test_both_run_in_turn_with_the_seeds_of_the_next_record(
    record: RaceRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Contest] = []

    def stand_in(given: Contest, *_: object) -> Iterator[Turn]:
        seen.append(given)
        done = {(place, index): one for place, index, one in _again(record, 3.0)}
        for number, (place, index) in enumerate(given.turns(), 1):
            one = done[place, index].model_copy(update={"provenance": _provenance(record)})
            yield Turn(number, 10, place, given.racers[place], one, kept=False)

    monkeypatch.setattr(contest, "run", stand_in)
    attempt = recipe.race(record)
    assert [racer.name for racer in seen[0].racers] == [recipe.RECIPE, record.entry.name]
    assert dict(seen[0].racers[1].settings) == record.entry.settings
    assert seen[0].number == record.number + 1
    assert attempt.against is not None
    assert attempt.entry.median_s == pytest.approx(3 * attempt.against.median_s)


def _provenance(record: RaceRecord) -> Provenance:
    return Provenance(classifier=record.rules.judge, dataset_sha256=record.rules.dataset_sha256)


def test_no_record_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(recipe, "records", lambda *_: [])
    assert recipe.main([]) == 2
    assert capsys.readouterr().err == "perf.recipe: the track cpu2 has no record\n"


def test_the_recipe_is_that_of_the_study() -> None:
    """The study's, but for the objective and the length."""
    train = studies.load("quick").train
    settings = ENTRIES[recipe.RECIPE].settings["train"]
    assert {name: getattr(train, name) for name in ("batch_size", "lr", "optimiser")} == {
        name: settings[name] for name in ("batch_size", "lr", "optimiser")
    }


def test_the_committed_measurement_is_its_runs() -> None:
    """Rows and claims follow from the raw runs."""
    kept = load()["recipe"]
    attempt = Attempt.parse(json.dumps(kept["attempt"]).encode())
    assert attempt.against is not None
    record = next(one for one in records(recipe.TRACK, FOLDER) if one.number == attempt.number - 1)
    assert kept["rows"] == [recipe.row(side, attempt) for side in (attempt.entry, attempt.against)]
    assert kept["claims"] == recipe.claims(attempt, record)
