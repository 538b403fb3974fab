"""The reference pages say what the docstrings say, and every entry says enough."""

from __future__ import annotations

import re

import pytest

from bench import docs
from bench.paths import ROOT
from bench.report import calibration
from bench.score.calibrated import BLIND, COPIES
from bench.study.axes import AXES

PAGES = dict(docs.pages())


@pytest.mark.parametrize("name", PAGES)
def test_committed_pages_are_current(name: str) -> None:
    """``python -m bench.docs`` writes them; forgetting it must not go unseen."""
    assert (docs.FOLDER / name).read_text(encoding="utf-8") == PAGES[name]


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, found in docs.FAMILIES.items() for name in found.rows()]
)
def test_every_entry_says_when_to_use_it(family: str, name: str) -> None:
    """A formula or a sentence, a source unless it is nobody's, and when to use it."""
    text = docs._text(docs.FAMILIES[family].rows()[name][0])
    assert "**Use** " in text
    assert len(text.split("**Use** ")[0]) > 20
    assert ":func:" not in text
    assert "``" not in text


def test_options_are_there_with_their_defaults() -> None:
    assert "Options: `s` (0.008), `max_beta` (0.999)." in PAGES["schedules.md"]
    assert "Options: `mean` (0), `std` (1)." in PAGES["timesteps.md"]
    assert "Options: `churn` (0)." in PAGES["samplers.md"]
    assert "Trained with weight `demo`" in PAGES["objectives.md"]


def test_every_metric_that_was_measured_says_what_it_does_not_see() -> None:
    """As the committed calibration has it; and of the others nothing is claimed."""
    page = PAGES["metrics.md"]
    entries = {name: text for name, _, text in (part.partition("`\n") for part in page.split("\n## `")[1:])}
    found = calibration.read(ROOT / "reports" / "metrics")
    assert BLIND.keys() == set(calibration.metrics_of(found)) - {COPIES}
    for name, text in entries.items():
        said = re.findall(r"\*\*Does not see\*\* (.*)\.", text)
        if name in calibration.metrics_of(found):
            assert re.findall(r"`(.+?)`", said[0]) == calibration.blind_to(found, name) == list(BLIND[name])
        else:
            assert not said
    assert {"kid", "inception_score", "density", "coverage", "fid_mixer"} <= set(calibration.metrics_of(found))


def test_every_axis_has_a_sentence_and_a_link_to_its_rows() -> None:
    for axis in AXES:
        assert f"\n## `{axis.name}`\n" in PAGES["axes.md"]
        assert len(axis.about) > 20, axis.name
        assert axis.about.endswith("."), axis.name
    assert set(re.findall(r"\]\((\w+\.md)\)", PAGES["axes.md"])) == set(PAGES) - {"README.md", "axes.md", "metrics.md"}
    assert "Usual: `1000`." in PAGES["axes.md"]


def test_the_index_links_every_page() -> None:
    """Those made from docstrings and the guides, and no page that is not there."""
    links = re.findall(r"\]\((\w+\.md)\)", PAGES["README.md"])
    assert len(links) == len(set(links))
    assert set(links) == {path.name for path in docs.FOLDER.glob("*.md")} - {"README.md"}
    assert set(links) > set(PAGES) - {"README.md"}
    guides = re.findall(r"\]\((\w+\.md)\)", PAGES["README.md"].partition("## Reference")[0])
    site = re.findall(r"docs/(\w+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert guides == [page for page in site if page in guides], "in the order of the site"


def test_an_axis_that_is_no_list_says_where_it_goes() -> None:
    """A reader who lists it under axes gets an error."""
    entry = PAGES["axes.md"].partition("## `sample_seed`")[2]
    assert "Not written under `axes:`. Give it as `seed` under `score`" in entry
    assert "`sample_seed`" not in PAGES["README.md"]
