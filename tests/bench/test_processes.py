"""The variables that processes run with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.execute import processes
from bench.paths import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is started again")


def test_a_process_starts_again_with_the_variables_and_its_arguments(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from bench.execute import processes\n"
        "print('here', flush=True)\n"
        "processes.start_again()\n"
        "print(sys.argv[1:], [os.environ[name] for name in processes.VARIABLES])\n"
    )
    plain = {k: v for k, v in os.environ.items() if k not in processes.VARIABLES} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script, "--a", "b c"], env=plain, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "here",
        "here",
        str(["--a", "b c"]) + " " + str([*processes.VARIABLES.values()]),
    ]
    given = plain | dict.fromkeys(processes.VARIABLES, "0")
    done = subprocess.run([sys.executable, script], env=given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["here", "[] ['0', '0']"], "what the user has set stays"
