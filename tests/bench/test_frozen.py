"""The gate of every change: the code as it is passes, each row has a check, and each of these bugs is seen."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.gate import change, drawn, jobs, kinds, numbers, subject, training, verdicts
from bench.gate.baselines import change as acknowledged
from bench.gate.change import MAIN, Baseline
from bench.gate.subject import Subject, Way
from bench.images import datasets, folder, idx, readers
from bench.images.datasets import Images
from bench.job import checkpoints, engine, generate
from bench.job import run as running
from bench.job import training as job_training
from bench.job.setting import Setting
from bench.rows import FAMILIES, entries
from bench.score import classifier, distances, eyes, metrics
from bench.score.judges import pinned
from bench.store.store import Store
from bench.store.tensors import Checkpoint
from bench.study.model import Job, Sampling
from ddpm import base, batch, denoiser, ema, guidance, likelihood, objective, sampler, schedule, teach, timestep, train
from ddpm.nets import dit
from ddpm.spec import Variant, parameters

DDIM, ANCESTRAL = "images ddim, 10 of 1000", "images ancestral, 10 of 1000"
FULL = "images ancestral_beta, 50 of 50"


@pytest.fixture(scope="module")
def kept() -> tuple[Baseline, dict[str, dict[str, Tensor]]]:
    """The committed baseline and its networks."""
    return change.read()


Check = Callable[..., list[verdicts.Outcome]]


@pytest.fixture(scope="module")
def reference(kept: Any, mnist: Images) -> Iterator[Path]:
    """What a subject's judges see in its training images, by the code as it is."""
    with Subject(kept[1], mnist) as one:
        assert one.scorer.reference.subset.any()
        yield one.folder / "scoring"


@pytest.fixture
def check(kept: Any, mnist: Images, reference: Path) -> Iterator[Check]:
    """The gate, for the checks that are named (with all that begins so where a name ends in *).

    Judges find their reference there, unless it is to be made anew.
    """
    baseline, weights = kept

    def run(*names: str, anew: bool = False) -> list[verdicts.Outcome]:
        with Subject(weights, mnist) as one:
            if not anew:
                shutil.copytree(reference, one.folder / "scoring")
            return [outcome for name in names for outcome in judged(one, baseline, name)]

    yield run
    classifier.load.cache_clear()


def judged(one: Subject, baseline: Baseline, name: str) -> list[verdicts.Outcome]:
    found = list(change.check(one, baseline, name.removesuffix("*")))
    found = found if name.endswith("*") else [outcome for outcome in found if outcome.name == name]
    assert found, name
    return found


def failed(outcomes: list[verdicts.Outcome]) -> set[str]:
    return {one.name for one in outcomes if one.verdict == verdicts.FAIL}


def test_the_code_as_it_is_passes(check: Check) -> None:
    """Some checks of each kind: rounding is far below the limit. `make check` does them all."""
    names = [
        "schedule cosine", "loss v", "sampler heun", "likelihood small", "average of length 0.1", "timesteps",
        "net unet", "training optimiser muon", "metric", "score", DDIM, "images heun, 10", "job plain",
    ]  # fmt: skip
    outcomes = check(*(f"{name}*" for name in names), anew=True)
    assert verdicts.overall(outcomes) == verdicts.PASS, verdicts.table(outcomes)
    assert all(one.value < one.limit / 4 for one in outcomes if one.value is not None and one.limit is not None)
    kinds_seen = {change.checks()[one.name].kind for one in outcomes}
    assert kinds_seen == set(kinds.KINDS)


# each bug: what is changed, and a check that sees it

PATCHES: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {}


def bug(seen_by: str) -> Callable[[Any], Any]:
    """A bug, under the name of its function."""

    def note(of: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
        PATCHES[of.__name__] = (seen_by, of)
        return of

    return note


@bug("training weight snr")
def square_root_of_the_loss_weight(patch: pytest.MonkeyPatch) -> None:
    plain = train.loss_weight
    patch.setattr(train, "loss_weight", lambda *args: plain(*args).sqrt())


@bug("weight snr for every objective")
def weights_not_converted(patch: pytest.MonkeyPatch) -> None:
    """For objectives other than v."""
    plain = numbers.loss_weight

    def unconverted(s: schedule.Schedule, one: str, weight: str) -> Tensor:
        return plain(s, one if one == "v" else objective.WEIGHTS[Variant.of(weight).name].of or one, weight)

    patch.setattr(numbers, "loss_weight", unconverted)


@bug("net dit")
def layer_norms_not_modulated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dit, "normed", lambda x, shift, scale: torch.nn.functional.layer_norm(x, x.shape[-1:]))


