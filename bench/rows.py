"""Whatever is chosen by name: where each table of rows is, and the rows that other packages add to it.

A package adds rows with an entry point in the group ``ddpm_bench.rows``: a mapping family → {name: row}, or a function
that returns one. Entry points are read once in a process, when a row is first asked for. See ``docs/extending.md``.

Tables are named as entry points are, ``module:attribute``, so that nothing is imported before it is needed.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from pkgutil import resolve_name
from typing import Any, NamedTuple

from bench.errors import UserError, unknown
from ddpm.spec import Variant, canonical, parameters

GROUP = "ddpm_bench.rows"
ORACLE = "oracle"
"""The network that needs no training: exact for the data set's own training images (:class:`ddpm.oracle.Mixture`)."""
DEFAULT = "default"
"""The weight that is the objective's own."""


@dataclass(frozen=True)
class Family:
    """The rows of one kind.

    ``table``: where the dict is. ``options``: row → the function whose keyword-only parameters are its options; None if
    there are no options. ``common``: a function whose options every row has. ``besides``: names that have no row.
    ``formerly``: name → the name it once had. Keys and records still write that one, so that no key changes.
    ``places``: options that only say where something lies. Keys leave them out.
    """

    table: str
    options: Callable[[Any], Callable[..., Any]] | None = None
    common: str | None = None
    besides: tuple[str, ...] = ()
    formerly: Mapping[str, str] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    @cached_property
    def now(self) -> dict[str, str]:
        """A former name → the name."""
        return {former: name for name, former in self.formerly.items()}


def _itself(row: Callable[..., Any]) -> Callable[..., Any]:
    return row


FAMILIES: dict[str, Family] = {
    "dataset": Family("bench.images.datasets:DATASETS", lambda row: row.options, places=("path",)),
    "net": Family("ddpm.nets:NETS", _itself, besides=(ORACLE,)),
    "objective": Family("ddpm.objective:OBJECTIVES", lambda row: row.target),
    "weight": Family("ddpm.objective:WEIGHTS", lambda row: row.table, besides=(DEFAULT,), formerly={"demo": "seed"}),
    "schedule": Family("ddpm.schedule:SCHEDULES", _itself, common="ddpm.schedule:rescale"),
    "timesteps": Family("ddpm.timestep:TIMESTEPS", _itself),
    "teach": Family("ddpm.teach:TEACH", _itself),
    "base": Family("ddpm.base:BASES", _itself),
    "sampler": Family("ddpm.sampler:SAMPLERS", _itself),
    "spacing": Family("ddpm.spacing:SPACINGS", _itself),
    "optimiser": Family("ddpm.train:OPTIMISERS"),
    "metric": Family("bench.score.metrics:METRICS"),
}


class Package(NamedTuple):
    """A package that adds rows, by name and version."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Added(NamedTuple):
    """A row of another package."""

    family: str
    name: str
    row: Any
    package: Package


_added: dict[tuple[str, str], Package] | None = None
_looked_in: list[str] = []


def entries(family: str) -> dict[str, Any]:
    """Name → row, the rows of other packages included."""
    origins()
    return _table(family)


def names(family: str) -> list[str]:
    """The valid names."""
    return [*entries(family), *FAMILIES[family].besides]


def known(family: str, name: str) -> None:
    """Refuse a name that does not exist.

    :raises UserError: naming the nearest that does, and all of them.
    """
    if name not in (valid := names(family)):
        raise unknown(family, name, valid)


def read(family: str, given: object) -> Variant:
    """``{cosine: {s: 0.01}}``, ``cosine(s=0.01)`` or a variant, in its one form.

    A name that does not exist is not refused: a record may be of a row whose package is not here.

    :raises ValueError: if it is not of that form, or an option is wrong.
    """
    if isinstance(given, Mapping) and len(given) == 1:
        ((name, options),) = given.items()
        if not isinstance(options, Mapping | None):
            raise ValueError(f"the options of '{name}' are a mapping, not {options!r}")
        variant = Variant(str(name), tuple((str(key), value) for key, value in (options or {}).items()))
    elif isinstance(given, Variant | str):
        variant = Variant.of(given)
    else:
        raise ValueError(f"a name, or a name with its options, is needed, not {given!r}")
    about = FAMILIES[family]
    if variant.name in about.now:
        variant = replace(variant, name=about.now[variant.name])
    row = entries(family).get(variant.name)
    if row is None:
        if variant.options and variant.name in about.besides:
            return canonical(variant)  # which has no options
        return variant
    functions = [about.options(row)] if about.options else []
    return canonical(variant, *functions, *([resolve_name(about.common)] if about.common else []))


def written(family: str, given: Variant | str) -> str:
    """The text of a variant in keys and records, which :func:`read` reads."""
    variant = Variant.of(given)
    former = FAMILIES[family].formerly.get(variant.name)
    return variant.text if former is None else replace(variant, name=former).text


def identity(family: str, given: Variant | str) -> str:
    """The text of a variant in keys: without what only says where something lies."""
    variant, places = Variant.of(given), FAMILIES[family].places
    return written(family, replace(variant, options=tuple(one for one in variant.options if one[0] not in places)))


# other packages


def origins() -> Mapping[tuple[str, str], Package]:
    """(family, name) → the package of every row that is not built in; the first call adds them to the tables.

    Where there were none, it looks again once ``sys.path`` is another.

    :raises UserError: if a package's rows cannot be had, in one line that names it.
    """
    global _added, _looked_in
    if _added is None or (not _added and _looked_in != sys.path):
        _looked_in = [*sys.path]
        _added = {}  # a package's module may itself ask for rows while it is imported
        try:
            found = list(_all_added())
        except BaseException:
            _added = None
            raise
        for one in found:
            _table(one.family)[one.name] = one.row
        _added = {(one.family, one.name): one.package for one in found}
    return _added


def packages(chosen: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Names and versions of the packages that these (family, name) come from, none for what is built in."""
    added = origins()
    if not added:
        return ()
    return tuple(sorted({str(added[one]) for one in chosen if one in added}))


