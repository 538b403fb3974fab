"""The report as one HTML file: what it holds, and that nothing of a stranger's text is markup in it."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from bench.analysis.claims import judge
from bench.analysis.frames import Results
from bench.cli import main
from bench.job.events import JobDone
from bench.paths import ROOT
from bench.report.blocks import CodeSpan, Column, Link, heading, table, text
from bench.report.plain import plain
from bench.report.web.data import as_json, columns_of, data_of
from bench.report.web.elements import elements
from bench.report.web.forest import drawn
from bench.report.web.page import page
from bench.sinks.seeds import EachSeed
from bench.store.store import Store
from tests.bench.made_up import fill, make_study, write_cell, write_job

DIGITS = torch.zeros(64, 1, 28, 28)
REPORT = ROOT / "bench" / "report"
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e&amp;\"'`\x07"


class Tags(HTMLParser):
    """The tags of a page, and the text inside each script."""

    def __init__(self):
        super().__init__()
        self.tags, self.texts = [], []

    def handle_starttag(self, tag, attrs):
        """Take note of it."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        """Take note of it."""
        self.texts.append(data)


def parsed(source):
    parser = Tags()
    parser.feed(source)
    return parser


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    store, study = Store(tmp_path_factory.mktemp("results")), make_study(seed=[0, 1])
    fill(study, store, DIGITS)
    return Results(study, store)


def test_the_data_is_that_of_the_cells(results):
    data = json.loads(as_json(data_of(results, "results/local")))
    columns = {column["name"]: column for column in data["columns"]}
    keys = columns["key"]["values"]
    assert sorted(keys) == sorted(cell.key for cell in results.study.cells)
    fids = dict(zip(results.cells["key"], results.cells["fid"], strict=True))
    assert columns["fid"]["values"] == pytest.approx([fids[key] for key in keys], rel=1e-5)
    levels = columns["objective"]["levels"]
    said = dict(zip(results.cells["key"], results.cells["objective"], strict=True))
    assert [levels[i] for i in columns["objective"]["values"]] == [said[key] for key in keys]
    assert data["jobs"].keys() == results.jobs.keys()


def test_hostile_text_is_text(results):
    data = data_of(results, HOSTILE)
    said = text(CodeSpan(HOSTILE), Link(HOSTILE, "javascript:alert(1)"))
    shown = table([Column(HOSTILE)], [[HOSTILE]], HOSTILE)
    blocks = [heading(1, HOSTILE), heading(2, "The answer"), said, shown]
    found = parsed(page(HOSTILE, blocks, {}, data))
    kinds = [attrs.get("type") for tag, attrs in found.tags if tag == "script"]
    assert kinds == ["application/json", "text/plain", "module"]
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert not [attrs for _, attrs in found.tags if any(name.startswith("on") for name in attrs)]
    assert not [attrs for tag, attrs in found.tags if tag == "a" and "javascript" in (attrs["href"] or "")]
    assert "\u202e" not in "".join(found.texts)


def test_the_page_asks_for_nothing(results):
    found = parsed(page("t", [heading(1, "t"), heading(2, "The answer")], {}, data_of(results, "r")))
    policy = next(attrs["content"] for tag, attrs in found.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert len(re.findall("'sha256-[^']{44}'", policy)) == 2
    assert not [value for tag, attrs in found.tags for name, value in attrs.items()
                if name in ("src", "href") and not value.startswith(("data:", "#"))]  # fmt: skip


def test_every_column_says_something(results):
    columns = list(columns_of(results.cells, ["objective"]))
    assert len({column["name"] for column in columns}) == len(columns)
    assert all("constant" in column or len(column["values"]) == len(results.cells) for column in columns)
    assert not [column["name"] for column in columns if set(column.get("values", [0])) == {None}]


def test_a_claim_is_drawn_where_its_ratio_is():
    study = make_study(seed=[0, 1, 2]).model_copy(update={"claims": ["eps < previous on fid"]})
    rows = [
        cell.job.told
        | cell.sampling.told
        | {"key": cell.key, "role": "default", "fid": 5.0 if cell.job.objective.name == "eps" else 10.0}
        for cell in study.cells
    ]
    source = drawn(judge(study.hypotheses, rows, dict(study.axes)))
    middle, place = (
        float(re.search(one, source)[1]) for one in (r'x1="([\d.]+)" x2="[\d.]+" y1="0"', 'cx="([0-9.]+)"')
    )
    assert place < middle
    assert "× 0.5" in source


def test_each_seed_is_told_once(tmp_path):
    store, study, told = Store(tmp_path), make_study(seed=[0, 1]), []
    sink = EachSeed(study, store, lambda: told.append(1))
    for seed in (0, 1):
        jobs = [(key, cells) for key, cells in study.jobs.items() if cells[0].job.seed == seed]
        for i, (key, cells) in enumerate(jobs):
            assert len(told) == seed
            write_job(store, cells[0].job)
            for cell in cells:
                write_cell(store, cell, DIGITS)
            sink.emit(JobDone(job=key, label="", overhead=None))
            assert len(told) == (seed if i < len(jobs) - 1 else 1)


def test_open_writes_what_is_missing_and_says_where_it_is(tmp_path, monkeypatch, capsys):
    import webbrowser

    from bench.cli import output

    written = []

    def no_browser():
        raise webbrowser.Error("none")

    monkeypatch.setattr(webbrowser, "get", no_browser)
    monkeypatch.setattr(output, "report", lambda study, store, out: written.append(study.name))
    assert main(["open", "objectives", "--results", "results/reference", "--out", str(tmp_path)]) == 0
    assert written == ["objectives"]
    assert "report.html" in capsys.readouterr().out
    (tmp_path / "objectives").mkdir()
    (tmp_path / "objectives" / "report.html").write_text("")
    assert main(["open", "objectives", "--results", "results/reference", "--out", str(tmp_path)]) == 0
    assert written == ["objectives"]


def test_elements_say_all_that_blocks_say():
    source = elements([table([Column("x", format="two decimals")], [[np.pi]], "caption")], {})
    assert "3.14" in source
    assert "<caption>caption</caption>" in source
    assert 'scope="col"' in source


def test_every_page_begins_with_the_same_head():
    """It is one asset: a second copy would not get what is changed in the first."""
    files = [path for path in REPORT.rglob("*") if path.suffix in {".py", ".html"}]
    assert [path.name for path in files if "<!doctype" in path.read_text(encoding="utf-8").lower()] == ["head.html"]
    assert "<title>A &amp; B</title>" in plain("A & B", [])


def test_columns_hold_each_value_as_it_is(results):
    """Values that repeat are worked out once. None, NaN, flags and numbers come out as one by one."""
    frame = results.cells.iloc[:6].assign(
        fid=[1.0, 2.123456789, 1.0, math.nan, -0.0, 3e300],
        reason="x",
        device=["cpu", None, "cpu", "cuda", None, "cpu"],
        dirty=[True, False, True, True, False, True],
        code=[f"c{i}" for i in range(6)],
    )
    columns = {column["name"]: column for column in columns_of(frame, ["objective"])}
    assert columns["fid"]["values"] == [1, 2.12346, 1, None, 0, 3e300]
    assert [columns["device"]["levels"][i] for i in columns["device"]["values"]] == [
        "cpu",
        "",
        "cpu",
        "cuda",
        "",
        "cpu",
    ]
    assert [columns["dirty"]["levels"][i] for i in columns["dirty"]["values"]] == [
        "True",
        "False",
        "True",
        "True",
        "False",
        "True",
    ]
    assert columns["code"]["values"] == [f"c{i}" for i in range(6)]
    assert columns["n"]["constant"] == int(results.cells["n"].iloc[0])
    json.dumps(columns, allow_nan=False)
