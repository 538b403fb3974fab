"""The peers' entries: their best settings, one line where a library is missing, and a run of a made-up contender."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.paths import ROOT
from bench.race.entries import ENTRIES, RUNNERS
from bench.race.rules import TRACKS
from bench.race.task import Task
from perf import race
from perf.peers import racing
from perf.peers.racing import PEERS
from tests.conftest import TinyNet

BEST = {
    one["library"]: one
    for one in json.loads((ROOT / "results" / "perf" / "peers.json").read_text(encoding="utf-8"))["contenders"]
    if one["role"] == "best"
}


@pytest.mark.parametrize("name", PEERS)
def test_settings_are_the_best_that_were_found(name: str) -> None:
    """If this fails, the peers were measured anew: their entries are to follow."""
    settings = PEERS[name].settings
    best = BEST[settings["library"]]
    assert {k: settings[k] for k in ("settings", "recipe")} == {k: best[k] for k in ("settings", "recipe")}
    assert json.loads(json.dumps(settings)) == settings
    assert settings.keys() == racing.FIELDS.keys()


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(racing, "find_spec", lambda name: None)
    assert race.main(["--track", "cpu2", "--entry", "diffusers"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "diffusers is not installed" in said
    assert not PEERS.keys() & ENTRIES.keys()
    assert "peer" not in RUNNERS


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evaluations": 51}, "the track allows 50"),
        ({"steps": 0}, "whole numbers"),
        ({"library": "os"}, "library 'os' is none of"),
        ({"library": [1]}, "'library' is no str"),
        ({"recipe": "x"}, "'recipe' is no dict"),
        ({"recipe": {}}, "no whole number as batch_size"),
        ({"settings": 5}, "'settings' is no dict"),
        ({"steps": True}, "'steps' is no int"),
        ({"luck": 1}, "and not evaluations, library, luck"),
    ],
)
def test_settings_of_a_record_are_checked(changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "find_spec", lambda name: True)
    with pytest.raises(UserError, match=says):
        racing.check(dict(PEERS["diffusers"].settings) | changes, TRACKS["cpu2"])
    with pytest.raises(UserError, match="its settings are library"):
        racing.check({"library": "diffusers"}, TRACKS["cpu2"])


class Theirs:
    """A contender that counts what is asked of it."""

    def __init__(self) -> None:
        self.net = TinyNet()
        self.taken = 0

    def steps(self, images: Tensor, planned: int) -> Iterator[None]:
        """One more than planned."""
        assert len(images) == 256
        for _ in range(planned + 1):
            self.taken += 1
            yield

    def averaged(self) -> dict[str, Tensor]:
        """The weights."""
        return self.net.state_dict()

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Take them."""
        self.net.load_state_dict(weights)

    def sample(self, n: int, evaluations: int, seed: int, batch: int = 8) -> Tensor:
        """With one evaluation more than it says, by keyword now and then."""
        for start in range(0, n, batch):
            x = torch.zeros(min(batch, n - start), 1, 28, 28)
            for _ in range(evaluations):
                self.net(x, torch.zeros(len(x)))
            self.net(x=x, u=torch.zeros(len(x)))
        return torch.zeros(n, 1, 28, 28, dtype=torch.uint8)


def test_a_run_counts_steps_and_evaluations(world: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = Theirs()
    monkeypatch.setattr(racing, "build", lambda *_: made)
    monkeypatch.setattr(racing, "version", lambda name: "1.0")
    settings = dict(PEERS["diffusers"].settings) | {"steps": 5, "evaluations": 3}
    drawn = racing.draw(Task(settings, 0, "cpu2", 20, tmp_path))
    assert made.taken == 5
    assert drawn.evaluations == 4, "as counted, not as said"
    assert drawn.images == 5 * 16
    assert len(drawn.train_s) == 1
    assert drawn.software == {"diffusers": "1.0", "torch": "1.0"}


def test_gpu_tracks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(racing, "find_spec", lambda name: True)
    for entry in PEERS.values():
        for track in entry.tracks:
            racing.check(entry.settings, replace(TRACKS[track], device="cpu"))
            racing.check(racing.quick(entry.settings), TRACKS[track])
