"""The whole comparison, stage by stage: each finished stage is kept at once, so that an interrupted run goes on.

A stage's key is the hash of all it depends on: the setting, its times and numbers, versions and code. Changing one
option redoes what it touches and nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict
from torch import Tensor

from bench.errors import UserError
from bench.images import datasets
from bench.images.datasets import Images
from bench.images.files import MINIMUM
from bench.machine import sources
from bench.score.scorer import Scorer
from bench.store.records import Record as Kept
from bench.store.records import Sampled
from bench.store.store import Store, cached_record
from perf.peers import equal_network, huggingface, lucidrains, ours, scoring
from perf.peers.build import build
from perf.peers.contender import SAMPLE_BATCH, Contender, Setting, parameters, train

Record = dict[str, Any]


class Stage(Kept):
    """What a stage of the race found, in whatever fields it has, and its seconds."""

    model_config = ConfigDict(extra="allow")
    kind = "jobs"
    wall_s: float


LIBRARIES = ("torch", "diffusers", "denoising-diffusion-pytorch", "torch-fidelity", "torchmetrics", "pytorch-fid")
PEERS = (huggingface, lucidrains)
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
    scoring_n: int = 2000
    scoring_reference_n: int = 10_000
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
    scoring_n=200,
    scoring_reference_n=500,
    quick=True,
)


class Race:
    """Runs the stages, says where it is, and puts together what ``peers.json`` holds."""

    def __init__(
        self,
        options: Options,
        store: Store,
        images: Images,
        scorer: Scorer,
        say: Callable[[str], None],
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.options, self.store, self.images, self.scorer, self.say, self.now = (
            options,
            store,
            images,
            scorer,
            say,
            now,
        )
        self.versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
        self._about = {"versions": self.versions, "code": sources.code_hash(), "threads": torch.get_num_threads()}
        self._about |= {"data": images.sha256, "classifier": scorer.classifier, "seed": options.seed}
        self._began = now()
        self._left = 0.0
        self._wall: dict[str, float] = {}

    # -- stages ------------------------------------------------------------------------------------------------

    def stage(self, name: str, config: Record, make: Callable[[str], Record]) -> Record:
        """The record of a stage, made by ``make(key)`` unless it is kept already."""
        text = json.dumps([name, config, self._about], sort_keys=True)
        key = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        since = self.now()

        def timed() -> Stage:
            return Stage(**make(key), wall_s=self.now() - since)

        record = cached_record(self.store, Stage, key, timed)
        self._wall[key] = record.wall_s
        return record.as_json()

    def pace(self, setting: Setting) -> Record:
        """Seconds a training step and images·steps/s in sampling, from a few of each: what plans are made with."""

        def make(_: str) -> Record:
            contender = build(setting, self.options.seed)
            steps = contender.steps(self.images.train, 1 + PACED)
            next(steps)
            since, done = self.now(), 0
            while done == 0 or (self.now() - since < PACE_TURNS * self.options.turn_s and done < PACED):
                next(steps)
                done += 1
            step_s = (self.now() - since) / done
            self._draw(contender, 1, 0)
            return {"step_s": step_s, "image_steps_per_s": self.options.batch * 2 / self._draw(contender, 2, 1)}

        return self.stage("pace", setting.describe() | {"batch": self.options.batch}, make)

    def _draw(self, contender: Contender, evaluations: int, seed: int) -> float:
        """Seconds for a batch of samples."""
        since = self.now()
        contender.sample(self.options.batch, evaluations, seed)
        return self.now() - since

    def run(self, setting: Setting, planned_s: float, marks: list[float]) -> Record:
        """Train once, keeping averaged weights at ``marks`` (seconds); the last is ``planned_s``.

        Ours is a fixed number of steps planned to fit; the peers train until the time is over.
        """
        step_s = self.pace(setting)["step_s"]
        mine = setting.library == "ours"
        planned = max(1, math.floor(planned_s / step_s * (SLACK if mine else 1)))

        def make(key: str) -> Record:
            contender = build(setting, self.options.seed)
            snapshots = []
            steps = contender.steps(self.images.train, planned)
            for taken in train(steps, [math.inf] if mine else marks, contender.averaged, self.now):
                mark = planned_s if mine else taken.mark_s
                weights = f"{key}-{mark:g}"
                self.store.save_tensors("checkpoints", weights, taken.weights, {})
                snapshots.append({"mark_s": mark, "train_s": taken.train_s, "step": taken.step, "weights": weights})
            last = snapshots[-1]
            return {
                "planned_s": planned_s,
                "train_s": last["train_s"],
                "steps": last["step"],
                "images": last["step"] * setting.recipe["batch_size"],
                "params": parameters(contender.net),
                "snapshots": snapshots,
            }

        config = setting.describe() | {"planned_s": planned_s, "marks": marks}
        config |= {"steps": planned} if mine else {}  # another pace, another run
        record = self.stage("run", config, make)
        self.say(f"  trained {setting.library} {setting.label}: {record['steps']} steps in {record['train_s']:.0f} s")
        return record

    def samples(self, setting: Setting, weights: str, n: int) -> tuple[Tensor | None, float]:
        """n samples of kept weights (None where they are not finite), and the seconds they took."""
        evaluations = self.options.evaluations
        key = f"{weights}-{n}x{evaluations}"

        def make(_: str) -> Record:
            contender = self._restored(setting, weights)
            since = self.now()
            try:
                drawn = contender.sample(n, evaluations, self.options.seed)
            except FloatingPointError:
                return {"seconds": self.now() - since, "finite": False}
            seconds = self.now() - since
            drawn_by = Sampled(batch_s=(seconds,), batch_images=(len(drawn),), exclusive=True)
            self.store.save_samples(key, drawn.numpy(), drawn_by)
            return {"seconds": seconds, "finite": True}

        record = self.stage("samples", {"weights": weights, "n": n, "evaluations": evaluations}, make)
        if not record["finite"]:
            return None, record["seconds"]
        kept = self.store.load_samples(key)
        if kept is None:
            raise self._gone(f"samples {key}")
        return torch.from_numpy(kept[0]), record["seconds"]

    def _restored(self, setting: Setting, weights: str) -> Contender:
        kept = self.store.load_tensors("checkpoints", weights)
        if kept is None:
            raise self._gone(f"weights {weights}")
        contender = build(setting, self.options.seed)
        contender.restore(kept[0])
        return contender

    def _gone(self, what: str) -> UserError:
        return UserError(f"{what} are missing or damaged: remove {self.store.root} and start again")

    def score(self, setting: Setting, weights: str, n: int) -> Record:
        """FID and confidence of n samples of kept weights, against the target at that n."""
        drawn, seconds = self.samples(setting, weights, n)
        target = self.bounds(n)["target"]
        if drawn is None:
            found: Record = {"fid": None, "confidence": None}
        else:
            scores = self.scorer.score(drawn)
            found = {"fid": scores["fid"], "confidence": scores["confidence"]}
        hit = found["fid"] is not None and found["fid"] <= target
        return {"n": n, **found, "target": target, "hit": hit, "sample_s": seconds}

    def bounds(self, n: int) -> Record:
        """FIDs of n test images and of n images of noise, and the target that follows."""
        bounds = self.scorer.bounds(n)
        floor, ceiling = bounds.floor["fid"], bounds.ceiling["fid"]
        return {"floor": floor, "ceiling": ceiling, "target": ceiling * TARGET}

    def affordable(self, setting: Setting) -> int:
        """How many samples can be drawn within the time for it, in whole batches, between ``least_n`` and ``n``."""
        o = self.options
        fits = self.pace(setting)["image_steps_per_s"] * o.sampling_seconds / o.evaluations
        return min(o.n, max(o.least_n, math.floor(fits / SAMPLE_BATCH) * SAMPLE_BATCH))

    def scored_run(
        self, setting: Setting, planned_s: float, marks: list[float], n: int, *, curve: bool = False
    ) -> Record:
        """A training run and the scores of its snapshots, each of n samples where it may be at the target.

        The last one is scored first. Earlier ones are scored if that was within :data:`NEAR` of the target, or if the
        whole ``curve`` is wanted; then from ``search_n`` samples first, and from n if that is near.
        """
        record = self.run(setting, planned_s, marks)
        *earlier, last = record["snapshots"]
        scored = [last | self.score(setting, last["weights"], n)]
        for snapshot in earlier if curve or _near(scored[0]) else []:
            found = self.score(setting, snapshot["weights"], min(n, self.options.search_n))
            if _near(found):
                found = self.score(setting, snapshot["weights"], n)
            scored.append(snapshot | found)
        scored.sort(key=lambda snapshot: snapshot["train_s"])
        for one in scored:
            fid = "not finite" if one["fid"] is None else f"{one['fid']:.2f}"
            self.say(f"    {one['train_s']:6.0f} s  FID {fid} of {one['n']} (target {one['target']:.2f})")
        return {k: v for k, v in record.items() if k not in ("params", "wall_s")} | {"snapshots": scored}

    # -- the comparison ----------------------------------------------------------------------------------------

    def search(self, peer: Any) -> tuple[Setting, list[Record]]:
        """The best smaller size: the recipe is chosen on the smallest, then every size is tried with it."""
        trials: list[tuple[float, Setting, Record]] = []

        def attempt(setting: Setting) -> float:
            run = self.scored_run(
                setting, self.options.search_seconds, [self.options.search_seconds], self.options.search_n
            )
            last = run["snapshots"][-1]
            fid = math.inf if last["fid"] is None else last["fid"]
            kept = {k: last[k] for k in ("n", "fid", "sample_s")}
            about = setting.describe() | {"params": parameters(build(setting, 0).net)}
            trials.append((fid, setting, about | {k: run[k] for k in ("planned_s", "train_s", "steps")} | kept))
            return fid

        smallest, *others = peer.SMALLER
        recipe = min(peer.RECIPES, key=lambda changes: attempt(smallest.using(**changes)))
        for setting in others:
            attempt(setting.using(**recipe))
        best = min(trials, key=lambda trial: trial[0])[1]
        self.say(f"  best of {peer.NAME}: {best.label}, {best.recipe}")
        return best, [record | {"chosen": setting is best} for _, setting, record in trials]

    def rates(self, settings: dict[str, Setting]) -> list[Record]:
        """Training and sampling rates of everybody, in turn, after a round that is not counted."""
        o = self.options
        paces = {name: self.pace(setting) for name, setting in settings.items()}
        steps = {name: max(1, round(o.turn_s / pace["step_s"])) for name, pace in paces.items()}
        evaluations = {
            name: min(o.evaluations, max(1, round(o.turn_s * pace["image_steps_per_s"] / o.batch)))
            for name, pace in paces.items()
        }

        def make(_: str) -> Record:
            built = {name: build(setting, o.seed) for name, setting in settings.items()}
            loops = {
                name: contender.steps(self.images.train, steps[name] * o.repeats + 1)
                for name, contender in built.items()
            }
            raw: dict[str, dict[str, list[float]]] = {name: {"train": [], "sample": []} for name in built}
            for loop in loops.values():
                next(loop)
            for _ in range(o.repeats):
                for name, loop in loops.items():
                    since = self.now()
                    for _ in range(steps[name]):
                        next(loop)
                    raw[name]["train"].append((self.now() - since) / steps[name])
            for turn in range(o.repeats + 1):
                for name, contender in built.items():
                    seconds = self._draw(contender, evaluations[name] if turn else 1, turn)
                    if turn:
                        raw[name]["sample"].append(seconds)
            return {"raw": raw}

        config = {name: setting.describe() for name, setting in settings.items()}
        times = {"steps": steps, "evaluations": evaluations, "repeats": o.repeats, "batch": o.batch}
        raw = self.stage("rates", {"settings": config} | times, make)["raw"]
        return [
            {
                "id": name,
                "batch_size": setting.recipe["batch_size"],
                "train_step_s": raw[name]["train"],
                "train_images_per_s": setting.recipe["batch_size"] / statistics.median(raw[name]["train"]),
                "sample_batch": o.batch,
                "sample_steps": evaluations[name],
                "sample_s": raw[name]["sample"],
                "sample_image_steps_per_s": o.batch * evaluations[name] / statistics.median(raw[name]["sample"]),
            }
            for name, setting in settings.items()
        ]

    def all(self) -> Record:
        """Everything, in the shape of ``perf/peers/__init__.py``."""
        o, mine = self.options, ours.setting()
        self.section("search")
        settings = {"ours": mine}
        search = []
        for peer in PEERS:
            best, trials = self.search(peer)
            search += trials
            documented = peer.DOCUMENTED.using(batch_size=4) if o.quick else peer.DOCUMENTED
            settings |= {f"{peer.NAME}/best": best, f"{peer.NAME}/documented": documented}

        self.section("rates")
        rates = self.rates(settings)
        for rate in rates:
            self.say(
                f"  {rate['id']}: {rate['train_images_per_s']:.1f} images/s in training, "
                f"{rate['sample_image_steps_per_s']:.1f} images·steps/s in sampling"
            )

        self.section("ours")
        runs: dict[str, list[Record]] = {"ours": []}
        for seconds in o.ours_seconds:
            runs["ours"].append(self.scored_run(mine, seconds, [seconds], o.n))
            if reached(runs["ours"]) is not None:
                break
        runs["ours"].append(self.scored_run(mine, o.seconds, [o.seconds], o.n))
        best_time = reached(runs["ours"])

        budgets = dict.fromkeys(settings, o.seconds)
        for name, setting in settings.items():
            if name == "ours":
                continue
            self.section(name)
            role = name.partition("/")[2]
            parts, n = CURVE[role], self.affordable(setting)
            longer = AT_LEAST[role] * (best_time or 0.0)
            longer = longer if o.longer and longer > o.seconds else 0.0
            if longer and role == "documented":
                budgets[name] = longer
                runs[name] = [self.scored_run(setting, longer, [o.seconds, longer], n, curve=True)]
                continue
            marks = [o.seconds * part for part in parts]
            runs[name] = [self.scored_run(setting, o.seconds, marks, n, curve=role == "best")]
            if longer and reached(runs[name]) is None:
                budgets[name] = longer
                runs[name].append(self.scored_run(setting, longer, [longer * part for part in parts[-2:]], n))

        self.section("one network, and scoring")
        last = runs["ours"][-1]["snapshots"][-1]
        same = self.equal_network(mine, last["weights"])
        self.say(f"  sampling: ours over diffusers' pipeline {same['ratio']:.2f}")
        speed = self.scoring_speed()
        for row in speed["libraries"]:
            self.say(f"  scoring, {row['library']}: {row['images_per_s']:.0f} images/s")

        wall = sum(self._wall.values())
        self.say(f"done; all stages together took {wall / 60:.1f} minutes")
        everybody = {snapshot["n"] for of in runs.values() for run in of for snapshot in run["snapshots"]}
        return {
            "setup": asdict(o) | self._setup(wall),
            "bounds": {str(n): self.bounds(n) for n in sorted(everybody | {o.search_n})},
            "contenders": [self._describe(name, setting) for name, setting in settings.items()],
            "search": search,
            "rates": rates,
            "runs": [{"id": name} | _public(run) for name in runs for run in runs[name]],
            "equal_time": self.equal_time(runs, mine),
            "time_to_target": time_to_target(runs, budgets),
            "equal_network": same,
            "scoring": speed,
        }

    def equal_time(self, runs: dict[str, list[Record]], mine: Setting) -> list[Record]:
        """Everybody's snapshot at the equal time, and ours at the same n."""
        own = runs["ours"][-1]["snapshots"][-1]
        rows = []
        for name, of in runs.items():
            snapshots = [snapshot for run in of for snapshot in run["snapshots"]]
            last = max((s for s in snapshots if s["mark_s"] <= self.options.seconds), key=lambda s: s["mark_s"])
            at_n = self.score_first(mine, own, last["n"])
            ratio = None if last["fid"] is None else last["fid"] / at_n
            rows.append(
                {"id": name} | {k: last[k] for k in ("train_s", "n", "fid")} | {"ours_at_n": at_n, "ratio": ratio}
            )
        return rows

    def score_first(self, mine: Setting, own: Record, n: int) -> float:
        """The FID of the first n of our samples."""
        drawn, _ = self.samples(mine, own["weights"], own["n"])
        assert drawn is not None
        return self.scorer.score(drawn[:n])["fid"]

    def equal_network(self, mine: Setting, weights: str) -> Record:
        """Our sampler and diffusers' pipeline with our trained network; and that both draw equally good images."""
        o = self.options

        def make(_: str) -> Record:
            contender = self._restored(mine, weights)
            found = equal_network.compare(contender.net, o.evaluations, o.repeats)
            n = min(o.n, 500)
            drawn = equal_network.both(contender.net, n, o.evaluations, o.seed)
            scores = {f"{name}_fid": self.scorer.score(images)["fid"] for name, images in drawn.items()}
            return found | {"fid_n": n} | scores

        config = {"weights": weights, "evaluations": o.evaluations, "repeats": o.repeats}
        return _public(self.stage("equal-network", config, make))

    def scoring_speed(self) -> Record:
        """The speed of scoring, on test images with noise added."""
        o = self.options

        def make(_: str) -> Record:
            random = torch.Generator().manual_seed(o.seed)
            picked = self.images.test[torch.randperm(len(self.images.test), generator=random)[: o.scoring_n]]
            noisy = picked + 20 * torch.randn(picked.shape, generator=random)
            images = noisy.round().clamp(0, 255).to(torch.uint8)
            return scoring.compare(images, self.images.train[: o.scoring_reference_n], self.scorer, o.repeats)

        config = {"n": o.scoring_n, "reference": o.scoring_reference_n, "repeats": o.repeats}
        return _public(self.stage("scoring", config, make))

    # -- words -------------------------------------------------------------------------------------------------

    def section(self, title: str) -> None:
        """Say what comes now, how long it has been, and how much longer it is at most."""
        sections = self._sections()
        left = sum(list(sections.values())[list(sections).index(title) :])
        self.say(
            f"[{(self.now() - self._began) / 60:5.1f} min, at most about {left / 60:.0f} to go, "
            f"less what {self.store.root} has kept] {title}"
        )

    def _sections(self) -> dict[str, float]:
        """Section → seconds at most, roughly: all of its training, and the longest sampling everywhere."""
        o = self.options
        drawing, fixed = 1.2 * o.sampling_seconds, 160 * o.turn_s
        tries = sum(len(peer.SMALLER) + len(peer.RECIPES) - 1 for peer in PEERS)
        sections = {"search": tries * (o.search_seconds + drawing), "rates": fixed}
        sections["ours"] = sum(o.ours_seconds) + o.seconds + (len(o.ours_seconds) + 1) * drawing
        hit = max(o.ours_seconds)
        for peer in PEERS:
            for role, drawings in (("best", 8), ("documented", 3)):
                longer = AT_LEAST[role] * hit if o.longer and AT_LEAST[role] * hit > o.seconds else 0.0
                sections[f"{peer.NAME}/{role}"] = o.seconds + longer + drawings * drawing
        return sections | {"one network, and scoring": fixed}

    def _describe(self, name: str, setting: Setting) -> Record:
        library, _, role = name.partition("/")
        about = setting.describe() | {"params": parameters(build(setting, 0).net)}
        return {"id": name, "role": role or "ours"} | about | {"library": library}

    def _setup(self, wall: float) -> Record:
        return {
            "dataset": "mnist",
            "dataset_sha256": self.images.sha256,
            "classifier": self.scorer.classifier,
            "target": TARGET,
            "versions": self.versions,
            "wall_s": wall,
        }


