"""What a command takes is measured as its own."""

from __future__ import annotations

from perf import scale


def test_a_commands_memory_is_not_that_of_who_starts_it() -> None:
    """The test has PyTorch in its process, which takes hundreds of MB; the help needs nothing."""
    found = scale.measure(["--help"])
    assert found["exit_code"] == 0
    assert found["bytes"] > 100
    assert 0 < found["seconds"] < 60
    assert 1 < found["peak_rss_mb"] < 100


def test_the_exit_code_of_a_command_is_kept() -> None:
    assert scale.measure(["plan", "--no-such-option"])["exit_code"] == 2
