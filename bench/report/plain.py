"""A page of its own that needs no script: one HTML file in the report's style, which loads nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from bench.report.web.elements import escape
from bench.report.web.page import head

WIDTH, HEIGHT, EDGE = 300, 22, 8
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
BODY = """\
<body>
<main style="max-width:75rem;margin:0 auto;padding:1.5rem 1.2rem 4rem">
{body}
</main>
</body>
</html>
"""


def plain(title: str, body: Iterable[str]) -> str:
    """The page.

    :param body: HTML, as :func:`bench.report.web.elements.elements` makes it.
    """
    return head(title, POLICY) + BODY.format(body="\n".join(body))


def rows(caption: str, titles: Iterable[str], body: Iterable[Iterable[str]]) -> str:
    """A table of cells that are HTML already; the first of a row is its heading."""
    above = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in body
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table class="forest">'
        f"<caption>{escape(caption)}</caption><thead><tr>{above}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def scale(values: Iterable[float], none: float) -> Callable[[float], float]:
    """Where a value stands in a drawing, in pixels; ``none``, no difference, is in the middle.

    Ratios (``none`` is 1) are on a log scale.
    """
    of = math.log if none == 1 else float
    far = [abs(of(value)) for value in values if math.isfinite(value) and (none != 1 or value > 0)]
    most = 1.08 * max([0.05 if none == 1 else 1e-12, *far])

    def place(value: float) -> float:
        share = 0.5 + 0.5 * (of(value) if none != 1 or value > 0 else -most) / most
        return EDGE + (WIDTH - 2 * EDGE) * min(1.0, max(0.0, share))

    return place


def interval(value: float, low: float, high: float, place: Callable[[float], float], none: float, words: str) -> str:
    """A number and its interval, drawn; ``words`` say the same."""
    middle, at = place(none), HEIGHT / 2
    bar = (
        f'<line x1="{place(low):.1f}" x2="{place(high):.1f}" y1="{at}" y2="{at}" class="bar"/>'
        if math.isfinite(low) and math.isfinite(high)
        else ""
    )
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(words)}">'
        f'<line x1="{middle}" x2="{middle}" y1="0" y2="{HEIGHT}" class="one"/>{bar}'
        f'<circle cx="{place(value):.1f}" cy="{at}" r="4.5"/></svg><span class="said">{escape(words)}</span>'
    )
