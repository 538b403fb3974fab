"""The gate: limits, verdicts, and refusals."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.errors import UserError
from bench.gate import baselines, nightly, verdicts
from bench.paths import BASELINES
from bench.score.judges import judges_of, with_hash

ROW = {
    "status": "done", "dataset": "mnist", "net": "unet", "objective": "eps", "weight": "unit", "schedule": "linear",
    "T": 1000, "seed": 0, "sampler": "ddim", "sample_steps": 20, "eta": 0.0, "clip": True,
    "n": 500, "classifier": "abc", "epochs": 1,
}  # fmt: skip

CELLS = (10, 20, 50, 100)


def rows(fids: list[float], **changes: Any) -> list[dict[str, Any]]:
    return [ROW | {"seed": i, "fid": fid} | changes for i, fid in enumerate(fids)]


@pytest.mark.parametrize("runs", [1, 3])
def test_false_alarms(runs: int) -> None:
    """Runs from the reference's own distribution: a share α of gates fails, whatever the number of cells."""
    random, alarms, trials = np.random.default_rng(0), 0, 1000
    for _ in range(trials):
        reference = [row for k in CELLS for row in rows(list(np.exp(random.normal(1, 0.4, 10))), sample_steps=k)]
        new = [row for k in CELLS for row in rows(list(np.exp(random.normal(1, 0.4, runs))), sample_steps=k)]
        outcomes = nightly.judge(new, nightly.make_baseline("smoke", reference))
        alarms += verdicts.overall(outcomes) == verdicts.FAIL
    assert alarms / trials <= nightly.ALPHA + 2 * (nightly.ALPHA * (1 - nightly.ALPHA) / trials) ** 0.5


def test_false_alarms_among_real_runs() -> None:
    """Four seeds of the committed baseline against the other six, all ways to choose them: A against A."""
    baseline = nightly.read_baseline(BASELINES / "smoke.json")
    seeds = range(len(baseline.seeds))
    assert len(seeds) >= 10
    trials = [(set(four), set(seeds) - set(four)) for four in itertools.combinations(seeds, 4)]
    alarms = 0
    for new, reference in trials:
        for name, fids in baseline.fid.items():
            outcome = nightly._judge(
                name, [fids[i] for i in new], [fids[i] for i in reference], nightly.ALPHA / 4, False
            )
            if outcome.verdict == verdicts.FAIL:
                alarms += 1
                break
    assert len(trials) >= 200
    assert alarms / len(trials) <= nightly.ALPHA + 2 * (nightly.ALPHA * (1 - nightly.ALPHA) / len(trials)) ** 0.5


def test_a_baseline_by_another_judge_of_the_panel() -> None:
    """It is compared with that judge's own column; a judge that nobody knows cannot be."""
    classifier = judges_of("mnist")["classifier"].sha256[:12]
    kept = nightly.make_baseline("smoke", rows([10.0, 11.0, 9.0, 10.5], classifier=classifier))
    new = rows([99.0, 98.0], fid_classifier=10.2)
    (outcome,) = nightly.judge(new, kept)
    assert outcome.verdict == verdicts.PASS
    assert outcome.value == pytest.approx(10.2)
    for wrong in (rows([10.0]), rows([10.0], fid_classifier=None)):
        with pytest.raises(UserError, match=f"classifier={classifier}, this run abc"):
            nightly.judge(wrong, kept)


def night(reference: np.ndarray, new: np.ndarray, looks: list[int]) -> tuple[str, int]:
    """The verdict on runs that are drawn until it is decided, and how many there were; (cells, seeds) log FIDs."""

    def named(logs: np.ndarray) -> list[dict[str, Any]]:
        return [row for k, cell in zip(CELLS, logs, strict=True) for row in rows(list(np.exp(cell)), sample_steps=k)]

    baseline = nightly.make_baseline("smoke", named(reference))
    for count in looks:
        word = verdicts.overall(nightly.judge(named(new[:, :count]), baseline, looks=len(looks)))
        if word != verdicts.UNDECIDED:
            break
    return word, count


