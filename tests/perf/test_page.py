"""The page shows what there is, tolerates what there is not, and says whether the bars are met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.report.blocks import Figure, Gallery, Heading, Text
from bench.report.render import markdown
from perf import page, peers_page
from perf.record import FOLDER, claim, load

ABOUT = {
    "command": "python -m perf.something",
    "created": "2026-01-02T03:04:05+00:00",
    "environment": {"gpu": None, "processor": "A Processor", "cores": 2, "threads": 2, "torch": "2.x",
                    "commit": "c0ffee" * 7, "dirty": False},
}  # fmt: skip


def _work(name: str, amount: float, seconds: list[float], images: int = 0, unit: str = "FLOP") -> dict[str, Any]:
    rate = amount / seconds[0]
    return {
        "name": name,
        "unit": f"{unit}/s",
        "amount": amount,
        "images": images,
        "rate": rate,
        "share": rate / 1e11 if unit == "FLOP" else None,
        "images_per_s": images / seconds[0] if images else None,
        "seconds": seconds,
    }


def roofline() -> dict[str, Any]:
    works = [
        _work("conv3x3 64 float32", 1e10, [0.1, 0.11]),
        _work("conv3x3 64 bfloat16", 2e10, [0.1, 0.11]),
        _work("copy", 1e9, [0.05, 0.06], unit="B"),
        _work("unet training", 6.1e9, [0.1, 0.1], 128),
        _work("unet sampling", 5e9, [0.1, 0.12], 2000),
    ]
    bars = [
        claim("unet training, share", "≥ 60%", "61%", True),
        claim("unet sampling, share", "≥ 70%", "50%", False),
    ]
    about = {"yardstick": "conv3x3 64 float32", "batch_size": 128, "sample_steps": 20}
    return ABOUT | about | {"works": works, "claims": bars}


def peers() -> dict[str, Any]:
    contenders = [
        {"id": "ours", "library": "ours", "role": "ours", "label": "unet"},
        {"id": "diffusers/best", "library": "diffusers", "role": "best", "label": "16/32"},
        {"id": "diffusers/documented", "library": "diffusers", "role": "documented", "label": "128/512"},
    ]

    def run(name: str, *points: tuple[float, float | None]) -> dict[str, Any]:
        return {"id": name, "snapshots": [{"train_s": t, "fid": fid} for t, fid in points]}

    return ABOUT | {
        "setup": {"target": 1 / 230, "evaluations": 50},
        "bounds": {"100": {"floor": 1.0, "ceiling": 2300.0, "target": 10.0}},
        "contenders": contenders,
        "search": [
            {"library": "diffusers", "label": "16/32", "recipe": {"lr": 1e-3}, "params": 12345, "train_s": 60.0,
             "steps": 99, "fid": 200.0, "chosen": True},
        ],
        "rates": [
            {"id": one["id"], "batch_size": 64, "train_step_s": [0.1, 0.2], "train_images_per_s": 420.0,
             "sample_s": [1.0, 1.1], "sample_image_steps_per_s": 990.0}
            for one in contenders
        ],
        "runs": [
            run("ours", (30.0, 20.0), (60.0, 8.0), (300.0, 3.0)),
            run("diffusers/best", (30.0, 900.0), (300.0, 60.0)),
            run("diffusers/documented", (300.0, None)),
        ],
        "equal_time": [
            {"id": "diffusers/best", "train_s": 300.0, "n": 100, "fid": 60.0, "ours_at_n": 3.0, "ratio": 20.0},
            {"id": "diffusers/documented", "train_s": 300.0, "n": 100, "fid": None, "ours_at_n": 3.0, "ratio": None},
        ],
        "time_to_target": [
            {"id": "ours", "seconds": 60.0, "missed": False, "budget_s": 300.0, "ratio": 1.0},
            {"id": "diffusers/best", "seconds": 240.0, "missed": False, "budget_s": 300.0, "ratio": 4.0},
            {"id": "diffusers/documented", "seconds": None, "missed": True, "budget_s": 600.0, "ratio": 10.0},
        ],
        "equal_network": {"label": "unet", "batch": 100, "steps": 50, "n": 100, "ours_s": [1.0, 1.2],
                          "diffusers_s": [2.0, 2.2], "ours_image_steps_per_s": 5000.0,
                          "diffusers_image_steps_per_s": 2500.0, "ratio": 2.0, "fid_n": 100, "ours_fid": 3.0,
                          "diffusers_fid": 3.1},
    }  # fmt: skip


def scorenet() -> dict[str, Any]:
    return ABOUT | {
        "chunk": 2,
        "seconds_a_step": {"ours": [0.9, 0.2, 0.22], "plain": [0.9, 0.4, 0.44], "convolutions": [0.9, 0.1, 0.14]},
        "losses": {"ours": [1.0] * 6, "plain": [1.0] * 6},
        "ratio": 0.5,
        "ratios": [0.5, 0.5],
        "convolutions_ratio": 0.3,
        "max_relative_difference": 1e-6,
        "claims": [claim("ScoreNet's step", "≤ 0.6", "0.500", True)],
    }


FOUND = {
    "peers": peers(),
    "quality": ABOUT | {"rows": [{"net": "unet", "seed": 0, "fid": 2.2}, {"net": "u_n*et", "seed": 1, "extra": True}]},
    "roofline": roofline(),
    "scorenet": scorenet(),
}


def test_everything_is_shown() -> None:
    blocks = list(page.compose(FOUND))
    text = markdown.source(blocks)
    figures = [block for block in blocks if isinstance(block, Figure)]
    assert [figure.name for figure in figures] == ["roofline", "peers"]
    assert all(len(frame) for figure in figures for frame in figure.data.values())
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == [
        "Share of the machine",
        "ScoreNet against its plain form",
        "Against the peers",
        "Quality",
        "On a GPU",
    ]
    assert "| unet training, share | ≥ 60% | 61% | yes | roofline |" in text
    assert "| unet sampling, share | ≥ 70% | 50% | **no** | roofline |" in text
    assert "rate (`conv3x3 64 bfloat16`), unet training has 30% and unet sampling has 25%." in text
    assert "| u\\_n\\*et | 1 | – | yes |" in text
    assert "∞" in text
    assert "\\> 10.0×" in text
    assert "0.500× to 4.00×" in text


def test_the_peers_bars_follow_from_the_measurement() -> None:
    made = [(one["bar"], one["measured"], one["met"]) for one in peers_page.claims(peers())]
    assert made == [
        ("≥ 10×", "20.0×", True),
        ("≥ 5×", "0.500× to 4.00×", False),
        ("≥ 10×", "> 10.0×", True),
        ("≥ 1.5×", "2.00×", True),
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_a_sentence_says_what_each_table_is(name: str) -> None:
    if name in page.ELSEWHERE:
        return
    blocks = list(page.compose({name: load(FOLDER)[name]}))
    title = next(at for at, block in enumerate(blocks) if isinstance(block, Heading) and block.level == 2)
    assert isinstance(blocks[title + 1], (Text, Figure))


def test_emulated_bfloat16_is_no_yardstick() -> None:
    slow = roofline()
    slow["works"][1] = _work("conv3x3 64 bfloat16", 1e9, [0.1, 0.11])
    said = markdown.source(page.roofline(slow))
    assert "This machine emulates bfloat16" in said
    assert "unet training has" not in said


def test_what_convolutions_alone_would_reach() -> None:
    """Half of the work at a share of 50%, the other half at 25%: together a third."""
    made = roofline()
    made["works"] += [
        _work("unet convolutions, outputs", 5e9, [0.1, 0.1], 128),
        _work("unet convolutions, gradients of weights", 5e9, [0.2, 0.2], 128),
    ]
    said = markdown.source(page.roofline(made))
    assert "50% in outputs, 25% in gradients of weights" in said
    assert "nothing else would have 33%" in said


def test_a_training_step_in_parts() -> None:
    made = roofline() | {
        "step": {
            "entry": "unet-v", "batch_size": 64,
            "seconds": {"forward": [0.01, 0.02, 0.03], "the rest": [0.01, 0.01, 0.01]},
            "operators": {"group norm": 0.125},
        }
    }  # fmt: skip
    said = markdown.source(page.roofline(made))
    assert "| forward | 20.0 | 67% | 10.0–30.0 |" in said
    assert "| the whole step | 30.0 | 100% | 20.0–40.0 |" in said
    assert "| all group norm | – | 12% | – |" in said


def test_what_is_no_trial_any_more_is_not_shown() -> None:
    kept = load()["search"]
    row = kept["rows"][0] | {"trial": "base", "images": 6400}
    made = kept | {"rows": [row, row | {"trial": "EMA 0.99"}], "n": 1234}
    said = markdown.source(page.compose({"search": made}))
    assert "EMA" not in said
    assert "of 1,234 samples" in said
    assert "limits are for 5,000 samples" in said
    assert f"After the 100 steps of `base`, an update keeps {101 / 110:.3f} of" in said


def test_a_commit_is_shown_short() -> None:
    shown = markdown.source(page.plain({"rows": [{"commit": "0123456789" * 4, "key": "0123456789abcdef"}]}))
    assert "| 012345678901 | 0123456789abcdef |" in shown


@pytest.mark.parametrize("name", FOUND)
def test_each_measurement_alone(name: str) -> None:
    assert markdown.source(page.compose({name: FOUND[name]})).count("\n## ") == 2  # and that no GPU was measured


def test_the_files_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    results.mkdir()
    assert page.main(["--results", str(results), "--out", str(out)]) == 2
    assert "make perf" in capsys.readouterr().err
    for name, record in FOUND.items():
        (results / f"{name}.json").write_text(json.dumps(record))
    assert page.main(["--results", str(results), "--out", str(out)]) == 0
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "figures/peers.png" in (out / "report.md").read_text()


# On a GPU


def gpu_run() -> dict[str, Any]:
    """A file of perf.gpu, some of it not reached, with two pictures."""
    about = {"gpu": "A Card 80GB", "driver": "580.1", "cuda": "13.0"}
    row = {
        "name": "unet, batch 128, eager",
        "found": {"step_s": 0.005, "kernels": 500.0, "idle": 0.25, "peak_mb": None},
    }
    late = {"name": "unet, batch 128, graphs", "status": "failed", "reason": "crashed: no | compiler"}
    drawn = [
        {"name": f"demo, {objective}", "at": {"objective": objective, "T": 50, "clip": "False"},
         "found": {"fid": 40.5, "epochs": 7, "picture": f"gpu-a-card/{objective}.png"}}
        for objective in ("previous", "eps")
    ]  # fmt: skip
    sections = [
        {
            "name": "unet",
            "title": "A training step",
            "status": "cut off",
            "reason": "its time was over",
            "rows": [row, late],
        },
        {"name": "scoring", "title": "Scoring", "status": "not reached", "reason": "no time was left"},
        {"name": "demo", "title": "The demo", "status": "done", "rows": drawn},
    ]
    made = ABOUT | {"environment": ABOUT["environment"] | about}  # type: ignore[operator]
    return made | {"name": "gpu-a-card", "device": "cuda", "minutes": 8.0, "seed": 0, "sections": sections}


def test_a_gpu_that_was_measured(tmp_path: Path) -> None:
    """Figures in their units, what is missing with its reason, and the demo's samples side by side."""
    (tmp_path / "gpu-a-card").mkdir()
    for i, objective in enumerate(("previous", "eps")):
        Image.new("L", (20, 20), 50 * i).save(tmp_path / "gpu-a-card" / f"{objective}.png")
    blocks = list(page.compose(FOUND | {"gpu-a-card": gpu_run()}, tmp_path))
    text = markdown.source(blocks)
    assert "## On a GPU: A Card 80GB\n" in text
    assert "nobody" not in text.lower()
    assert "| unet, batch 128, eager | 5.00 | 500 | 25.0% |" in text
    assert "*cut off: its time was over.*" in text
    assert "*not reached: no time was left.*" in text
    assert "- unet, batch 128, graphs: failed, crashed: no \\| compiler" in text
    (gallery,) = (block for block in blocks if isinstance(block, Gallery))
    assert [picture.name for picture in gallery.pictures if picture] == ["gpu-a-card-T50-1", "gpu-a-card-T50-2"]
    assert [picture.title for picture in gallery.pictures if picture] == [("previous, unclipped",), ("eps, unclipped",)]
    assert "Samples at T = 50." in text


def test_without_a_gpu_it_says_that_nobody_has_measured_it() -> None:
    text = markdown.source(page.compose(FOUND))
    assert text.count("## On a GPU\n") == 1
    assert "Nobody has measured it yet" in text


def test_a_file_that_is_none_of_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gpu-x.json").write_text(json.dumps(ABOUT))
    assert page.main(["--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "gpu-x.json is not a file of `python -m perf.gpu`" in capsys.readouterr().err


def test_the_headline_sees_noise_and_ranks_as_others_do() -> None:
    """By the committed record: noise of 16 grey levels is ten times the scatter away; the page says what is missed."""
    kept = load()["outside"]
    assert kept["noise_16"]["fid"] >= 10
    made = markdown.source(list(page.compose({"outside": kept})))
    for other, value in kept["correlation"]["fid"].items():
        assert (
            f"| rank correlation of fid with {other} | ≥ 0.97 | {value:.3f} | {'yes' if value >= 0.97 else '**no**'} |"
            in made
        )
