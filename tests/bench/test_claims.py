"""Claims: read, refused with a reason, and judged by training seeds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.analysis import claims
from bench.analysis.claims import CONTRADICTED, NOT_MEASURED, SUPPORTED, UNDECIDED, LeftOut, Verdict, judge
from bench.errors import UserError
from bench.score.metrics import METRICS
from bench.study.load import load
from bench.study.study import Study

SEEDS = [0, 1, 2, 3, 4]


def with_claims(study: Study, *claims: str) -> Study:
    return study.model_copy(update={"claims": list(claims)})


def rows(
    study: Study, factors: dict[str, float], spread: float = 0.05, seeds: list[int] | None = None
) -> list[dict[str, Any]]:
    """A made-up row a cell: FID by seed, times a factor for each name in its configuration, times chance by seed."""
    random = np.random.default_rng(0)
    chance = {(name, seed): math.exp(spread * random.normal()) for name in factors for seed in range(10)}
    found = []
    for cell in study.cells:
        job = cell.job
        if seeds is not None and job.seed not in seeds:
            continue
        row = job.told | cell.sampling.told | {"role": "default"}
        fid = 4.0 * (1 + job.seed)
        for name, factor in factors.items():
            if name in map(str, row.values()):
                fid *= factor * chance[name, job.seed]
        found.append(row | {"fid": fid, "confidence": 1 / fid})
    return found


def verdicts(study: Study, found: list[dict[str, Any]]) -> list[Verdict]:
    return judge(study.hypotheses, found, dict(study.axes))


def test_verdicts(make_study: Any) -> None:
    """Twice as good is supported, the reverse contradicted, nearly nothing undecided; seeds fivefold apart or not."""
    study = with_claims(
        make_study(seed=SEEDS, schedule=["linear", "cosine"], sample_steps=[4, 8]),
        "eps < previous on fid",
        "previous < eps on fid",
        "eps > previous on confidence",
        "linear < cosine on fid",
        "4 < 8 on fid at {sampler: ddim}",
    )
    found = verdicts(study, rows(study, {"previous": 2.0, "cosine": 1.001}))
    words = [one.word for one in found]
    assert words == [SUPPORTED, CONTRADICTED, SUPPORTED, UNDECIDED, UNDECIDED]
    first = found[0]
    assert first.found is not None
    assert first.found.value == pytest.approx(0.5, rel=0.1)
    assert first.found.low < first.found.value < first.found.high < 1
    assert (first.pairs, first.seeds, first.needed) == (5 * 2 * 2 * 2, 5, None)
    assert found[3].needed is None or found[3].needed.low > 5
    assert found[4].pairs == 5 * 2 * 2
    assert all(a.found is None or a.p >= a.found.p for a in found)


def test_what_would_decide_allows_for_the_other_claims(make_study: Any) -> None:
    """More seeds than there are, and more where p is multiplied by the number of claims."""
    study = make_study(seed=SEEDS, schedule=["linear", "cosine"], sample_steps=[4, 8])
    found = rows(study, {"cosine": 0.99})
    (alone,) = verdicts(with_claims(study, "linear < cosine on fid"), found)
    among = verdicts(with_claims(study, "linear < cosine on fid", "4 < 8 on fid", "ddim < ancestral on fid"), found)[0]
    assert among.p > alone.p
    assert alone.word == among.word == UNDECIDED
    assert alone.needed is not None
    assert among.needed is not None
    assert among.needed.low > alone.needed.low > len(SEEDS)


def test_what_would_decide_is_multiplied_in_full(make_study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holm's p ends at 1. What is planned with does not: nine claims that look alike have a ninth of 5% each."""
    asked: list[float] = []
    monkeypatch.setattr(claims, "needed_runs", lambda logs, alpha: asked.append(alpha))
    study = make_study(seed=SEEDS, schedule=["linear", "cosine"])
    found = rows(study, {})
    for row in found:
        row["fid"] *= 1.1 if row["schedule"] == "cosine" and row["seed"] % 2 else 1.0
    (one, *_) = verdicts(with_claims(study, *["linear < cosine on fid"] * 9), found)
    assert one.found is not None
    assert one.p == min(1, 9 * one.found.p) == 1
    assert asked == pytest.approx([0.05 / 9] * 9)


