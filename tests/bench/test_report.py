"""The report of a study, from a made-up store."""

import math
import re
import subprocess
import sys

import numpy as np
import pikepdf
import pytest
import torch

from bench import paths
from bench.analysis.claims import judge
from bench.analysis.effects import effects, profiles, scatter
from bench.analysis.frames import Results
from bench.errors import UserError
from bench.images import datasets
from bench.job.work import taught_flops
from bench.report import marks
from bench.report.blocks import Figure, Spread
from bench.report.formats import short
from bench.report.render import RENDERERS
from bench.report.render.markdown import escape
from bench.report.sections import digits as digit_rule
from bench.report.sections import variance
from bench.report.sections.names import meaning
from bench.report.write import compose, ready, write
from bench.rows import entries
from bench.store.records import CellRecord, EngineChoice, Flops, Likelihood
from bench.store.store import Store
from bench.study.study import Score
from ddpm.objective import gain
from ddpm.schedule import make_schedule
from ddpm.spec import Variant
from tests.bench.made_up import (
    FLOOR,
    clean,
    fill,
    make_study,
    markdown_of,
    noise,
    quality,
    section_of,
    text_of,
    write_cell,
    write_job,
    write_oracle,
)
from tests.records import failed_cell, failed_job, trained_job


@pytest.fixture(scope="module")
def digits():
    images = datasets.load("mnist", None).test
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(1))[:64]]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_whole_report(store, digits, tmp_path):
    study = make_study()
    fill(study, store, digits)
    made = write(study, store, tmp_path / "out")
    assert made.fresh
    assert made.markdown == tmp_path / "out" / "trial" / "report.md"
    text = clean(made.markdown.read_text())
    best = min(study.cells, key=quality)
    opening = text.split("## What each choice costs")[0]
    assert f"The lowest FID is {short(quality(best))}" in opening
    assert f"objective {best.job.objective}, schedule {best.job.schedule}" in opening
    assert "0.0824" in opening
    assert "2,301" in opening
    assert "one training seed" in opening
    names = {path.stem for path in made.figures}
    assert names == {
        "choices",
        "profiles",
        "heat-map",
        "steps",
        "frontier",
        "losses",
        "durations",
        *(
            f"samples-0{i}-{name}"
            for i, name in enumerate(("previous-linear", "eps-linear", "previous-cosine", "eps-cosine"), 1)
        ),
        "denoising",
    }
    for path in made.figures:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert f"(figures/{path.name})" in text or f'"figures/{path.name}"' in text
    previews = {path.read_bytes() for path in (store.root / "cells").glob("*.png")}
    for path in made.figures:
        assert not path.name.startswith("samples") or path.read_bytes() in previews, "at their own resolution"
    assert made.pdf.read_bytes().startswith(b"%PDF")
    assert "| headline judge (together), sha256 |" in text
    assert "times this lowest FID." in opening
    for said in ("Made-up CPU", "d" * 64, "`abcdef012345`", "f" * 40, "class_balance"):
        assert said in text
    assert "The demo's claims" not in text, "they are in the report of the demo's study alone"
    assert text.count("\n| ") > 40


def test_figures_have_data(store, digits):
    """What every figure draws is in its block, with the axes of the cells it is of."""
    study = make_study()
    fill(study, store, digits)
    figures = {block.name: block for block in compose(Results(study, store)) if isinstance(block, Figure)}
    assert set(figures) == {"choices", "profiles", "heat-map", "steps", "frontier", "losses", "durations"}
    for figure in figures.values():
        assert figure.mark in marks.MARKS
        assert figure.alt
        empty = [name for name, frame in figure.data.items() if frame.empty]
        assert empty == (["front"] if figure.name == "steps" else []), figure.name
    points = figures["steps"].data["points"]
    assert sorted(points["fid"]) == pytest.approx(sorted(map(quality, study.cells)))
    assert set(points["key"]) == {cell.key for cell in study.cells}


def test_replication(store, digits):
    """Training × sampling seeds: what either is worth, how often a level is better, and how near the best."""
    study = make_study(sampler=["ancestral"], seed=[0, 1, 2]).model_copy(update={"score": Score(n=200, seed=[0, 1])})
    fill(study, store, digits)
    results = Results(study, store)
    assert len(results.done) == 2 * len({(c.job.key, c.sampling.sample_steps) for c in study.cells})
    found = scatter(results.done)
    assert (found.runs, found.draws) == (3, 2)
    assert found.both.sd == pytest.approx(0.05, rel=0.5)  # the made-up noise depends on the cell alone
    worst, best = effects(results.done, "objective", results.levels("objective"))
    assert (worst.chance.value, worst.chance.settings, best.chance) == (1, 4, None)
    assert worst.chance.low < 0.5  # three runs against three
    shares, problems = profiles(results.done, "objective", ["previous", "eps"], np.array([1.0, 10.0]))
    assert problems == 24
    assert shares.tolist() == [[0, 1], [1, 1]]
    text = markdown_of(Results(study, store))
    for said in (
        "Performance profiles",
        "Where does chance come from?",
        "| training seed |",
        "0 and 1",
    ):
        assert said in text
    assert "P(best is better)" not in text, "which three seeds cannot say"
    (settings,) = {row["seeds"] for _, row in results.settings.iterrows()}
    assert settings == 3


def test_same_bytes(store, digits, tmp_path):
    study = make_study(schedule=["linear"], sample_steps=[10])
    fill(study, store, digits)
    first, second = (write(study, store, tmp_path / name) for name in "ab")
    assert len(first.figures) == len(second.figures)
    for name in ("report.md", "report.pdf", *(f"figures/{path.name}" for path in first.figures)):
        a, b = (made.markdown.parent / name for made in (first, second))
        assert a.read_bytes() == b.read_bytes(), a


