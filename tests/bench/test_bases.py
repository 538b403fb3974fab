"""A study with bases: the fit is training, its numbers lie with the weights, and what cannot be is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.analysis.frames import Results
from bench.analysis.table import iter_rows
from bench.cli.table import markdown
from bench.errors import UserError
from bench.execute.cost import UNKNOWN
from bench.execute.run import run_study
from bench.execute.schedule import Options
from bench.job.draw import trained_network
from bench.job.events import EpochDone
from bench.job.export import card
from bench.job.run import run
from bench.job.work import count_flops
from bench.report.sections import answer, denoising
from bench.store.records import JobRecord, TrainedJob
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.study import Study
from ddpm.base import BASES, Base, MixtureBase
from tests.conftest import World

BASE = "mixture(components=4,rank=8)"
CPU = torch.device("cpu")
OPTIONS = Options("cpu", threads=1, engine="eager", executor="inline")


def study_of(make_study: Callable[..., Study], *bases: str, **axes: Any) -> Study:
    return make_study(objective=["v"], sampler=["ddim"], base=list(bases), budget={"images": 128}, **axes)


def trained(store: Store, key: str) -> TrainedJob:
    record = store.read(JobRecord, key)
    assert isinstance(record, TrainedJob)
    return record


def weights(store: Store, key: str) -> dict[str, bytes]:
    kept = store.load_tensors(Checkpoint, key)
    assert kept is not None
    return {name: value.numpy().tobytes() for name, value in kept[0].items()}


def test_none_leaves_no_trace(make_study: Callable[..., Study]) -> None:
    (said,) = study_of(make_study, "none").cells
    (plain,) = make_study(objective=["v"], sampler=["ddim"], budget={"images": 128}).cells
    assert said.key == plain.key
    assert "base" not in plain.job.canonical
    assert plain.job.network == "tiny"


def test_what_tables_and_labels_say(make_study: Callable[..., Study]) -> None:
    (cell,) = study_of(make_study, BASE).cells
    assert cell.job.told["base"] == BASE
    assert f"on base {BASE}" in cell.job.label
    assert cell.job.network == f"tiny on base {BASE}"


def test_a_network_on_a_base(world: World, make_study: Callable[..., Study]) -> None:
    """It is trained, sampled and drawn again like any other, from weights that hold the base."""
    study = study_of(make_study, "none", BASE)
    list(run_study(study, world.store, OPTIONS))
    plain, based = (trained(world.store, cell.job.key) for cell in study.cells)
    assert based.epochs[0].loss < plain.epochs[0].loss
    assert based.megabytes > plain.megabytes
    kept = weights(world.store, study.cells[1].job.key)
    assert kept["ema.base.centres"] == kept["net.base.centres"]
    assert any(kept["ema.base.centres"])
    drawn = world.store.load_samples(study.cells[1].key)
    assert drawn is not None
    again = trained_network(study.cells[1], world.store, CPU).sample(20, seed=0)
    assert (again.numpy() == drawn[0]).all()


def test_the_fit_is_training(world: World, make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time is the first epoch's, and no other's."""
    plain = MixtureBase.fit

    def slow(self: MixtureBase, *args: Any) -> None:
        time.sleep(2)
        plain(self, *args)

    monkeypatch.setattr(MixtureBase, "fit", slow)
    study = study_of(make_study, BASE)
    list(run(list(study.cells), world.store, device=CPU))
    first, *later = trained(world.store, study.cells[0].job.key).epochs
    assert first.seconds > 2 > max(epoch.seconds for epoch in later)


def test_resuming_is_bit_identical(world: World, make_study: Callable[..., Study]) -> None:
    """The base comes from the resume point; it is no time of the epochs that are left."""
    torch.set_num_threads(1)
    cells = list(study_of(make_study, BASE).cells)
    list(run(cells, world.store, device=CPU))
    cut = Store(world.store.root.parent / "cut")
    job = run(cells, cut, device=CPU)
    for event in job:
        if isinstance(event, EpochDone) and event.epoch == 2:
            break
    job.close()
    list(run(cells, cut, device=CPU))
    key = cells[0].job.key
    assert weights(cut, key) == weights(world.store, key)