def test_three_seeds_are_too_few_to_plan_by(make_study: Any) -> None:
    """What they would say is noise, so nothing is said."""
    study = with_claims(make_study(seed=SEEDS, schedule=["linear", "cosine"]), "linear < cosine on fid")
    (three,) = verdicts(study, rows(study, {"cosine": 0.99}, seeds=[0, 1, 2]))
    (five,) = verdicts(study, rows(study, {"cosine": 0.99}))
    assert three.word == five.word == UNDECIDED
    assert three.needed is None
    assert five.needed is not None


def test_a_metric_that_may_be_negative_is_compared_by_differences(make_study: Any) -> None:
    """KID of good samples is about 0: no pair is dropped for its sign."""
    study = with_claims(make_study(seed=SEEDS), "eps < previous on kid")
    random = np.random.default_rng(3)
    found = [row | {"kid": 2e-4 * random.standard_normal() + 5e-4 * (row["objective"] == "previous")}
             for row in rows(study, {})]  # fmt: skip
    assert any(row["kid"] <= 0 for row in found)
    (verdict,) = verdicts(study, found)
    assert (verdict.scale, verdict.word, verdict.pairs, verdict.left_out) == ("difference", SUPPORTED, 10, LeftOut())
    assert verdict.found is not None
    assert verdict.found.low < -5e-4 < verdict.found.high < 0


def test_a_ratio_of_nothing_is_left_out_and_counted(make_study: Any) -> None:
    """A pair with a zero has no ratio: it is not dropped in silence, nor is the other pair of its seed."""
    study = with_claims(make_study(seed=SEEDS), "eps < previous on fid")
    found = rows(study, {"previous": 2.0})
    found[0]["fid"] = 0.0
    (verdict,) = verdicts(study, found)
    assert (verdict.pairs, verdict.seeds, verdict.left_out) == (8, 4, LeftOut(no_ratio=1, uneven=1))


def test_a_share_of_0_is_the_worst_and_counted_on_its_side(make_study: Any) -> None:
    """Where more is better. Of a distance 0 would be the best, so there it speaks against nobody."""
    study = with_claims(make_study(seed=SEEDS), "eps > previous on precision", "previous > eps on precision")
    found = rows(study, {})
    for row in found:
        good = row["objective"] == "eps" and row["seed"] > 0
        row["precision"] = (0.5 + row["seed"] / 100) * good
    for side, verdict in zip(((0, 8, 2), (8, 0, 2)), verdicts(study, found), strict=True):
        assert (verdict.word, verdict.left_out) == (NOT_MEASURED, LeftOut(worst=side))
    for row in found:
        row["precision"] += row["seed"] > 1
    (verdict, _) = verdicts(study, found)
    assert (verdict.pairs, verdict.seeds, verdict.left_out) == (6, 3, LeftOut(worst=(0, 2, 2)))


@pytest.mark.parametrize("lost", [{"status": "failed", "fid": math.nan}, {"fid": math.inf}])
def test_a_cell_that_diverged_is_counted_on_its_side(make_study: Any, lost: dict[str, Any]) -> None:
    """No score is no evidence for a ratio, but the verdict says how many pairs it is without, and whose fault it is."""
    study = with_claims(make_study(seed=SEEDS, sample_steps=[4, 8]), "eps < previous on fid", "previous < eps on fid")
    found = rows(study, {"previous": 2.0})
    for row in found:
        odd = row["objective"] == "eps" and row["sampler"] == "ddim" and row["sample_steps"] == 8 and row["seed"] < 2
        row |= lost if odd else {}
    first, second = verdicts(study, found)
    assert first.left_out == LeftOut(failed=(2, 0, 0), uneven=3)
    assert second.left_out == LeftOut(failed=(0, 2, 0), uneven=3)
    assert first.pairs == second.pairs == 5 * 3
    for row in found:
        row |= lost
    (nothing, _) = verdicts(study, found)
    assert (nothing.word, nothing.left_out.failed) == (NOT_MEASURED, (0, 0, 20))