def test_skipped_when_unchanged(store, digits, tmp_path, monkeypatch):
    """Whatever is missing, cut off or out of date makes the report anew; nothing else does."""
    monkeypatch.setattr(marks, "draw", lambda block: marks.Drawn(b"a figure", b"a figure"))
    monkeypatch.setitem(RENDERERS, "pdf", lambda blocks, path: path.write_bytes(b"a page"))
    study = make_study(schedule=["linear"], sample_steps=[10])
    fill(study, store, digits)
    first = write(study, store, tmp_path / "a")
    assert first.fresh
    again = write(study, store, tmp_path / "a")
    assert not again.fresh
    assert again.figures == first.figures

    first.figures[0].unlink()
    assert write(study, store, tmp_path / "a").fresh
    first.markdown.write_text(first.markdown.read_text()[:-20])
    assert write(study, store, tmp_path / "a").fresh
    write_cell(store, study.cells[0], digits, fid=99.0)
    assert write(study, store, tmp_path / "a").fresh
    assert not write(study, store, tmp_path / "a").fresh
    stray, mine = (first.figures[0].with_name(name) for name in ("old.png", "mine.png"))
    stray.write_bytes(b"")
    mine.write_bytes(b"")
    first.markdown.write_bytes(first.markdown.read_bytes() + b"![old](figures/old.png) \xff")
    assert write(study, store, tmp_path / "a").fresh
    assert not stray.exists()
    assert mine.exists(), "no report has shown it"
    first.pdf.unlink()
    assert write(study, store, tmp_path / "a").fresh
    monkeypatch.setattr("bench.report.write.code_hash", lambda *roots: "other code")
    assert write(study, store, tmp_path / "a").fresh


def test_a_report_of_somebody_else_is_kept(store, tmp_path):
    """One line, and nothing is written or deleted."""
    folder = tmp_path / "trial"
    (folder / "figures").mkdir(parents=True)
    files = {"report.md": b"# My thesis\n![](figures/mine.png)\n", "report.pdf": b"mine", "figures/mine.png": b"mine"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=r"report\.md is not a report of ddpm-bench: move it"):
        write(make_study(), store, tmp_path)
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")} == files


@pytest.mark.parametrize("name", ["report.pdf", "report.html"])
def test_another_form_of_somebody_else_is_kept(name, store, tmp_path):
    """Where no ``report.md`` says whose it is: a thesis is not a report that was interrupted."""
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / name).write_bytes(b"mine")
    with pytest.raises(UserError, match=rf"{re.escape(name)} is not a report of ddpm-bench: move it"):
        write(make_study(), store, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: b"mine"}


def test_a_report_without_its_markdown_is_written_again(store, tmp_path):
    """So an interrupted one is found: its PDF and its HTML say whose they are."""
    made = write(make_study(), store, tmp_path)
    assert b"ddpm-bench" in made.pdf.read_bytes()
    made.markdown.unlink()
    assert write(make_study(), store, tmp_path).fresh


@pytest.mark.parametrize(
    "page", sorted((paths.ROOT / "reports").glob("*/report.md")), ids=lambda page: page.parent.name
)
def test_every_page_of_ours_is_known_as_one(page, tmp_path):
    """Studies, theory, metrics and speed: the pictures that it shows are all that a new one may delete."""
    copy = tmp_path / "report.md"
    copy.write_bytes(page.read_bytes())
    assert ready(tmp_path) == {f"figures/{path.name}" for path in page.parent.glob("figures/*.png")}


def test_nothing_done(store, tmp_path):
    study = make_study()
    made = write(study, store, tmp_path)
    text = clean(made.markdown.read_text())
    assert "No cell of this study has been scored yet" in text
    assert "not run yet" in text
    assert made.figures == ()
    assert made.pdf.stat().st_size > 5000


def test_what_is_missing_or_failed_is_listed(store, digits):
    study = make_study()
    fill(study, store, digits)
    first, second, third, *_ = study.jobs
    reason = "crashed: RuntimeError: a|b *c* `d` $e$ <f> [g](h) _i_ #j @k"
    store.write(first, failed_job(study.jobs[first][0].job, reason))
    for cell in study.jobs[first]:
        store.path("cells", cell.key, ".json").unlink()
    cell = study.jobs[second][0]
    store.write(cell.key, failed_cell(cell, "diverged while sampling"))
    cell = study.jobs[third][0]
    store.path("cells", cell.key, ".json").write_text("{")
    write_cell(store, study.jobs[third][1], digits, fid=math.nan)
    text = markdown_of(Results(study, store))
    assert "**Not in these results: 5 failed and 1 missing**" in text
    assert escape(reason) in text
    assert "diverged while sampling" in text
    assert "its FID is not a finite number" in text
    assert f"{cell.key}.json" in text


@pytest.mark.parametrize(
    "axes",
    [
        {"objective": ["eps"], "schedule": ["linear"], "sampler": ["ddim"], "sample_steps": [10]},
        {"objective": ["eps", "v", "x0"], "schedule": ["cosine"], "eta": [0.0, 0.5], "seed": [0, 1, 2]},
        {
            "net": ["unet", "scorenet"],
            "T": [100, 1000],
            "weight": ["unit"],
            "objective": ["previous", "v"],
            "sampler": ["ddim"],
        },
    ],
    ids=["one cell", "seeds and eta", "every axis"],
)
def test_shapes_of_study(axes, store, digits, tmp_path):
    study = make_study(epochs=1, n=100, **axes)
    fill(study, store, digits)
    text = text_of(study, store, tmp_path / "out")
    if "seed" in axes:
        assert "medians over 3 training seeds" in text
        assert "There is one training seed" not in text
        assert "ddim η=0.5" in text
        assert "The choice “sampler” stands for more than the sampler: also for η." in text
    if axes["objective"] == ["eps"]:
        assert "## Sampling steps" not in text, "one number of steps is no curve"
        assert "## Objective by schedule" not in text
        assert "## What each choice costs" not in text


