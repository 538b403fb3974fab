"""The HTML report in a real browser, from disk and without a network (``make test-browser``)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.analysis.frames import Results
from bench.report.blocks import CodeSpan, Column, heading, table, text
from bench.store.store import Store
from tests.bench.made_up import fill, make_study
from tests.browser import WIDE, Browser, browser, quick, written

pytestmark = pytest.mark.browser
__all__ = ["browser", "quick"]

HOSTILE = "</script><script>window.stolen=1</script><img src=x onerror=stolen=1>*a* #b[c] \u202e \x07"
PHONE, SMALL = (390, 844), (320, 640)
OUTSIDE = """
const wide = document.documentElement.clientWidth;
return [...document.querySelectorAll("body *")].filter((one) => {
  const box = one.getBoundingClientRect();
  return box.width && box.right > wide + 1 && !one.closest(".scroll, pre, svg, .unseen, .skip, .menu:not([open])");
}).map((one) => one.outerHTML.slice(0, 120));
"""
REACHABLE = """
return [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex]:not([tabindex='-1'])")]
  .filter((one) => !one.disabled && one.checkVisibility({ contentVisibilityAuto: false, visibilityProperty: true })
    && !one.closest("dialog:not([open])") && !(one.closest("details:not([open])") && one.tagName !== "SUMMARY"))
  .length;
