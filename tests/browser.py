"""A browser without a window and without a network, and the pages that it is shown."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.frames import Results
from bench.report.web.data import data_of
from bench.report.web.forest import forest
from bench.report.web.page import page
from bench.report.write import compose, draw
from bench.store.store import Store
from bench.study.load import load

REFERENCE = Path(__file__).parents[1] / "results" / "reference"
WIDE = (1300, 1000)

SPY = """
window.faults = []; window.seen = [];
addEventListener("error", (event) => faults.push(String(event.message)));
addEventListener("securitypolicyviolation", (event) => faults.push("policy: " + event.violatedDirective));
const note = (one) => { if (one.interactionId) seen.push(one.duration); };
new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type: "event", durationThreshold: 16 });
"""


class Browser:
    """A browser, and what these tests ask of it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self.run = driver.execute_script
        driver.set_script_timeout(120)
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": SPY})
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})

    def open(self, path: Path, size: tuple[int, int] = WIDE, figures: bool = False) -> None:
        """Open a page in a window of that size, in light colours, and wait for its figures."""
        self.look(size)
        self.driver.get(path.as_uri())
        if figures:
            self.run("document.getElementById('explore').scrollIntoView({behavior: 'instant'})")
            self.until("[...document.querySelectorAll('.chart')].every((one) => one.querySelector('.point'))")
            self.settle()

    def look(self, size: tuple[int, int], media: str = "", scheme: str = "light") -> None:
        """The size of the window, screen or paper, light or dark."""
        form = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", form)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": "reduce"},
        ]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})

    def until(self, condition: str, seconds: float = 90) -> None:
        """Wait for it."""
        end = time.monotonic() + seconds
        while not self.run(f"return !!({condition})"):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.05)

    def settle(self) -> None:
        """Wait until what was begun is painted."""
        script = "const done = arguments[0]; requestAnimationFrame(() => setTimeout(() => setTimeout(done)))"
        self.driver.execute_async_script(script)

    def one(self, css: str) -> Any:
        """The first such element, in the middle of the window."""
        found = self.driver.find_element("css selector", css)
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})", found)
        return found

    def click(self, css: str) -> None:
        """Click it."""
        self.one(css).click()
        self.settle()

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()
        self.settle()

    def texts(self, css: str) -> list[str]:
        """What each of them says."""
        return list(
            self.run("return [...document.querySelectorAll(arguments[0])].map((one) => one.innerText.trim())", css)
        )

    def faults(self) -> list[str]:
        """What the console and the page's policy complained of."""
        log = [one["message"] for one in self.driver.get_log("browser") if one["level"] in ("SEVERE", "WARNING")]
        return [*self.run("return window.faults"), *log]

    def axe(self, *rules: str) -> list[str]:
        """The serious and critical faults that axe-core finds by these rules, or by all."""
        import axe_playwright_python

        if not self.run("return !!window.axe"):
            source = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
            self.run(source)
        options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
        script = "axe.run(document, arguments[0]).then((one) => arguments[1](one.violations))"
        found = self.driver.execute_async_script(script, options)
        return [
            f"{one['id']}: {one['help']}: {node['html'][:150]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"][:5]
        ]

    def cpu(self) -> float:
        """Milliseconds that the page has computed so far, without what the driver asked of it."""
        told = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        spent = {one["name"]: 1000 * one["value"] for one in told}
        return float(spent["TaskDuration"] - spent["DevToolsCommandDuration"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium or Chrome without a window."""
    from selenium import webdriver

    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.fail("a browser and its driver are needed: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    alone = ("--no-sandbox",) if os.geteuid() == 0 else ()
    for word in ("--headless=new", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars=false", *alone):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield Browser(started)
    started.quit()


def written(results: Results, folder: Path, blocks: list[Any] | None = None, where: str = "results/reference") -> Path:
    blocks = compose(results) if blocks is None else blocks
    source = page(results.study.name, blocks, dict(draw(blocks)), data_of(results, where), forest(results))
    path = folder / "report.html"
    path.write_text(source, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the study ``quick``, of the results that the repository holds."""
    return written(Results(load("quick"), Store(REFERENCE)), tmp_path_factory.mktemp("quick"))