@pytest.mark.parametrize("name", ["demo", "demo-short"])
def test_the_demos_claims(name, store, digits):
    """In the reports of the demo's own study and of its shorter one."""
    study = make_study(name=name, net=["scorenet"], schedule=["linear"], sampler=["ancestral"], sample_steps=[1000])
    fill(study, store, digits)
    text = section_of(markdown_of(Results(study, store)), "The demo's claims")
    assert "1,115,425 parameters, 4.257 MiB" in text
    assert "It holds here, for scorenet." in text.partition("4.3 MB for one")[2]
    assert "20 s an epoch" in text
    assert "It holds here, by FID: `eps` has the lower FID in 1 of 1 pair at T = 1,000." in text
    fids = {cell.job.objective: quality(cell) for cell in study.cells}
    assert f"`previous` has {short(fids['previous'] / fids['eps'])} times the FID of `eps`" in text


def demo_study(seeds=(0, 1), Ts=(60, 200)):
    """Part 1 and Part 2 at some T, by all T steps, clipped and not."""
    study = make_study(
        name="demo", net=["scorenet"], schedule=["linear"], sampler=["ancestral"], T=list(Ts), sample_steps=list(Ts),
        clip=[False, True], objective=["previous", "eps"], seed=list(seeds),
    )  # fmt: skip
    others = [{"T": T, "sample_steps": [steps for steps in Ts if steps != T]} for T in Ts]
    return study.model_validate(study.model_dump() | {"exclude": others})


def test_digits_of_the_demo_are_those_of_the_results(store, digits):
    """Digits at the smaller T alone for Part 1, clear ones unclipped; everywhere for Part 2; and what is missing."""
    study = demo_study(seeds=(0,))
    fill(study, store, digits)
    for cell in study.cells:
        T, clip, eps = cell.job.T, cell.sampling.clip, cell.job.objective == "eps"
        good = eps or not clip  # that alone is not enough: at T = 200 FID is too high
        write_cell(store, cell, digits, fid=20.0 if eps else float(T), precision=0.5 if good else 0.4)
    section = section_of(markdown_of(Results(study, store)), "The demo's claims")
    said = "`previous`: clear digits at T = 60 (ancestral unclipped); rough digits at T = 60 (ancestral); no digits at"
    assert f"{said} T = 200 (ancestral and ancestral unclipped)." in section
    assert "`eps`: clear digits at T = 60 (ancestral and ancestral unclipped) and T = 200" in section
    assert "T = 60: `eps` has the lower FID in 2 of 2 pairs. `previous` has 3.00 times its FID" in section
    order = gains("previous")
    assert order == sorted(order), "a longer chain is worse conditioned for Part 1"
    assert (
        "It holds in part here. These models give digits, clear or rough: `previous` in 2 of 4, `eps` in 4" in section
    )
    assert section.count("One seed cannot tell.") == 2
    assert section.count('<img src="figures/') == len(study.cells)
    lost = next(cell for cell in study.cells if cell.job.objective == "previous" and not cell.sampling.clip)
    store.path("cells", lost.key, ".json").unlink()
    section = section_of(markdown_of(Results(study, store)), "The demo's claims")
    assert "`previous`: rough digits at T = 60 (ancestral); no digits at T = 200" in section
    assert "not measured at T = 60 (ancestral unclipped)" in section


@pytest.mark.parametrize(
    ("long", "said"),
    [
        (
            [40.0, 41.0, 5000.0],
            "FID 40.5, from 40.0 to 41.0), over 2 training seeds. In these seeds FID rises with the gain.",
        ),
        ([12.0, 9.0, 1.0], "FID 10.4, from 9.00 to 12.0), over 2 training seeds. Too close to say."),
        ([5.0, 6.0, 5000.0], "FID 5.48, from 5.00 to 6.00), over 2 training seeds. It does not."),
    ],
)
def test_fid_and_gain_are_compared_over_the_same_seeds(long, said, store, digits):
    """A seed that one T lacks counts for neither, and ranges that overlap show nothing."""
    study = demo_study(seeds=(0, 1, 2))
    for cell in study.cells:
        fid = long[cell.job.seed] if cell.job.T == 200 else 10.0 + cell.job.seed
        if cell.job.objective == "previous" and (cell.job.T, cell.job.seed) != (60, 2):
            write_cell(store, cell, digits, fid=fid)
    section = section_of(markdown_of(Results(study, store)), "The demo's claims")
    assert "FID 10.5, from 10.0 to 11.0) and T = 200" in section
    assert said in section


def test_a_t_with_fewer_seeds_is_left_out_where_the_others_say_more(store, digits):
    """One seed at a third T would leave one seed to tell by; with as many seeds it counts."""
    study = demo_study(seeds=(0, 1, 2), Ts=(60, 200, 400))
    cells = [cell for cell in study.cells if cell.job.objective == "previous"]
    for cell in cells:
        if cell.job.T < 400 or cell.job.seed == 0:
            write_cell(store, cell, digits, fid=float(cell.job.T + cell.job.seed))
    section = section_of(markdown_of(Results(study, store)), "The demo's claims")
    assert (
        "over 3 training seeds. In these seeds FID rises with the gain. Left out, with fewer seeds: T = 400." in section
    )
    for cell in cells:
        write_cell(store, cell, digits, fid=float(cell.job.T + cell.job.seed))
    section = section_of(markdown_of(Results(study, store)), "The demo's claims")
    assert "over 3 training seeds. In these seeds FID rises with the gain." in section
    assert "Left out" not in section
    assert "T = 400 (gain" in section


def gains(objective):
    return [float(gain(make_schedule("linear", T), objective).max()) for T in (60, 200)]


def test_what_rough_digits_are_is_said_as_the_report_has_it():
    said = " ".join((paths.ROOT / "docs" / "findings.md").read_text().split())
    rule = f"FID is at least {digit_rule.ROUGH} times lower than that of noise, and precision is less than"
    assert f"*rough digits*: {rule} {digit_rule.CLEAR:.0%} of that of real images." in said


def test_the_demo_without_results_says_so(store, digits):
    study = demo_study()
    for cells in study.jobs.values():
        write_job(store, cells[0].job)
    section = section_of(markdown_of(Results(study, store)), "The demo's claims")
    assert "no samples of the demo's models have been scored yet" in section
    assert "digits at" not in section


