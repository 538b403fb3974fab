"""What the command refuses: one line, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cli


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line with which the command refuses these arguments."""
    try:
        code = cli.main(list(argv))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 2
    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["plan", "quik"], "did you mean 'quick'"),
        (["plan", "none.yaml"], "no study file"),
        (["table", "smoke", "--results", "/none"], "no results folder"),
        (["run", "smoke", "--device", "gpu"], "unknown device 'gpu'"),
        (["run", "smoke", "--workers", "0"], "positive"),
        (["run", "smoke", "--workers", "many"], "or auto, not 'many'"),
        (["score", "/none"], "no such file"),
        (["score", ".", "--dataset", "mnits"], "did you mean 'mnist'"),
        (["classifier", "--dataset", "x"], "choices: mnist"),
        (["sample", "zzzz"], "no cell"),
        (["sample", "**"], "no cell"),
        (["sample", "/x"], "no cell"),
        (["plan", "a" * 300], "too long"),
        (["check", "nightly", "--update-baseline", "--seeds", "2", "--why", "x"], "3 seeds"),
        (["check", "nightly", "--update-baseline"], "needs --why"),
        (["check", "change", "--update-baseline", "--why", " "], "needs --why"),
        (["check", "nightly", "--baseline", "/"], "Is a directory: '/'"),
        (["check", "--baseline", "/nonexistent"], "no baseline"),
        (["check", "smoke"], "unknown choice 'smoke' (choices: change, nightly, promotion)"),
        (["check", "nightly", "--only", "ddim"], "--only is for"),
        (["check", "--update-baseline", "--why", "x", "--network", "abc"], "no weights of a training run abc"),
        (["classifier", "--out", "/"], "names a folder"),
        (["classifier", "together"], "made of others: retrain classifier, texture and mixer"),
        (["classifier", "--out", "/proc/none/x.safetensors"], "cannot write to folder /proc/none"),
        (["run", "smoke", "--results", "/proc/none"], "cannot write to folder /proc/none"),
        (["sample", "zzzz", "--out", "x.jpg"], "must end in .png or .npz"),
        (["check", "nightly", "--baseline", "/nonexistent.json"], "no baseline"),
        (["tabel"], "unknown command 'tabel'; did you mean 'table'?"),
        (["plann"], "did you mean 'plan'?"),
        (["table", "--format", "cvs"], "did you mean 'csv'?"),
        (["plan", "quick", "--wrong"], "unknown arguments: --wrong (see ddpm-bench plan --help)"),
        (["plan", "quick.yaml"], "no study file quick.yaml; did you mean the study 'quick'?"),
        (["plan", "nosuch"], "unknown study 'nosuch' (choices: "),
        (["run", "smoke", "--engine", "fast"], "unknown engine 'fast' (choices: auto, "),
        (["doctor", "--results", "/none"], "no results folder /none"),
        ([], "required"),
    ],
)
def test_mistakes_get_one_line(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert says in refused(capsys, *argv)


@pytest.mark.parametrize("command", [["history"], ["compare", "a", "b"]])
def test_a_page_replaces_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """The study of `--html my-study.yaml` is taken for the page's file."""
    study = tmp_path / "my-study.yaml"
    study.write_text("name: mine")
    assert f"must end in .html, not '{study}'" in refused(capsys, *command, "--html", str(study))
    assert study.read_text() == "name: mine"


@pytest.mark.parametrize("command", ["report", "open"])
def test_a_report_needs_results(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Else a page without numbers would be written."""
    said = refused(capsys, command, "smoke", "--results", str(tmp_path))
    assert said.startswith("ddpm-bench: no results of smoke in ")
    assert "`ddpm-bench run smoke` makes some" in said
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "cannot write" in refused(capsys, "run", "smoke", "--results", str(tmp_path / "file"))


def test_without_a_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["plan", "quick"]) == 2
    assert capsys.readouterr().err == "ddpm-bench: the working directory was deleted: change to one that exists\n"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")]
)
def test_without_enough_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def run(args: object) -> int:
        raise error

    monkeypatch.setattr("bench.cli.plan.run", run)
    assert cli.main(["plan", "quick"]) == 2
    assert capsys.readouterr().err.startswith("ddpm-bench: out of memory")


def test_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(args: object) -> int:
        raise RuntimeError("a bug")

    monkeypatch.setattr("bench.cli.plan.run", run)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["plan", "quick"])
