"""The rules of the race: every number that they have is here. ``docs/race.md`` says them in words. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench.errors import UserError, unknown

DATASET = "mnist"
DATASET_SHA256 = "c65580678af93f1ea48c2c0d01d543ec89307c6b8a0eb7ca542d7c18c5f4c681"
"""What its images' provenance says: of the four files that :data:`bench.images.readers.MNIST` pins."""
IMAGES = 60_000
"""Training images, and no other data: so no weights from elsewhere either."""
N = 5000
"""Samples of a run."""
RUNS = 5
"""Runs of each entry. Their median counts."""
MOST_RUNS = 8
"""Runs that any record may have: the test looks at every way to divide them, and of 8 + 8 there are 12,870."""
MISSES = 1
"""How many of them may miss the target: MLPerf also allows one run that does not converge, and no second."""
P = 0.01
"""A record needs a smaller p. The least that five runs against five can have is 1/252."""

LIMITS: Mapping[str, float] = {
    "fid_classifier": 8.0, "fid_texture": 6.0, "fid_mixer": 5.0, "pixel_distance": 5.0, "spectrum_distance": 0.25,
}  # fmt: skip
"""Metric → the most that it may be where a network is evaluated up to 50 times."""
ONE_STEP_LIMITS: Mapping[str, float] = {**LIMITS, "fid_texture": 15.0}
"""The same where it is evaluated once, but for texture: one evaluation gives images that are less sharp."""


@dataclass(frozen=True)
class Track:
    """A row of :data:`TRACKS`.

    :param device: ``cpu`` or ``cuda``.
    :param cores: how many CPU cores a run has, one thread each.
    :param evaluations: how often the network may be evaluated for one sample, at most.
    :param fid: the target: the most that FID by the headline judge may be.
    :param limits: metric → the most that it may be.
    """

    about: str
    device: str
    cores: int
    evaluations: int
    fid: float
    limits: Mapping[str, float]


TRACKS: dict[str, Track] = {
    "cpu2": Track("two CPU cores", "cpu", 2, 50, 12.0, LIMITS),
    "gpu1": Track("one GPU", "cuda", 2, 50, 12.0, LIMITS),
    "cpu2-one-step": Track("two CPU cores, one evaluation for each sample", "cpu", 2, 1, 12.0, ONE_STEP_LIMITS),
    "gpu1-one-step": Track("one GPU, one evaluation for each sample", "cuda", 2, 1, 12.0, ONE_STEP_LIMITS),
}


def in_turn(racers: int, runs: int) -> Iterator[tuple[int, int]]:
    """(racer, index of the run) in the order of running: A B, B A, A B, so that a slow drift favours neither."""
    for index in range(runs):
        places = range(racers)
        yield from ((place, index) for place in (reversed(places) if index % 2 else places))


def track_of(name: str) -> Track:
    """The track of that name.

    :raises UserError: naming all of them, if there is none.
    """
    if name not in TRACKS:
        raise unknown("track", name, TRACKS)
    return TRACKS[name]


def enough(track: Track, evaluations: int) -> None:
    """Refuse more evaluations than the track allows.

    :raises UserError: saying how many there are, and how many may be.
    """
    if evaluations > track.evaluations:
        most = "1 evaluation" if track.evaluations == 1 else f"{track.evaluations} evaluations"
        raise UserError(f"{evaluations} evaluations of the network for each sample: the track allows {most}")
