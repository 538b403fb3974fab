"""The documentation site: every page is in the menu, every link leads somewhere, and the tutorial's study is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import site
from bench.paths import ROOT
from bench.study import load as studies

MENU = re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)


def test_every_page_is_in_the_menu() -> None:
    assert len(MENU) == len(set(MENU))
    assert set(MENU) == {"README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))}


def test_every_link_leads_somewhere() -> None:
    """To a file: a folder has no page on the site. Addresses within a page are checked by mkdocs itself."""
    for path in site.pages():
        if path.suffix != ".md":
            continue
        for one in site.TARGET.finditer(re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)):
            target = (one[1] or one[2]).partition("#")[0]
            if target and not re.match(r"[a-z]+:", target):
                assert (path.parent / target).is_file(), f"{path.name}: {target}"


def test_pages_are_found_by_their_links(tmp_path: Path) -> None:
    """From README and docs on, as far as links go within the repository, and no further."""
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "reports" / "quick" / "figures").mkdir(parents=True)
    (tmp_path / "secret.md").write_text("outside")
    (root / "README.md").write_text(
        "[a](docs/a.md#x) [out](../secret.md) [web](https://x.example) <!--= one -->\n1<!---->"
    )
    (root / "docs" / "a.md").write_text('[r](<../reports/quick/report.md>) <img src="../reports/quick/figures/f.png">')
    (root / "reports" / "quick" / "report.md").write_text("# Title\nText\n")
    (root / "reports" / "quick" / "report.html").write_text("a page")
    (root / "reports" / "quick" / "figures" / "f.png").write_bytes(b"f")
    (root / "reports" / "quick" / "figures" / "unused.png").write_bytes(b"u")
    out = tmp_path / "out"
    found = {path.relative_to(out).as_posix() for path in site.build(out, root)}
    assert found == {"README.md", "docs/a.md", "reports/quick/report.md", "reports/quick/figures/f.png"}
    assert "<!--" not in (out / "README.md").read_text()
    assert '\n\n<p><a href="explore.html">' in (out / "reports" / "quick" / "report.md").read_text()
    assert (out / "reports" / "quick" / "explore.html").read_text() == "a page"


@pytest.mark.parametrize(("page", "jobs", "cells"), [("tutorial", 4, 8)])
def test_the_tutorials_study_is_as_large_as_it_says(page: str, jobs: int, cells: int, tmp_path: Path) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    (study,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "first.yaml").write_text(study)
    found = studies.load(str(tmp_path / "first.yaml"))
    assert (len(found.jobs), len(found.cells)) == (jobs, cells)
    assert f"make {cells} cells" in text
    assert f"there are {jobs} *jobs*" in " ".join(text.split())
