"""The files of a report: figures, Markdown, PDF and HTML, each whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bench import files, paths
from bench.analysis import beside
from bench.analysis.frames import Results
from bench.errors import UserError
from bench.machine.sources import code_hash
from bench.report.blocks import MADE_BY, Block, Figure, Gallery, with_one_file_each
from bench.report.render import RENDERERS
from bench.report.render.pdf import in_print
from bench.report.sections import SECTIONS
from bench.store.store import Store
from bench.study.study import Study

LIBRARIES = ("matplotlib", "pandas", "pikepdf", "pillow", "plotly", "seaborn", "typst")
"""The versions of these decide how a report looks."""

ASSETS = Path(__file__).parent / "web" / "assets"
HTML = "report.html"
"""The report as one file that a browser opens."""

_DIGEST = re.compile(r"<!-- inputs: ([0-9a-f]{64}) -->\s*\Z")
_IMAGE = re.compile(r"(?<!\\)(?:\]\(|<img src=\")(figures/[\w.-]+)[)\"]")


_OURS = re.compile(r"# (?:ddpm-bench: |What each metric sees$)", re.MULTILINE)
"""How a ``report.md`` of ours begins: of a study, of the theory, of speed, or of the metrics."""


@dataclass(frozen=True)
class Report:
    """Where a report is, and whether it was written just now (``fresh``) or was up to date already."""

    markdown: Path
    pdf: Path
    html: Path
    figures: tuple[Path, ...]
    fresh: bool


def compose(results: Results) -> list[Block]:
    """The blocks of a study's report."""
    return list(with_one_file_each(block for section in SECTIONS for block in section(results)))


def write(study: Study, store: Store, out: Path) -> Report:
    """Write ``<out>/<study>/report.html``, ``.pdf``, ``.md`` and ``figures/*.png``, unless nothing has changed.

    The Markdown goes last and ends with a digest of the inputs, so an interrupted report is written again.

    :raises UserError: if the folder cannot be written or the disk is full.
    """
    folder = out / study.name
    results = Results(study, store)
    inputs = digest(results)
    kept = _kept(folder, inputs)
    if kept is not None:
        return kept
    blocks = compose(results)
    ending = f"\n<!-- inputs: {inputs} -->\n"
    figures = write_files(folder, blocks, ending, {HTML: lambda pictures: _page(results, blocks, pictures)})
    return Report(folder / "report.md", folder / "report.pdf", folder / HTML, figures, fresh=True)


def _page(results: Results, blocks: Sequence[Block], pictures: Mapping[str, bytes]) -> bytes:
    """The report as one HTML file."""
    from bench.report.web.data import data_of
    from bench.report.web.forest import forest
    from bench.report.web.page import page

    data = data_of(results, paths.shown(results.store.root))
    return page(f"{results.study.name}: ddpm-bench", blocks, pictures, data, forest(results)).encode()


def write_files(
    folder: Path,
    blocks: Sequence[Block],
    ending: str = "",
    more: Mapping[str, Callable[[Mapping[str, bytes]], bytes]] | None = None,
) -> tuple[Path, ...]:
    """Write ``report`` in every form of :data:`RENDERERS` and the pictures they show; return the pictures.

    The Markdown goes last, followed by ``ending``. Pictures that only the report before showed are removed first.

    :param more: a further file's name → what makes it of the pictures.
    :raises UserError: as :func:`ready`, or if the disk is full.
    """
    before = ready(folder)
    with files.explained(folder), tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        (scratch / "figures").mkdir()
        pictures = {}
        for name, content in draw(blocks):
            if name.endswith(".png"):
                pictures[name] = content
            (scratch / name).write_bytes(in_print(content) if name.endswith(".png") else content)
        for kind, render in RENDERERS.items():
            render(blocks, scratch / f"report.{kind}")
        for name, make in (more or {}).items():
            (scratch / name).write_bytes(make(pictures))
        for name in before - pictures.keys():
            (folder / name).unlink(missing_ok=True)
        (folder / "report.md").unlink(missing_ok=True)
        for name, content in pictures.items():
            files.write_bytes(folder / name, content, folder=folder)
        for name in [*(more or {}), *(f"report.{kind}" for kind in RENDERERS if kind != "md")]:
            files.write_bytes(folder / name, (scratch / name).read_bytes(), folder=folder)
        files.write_bytes(folder / "report.md", (scratch / "report.md").read_bytes() + ending.encode())
    return tuple(folder / name for name in pictures)


