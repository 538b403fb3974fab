"""What ``docs/files.md`` promises is what the code has."""

from __future__ import annotations

import re

from bench.images import arrays, conventions, pictures
from bench.images.source import MINIMUM
from bench.paths import ROOT
from bench.score import eyes, taken
from bench.score.judges import headline

PAGE = (ROOT / "docs" / "files.md").read_text()


def test_changes_are_listed_in_the_same_words() -> None:
    rows = dict(re.findall(r"^\| (`[a-z_`, ]+) \| (.+) \|$", PAGE.split("## Simple changes")[1], re.MULTILINE))
    listed = {name: words for names, words in rows.items() for name in re.findall(r"`(\w+)`", names)}
    assert listed.keys() == conventions.CHANGES.keys()
    for name, change in conventions.CHANGES.items():
        assert all(word in listed[name] for word in change.words.split()), name


def test_numbers_and_names() -> None:
    assert f"| fewer than {MINIMUM} | an error |" in PAGE
    judge = headline("mnist")
    assert judge is not None
    assert f"| {MINIMUM} to {eyes.load(judge).features - 1} | scored with a warning" in PAGE
    assert f"than the judge `{judge.name}` has features" in PAGE
    assert f"| up to {taken.STREAMED:,} |" in PAGE
    assert f"by {conventions.TOLERANCE:.0%} of its width" in PAGE
    assert PAGE.count(f"at least {conventions.ENOUGH:.0%} of them") == 2
    assert taken.BETTER == 3
    assert "three times smaller" in PAGE
    assert " or ".join(f"`{name}`" for name in arrays.IMAGES) in PAGE
    assert all(f"`{name}`" in PAGE for name in arrays.LABELS)
    assert all({"WEBP": "WebP"}.get(name, name) in PAGE for name in pictures.FORMATS)
