"""How soon the HTML report is seen, and how soon it answers, in a real browser (``make test-browser``)."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.frames import Results
from bench.report.blocks import Column, heading, table, text
from bench.store.store import Store
from tests.bench.made_up import make_study, quality
from tests.browser import Browser, browser, quick, written
from tests.records import scored_cell, trained_job

pytestmark = pytest.mark.browser
__all__ = ["browser", "quick"]

PAINT_MS, QUICK_MS, LARGE_MS = 1000, 100, 300
"""The bars: until something is seen, and until an interaction is seen for a study of a hundred cells and of 10,000."""


class Made(Store):
    """Records in memory."""

    def __init__(self, root: Path, records: dict[str, Any]) -> None:
        super().__init__(root)
        self.records_here = records

    def read(self, kind: Any, key: str) -> Any:
        """The record."""
        return self.records_here.get(key)

    def read_cell(self, kind: Any, cell: Any) -> Any:
        """The record."""
        return self.records_here.get(cell.key)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 10,000 cells of 2,500 training runs."""
    study, records = make_study(seed=list(range(625))), {}
    for key, cells in study.jobs.items():
        records[key] = trained_job(cells[0].job)
        for cell in cells:
            fid = quality(cell)
            metrics = {"fid": fid, "kid": fid / 3000, "kid_se": fid / 30000, "precision": 0.9 / (1 + fid / 60)}
            records[cell.key] = scored_cell(cell, metrics)
    folder = tmp_path_factory.mktemp("large")
    rows = table([Column("cell"), Column("FID", "right")], [[cell.key, 1.0] for cell in study.cells[:200]])
    blocks = [heading(1, "Large"), heading(2, "The answer"), text("None."), heading(2, "Cells"), rows]
    return written(Results(study, Made(folder, records)), folder, blocks)


def test_something_is_seen_within_a_second(browser: Browser, quick: Path, large: Path) -> None:
    for path in (quick, large):
        times = []
        for _ in range(5):
            browser.open(path)
            browser.until("performance.getEntriesByName('first-contentful-paint').length")
            times.append(browser.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        print(f"{path.parent.name}: first paint {statistics.median(times):.0f} ms")
        assert statistics.median(times) <= _bar(PAINT_MS), times


INTERACTIONS: dict[str, Callable[[Browser], Any]] = {
    "group": lambda browser: browser.one("#groups button").click(),
    "sort": lambda browser: browser.one("[data-column=kid]").click(),
    "filter": lambda browser: browser.one("#filter").send_keys("e"),
    "column": lambda browser: browser.one("#columns input").click(),
    "page": lambda browser: browser.one("#next:enabled, #back:enabled").click(),
    "slider": lambda browser: _to_the_other_end(browser.one("#steps")),
    "dark": lambda browser: browser.one("#theme").click(),
    "cell": lambda browser: browser.one("#cells tbody td.right").click(),
}


@pytest.mark.parametrize("which", ["quick", "large"])
def test_it_answers_at_once(browser: Browser, which: str, request: pytest.FixtureRequest) -> None:
    """What the page computes for an answer, and the time until it is seen, are both below the bar.

    Where others use the processor too, the time until it is seen says more of them: it is printed, and not judged.
    """
    bar = QUICK_MS if which == "quick" else LARGE_MS
    browser.open(request.getfixturevalue(which), figures=True)
    time.sleep(2)  # the figures are drawn
    slow = []
    for what, act in INTERACTIONS.items():
        if what == "column":
            browser.click(".menu summary")
        computed, seen = zip(*(_spent(browser, act) for _ in range(5)), strict=True)
        if what == "column":
            browser.click(".menu summary")
        told = [one for one in seen if one]
        busy, wait = statistics.median(computed), statistics.median(told or [0.0])
        when = f"seen after {wait:.0f} ms ({len(told)} of {len(seen)} told)" if told else "the browser told no time"
        print(f"{which}: {what}: computed {busy:.0f} ms, {when}")
        if busy > bar or wait > _bar(bar):
            slow.append((what, computed, seen))
    assert slow == []


def _spent(browser: Browser, act: Callable[[Browser], Any]) -> tuple[float, float]:
    """Milliseconds that the page computed for an answer, and until it was seen; 0 if the browser told no time."""
    browser.run("window.seen.length = 0")
    before = browser.cpu()
    act(browser)
    end = time.monotonic() + 1  # the browser tells of it after it is seen, and not at all below 16 ms
    while not browser.run("return window.seen.length") and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    browser.settle()
    spent = browser.cpu() - before, float(max(browser.run("return window.seen"), default=0))
    browser.run("document.getElementById('cell').close(); const words = document.getElementById('filter');"
                "if (words.value) { words.value = ''; words.dispatchEvent(new Event('input')); }")  # fmt: skip
    return spent


def _to_the_other_end(slider: Any) -> None:
    slider.send_keys("\ue010" if slider.get_attribute("value") == "0" else "\ue011")


def _bar(milliseconds: float) -> float:
    """Twice as long is allowed; anything is while other programs use the processors."""
    free = os.getloadavg()[0] < (os.cpu_count() or 1)
    return 2 * milliseconds if free else float("inf")
