"""What a reader meets is short sentences, and the commands, options, files and limits that pages name exist."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench import cli, docs
from bench.gate.drawn import ways
from bench.gate.kinds import KINDS
from bench.paths import ROOT
from ddpm.sampler import make_sampler

LONGEST = 28
"""Words of a sentence, a code span being one. Many readers learnt English as a second language."""
STOP = re.compile(r"(?<!\bal\.)(?<!\beq\.)(?<=[.!?])[)\]*_”\"]*\s+")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(docs.FOLDER.glob("*.md"))]
BY_HAND = [path for path in PAGES if docs.WRITTEN not in path.read_text(encoding="utf-8")]
"""Pages that are not made of docstrings."""


def sentences(page: str) -> Iterator[str]:
    """The sentences of a Markdown page: of its paragraphs and list items, without code blocks and tables."""
    page = re.sub(r"^```.*?^```$|<!--.*?-->", "", page, flags=re.MULTILINE | re.DOTALL)
    page = re.sub(r"^(\||#| {4}|!\[).*$", "", page, flags=re.MULTILINE)
    page = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]+`", "code", page))
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", page):
        yield from filter(None, STOP.split(" ".join(block.split())))


def length(sentence: str) -> int:
    """Words, numbers among them."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def long(page: str) -> list[str]:
    """The sentences that are too long, with their lengths."""
    return [f"{length(one)} words: {one}" for one in sentences(page) if length(one) > LONGEST]


def test_a_long_sentence_is_seen_wherever_it_stands() -> None:
    words = " ".join(["word"] * LONGEST)
    for shape in ("{}.", "- {}.", "A short one. {}.", "> {}.", "{}. A short one.", "**{}.** Short.", "({}.) Short."):
        assert len(long(f"# Title\n\nBefore.\n\n{shape.format(words + ' more')}\n\nAfter.\n")) == 1, shape
        assert not long(shape.format(words)), shape
    assert not long(f"```\n{words} {words}\n```\n\n| {words} | {words} |\n")
    assert not long(f"{words[:-5]} `{words}`.\n\n[{words}]({words}.md).")
    assert len(long("Frans et al. have it, eq. 4, and so on " + words)) == 1


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_sentence_of_a_page_is_long(path: Path) -> None:
    assert long(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", docs.FAMILIES)
def test_no_sentence_of_an_introduction_is_long(name: str) -> None:
    assert long(docs.FAMILIES[name].intro) == []


@cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    """Command → its parser."""
    actions: Any = cli.make_parser()._actions
    return dict(next(action.choices for action in actions if isinstance(action, argparse._SubParsersAction)))


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_no_sentence_of_a_help_text_is_long(command: str) -> None:
    parser = parsers()[command]
    texts = [parser.description or "", *(action.help or "" for action in parser._actions)]
    assert [found for text in texts for found in long(re.sub(r"\n {2,}", " ", text))] == []


def commands(page: str) -> Iterator[list[str]]:
    """The words of every ``ddpm-bench …`` in a code block or a code span."""
    code = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL) + re.findall(r"^ {4}(.*)$", page, re.M)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL))
    for line in "\n".join([*code, *spans]).splitlines():
        if found := re.match(r"\s*(?:\.venv/bin/)?ddpm-bench (.*)", line.partition("  #")[0]):
            yield shlex.split(found[1])


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.name)
def test_every_command_that_a_page_names_exists(path: Path) -> None:
    """And has the options that stand beside it."""
    for name, *words in commands(path.read_text(encoding="utf-8")):
        if name in {"COMMAND", "--help"}:
            continue
        assert name in parsers(), f"ddpm-bench {name}"
        known = parsers()[name]._option_string_actions
        assert [word for word in words if word.startswith("--") and word not in known] == [], name


def test_commands_are_found_where_pages_have_them() -> None:
    page = "Text `ddpm-bench run a --x`.\n\n```sh\n.venv/bin/ddpm-bench plan b  # why\n```\n\n    ddpm-bench open c\n"
    assert sorted(commands(page)) == [["open", "c"], ["plan", "b"], ["run", "a", "--x"]]
    assert sum(len(list(commands(path.read_text(encoding="utf-8")))) for path in BY_HAND) > 50


@pytest.mark.parametrize("path", BY_HAND, ids=lambda path: path.name)
def test_every_target_and_file_that_a_page_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) <= made
    named = re.findall(r"`((?:bench|ddpm|ddpm_bench|docs|perf|tests|examples)/[\w./-]*)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_gates_page_has_the_limits_of_images() -> None:
    """Format, samplers, and the two limits, as the check of images has them."""
    page = (docs.FOLDER / "gate.md").read_text(encoding="utf-8")
    rules = {way.sampling.sampler.name: make_sampler(way.sampling.sampler) for way in ways().values()}
    steep = " ".join(f"`{name}`" for name, rule in rules.items() if rule.corrects or rule.order > 2)
    listed = re.findall(r"^\| (\w+) \| (.+?) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert {row[0] for row in listed} == {"float32", "TF32", "bfloat16"}
    for name, samplers, *limits in listed:
        kind = KINDS["images" if samplers.startswith("all") else "steep images"]
        assert tuple(map(float, limits)) == kind.formats.get(name.lower(), kind.limits), (name, samplers)
        assert samplers.startswith("all") or samplers.replace(",", "") == steep