def test_every_seed_speaks_of_the_same_pairs(make_study: Any) -> None:
    """A new seed with one pair of four, the one where ``eps`` is worse, does not turn the mean of the others."""
    study = with_claims(make_study(seed=SEEDS, schedule=["linear", "cosine"]), "eps < previous on fid")
    found = rows(study, {"previous": 2.0}, spread=0.01)
    for row in found:
        if row["schedule"] == "cosine" and row["sampler"] == "ddim" and row["objective"] == "eps":
            row["fid"] *= 10
    only = [row for row in found if row["seed"] < 4 or (row["schedule"] == "cosine" and row["sampler"] == "ddim")]
    (whole,) = verdicts(study, [row for row in found if row["seed"] < 4])
    (part,) = verdicts(study, only)
    assert whole.found is not None
    assert part.found == whole.found
    assert (part.pairs, part.seeds, part.left_out) == (16, 4, LeftOut(uneven=1))
    most = [row for row in found if row["seed"] < 4 or row["schedule"] == "linear" or row["sampler"] == "ddim"]
    (narrow,) = verdicts(study, most)
    assert (narrow.pairs, narrow.seeds, narrow.left_out) == (15, 5, LeftOut(uneven=4))


def test_no_average_turns_one_seeds_pairs_into_evidence(make_study: Any) -> None:
    """Simulated: pairs differ much, their mean not at all, and three seeds have a part of them: 5% false verdicts."""
    study = with_claims(make_study(seed=SEEDS, schedule=["linear", "cosine"]), "eps < previous on fid")
    random, base, wrong, trials = np.random.default_rng(3), rows(study, {}), 0, 300
    kinds = [(schedule, sampler) for schedule in ("linear", "cosine") for sampler in ("ddim", "ancestral")]
    effect = dict(zip(kinds, (0.4, 0.4, 0.4, -1.2), strict=True))
    partial = [row for row in base if row["seed"] < 2 or (row["schedule"], row["sampler"]) != kinds[-1]]
    for _ in range(trials):
        luck = {(row["objective"], row["seed"]): 0.3 * random.standard_normal() for row in base}
        made = [
            row | {"fid": math.exp(effect[row["schedule"], row["sampler"]] * (row["objective"] == "eps")
                                   + luck[row["objective"], row["seed"]])}
            for row in partial
        ]  # fmt: skip
        (verdict,) = verdicts(study, made)
        truth = 0.4 if verdict.seeds == 5 else 0.0
        found = verdict.found
        assert found is not None
        wrong += not found.low <= math.exp(truth) <= found.high
    assert wrong / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def test_a_grid_of_seeds_with_holes_says_what_it_is_without(make_study: Any) -> None:
    given = make_study(seed=SEEDS)
    study = with_claims(given.model_validate(given.model_dump() | {"score": {"n": 20, "seed": [0, 1, 2]}}),
                        "ddim < ancestral on fid")  # fmt: skip
    holes = [row for row in rows(study, {"ancestral": 2.0}) if row["sample_seed"] < 2 or row["seed"] == 0]
    (verdict,) = verdicts(study, holes)
    assert verdict.found is not None
    assert (verdict.pairs, verdict.seeds, verdict.left_out) == (20, 5, LeftOut(uneven=2))
    assert not verdict.found.shared


def test_the_panel_is_asked_too(make_study: Any) -> None:
    """The headline judge decides; each other judge that scored the cells says what it makes of the same claim."""
    study = with_claims(make_study(seed=SEEDS), "eps < previous on fid", "ddim < ancestral on fid")
    found = rows(study, {"previous": 2.0, "ancestral": 2.0})
    assert [one.panel for one in verdicts(study, found)] == [{}, {}], "one judge is no panel"
    for row in found:
        row |= {"fid_texture": row["fid"] ** 2, "pixel_distance": 1 / row["fid"], "fid_mixer": None}
        row["fid_classifier"] = row["fid"]  # the judge that FID is by
    first, second = verdicts(study, found)
    assert first.word == second.word == SUPPORTED
    assert first.panel == second.panel == {"texture": SUPPORTED, "pixel distance": CONTRADICTED}


