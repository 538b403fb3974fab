"""What a run says as it goes: one class for each kind of event, with a JSON form for pipes, files and other machines.

Those of a job (:class:`OfJob`) carry its key and its label. Each job that was started ends with exactly one of
:data:`JobEnd`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

BUSY = 75  # exit code: another process is at work on this job (sysexits.h EX_TEMPFAIL)

Stage = Literal["loading data", "choosing an engine", "working out the likelihood", "preparing the scores", "scoring"]
"""What a job may be at for long without saying anything else."""


def _encodable(text: Any) -> Any:
    """Text without what no JSON can hold: half characters, which come from file names in unknown encodings."""
    return text.encode("utf-8", "replace").decode() if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_encodable)]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Planned(_Event):
    """The first event of a study: how much there is of it, done or not."""

    event: Literal["planned"] = "planned"
    jobs: int
    cells: int


class Waiting(_Event):
    """Another run holds this machine's devices."""

    event: Literal["waiting"] = "waiting"
    path: Text


class Failure(BaseModel):
    """A job that failed, or one of its cells (``cell`` is its key), and why."""

    model_config = _Event.model_config

    job: str
    cell: str | None
    label: Text
    reason: Text


class Ended(_Event):
    """The last event of a study: whatever has failed; ``stopped`` where it was asked to stop before all was done."""

    event: Literal["ended"] = "ended"
    failures: tuple[Failure, ...]
    stopped: bool = False


class OfJob(_Event):
    """An event of a job: its key and its label."""

    job: str
    label: Text


class Started(OfJob):
    """A process is at the job: on which machine, under which number. ``left``: jobs that are still to be started."""

    event: Literal["started"] = "started"
    node: Text
    pid: int
    left: int | None = None


class Entered(OfJob):
    """A stage began that may take long and that has no events of its own."""

    event: Literal["entered"] = "entered"
    stage: Stage


class Preparing(OfJob):
    """What scoring needs once for a results folder is this far; about once a second."""

    event: Literal["preparing"] = "preparing"
    what: Text
    share: float


class Kept(OfJob):
    """Something had been done before."""

    event: Literal["kept"] = "kept"
    what: Literal["training"]


class Resumed(OfJob):
    """Training goes on after this epoch."""

    event: Literal["resumed"] = "resumed"
    epoch: int


class Outdated(OfJob):
    """Epochs that were done are of another version of the code, so that training starts again."""

    event: Literal["outdated"] = "outdated"


class Stepped(OfJob):
    """Training is at this share of epoch ``epoch`` of ``of``; about once a second, with the current step's loss."""

    event: Literal["stepped"] = "stepped"
    epoch: int
    of: int
    share: float
    loss: float


class EpochDone(OfJob):
    """An epoch is done: its duration, its mean loss, and errors on held-out images."""

    event: Literal["epoch"] = "epoch"
    epoch: int
    of: int
    seconds: float
    images: int
    loss: float
    eps_mse: float
    x0_mse: float
    bpd: float | None = None
    bpd_se: float | None = None


class Drawn(OfJob):
    """A share of a cell's samples is drawn. ``way`` is the cell's label."""

    event: Literal["drawn"] = "drawn"
    cell: str
    way: Text
    share: float


class CellDone(OfJob):
    """A cell is scored, or it failed. ``way``: the cell's label."""

    event: Literal["cell"] = "cell"
    cell: str
    way: Text
    status: Literal["done", "failed"]
    reason: Text | None = None
    metrics: dict[str, float] = {}


class Damaged(OfJob):
    """A damaged file was found, and is made again."""

    event: Literal["damaged"] = "damaged"
    path: Text


class Elsewhere(OfJob):
    """Another process is at work on the job. It is looked at again when everything else is done."""

    event: Literal["elsewhere"] = "elsewhere"


class JobDone(OfJob):
    """The job's end: all of it is done. ``overhead`` is None where another process did it."""

    event: Literal["done"] = "done"
    overhead: float | None


class Refused(OfJob):
    """The job's end: it cannot work with what it was given. ``reason`` is a line for the user."""

    event: Literal["refused"] = "refused"
    reason: Text


class Failed(OfJob):
    """The job's end: it diverged, crashed or was killed."""

    event: Literal["failed"] = "failed"
    reason: Text


class Stopped(OfJob):
    """The job's end in this run, which was asked to stop: it goes on from its last whole epoch when run again."""

    event: Literal["stopped"] = "stopped"


JobEnd = JobDone | Refused | Failed | Stopped
OfStudy = Planned | Waiting | Ended
OfTraining = Kept | Resumed | Outdated | Stepped | EpochDone
Event = OfStudy | Started | Entered | Preparing | OfTraining | Drawn | CellDone | Damaged | Elsewhere | JobEnd
KINDS: tuple[type[_Event], ...] = get_args(Event)

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def to_json(event: Event) -> bytes:
    """One line of JSON."""
    return event.model_dump_json().encode()


def from_json(text: bytes | str) -> Event:
    """The event that :func:`to_json` wrote.

    :raises ValueError: if it is none.
    """
    return _ADAPTER.validate_json(text)
