"""How long everybody trains and how much is drawn; and what the comparison holds fixed."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UserError
from bench.images.files import MINIMUM
from perf.peers.contender import SAMPLE_BATCH

LIBRARIES = ("torch", "diffusers", "denoising-diffusion-pytorch")
TARGET = 1 / 230
SLACK = 0.97
"""Of the wanted time, what our steps are planned for: a run must end by itself, its rate at zero, and not be late."""
CURVE = {"best": (0.1, 0.2, 0.4, 0.6, 0.8, 1.0), "documented": (0.5, 1.0)}
"""When snapshots are taken, as shares of a run."""
NEAR = 2
"""How many times the target a small sample's FID may be for a larger sample to reach it."""
PACED = 400
"""Most steps that a pace is taken from."""
PACE_TURNS = 8
"""And for how long, in turns: a moment's slowness must not decide how many steps a run is given."""
AT_LEAST = {"best": 5, "documented": 10}
"""How many times our time to the target a peer gets to reach it: one run of that length where the documented recipe,
whose rate does not depend on the length of the run, needs more than the equal time; another run for the best size."""


@dataclass(frozen=True)
class Options:
    """How long and how much; the defaults are the measurement that is kept."""

    seconds: float = 300
    search_seconds: float = 60
    ours_seconds: tuple[float, ...] = (30, 45, 60, 90, 120)
    sampling_seconds: float = 90
    n: int = 1000
    search_n: int = 300
    least_n: int = 100
    evaluations: int = 50
    turn_s: float = 1.5  # a repeat of a rate takes about this long, or one step
    batch: int = SAMPLE_BATCH  # images a pass when the rate of sampling is measured
    repeats: int = 5
    longer: bool = True  # give peers that miss the target in the equal time their multiple of ours
    seed: int = 0
    quick: bool = False

    def check(self) -> None:
        """Refuse what cannot be run.

        :raises UserError: for times that are not positive, or too few samples to score.
        """
        for name in ("seconds", "search_seconds", "sampling_seconds"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name.replace('_', '-')} must be positive, not {getattr(self, name):g}")
        if not all(seconds > 0 for seconds in self.ours_seconds):
            raise UserError("ours-seconds must all be positive")
        if min(self.n, self.search_n) < MINIMUM:
            raise UserError(f"at least {MINIMUM} samples are needed to score, not {min(self.n, self.search_n)}")


QUICK = Options(
    seconds=3,
    search_seconds=0.5,
    ours_seconds=(1, 2),
    sampling_seconds=1,
    n=100,
    search_n=20,
    least_n=20,
    evaluations=3,
    turn_s=0.1,
    batch=20,
    repeats=2,
    quick=True,
)