def test_diffusion_steps_are_an_axis_beside_the_sampling_steps(store, digits):
    """Full chains of different T are compared along T, in figures, ratios and claims."""
    study = demo_study()
    claim = "{T: 200} < {T: 60} on fid"
    study = study.model_copy(update={"claims": [claim, f"{claim} at {{objective: previous}}"]})
    fill(study, store, digits)
    for cell in study.cells:
        if cell.job.objective == "eps":
            write_cell(store, cell, digits, fid=1000.0 / cell.job.T * (1 + cell.job.seed / 50))
    results = Results(study, store)
    assert "T" in results.varying
    assert "sample_steps" not in results.varying, "it only repeats T here"
    figures = {block.name: block for block in compose(results) if isinstance(block, Figure)}
    assert "steps" not in figures
    points = figures["diffusion-steps"].data["points"]
    assert set(points["panel"]) == {"linear, all T steps"}
    assert sorted(points["x"]) == [60] * 4 + [200] * 4
    assert set(figures["frontier"].data["points"]["panel"]) == {"linear"}
    text = markdown_of(results)
    assert "| eps | linear | ancestral | all T steps | 16.8 | 5.05 |" in text
    assert "of T = 200 steps" in text.split("## What each")[0]
    (T,) = [effect for effect in effects(results.done, "T", [60, 200]) if effect.level == 60]
    assert len(T.ratios) == 8, "two objectives, two ways to clip, two seeds"
    verdicts = judge(study.hypotheses, results.done.to_dict("records"), dict(study.axes))
    assert [one.pairs for one in verdicts] == [8, 4]


def test_a_study_that_has_begun_names_no_best_of_what_was_not_compared(store, digits):
    """With the cells of one T alone there is no ratio for T, and no table says what it has no column for."""
    study = demo_study()
    for cells in study.jobs.values():
        if cells[0].job.T == 60:
            write_job(store, cells[0].job)
            for cell in cells:
                poor = cell.job.objective == "previous"
                write_cell(store, cell, digits, fid=(3000.0 if poor else 10.0) * noise(cell.key))
    said = section_of(markdown_of(Results(study, store)), "What each choice costs")
    assert "**objective**" in said
    assert "**T**" not in said
    assert ("leaves out" in said) == ("| FID under" in said)


def test_diffusion_and_sampling_steps_both_vary(store, digits):
    """A T is compared at equally many steps, and with its whole chain; how many steps are enough is of one T."""
    study = make_study(schedule=["linear"], sampler=["ddim"], T=[25, 50], sample_steps=[5, 25, 50])
    study = study.model_validate(study.model_dump() | {"exclude": [{"T": 25, "sample_steps": 50}]})
    fill(study, store, digits)
    results = Results(study, store)
    assert {"T", "sample_steps"} <= set(results.varying)
    figures = {block.name: block for block in compose(results) if isinstance(block, Figure)}
    panels = figures["diffusion-steps"].data["points"]["panel"]
    assert set(panels) == {"linear, all T steps", "linear, 5 steps", "linear, 25 steps"}
    assert set(figures["steps"].data["points"]["panel"]) == {"linear, T = 25", "linear, T = 50"}
    section = section_of(markdown_of(results), "T and sampling steps")
    rows = [line for line in section.splitlines() if line.startswith("| ddim, T = ")]
    assert [row.split(" | ")[0] for row in rows] == ["| ddim, T = 25", "| ddim, T = 50"]
    assert rows[0].split(" | ")[3] == "–", "no 50 steps of T = 25"


def test_durations_of_a_shared_device_are_left_out(store, digits, tmp_path):
    study = make_study(schedule=["linear"])
    fill(study, store, digits, exclusive=False)
    text = text_of(study, store, tmp_path / "out")
    assert "Other programs used the same device during all runs, so there are no durations." in text
    assert "The duration of an epoch is" not in text
    assert "No sampling run had its device alone" in text
    assert "figures/durations" not in text
    assert "figures/steps" in text
    timed = next(cell for cell in study.cells if cell.job.objective == "eps")
    write_cell(store, timed, digits)
    text = text_of(study, store, tmp_path / "out")
    assert "other programs used the same device" in text
    assert "These durations are left out of all tables. A – means that no clean duration is left." in text
    front = section_of(text, "Quality against time")
    assert "A time is known for 1 of 8 settings: those with a run that had its device alone." in front
    assert "So nothing is said of objective previous" in front


def test_mixed_code_versions_and_machines_warn(store, digits):
    study = make_study(schedule=["linear"])
    fill(study, store, digits)
    env = {"code": "000000000000", "gpu": "A GPU", "driver": "1", "dirty": True}
    write_cell(store, study.cells[0], digits, env=env)
    text = markdown_of(Results(study, store))
    assert "These results come from 2 versions of the code" in section_of(text, "The answer")
    assert "from 2 versions of the code" in section_of(text, "Provenance")
    assert "more than one kind of machine" in text
    assert "uncommitted changes" in text


def test_a_setting_timed_on_two_machines_says_so(store, digits):
    """And a setting that has only one of them names that one."""
    study = make_study(objective=["eps"], schedule=["linear"], sampler=["ddim"], seed=[0, 1])
    fill(study, store, digits)
    opening = section_of(markdown_of(Results(study, store)), "The answer")
    assert "the median of runs on" not in opening
    best = Results(study, store).settings.iloc[0]["sample_steps"]
    for cell in study.cells:
        if cell.job.seed and cell.sampling.sample_steps == best:
            write_cell(store, cell, digits, env={"threads": 7})
    text = markdown_of(Results(study, store))
    assert "s on Made-up CPU" in section_of(text, "The answer")
    assert ": the median of runs on these kinds of machines." in section_of(text, "The answer")
    assert "The results were made with different settings (threads: " in text


