"""What the contenders share: it needs none of the peers' libraries."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from perf.peers import ours
from perf.peers.contender import batches, crop, pad, padded_side, train, unit_to_uint8

# -- images ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "multiple", "padded"), [(28, 8, 32), (28, 4, 28), (28, 16, 32), (5, 2, 6)])
def test_padding_is_cropped_away(side: int, multiple: int, padded: int) -> None:
    images = torch.randint(1, 256, (3, 1, side, side), dtype=torch.uint8)
    assert padded_side(side, multiple) == padded
    framed = pad(images, padded)
    assert framed.shape == (3, 1, padded, padded)
    assert torch.equal(crop(framed, side), images)
    assert framed.sum() == images.sum()  # the frame is black


def test_batches_pass_through_everything_before_repeating() -> None:
    images = torch.arange(10)
    drawn = batches(images, 4, seed=0)
    first = torch.cat([next(drawn) for _ in range(5)])
    assert sorted(first[:10].tolist()) == sorted(first[10:].tolist()) == list(range(10))
    assert first[:10].tolist() != first[10:].tolist()


def test_bytes_of_unit_floats() -> None:
    assert unit_to_uint8(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(FloatingPointError, match="not finite"):
        unit_to_uint8(torch.tensor([math.nan]))


# -- training in slices ------------------------------------------------------------------------------------------------


class Slow:
    """Steps that take ``step_s`` of a time that only they and snapshots move on."""

    def __init__(self, step_s: float, count: int | None = None) -> None:
        self.time, self.step_s, self.count = 100.0, step_s, count

    def now(self) -> float:
        """Seconds."""
        return self.time

    def steps(self) -> Iterator[None]:
        """Steps of ``step_s`` each."""
        done = 0
        while self.count is None or done < self.count:
            self.time += self.step_s
            done += 1
            yield

    def averaged(self) -> dict[str, Tensor]:
        """Weights that tell when they were taken."""
        self.time += 50.0  # costs no training time
        return {"at": torch.tensor(self.time)}


def taken(slow: Slow, marks: list[float]) -> list[tuple[float, float, int]]:
    found = []
    for snapshot in train(slow.steps(), marks, slow.averaged, slow.now):
        found.append((snapshot.mark_s, snapshot.train_s, snapshot.step))
        slow.time += 1000.0  # nor does what is done with it
    return found


def test_snapshots_come_when_their_time_is_spent() -> None:
    assert taken(Slow(2.0), [3.0, 6.0, 7.0]) == [(3.0, 4.0, 2), (6.0, 6.0, 3), (7.0, 8.0, 4)]


def test_a_step_past_several_marks_gives_one_snapshot_for_the_last() -> None:
    assert taken(Slow(10.0), [1.0, 5.0, 12.0]) == [(5.0, 10.0, 1), (12.0, 20.0, 2)]


def test_steps_that_end_give_the_last_snapshot() -> None:
    assert taken(Slow(2.0, count=4), [5.0, math.inf]) == [(5.0, 6.0, 3), (math.inf, 8.0, 4)]


# -- ours --------------------------------------------------------------------------------------------------------------


def test_our_recipe_is_what_a_study_trains() -> None:
    """It is read from the study `quick`: its settings must be those of a training."""
    setting = ours.setting()
    contender = ours.Ours(setting.using(batch_size=4), seed=0)
    before = contender.averaged()
    images = torch.randint(256, (8, 1, 28, 28), dtype=torch.uint8)
    assert len(list(contender.steps(images, 2))) == 2
    after = contender.averaged()
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[name], before[name]) for name in after)