def installed() -> str:
    """Names and versions of all packages that add rows, as a record has them: empty if there are none."""
    return ", ".join(sorted({str(package) for package in origins().values()}))


def outdated(metrics: Iterable[str], recorded: str) -> bool:
    """Whether any of these scores is of another version of its metric's package than the one that is here.

    :param recorded: what :func:`installed` was when they were made.
    """
    added = origins()
    if not added:
        return False
    here = set(recorded.split(", "))
    return any(str(added["metric", name]) not in here for name in metrics if ("metric", name) in added)


def needed(wanted: Iterable[str]) -> None:
    """Refuse what needs packages that are not here; add the rows of those that are, which a new process lacks.

    :param wanted: ``name version`` of each.
    :raises UserError: in one line, naming them.
    """
    if lines := absent(wanted):
        raise UserError(f"rows are missing: {'; '.join(lines)}")
    origins()


def absent(wanted: Iterable[str]) -> list[str]:
    """Of packages that a record names (``name version``), those that are not installed in that version, in words."""
    return [line for line in map(_absence, sorted(set(wanted))) if line]


def _absence(wanted: str) -> str | None:
    name, _, needed = wanted.rpartition(" ")
    try:
        found = version(name)
    except PackageNotFoundError:
        return f"package {wanted} is not installed"
    return None if found == needed else f"package {wanted} is not installed, but {found}"


@cache
def _table(family: str) -> dict[str, Any]:
    rows: dict[str, Any] = resolve_name(FAMILIES[family].table)
    return rows


def _all_added() -> Iterator[Added]:
    """Every row of every package, checked."""
    taken: dict[tuple[str, str], Package] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        package = Package(point.dist.name, point.dist.version) if point.dist else Package(point.name, "unknown")
        for one in _added_by(point, package):
            if reason := _wrong(one, taken.get((one.family, one.name))):
                raise UserError(f"package {package}: {one.family} '{one.name}' {reason}")
            taken[one.family, one.name] = package
            yield one


def _added_by(point: EntryPoint, package: Package) -> Iterator[Added]:
    """The rows of one entry point."""
    try:
        given = point.load()
        given = given() if callable(given) else given
    except Exception as error:  # it is anybody's code
        text = " ".join(str(error).split())
        raise UserError(f"package {package}: its rows cannot be loaded: {type(error).__name__}: {text}") from error
    if not isinstance(given, Mapping) or not all(isinstance(rows, Mapping) for rows in given.values()):
        raise UserError(f"package {package}: {point.value} is not a mapping family → {{name: row}}")
    for family, rows in given.items():
        if family not in FAMILIES:
            raise UserError(f"package {package}: {unknown('family of rows', family, FAMILIES)}")
        yield from (Added(family, name, row, package) for name, row in rows.items())


def _wrong(one: Added, other: Package | None) -> str | None:
    """What is wrong with a row, if anything is."""
    if not isinstance(one.name, str) or not re.fullmatch(r"\w+", one.name):
        return "is not a name: letters, digits and _ only"
    about, built_in = FAMILIES[one.family], _table(one.family)
    if one.name in {*built_in, *about.besides, *about.now}:
        return "is built in: choose another name"
    if other is not None:
        return f"is there already, from package {other}"
    kind = type(next(iter(built_in.values())))
    if kind.__module__.split(".")[0] in ("bench", "ddpm"):
        if not isinstance(one.row, kind):
            return f"is of type {type(one.row).__name__}, not {kind.__module__}.{kind.__name__}"
    elif not callable(one.row):
        return f"is of type {type(one.row).__name__}, and not a function or class"
    try:
        options = parameters(about.options(one.row)) if about.options else {}
    except (TypeError, ValueError):
        return "is no function whose parameters can be read"
    missing = next((name for name, default in options.items() if default is inspect.Parameter.empty), None)
    return f"has an option without a default: '{missing}'" if missing else None
