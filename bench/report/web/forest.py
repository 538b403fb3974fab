"""Claims with their intervals drawn: a table whose last column is a small drawing on one scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import pandas as pd

from bench.analysis.claims import Verdict
from bench.analysis.frames import Results
from bench.report.formats import short
from bench.report.web.elements import escape

WIDTH, HEIGHT, EDGE = 360, 26, 8


def forest(results: Results) -> str:
    """The claims that are ratios, each with its estimate and 95% interval; "" where there is none."""
    if not results.study.claims or results.done.empty:
        return ""
    return drawn(results.verdicts)


def drawn(verdicts: Sequence[Verdict]) -> str:
    """The table, on a logarithmic scale on which no difference is × 1."""
    rows = [one for one in verdicts if one.scale == "ratio" and one.found is not None and one.found.value > 0]
    if not rows:
        return ""
    low, high = _limits(rows)

    def place(value: float) -> float:
        share = (math.log(value) - low) / (high - low)
        return EDGE + (WIDTH - 2 * EDGE) * min(1.0, max(0.0, share))

    body = "".join(_row(one, place) for one in rows)
    ticks = [v for v in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= math.log(v) <= high]
    axis = "".join(f'<text x="{place(v):.1f}" y="16" text-anchor="middle">× {v:g}</text>' for v in ticks)
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Claims with their intervals">'
        '<table class="forest"><caption>First level over second, with the 95% interval. The line in the middle is × 1, '
        "no difference. A dot without a bar has too few training seeds for an interval.</caption>"
        '<thead><tr><th scope="col">claim</th><th scope="col">verdict</th><th scope="col">ratio and interval</th>'
        f"</tr></thead><tbody>{body}</tbody><tfoot><tr><td></td><td></td><td><svg {_size(22)} "
        f'aria-hidden="true">{axis}</svg></td></tr></tfoot></table></div>'
    )


def _limits(rows: Iterable[Verdict]) -> tuple[float, float]:
    values = [
        math.log(value)
        for one in rows
        if one.found
        for value in (one.found.value, one.found.low, one.found.high)
        if pd.notna(value) and 0 < value < math.inf
    ]
    most = min(max(0.2, *(abs(value) for value in values)) * 1.08, math.log(100))
    return -most, most


def _size(height: int) -> str:
    """The attributes of a drawing, which shrinks as a whole where there is less room."""
    return f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'


def _row(one: Verdict, place: Callable[[float], float]) -> str:
    found = one.found
    assert found is not None  # noqa: S101
    bar, words = "", f"× {short(found.value)}"
    if pd.notna(found.low) and found.low > 0:
        bar = f'<line x1="{place(found.low):.1f}" x2="{place(found.high):.1f}" y1="13" y2="13" class="bar"/>'
        words += f", from {short(found.low)} to {short(found.high)}"
    middle = place(1.0)
    return (
        f'<tr><th scope="row"><code>{escape(one.claim.text)}</code></th>'
        f'<td><span class="verdict {one.word.split()[0]}">{escape(one.word)}</span></td>'
        f'<td><svg {_size(HEIGHT)} role="img" aria-label="{words}">'
        f'<line x1="{middle}" x2="{middle}" y1="0" y2="{HEIGHT}" class="one"/>{bar}'
        f'<circle cx="{place(found.value):.1f}" cy="13" r="4.5"/></svg><span class="said">{words}</span></td></tr>'
    )
