"""Where the x₀ of a training target comes from: rows of a table, for networks that sample in one to eight steps.

A row turns a batch (x₀, ε, t) into an :class:`Answer`: what x_t is made of, and the pair (x̃₀, ε̃) in the place of
(x₀, ε) in the objective's target. ε̃ is what x_t leaves of x̃₀, so that x_t = α_t x̃₀ + σ_t ε̃ holds as before. Objective,
weight, schedule and the 2×2 solve stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm.batch import Answer, Batch, Path
from ddpm.bounds import Count, Halvings, Part, Share, Start
from ddpm.sampler import sample
from ddpm.spacing import space, trailing
from ddpm.spec import Variant, build, row


class Way(NamedTuple):
    """A way to sample: how many steps, and the names of sampler and spacing."""

    steps: int
    sampler: str
    spacing: str


@dataclass(frozen=True)
class Teach:
    """A row: how it answers, and what it needs.

    ``teacher``: the share of a training run's epochs that a teacher of its own takes, 0 if there is none. The teacher
    is trained by `data`; the network starts as its copy. ``extra``: evaluations for each training image beside the
    usual ones. ``second``: whether the network is told of a second time. ``maps``: whether x̂₀ is a sample, and not the
    mean of all x₀ that x_t may come from. ``least``: the fewest diffusion steps. ``only``: the one way to sample that
    the network is taught for, if there is only one. ``stages``: into how many of equal length the training is divided.
    In each the learning rate rises and falls. Where one begins after another, the network's average becomes the teacher
    and the network. ``coupled``: whether x₀ and ε hang together, so that x_t is not as it is in diffusion.
    """

    answer: Callable[[Batch], Answer]
    teacher: float = 0.0
    extra: float = 0.0
    second: bool = False
    maps: bool = False
    least: int = 1
    only: Way | None = None
    stages: int = 1
    coupled: bool = False

    def stage(self, done: float) -> int:
        """The stage, from 0, where this share of the training is done."""
        return min(math.floor(done * self.stages + 1e-9), self.stages - 1)

    def teachers(self, epochs: int) -> int:
        """How many of a run's epochs its teacher takes: its share, one at least, and not all; 0 without a teacher."""
        return max(1, min(round(self.teacher * epochs), epochs - 1)) if self.teacher else 0

    def cost(self, epochs: int) -> float:
        """What so many epochs cost in epochs of plain training, the teacher's among them.

        A training step costs three evaluations: one forward, and two of that size for its gradient.
        """
        first = self.teachers(epochs)
        return first + (epochs - first) * (1 + self.extra / 3)

    def affords(self, budget: int) -> int:
        """The most epochs that cost no more than ``budget`` epochs of plain training; 0 if there are none."""
        fewest = 2 if self.teacher else 1
        return max((n for n in range(fewest, budget + 1) if self.cost(n) <= budget + 1e-9), default=0)


Distance = Callable[[Path, Tensor, int, Tensor], Tensor]
"""(path, steps t (B,), stage k ≥ 1, like) → the earlier steps r (B,), which may be anything up to t."""


def ect(path: Path, t: Tensor, k: int, like: Tensor) -> Tensor:
    """The noise level falls by the share n/2^k of it, n = 1 + 8/(1 + e^level) (ECT, arXiv 2406.14548, section 3)."""
    levels = path.levels(like)
    share = 1 - (1 + 8 * torch.sigmoid(-levels[t])) / 2**k
    return torch.searchsorted(levels, (levels[t] * share.clamp(min=0)).contiguous(), right=True) - 1


