"""The layout, read from the source: what may import what, no circles, no private names from outside, nothing too long.

Every rule is a function of source text, and has a test on a made-up text that breaks it.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("bench", "ddpm", "perf")

LAYERS: tuple[set[str], ...] = (
    {"errors", "paths", "text"},
    {"files", "rows"},
    {"images", "machine"},
    {"study"},
    {"store"},
    {"score"},
    {"job"},
    {"execute"},
    {"sinks", "analysis"},
    {"gate", "report", "race"},
    {"theory"},
    {"cli", "docs", "facts", "site"},
)
"""The parts of ``bench``, lowest first. A part imports itself and lower layers, never its own layer or a higher one."""

MAY_IMPORT = {
    "ddpm": set(),
    "ddpm.precision": set(),
    "ddpm.mix": {"ddpm.precision"},
    "ddpm.bounds": set(),
    "ddpm.spec": {"ddpm.bounds"},
    "ddpm.ema": {"ddpm.precision"},
    "ddpm.muon": set(),
    "ddpm.schedule": {"ddpm.bounds", "ddpm.mix", "ddpm.spec"},
    "ddpm.spacing": {"ddpm.bounds", "ddpm.schedule", "ddpm.spec"},
    "ddpm.timestep": {"ddpm.bounds", "ddpm.precision", "ddpm.spec"},
    "ddpm.objective": {"ddpm.bounds", "ddpm.mix", "ddpm.schedule", "ddpm.spec"},
    "ddpm.denoiser": {"ddpm.mix", "ddpm.schedule", "ddpm.objective", "ddpm.spec"},
    "ddpm.guidance": {"ddpm.denoiser"},
    "ddpm.likelihood": {"ddpm.mix", "ddpm.precision", "ddpm.schedule", "ddpm.denoiser"},
    "ddpm.sampler": {"ddpm.bounds", "ddpm.mix", "ddpm.spec", "ddpm.denoiser"},
    "ddpm.batch": {"ddpm.denoiser", "ddpm.guidance", "ddpm.mix", "ddpm.precision", "ddpm.schedule"},
    "ddpm.teach": {"ddpm.bounds", "ddpm.batch", "ddpm.sampler", "ddpm.spacing", "ddpm.spec"},
    "ddpm.train": {
        "ddpm.batch",
        "ddpm.mix",
        "ddpm.schedule",
        "ddpm.objective",
        "ddpm.denoiser",
        "ddpm.ema",
        "ddpm.guidance",
        "ddpm.likelihood",
        "ddpm.timestep",
        "ddpm.muon",
        "ddpm.spec",
        "ddpm.teach",
    },
    "ddpm.oracle": {"ddpm.mix", "ddpm.precision", "ddpm.schedule", "ddpm.objective", "ddpm.denoiser", "ddpm.spec"},
    "ddpm.base": {
        "ddpm.bounds",
        "ddpm.denoiser",
        "ddpm.mix",
        "ddpm.nets",
        "ddpm.objective",
        "ddpm.precision",
        "ddpm.schedule",
        "ddpm.spec",
    },
    "ddpm.nets": {"ddpm.nets.dit", "ddpm.nets.scorenet", "ddpm.nets.unet", "ddpm.spec"},
    "ddpm.nets.attention": set(),
    "ddpm.nets.dit": {"ddpm.bounds", "ddpm.nets.attention", "ddpm.nets.waves"},
    "ddpm.nets.scorenet": set(),
    "ddpm.nets.unet": {"ddpm.bounds", "ddpm.nets.attention", "ddpm.nets.waves"},
    "ddpm.nets.waves": set(),
}
"""Every module of the model, and all that it may import of the others: mix ← schedule, objective ← denoiser ← sampler,
train. Networks know nothing of diffusion."""

NOT_IN_REPORTS = ("bench.job", "bench.execute", "bench.sinks", "ddpm.train", "ddpm.nets", "ddpm.denoiser")
"""Reports read what is stored: they neither train nor sample nor run jobs."""

LONGEST_FUNCTION, LONGEST_FILE = 50, 400

# What breaks a rule today. These lists only get shorter: an entry that is no longer needed fails its test too.

READ_BY_REPORTS = {"bench.job.generate"}
UPWARDS: set[tuple[str, str]] = set()
LONG_FUNCTIONS: dict[str, int] = {}
LONG_FILES: set[str] = set()

PUBLIC_UNDERSCORES = {"_replace", "_asdict", "_fields", "_make"}
"""Of named tuples: not private, in spite of their names."""


# reading the source


def module_name(path: Path) -> str:
    """ddpm/nets/unet.py → ddpm.nets.unet; a package's __init__ has the package's name."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def files() -> Mapping[str, Path]:
    """Module name → file, relative to the checkout, of everything in :data:`PACKAGES`."""
    found = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    return {module_name(path): path for path in found}


