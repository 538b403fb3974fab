"""Writing files whole or not at all."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from bench import files
from bench.errors import UserError


def test_hosts_with_one_process_number_do_not_share_a_temporary_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do two writers in one process; and any name that a file may have leaves room for the rest."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    names = set()
    for host in ("alpha", "beta.example", "../odd host/"):
        monkeypatch.setattr(platform, "node", lambda host=host: host)
        names |= {files.temporary_name("k.json") for _ in range(2)}
    assert len(names) == 6
    assert all("/" not in name and name.startswith(".k.json.") for name in names)
    assert sum("alpha" in name for name in names) == 2
    assert len(files.temporary_name("ε" * 127).encode()) <= 255


def test_a_file_is_written_where_its_folder_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / ("n" * 250 + ".json")
    files.write_text(path, "ε\n")
    assert path.read_bytes() == "ε\n".encode()
    files.write_bytes(path, b"2", durable=False)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == b"2"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """It names the folder that the caller means."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"cannot write to folder .*file/x: Not a directory"):
        files.write_text(tmp_path / "file" / "x" / "y.json", "")
    with pytest.raises(UserError, match="cannot write to folder results: Not a directory"):
        files.check_writable(tmp_path / "file" / "x", Path("results"))
    files.check_writable(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
