"""The whole comparison: rates, quality after equal time, and time to a target."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.images import datasets
from bench.score.scorer import Scorer
from bench.store.store import Store
from perf.peers import equal_network, huggingface, lucidrains, ours
from perf.peers.build import build
from perf.peers.contender import Setting, parameters
from perf.peers.options import AT_LEAST, CURVE, TARGET, Options
from perf.peers.stages import Record, Stages, public

PEERS = (huggingface, lucidrains)


class Race(Stages):
    """Runs the stages and puts together what ``peers.json`` holds."""

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
        settings, search = self._entrants(mine)
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
        budgets = self._peers(settings, runs)
        self.section("one network")
        last = runs["ours"][-1]["snapshots"][-1]
        same = self.equal_network(mine, last["weights"])
        self.say(f"  sampling: ours over diffusers' pipeline {same['ratio']:.2f}")

        wall = sum(self._wall.values())
        self.say(f"done; all stages together took {wall / 60:.1f} minutes")
        everybody = {snapshot["n"] for of in runs.values() for run in of for snapshot in run["snapshots"]}
        return {
            "setup": asdict(o) | self._setup(wall),
            "bounds": {str(n): self.bounds(n) for n in sorted(everybody | {o.search_n})},
            "contenders": [self._describe(name, setting) for name, setting in settings.items()],
            "search": search,
            "rates": rates,
            "runs": [{"id": name} | public(run) for name in runs for run in runs[name]],
            "equal_time": self.equal_time(runs, mine),
            "time_to_target": time_to_target(runs, budgets),
            "equal_network": same,
        }

    def _entrants(self, mine: Setting) -> tuple[dict[str, Setting], list[Record]]:
        """Everybody's setting by id, each peer's best size found by a search; and the trials of the search."""
        o = self.options
        self.section("search")
        settings = {"ours": mine}
        search = []
        for peer in PEERS:
            best, trials = self.search(peer)
            search += trials
            documented = peer.DOCUMENTED.using(batch_size=4) if o.quick else peer.DOCUMENTED
            settings |= {f"{peer.NAME}/best": best, f"{peer.NAME}/documented": documented}
        return settings, search

    def _peers(self, settings: dict[str, Setting], runs: dict[str, list[Record]]) -> dict[str, float]:
        """Train and score every peer, into ``runs``; returns everybody's budget in seconds."""
        o, best_time = self.options, reached(runs["ours"])
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
        return budgets

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
        return public(self.stage("equal-network", config, make))

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
        return sections | {"one network": fixed}

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


def open_race(options: Options, folder: Path, data_dir: Path | None, say: Callable[[str], None]) -> Race:
    """A race with everything loaded, its stages kept in ``folder``."""
    store = Store(folder)
    store.writable()
    images = datasets.load("mnist", data_dir)
    return Race(options, store, images, Scorer("mnist", images, store, torch.device("cpu")), say)