@pytest.mark.parametrize(
    ("looks", "red", "unclear"),
    [([1], 0.01, (0.13, 0.26)), ([3], 0.01, (0.08, 0.16)), (nightly.looks(), 0.01, (0.0, 0.035))],
    ids=["a change", "three seeds", "a night"],
)
def test_how_often_a_clean_change_goes_red(looks: list[int], red: float, unclear: tuple[float, float]) -> None:
    """Runs as like the baseline's as its own seeds are like each other, their scatter between cells kept.

    One seed cannot tell in about a fifth of clean changes, which is no reason to stop one: `.ci/run` lets it pass. A
    night that goes on drawing fails by chance in less than 1%, and gives up without a verdict in about 2%.
    """
    kept = nightly.read_baseline(BASELINES / "smoke.json")
    logs = np.log(list(kept.fid.values()))
    assert len(logs) == len(CELLS)
    middle, scatter = logs.mean(1), np.linalg.cholesky(np.cov(logs))
    random, found, trials = np.random.default_rng(0), [], 400
    for _ in range(trials):
        drawn = middle[:, None] + scatter @ random.normal(size=(len(logs), 10 + looks[-1]))
        found.append(night(drawn[:, :10], drawn[:, 10:], looks)[0])
    chance = 2 * (red * (1 - red) / trials) ** 0.5
    assert found.count(verdicts.FAIL) / trials <= red + chance
    assert unclear[0] <= found.count(verdicts.UNDECIDED) / trials <= unclear[1]


def test_a_night_finds_what_is_worse_and_draws_more_only_while_nobody_can_tell() -> None:
    kept = nightly.read_baseline(BASELINES / "smoke.json")
    logs = np.log(list(kept.fid.values()))
    assert nightly.looks() == [3, 6, 12]
    assert nightly.looks(1) == [1]
    assert nightly.looks(2, 7) == [2, 4, 7]
    with pytest.raises(UserError, match="fewer than the 3"):
        nightly.looks(None, 2)
    assert night(logs, logs, [3, 6, 10]) == (verdicts.PASS, 3)
    assert night(logs, logs + np.log(2), [3, 6, 10]) == (verdicts.FAIL, 3)
    noisy = logs.copy()  # one cell beyond the margin, and within the reach of its scatter
    noisy[1] = logs[1].mean() + np.log(1.4)
    assert night(logs, noisy, [1]) == (verdicts.UNDECIDED, 1)
    assert night(logs, noisy, [3, 6, 10])[1] > 3


def test_power() -> None:
    """Twice the FID is found by three seeds; 1.1 of it is within the margin; 1.4 of it, of a noisy seed, is unclear."""
    reference = rows([9.0, 10.0, 11.0, 10.5, 9.5, 10.2, 9.8, 10.1, 9.9, 10.3])
    baseline = nightly.make_baseline("smoke", reference)
    found = [nightly.judge(rows([10 * k] * 3), baseline)[0].verdict for k in (1.0, 1.1, 2.0)]
    assert found == [verdicts.PASS, verdicts.PASS, verdicts.FAIL]
    noisy = nightly.make_baseline("smoke", rows([5.0, 20.0, 10.0, 7.0, 14.0]))
    assert nightly.judge(rows([14.0]), noisy)[0].verdict == verdicts.UNDECIDED


def test_promotion_needs_proof() -> None:
    """Not worse by the margin has to be shown, where the nightly gate needs only that it is not shown to be."""
    steady = nightly.make_baseline("smoke", rows([9.9, 10.0, 10.1, 10.0, 9.95]))
    noisy = nightly.make_baseline("smoke", rows([5.0, 20.0, 10.0, 7.0, 14.0]))
    found = [
        nightly.judge(rows([fid] * 3), baseline, promotion=True)[0].verdict
        for fid, baseline in ((10.2, steady), (20.0, steady), (10.0, noisy))
    ]
    assert found == [verdicts.PASS, verdicts.FAIL, verdicts.UNDECIDED]
    assert nightly.judge(rows([10.0] * 3), noisy)[0].verdict == verdicts.PASS


def test_a_difference_within_the_margin_never_fails() -> None:
    baseline = nightly.make_baseline("smoke", rows([10.0, 10.0, 10.0]))
    (outcome,) = nightly.judge(rows([12.4]), baseline)
    assert outcome.verdict == verdicts.PASS
    assert outcome.limit == pytest.approx(10 * (1 + nightly.MARGIN))


def test_a_missing_fid_never_passes() -> None:
    baseline = nightly.make_baseline("smoke", rows([9.0, 10.0, 11.0]))
    assert [one.verdict for one in nightly.judge(rows([float("nan")]), baseline)] == [verdicts.NOT_MEASURED]


