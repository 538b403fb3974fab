"""A results folder that a stranger made: nothing in it is run, and no command has a traceback."""

from __future__ import annotations

import io
import json
import pickle
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from bench import cli
from bench.analysis.frames import Results
from bench.images.grids import png
from bench.job.run import run
from bench.report import marks
from bench.report.blocks import Gallery
from bench.report.render import RENDERERS
from bench.report.web import data
from bench.report.write import compose
from bench.store.examine import KINDS
from bench.store.records import CellRecord, ScoredCell
from bench.store.store import Store
from bench.study.study import Study
from tests.bench import made_up

if TYPE_CHECKING:
    from tests.conftest import World

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n(MARKER) (w) file closefile\nshowpage\n"


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def saved(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Bomb(marker), buffer)
    return buffer.getvalue()


def arrays(marker: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, images=np.array([Bomb(marker)]), meta=np.zeros(1, np.uint8))
    return buffer.getvalue()


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "a pickle": lambda marker: pickle.dumps(Bomb(marker)),
    "torch.save": saved,
    "arrays of objects": arrays,
    "PostScript": lambda marker: EPS.replace(b"MARKER", str(marker).encode()),
    "Python": lambda marker: f"open({str(marker)!r}, 'w')\n".encode(),
    "JSON, deep": lambda marker: b"[" * 100_000,
    "a header of 2**60 bytes": lambda marker: (2**60).to_bytes(8, "little") + b"{}",
}
MADE_AGAIN = ("a pickle", "a header of 2**60 bytes")
"""Those that a run meets too, which takes longest: one that would do something, and one that looks like weights."""


@pytest.fixture
def made(world: World, make_study: Callable[..., Study], tmp_path: Path) -> tuple[Path, Path, Study]:
    """A results folder with every kind of file, and the file of its study."""
    study = make_study(objective=["eps"], sampler=["ddim"], budget={"snapshots": 1})
    (cells,) = study.jobs.values()
    list(run(cells, world.store, device=torch.device("cpu")))
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(study.model_dump(mode="json", include={"train", "axes", "score"})))
    root = world.store.root
    for kind in KINDS:  # those that only an interrupted job has, or another engine, or an older version
        if not any(root.glob(kind.pattern)):
            (root / kind.pattern.replace("*", "0123456789abcdef")).parent.mkdir(exist_ok=True)
            (root / kind.pattern.replace("*", "0123456789abcdef")).write_bytes(b"")
    for name in (
        "compiled/kernel.py",
        "classifiers/mnist.safetensors",
        "logs/x.log",
        "sitecustomize.py",
        "conftest.py",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    return root, path, study


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_a_results_folder_is_run(
    payload: str,
    made: tuple[Path, Path, Study],
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, path, study = made
    marker, started = tmp_path / "marker", list[Any]()
    (cells,) = study.jobs.values()
    hostile = PAYLOADS[payload](marker)
    for file in root.rglob("*"):
        if file.is_file() and file.suffix != ".lock":
            file.write_bytes(hostile)
    monkeypatch.setattr("subprocess.Popen", lambda *args, **more: started.append(args))
    monkeypatch.setattr("os.system", started.append)
    monkeypatch.setattr(marks, "draw", lambda block: marks.Drawn(b"a figure", b"a figure"))
    monkeypatch.setitem(RENDERERS, "pdf", lambda blocks, path: path.write_bytes(b"set by a program of ours"))
    at = ["--results", str(root)]
    key = cells[0].key
    for argv in (
        ["plan", str(path)], ["status", str(path)], ["table", str(path)], ["query", "SELECT * FROM cells"],
        ["report", str(path)], ["compare", str(root), str(root)], ["sample", key], ["export", key],
    ):  # fmt: skip
        code = cli.main([*argv, *(at if argv[0] != "compare" else [])])
        said = capsys.readouterr()
        assert code in (0, 2), argv
        lines = [line for line in said.err.splitlines() if not line.startswith("damaged file")]
        assert len(lines) == (1 if code else 0), (argv, lines)
    if payload in MADE_AGAIN:
        world.store.damaged.clear()
        list(run(cells, world.store, device=torch.device("cpu")))
        assert isinstance(world.store.read(CellRecord, key), ScoredCell), "it is made again"
        assert world.store.damaged, "what was damaged is known"
    assert not marker.exists()
    assert not started


def header(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and ends there."""
    body = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\0\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")


PICTURES: dict[str, Callable[[bytes], bytes]] = {
    "PostScript": lambda png: EPS,
    "cut short": lambda png: png[: len(png) // 2],
    "a byte changed": lambda png: png[:60] + bytes([png[60] ^ 1]) + png[61:],
    "40,000 pixels square": lambda png: header(40_000, 40_000),
    "12,000 pixels square": lambda png: header(12_000, 12_000),
    "empty": lambda png: b"",
}


@pytest.mark.parametrize("picture", PICTURES)
def test_a_report_leaves_a_damaged_picture_out(picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it were missing, in every form; the file is named, and nothing is run."""
    store, study = Store(tmp_path), made_up.make_study(objective=["eps"], schedule=["linear"])
    made_up.fill(study, store, torch.zeros(64, 1, 28, 28, dtype=torch.uint8))
    pictures = sorted((tmp_path / "cells").glob("*.png"))
    assert pictures
    for path in pictures:
        path.write_bytes(PICTURES[picture](path.read_bytes()))
    started = list[Any]()
    monkeypatch.setattr("subprocess.Popen", lambda *args, **more: started.append(args))
    monkeypatch.setattr(data, "ROOM", 10)  # too little, so that they would be compressed
    results = Results(study, store)
    assert not any(isinstance(block, Gallery) for block in compose(results))
    found = data.data_of(results, "")
    assert found["pictures"] == found["strips"] == {}
    assert found["whole"]
    assert sorted(store.damaged) == pictures
    assert not started


def test_a_strip_of_another_shape_is_shown(tmp_path: Path) -> None:
    """It is whole, so it is no damaged file; a line of pixels is no strip, but no fault of the report."""
    store, study = Store(tmp_path), made_up.make_study(objective=["eps"], schedule=["linear"])
    made_up.fill(study, store, torch.zeros(64, 1, 28, 28, dtype=torch.uint8))
    for path in (tmp_path / "cells").glob("*.strip.png"):
        path.write_bytes(png(torch.zeros(1, 1, 3, dtype=torch.uint8)))
    assert any(isinstance(block, Gallery) and block.pictures[0].name == "denoising"
               for block in compose(Results(study, store)))  # fmt: skip


def test_the_bomb_is_one(tmp_path: Path) -> None:
    pickle.loads(PAYLOADS["a pickle"](tmp_path / "marker")).close()  # noqa: S301
    assert (tmp_path / "marker").exists()
