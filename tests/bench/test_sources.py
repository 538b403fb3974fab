"""Which code a number comes from."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from bench.machine import sources


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small package in place of bench and ddpm; nothing is remembered between two questions."""
    files = {
        "bench/__init__.py": "",
        "bench/job.py": "from bench import score\nfrom ddpm.mix import mix\n",
        "bench/score.py": "def fid():\n    from bench.kernel import kernel\n    return kernel()\n",
        "bench/kernel.py": "def kernel():\n    return 1\n",
        "bench/report.py": "import bench.job\n",
        "ddpm/__init__.py": "",
        "ddpm/mix.py": "from .table import T\nmix = T\n",
        "ddpm/table.py": "T = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def source_of(name: str) -> Path | None:
        path = tmp_path.joinpath(*name.split("."))
        return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)

    monkeypatch.setattr(sources, "source_of", source_of)
    return tmp_path


def hashed(root: str = "bench.job") -> str:
    sources.code_hash.cache_clear()
    try:
        return sources.code_hash(root)
    finally:
        sources.code_hash.cache_clear()


def test_the_closure_follows_every_import(tree: Path) -> None:
    """Those inside functions and relative ones too; what imports the root is not part of it."""
    names = {name for name in sources.closure(["bench.job"]) if name not in ("bench", "ddpm")}
    assert names == {"bench.job", "bench.score", "bench.kernel", "ddpm.mix", "ddpm.table"}


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("bench/kernel.py", "def kernel():\n    return 2\n", True),
        ("ddpm/table.py", "T = 2\n", True),
        (
            "bench/kernel.py",
            '"""New words."""\n\n\ndef kernel():\n    # why\n    """And here."""\n    return (1)\n',
            False,
        ),
        (
            "ddpm/table.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bench.report\nT = 1\n",
            True,  # an import that runs
        ),
        ("bench/report.py", "import bench.job\nx = 1\n", False),
    ],
)
def test_what_changes_the_hash(tree: Path, name: str, text: str, counts: bool) -> None:
    before = hashed()
    (tree / name).write_text(text)
    assert (hashed() != before) is counts


def test_what_type_checkers_import_is_not_followed(tree: Path) -> None:
    (tree / "ddpm/table.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import bench.report\nT = 1\n"
    )
    assert "bench.report" not in sources.closure(["bench.job"])


def test_a_memo_that_is_damaged_is_made_again(tree: Path) -> None:
    before = hashed()
    (memo,) = (tree / "cache").rglob("*.json")
    memo.write_text("{")
    assert hashed() == before


def test_the_canonical_text_knows_no_positions() -> None:
    one, other = (sources.canonical(ast.parse(text)) for text in ("f(a,  b)", "f(\n  a,\n  b,\n)"))
    assert one == other != sources.canonical(ast.parse("f(b, a)"))


def test_everything_that_a_cell_needs_counts() -> None:
    """The list is not kept by hand; these are here so that a mistake in the walk is seen."""
    found = sources.closure([sources.CELL])
    assert {"bench.score.metrics", "bench.score.heldout", "bench.score.scorer", "bench.job.engine", "ddpm.sampler",
            "ddpm.nets.unet", "bench.images.datasets"} <= found.keys()  # fmt: skip
    assert not {name for name in found if name.startswith(("bench.report", "bench.cli", "bench.analysis"))}