def ict(path: Path, t: Tensor, k: int, like: Tensor) -> Tensor:
    """The T-th part of 10·2^(k−1) equal ones (iCT, arXiv 2310.14189, section 3.4; there even in Karras's spacing)."""
    return t - max(1, path.schedule.T // (10 * 2 ** (k - 1)))


DISTANCES: dict[str, Distance] = {"ect": ect, "ict": ict}
"""How far the earlier step of ``consistency`` is from t."""


def data() -> Teach:
    """x̃₀ = x₀, the data's own: plain diffusion training.

    Use: by default, and with ten sampling steps or more.
    """
    return Teach(lambda batch: Answer((batch.x0, batch.eps), batch.x0, batch.eps, batch.t))


def consistency(*, distance: str = "ect", halvings: Halvings = 8, start: Start = 0.25) -> Teach:
    """x̃₀ = x̂₀(x_r, r) of the network itself, r < t on the same path (x_r of the same x₀ and ε), no gradient.

    At r = 0 it is x₀. For the share ``start`` of the training r is 0, which is plain diffusion training (ECT, arXiv
    2406.14548, starts from a trained model). After that ``halvings`` stages of equal length bring r closer to t, by
    ``distance``: `ect`, or `ict` (arXiv 2310.14189). The loss has the factor τ_t/(τ_t − τ_r), τ = σ/α, as in both. It
    is squared, without their Huber loss. (Consistency models: Song et al., arXiv 2303.01469.)

    Use: for one to four steps without a teacher, with the sampler `renoise`, or `ddim` in one step. It takes one more
    evaluation for each image after the share ``start``.
    """
    row(DISTANCES, Variant(distance))

    def answer(batch: Batch) -> Answer:
        done, t, path = batch.around.done, batch.t, batch.path
        if done < start:
            return batch.answer(batch.x0)
        k = min(1 + math.floor((done - start) / (1 - start) * halvings), halvings)
        r = DISTANCES[distance](path, t, k, batch.x0).clamp(min=0).minimum(t - 1)
        levels = path.levels(batch.x0)
        factor = levels[t] / (levels[t] - levels[r])
        earlier = replace(batch, t=r.clamp(min=1))
        with torch.no_grad():
            found, _ = batch.own.clean(earlier.x_t, earlier.t)
        first = (r == 0).view(-1, *[1] * (found.ndim - 1))
        return batch.answer(torch.where(first, batch.x0, found), factor)

    return Teach(answer, extra=1 - start, maps=True)


def progressive(*, first: Count = 64, last: Count = 1, teacher: Share = 0.5) -> Teach:
    """x̃₀ is chosen so that one DDIM step of the student ends where two shorter steps of its teacher end.

    The student's step leads from t to s = t − T/N, both of them times that `trailing` has for N steps. The teacher's
    two steps go by way of m = t − T/(2N), a time that `trailing` has for 2N steps. Training has only the N times t of
    the student: those drawn are moved up to the next. N falls from ``first`` to ``last`` by halves, in stages of equal
    length. In each the learning rate rises and falls, and its average is the next teacher, which the next student
    starts from. The first teacher takes the share ``teacher`` of all epochs. (Salimans & Ho 2022, arXiv 2202.00512,
    algorithm 2.) T must be twice ``first`` or more, as a step that is to be halved is at least two long.

    Use: for few steps of `ddim` with `spacing: [trailing]`, ``last`` being how many. Another number of steps, another
    spacing and another sampler are possible, but the network was not taught for them: `ddpm-bench plan` says so. It
    takes two more evaluations for each training image.
    """

    def answer(batch: Batch) -> Answer:
        schedule = batch.path.schedule
        steps = min(first // 2 ** rule.stage(batch.around.done), schedule.T)
        grid = torch.tensor([0, *reversed(trailing(schedule, 2 * steps))], device=batch.t.device)
        end = 2 * torch.searchsorted(grid[2::2].contiguous(), batch.t) + 2
        moved = replace(batch, t=grid[end])
        return moved.answer(moved.by_two_steps(batch.teacher, grid[end - 1], grid[end - 2]))

    stages, only = _halvings(first, last), Way(last, "ddim", "trailing")
    rule = Teach(answer, teacher=teacher, extra=2.0, maps=True, least=2 * first, only=only, stages=stages)
    return rule


def _halvings(first: int, last: int) -> int:
    """How many stages lead from ``first`` to ``last``, both included.

    :raises ValueError: unless the first is a power of two times the last.
    """
    stages = max(first // last, 1).bit_length()
    if last * 2 ** (stages - 1) != first:
        raise ValueError(f"first={first} is not last={last} doubled some number of times")
    return stages


def reflow(*, steps: Count = 8, teacher: Share = 0.5) -> Teach:
    """(x₀, ε) are a pair of a trained teacher: x₀ is the sample it makes of x_T = ε (Liu et al., arXiv 2209.03003).

    The sample is made by ``steps`` of `ddim` of equal length. Each batch gets new ones, so that no pair comes twice.
    The teacher takes the share ``teacher`` of all epochs. (Algorithm 1 there, with one reflow.)

    The sample is not clipped, which would bend the path. So the teacher's errors are magnified by the objective's gain
    (`ddpm-bench theory`) in each step. Take an output that is 1% too large. With `previous` and `mean` at T = 1000 on
    `linear`, samples are then more than a hundred times too large. With `eps` on `cosine` it is about forty times. With
    `v` their size changes by about 1%. This is for the exact network of Gaussian data, in eight steps.

    Use: to straighten paths, for few steps of `ddim`. It takes ``steps`` more evaluations for each training image.
    """

    def answer(batch: Batch) -> Answer:
        times, eps = space(batch.path.schedule, steps, "trailing"), batch.eps.to(batch.x0.dtype)
        with torch.no_grad():
            *_, end = sample(batch.teacher, eps, times, "ddim", _silence, clip=False)
        return Answer((end.x, eps), end.x, eps, batch.t)

    return Teach(answer, teacher=teacher, extra=steps, maps=True, least=steps, coupled=True)


def meanflow(*, ratio: Part = 0.25) -> Teach:
    """x̃₀ such that one DDIM step from t ends where the flow is at s < t (MeanFlow: Geng et al., arXiv 2505.13447).

    Their identity for the mean velocity, on any path: x̃₀ = x̂₀ + (σ_s/σ_t)(x₀ − x̂₀) + k dx̂₀/dt. There
    k = (α_s − α_t σ_s/σ_t)/(α′_t − α_t σ′_t/σ_t). x̂₀ is the network's own, told of t and s, without a gradient. Its
    derivative along the path of (x₀, ε) is one JVP. On (1 − u) x₀ + u ε with the objective `flow` that is eq. 10 there.
    The share ``ratio`` of the images has s uniform below t, the others s = t, which is plain diffusion training. The
    loss is squared, without their adaptive weight.

    Use: for one to four steps of `jump` without a teacher, with `net: [{unet: {second_time: true}}]`. For each image of
    that share it costs about as much as three more evaluations.
    """

    def answer(batch: Batch) -> Answer:
        part = batch.some(ratio)
        few = batch.only(part)
        t, path = few.t, few.path
        s = (few.uniform() * t).long()
        now, to, slopes = path.at(t, few.x0), path.at(s, few.x0), path.slopes(t, few.x0)
        with torch.no_grad():
            found, rate = few.plain.moving(few.x_t, t, s, slopes(few.x0, few.eps))
        left = to.b / now.b
        k = (to.a - left * now.a) / (slopes.a - now.a * slopes.b / now.b)
        return batch.jumping(part, found + left * (few.x0 - found) + k * rate, s)

    return Teach(answer, extra=3 * ratio, second=True, least=3)


def shortcut(*, ratio: Part = 0.25, halvings: Halvings = 7) -> Teach:
    """x̃₀ such that one step from t to s ends where two of the network's own end (Frans et al., arXiv 2410.12557).

    The share ``ratio`` of the images has s = t − T/2^k, k drawn from 0 to ``halvings`` − 1. The two steps go by way of
    the middle m, and the network is told where each of them ends (eq. 4 there). For the shortest jumps (the largest k)
    the network is told no end: both steps are plain DDIM. The other images have s = t, which is plain diffusion
    training. The network as it is teaches, not its average.

    Use: for one to eight steps of `jump` without a teacher, with `net: [{unet: {second_time: true}}]`. It takes two
    more evaluations for each image of that share.
    """

    def answer(batch: Batch) -> Answer:
        part = batch.some(ratio)
        few = batch.only(part)
        t, k = few.t, (few.uniform() * halvings).long()
        s = (t - (few.path.schedule.T // 2**k).clamp(min=1)).clamp(min=0)
        m = (t + s + 1) // 2
        smallest = k == halvings - 1
        to_m, to_s = torch.where(smallest, t, m), torch.where(smallest, m, s)
        return batch.jumping(part, few.by_two_steps(few.own, m, s, to_m, to_s), s)

    return Teach(answer, extra=2 * ratio, second=True)


def _silence(s: int) -> Tensor:
    """In place of noise where none is drawn."""
    raise NotImplementedError


TEACH: dict[str, Callable[..., Teach]] = {
    "data": data,
    "consistency": consistency,
    "progressive": progressive,
    "reflow": reflow,
    "meanflow": meanflow,
    "shortcut": shortcut,
}


def make_teach(spec: Variant | str) -> Teach:
    """The row of that name, with its options if there are any (:mod:`ddpm.spec`).

    :raises ValueError: if there is none, or an option's value is not possible.
    """
    return build(TEACH, spec)