@cache
def tree_of(module: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse((ROOT / files()[module]).read_text(encoding="utf-8"))


def modules_of(*packages: str) -> list[str]:
    """Names of the modules of these packages; there must be some."""
    found = [name for name in files() if any(inside(name, package) for package in packages)]
    assert found, packages
    return found


def inside(name: str, package: str) -> bool:
    """Whether a module is the package or part of it."""
    return name == package or name.startswith(f"{package}.")


def running(tree: ast.AST, lazy: bool = True) -> Iterator[ast.AST]:
    """Every node but those for type checkers only; ``lazy``: those inside functions too, which run later."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from (inner for statement in node.orelse for inner in (statement, *running(statement, lazy)))
            continue
        yield node
        if lazy or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from running(node, lazy)


def imports(tree: ast.AST, package: str, known: Iterable[str], lazy: bool = True) -> set[str]:
    """Full names a file imports, relative ones resolved; ``from a import b`` counts as a.b where that is a module.

    :param package: the package that the file is in.
    """
    found: set[str] = set()
    for node in running(tree, lazy):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found.update(inner if (inner := f"{base}.{alias.name}") in known else base for alias in node.names)
    return found


@cache
def imported(module: str, lazy: bool = True) -> frozenset[str]:
    """What a module of ours imports."""
    package = module if files()[module].name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(imports(tree_of(module), package, files(), lazy))


def graph(*packages: str) -> dict[str, set[str]]:
    """Module → modules of ours that it imports, sooner or later."""
    return {name: {other for other in imported(name) if other in files()} for name in modules_of(*packages)}


# rules


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import one another in a circle, the first of them twice; empty if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def upwards(graph: Mapping[str, set[str]], layers: tuple[set[str], ...]) -> set[tuple[str, str]]:
    """Imports from one part of ``bench`` of another that is not in a lower layer."""
    height = {part: level for level, layer in enumerate(layers) for part in layer}
    parts = {name: name.split(".")[1] for name in graph if inside(name, "bench") and name != "bench"}
    return {
        (name, other)
        for name, part in parts.items()
        for other in graph[name] & parts.keys()
        if part != parts[other] and height[part] <= height[parts[other]]
    }


def private(name: str) -> bool:
    """``_x``, but not ``__x__`` nor what named tuples have."""
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_UNDERSCORES


def defined(tree: ast.AST) -> set[str]:
    """Names that a file gives a meaning to: functions, classes, variables, attributes that are assigned."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def borrowed(tree: ast.AST) -> set[str]:
    """Private names of other modules that a file imports or reaches for.

    Torch's, ``os._exit`` and those of ``self`` do not count.
    """
    own, found = defined(tree), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            found |= {f"{node.module}.{alias.name}" for alias in node.names if private(alias.name)}
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            whose = ast.unparse(node.value)
            if whose not in ("self", "cls", "torch") and (whose, node.attr) != ("os", "_exit"):
                found.add(f"{whose}.{node.attr}")
    return found


def long_functions(tree: ast.AST, longest: int = LONGEST_FUNCTION) -> list[str]:
    """Functions of more lines than that, with their docstrings."""
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= longest
    ]


# the rules work


def test_the_walk_sees_something() -> None:
    """Files are found, and known imports are read: one at the top, one inside a function, none for type checkers."""
    assert files()["ddpm.mix"] == Path("ddpm/mix.py")
    assert {"ddpm.mix", "ddpm.objective", "torch"} <= imported("ddpm.denoiser")
    text = """
import a.b
from . import near
from ..up import thing
from pack import module, name
if TYPE_CHECKING:
    import never
else:
    import always
def f():
    import late
"""
    tree, known = ast.parse(text), {"pack.module", "one.two.near"}
    soon = {"a.b", "one.two.near", "one.up", "pack.module", "pack", "always"}
    assert imports(tree, "one.two", known, lazy=False) == soon
    assert imports(tree, "one.two", known) == soon | {"late"}


