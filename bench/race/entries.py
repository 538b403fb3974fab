"""Who takes part: an entry is a row of :data:`ENTRIES`, and what trains and samples it a row of :data:`RUNNERS`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.errors import UserError, unknown
from bench.race import jobs
from bench.race.records import NAME, Done, Side
from bench.race.rules import Track, track_of
from bench.race.task import Task


@dataclass(frozen=True)
class Runner:
    """A row of :data:`RUNNERS`.

    :param run: does one run, from a new network to scores.
    :param check: refuses settings that break a rule of the track, or that cannot be run here, with a
        :class:`bench.errors.UserError`.
    :param quick: the same settings for a try of seconds.
    :param plain: the one form that all spellings of the same settings have, so that the present record is known by it.
    :param code: folders of the code behind it, besides ``bench`` and ``ddpm``: runs of other code are not mixed.
    """

    run: Callable[[Task], Done]
    check: Callable[[Mapping[str, Any], Track], None]
    quick: Callable[[Mapping[str, Any]], dict[str, Any]]
    plain: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    code: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A row of :data:`ENTRIES`: the tracks that it may run on, who it is by, and its whole configuration.

    :param settings: of the runner ``job``: a study's fields, each axis with one value; and ``engine``.
    """

    tracks: tuple[str, ...]
    who: str
    about: str
    settings: Mapping[str, Any]
    runner: str = "job"


RUNNERS: dict[str, Runner] = {"job": Runner(jobs.run, jobs.check, jobs.quick, jobs.plain)}
"""What trains and samples: ``job`` is what ``ddpm-bench run`` uses."""

ENTRIES: dict[str, Entry] = {
    "unet-v": Entry(
        ("cpu2", "gpu1"),
        "ddpm-bench",
        "the recipe of the study `quick`, with objective v, for 750 steps",
        {
            "train": {"epochs": 1, "images": 48_000, "batch_size": 64, "lr": 6e-3, "optimiser": "muon"},
            "net": "unet", "objective": "v", "schedule": "cosine", "T": 1000,
            "sampler": "dpmpp_2m_sde", "sample_steps": 25, "spacing": "trailing", "engine": "eager",
        },
    ),
    "unet-mixture": Entry(
        ("cpu2", "gpu1"),
        "ddpm-bench",
        "on a base, so that it need only learn detail: mostly at low noise, in batches of 16, for 400 steps",
        {
            "train": {"epochs": 1, "images": 6_400, "batch_size": 16, "lr": 6e-3, "optimiser": "muon"},
            "net": "unet", "base": {"mixture": {"rank": 100}}, "objective": "v", "schedule": "cosine", "T": 1000,
            "timesteps": {"logit_normal": {"mean": -1.25}},
            "sampler": "dpmpp_2m_sde", "sample_steps": 25, "spacing": "trailing", "engine": "eager",
        },
    ),
    "unet-start": Entry(
        ("cpu2-one-step", "gpu1-one-step"),
        "ddpm-bench",
        "as `unet-mixture`, but the second half of training is by `consistency`; samples start from the base, at T/2",
        {
            "train": {"epochs": 1, "images": 6_400, "batch_size": 16, "lr": 6e-3, "optimiser": "muon"},
            "net": "unet", "base": {"mixture": {"rank": 100}}, "objective": "v", "schedule": "cosine", "T": 1000,
            "timesteps": {"logit_normal": {"mean": -1.25}}, "teach": {"consistency": {"start": 0.5}},
            "sampler": "ddim", "sample_steps": 1, "spacing": "trailing", "start": 0.5, "engine": "eager",
        },
    ),
}  # fmt: skip
"""Name → entry. Other packages' rows are added by whoever starts the race: ``perf/race.py`` does."""


@dataclass(frozen=True)
class Racer:
    """What is run: an entry of the table, or one as a record has it. Two of one configuration are equal."""

    name: str = field(compare=False)
    who: str = field(compare=False)
    runner: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, side: Side) -> Racer:
        """The entry of a record, whose configuration is the record's own."""
        return cls(side.name, side.who, side.runner, side.settings)

    def check(self, track: str) -> None:
        """Refuse what breaks a rule, or cannot be run here.

        :raises UserError: in one line.
        """
        if not re.fullmatch(NAME, self.name):
            raise UserError(f"entry '{self.name}': a name has small letters, digits and -, and at most 61 of them")
        if self.runner not in RUNNERS:
            raise UserError(
                f"entry '{self.name}' is run by '{self.runner}', which is not loaded (loaded: {', '.join(RUNNERS)}); "
                "of a checkout, `python -m perf.race` has more"
            )
        try:
            RUNNERS[self.runner].check(self.settings, track_of(track))
        except UserError as error:
            raise UserError(f"entry '{self.name}': {error}") from error

    def run(self, seed: int, track: str, n: int, results: Path) -> Done:
        """One run.

        :raises UserError: if it fails, naming entry and seed.
        """
        try:
            return RUNNERS[self.runner].run(Task(dict(self.settings), seed, track, n, results))
        except UserError as error:
            raise UserError(f"entry '{self.name}', seed {seed}: {error}") from error

    def plain(self) -> Racer:
        """The same with its settings in their one form.

        :raises UserError: if they are wrong.
        """
        return replace(self, settings=RUNNERS[self.runner].plain(self.settings))

    def quick(self) -> Racer:
        """The same for a try of seconds."""
        return Racer(self.name, self.who, self.runner, RUNNERS[self.runner].quick(self.settings))


def chosen(name: str, track: str | None) -> tuple[Racer, str]:
    """The entry of that name, and its track.

    :raises UserError: if there is no such entry or track, or the entry is of another track.
    """
    if name not in ENTRIES:
        raise unknown("entry", name, ENTRIES)
    entry = ENTRIES[name]
    if track is None and len(entry.tracks) > 1:
        raise UserError(f"entry '{name}' may run on several tracks: say --track {' or '.join(entry.tracks)}")
    track = entry.tracks[0] if track is None else track
    track_of(track)
    if track not in entry.tracks:
        raise UserError(f"entry '{name}' is of {' and '.join(entry.tracks)}, not of {track} ({_others(track)})")
    return Racer(name, entry.who, entry.runner, entry.settings), track


def _others(track: str) -> str:
    return f"entries of {track}: {', '.join(of_track(track)) or 'none'}"


def of_track(track: str) -> Iterable[str]:
    """The names of a track's entries."""
    return [name for name, entry in ENTRIES.items() if track in entry.tracks]