def test_a_student_has_its_teacher_s_base(
    world: World, make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fitted once, in the teacher's time."""
    plain, fits = MixtureBase.fit, []
    monkeypatch.setattr(MixtureBase, "fit", lambda self, *args: [fits.append(1), plain(self, *args)])
    study = study_of(make_study, BASE, teach=["reflow(steps=2)"], sample_steps=[1])
    list(run_study(study, world.store, OPTIONS))
    (cell,) = study.cells
    assert len(fits) == 1
    assert cell.job.teacher is not None
    teacher, student = (weights(world.store, key) for key in (cell.job.teacher.key, cell.job.key))
    assert teacher["ema.base.centres"] == student["net.base.centres"]


def test_seeds_fit_their_own(world: World, make_study: Callable[..., Study]) -> None:
    """k-means starts from images that the training seed chooses."""
    study = study_of(make_study, BASE, seed=[0, 1])
    list(run_study(study, world.store, OPTIONS))
    one, two = (weights(world.store, cell.job.key)["net.base.centres"] for cell in study.cells)
    assert one != two


def test_work_is_counted_with_the_base(world: World, make_study: Callable[..., Study]) -> None:
    """As planned and as recorded: the plain network's, a second input's, and the base's own."""
    study = study_of(make_study, "none", BASE)
    list(run_study(study, world.store, OPTIONS))
    plain, based = (trained(world.store, cell.job.key).flops_per_image for cell in study.cells)
    assert based.forward > plain.forward
    for cell, found in zip(study.cells, (plain, based), strict=True):
        assert count_flops(cell.job.net, "mnist", cell.job.base) == found
        assert UNKNOWN.flops_of(cell.job) == found


def test_the_oracle_has_none(make_study: Callable[..., Study]) -> None:
    (cell,) = study_of(make_study, "none", BASE, net=["oracle"]).cells
    assert cell.job.base == "none"


def test_sampling_from_a_base(world: World, make_study: Callable[..., Study]) -> None:
    """A study with and without a start: labels say which, the samples differ, and a network draws them again."""
    study = study_of(make_study, BASE, start=[None, 0.5], sample_steps=[2])
    list(run_study(study, world.store, OPTIONS))
    whole, half = study.cells
    assert (whole.label, half.label) == ("ddim 2 steps", "ddim from 0.5 T 2 steps")
    plain, drawn = (world.store.load_samples(cell.key) for cell in study.cells)
    assert plain is not None
    assert drawn is not None
    assert (plain[0] != drawn[0]).any()
    network = trained_network(half, world.store, CPU)
    assert (network.sample(half.n, seed=0).numpy() == drawn[0]).all()
    assert (network.sample(half.n, seed=0, start=None).numpy() == plain[0]).all()
    with pytest.raises(UserError, match="start"):
        network.sample(4, start=1.5)


def test_the_times_of_a_strip_begin_at_the_start() -> None:
    """As the table says them, where no start is NaN."""
    row = {"schedule": "cosine", "T": 100, "sample_steps": 3, "spacing": "trailing"}
    assert denoising._times(row | {"start": 0.3}) == [30, 20, 10]
    assert denoising._times(row | {"start": float("nan")}) == [100, 67, 33]


def test_no_start_leaves_no_trace(make_study: Callable[..., Study]) -> None:
    (said,) = study_of(make_study, BASE, start=[None]).cells
    (plain,) = study_of(make_study, BASE).cells
    assert said.key == plain.key
    assert "start" not in plain.written


def test_the_oracle_starts_from_noise(make_study: Callable[..., Study]) -> None:
    assert [cell.sampling.start for cell in study_of(make_study, BASE, net=["oracle"], start=[None, 0.5]).cells] == [
        None
    ]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"base": ["mixture"]}, "base mixture needs 100 training images or more, not 64$"),
        (
            {"base": ["mixture(components=4,rank=1000)"]},
            "rank=1000 is more than the span, which is 784",
        ),
        (
            {"base": [BASE], "net": ["scorenet"]},
            r"net 'scorenet' takes 1×28×28 images, not 2×28×28 \(base 'mixture' gives it a second image beside x_t\)$",
        ),
        ({"start": [0.5]}, r"start=0.5 needs a base to draw from \(base: \[mixture\]\)"),
        ({"base": [BASE], "start": [0.999], "T": [20]}, "start=0.999 is T itself, as T=20: use null, or a lower start"),
        (
            {"base": [BASE], "start": [0.5], "teach": ["reflow(steps=2)"], "sample_steps": [1]},
            "teach reflow.* has learned images that go with their noise. Use another there .teach: data, cons",
        ),
        (
            {"base": [BASE], "net": ["unet(classes=10)"], "start": [0.5], "guidance": [1.0]},
            "start=0.5 draws from a base, which knows no classes: guidance must be null there",
        ),
        (
            {"base": [BASE], "start": [0.1], "T": [20], "sample_steps": [3]},
            "sample_steps=3 is more than the 2 steps from start=0.1 at T=20",
        ),
        (
            {"base": [BASE], "net": ["unet(second_time=true)"], "teach": ["shortcut"], "T": [128]},
            "teach shortcut has a second time, of which base .* knows nothing. Use another there .teach: data, cons",
        ),
    ],
)
def test_what_cannot_be_is_refused(make_study: Callable[..., Study], axes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        _ = make_study(**{"objective": ["v"], "sampler": ["ddim"], "budget": {"images": 64}} | axes).cells


def test_what_is_excluded_is_not_refused(make_study: Callable[..., Study]) -> None:
    """A study of both networks, with a base for the one that takes it."""
    study = make_study(
        objective=["v"], sampler=["ddim"], net=["tiny", "scorenet"], base=["none", BASE], budget={"images": 64}
    )
    left = study.model_copy(update={"exclude": [{"net": "scorenet", "base": BASE}]})
    assert len(left.cells) == 3


def test_another_package_s_base(
    world: World, make_study: Callable[..., Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that takes every pixel for N(0, 1): by its answer v = 0, so a network learns as it does without."""

    class Normal(Base):
        def fit(self, images: Any, prepare: Any, random: Any) -> None:
            pass

        def posterior_mean(self, x: torch.Tensor, alpha: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            return alpha * x

    monkeypatch.setitem(BASES, "normal", lambda pixels: Normal())
    with pytest.raises(UserError, match=r"start=0.5 needs a base to draw from, and normal has no samples"):
        _ = study_of(make_study, "normal", start=[0.5]).cells
    study = study_of(make_study, "normal")
    list(run_study(study, world.store, OPTIONS))
    assert trained(world.store, study.cells[0].job.key).epochs[-1].loss < 2


def test_what_is_said_of_networks_on_bases(world: World, make_study: Callable[..., Study]) -> None:
    """The report's table of sizes has a row each, a table a column that tells them apart, a card what the file is."""
    study = study_of(make_study, "none", BASE)
    list(run_study(study, world.store, OPTIONS))
    results = Results(study, world.store)
    sizes = results.networks.set_index("net")["megabytes"]
    assert list(sizes.index) == ["tiny", f"tiny on base {BASE}"]
    assert sizes.iloc[1] > sizes.iloc[0]
    for row in (results.settings.iloc[i] for i in range(2)):
        assert f", base {row['base']}, sampled by ddim in" in answer._named(results, row)
    said = markdown(list(iter_rows(study, world.store)))
    assert "base" in said.splitlines()[0]
    assert BASE in said
    plain, based = (card(cell, world.store) for cell in study.cells)
    assert "`base.` those of its base" in based
    assert f"the network `tiny on base {BASE}`" in based
    assert "base" not in plain
    assert "\n\n\n" not in plain + based