def test_scores_of_another_reference_are_not_mixed_in(store, digits):
    study = make_study(schedule=["linear"])
    fill(study, store, digits)
    odd = study.cells[0]
    write_cell(store, odd, digits, dataset="e" * 64)
    results = Results(study, store)
    assert odd.key not in set(results.done["key"])
    assert list(results.cells.set_index("key").loc[[odd.key], "status"]) == ["stale"]


def test_report_without_pictures(store, digits):
    study = make_study(schedule=["linear"], sample_steps=[10])
    fill(study, store, digits)
    for path in (store.root / "cells").glob("*.png"):
        path.unlink()
    text = markdown_of(Results(study, store))
    assert "## Samples" not in text
    assert "## Denoising" not in text


def test_importing_the_package_does_not_import_torch():
    check = "import sys, bench.report.write; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_the_oracle_splits_a_fid(tmp_path, digits):
    """A trained cell's FID in three parts; the oracle's cells are not ranked with the others."""
    study = make_study(net=["unet", "oracle"], objective=["eps"])
    store = Store(tmp_path / "store")
    for cells in study.jobs.values():
        job = cells[0].job
        if job.net == "unet":
            write_job(store, job)
        else:
            write_oracle(store, job)
        for cell in cells:
            write_cell(
                store, cell, digits, **({"fid": 1.0 + 10 / cell.sampling.sample_steps} if job.net == "oracle" else {})
            )
    results = Results(study, store)
    assert set(results.done["net"]) == {"unet"}
    assert "net" not in results.varying
    text = markdown_of(results)
    section = section_of(text, "Where the FID comes from")
    assert section.count("\n| ") == 8 + 2
    for _, row in results.settings.iterrows():
        best = results.settings.loc[results.settings["schedule"] == row["schedule"], "fid"].min()
        line = next(line for line in section.splitlines() if f"| {short(row['fid'])} |" in line)
        assert f"| {short(best - FLOOR['fid'])} |" in line, "the network's part: the best way to sample it"
        share = 1 - best / row["fid"]
        assert f"| {share:.0%} | {short(1.0 + 10 / row['sample_steps'])} |" in line
    assert f"The {len(results.exact)} cells of the oracle are not ranked." in section_of(text, "All settings")


def test_other_judges_stand_beside_fid_or_the_page_says_that_they_do_not(tmp_path, digits):
    """In the table of classes; where a table has none, one sentence. And how a network with classes is compared."""
    study = make_study(net=["unet", "unet(classes=10)"], guidance=[None, 1.0], sampler=["ddim"], schedule=["cosine"])
    study = study.model_validate(study.model_dump() | {"exclude": [{"net": "unet", "guidance": 1.0}]})
    store = Store(tmp_path / "store")
    for cell in study.cells:
        told = {} if cell.sampling.guidance is None else {"class_accuracy": 0.9, "worst_class_accuracy": 0.7}
        write_cell(store, cell, digits, pixel_distance=3.25, **told)
    text = markdown_of(Results(study, store))
    assert "| FID | pixel distance | class accuracy |" in section_of(text, "Classes and guidance")
    for title in ("What each choice costs", "Sampling steps"):
        assert "FID is by the headline judge alone." in section_of(text, title)
    assert "A network that can be told the class (unet(classes=10)) is compared with others without a class" in text


def test_what_scores_do_not_see_stands_beside_them(tmp_path, digits):
    """A line for each score in the table, and none for others; images that were drawn twice are counted."""
    study = make_study(sampler=["ddim"], schedule=["cosine"])
    older, newer = Store(tmp_path / "older"), Store(tmp_path / "newer")
    for i, cell in enumerate(study.cells):
        write_cell(older, cell, digits)
        write_cell(newer, cell, digits, pixel_distance=3.25, repeated=0.02 * (i == 1))
    text = section_of(markdown_of(Results(study, older)), "All settings")
    assert "Whether images were drawn more than once is not known" in text
    assert "| FID | compression (JPEG), repeated images and copies of training images |" in text
    assert "| precision | compression (JPEG), a missing class, repeated images and copies of training images |" in text
    assert "| pixel distance | noise," not in text
    text = section_of(markdown_of(Results(study, newer)), "All settings")
    many = len(study.cells)
    assert f"drawn more than once: 1 of {many}, at most 2.0% of a cell's images." in text
    assert "| pixel distance | noise," in text


def test_the_size_of_a_network_is_without_what_teaching_adds(store):
    """Whichever of its jobs comes first."""
    for teach in (["consistency(start=0.5)", "data"], ["data", "consistency(start=0.5)"]):
        study = make_study(objective=["v"], schedule=["cosine"], sampler=["ddim"], teach=teach)
        for cells in study.jobs.values():
            job, plain = cells[0].job, Flops(forward=2000, train=6000)
            store.write(job.key, trained_job(job, flops_per_image=taught_flops(plain, job)))
        assert Results(study, store).networks["train_flops"].tolist() == [6000]


def test_an_unstable_sampler_is_no_fault_of_the_network(tmp_path, digits):
    """A FID of 1,053 where the same network has 10 otherwise: nearly all of it is the sampler's part."""
    study = make_study(net=["unet", "oracle"], objective=["x0"], schedule=["cosine"], sampler=["ddim", "heun"])
    store = Store(tmp_path / "store")
    for cells in study.jobs.values():
        (write_oracle if cells[0].job.net == "oracle" else write_job)(store, cells[0].job)
        for cell in cells:
            bad = cell.sampling.sampler == "heun" and cell.sampling.sample_steps == 10 and cell.job.net == "unet"
            fid = 1053.0 if bad else 10.0 if cell.job.net == "unet" else 3.0
            write_cell(store, cell, digits, fid=fid, pixel_distance=3.25)
    section = section_of(markdown_of(Results(study, store)), "Where the FID comes from")
    assert "| FID | pixel distance | sample size |" in section
    line = next(line for line in section.splitlines() if "1,053" in line)
    assert "| 99% |" in line


