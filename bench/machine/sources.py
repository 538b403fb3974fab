"""Which code a number comes from: the import closure of the module that computes it.

A module counts if it is in ``bench`` or ``ddpm`` and the computing module imports it, directly or through others,
inside functions too. What cannot change a number is stripped first: comments, docstrings, layout, and imports that only
type checkers see.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from bench.paths import cache_dir

PACKAGES = ("bench", "ddpm")
CELL = "bench.job.run"
"""What computes a cell."""


@cache
def code_hash(*roots: str) -> str:
    """A hash of the code that the modules ``roots`` (:data:`CELL` by default) run, 12 hexadecimal digits.

    Parsing takes half a second, so what came of it is kept in the user's cache, by the bytes of all sources.
    """
    roots = roots or (CELL,)
    memo = cache_dir() / "code" / f"{_raw(roots)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(memo.read_text())["code"])
    digest = hashlib.sha256()
    for name, tree in sorted(closure(roots).items()):
        digest.update(f"{name}\n{canonical(tree)}\n".encode())
    code = digest.hexdigest()[:12]
    with suppress(OSError):
        memo.parent.mkdir(parents=True, exist_ok=True)
        memo.write_text(json.dumps({"code": code}))
    return code


def _raw(roots: Iterable[str]) -> str:
    """A hash of the bytes of every file of :data:`PACKAGES`, and of the question."""
    return hashlib.sha256(f"{' '.join(roots)} {bytes_hash()}".encode()).hexdigest()[:16]


def bytes_hash(*folders: Path) -> str:
    """A hash of the bytes of every source file in these folders; in those of :data:`PACKAGES`, if none is named."""
    digest = hashlib.sha256()
    for folder in folders or [init.parent for init in map(source_of, PACKAGES) if init]:
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return digest.hexdigest()


def canonical(node: object) -> str:
    """A syntax tree as text, without positions and empty fields: the same in every version of Python."""
    if isinstance(node, ast.AST):
        fields = ((name, value) for name, value in ast.iter_fields(node) if value not in (None, []))
        return f"{type(node).__name__}({','.join(f'{name}={canonical(value)}' for name, value in fields)})"
    if isinstance(node, list):
        return f"[{','.join(map(canonical, node))}]"
    return repr(node)


def closure(roots: Iterable[str]) -> dict[str, ast.Module]:
    """Module name → its stripped syntax tree, for ``roots`` and all that they import from :data:`PACKAGES`."""
    found: dict[str, ast.Module] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = source_of(name)
        if name in found or path is None:
            continue
        found[name] = stripped(path.read_text(encoding="utf-8"))
        waiting += imports(found[name], name if path.name == "__init__.py" else name.rpartition(".")[0])
    return found


def source_of(name: str) -> Path | None:
    """The file of a module of :data:`PACKAGES`; None for any other name."""
    package, *inner = name.split(".")
    if package not in PACKAGES:
        return None
    spec = find_spec(package)
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None:
        return None
    path = folder.joinpath(*inner)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Every name that may be a module imported in a stripped tree; relative ones are resolved against ``package``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
            base = base if node.level else str(node.module)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def stripped(source: str) -> ast.Module:
    """The syntax tree of a file without docstrings and without what only type checkers read."""
    return ast.fix_missing_locations(_Strip().visit(ast.parse(source)))


class _Strip(ast.NodeTransformer):
    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Leave out what is for type checkers only."""
        if "TYPE_CHECKING" in ast.dump(node.test):
            return node.orelse
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Leave out docstrings, those of constants too."""
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Put ``pass`` where nothing is left."""
        super().generic_visit(node)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.If) and not node.body:
            node.body = [ast.Pass()]
        return node