def test_rules_find_what_breaks_them() -> None:
    """A rule that finds nothing, whatever it is shown, would pass for ever."""
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})[0] in "abc"
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    layers = ({"low"}, {"middle", "beside"}, {"high"})
    edges = {
        "bench.low": {"bench.high.x"},
        "bench.middle": {"bench.low", "bench.beside"},
        "bench.beside": set(),
        "bench.high.x": {"bench.high.y", "bench.middle", "ddpm.mix"},
        "bench.high.y": set(),
    }
    assert upwards(edges, layers) == {("bench.low", "bench.high.x"), ("bench.middle", "bench.beside")}
    text = """
from m import _taken, public
from n import sub
class Own:
    _mine = 1
    def f(self, other):
        return self._inherited, other._mine, sub._hidden, pair._replace(x=1), torch._foreach_add_, a.b._deep
"""
    assert borrowed(ast.parse(text)) == {"m._taken", "sub._hidden", "a.b._deep"}
    assert long_functions(ast.parse("def f():\n    a\n    b\n\n\ndef g():\n    a\n"), longest=2) == ["f"]


# the model


def test_the_model_is_all_listed() -> None:
    """A new module says what it builds on."""
    assert MAY_IMPORT.keys() == set(modules_of("ddpm"))


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_direction_within_the_model(module: str) -> None:
    """Each module builds only on those before it, and the table promises no import that is not made."""
    assert {name for name in imported(module) if inside(name, "ddpm")} == MAY_IMPORT[module]


@pytest.mark.parametrize("module", modules_of("ddpm"))
def test_the_model_stands_alone(module: str) -> None:
    """ddpm imports torch, numpy, the standard library and itself, never bench, not even inside a function."""
    roots = {name.partition(".")[0] for name in imported(module)}
    assert roots - set(sys.stdlib_module_names) <= {"torch", "numpy", "ddpm"}


# the harness


def test_every_part_of_the_harness_has_a_layer() -> None:
    """One each: a new sub-package is put where it belongs."""
    parts = Counter(part for layer in LAYERS for part in layer)
    assert set(parts.values()) == {1}
    assert parts.keys() == {name.split(".")[1] for name in modules_of("bench") if name != "bench"}


def test_the_harness_imports_downwards() -> None:
    """Inside functions too."""
    assert upwards(graph("bench"), LAYERS) == UPWARDS
    assert not [name for name in imported("bench") if inside(name, "bench")], "the package itself is below everything"


def test_no_circles() -> None:
    """Of all modules together, imports inside functions included."""
    assert not circle(graph(*PACKAGES))


@pytest.mark.parametrize("package", ["ddpm", "bench"])
def test_nothing_imports_tests(package: str) -> None:
    """Code does not depend on its tests, nor on the suites that time it."""
    for module in modules_of(package):
        assert not {name for name in imported(module) if inside(name, "tests") or inside(name, "perf")}, module


def test_reports_only_read() -> None:
    """Nothing under bench/report imports what trains, samples or runs jobs, even inside a function."""
    assert all(modules_of(banned) for banned in NOT_IN_REPORTS), "names of modules that exist"
    every = {name for module in modules_of("bench.report") for name in imported(module)}
    assert {name for name in every for banned in NOT_IN_REPORTS if inside(name, banned)} == READ_BY_REPORTS


def test_reports_open_without_torch() -> None:
    """Importing bench.report, and all that it imports in turn, loads no torch: what needs it is imported where used."""
    waiting, reached = modules_of("bench.report"), {}
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached[name] = imported(name, lazy=False)
            waiting += [other for other in reached[name] if other in files()]
    loads = {name for name, others in reached.items() if any(inside(other, "torch") for other in others)}
    assert not loads, f"reached from bench.report: {sorted(loads)}"
    assert "bench.analysis.frames" in reached, "the walk goes on"


# everything


@pytest.mark.parametrize("package", PACKAGES)
def test_private_names_stay_at_home(package: str) -> None:
    """No ``from m import _x`` and no ``m._x``."""
    found = {module: names for module in modules_of(package) if (names := borrowed(tree_of(module)))}
    assert found == {}


def test_functions_are_short() -> None:
    long = {str(files()[module]): len(long_functions(tree_of(module))) for module in modules_of(*PACKAGES)}
    assert {path: count for path, count in long.items() if count} == LONG_FUNCTIONS


def test_files_are_short() -> None:
    lines = {str(path): (ROOT / path).read_text(encoding="utf-8").count("\n") for path in files().values()}
    assert {path for path, count in lines.items() if count > LONGEST_FILE} == LONG_FILES
