"""``python -m perf.gpu``: the command."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.execute import processes

if TYPE_CHECKING:
    import torch

    from perf.gpu.record import File, Run


def age() -> float:
    """Seconds since this process was started; 0 where the system does not tell."""
    try:
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        return max(0.0, uptime - float(started) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


BEGAN = time.monotonic() - age()
"""Starting Python, torch and the device counts too."""
RESERVE_S = 5.0
"""Kept for ending: the last section may overrun its time by as long as one call of a library takes."""
LEAST_MINUTES = 0.1
SAME = ("gpu", "processor", "machine", "torch", "commit", "dirty", "code")
"""What two runs of sections must share to stand in one file."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m perf.gpu",
        description="Measure everything worth knowing of a GPU, the most valuable first. Each measurement is kept at "
        "once, so that a run which is cut off loses only what it had not reached.",
    )
    made.add_argument("--device", default="cuda", help="cuda (default), cuda:1, …; cpu only tries the command out")
    made.add_argument("--minutes", type=float, default=8.0, help="when it must have ended (default 8)")
    made.add_argument("--sections", help="only these, separated by commas; the others stay as they are in the file")
    made.add_argument(
        "--out", type=Path, help="folder of the result (default results/perf; of a try-out results/local/perf)"
    )
    made.add_argument("--commit", help="of the code, where it is not a git checkout")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; 2 for a user's mistake, 130 after an interrupt. What fails within a section is only recorded."""
    args = parser().parse_args(argv)
    try:
        path = run(args)
    except UserError as error:
        print(f"perf.gpu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nperf.gpu: interrupted; what was measured is kept", file=sys.stderr)
        return 130
    print(path)
    return 0


def run(args: argparse.Namespace) -> Path:
    """Run what was asked for, and return where the result is.

    :raises UserError: for a mistake in the options, or a folder that cannot be written.
    """
    if not (math.isfinite(args.minutes) and args.minutes >= LEAST_MINUTES):
        raise UserError(f"--minutes must be a number of at least {LEAST_MINUTES}, not {args.minutes:g}")
    if not _importable("pydantic"):
        raise UserError("pydantic is not installed: docs/gpu.md says which wheels to bring")
    from bench.machine import devices
    from perf.gpu.budget import Budget
    from perf.gpu.record import writable
    from perf.gpu.sections import measure
    from perf.gpu.session import SIZES, SMALL, Session

    names = chosen(args.sections)
    device = devices.pick_device(args.device)
    folder = args.out or default_folder(device)
    writable(folder)
    file = open_file(folder, device, args, names)
    file.start()
    print(f"{file.path}: {', '.join(names)}; {args.minutes:g} minutes", flush=True)
    _warm(device)
    with tempfile.TemporaryDirectory(prefix="perf-gpu-", ignore_cleanup_errors=True) as scratch:
        session = Session(
            device=device,
            sizes=SIZES.get(device.type, SMALL),
            file=file,
            budget=Budget(BEGAN + 60 * args.minutes - RESERVE_S),
            scratch=Path(scratch),
        )
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(scratch) / "compiled")  # compiling is timed: from nothing
        measure(session, names, lambda text: print(text, flush=True))
    return file.path


def _warm(device: torch.device) -> None:
    """Import what the first training step and the first compiled network would otherwise be timed with."""
    import torch._dynamo

    if device.type == "cuda":
        import torch._inductor.compile_fx  # noqa: F401


def _importable(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def chosen(text: str | None) -> list[str]:
    """The sections asked for, in the table's order.

    :raises UserError: for a name that is none.
    """
    from bench.errors import unknown
    from perf.gpu.sections import SECTIONS

    wanted = list(SECTIONS) if text is None else [name.strip() for name in text.split(",")]
    for name in wanted:
        if name not in SECTIONS:
            raise unknown("section", name, SECTIONS)
    return [name for name in SECTIONS if name in wanted]


def default_folder(device: torch.device) -> Path:
    """Where results go: those of a try-out without a GPU not among the measurements."""
    from bench.paths import LOCAL
    from perf.record import FOLDER

    return LOCAL / "perf" if device.type == "cpu" else FOLDER


def card_name(device: torch.device) -> str:
    """``gpu-<card>``: the name of the device in lower case, with dashes."""
    from bench.machine import provenance

    name = provenance.environment(device).gpu or device.type
    return f"gpu-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"


def open_file(folder: Path, device: torch.device, args: argparse.Namespace, names: Sequence[str]) -> File:
    """The file of this run, nothing reached yet; what else the same code measured on the same card stays."""
    from perf import record
    from perf.gpu.record import File, Run, Section, read
    from perf.gpu.sections import SECTIONS
    from perf.gpu.session import Session

    name = card_name(device)
    about = record.about(name, device)
    about["environment"] = about["environment"] | {"commit": about["environment"]["commit"] or args.commit}
    sections = [Section(name=key, title=plan.title) for key, plan in SECTIONS.items()]
    made = Run(**about, device=str(device), minutes=args.minutes, seed=Session.seed, sections=sections)
    path = folder / f"{name}.json"
    before = read(path)
    if args.sections and before is not None and _same(before, made):
        kept = {section.name: section for section in before.sections if section.name not in names}
        made.sections = [kept.get(section.name, section) for section in sections]
    return File(path, made)


def _same(before: Run, now: Run) -> bool:
    return all(before.environment.get(name) == now.environment.get(name) for name in SAME)


if __name__ == "__main__":
    processes.start_again()
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # all is written, and to take down what was loaded would take seconds of the time
