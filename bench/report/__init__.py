"""The report of a study: Markdown, PDF and figures, made from the store alone.

``results`` reads, ``effects`` computes, ``figures`` draws, ``document`` writes, ``pdf`` sets pages.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import files
from bench.store.store import Store
from bench.study.study import Study

_DIGEST = re.compile(r"<!-- inputs: ([0-9a-f]{64}) -->\s*\Z")
_IMAGE = re.compile(r"^!\[[^\]]*\]\(([^)]+)\)$", re.MULTILINE)


@dataclass(frozen=True)
class Report:
    """Where a report is, and whether it was written just now (``fresh``) or was up to date already."""

    markdown: Path
    pdf: Path
    figures: tuple[Path, ...]
    fresh: bool


def write(study: Study, store: Store, out: Path) -> Report:
    """Write ``<out>/<study>/report.md``, ``report.pdf`` and ``figures/*.png``, unless nothing has changed.

    The Markdown goes last and ends with a digest of the inputs, so an interrupted report is written again.

    :raises UserError: if the folder cannot be written or the disk is full.
    """
    from bench.analysis.frames import Results

    folder = out / study.name
    results = Results(study, store)
    digest = results.digest()
    kept = _kept(folder, digest)
    if kept is not None:
        return kept

    from bench.report import document

    pictures: dict[str, bytes] = {}
    text = document.compose(results, pictures)
    write_files(folder, text, pictures, f"\n<!-- inputs: {digest} -->\n")
    return Report(folder / "report.md", folder / "report.pdf", tuple(folder / name for name in pictures), fresh=True)


def write_files(folder: Path, text: str, pictures: dict[str, bytes], ending: str = "") -> None:
    """Write ``report.md`` (``text``, then ``ending``), ``report.pdf`` and the pictures they show.

    The Markdown goes last; figures that are no longer shown are removed.

    :raises UserError: if the folder cannot be written or the disk is full.
    """
    from bench.report import pdf

    markdown = folder / "report.md"
    with files.explained(folder), tempfile.TemporaryDirectory() as scratch:
        for name, content in pictures.items():
            path = Path(scratch, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        (page,) = pdf.compile_pdf(text, Path(scratch))
        markdown.unlink(missing_ok=True)
        for name, content in pictures.items():
            files.write_bytes(folder / name, content, folder=folder)
        for path in (folder / "figures").glob("*.png"):
            if f"figures/{path.name}" not in pictures:
                path.unlink()
    files.write_bytes(folder / "report.pdf", page)
    files.write_text(markdown, text + ending)


def _kept(folder: Path, digest: str) -> Report | None:
    """The report in ``folder`` if it is whole and was made from these inputs."""
    markdown, page = folder / "report.md", folder / "report.pdf"
    if not (markdown.is_file() and page.is_file()):
        return None
    text = markdown.read_text(encoding="utf-8")
    found = _DIGEST.search(text)
    figures = tuple(folder / name for name in _IMAGE.findall(text))
    if not found or found[1] != digest or not all(path.is_file() for path in figures):
        return None
    return Report(markdown, page, figures, fresh=False)