def test_the_headline_says_what_the_lowest_of_many_is_worth(tmp_path, digits):
    """Several seeds: value, chance and set. One seed: that nobody can say. One noise for all: a warning."""
    study = make_study(seed=[0, 1, 2], schedule=["cosine"])
    store = Store(tmp_path / "store")
    fill(study, store, digits)
    answer = section_of(markdown_of(Results(study, store)), "The answer")
    assert "It is the lowest of 8 settings" in answer
    assert re.search(
        r"Without that luck the best has about \*\*[\d.]+\*\*|does not change which setting is the lowest", answer
    )
    assert re.search(r"really is the best is \*\*(over )?\d+%\*\*", answer)
    assert "may be the best" in answer
    assert "from the same noise" not in answer
    fixed = study.model_validate(study.model_dump() | {"score": {"n": 200, "seed": 0}})
    fill(fixed, Store(tmp_path / "fixed"), digits)
    assert "from the same noise" in section_of(markdown_of(Results(fixed, Store(tmp_path / "fixed"))), "The answer")
    single = make_study(schedule=["cosine"])
    fill(single, Store(tmp_path / "single"), digits)
    answer = section_of(markdown_of(Results(single, Store(tmp_path / "single"))), "The answer")
    assert "each setting needs two training seeds or more" in answer
    assert "may be the best" not in answer


def test_the_lowest_may_be_of_one_seed_alone(tmp_path, digits):
    """Beside settings of several it says so, and has no range."""
    study = make_study(seed=[0, 1, 2], objective=["eps"], schedule=["cosine"], sampler=["ddim"])
    store = Store(tmp_path / "store")
    for cell in study.cells:
        lowest = cell.sampling.sample_steps == study.axes.sample_steps[-1]
        if not (lowest and cell.job.seed):
            write_cell(store, cell, digits, fid=2.0 if lowest else 9.0)
    answer = section_of(markdown_of(Results(study, store)), "The answer")
    assert "**The lowest median FID is 2.00, of one training seed alone: objective eps" in answer
    assert "2.00 (1 seed)" in answer
    assert "9.00 (9.00–9.00)" in answer


def test_the_panel_stands_beside_the_verdicts(tmp_path, digits, monkeypatch):
    """How many other judges support a claim, and which say something else."""
    study = make_study(seed=[0, 1, 2]).model_copy(update={"claims": ["eps < previous on fid"]})
    store = Store(tmp_path / "store")
    fill(study, store, digits)
    results = Results(study, store)
    assert "other judges" not in section_of(markdown_of(results), "Claims")
    results.cells["fid_texture"] = results.cells["fid"] * 2
    results.cells["pixel_distance"] = 1 / results.cells["fid"]
    again = Results(study, store)
    vars(again)["cells"] = results.cells
    assert "The judge pixel distance has another setting first." in section_of(markdown_of(again), "The answer")
    section = section_of(markdown_of(again), "Claims")
    assert "| **supported** | 1 for, 1 against |" in section
    assert "supported under the headline judge; contradicted under pixel distance." in section


def test_a_study_of_the_oracle_alone(tmp_path, digits):
    """Nothing was trained: no loss curves, no durations of epochs, and the rest as ever."""
    study = make_study(net=["oracle"], objective=["x0"], sampler=["ancestral", "ddim", "heun"], epochs=0)
    store = Store(tmp_path / "store")
    for cells in study.jobs.values():
        write_oracle(store, cells[0].job)
        for cell in cells:
            write_cell(store, cell, digits)
    text = markdown_of(Results(study, store))
    assert "Nothing was trained." in text
    assert "## Loss curves" not in text
    assert "## Where the FID comes from" not in text
    assert "network evaluations a sample. (Heun's method" in text


def test_claims_get_verdicts(tmp_path, digits):
    """A study's claims in its report: one that seeds support, one that nothing measured."""
    study = make_study(seed=[0, 1, 2], objective=["previous", "eps"]).model_copy(
        update={"claims": ["eps < previous on fid", "linear < cosine on fid at {sampler: ddim}"]}
    )
    store = Store(tmp_path / "store")
    fill(study, store, digits)
    text = markdown_of(Results(study, store))
    section = section_of(text, "Claims")
    assert "| `eps < previous on fid` | **supported** |" in section
    assert "| `linear < cosine on fid at {sampler: ddim}` | **contradicted** |" in section
    assert "## Claims" not in markdown_of(Results(make_study(), Store(tmp_path / "none")))


def test_claims_say_what_they_are_without(store, digits):
    """A cell that diverged, and one that is only missing: in the line of the claim, and below with the reason."""
    study = make_study(schedule=["linear"], seed=[0, 1, 2, 3])
    study = study.model_copy(update={"claims": ["eps < previous on fid"]})
    fill(study, store, digits)
    of_eps, of_previous = (
        next(cell for cell in study.cells if cell.job.objective == name and cell.job.seed == seed)
        for name, seed in (("eps", 0), ("previous", 1))
    )
    store.write(of_eps.key, failed_cell(of_eps, "diverged while sampling"))
    store.path("cells", of_previous.key, ".json").unlink()
    section = section_of(markdown_of(Results(study, store)), "Claims")
    assert "| 12 (and 1 failed) | 4 |" in section
    assert "`eps < previous on fid`: 1 pair left out, because a cell failed or its score is not finite" in section
    assert "(1 on the first side). No ratio can say so, but a run that diverged speaks against its side." in section
    assert "2 pairs left out, because not all seeds have them" in section


def test_claims_on_a_share_of_0_and_of_nothing(store, digits):
    """A score of 0 has no ratio and is counted by side; of what nobody measured, no other judge is said to disagree."""
    study = make_study(objective=["previous", "eps", "v"], schedule=["linear"], seed=[0, 1, 2])
    study = study.model_copy(
        update={
            "claims": [f"eps > previous on {name}" for name in ("precision", "recall")]
            + ["eps < previous on fid", "v < eps on fid"]
        }
    )
    for cell in study.cells:
        previous = cell.job.objective == "previous"
        none = {"recall": 0.0} | ({"precision": 0.0} if cell.job.seed else {}) if previous else {}
        if cell.job.objective != "v":
            write_cell(store, cell, digits, pixel_distance=quality(cell) ** 2, **none)
    section = section_of(markdown_of(Results(study, store)), "Claims")
    assert "(and 8 at 0) | 1 |" in section
    assert "| `eps > previous on recall` | no ratio |  | – | – | – | 0 (and 12 at 0) | 0 |" in section
    assert "8 pairs left out, because a score is 0 (8 on the second side). No ratio" in section
    assert "| **supported** | 1 for |" in section
    assert "| `v < eps on fid` | not measured |  | –" in section