def test_sampling_seeds_in_common_are_not_taken_for_runs(make_study: Any) -> None:
    """Three networks sampled four times are three training seeds; the sampling seed's part counts in p."""
    given = make_study(seed=[0, 1, 2])
    study = with_claims(given.model_validate(given.model_dump() | {"score": {"n": 20, "seed": [0, 1, 2, 3]}}),
                        "ddim < ancestral on fid")  # fmt: skip
    noise = dict(enumerate(np.random.default_rng(2).normal(-0.02, 0.05, 4)))
    found = [row | {"fid": math.exp(noise[row["sample_seed"]] * (row["sampler"] == "ddim"))} for row in rows(study, {})]
    (verdict,) = verdicts(study, found)
    assert (verdict.seeds, verdict.word) == (3, UNDECIDED)
    assert verdict.p > 0.05


def test_settings_that_differ_on_several_axes(make_study: Any) -> None:
    """Only the cells of both settings are looked at; all else is equal within a pair."""
    study = with_claims(
        make_study(seed=SEEDS, schedule=["linear", "cosine"], sample_steps=[6, 8]),
        "{sampler: ddim, sample_steps: 6} < {sample_steps: 8, sampler: ancestral} on fid",
        "{sampler: ddim, sample_steps: 6} < {sampler: ddim, sample_steps: 8} on fid at {schedule: linear, T: 100}",
    )
    found = rows(study, {"ancestral": 3.0, "6": 2.0})
    both, one = verdicts(study, found)
    assert (both.word, both.pairs, both.seeds) == (SUPPORTED, 5 * 2 * 2, 5)
    assert both.found is not None
    assert both.found.value == pytest.approx(2 / 3, rel=0.1)
    assert (one.word, one.pairs) == (CONTRADICTED, 5 * 2)


@pytest.mark.parametrize(
    ("sign", "times", "word"),
    [
        ("<", "1.5 *", CONTRADICTED), ("<", "2.5×", SUPPORTED), (">", "1.5 ×", SUPPORTED),
        (">", "2.5*", CONTRADICTED), ("<", "2 *", UNDECIDED),
    ],
)  # fmt: skip
def test_a_margin(make_study: Any, sign: str, times: str, word: str) -> None:
    """``previous`` has twice the FID of ``eps``: what is shown is the ratio itself, what is tested is the margin."""
    study = with_claims(make_study(seed=SEEDS), f"previous {sign} {times} eps on fid", f"previous {sign} eps on fid")
    found, plain = verdicts(study, rows(study, {"previous": 2.0}))
    assert found.word == word
    assert found.found is not None
    assert plain.found is not None
    assert found.found[:3] == pytest.approx(plain.found[:3])
    assert found.found.low < 2 < found.found.high


def test_a_condition_selects(make_study: Any) -> None:
    """``at`` keeps what it says, an axis that is compared needs nothing else to agree, and η is part of its sampler."""
    study = with_claims(
        make_study(seed=SEEDS, eta=[0.0, 1.0]),
        "ddim < ancestral on fid at {objective: eps, eta: 0.0}",
        "ancestral < ddim on fid at {objective: eps}",
    )
    found = verdicts(study, rows(study, {"ancestral": 2.0}))
    assert found[1].word == CONTRADICTED
    assert found[1].pairs > 0


