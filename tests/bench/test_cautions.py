"""What ``plan`` warns of: signal left in x_T, a late first step, and samplers that are not steady."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench import cli
from bench.study import cautions
from bench.study.study import Study
from ddpm.denoiser import Denoiser
from ddpm.oracle import gaussian
from ddpm.sampler import sample
from ddpm.schedule import make_schedule
from ddpm.spacing import space


def warned(make_study: Callable[..., Study], **axes: Any) -> list[str]:
    usual = {"objective": ["x0"], "T": [1000], "sampler": ["ddim"]}
    return make_study(**usual | axes).warnings()


def test_a_spacing_that_starts_late(make_study: Callable[..., Study]) -> None:
    """600 of 1,000 leading steps start at t = 600; 100 start where no signal is left, and other spacings at T."""
    (line,) = warned(make_study, spacing=["leading"], sample_steps=[600, 100])
    alpha = make_schedule("linear", 1000).alpha[600].item()
    assert "starts at t = 600" in line
    assert f"α = {alpha:.3g}" in line
    assert not warned(make_study, spacing=["linspace", "trailing"], sample_steps=[600, 100])
    (line,) = warned(make_study, spacing=["leading"], sample_steps=[350])
    first = space(make_schedule("linear", 1000), 350, "leading")[0]
    assert f"starts at t = {first}" in line


@pytest.mark.parametrize(
    ("sampler", "schedule", "steps", "steady"),
    [
        ("dpmpp_3m", "flow", 20, False),
        ("dpmpp_3m", "flow", 50, True),
        ("heun", "cosine", 10, False),
        ("heun", "karras", 20, True),
        ("dpmpp_2m", "flow", 20, True),
        ("unipc", "flow", 20, True),
        ("ddim", "linear", 2, True),  # coarse, as a first-order step is; not unsteady
        ("dpmpp_2m_sde", "linear", 5, True),  # it draws noise: no such test
    ],
)
def test_samplers_that_are_not_steady(
    make_study: Callable[..., Study], sampler: str, schedule: str, steps: int, steady: bool
) -> None:
    found = warned(make_study, sampler=[sampler], schedule=[schedule], sample_steps=[steps], clip=[False])
    assert bool(found) != steady
    assert all(f"is not steady with {steps} steps" in line for line in found)


BASE = "mixture(components=2,rank=3)"


def test_a_start_has_signal_where_noise_has_none(make_study: Callable[..., Study]) -> None:
    """What is said of noise that is fed to a network concerns the cells that start from noise alone."""
    late = {"spacing": ["leading"], "sample_steps": [400], "base": [BASE]}
    assert not warned(make_study, **late, start=[0.5])
    assert len(warned(make_study, **late, start=[None, 0.5])) == len(warned(make_study, **late)) == 1
    short = {"T": [100], "schedule": ["linear_unscaled"], "base": [BASE], "sample_steps": [10]}
    assert not warned(make_study, **short, start=[0.5])
    assert len(warned(make_study, **short, start=[None, 0.5])) == len(warned(make_study, **short)) == 1


def test_steadiness_from_a_start(make_study: Callable[..., Study]) -> None:
    """The long first step of `cosine` is what makes `heun` unsteady. From the middle on it is steady."""
    unsteady = {"base": [BASE], "sampler": ["heun"], "schedule": ["cosine"], "sample_steps": [10], "clip": [False]}
    assert not warned(make_study, **unsteady, start=[0.5])
    (line,) = warned(make_study, **unsteady | {"sampler": ["dpmpp_3m"], "schedule": ["flow"]}, start=[0.5])
    assert "at T=1000 from 0.5 T is not steady with 10 steps" in line
    for begin in (0.3, 0.7):
        found = cautions.deviation(make_schedule("cosine", 1000), "heun", 200, "linspace", False, begin)
        assert found == pytest.approx(cautions.DEVIATION, rel=0.01)


def test_a_student_that_starts_elsewhere(make_study: Callable[..., Study]) -> None:
    taught = {"base": [BASE], "teach": ["progressive(first=4,last=2)"], "sample_steps": [2], "spacing": ["trailing"]}
    assert not warned(make_study, **taught, budget={"epochs": 4})
    (line,) = warned(make_study, **taught, budget={"epochs": 4}, start=[0.5])
    assert "it was not taught for ddim trailing from 0.5 T" in line


def test_the_deviation_is_that_of_samples() -> None:
    """Of a linear walk it is the image of 1; an exact solver's is the data's."""
    schedule, one = make_schedule("flow", 1000), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    denoiser = Denoiser(gaussian(schedule, "x0", cautions.DEVIATION**2), schedule, "x0")
    for sampler in ("dpmpp_3m", "heun"):
        *_, last = sample(denoiser, one, space(schedule, 20), sampler, torch.zeros_like(one).mul, clip=False)
        assert cautions.deviation(schedule, sampler, 20, "linspace", False) == pytest.approx(abs(last.x.item()))
    assert cautions.deviation(schedule, "heun", 200, "linspace", False) == pytest.approx(0.5, rel=1e-3)
    assert cautions.deviation(schedule, "ancestral", 20, "linspace", False) is None


def test_plan_prints_them(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "late.yaml"
    path.write_text(
        "train: {epochs: 1}\naxes: {objective: [x0], schedule: [linear], sampler: [ddim], spacing: [leading],\n"
        "  sample_steps: [600]}\n"
    )
    assert cli.main(["plan", str(path), "--results", str(tmp_path)]) == 0
    assert "warning: spacing 'leading' with 600 of T=1000 steps starts at t = 600" in capsys.readouterr().err


def test_a_student_sampled_in_another_way(make_study: Callable[..., Study]) -> None:
    """One line for each way to teach, whatever else varies; a way that gives the same steps is the same."""
    teach = {"teach": ["data", "progressive(first=8,last=4)"], "schedule": ["cosine"], "objective": ["v", "x0"]}
    assert not warned(make_study, **teach, spacing=["trailing"])
    (line,) = warned(make_study, **teach, spacing=["trailing", "linspace"], sample_steps=[2, 4], sampler=["ddim"])
    assert line == (
        "teach 'progressive(first=8,last=4)' is for 4 steps of ddim with spacing trailing: it was not taught for "
        "ddim trailing 2 steps, ddim 2 steps, ddim 4 steps"
    )
    (line,) = warned(make_study, **teach, spacing=["trailing"], sampler=["ddim", "ancestral"], eta=[0.0, 0.5])
    assert line.endswith("for ddim η=0.5 trailing 4 steps, ancestral trailing 4 steps")
    (line,) = warned(make_study, **teach, spacing=["trailing"], sample_steps=[1, 2, 3, 5, 6, 7])
    assert line.endswith("ddim trailing 5 steps and 2 more")


def test_one_step_is_the_same_by_every_sampler(make_study: Callable[..., Study]) -> None:
    """From T. `leading` starts where its own step is, at 1."""
    one = {"teach": ["progressive"], "schedule": ["cosine"], "sample_steps": [1], "sampler": ["ddim", "ancestral"]}
    assert not warned(make_study, **one)
    late, found = warned(make_study, **one, spacing=["leading"])
    assert "starts at t = 1," in late
    assert "not taught for ddim leading 1 steps, ancestral leading 1 steps" in found