def test_a_level_that_was_run_with_more_seeds_than_learnt(store, digits):
    """Of three seeds of a level one is under the limit: said of the cells that are left, not of what was run."""
    study = make_study(seed=[0, 1, 2])
    for cell in study.cells:
        lost = {"fid": 900.0 + cell.job.seed} if cell.job.objective == "previous" and cell.job.seed else {}
        write_cell(store, cell, digits, **lost)
    section = section_of(markdown_of(Results(study, store)), "What each choice costs")
    assert "Chance is still in the shares of “FID under 230”" in section
    assert "Among these cells a level has one training seed only" in section


def test_likelihoods_and_classes(tmp_path, digits):
    """Sections of their own, where there is something to say; medians over seeds."""
    store = Store(tmp_path / "results")
    told = make_study(net=["unet(classes=10)"], objective=["eps", "v"], schedule=["cosine"], sampler=["ddim"],
                      guidance=[None, 0.0, 1.0, 4.0], sample_steps=[10], seed=[0, 1])  # fmt: skip
    for i, cells in enumerate(told.jobs.values()):
        job = cells[0].job
        bound = 2.0 + 0.1 * i
        likelihood = Likelihood(
            n=50, terms=(bound / job.T,) * job.T, bound=bound, bound_se=0.012, prior=0.0001, prior_se=0.0,
            decoder=0.31, decoder_se=0.001, flow=None if i == 3 else bound - 0.4, flow_se=None if i == 3 else 0.011,
        )  # fmt: skip
        write_job(store, job, more={"likelihood": likelihood})
        for cell in cells:
            seen = (
                {} if cell.sampling.guidance is None else {"class_accuracy": 0.9 + i / 100, "worst_class_accuracy": 0.7}
            )
            write_cell(store, cell, digits, **seen)
    made = write(told, store, tmp_path / "out")
    text = clean(made.markdown.read_text())
    likelihood = section_of(text, "Likelihood")
    assert re.search(r"\| eps \| cosine \| 1.650 ± 0.011 \| 2.050 ± 0.012 \| 1.00e-04 \| 0.310 \|", likelihood)
    assert "The likelihood of 50 test images" in likelihood
    assert "(figures/terms.png)" in likelihood
    classes = section_of(text, "Classes and guidance")
    assert "ddim guidance 4" in classes
    assert "0.905" in classes
    assert len(re.findall(r"\| 0.700 \|", classes)) == 6, "the cells that asked for no class are not there"
    assert "(figures/guidance.png)" in classes
    (figure,) = [block for block in compose(Results(told, store)) if getattr(block, "name", "") == "guidance"]
    lines = figure.data["lines"]
    assert lines["panel"].unique().tolist() == ["objective eps", "objective v"]
    one = lines[(lines["panel"] == "objective eps") & (lines["series"] == "class accuracy")]
    assert one["x"].tolist() == [0.0, 1.0, 4.0]
    assert one["y"].tolist() == pytest.approx([0.905] * 3)


def test_how_many_steps_are_enough(tmp_path, digits):
    """The fewest within a tenth of the sampler's best; geometric means over runs, of those that learnt."""
    store = Store(tmp_path / "results")
    study = make_study(objective=["eps", "previous"], schedule=["cosine"], sample_steps=[5, 10, 25], seed=[0, 1])
    fids = {("ancestral", 5): 40.0, ("ancestral", 10): 9.0, ("ancestral", 25): 5.0,
            ("ddim", 5): 20.0, ("ddim", 10): 6.4, ("ddim", 25): 6.0}  # fmt: skip
    for cells in study.jobs.values():
        write_job(store, cells[0].job)
        for cell in cells:
            luck = 1.0001 ** (cell.job.seed * cell.sampling.sample_steps)  # two seeds without spread decide nothing
            fid = fids[cell.sampling.sampler, cell.sampling.sample_steps] * (1 if cell.job.seed else 4) * luck
            write_cell(store, cell, digits, fid=fid if cell.job.objective == "eps" else 2000.0)
    text = markdown_of(Results(study, store))
    assert "| ancestral | 80.0 | 18.0 | 10.0 | **25\\*** | 2 |" in text
    assert "| ddim | 40.0 | 12.8 | 12.0 | **10** | 2 |" in text
    assert "| choice | all cells | FID under 230 |" in text
    assert (
        "leaves out 12 of 24 cells, whose FID is not 10 times lower than that of noise. Among them are all cells"
        in text
    )
    assert "cells of previous." in text
    assert "Not listed" not in text
    for cell in study.cells:
        if (cell.sampling.sampler, cell.sampling.sample_steps) == (Variant("ddim"), 25):
            store.path("cells", cell.key, ".json").unlink()
    text = markdown_of(Results(study, store))
    assert "Not listed: ddim. There no training run was sampled with every number of steps." in text
    assert "**sampler**: sampling steps 5 and 10." in text


def test_a_network_that_learnt_counts_with_all_its_numbers_of_steps(tmp_path, digits):
    """Few steps of a good network may score like noise: left out, they would make few steps look better."""
    store = Store(tmp_path / "results")
    study = make_study(objective=["eps"], schedule=["cosine"], sampler=["ddim"], sample_steps=[5, 25], seed=[0, 1, 2])
    for cells in study.jobs.values():
        write_job(store, cells[0].job)
        for cell in cells:
            few = (300.0, 200.0, 250.0)[cell.job.seed]
            write_cell(store, cell, digits, fid=few if cell.sampling.sample_steps == 5 else 10.0)
    assert "| ddim | 247 | 10.0 | **25\\*** | 3 |" in markdown_of(Results(study, store))