def reached(runs: Iterable[Record]) -> float | None:
    """The least training time of any snapshot that hits the target; None if there is none."""
    return min((s["train_s"] for run in runs for s in run["snapshots"] if s["hit"]), default=None)


def time_to_target(runs: dict[str, list[Record]], budgets: dict[str, float]) -> list[Record]:
    """Everybody's time to the target, and how many times ours that is (at least, for those that missed it)."""
    own = reached(runs["ours"])
    rows = []
    for name, of in runs.items():
        seconds = reached(of)
        longest = budgets[name] if seconds is None else seconds
        rows.append(
            {
                "id": name,
                "seconds": seconds,
                "missed": seconds is None,
                "budget_s": budgets[name],
                "ratio": None if own is None else longest / own,
            }
        )
    return rows


def _public(record: Record) -> Record:
    """Without what only a later stage needs."""
    kept = {k: v for k, v in record.items() if k != "wall_s"}
    if "snapshots" in kept:
        kept["snapshots"] = [{k: v for k, v in s.items() if k != "weights"} for s in kept["snapshots"]]
    return kept


def _near(scored: Record) -> bool:
    return scored["fid"] is not None and scored["fid"] <= NEAR * scored["target"]


def open_race(options: Options, folder: Path, data_dir: Path | None, say: Callable[[str], None]) -> Race:
    """A race with everything loaded, its stages kept in ``folder``."""
    store = Store(folder)
    store.writable()
    images = datasets.load("mnist", data_dir)
    return Race(options, store, images, Scorer("mnist", images, store, torch.device("cpu")), say)
