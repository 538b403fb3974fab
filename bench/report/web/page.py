"""The page as one file: style, blocks, data and scripts, and a policy that lets nothing else run or load."""

from __future__ import annotations

import base64
import gzip
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from bench.report.blocks import Block, Heading, words
from bench.report.web.data import Data, as_json
from bench.report.web.elements import elements, escape, slug

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("state.js", "table.js", "charts.js", "cell.js", "pictures.js", "main.js")
"""Parts of one module, in this order."""


def page(title: str, blocks: Sequence[Block], pictures: Mapping[str, bytes], data: Data, forest: str = "") -> str:
    """The report of a study as HTML.

    :param pictures: path → PNG of figures and galleries.
    :param forest: the claims drawn, put below their heading.
    """
    numbers = itertools.count(1)
    parts = sections(blocks)
    body, links = [], []
    for i, part in enumerate(parts):
        name = _name(part)
        inner = elements(part, pictures, numbers)
        if name == "Claims" and forest:
            above, _, rest = inner.partition("</h2>")
            inner = f"{above}</h2>{forest}{rest}"
        body.append(f"<section>{inner}</section>")
        if i:
            links.append(f'<li><a href="#{slug(name)}">{escape(name)}</a></li>')
        if name == "The answer":
            body.append(_asset("explore.html"))
            links.append('<li class="live"><a href="#explore">Explore</a></li>')
    script, plotly = script_of(), plotly_js()
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; font-src data:; base-uri 'none'; "
        f"form-action 'none'; script-src {_hash(script)} {_hash(plotly)}"
    )
    return _asset("page.html").format(
        head=head(title, policy), links="".join(links), body="\n".join(body), data=as_json(data), plotly=packed(),
        script=script,
    )  # fmt: skip


def head(title: str, policy: str) -> str:
    """What every page begins with: its title, its style, and the policy on what it may load."""
    return _asset("head.html").format(title=escape(title), policy=policy, style=_asset("page.css"))


def sections(blocks: Sequence[Block]) -> list[list[Block]]:
    """The blocks, a list for each section; the first is what stands above the first one."""
    parts: list[list[Block]] = [[]]
    for block in blocks:
        if isinstance(block, Heading) and block.level == 2:
            parts.append([])
        parts[-1].append(block)
    return parts


def _name(part: Sequence[Block]) -> str:
    return words(part[0].content) if part and isinstance(part[0], Heading) else ""


@cache
def script_of() -> str:
    """The page's own script."""
    return "\n".join(["", *map(_asset, SCRIPTS), ""])


@cache
def plotly_js() -> str:
    """Plotly's script, which the Python package brings."""
    return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")


@cache
def packed() -> str:
    """Plotly's script, made smaller: gzip as Base64."""
    return base64.b64encode(gzip.compress(plotly_js().encode(), 6, mtime=0)).decode()


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