def test_times_are_of_the_machines_and_seeds_that_were_timed(tmp_path, digits):
    """Jobs that shared a machine have no durations, and different engines are no comparison of networks."""
    store = Store(tmp_path / "results")
    study = make_study(objective=["eps"], schedule=["cosine"], sampler=["ddim"], net=["unet", "scorenet"], seed=[0, 1])
    for cells in study.jobs.values():
        job, alone = cells[0].job, cells[0].job.seed == 0
        write_job(store, job, exclusive=alone, threads=4 if alone else 1)
        for cell in cells:
            write_cell(store, cell, digits, exclusive=alone, env={"threads": 4 if alone else 1})
    text = markdown_of(Results(study, store))
    time = section_of(text, "Quality against time") + section_of(text, "Time, memory and size")
    assert "4 threads" in time
    assert "1 thread," not in time
    assert "1 thread," in section_of(text, "Provenance")
    assert "Times are of training seed 0 alone." in time
    assert "engine" not in time
    for cell in study.cells:
        record = store.read(CellRecord, cell.key)
        if cell.job.net == "scorenet":
            used = record.sampling.model_copy(update={"engine": EngineChoice(engine="compiled")})
            store.write(cell.key, record.model_copy(update={"sampling": used}))
    text = section_of(markdown_of(Results(study, store)), "Quality against time")
    assert "**Samples were drawn by more than one engine: " in text
    assert "compiled (network scorenet)" in text


def test_the_strip_is_of_the_best_setting(tmp_path, digits):
    """And not of the luckiest cell, which may be of another setting."""
    store = Store(tmp_path / "results")
    study = make_study(objective=["eps"], schedule=["cosine"], sampler=["ddim"], sample_steps=[5, 25], seed=[0, 1, 2])
    fids = {5: (9.0, 8.0, 1.0), 25: (7.0, 6.0, 5.0)}
    for cells in study.jobs.values():
        write_job(store, cells[0].job)
        for cell in cells:
            write_cell(store, cell, digits, fid=fids[cell.sampling.sample_steps][cell.job.seed])
    results = Results(study, store)
    assert results.done.iloc[0]["sample_steps"] == 5
    text = markdown_of(results)
    assert "in 25 steps (training seed 0: FID 7.00)" in section_of(text, "Denoising")
    answer = section_of(text, "The answer")
    assert (
        "By the geometric mean another setting is lower, at 4.16: objective eps, schedule cosine, sampled by ddim in"
        in answer
    )


def test_shares_of_more_than_the_whole_are_explained():
    """And only those."""
    assert variance._total({("a",): 0.7, ("b",): Spread(0.4, 0.1, 0.8), ("left",): math.nan}) == pytest.approx(1.1)


def test_the_committed_report_of_quick_is_short():
    """Twelve pages at most, and under a megabyte, since every version of it stays in the history."""
    pdf = paths.ROOT / "reports" / "quick" / "report.pdf"
    with pikepdf.open(pdf) as document:
        assert len(document.pages) <= 12
    assert pdf.stat().st_size < 1e6


def test_scores_by_an_older_judge_are_said_to_be_stale(store, digits, monkeypatch):
    study = make_study(schedule=["linear"], sample_steps=[10])
    fill(study, store, digits)
    assert "stale" not in markdown_of(Results(study, store))
    monkeypatch.setattr("bench.report.sections.head.pinned", lambda dataset: "0" * 64)
    assert "**These results are stale:** they were scored by an older judge" in markdown_of(Results(study, store))


def test_ways_to_teach(tmp_path, digits):
    """FID by number of steps of each, and what its training costs beside plain training."""
    store = Store(tmp_path / "results")
    study = make_study(
        epochs=8, objective=["v"], schedule=["cosine"], sampler=["ancestral", "ddim"], sample_steps=[1, 4], seed=[0, 1],
        teach=["data", "consistency", "progressive"],
    )  # fmt: skip
    fids = {"data": 40.0, "consistency": 20.0, "progressive": 30.0}
    for cells in study.jobs.values():
        write_job(store, cells[0].job)
        for cell in cells:
            fid = fids[cell.job.teach.name] / cell.sampling.sample_steps * (1 + (cell.sampling.sampler.name == "ddim"))
            write_cell(store, cell, digits, fid=fid)
    results = Results(study, store)
    text = section_of(markdown_of(results), "Taught for few steps")
    assert "| consistency | ancestral | 10 | 20.0 | 5.00 |" in text
    assert "| consistency | ddim | 10 | 40.0 | 10.0 |" in text
    assert "| data | ancestral | 8 | 40.0 | 10.0 |" in text
    (figure,) = [block for block in compose(results) if getattr(block, "name", "") == "taught"]
    lines = figure.data["lines"]
    assert lines[lines["series"] == "progressive"][["x", "y"]].to_numpy().tolist() == [[1, 30.0], [4, 7.5]]
    assert set(results.panels) == {"data", "consistency", "progressive"}
    assert "Taught for few steps" not in markdown_of(Results(make_study(), store))


def test_names_are_explained(tmp_path):
    """Each name that the study lists, by the first line of its docstring; usual values are left out."""
    study = make_study(net=["unet", "oracle"], objective=["eps", "v"], weight=["default", "snr"], spacing=["linspace"])
    text = section_of(markdown_of(Results(study, Store(tmp_path / "none"))), "What the names mean")
    assert "| objective | eps | ε (DDPM, eq. 14): the demo's Part 2. |" in text
    assert "| loss weight | default | The objective's own weight. |" in text
    assert "| network | oracle | No network" in text
    assert "| sampler | ddim | DDIM (arXiv 2010.02502)" in text
    assert "linspace" not in text
    assert meaning("objective", "of another package") == ""
    for family in ("net", "objective", "weight", "schedule", "timesteps", "teach", "sampler", "spacing"):
        assert all(len(meaning(family, name)) > 10 for name in entries(family))
