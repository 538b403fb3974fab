"""What is kept in git."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 40 * 2**20
"""Bytes. With the 11 MB of wheels that a machine without a network needs beside it, a clone must fit in 60 MB."""


def test_the_tracked_files_are_small() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if found.returncode:
        pytest.skip("git cannot list the files")
    files = [ROOT / name for name in found.stdout.decode().split("\0") if name]
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in files if path.is_file()}
    total = sum(sizes.values())
    largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:10]
    assert total <= MOST, f"{total / 1e6:.1f} MB; the largest are {', '.join(largest)}"


def test_actions_are_pinned_by_hash() -> None:
    """A tag can be moved to other code."""
    used = [
        line.partition("uses:")[2].split()
        for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    assert used
    for name, *comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", name), f"{name}: by its tag, not its hash"
        assert re.fullmatch(r"# v[\d.]+", " ".join(comment)), f"{name}: which version is that?"