def test_one_seed_decides_nothing_and_none_measures_nothing(make_study: Any) -> None:
    study = with_claims(make_study(seed=SEEDS), "eps < previous on fid")
    (alone,) = verdicts(study, rows(study, {"previous": 9.0}, seeds=[0]))
    assert (alone.word, alone.seeds, alone.needed) == (UNDECIDED, 1, None)
    assert alone.found is not None
    assert alone.found.value == pytest.approx(1 / 9, rel=0.2)
    (nothing,) = verdicts(study, [row for row in rows(study, {}) if row["objective"] == "eps"])
    assert (nothing.word, nothing.found, nothing.pairs) == (NOT_MEASURED, None, 0)


def test_levels_are_found_as_studies_write_them(tmp_path: Path) -> None:
    """Numbers, names with options, booleans of ``clip``."""
    path = tmp_path / "mine.yaml"
    path.write_text("""\
train: {epochs: 1}
axes:
  objective: [eps, v]
  schedule: [cosine, {cosine: {s: 0.02}}]
  sampler: [ddim]
  sample_steps: [10, 100]
  clip: [true, false]
claims:
  - "100 < 10 on fid at {clip: true, schedule: {cosine: {s: 0.02}}}"
  - "cosine < cosine(s=0.02) on fid"
  - "v > eps on recall at {sample_steps: 10}"
""")
    first, second, third = load(str(path)).hypotheses
    assert (first.first, first.second, first.where) == (
        {"sample_steps": 100}, {"sample_steps": 10}, {"clip": True, "schedule": "cosine(s=0.02)"}
    )  # fmt: skip
    assert second.second == {"schedule": "cosine(s=0.02)"}
    assert (third.below, third.metric, third.where) == (False, "recall", {"sample_steps": 10})


def test_a_claim_is_written_as_its_axis_is(make_study: Any) -> None:
    """Not by YAML 1.1, where 1e-3 is text and 010 is eight."""
    study = make_study(sample_steps=[8, 10], ema=[None, 1e-1, 5e-2], budget={"snapshots": 2})
    first, second = with_claims(
        study, "{ema: 1e-1} < {ema: 5e-2} on fid", "{sample_steps: 010} < {sample_steps: 8} on fid"
    ).hypotheses
    assert (first.first, second.first) == ({"ema": 0.1}, {"sample_steps": 10})


@pytest.mark.parametrize(
    "text",
    [
        "{ema: 0.1} < {ema: null} on fid",
        "0.1 < null on fid",
        "ddim < ancestral on fid at {ema: null}",
    ],
)
def test_null_is_a_level_like_others(make_study: Any, text: str) -> None:
    """In a claim, its condition and a table, where it is NaN if the others are numbers."""
    study = with_claims(make_study(seed=SEEDS, ema=[None, 0.1], budget={"snapshots": 2}), text)
    found = rows(study, {"0.1": 1 / 3, "ancestral": 2.0})
    for row in found:
        row["ema"] = math.nan if row["ema"] is None else row["ema"]
    (verdict,) = verdicts(study, found)
    assert verdict.word == SUPPORTED
    levels = list((verdict.claim.first | verdict.claim.where).values())
    assert levels == ([0.1] if "0.1" in text else ["ddim", None])
    assert verdict.pairs == len(study.cells) // 2 // (2 if "at" in text.split("on")[1] else 1)