"""
FOCUSED = """
const one = document.activeElement, look = getComputedStyle(one);
one.dataset.reached = "yes";
const outlined = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0;
return [one === document.body, one.outerHTML.slice(0, 120), outlined,
  document.querySelectorAll("[data-reached]").length];
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page in which every name is an attack."""
    folder, study = tmp_path_factory.mktemp("hostile"), make_study(objective=["eps"], seed=[0, 1])
    store = Store(folder)
    fill(study, store, torch.zeros(64, 1, 28, 28))
    results = Results(study.model_copy(update={"description": HOSTILE}), store)
    results.cells["schedule"] = [HOSTILE + schedule for schedule in results.cells["schedule"]]
    results.cells["method"] = HOSTILE
    told = table([Column(HOSTILE)], [[HOSTILE]], HOSTILE)
    blocks = [heading(1, HOSTILE), heading(2, "The answer"), text(HOSTILE, CodeSpan(HOSTILE)), told]
    return written(results, folder, blocks, HOSTILE)


COLUMN = """
const heads = [...document.querySelectorAll("#cells thead button")];
return heads.findIndex((one) => one.dataset.column === arguments[0]) + 2;
"""


def column_of(browser: Browser, name: str) -> list[str]:
    """The texts of a column of the table."""
    return browser.texts(f"#cells tbody tr > :nth-child({browser.run(COLUMN, name)})")


def test_it_opens_from_disk_and_asks_for_nothing(browser: Browser, quick: Path) -> None:
    browser.open(quick, figures=True)
    assert browser.texts("h1")
    assert browser.faults() == []
    assert browser.run("return performance.getEntriesByType('resource').map((one) => one.name)"
                       ".filter((one) => !/^(data|blob):/.test(one))") == []  # fmt: skip
    assert browser.run("return document.getElementById('chart-steps').getBoundingClientRect().height") > 100
    assert quick.stat().st_size <= 8 * 2**20


def test_the_table_sorts(browser: Browser, quick: Path) -> None:
    browser.open(quick)
    browser.click("[data-column=kid]")
    rising = [float(one) for one in column_of(browser, "kid")]
    assert rising == sorted(rising)
    assert len(set(rising)) > 5
    browser.click("[data-column=kid]")
    falling = [float(one) for one in column_of(browser, "kid")]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > rising[-1]
    assert browser.run("return document.querySelector('[data-column=kid]').closest('th').ariaSort") == "descending"
    browser.click("#next")
    assert float(column_of(browser, "kid")[0]) <= falling[-1]


def test_the_table_filters_and_hides_columns(browser: Browser, quick: Path) -> None:
    browser.open(quick)
    count = browser.texts("#count")[0]
    browser.one("#filter").send_keys("steps=50 fid>1")
    browser.settle()
    some = browser.texts("#count")[0]
    assert 0 < int(some.split()[0]) < int(count.split()[0])
    assert set(column_of(browser, "sample_steps")) == {"50"}
    browser.one("#filter").clear()
    browser.one("#filter").send_keys("no such cell")
    browser.settle()
    assert browser.texts("#count")[0].startswith("0 of")
    browser.one("#filter").clear()
    before = len(browser.texts("#cells th[scope=col]"))
    browser.click(".menu summary")
    browser.click("#columns input:checked")
    assert len(browser.texts("#cells th[scope=col]")) == before - 1
    browser.click("#columns input:not(:checked)")
    assert len(browser.texts("#cells th[scope=col]")) == before


def test_a_group_is_seen_everywhere(browser: Browser, quick: Path) -> None:
    browser.open(quick, figures=True)
    group = browser.run("return document.querySelector('#groups button').dataset.level")
    browser.click("#groups button")
    faint = browser.run("return [...document.querySelectorAll('.chart')].map((one) => "
                        "[...one.querySelectorAll('.scatterlayer .trace')].map((trace, i) => "
                        "[one.data[i].name, Number(getComputedStyle(trace).opacity) < 0.5]))")  # fmt: skip
    assert len(faint) == 3
    for chart in faint:
        assert {name for name, dim in chart if not dim} == {group}
        assert len({name for name, _ in chart}) > 1
    column = browser.run("return document.getElementById('by').value")
    assert set(column_of(browser, column)) == {group}
    assert all(group in one for one in browser.texts("#pictures strong"))
    browser.click("#groups button")
    assert not browser.run(
        "return [...document.querySelectorAll('.trace')].some((one) => Number(one.style.opacity || 1) < 1)"
    )


def test_pointing_at_a_dot_shows_its_samples(browser: Browser, quick: Path) -> None:
    from selenium.webdriver import ActionChains

    browser.open(quick, figures=True)
    # the lowest dot has the lowest FID, and no other above it
    browser.run("""
      const all = [...document.querySelectorAll("#chart-steps .point")], low = (one) => one.getBoundingClientRect().y;
      all.reduce((a, b) => (low(b) > low(a) ? b : a)).id = "lowest";
    """)
    ActionChains(browser.driver).move_to_element(browser.one("#lowest")).perform()
    browser.until("!document.getElementById('hover').hidden", 10)
    assert browser.run("return document.querySelector('#hover img').src").startswith("data:image/")
    shown = browser.texts("#hover div")[0]
    browser.one("#lowest")
    ActionChains(browser.driver).move_to_element(browser.driver.find_element("id", "lowest")).click().perform()
    browser.until("document.getElementById('cell').open", 10)
    assert browser.texts("#cell-title") == [shown]


def test_a_cell_says_everything(browser: Browser, quick: Path) -> None:
    browser.open(quick)
    has_strip = browser.run("return Object.keys(JSON.parse(document.getElementById('data').textContent).strips)[0]")
    browser.one("#filter").send_keys(has_strip)
    browser.settle()
    key = browser.run("return document.querySelector('#cells tbody button').textContent")
    browser.click("#cells tbody tr td.right")
    said = browser.texts("#cell")[0]
    for word in ("Metrics", "Configuration", "Denoising", "Held-out error", "provenance", "ddpm-bench sample " + key):
        assert word in said, word
    assert browser.run("return document.querySelectorAll('#cell img').length") == 2
    assert browser.run("return document.querySelectorAll('#cell svg polyline').length") == 1
    # the slider goes on while the rest changes under it
    before = browser.texts("#cell .big")[0]
    browser.run("document.getElementById('cell-steps').id = 'same'")
    slider = browser.one("#same")
    slider.send_keys("\ue012" if slider.get_attribute("value") != "0" else "\ue014")
    browser.settle()
    assert browser.texts("#cell .big")[0] != before
    assert browser.run("return document.activeElement.id") == "same"


def test_two_cells_side_by_side(browser: Browser, quick: Path) -> None:
    browser.open(quick)
    assert not browser.one("#compare").is_enabled()
    browser.one("#filter").send_keys("steps=50 seed=0")
    browser.settle()
    browser.click("#cells tbody tr:nth-child(1) input")
    browser.click("#cells tbody tr:nth-child(3) .pick")  # beside the box
    assert (
        browser.run("return [...document.querySelectorAll('#cells input')].filter((one) => !one.disabled).length") == 2
    )
    browser.click("#compare")
    pictures = browser.run("return [...document.querySelectorAll('#cell img')].map((one) => one.src)")
    assert len(set(pictures)) == 2
    assert len(browser.texts("#cell .big")) == 2
    assert "Both start from the same noise" in browser.texts("#cell .note")[0]


def test_a_picture_of_another_seed_says_so(browser: Browser, quick: Path) -> None:
    browser.open(quick)
    browser.one("#filter").send_keys("steps=50 seed>0 eps linear ancestral")
    browser.settle()
    browser.click("#cells tbody button")
    assert "These are of training seed 0." in browser.texts("#cell")[0]
    browser.press("\ue00c")
    browser.click("#cells tbody tr:nth-child(1) input")
    browser.click("#cells tbody tr:nth-child(2) input")
    browser.click("#compare")
    assert browser.run("return document.querySelectorAll('#cell img').length") == 0, "it is not compared with itself"


def test_the_slider_changes_the_pictures(browser: Browser, quick: Path) -> None:
    from selenium.webdriver import Keys

    browser.open(quick)
    pictures = "return [...document.querySelectorAll('#pictures img')].map((one) => one.src)"
    before, steps = browser.run(pictures), browser.texts("#steps-said")
    browser.one("#steps").send_keys(Keys.HOME)
    browser.settle()
    after = browser.run(pictures)
    assert len(after) == len(before) > 1
    assert not set(after) & set(before)
    assert browser.texts("#steps-said") != steps


def test_light_and_dark(browser: Browser, quick: Path) -> None:
    def dark() -> bool:
        red = "return Number(/[0-9]+/.exec(getComputedStyle(document.body).backgroundColor)[0])"
        return bool(browser.run(red) < 128)

    browser.open(quick)
    assert not dark()
    browser.click("#theme")
    assert dark()
    assert browser.texts("#theme") == ["Light"]
    browser.look(WIDE, "print")
    assert not dark(), "paper is white"
    browser.open(quick)
    browser.look(WIDE, scheme="dark")
    assert dark()
    browser.click("#theme")
    assert not dark()


@pytest.mark.parametrize("size", [PHONE, SMALL])
def test_a_phone_needs_no_sideways_scroll(browser: Browser, quick: Path, size: tuple[int, int]) -> None:
    browser.open(quick, size, figures=True)
    wide = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    assert browser.run(wide) == [size[0], size[0]]
    assert browser.run(OUTSIDE) == []
    browser.click(".menu summary")
    assert browser.run(OUTSIDE) == []
    browser.press("\ue00c")
    assert not browser.run("return document.querySelector('.menu').open")
    browser.click("#cells tbody button")
    assert browser.run("const one = document.getElementById('cell'); return one.scrollWidth - one.clientWidth") <= 0
    assert browser.run(OUTSIDE) == []


def test_paper_has_all_that_a_reader_would_open(browser: Browser, quick: Path) -> None:
    browser.open(quick)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("return document.querySelectorAll('main details:not(.menu):not([open])').length") == 0
    browser.run("dispatchEvent(new Event('afterprint'))")
    browser.look((718, 1000), "print")
    assert browser.run("return document.getElementById('explore').checkVisibility()") is False
    assert browser.run(
        "return [...document.querySelectorAll('main > section:not(.explore)')].every((one) => one.checkVisibility())"
    )
    cut = """
      return [...document.querySelectorAll("main table, main img")]
        .filter((one) => one.getBoundingClientRect().right > 719).map((one) => one.outerHTML.slice(0, 200));
    """
    assert browser.run(cut) == []
    drawn_outside = """
      return [...document.querySelectorAll("main .forest svg")].flatMap((svg) => {
        const room = svg.getBoundingClientRect();
        const inside = (box) => box.right < room.right + 2 && box.bottom < room.bottom + 2;
        return [...svg.children].filter((one) => !inside(one.getBoundingClientRect())).map((one) => one.outerHTML);
      });
    """
    assert browser.run(drawn_outside) == []
    browser.look(WIDE)


def test_without_scripts_the_report_is_there(browser: Browser, quick: Path) -> None:
    browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.open(quick)
        assert "The answer" in browser.texts("h2")
        assert not browser.driver.find_element("id", "explore").is_displayed()
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_keyboard_reaches_everything(browser: Browser, quick: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    browser.open(quick, figures=True)
    browser.run("document.activeElement.blur(); scrollTo(0, 0)")
    wanted = browser.run(REACHABLE)
    hidden: list[str] = []
    for _ in range(2 * wanted):
        ActionChains(browser.driver).send_keys(Keys.TAB).perform()
        left, what, outlined, reached = browser.run(FOCUSED)
        if left:
            break
        if not outlined:
            hidden.append(what)
    assert hidden == [], "the focus is seen"
    assert left, "no trap"
    assert reached - 1 >= wanted, "all but the body itself"


def test_all_is_done_by_keys(browser: Browser, quick: Path) -> None:
    from selenium.webdriver import Keys

    browser.open(quick, figures=True)
    focus = "document.querySelector(arguments[0]).focus()"
    browser.run(focus, "[data-column=kid]")
    browser.press(Keys.ENTER)
    assert browser.run("return document.activeElement.dataset.column") == "kid"
    assert browser.run("return document.activeElement.closest('th').ariaSort") == "ascending"
    browser.run(focus, "#groups button")
    browser.press(Keys.SPACE)
    assert browser.run("return document.activeElement.ariaPressed") == "true"
    browser.press(Keys.SPACE)
    for line in (1, 2):
        browser.run(focus, f"#cells tbody tr:nth-child({line}) input")
        browser.press(Keys.SPACE)
    browser.run(focus, "#compare")
    browser.press(Keys.ENTER)
    assert len(browser.texts("#cell .big")) == 2
    browser.press(Keys.ESCAPE)
    assert browser.run("return document.activeElement.id") == "compare", "the focus comes back"
    browser.run(focus, "#cells tbody tr:nth-child(2) button")
    browser.press(Keys.ENTER)
    assert browser.run("return document.getElementById('cell').contains(document.activeElement)")
    browser.press(Keys.ESCAPE)
    browser.run(focus, "#chart-time")
    browser.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    shown = browser.texts("#hover div")
    assert shown[0] in browser.run("return document.getElementById('spoken').textContent")
    browser.press(Keys.ENTER)
    assert browser.texts("#cell-title") == shown
    browser.press(Keys.ESCAPE)
    browser.run(focus, "#next")
    browser.press(Keys.ENTER)
    while not browser.run("return document.getElementById('next').disabled"):
        browser.press(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "back", "a button that goes out hands the focus on"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser: Browser, quick: Path, scheme: str) -> None:
    rules = ["color-contrast"] if scheme == "dark" else []  # nothing else depends on it
    browser.open(quick, figures=True)
    browser.look(WIDE, scheme=scheme)
    browser.run("""
      document.querySelectorAll("details").forEach((one) => { one.open = true; });
      document.querySelectorAll("main > section").forEach((one) => { one.style.contentVisibility = "visible"; });
    """)
    assert browser.axe(*rules) == []
    browser.run("document.querySelector('.menu').open = false")
    browser.click("#cells tbody button")
    assert browser.axe(*rules) == []
    if scheme == "light":
        browser.press("\ue00c")
        browser.look(PHONE)
        assert browser.axe() == []


def test_hostile_names_are_text(browser: Browser, hostile: Path) -> None:
    browser.open(hostile, figures=True)
    browser.click("#cells tbody button")
    assert "<img src=x" in browser.texts("#cell")[0]
    browser.press("\ue00c")
    for css in ("h1", "#cells tbody", "#groups", "#pictures", "#axes", "caption"):
        assert "<img src=x" in browser.texts(css)[0], css
    assert browser.run("return [window.stolen, document.querySelectorAll('img[src=x]').length]") == [None, 0]
    assert "\u202e" not in browser.run("return document.body.innerText")
    assert browser.faults() == []
