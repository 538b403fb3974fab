"""The pytest plug-in: verdicts on samples, and what a test file of somebody else's sees."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.errors import UserError
from bench.gate import quality, verdicts
from bench.images.datasets import Images
from bench.paths import ROOT
from bench.score.metrics import METRICS
from bench.score.printed import ScoreReport
from bench.score.scorer import Scorer

N = 200


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to tell a spread of 5% from one of 50%."""
    monkeypatch.setattr(quality, "RESAMPLES", 10)


def digits(mnist: Images, part: int) -> Tensor:
    """Test images that no other part has."""
    return mnist.test[part::40][:N]


def blurred(images: Tensor, share: float) -> Tensor:
    """Images with noise mixed in."""
    noise = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(0))
    return ((1 - share) * images + share * noise).to(torch.uint8)


def printed(scorer: Scorer, images: Tensor, path: Path, **changes: Any) -> str:
    """A file as ``ddpm-bench score --format json`` prints it."""
    if "metrics" not in changes:
        changes["metrics"] = {name: scorer.score(images, only=name)[name] for name in ("fid", "precision")}
    about = {"n": len(images), **dict(scorer.provenance)} | changes
    path.write_text(ScoreReport(path="samples", read_as="uint8", **about).text())
    return str(path)


@pytest.mark.parametrize("metric", ["fid", "precision"])
def test_equals_pass_and_worse_fails(scorer: Scorer, mnist: Images, tmp_path: Path, metric: str) -> None:
    """Against samples, against one file, and against several runs' files."""
    good = [digits(mnist, part) for part in range(5)]
    files = [printed(scorer, one, tmp_path / f"{i}.json") for i, one in enumerate(good[1:])]
    bad = blurred(good[0], 0.4)
    for baseline in (good[1], good[1].numpy()[:, 0] / 255, files[0], files):
        assert quality.judge(scorer, good[0], baseline, metric=metric).verdict == verdicts.PASS
        assert quality.judge(scorer, bad, baseline, metric=metric).verdict == verdicts.FAIL


def test_what_may_be_chance_is_undecided(scorer: Scorer, mnist: Images) -> None:
    """With no margin, of two sets that differ by drawing alone the better passes, and the worse is not a slip yet."""
    for i in (0, 2):
        pair = digits(mnist, i), digits(mnist, i + 1)
        fids = [scorer.score(images, only="fid")["fid"] for images in pair]
        better, worse = pair if fids[0] < fids[1] else pair[::-1]
        assert quality.judge(scorer, better, worse, margin=0.0).verdict == verdicts.PASS
        assert quality.judge(scorer, worse, better, margin=0.0).verdict == verdicts.UNDECIDED


def test_a_metric_about_zero_is_compared_by_its_standard_error(scorer: Scorer, mnist: Images) -> None:
    """KID of real images scatters about 0. Of ten pairs of halves of real data none fails (α is 1%), and few are
    undecided (5%); what is damaged fails.
    """
    random = torch.Generator().manual_seed(4)
    words = []
    for _ in range(10):
        both = mnist.test[torch.randperm(len(mnist.test), generator=random)[: 2 * N]]
        words.append(quality.judge(scorer, both[:N], both[N:], metric="kid").verdict)
    assert words.count(verdicts.FAIL) == 0
    assert words.count(verdicts.PASS) >= 8
    for share in (0.3, 0.5):
        bad = blurred(digits(mnist, 0), share)
        assert quality.judge(scorer, bad, digits(mnist, 1), metric="kid").verdict == verdicts.FAIL


def test_a_metric_about_zero_against_several_runs(scorer: Scorer, mnist: Images, tmp_path: Path) -> None:
    """With three runs or more, their own spread is what chance does."""
    files = []
    for i, kid in enumerate((-1e-4, 2e-4, 0.0)):
        path = tmp_path / f"{i}.json"
        about = {"n": N, "metrics": {"kid": kid}, **dict(scorer.provenance)}
        path.write_text(ScoreReport(path="samples", read_as="uint8", **about).text())
        files.append(path)
    outcome = quality.judge(scorer, blurred(digits(mnist, 0), 0.4), files, metric="kid")
    assert outcome.verdict == verdicts.FAIL
    assert outcome.limit is not None
    # t(0.99, 2 df) times the spread of the three, for one new run against three
    assert outcome.limit == pytest.approx(
        1e-4 / 3 + 6.9646 * np.std([-1e-4, 2e-4, 0.0], ddof=1) * (4 / 3) ** 0.5, rel=1e-4
    )


def test_every_metric_of_good_samples_gets_a_verdict(scorer: Scorer, mnist: Images, tmp_path: Path) -> None:
    """Real images against real ones, whether the baseline is one run or three: no metric's scale is in the way."""
    images, labels = digits(mnist, 0), mnist.test_labels[0::40][:N]
    files = []
    for part in (1, 2, 3):
        scores = scorer.score(digits(mnist, part), mnist.test_labels[part::40][:N])
        files.append(printed(scorer, digits(mnist, part), tmp_path / f"{part}.json", metrics=scores))
    ranking = [name for name, row in METRICS.items() if row.better and name in scores]
    assert "repeated" in ranking
    for metric in ranking:
        for baseline in (files[0], files):
            outcome = quality.judge(scorer, images, baseline, metric=metric, labels=labels)
            assert outcome.verdict != verdicts.FAIL, outcome


