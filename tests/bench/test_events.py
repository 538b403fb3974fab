"""Events and specifications: typed, and the same after a trip as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.job.engine import Calls, Wish
from bench.job.events import KINDS, Event, Failed, OfJob, Stepped, from_json, to_json
from bench.job.spec import JobSpec
from bench.study.study import Study
from tests.said import EXAMPLES, JOB


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(event) for event in EXAMPLES} == set(KINDS)
    assert len({kind.model_fields["event"].default for kind in KINDS}) == len(KINDS), "two kinds have one name"


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.event)
def test_a_trip_as_json_changes_nothing(event: Event) -> None:
    text = to_json(event)
    assert b"\n" not in text
    assert from_json(text) == event
    assert type(from_json(text)) is type(event)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 5e-324, 0.1, 1 / 3, 1e23, -0.0])
def test_every_number_makes_the_trip(value: float) -> None:
    back = from_json(to_json(Stepped(**JOB, epoch=1, of=1, share=0.0, loss=value)))
    assert isinstance(back, Stepped)
    assert repr(back.loss) == repr(value)


@pytest.mark.parametrize("text", ["a\nb\r\x00\x1b[31m", '"\\', "η=1 \U0001f642", "[bold]x[/]", ""])
def test_every_text_makes_the_trip(text: str) -> None:
    event = Failed(**JOB, reason=text)
    assert from_json(to_json(event)) == event
    assert event.reason == text


def test_a_path_in_an_unknown_encoding_is_made_sayable() -> None:
    name = b"caf\xe9".decode(errors="surrogateescape")
    event = Failed(**JOB, reason=f"no {name}")
    assert event.reason == "no caf?"
    assert from_json(to_json(event)) == event


@pytest.mark.parametrize("text", ["", "{}", '{"event": "gone"}', '{"event": "done", "overhead": 1}'])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        from_json(text)


def test_events_of_jobs_say_whose_they_are() -> None:
    """Whatever is not about the study as a whole."""
    of_study = {kind.__name__ for kind in KINDS if not issubclass(kind, OfJob)}
    assert of_study == {"Planned", "Waiting", "Ended"}


def test_a_specification_makes_the_trip(make_study: Callable[..., Study]) -> None:
    cells = next(iter(make_study(ema=[None, 0.1], budget={"snapshots": 2}).jobs.values()))
    spec = JobSpec(
        cells=tuple(cells),
        results=Path("/a b/é"),
        device="cuda:1",
        threads=3,
        exclusive=False,
        data_dir=Path("data"),
        sample_batch=500,
        engine="auto",
        calls={"train": Calls(1, 2), "sample": Calls(3, 4)},
        likelihood=8,
        only_train=True,
        estimate_s=1 / 3,
        began=1e9 + 1 / 3,
    )
    back = JobSpec.model_validate_json(spec.model_dump_json())
    assert back == spec
    assert [cell.key for cell in back.cells] == [cell.key for cell in cells]
    assert back.wish == Wish("auto", {"train": Calls(1, 2), "sample": Calls(3, 4)})
    assert isinstance(back.calls["train"], Calls)
    assert back.key == cells[0].job.key
    for field in JobSpec.model_fields:
        assert getattr(spec, field) != JobSpec.model_fields[field].default, f"{field} is not tried here"


def test_a_specification_needs_a_cell() -> None:
    with pytest.raises(ValidationError):
        JobSpec(cells=(), results=Path(), device="cpu")
