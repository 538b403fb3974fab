"""What follows from formulas alone: REFERENCE's numbers again, and a page that shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cli import main
from bench.report.write import draw
from bench.theory import numbers as theory
from bench.theory import page
from ddpm.objective import OBJECTIVES
from ddpm.sampler import SAMPLERS

MNIST = (-0.7386, 0.6162)


def test_step_counts() -> None:
    """REFERENCE 2.1: ᾱ_T and the prior term; where β would exceed 1 there is nothing."""
    rows = {
        (row["schedule"], row["T"]): row
        for row in theory.step_counts(["linear_unscaled", "linear"], (10, 100, 1000), *MNIST)
    }
    assert rows["linear_unscaled", 100]["left"] == pytest.approx(0.3636, abs=5e-5)
    assert rows["linear_unscaled", 100]["bits"] == pytest.approx(0.306, abs=5e-4)
    assert rows["linear", 1000]["bits"] == pytest.approx(2.69e-5, rel=3e-3)
    assert rows["linear", 10]["left"] is rows["linear", 10]["bits"] is None


def test_weights_in_x0() -> None:
    """Unit weight is 1 on x₀, SNR on ε, SNR + 1 on v."""
    curves = theory.weights_in_x0("cosine", 100)
    snr = 10 ** theory.snr_curves(["cosine"], 100)["cosine"]
    ratio = curves["eps, unit"] / snr
    assert (curves["x0, unit"] == 1).all()
    assert ratio.tolist() == pytest.approx([float(ratio[0])] * 100)
    ratio = curves["v, unit"] / (snr + 1)
    assert ratio.tolist() == pytest.approx([float(ratio[0])] * 100)


def test_conditioning() -> None:
    """REFERENCE 2.2, and impossible cells marked."""
    rows = {(row["schedule"], row["objective"]): row for row in theory.conditioning(["cosine", "linear", "flow"], 1000)}
    assert len(rows) == 3 * len(OBJECTIVES)
    assert rows["cosine", "eps"]["largest"] == pytest.approx(20291, abs=0.5)
    assert rows["linear", "eps"]["largest"] == pytest.approx(157, abs=0.5)
    assert [key for key, row in rows.items() if not row["possible"]] == [("flow", "eps"), ("flow", "score")]


def test_sampler_errors() -> None:
    """REFERENCE 2.6."""
    rows = {(row["sampler"], row["steps"]): row["variance"] for row in theory.sampler_errors("linear", 1000, (10, 50))}
    assert len(rows) == 2 * (len(SAMPLERS) - 2), "all but one whose variance is learned and one with a second time"
    assert rows["ancestral", 10] == pytest.approx(0.10422, abs=6e-6)
    assert rows["ancestral_beta", 50] == pytest.approx(0.26788, abs=6e-6)
    assert rows["ddim", 50] == rows["euler", 50] == pytest.approx(0.22270, abs=6e-6)


def test_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real page with its figures and PDF; every schedule by default, or those asked for, with options."""
    assert main(["theory", "-T", "100", "cosine", "linear_unscaled(end=0.01)", "flow", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
    for name in ("snr", "weights", "conditioning", "samplers"):
        assert (tmp_path / "figures" / f"{name}.png").is_file()
        assert f"figures/{name}.png" in text
    assert "linear\\_unscaled(end=0.01)" in text
    assert "impossible" in text
    assert "report.md" in capsys.readouterr().out


@pytest.mark.parametrize("T", [1, 2, 3, 4])
def test_a_page_of_few_diffusion_steps(T: int) -> None:
    """Fewer than the fewest sampling steps that are tried: then T steps are."""
    blocks = list(page.compose("mnist", MNIST, ["cosine", "flow"], T))
    assert [name for name, _ in draw(blocks) if name.endswith(".png")] == [
        f"figures/{name}.png" for name in ("snr", "weights", "conditioning", "samplers")
    ]
    assert blocks[-2].columns[1].title == f"S = {T}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cosin"], "did you mean 'cosine'"),
        (["cosine(z=1)"], "no option 'z'"),
        (["linear", "-T", "10"], "undefined at T=10"),
        (["--dataset", "minst"], "did you mean 'mnist'"),
    ],
)
def test_mistakes(arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, exit code 2, nothing written."""
    assert main(["theory", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