@pytest.mark.parametrize("runs", [1, 3])
def test_images_drawn_twice_fail_where_clean_runs_have_none(
    scorer: Scorer, mnist: Images, tmp_path: Path, runs: int
) -> None:
    """Three runs without one have no spread; a pair by chance is still no slip. Resampled rows would count as twice."""
    clean = digits(mnist, 0)
    files = [printed(scorer, clean, tmp_path / f"{i}.json", metrics={"repeated": 0.0}) for i in range(runs)]
    for twice, verdict in ((0, verdicts.PASS), (1, verdicts.PASS), (8, verdicts.UNDECIDED), (25, verdicts.FAIL)):
        images = torch.cat([clean[twice:], clean[N - twice :]])
        outcome = quality.judge(scorer, images, files, metric="repeated")
        assert (outcome.value, outcome.verdict) == (2 * twice / N, verdict)


def test_what_does_not_compare_is_refused(scorer: Scorer, mnist: Images, tmp_path: Path) -> None:
    images = digits(mnist, 0)
    other = printed(scorer, images, tmp_path / "other.json", classifier="x" * 64)
    fewer = printed(scorer, images[:50], tmp_path / "fewer.json")
    (tmp_path / "bad.json").write_text("{}")
    for samples, baseline, says in (
        (images, other, "classifier xxxx"),
        (images, fewer, "n 50"),
        (images, images[:50], "equal N"),
        (images, tmp_path / "bad.json", "is not what"),
        (images[:5], images, "at least 20"),
        (images.float() * 7, images, "range must be"),
        (np.full((30, 28, 28), np.nan), images, "NaN"),
        (tmp_path / "nowhere", images, "no such file"),
    ):
        with pytest.raises(UserError, match=says):
            quality.judge(scorer, samples, baseline)
    with pytest.raises(UserError, match=r"unknown metric 'fidd'.*did you mean 'fid'"):
        quality.judge(scorer, images, images, metric="fidd")
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        quality.scorer_of("mnits", tmp_path)


THEIRS = """
import numpy as np
import pytest
import torch

SAMPLES = np.load({path!r})

def test_good(assert_quality):
    assert_quality(SAMPLES, baseline=SAMPLES[::-1].copy())

def test_bad(assert_quality):
    noise = np.random.default_rng(0).integers(0, 256, SAMPLES.shape).astype("uint8")
    assert_quality(noise, baseline=SAMPLES)

def test_odd(assert_quality):
    assert_quality(SAMPLES[:3], baseline=SAMPLES)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
    def forward(self, x, u):
        return self.scale * x

def test_times(bench_epoch):
    bench_epoch(Net(), torch.from_numpy(SAMPLES[:, None]), batch_size=20, rounds=2)

def test_draws(bench_sampling, benchmark):
    bench_sampling(Net(), sampler="heun", steps=2, n=20, rounds=2)
    assert benchmark.extra_info["evaluations"] == 3
"""


def test_from_somebody_elses_repository(
    pytester: pytest.Pytester, scorer: Scorer, mnist: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fixtures are there by themselves; a slip, and what cannot be measured, is one line."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])))
    shutil.copytree(scorer.store.root, pytester.path / ".pytest_cache" / "d" / "ddpm-bench")
    np.save(pytester.path / "samples.npy", digits(mnist, 0)[:, 0].numpy())
    pytester.makeconftest(f"from bench.gate import quality\nquality.RESAMPLES = {quality.RESAMPLES}")
    pytester.makepyfile(THEIRS.format(path=str(pytester.path / "samples.npy")))
    result = pytester.runpytest_subprocess("--import-mode=importlib")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(["*fid * baseline * (limit *, N = 200)*", "*could not measure: samples has 3 images*"])


def test_class_accuracy_needs_labels(scorer: Scorer, mnist: Images, tmp_path: Path) -> None:
    """Those that are given, or those that files hold; wrong ones fail, and none at all is one line."""
    images, labels = digits(mnist, 0), mnist.test_labels[0::40][:N]
    np.savez(tmp_path / "good.npz", images[:, 0].numpy(), labels.numpy())
    good = str(tmp_path / "good.npz")
    judge = partial(quality.judge, scorer, metric="class_accuracy")
    assert judge(images, good, labels=labels).verdict == verdicts.PASS
    assert judge(good, good).verdict == verdicts.PASS
    assert judge(images, good, labels=(labels.numpy() + 1) % 10).verdict == verdicts.FAIL
    with pytest.raises(UserError, match="class_accuracy needs the classes of samples"):
        judge(images, good)
    with pytest.raises(UserError, match="class_accuracy needs the classes of the baseline's images"):
        judge(good, images)
    for wrong in (labels[:5], labels.float(), labels + 1, "seven", labels[None]):
        with pytest.raises(UserError, match=f"labels must be {N} whole numbers from 0 to 9"):
            judge(images, good, labels=wrong)


def test_a_score_file_of_another_shape_is_one_line(scorer: Scorer, mnist: Images, tmp_path: Path) -> None:
    """Whatever is missing or of another type; and one that lacks the metric says so."""
    images, path = digits(mnist, 0), tmp_path / "score.json"
    about = {"n": N, "metrics": {"fid": 1.0}, **dict(scorer.provenance)}
    good = json.loads(ScoreReport(path="samples", read_as="uint8", **about).text())
    for bad in ({}, [], good | {"n": "20"}, good | {"metrics": {"fid": None}}, good | {"metrics": [1.0]}):
        path.write_text(json.dumps(bad))
        with pytest.raises(UserError, match="is not what `ddpm-bench score --format json` prints"):
            quality.judge(scorer, images, path)
    path.write_text(json.dumps(good))
    with pytest.raises(UserError, match="lacks precision"):
        quality.judge(scorer, images, path, metric="precision")
