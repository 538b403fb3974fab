"""The comparison with peers: its parts on tiny networks and a fake clock, and a whole run of it, interrupted once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from bench.score.scorer import Scorer
from perf.peers.build import build
from perf.peers.contender import Setting

for module in ("diffusers", "denoising_diffusion_pytorch", "ema_pytorch"):
    pytest.importorskip(module)

from perf.peers import equal_network, huggingface, lucidrains, ours, race  # noqa: E402
from perf.peers.__main__ import main  # noqa: E402
from perf.peers.options import Options  # noqa: E402
from perf.peers.race import Race, reached, time_to_target  # noqa: E402

TINY = {
    "ours": Setting("ours", "tiny", {"net": "tiny"}, {"batch_size": 8, "lr": 1e-3}),
    "diffusers": huggingface._plain([8, 8], 1).using(batch_size=4),
    "denoising-diffusion-pytorch": lucidrains._small(8, [1, 2], 1, 4).using(batch_size=4),
}
OPTIONS = Options(
    seconds=6,
    search_seconds=2,
    ours_seconds=(2, 4),
    sampling_seconds=1,
    n=40,
    search_n=20,
    least_n=20,
    evaluations=2,
    turn_s=1,
    batch=2,
    repeats=1,
)


class Ticks:
    """A clock that moves one second each time it is read."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        """Seconds."""
        self.time += 1.0
        return self.time


# -- contenders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", TINY)
def test_a_contender_trains_and_samples(library: str, world: Any) -> None:
    contender = build(TINY[library], 0)
    before = contender.averaged()
    steps = contender.steps(world.images.train, 12)
    for _ in range(12):
        next(steps)
    after = contender.averaged()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    drawn = []
    for weights in (after, after, before):
        fresh = build(TINY[library], 1)
        fresh.restore(weights)
        drawn.append(fresh.sample(5, 2, seed=3))
    assert drawn[0].shape == (5, 1, 28, 28)
    assert drawn[0].dtype == torch.uint8
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_our_steps_are_as_many_as_planned(world: Any) -> None:
    contender = build(TINY["ours"], 0)
    planned = 2 * len(world.images.train) // 8 + 3  # more than two passes
    assert sum(1 for _ in contender.steps(world.images.train, planned)) == planned


def test_weights_of_diffusers_are_averaged_as_its_example_does(world: Any) -> None:
    """Decay 1 − (1 + k)^−¾, k counting updates before this one."""
    contender = build(TINY["diffusers"], 0)
    name = next(iter(dict(contender.net.named_parameters())))
    steps = contender.steps(world.images.train, 4)
    average = contender.averaged()[name]
    for k in range(4):
        next(steps)
        decay = max(0.0, 1 - (1 + k) ** -0.75)
        average = decay * average + (1 - decay) * dict(contender.net.named_parameters())[name].detach()
        assert_close(contender.averaged()[name], average)


def test_weights_of_lucidrains_are_averaged_every_ten_steps(world: Any) -> None:
    contender = build(TINY["denoising-diffusion-pytorch"], 0)
    steps = contender.steps(world.images.train, 12)
    seen = []
    for _ in range(12):
        next(steps)
        seen.append(contender.averaged()["final_conv.weight"])
    assert all(torch.equal(seen[0], other) for other in seen[:10])
    assert not torch.equal(seen[0], seen[10])


def test_a_peer_that_diverges_says_so() -> None:
    for library in ("diffusers", "denoising-diffusion-pytorch"):
        contender = build(TINY[library], 0)
        contender.restore({name: torch.full_like(value, math.nan) for name, value in contender.averaged().items()})
        with pytest.raises(FloatingPointError):
            contender.sample(2, 2, 0)


@pytest.mark.parametrize("peer", race.PEERS, ids=lambda peer: peer.NAME)
def test_the_search_is_of_four_smaller_sizes_and_a_tenfold_rate(peer: Any) -> None:
    with torch.device("meta"):
        sizes = [race.parameters(build(setting, 0).net) for setting in (*peer.SMALLER, peer.DOCUMENTED)]
    assert len(peer.SMALLER) >= 4
    assert max(sizes[:-1]) < sizes[-1]
    assert sizes[0] == min(sizes)
    assert {} in peer.RECIPES
    assert any(recipe.get("lr") == pytest.approx(10 * peer.RECIPE["lr"]) for recipe in peer.RECIPES)


# -- one network, two samplers -----------------------------------------------------------------------------------------


def test_both_samplers_walk_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without fresh noise, and from the same start, the same network gives the same images to a level of rounding."""
    net = build(ours.setting(), 0).net
    nn.init.normal_(net.last.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    start = torch.randn(100, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(
        "bench.job.generate.noise",
        lambda seed, times, *_: torch.stack([start if time == 2**32 else 0 * start for time in times]),
    )
    monkeypatch.setattr("diffusers.pipelines.ddpm.pipeline_ddpm.randn_tensor", lambda *_, **__: start)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: 0 * start)
    drawn = equal_network.both(net, 100, 4, seed=0)
    apart = (drawn["ours"].int() - drawn["diffusers"].int()).abs()
    assert apart.max() <= 1
    assert drawn["ours"].float().std() > 10


def test_comparison_of_samplers_is_of_raw_seconds() -> None:
    found = equal_network.compare(build(ours.setting(), 0).net, 1, repeats=2, batch=2)
    assert len(found["ours_s"]) == len(found["diffusers_s"]) == 2
    assert found["ratio"] == pytest.approx(sum(found["diffusers_s"]) / sum(found["ours_s"]))


# -- the whole ---------------------------------------------------------------------------------------------------------


def run_of(*snapshots: tuple[float, bool]) -> dict[str, Any]:
    return {"snapshots": [{"train_s": seconds, "hit": hit} for seconds, hit in snapshots]}


def test_time_to_target_counts_misses_as_never() -> None:
    runs = {
        "ours": [run_of((30.0, False)), run_of((45.0, True)), run_of((300.0, True))],
        "a": [run_of((60.0, False), (120.0, True), (300.0, True))],
        "b": [run_of((150.0, False), (300.0, False)), run_of((450.0, False))],
    }
    rows = {row["id"]: row for row in time_to_target(runs, {"ours": 300.0, "a": 300.0, "b": 450.0})}
    assert rows["ours"] == {"id": "ours", "seconds": 45.0, "missed": False, "budget_s": 300.0, "ratio": 1.0}
    assert rows["a"]["seconds"] == 120.0
    assert rows["a"]["ratio"] == pytest.approx(120 / 45)
    assert rows["b"] == {"id": "b", "seconds": None, "missed": True, "budget_s": 450.0, "ratio": 10.0}
    assert json.loads(json.dumps(rows["b"]))["seconds"] is None


def test_time_to_target_when_we_miss_it_too() -> None:
    (row,) = time_to_target({"ours": [run_of((30.0, False))]}, {"ours": 30.0})
    assert (row["missed"], row["seconds"], row["ratio"]) == (True, None, None)
    assert reached([]) is None


@pytest.fixture
def tiny_race(world: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Race]:
    """A race of tiny networks against a clock that ticks when it is read."""
    for peer, size in zip(race.PEERS, (TINY["diffusers"], TINY["denoising-diffusion-pytorch"]), strict=True):
        monkeypatch.setattr(peer, "SMALLER", [size, replace(size, label="the same again")])
        monkeypatch.setattr(peer, "RECIPES", [{}, {"lr": 1e-3}])
        monkeypatch.setattr(peer, "DOCUMENTED", size)
    monkeypatch.setattr(ours, "setting", lambda: TINY["ours"])

    def make(options: Options = OPTIONS) -> Race:
        scorer = Scorer("mnist", world.images, world.store, torch.device("cpu"))
        return Race(options, world.store, world.images, scorer, lambda line: None, Ticks())

    return make


def test_the_whole_and_going_on_after_an_interruption(
    tiny_race: Callable[..., Race], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    steps = huggingface.Diffusers.steps

    def counted(self: Any, images: Tensor, planned: int) -> Iterator[None]:
        trained.append("diffusers")
        return steps(self, images, planned)

    def interrupted(self: Any, images: Tensor, planned: int) -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setattr(huggingface.Diffusers, "steps", counted)
    with monkeypatch.context() as broken:
        broken.setattr(lucidrains.DenoisingDiffusion, "steps", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tiny_race().all()
    searched = len(trained)
    assert searched >= 6  # three trials, a pace and a run each

    found = tiny_race().all()
    after = len(trained)
    assert after < 2 * searched  # the search is not done again
    assert tiny_race().all() == found
    assert len(trained) == after

    peers = [f"{peer.NAME}/{role}" for peer in race.PEERS for role in ("best", "documented")]
    assert [row["id"] for row in found["contenders"]] == ["ours", *peers]
    for part in ("rates", "equal_time", "time_to_target"):
        assert [row["id"] for row in found[part]] == ["ours", *peers]
    for peer in race.PEERS:
        rows = [row for row in found["search"] if row["library"] == peer.NAME]
        assert len(rows) == 3
        (chosen,) = (row for row in rows if row["chosen"])
        assert chosen["fid"] == min(row["fid"] for row in rows)
    for run in found["runs"]:
        for snapshot in run["snapshots"]:
            assert snapshot["target"] == pytest.approx(found["bounds"][str(snapshot["n"])]["ceiling"] / 230)
            assert snapshot["hit"] == (snapshot["fid"] <= snapshot["target"])
    assert found["equal_time"][0]["ratio"] == 1
    assert found["setup"]["seconds"] == OPTIONS.seconds
    json.dumps(found, allow_nan=False)


def test_other_options_are_other_stages(tiny_race: Callable[..., Race]) -> None:
    first, second = tiny_race(), tiny_race(replace(OPTIONS, seed=1))
    made = []

    def make(key: str) -> dict[str, Any]:
        made.append(key)
        return {"value": len(made)}

    assert first.stage("x", {"a": 1}, make) == first.stage("x", {"a": 1}, make)
    assert first.stage("x", {"a": 2}, make)["value"] == 2
    assert second.stage("x", {"a": 1}, make)["value"] == 3
    assert len(set(made)) == 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--seconds", "0"], "seconds must be positive"),
        (["--ours-seconds", "30", "-1"], "ours-seconds must all be positive"),
        (["--n", "5"], "at least 20 samples are needed"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--scratch", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1


def test_without_the_extra_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("perf.peers.__main__.MODULES", ("no_such_module",))
    assert main([]) == 2
    assert "make peers" in capsys.readouterr().err
