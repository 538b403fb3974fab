"""The stages of the comparison: each finished one is kept at once, so that an interrupted run goes on.

A stage's key is the hash of all it depends on: the setting, its times and numbers, versions and code. Changing one
option redoes what it touches and nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from pydantic import ConfigDict
from torch import Tensor

from bench.errors import UserError
from bench.images.datasets import Images
from bench.machine import sources
from bench.score.scorer import Scorer
from bench.store.records import Record as Kept
from bench.store.records import Sampled
from bench.store.store import Store, cached_record
from bench.store.tensors import About
from perf.peers.build import build
from perf.peers.contender import SAMPLE_BATCH, Contender, Setting, parameters, train
from perf.peers.options import LIBRARIES, NEAR, PACE_TURNS, PACED, SLACK, TARGET, Options

Record = dict[str, Any]


class Stage(Kept):
    """What a stage of the race found, in whatever fields it has, and its seconds."""

    model_config = ConfigDict(extra="allow")
    kind = "jobs"
    wall_s: float


class Weights(About):
    """Of a contender's averaged weights; the stage that made them says the rest."""

    kind = "checkpoints"


class Stages:
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
                self.store.save_tensors(weights, taken.weights, Weights())
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
        kept = self.store.load_tensors(Weights, weights)
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
        for snapshot in earlier if curve or near(scored[0]) else []:
            found = self.score(setting, snapshot["weights"], min(n, self.options.search_n))
            if near(found):
                found = self.score(setting, snapshot["weights"], n)
            scored.append(snapshot | found)
        scored.sort(key=lambda snapshot: snapshot["train_s"])
        for one in scored:
            fid = "not finite" if one["fid"] is None else f"{one['fid']:.2f}"
            self.say(f"    {one['train_s']:6.0f} s  FID {fid} of {one['n']} (target {one['target']:.2f})")
        return {k: v for k, v in record.items() if k not in ("params", "wall_s")} | {"snapshots": scored}


def public(record: Record) -> Record:
    """Without what only a later stage needs."""
    kept = {k: v for k, v in record.items() if k != "wall_s"}
    if "snapshots" in kept:
        kept["snapshots"] = [{k: v for k, v in s.items() if k != "weights"} for s in kept["snapshots"]]
    return kept


def near(scored: Record) -> bool:
    return scored["fid"] is not None and scored["fid"] <= NEAR * scored["target"]