@bug("net dit")
def rows_of_patches_taken_for_columns(patch: pytest.MonkeyPatch) -> None:
    plain = dit.positions
    patch.setattr(dit, "positions", lambda count, width: plain(count, width).roll(width // 2, 1))


@bug("guidance 3")
def guidance_scale_and_one(patch: pytest.MonkeyPatch) -> None:
    plain = numbers.guided
    patch.setattr(numbers, "guided", lambda net, classes, none, scale: plain(net, classes, none, scale + 1))


@bug("images ddim guidance 3, 10 of 1000")
def guidance_scale_and_one_where_samples_are_drawn(patch: pytest.MonkeyPatch) -> None:
    plain = generate.guided
    patch.setattr(generate, "guided", lambda net, classes, none, scale: plain(net, classes, none, scale + 1))


@bug("job told, training")
def labels_shuffled(patch: pytest.MonkeyPatch) -> None:
    plain = running.train

    def shuffled(setting: Setting, net: Any) -> Any:
        flipped = replace(setting.images, train_labels=setting.images.train_labels.flip(0))
        return plain(replace(setting, images=flipped), net)

    patch.setattr(running, "train", shuffled)


@bug("training with classes")
def labels_shuffled_in_the_trainer(patch: pytest.MonkeyPatch) -> None:
    plain = train.forget
    patch.setattr(train, "forget", lambda classes, *rest: plain(classes.flip(0), *rest))


@bug("images ancestral seed 7, 10 of 1000")
def sampling_seed_ignored(patch: pytest.MonkeyPatch) -> None:
    plain = generate.noise
    patch.setattr(generate, "noise", lambda seed, *rest: plain(0, *rest))


@bug("job plain, training")
def training_seed_ignored(patch: pytest.MonkeyPatch) -> None:
    plain = train.random_stream
    patch.setattr(train, "random_stream", lambda device, seed, *rest, **named: plain(device, 0, *rest, **named))


@bug("job plain, training")
def training_seed_ignored_where_networks_are_made(patch: pytest.MonkeyPatch) -> None:
    plain = running._make_net
    patch.setattr(running, "_make_net", lambda job, *rest: plain(job.model_copy(update={"seed": 0}), *rest))


@bug("training with snapshots")
def raw_weights_instead_of_averaged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ema.Ema, "rate", lambda self: 0.0)


@bug("job plain, ancestral 2 steps sampling seed 1")
def raw_weights_sampled(patch: pytest.MonkeyPatch) -> None:
    plain = job_training.make_record

    def raw(job: Job, net: Any, *rest: Any) -> Any:
        net.load_state_dict(LAST[0].net_before)
        return plain(job, net, *rest)

    class Kept(train.Trainer):
        def steps(self, *args: Any, **named: Any) -> Iterator[Any]:
            yield from super().steps(*args, **named)
            self.net_before = {k: v.clone() for k, v in self.net.state_dict().items()}
            LAST[:] = [self]

    patch.setattr(job_training, "Trainer", Kept)
    patch.setattr(job_training, "make_record", raw)


LAST: list[Any] = []


@bug("average of length 0.1")
def power_of_the_average(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ema.PowerEma, "rate", lambda self: (1 - 1 / self.updates) ** self.power)


@bug("job told, ddim EMA 0.15 4 steps sampling seed 6")
def length_of_the_average_ignored(patch: pytest.MonkeyPatch) -> None:
    plain = checkpoints.coefficients
    patch.setattr(checkpoints, "coefficients", lambda at, end, length: plain(at, end, 0.05))


@bug("training timesteps importance")
def importance_factor_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(timestep.Importance, "factor", timestep.Uniform.factor)


@bug("schedule cosine(zero_snr=true)")
def first_value_of_zero_snr(patch: pytest.MonkeyPatch) -> None:
    def shifted(log_bar: Tensor, *, zero_snr: bool = False) -> Tensor:
        root = (log_bar / 2).exp()
        return 2 * ((root - root[-1]) / (1 - root[-1])).log() if zero_snr else log_bar

    patch.setattr(schedule, "rescale", shifted)


@bug("sampler ancestral_learned")
def interpolation_of_the_learned_variance(patch: pytest.MonkeyPatch) -> None:
    plain = sampler._learned
    patch.setattr(sampler, "_learned", lambda v, small, large: plain(None if v is None else -v, small, large))


@bug("likelihood learned")
def interpolation_of_the_learned_variance_in_the_bound(patch: pytest.MonkeyPatch) -> None:
    plain = likelihood.Bound.term_of

    def reversed_(self: Any, x0: Tensor, t: Tensor, found: Tensor, v: Tensor | None = None) -> Tensor:
        return plain(self, x0, t, found, None if v is None else -v)

    patch.setattr(likelihood.Bound, "term_of", reversed_)


@bug("job plain, training")
def half_of_the_training_images(patch: pytest.MonkeyPatch) -> None:
    plain = train.Trainer.steps
    patch.setattr(train.Trainer, "steps", lambda self, images, *rest, **named: plain(self, images[::2], *rest, **named))


@bug("score fid")
def half_of_the_reference(patch: pytest.MonkeyPatch) -> None:
    plain = eyes.looked_at
    patch.setattr(eyes, "looked_at", lambda eye, images: plain(eye, replace(images, train=images.train[::2])))


@bug("likelihood small")
def half_a_bin(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(likelihood, "HALF_BIN", likelihood.HALF_BIN / 2)


@bug("metric fid")
def fid_of_the_biased_covariance(patch: pytest.MonkeyPatch) -> None:
    def biased(features: Tensor) -> distances.Moments:
        return distances.Moments(features.numpy().mean(0), np.cov(features.numpy(), rowvar=False, ddof=0))

    patch.setattr(distances.Moments, "of", staticmethod(biased))


@bug(DDIM)
def a_timestep_off_by_one(patch: pytest.MonkeyPatch) -> None:
    plain = denoiser.times
    patch.setattr(denoiser, "times", lambda t, *rest: plain(t - 1, *rest))


@bug(FULL)
def the_small_variance_for_the_large(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sampler, "wide", sampler.posterior)


@bug("sampler ddim")
def the_wrong_sigma(patch: pytest.MonkeyPatch) -> None:
    plain = sampler.bridge
    patch.setattr(sampler, "bridge", lambda a, b, c, d, *eta: plain(a, b, c, b if d else d, *eta))


@bug(ANCESTRAL)
def clipping_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sampler.CLIPS, True, None)


@bug("schedule cosine")
def cosine_clipped_early(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(schedule.SCHEDULES, "cosine", functools.partial(schedule.cosine, max_beta=0.9))


@bug(ANCESTRAL)
def images_two_per_cent_larger(patch: pytest.MonkeyPatch) -> None:
    plain = generate.to_uint8
    patch.setattr(generate, "to_uint8", lambda x: plain(1.02 * x))


@bug(ANCESTRAL)
def images_truncated(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(generate, "to_uint8", lambda x: x.add(1).mul(127.5).clamp(0, 255).to(torch.uint8))


@bug("score fid")
def a_metric_changed(patch: pytest.MonkeyPatch) -> None:
    plain = metrics.frechet_distance
    patch.setattr(metrics, "frechet_distance", lambda p, q: 1.05 * plain(p, q))


@bug("loss previous")
def drawn_targets_without_their_noise(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(objective.OBJECTIVES, "previous", objective.Objective(objective.mean, weight="demo"))


@bug("classes left out")
def classes_always_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(guidance, "UNTOLD", 0.0)


@bug("teach consistency")
def distance_of_the_wrong_stage(patch: pytest.MonkeyPatch) -> None:
    plain = teach.ect
    patch.setitem(teach.DISTANCES, "ect", lambda path, t, k, like: plain(path, t, k + 1, like))


@bug("teach progressive")
def middle_taken_for_half(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(teach.Path, "part", lambda self, t, m, s, like: torch.full_like(like[:, :1, :1, :1], 0.5))


@bug("teach reflow")
def noise_that_is_not_the_pairs(patch: pytest.MonkeyPatch) -> None:
    plain = teach.sample
    patch.setattr(teach, "sample", lambda denoiser, x, *args, **how: plain(denoiser, -x, *args, **how))


@bug("teach meanflow")
def derivative_without_the_path(patch: pytest.MonkeyPatch) -> None:
    plain = denoiser.Denoiser.moving
    patch.setattr(denoiser.Denoiser, "moving", lambda self, x, t, s, v: plain(self, x, t, s, 0 * v))


@bug("teach shortcut")
def ends_of_both_steps_not_told(patch: pytest.MonkeyPatch) -> None:
    plain = batch.Batch.by_two_steps
    patch.setattr(batch.Batch, "by_two_steps", lambda self, net, m, s, *told: plain(self, net, m, s))


@bug("sampler renoise")
def noise_of_the_step_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sampler, "afresh", lambda a_t, b_t, a_s, b_s, eta: sampler.Mix(a_s, 0.0, b_t if b_s else 0.0))


@bug("sampler jump")
def second_time_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sampler.SAMPLERS, "jump", sampler.euler)


@bug("base mixture")
def noise_of_the_components_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(base, "_gain", lambda variance, alpha, sigma: torch.ones_like(sigma * variance) / alpha)


@bug("training base mixture")
def output_not_added_to_the_base_s(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(base.Based, "forward", lambda self, x, u: self.net(torch.cat([x, x], 1), u)[:, :1])


@bug("job based, training")
def base_never_fitted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(base.Based, "fit", lambda *args: None)


@bug('dataset read: emnist(split="letters")')
def lying_images(patch: pytest.MonkeyPatch) -> None:
    plain = idx.load
    patch.setattr(idx, "load", lambda spec, root: plain(replace(spec, turned=False), root))


@bug('dataset read: emnist(split="letters")')
def letters_from_one(patch: pytest.MonkeyPatch) -> None:
    plain = idx.load
    patch.setattr(idx, "load", lambda spec, root: plain(replace(spec, first=0, classes=27), root))


@bug("dataset read: bloodmnist")
def colours_in_another_order(patch: pytest.MonkeyPatch) -> None:
    plain = readers._images
    patch.setattr(readers, "_images", lambda path, array: plain(path, array).flip(1))


@bug("dataset read: folder, padded")
def a_black_border_in_place_of_white(patch: pytest.MonkeyPatch) -> None:
    plain = folder._fitted
    patch.setattr(folder, "_fitted", lambda image, side, fit, background, *rest: plain(image, side, fit, 0, *rest))


@bug("dataset read: folder, cropped")
def another_part_is_held_out(patch: pytest.MonkeyPatch) -> None:
    plain = folder._in_order
    patch.setattr(folder, "_in_order", lambda path, images, labels, *rest: plain(path, images, labels, 0.5, *rest[1:]))


@bug("dataset qmnist")
def as_many_test_images_as_mnist(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(datasets.DATASETS, "qmnist", replace(datasets.DATASETS["qmnist"], test=10_000))


@pytest.mark.parametrize("name", PATCHES)
def test_a_bug_is_seen(check: Check, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    seen_by, inject = PATCHES[name]
    inject(monkeypatch)
    assert failed(check(seen_by, anew=name == half_of_the_reference.__name__)) == {seen_by}


def test_every_row_of_every_table_has_a_check() -> None:
    """Whoever adds a row has a check for it, with nothing to write."""
    every = change.checks()
    for family in FAMILIES:
        label = {"optimiser": "training optimiser"}.get(family, family)
        for name in entries(family):
            assert f"{label} {name}" in every, f"nothing in the gate is of the {family} {name}"
    for name in objective.OBJECTIVES:
        assert {f"loss {name}", f"sampled objective {name}", f"training objective {name}"} <= every.keys()
    for name in likelihood.VARIANCES:
        assert {f"variance {name}", f"likelihood {name}"} <= every.keys()
    for clip in sampler.CLIPS:
        assert f"clip {clip}" in every


def test_every_option_has_a_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """At another value than its default. What options of own images do is read from made-up files."""
    every = change.checks()
    for family, about in FAMILIES.items():
        for name, row in entries(family).items() if about.options and family != "dataset" else ():
            for key in parameters(about.options(row)):
                assert any(label.startswith(f"{family} {name}({key}=") for label in every), (family, name, key)
    monkeypatch.setitem(schedule.SCHEDULES, "new", lambda T, *, much=0.5: schedule.cosine(T))
    assert {"schedule new", "schedule new(much=0.45)", "schedule new(zero_snr=true)"} <= change.checks().keys()


def test_every_check_is_in_the_baseline(kept: Any) -> None:
    """Whoever adds a row updates the baseline with it."""
    baseline, weights = kept
    assert baseline.names == change.checks().keys()
    assert pinned("mnist") == baseline.classifier
    assert weights.keys() == subject.FROZEN.keys()
    assert len(baseline.images[MAIN]) == drawn.SCORED


def test_what_is_new_is_not_judged_and_what_is_gone_fails(
    kept: Any, mnist: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline, weights = kept
    some = {name: one for name, one in change.checks().items() if name in ("schedule flow", "spacing karras")}
    monkeypatch.setattr(change, "checks", lambda: some)
    had = Baseline(
        {MAIN: baseline.images[MAIN]}, {"schedule flow": baseline.numbers["schedule flow"], "gone": [1.0]}, "", ()
    )
    with Subject(weights, mnist) as one:
        found = {outcome.name: outcome.verdict for outcome in change.check(one, had)}
    assert found == {
        "schedule flow": verdicts.PASS,
        "spacing karras": verdicts.UNDECIDED,
        "gone": verdicts.FAIL,
        f"images {MAIN}": verdicts.FAIL,
    }


def test_what_breaks_is_not_measured_and_the_rest_goes_on(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("no such thing")

    monkeypatch.setitem(schedule.SCHEDULES, "flow", broken)
    found = {one.name: one for one in check("schedule flow", "schedule cosine")}
    assert found["schedule flow"].verdict == verdicts.NOT_MEASURED
    assert "no such thing" in found["schedule flow"].note
    assert found["schedule cosine"].verdict == verdicts.PASS
    monkeypatch.setattr(generate, "to_uint8", lambda x: exec("raise FloatingPointError('not finite')"))  # noqa: S102
    assert [one.verdict for one in check(DDIM)] == [verdicts.FAIL]


def test_worse_images_are_said_to_be_worse(check: Check, kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the main way draws, with noise in place of every fifth image."""
    spoilt = torch.from_numpy(kept[0].images[MAIN]).clone()
    spoilt[::5] = torch.randint_like(spoilt[::5], 256)
    monkeypatch.setattr(Subject, "draw", lambda self, way, n=16, tile=16: spoilt[:n])
    monkeypatch.setattr(drawn, "quality", functools.partial(drawn.quality, resamples=5))
    (outcome,) = check(f"images {MAIN}")
    assert outcome.verdict == verdicts.FAIL
    assert "worse" in outcome.note
    assert "no worse" not in outcome.note


def test_a_few_images_are_those_of_a_whole_tile(kept: Any, mnist: Images) -> None:
    """The gate evaluates 16 at a time, a study 100."""
    way = Way(Sampling(sampler="ancestral", sample_steps=2, sample_seed=3))
    with Subject(kept[1], mnist) as one:
        few, many = one.draw(way), one.draw(way, 60, 100)
    assert len(few) == 16
    assert len(many) == 60
    assert kinds.levels(few.numpy(), many[:16].numpy()) < 0.01


def test_one_thread_inside_and_as_before_outside(kept: Any, mnist: Images) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Subject(kept[1], mnist) as one:
            assert torch.get_num_threads() == 1
            folder = one.folder
            assert folder.is_dir()
        assert torch.get_num_threads() == 2
        assert not folder.exists()
    finally:
        torch.set_num_threads(before)


def test_limits_of_formats(kept: Any, mnist: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less exact formats have wider limits for images; and what trains is left out where it would not compare."""
    a, b = np.zeros((16, 1, 28, 28), np.uint8), np.full((16, 1, 28, 28), 1, np.uint8)
    found = [kinds.compare("x", "images", a, b, name).verdict for name in ("float32", "tf32", "bfloat16")]
    assert found == [verdicts.FAIL, verdicts.FAIL, verdicts.PASS]
    reduced = engine.ENGINES["compiled_bf16"].format
    monkeypatch.setitem(engine.ENGINES, "made_up", engine.Engine(None, reduced))
    with Subject(kept[1], mnist, engine="made_up") as one:
        left_out = [name for name, each in change.checks().items() if not change.applies(one, each)]
        assert left_out
        assert all(name.startswith("job ") for name in left_out)
        way = Way(Sampling(sampler="ddim", sample_steps=5))
        with Subject(kept[1], mnist) as exact:
            apart = kinds.levels(one.draw(way).numpy(), exact.draw(way).numpy())
        assert 0.05 < apart < 2


def test_an_engine_that_is_none_or_does_not_fit(kept: Any, mnist: Images) -> None:
    with pytest.raises(UserError, match=r"unknown engine 'nonsense'.*eager"):
        Subject(kept[1], mnist, engine="nonsense")
    with pytest.raises(UserError, match="does not fit device cpu"):
        Subject(kept[1], mnist, engine="graphs")


def test_a_baseline_survives_its_files(kept: Any, tmp_path: Path) -> None:
    baseline, weights = kept
    change.write(baseline, weights, tmp_path / "copy")
    again, same = change.read(tmp_path / "copy")
    assert again.numbers == baseline.numbers
    assert again.history == baseline.history
    assert all((again.images[k] == v).all() for k, v in baseline.images.items())
    assert all(torch.equal(same[net][k], v) for net, own in weights.items() for k, v in own.items())
    assert all(getattr(baseline.history[-1], k) for k in ("who", "when", "commit", "why"))


@pytest.mark.parametrize("suffix", [".json", ".npz", ".safetensors"])
def test_a_damaged_baseline(kept: Any, tmp_path: Path, suffix: str) -> None:
    change.write(*kept, tmp_path / "copy")
    path = (tmp_path / "copy").with_suffix(suffix)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="not a baseline of this version"):
        change.read(tmp_path / "copy")
    path.unlink()
    with pytest.raises(UserError, match="no baseline"):
        change.read(tmp_path / "copy")


def test_freezing_another_network(kept: Any, mnist: Images, tmp_path: Path) -> None:
    """The averaged weights of a training run of the right kind; the history goes on."""
    baseline, weights = kept
    store = Store(tmp_path)
    given = {"net": "unet", "objective": "v", "weight": "unit", "schedule": "cosine", "T": 1000, "seed": 0}
    job = Job(**given, train={"epochs": 1})
    other = Job(**given | {"objective": "eps"}, train={"epochs": 1})
    tensors = {f"ema.{k}": v for k, v in weights["net"].items()}
    store.save_tensors("right", tensors, Checkpoint(job=job))
    store.save_tensors("wrong", tensors, Checkpoint(job=other))
    assert change.trained(store, "right").keys() == weights["net"].keys()
    with pytest.raises(UserError, match="objective=eps, but a frozen network must have v"):
        change.trained(store, "wrong")
    with pytest.raises(UserError, match="no weights"):
        change.trained(store, "none")
    with pytest.raises(UserError, match="not of this version"):
        Subject({"net": {k: v for k, v in weights["net"].items() if k != "last.weight"}}, mnist)
    change.write(*kept, tmp_path / "copy")
    assert change.past(tmp_path / "copy") == baseline.history
    assert change.past(tmp_path / "none") == ()


def test_another_classifier_is_refused(kept: Any, mnist: Images) -> None:
    other = Baseline(kept[0].images, kept[0].numbers, "other", (acknowledged("x"),))
    with Subject(kept[1], mnist) as one, pytest.raises(UserError, match="was scored by classifier other"):
        list(change.check(one, other, "score fid"))


def test_fingerprints_tell_as_much_as_what_they_are_of() -> None:
    """A relative distance of tensors is that of their fingerprints, to a factor of three."""
    random = np.random.default_rng(0)
    a = [random.normal(size=(30, 7)), random.normal(size=501)]
    for share in (1e-6, 1e-2, 0.5):
        b = [part + share * random.normal(size=part.shape) for part in a]
        found = kinds.rows(kinds.fingerprint(*b), kinds.fingerprint(*a))
        assert share / 3 < found < 3 * share
    assert kinds.rows(kinds.fingerprint(*a), kinds.fingerprint(*a)) == 0


def test_training_runs_differ_from_each_other(kept: Any) -> None:
    """No two give the same numbers, or one of the choices would have no effect."""
    runs = {name: kept[0].value(f"training {name}") for name in training.runs()}
    usual = {"objective v", "weight unit", "teach data", "base none", "net unet", "optimiser adamw", "with snapshots"}
    same = [
        (a, b)
        for a, one in runs.items()
        for b, two in runs.items()
        if a < b and not {a, b} <= usual and np.array_equal(one[:16], two[:16])
    ]
    assert not same
    assert jobs.jobs()["told"][0].job.seed != 0
