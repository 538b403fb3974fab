"""Whatever runs on a device runs on one without float64 (Apple's MPS), and nothing stays behind on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench.job.events import JobDone
from bench.job.generate import TILE, generate
from bench.job.run import run
from bench.score import own
from bench.score.scorer import Scorer
from bench.store.records import CellRecord, ScoredCell
from bench.study.model import Sampling
from bench.study.study import Study
from ddpm.denoiser import Denoiser
from ddpm.ema import combine
from ddpm.likelihood import Bound
from ddpm.nets import make_net
from ddpm.oracle import Mixture, gaussian
from ddpm.sampler import SAMPLERS
from ddpm.schedule import make_schedule
from ddpm.timestep import TIMESTEPS
from ddpm.train import OPTIMISERS, Loss, Recipe, Trainer
from tests.conftest import TinyNet
from tests.pretend import CPU, MPS, Pretended, pretended

if TYPE_CHECKING:
    from tests.conftest import World

SCHEDULE = make_schedule("cosine", 5)


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pretended]:
    monkeypatch.setitem(TILE, "mps", 50)
    with pretended(monkeypatch) as mode:
        yield mode


def test_the_pretended_device_refuses_what_mps_refuses(mps: Pretended) -> None:
    x = torch.ones(3, device=MPS)
    assert (x.device, x.cpu().device, (x + 1).device) == (MPS, CPU, MPS)
    assert torch.ones(3, dtype=torch.float64).float().to(MPS).device == MPS
    assert torch.nn.Linear(2, 2).to(MPS).weight.device == MPS
    no_float64: list[Callable[[], Any]] = [
        lambda: x.double(),
        lambda: x.to(torch.float64),
        lambda: x.to("cpu", torch.float64),
        lambda: torch.zeros(3, dtype=torch.float64).copy_(x),
        lambda: torch.zeros(3, dtype=torch.float64).__setitem__(slice(2), x[:2]),
        lambda: torch.ones(3, dtype=torch.float64).to(MPS),
        lambda: torch.zeros(3, dtype=torch.float64, device=MPS),
        lambda: torch.nn.Linear(2, 2).double().to(MPS),
        lambda: x.numpy(),
    ]
    for wrong in no_float64:
        with pytest.raises(TypeError):
            wrong()
    one_device: list[Callable[[], Any]] = [
        lambda: x + torch.ones(3),
        lambda: torch.ones(3)[torch.zeros(1, dtype=torch.long, device=MPS)],
        lambda: torch.randn(3, device=MPS, generator=torch.Generator()),
        lambda: torch.nn.Linear(3, 2)(x),
    ]
    for wrong in one_device:
        with pytest.raises(RuntimeError):
            wrong()


OF_STEPS: dict[str, Any] = {
    "sampler": ["dpmpp_3m"],
    "clip": ["dynamic"],
    "sample_steps": [3],
    "T": [10],
    "schedule": ["cosine"],
}


@pytest.mark.parametrize(
    ("likelihood", "axes"),
    [
        (3, {"objective": ["v"], "timesteps": ["importance"], "ema": [None, 0.1]} | OF_STEPS),
        (0, {"objective": ["x0"], "net": ["oracle"]} | OF_STEPS),
    ],
    ids=["trained", "oracle"],
)
def test_a_job_needs_no_float64_of_its_device(
    likelihood: int, axes: dict[str, Any], world: World, mps: Pretended, make_study: Callable[..., Study]
) -> None:
    """All of it: training, validation, likelihood, averages made afterwards, sampling, scoring."""
    (cells,) = make_study(budget={"epochs": 2, "snapshots": 2}, **axes).jobs.values()
    assert isinstance(list(run(cells, world.store, device=MPS, likelihood_of=likelihood))[-1], JobDone)
    for cell in cells:
        record = world.store.read_cell(CellRecord, cell)
        assert isinstance(record, ScoredCell)
        assert record.sampling.peak_device_mb == 5
    assert mps.calls["conv2d", True] > 0
    assert mps.calls["conv2d", False] == 0


@pytest.mark.parametrize("timesteps", TIMESTEPS)
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_every_way_to_train(timesteps: str, optimiser: str, mps: Pretended) -> None:
    net = make_net("unet(width=8,inner=32,blocks=1,middle=1,variance=true,classes=3)", 1, 16).to(MPS)
    recipe = Recipe(3, batch_size=40, optimiser=optimiser, timesteps=timesteps)
    trainer = Trainer(net, Loss(SCHEDULE, "previous", "snr"), recipe, 0)
    images, classes = torch.zeros(80, 1, 16, 16, device=MPS), torch.arange(80, device=MPS) % 3
    steps = list(trainer.steps(images, lambda x: x.float(), classes=classes, none=3))
    assert len(steps) == 6
    assert all(step.loss.device == MPS for step in steps)
    trainer.load_state({name: value.cpu() for name, value in trainer.state().items()})


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("ancestral_learned", "jump")])
def test_every_sampler(sampler: str, mps: Pretended) -> None:
    how = Sampling(sampler=sampler, sample_steps=3)
    (batch,) = generate(TinyNet().to(MPS), SCHEDULE, "v", how, shape=(1, 28), n=50, device=MPS)
    assert batch.images.device == CPU
    assert mps.calls["conv2d", False] == 0


def test_what_is_worked_out_in_float64(mps: Pretended) -> None:
    """The bound's single draws, exact denoisers, and averages made of others."""
    x = torch.randn(4, 1, 2, 2, device=MPS)
    random = torch.Generator(MPS).manual_seed(0)
    denoiser = Denoiser(gaussian(SCHEDULE, "eps", 0.5), SCHEDULE, "eps")
    term, t = Bound(denoiser).draw(x, random)
    assert (term.device, t.device) == (MPS, MPS)
    for where in (CPU, MPS):
        parts = torch.randn(3, 1, 2, 2), torch.ones(3), torch.ones(3)
        mixture = Mixture(SCHEDULE, "x0", *(part.to(where) for part in parts)).to(MPS)
        assert mixture(x, torch.ones(1, device=MPS)).device == MPS
    averaged = combine([{"w": x}, {"w": x + 1}], torch.tensor([0.5, 0.5]).numpy())
    assert averaged["w"].device == MPS


def test_a_data_set_s_own_classifier_is_trained_on_the_job_s_device(
    world: World, mps: Pretended, own_classifier: None
) -> None:
    few = replace(world.images, train=world.images.train[:128], test=world.images.test[:20])
    few = replace(few, train_labels=few.train_labels[:128], test_labels=few.test_labels[:20])
    scorer = Scorer("mnist", few, world.store, MPS)
    assert own.path_of("mnist", world.store).is_file()
    assert scorer.accuracy is not None
    assert mps.calls["conv2d", True] > 0
    assert mps.calls["conv2d", False] == 0
    assert mps.calls["backward", True] > 0