def test_fresh_seeds_are_not_the_baselines() -> None:
    reference = [row | {"seed": seed} for row, seed in zip(rows([9.0, 10.0, 11.0]), [0, 1, 3], strict=True)]
    assert nightly.fresh_seeds(nightly.make_baseline("smoke", reference), 3) == [2, 4, 5]


@pytest.mark.parametrize(
    ("field", "value"), [("n", 1000), ("classifier", "other"), ("epochs", 2), ("dataset", "kmnist")]
)
def test_judge_refuses_what_was_not_measured_alike(field: str, value: object) -> None:
    baseline = nightly.make_baseline("smoke", rows([9.0, 10.0, 11.0]))
    with pytest.raises(UserError, match=f"{field}="):
        nightly.judge(rows([10.0], **{field: value}), baseline)


def test_judge_refuses_other_cells() -> None:
    baseline = nightly.make_baseline("smoke", rows([9.0, 10.0, 11.0]))
    with pytest.raises(UserError, match=r"baseline lacks.*sample_steps=50"):
        nightly.judge(rows([10.0], sample_steps=50), baseline)


def test_a_baseline_needs_finished_cells_of_three_seeds() -> None:
    with pytest.raises(UserError, match="fewer than 3"):
        nightly.make_baseline("smoke", rows([9.0, 10.0]))
    with pytest.raises(UserError, match="seed 0 is failed"):
        nightly.make_baseline("smoke", rows([9.0, 10.0, 11.0], status="failed"))


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        "{}",
        '{"fid": 3, "classifier": "x"}',
        '{"fid": {"a": [9, 8, 9]}, "classifier": "x"}',
        '{"fid": {"a": [9, 8]}, "classifier": "x", "dataset": "mnist", "n": 20, "epochs": 1}',
        '{"fid": {"a": [9, 8, 0]}, "classifier": "x", "dataset": "mnist", "n": 20, "epochs": 1}',
    ],
)
def test_read_baseline_refuses_what_is_not_one(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "baseline.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as error:
        nightly.read_baseline(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_the_committed_baseline_fits_the_smoke_study() -> None:
    """Same cells, same N, and the pinned classifier: `make check` measures what the baseline did."""
    from bench.analysis.table import cell_row
    from bench.store.status import Found
    from bench.study import load
    from bench.study.model import Training

    baseline = nightly.read_baseline(BASELINES / "smoke.json")
    smoke = load.load("smoke")
    found = [Found(cell, "missing", None, None, None) for cell in smoke.cells]
    names = {nightly.name_of(cell_row(one, "smoke")) for one in found}
    assert names == set(baseline.fid)
    assert baseline.n == smoke.score.n
    assert baseline.epochs == smoke.train.epochs
    assert with_hash(baseline.classifier)
    assert {len(fids) for fids in baseline.fid.values()} == {len(set(baseline.seeds))} == {nightly.REFERENCE_SEEDS}
    # of the budget the baseline keeps the epochs alone: whoever changes the rest makes it anew, and changes this
    assert smoke.train == Training(epochs=1, images=16_000, batch_size=64, lr=6e-3, optimiser="muon")
    made = baseline.environment
    assert all(getattr(made, name) for name in ("device", "processor", "threads", "torch", "python", "code"))
    assert made.dirty is False
    assert re.fullmatch("[0-9a-f]{40}", made.commit)
    assert made.commit == baseline.history[-1].commit


def test_a_baseline_of_another_shape_is_one_line(tmp_path: Path) -> None:
    """Each field that a nightly baseline needs, gone or of another type; what is more than that is ignored."""
    path = tmp_path / "baseline.json"
    good = nightly.make_baseline("smoke", rows([9.0, 10.0, 11.0]), history=[baselines.change("the first")])
    baselines.write_json(path, good)
    assert nightly.read_baseline(path) == good
    text = json.loads(path.read_text())
    path.write_text(json.dumps(text | {"later": 1}))
    assert nightly.read_baseline(path) == good
    for name in ("study", "dataset", "n", "classifier", "epochs", "seeds", "fid"):
        for bad in ({k: v for k, v in text.items() if k != name}, text | {name: [None]}, text | {"history": [{}]}):
            path.write_text(json.dumps(bad))
            with pytest.raises(UserError, match="is not a baseline"):
                nightly.read_baseline(path)