def test_two_axes_that_have_both_levels(make_study: Any) -> None:
    """Which one is meant must be said; seeds are never meant."""
    study = make_study(T=[20, 50], sample_steps=[20, 50], seed=[20, 50])
    with pytest.raises(ValueError, match=r"T and sample_steps have '20' and '50'; .* \{T: 20\} and \{T: 50\}"):
        with_claims(study, "20 < 50 on fid").hypotheses  # noqa: B018
    (claim,) = with_claims(study, "{sample_steps: 20} < {sample_steps: 50} on fid").hypotheses
    assert (claim.first, claim.second) == ({"sample_steps": 20}, {"sample_steps": 50})


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ("eps is better", "is not of the form"),
        ("eps < previous", "is not of the form"),
        ("eps < previous on fdi", "no metric 'fdi' .*fid"),
        ("eps < x0 on fid", "no axis of the study has both 'eps' and 'x0'"),
        ("eps < ddim on fid", "no axis of the study has both"),
        ("eps < eps on fid", "no axis of the study has both"),
        ("eps < v on fid at {smapler: ddim}", "no axis 'smapler'"),
        ("eps < v on fid at {sampler: heun}", "sampler=heun is not on the axis"),
        ("eps < v on fid at {sampler: [}", "is not of the form|not a mapping"),
        ("eps < v on fid at {objective: eps}", "objective is compared, so `at` cannot name it too"),
        ("{objective: eps} < {sampler: ddim} on fid", "both sides must name the same axes"),
        ("{objective: eps} < {objective: eps} on fid", "both sides are the same"),
        ("{objective: eps} < {objective: x0} on fid", "objective=x0 is not on the axis"),
        ("{objective} < {objective: v} on fid", "objective=null is not on the axis"),
        ("{[]: 1} < {objective: v} on fid", "is not a mapping of axes to levels"),
        ("eps < v on fid at {a: " + 3000 * "[" + "}", "is not a mapping of axes to levels"),
        ("eps < {objective: v} on fid", "no axis of the study has both"),
        ("eps < 0 * v on fid", "the factor must be more than 0"),
        ("eps < 1.5 * v on kid", "kid is compared by differences, not by how many times"),
    ],
)
def test_claims_that_cannot_be_tested(tmp_path: Path, claim: str, words: str) -> None:
    """One line with file and line, before anything runs."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "train: {epochs: 1}\naxes:\n  objective: [eps, v]\n  schedule: [linear]\n  sampler: [ddim]\n"
        f"  sample_steps: [10]\nclaims:\n  - 'v < eps on fid'\n  - '{claim}'\n"
    )
    with pytest.raises(UserError, match=words) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}:9: claims: ")
    assert "\n" not in str(caught.value)


def test_claims_change_no_key(make_study: Any) -> None:
    study = make_study()
    assert [c.key for c in with_claims(study, "eps < previous on fid").cells] == [c.key for c in study.cells]


@pytest.mark.parametrize("name", ["full", "samplers"])
def test_shipped_claims(name: str) -> None:
    study = load(name)
    assert len(study.hypotheses) == len(study.claims) > 3
    assert {claim.metric for claim in study.hypotheses} <= set(METRICS)


def test_false_alarms(make_study: Any) -> None:
    """Of 400 simulated sets of results without any difference, few let a claim through: α and two standard errors."""
    study = with_claims(make_study(seed=SEEDS), "eps < previous on fid", "ddim < ancestral on fid")
    random, wrong = np.random.default_rng(5), 0
    base = rows(study, {})
    for _ in range(400):
        chance = {(row["objective"], row["sampler"], row["seed"]): math.exp(0.2 * random.normal()) for row in base}
        found = [row | {"fid": row["fid"] * chance[row["objective"], row["sampler"], row["seed"]]} for row in base]
        wrong += any(one.word in (SUPPORTED, CONTRADICTED) for one in verdicts(study, found))
    assert wrong / 400 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400)


def test_a_sampler_with_several_eta_is_compared_with_each_of_them(make_study: Any) -> None:
    """In whatever order its cells come: the reports' is best first, and the last one would be the worst of them."""
    study = with_claims(make_study(seed=SEEDS, eta=[0.0, 0.5, 1.0]), "ancestral < ddim on fid at {objective: eps}")
    fids = {None: 10.0, 0.0: 8.0, 0.5: 9.0, 1.0: 12.0}
    found = rows(study, {})
    for row in found:
        row["fid"] = fids[row["eta"]] * (1 + row["seed"])
    ordered = sorted(found, key=lambda row: row["fid"])
    for made in (ordered, ordered[::-1]):
        (one,) = verdicts(study, made)
        assert one.found is not None
        assert one.found.value == pytest.approx(10 / (8 * 9 * 12) ** (1 / 3))
        assert one.word == CONTRADICTED
        assert one.pairs == 3 * sum(row["sampler"] == "ancestral" and row["objective"] == "eps" for row in found)