def ready(folder: Path) -> set[str]:
    """Make sure that a report can be written, before any work is done for it; the pictures of the one that is there.

    :raises UserError: if the folder cannot be written, or has a report that is none of ours.
    """
    path = folder / "report.md"
    with files.explained(folder):
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else None
        if text is None:  # as an interrupted report of ours has it
            others = [folder / name for name in ("report.pdf", HTML)]
            foreign = [other for other in others if other.exists() and MADE_BY.encode() not in other.read_bytes()]
        else:
            foreign = [] if _OURS.match(text) else [path]
    if foreign:
        raise UserError(f"{foreign[0]} is not a report of ddpm-bench: move it, or name another folder with --out")
    files.check_writable(folder)
    return {name for name in _IMAGE.findall(text or "") if name.endswith(".png")}


def draw(blocks: Iterable[Block]) -> Iterator[tuple[str, bytes]]:
    """The pictures that the blocks show: relative path → PNG, and of figures a PDF too."""
    from bench.report import marks

    for block in blocks:
        if isinstance(block, Figure):
            drawn = marks.draw(block)
            yield f"figures/{block.name}.png", drawn.png
            yield f"figures/{block.name}.pdf", drawn.pdf
        elif isinstance(block, Gallery):
            for picture in block.pictures:
                if picture is not None and picture.png is not None:
                    yield f"figures/{picture.name}.png", picture.png


def digest(results: Results) -> str:
    """A hash of everything a report depends on: study, records, pictures, the code and its libraries.

    Of a picture the name and size: it is made from the very samples that its cell's record is about.
    """
    from bench.score.judges import pinned

    root = results.store.root
    studies = [one.study for one in (results, beside.other(results)) if one is not None]
    inputs = {
        "studies": [study.model_dump(mode="json") for study in studies],
        "classifiers": [pinned(study.dataset) for study in studies],
        "records": [_records(study, root) for study in studies],
        "pictures": _pictures(root / "cells", {cell.key for cell in results.study.cells}),
        "code": code_hash(__name__),
        "page": [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(ASSETS.iterdir())],
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _records(study: Study, root: Path) -> str:
    """A hash of the records of a study's cells and jobs."""
    records = hashlib.sha256()
    for kind, keys in (("cells", [cell.key for cell in study.cells]), ("jobs", list(study.jobs))):
        for key in keys:
            records.update(_sha256_of(f"{root}/{kind}/{key}.json"))
    return records.hexdigest()


def _pictures(folder: Path, keys: set[str]) -> list[tuple[str, int]]:
    """(name, bytes) of the pictures of these cells."""
    try:
        with os.scandir(folder) as entries:
            pictures = [e for e in entries if e.name.endswith(".png") and e.name.partition(".")[0] in keys]
            return sorted((entry.name, entry.stat().st_size) for entry in pictures)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sha256_of(path: str) -> bytes:
    """The hash of a file's bytes; of nothing where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return hashlib.sha256(file.read()).digest()
    except (FileNotFoundError, NotADirectoryError):
        return hashlib.sha256().digest()


def _kept(folder: Path, inputs: str) -> Report | None:
    """The report in ``folder`` if it is whole and was made from these inputs."""
    forms = {kind: folder / f"report.{kind}" for kind in RENDERERS}
    if not all(path.is_file() for path in [*forms.values(), folder / HTML]):
        return None
    text = forms["md"].read_text(encoding="utf-8", errors="replace")
    found = _DIGEST.search(text)
    figures = tuple(folder / name for name in dict.fromkeys(_IMAGE.findall(text)))
    if not found or found[1] != inputs or not all(path.is_file() for path in figures):
        return None
    return Report(forms["md"], forms["pdf"], folder / HTML, figures, fresh=False)
