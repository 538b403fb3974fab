"""The Markdown of the documentation site: ``python -m bench.site FOLDER``.

README, ``docs/`` and whatever they link are copied as they lie in the repository. So a link that works on GitHub works
on the site, and one that leads nowhere fails ``mkdocs build --strict``.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from bench.paths import ROOT
from bench.report.write import HTML

TARGET = re.compile(r"\]\(<?([^)\s>]+)>?\)|<img [^>]*src=\"([^\"]+)\"")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
INTERACTIVE = "explore.html"
"""What a report's HTML is called on the site, where ``report.html`` is the page of its Markdown."""


def linked(path: Path, root: Path = ROOT) -> Iterator[Path]:
    """The files of the repository that a Markdown file links and that are there."""
    for found in TARGET.finditer(path.read_text(encoding="utf-8")):
        target = unquote((found[1] or found[2]).partition("#")[0])
        if not target or re.match(r"[a-z]+:", target):
            continue
        file = (path.parent / target).resolve()
        if file.is_file() and file.is_relative_to(root.resolve()):
            yield file


def pages(root: Path = ROOT) -> list[Path]:
    """Every file of the site, found from README and ``docs/``."""
    docs = root / "docs"
    start = [root / "README.md", *sorted(docs.glob("*.md")), *sorted(docs.glob("assets/*.js"))]
    found = dict.fromkeys(path.resolve() for path in start)
    waiting = list(found)
    while waiting:
        path = waiting.pop()
        if path.suffix == ".md":
            new = [file for file in linked(path, root) if file not in found]
            found |= dict.fromkeys(new)
            waiting += new
    return sorted(found)


def build(out: Path, root: Path = ROOT) -> list[Path]:
    """Copy the files to ``out``, which is emptied first; return their places.

    A report that has been written as HTML too gets a link to it.
    """
    shutil.rmtree(out, ignore_errors=True)
    places = []
    for path in pages(root):
        place = out / path.relative_to(root.resolve())
        place.parent.mkdir(parents=True, exist_ok=True)
        page = path.parent / HTML
        if path.suffix == ".md":
            # a comment at the beginning of a line would end the paragraph
            text = COMMENT.sub("", path.read_text(encoding="utf-8"))
            if path.name == "report.md" and page.is_file():
                shutil.copyfile(page, place.parent / INTERACTIVE)
                title, _, rest = text.partition("\n")
                link = f'<p><a href="{INTERACTIVE}">The same report with figures and tables to explore</a></p>'
                text = f"{title}\n\n{link}\n{rest}"
            place.write_text(text, encoding="utf-8")
        else:
            shutil.copyfile(path, place)
        places.append(place)
    return places


def main(arguments: list[str]) -> int:
    """Write the files, and say how many."""
    print(f"{len(build(Path(arguments[0] if arguments else 'build/docs')))} files")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
