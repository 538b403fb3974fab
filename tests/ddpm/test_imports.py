"""The direction of imports, read from the source: the model knows nothing of the harness, and nothing goes round."""

from __future__ import annotations

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAY_IMPORT = {
    "ddpm": set(),
    "ddpm.mix": set(),
    "ddpm.spec": set(),
    "ddpm.ema": set(),
    "ddpm.muon": set(),
    "ddpm.schedule": {"ddpm.mix", "ddpm.spec"},
    "ddpm.spacing": {"ddpm.schedule", "ddpm.spec"},
    "ddpm.timestep": {"ddpm.spec"},
    "ddpm.objective": {"ddpm.mix", "ddpm.schedule", "ddpm.spec"},
    "ddpm.denoiser": {"ddpm.mix", "ddpm.schedule", "ddpm.objective"},
    "ddpm.guidance": {"ddpm.denoiser"},
    "ddpm.likelihood": {"ddpm.mix", "ddpm.schedule", "ddpm.denoiser"},
    "ddpm.sampler": {"ddpm.mix", "ddpm.spec", "ddpm.denoiser"},
    "ddpm.train": {
        "ddpm.mix",
        "ddpm.schedule",
        "ddpm.objective",
        "ddpm.denoiser",
        "ddpm.ema",
        "ddpm.guidance",
        "ddpm.likelihood",
        "ddpm.timestep",
        "ddpm.muon",
    },
    "ddpm.oracle": {"ddpm.mix", "ddpm.schedule", "ddpm.objective", "ddpm.denoiser"},
}
"""mix ← schedule, objective ← denoiser ← sampler, train. Modules not listed here need only keep out of cycles."""

NOT_IN_REPORTS = (
    "bench.job.run",
    "bench.execute.local",
    "bench.execute.run",
    "ddpm.train",
    "ddpm.nets",
    "ddpm.denoiser",
)
"""Reports read what is stored: they neither train nor sample nor run jobs."""


def sources(*packages: str) -> list[Path]:
    """Every Python file of the named packages, relative to the checkout."""
    return sorted(path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    """ddpm/nets/unet.py → ddpm.nets.unet; a package's __init__ has the package's name."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, lazy: bool = True) -> set[str]:
    """Full names a file imports, relative ones resolved; ``from a import b`` counts as a.b where that is a module.

    :param lazy: also those inside functions, which run later. Those for type checkers only never run and are left out.
    """
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()

    def add(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                stem = ".".join(parents[: len(parents) - node.level + 1])
                base = f"{stem}.{base}" if base else stem
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                is_module = (ROOT / inner.replace(".", "/")).is_dir() or (
                    ROOT / f"{inner.replace('.', '/')}.py"
                ).exists()
                found.add(inner if is_module else base)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for statement in node.orelse:
                add(statement)
            return
        if not lazy and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        for child in ast.iter_child_nodes(node):
            add(child)

    add(ast.parse((ROOT / path).read_text(encoding="utf-8")))
    return found


def inside(name: str, package: str) -> bool:
    """Whether a module is the package or part of it."""
    return name == package or name.startswith(f"{package}.")


def test_the_walk_sees_something() -> None:
    """A guard for the tests below: files are found, and a known import is read."""
    assert Path("ddpm/mix.py") in sources("ddpm")
    assert {"ddpm.mix", "ddpm.objective", "torch"} <= imported(Path("ddpm/denoiser.py"))


@pytest.mark.parametrize("path", sources("ddpm"), ids=str)
def test_the_model_stands_alone(path: Path) -> None:
    """ddpm imports torch, numpy, the standard library and itself, never bench, not even inside a function."""
    roots = {name.partition(".")[0] for name in imported(path)}
    assert roots - set(sys.stdlib_module_names) <= {"torch", "numpy", "ddpm"}


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_direction_within_the_model(module: str) -> None:
    """Each module builds only on those before it."""
    path = Path(f"{module.replace('.', '/')}.py") if module != "ddpm" else Path("ddpm/__init__.py")
    own = {name for name in imported(path) if inside(name, "ddpm")}
    assert own <= MAY_IMPORT[module]


def test_networks_know_nothing_of_diffusion() -> None:
    """ddpm.nets imports ddpm.nets only, and how names carry options."""
    for path in sources("ddpm/nets"):
        own = {name for name in imported(path) if inside(name, "ddpm")}
        assert all(inside(name, "ddpm.nets") or inside(name, "ddpm.spec") for name in own)


@pytest.mark.parametrize("package", ["ddpm", "bench"])
def test_no_cycles(package: str) -> None:
    """Modules of a package, at import time, form no circle."""
    graph: dict[str, set[str]] = {}
    for path in sources(package):
        name = module_name(path)
        graph[name] = {other for other in imported(path, lazy=False) if inside(other, package) and other != name}
    for name, others in graph.items():  # a package's __init__ importing its own submodules is how packages are made
        if any(inside(other, name) for other in graph if other != name):
            graph[name] = {other for other in others if not inside(other, name)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@pytest.mark.parametrize("package", ["ddpm", "bench"])
def test_nothing_imports_tests(package: str) -> None:
    """Code does not depend on its tests, nor on the suites that time it."""
    for path in sources(package):
        assert not {name for name in imported(path) if inside(name, "tests") or inside(name, "perf")}, path


def report_sources() -> list[Path]:
    """The files of bench.report, a package or one module."""
    paths = [path for path in sources("bench") if inside(module_name(path), "bench.report")]
    if not paths:
        pytest.skip("there is no bench.report yet")
    return paths


def test_reports_only_read() -> None:
    """Nothing under bench/report imports what trains, samples or runs jobs, even inside a function."""
    for path in report_sources():
        wrong = {name for name in imported(path) for banned in NOT_IN_REPORTS if inside(name, banned)}
        assert not wrong, f"{path} imports {sorted(wrong)}"


def test_reports_open_without_torch() -> None:
    """Importing bench.report, and all that it imports in turn, loads no torch: what needs it is imported where used."""
    files = {module_name(path): path for path in sources("bench", "ddpm")}
    waiting, reached = [module_name(path) for path in report_sources()], {}
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = imported(files[name], lazy=False)
            waiting += [other for other in reached[name] if other in files]
    loads = {name for name, others in reached.items() if any(inside(other, "torch") for other in others)}
    assert not loads, f"reached from bench.report: {sorted(loads)}"
