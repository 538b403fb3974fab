"""SQL over results: what it sees, what it refuses, and that it touches nothing."""

from __future__ import annotations

import csv
import io
import json
import resource
from pathlib import Path

import pytest

from bench import cli
from bench.analysis import query, table
from bench.cli import query as query_command
from bench.errors import UserError
from bench.store.store import Store, encode
from bench.study import load
from tests.records import epoch, failed_cell, failed_job, harness_run, scored_cell, trained_job


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The smoke study: one job done with both of its cells, one failed, and a cell of it that diverged."""
    store = Store(tmp_path / "results")
    (done, cells), (failed, others) = load.load("smoke").jobs.items()
    first = epoch(9.5, 24_000, warm=False)
    store.write(done, trained_job(cells[0].job, [first], harness=(harness_run(20.0, estimate_s=18.0),)))
    reason = "diverged: the loss is 'nan'"
    store.write(failed, failed_job(others[0].job, reason))
    metrics = dict.fromkeys(("kid", "kid_se", "inception_score", "precision", "recall", "confidence"), 0.5)
    for i, cell in enumerate(cells):
        store.write(cell.key, scored_cell(cell, metrics | {"fid": 3.5 + i, "class_balance": 1.0}))
    store.write(others[0].key, failed_cell(others[0], reason))
    return store


def test_cells_are_the_stable_table(store: Store) -> None:
    """Every column but the study, with the very values; only cells that have a record."""
    names = [name for name in table.columns() if name != "study"]
    answer = query.ask("SELECT * FROM cells ORDER BY key", store)
    assert answer.columns == names
    rows = {row["key"]: row for row in table.rows(load.load("smoke"), store)}
    kept = sorted(key for key in rows if store.path("cells", key, ".json").is_file())
    assert len(kept) == 3
    assert answer.rows == [tuple(rows[key][name] for name in names) for key in kept]
    types = dict(query.ask("SELECT column_name, column_type FROM (DESCRIBE cells)", store).rows)
    assert (types["fid"], types["T"], types["key"], types["clip"]) == ("DOUBLE", "BIGINT", "VARCHAR", "BOOLEAN")


def test_jobs(store: Store) -> None:
    answer = query.ask("SELECT status, epochs, epoch_s, loss, wall_s, estimate_s, reason FROM jobs ORDER BY 1", store)
    done, failed = answer.rows
    assert done == ("done", 1, 9.5, 0.1, 20.0, 18.0, None)
    assert failed[0] == "failed"
    assert "diverged" in failed[-1]


def test_formats(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["query", "SELECT key, fid, reason FROM cells ORDER BY fid", "--results", str(store.root)]
    assert cli.main([*argv, "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["fid"] for row in rows] == ["3.5", "4.5", ""]
    assert cli.main([*argv, "--format", "json"]) == 0
    assert [row["fid"] for row in json.loads(capsys.readouterr().out)] == [3.5, 4.5, None]
    assert cli.main(argv) == 0
    assert capsys.readouterr().out.startswith("| key")


def test_columns_of_one_name(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON would keep one of them; the other forms keep both."""
    sql = "SELECT a.fid, b.fid FROM cells a JOIN cells b ON a.fid < b.fid"
    argv = ["query", sql, "--results", str(store.root), "--format"]
    assert cli.main([*argv, "json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == "ddpm-bench: two columns are called fid: name them with AS\n"
    assert captured.out == ""
    assert cli.main([*argv, "csv"]) == 0
    assert capsys.readouterr().out == "fid,fid\n3.5,4.5\n"


def test_a_large_number_far_down(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database takes a type from a sample of a chunk's rows; here the sample is all of them."""
    seeds = [0] * 2_499 + [2**40]
    rows = [{"sample_seed": seed, "train_flops_per_image": seed} for seed in seeds]
    monkeypatch.setattr(query, "_cells", lambda store: iter(rows))
    monkeypatch.setattr(query, "_jobs", lambda store: iter(rows))
    assert query.ask("SELECT max(sample_seed) FROM cells", store).rows == [(2**40,)]
    assert query.ask("SELECT max(train_flops_per_image) FROM jobs", store).rows == [(2**40,)]


def test_an_empty_answer_is_an_answer(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["query", "SELECT key FROM cells WHERE fid < 0", "--results", str(store.root), "--format"]
    assert cli.main([*argv, "json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert cli.main([*argv, "csv"]) == 0
    assert capsys.readouterr().out == "key\n"


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT fidd FROM cells", '"fidd" not found'),
        ("SELECT * FROM cellz", "Table with name cellz does not exist! (the views"),
        ("", "one query"),
        ("SELECT 1; SELECT 2", "one query"),
        ("DELETE FROM cells", "one query"),
        ("COPY cells TO '{folder}/x.csv'", "one query"),
        ("ATTACH '{folder}/x.db'", "one query"),
        ("SET enable_external_access = true", "one query"),
        ("SELECT * FROM read_text('{folder}/secret.txt')", "disabled by configuration"),
        ("SELECT * FROM '{folder}/secret.csv'", "disabled by configuration"),
    ],
)
def test_refusals_are_one_line(
    sql: str, says: str, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And name the views and where their columns are."""
    for name in ("secret.txt", "secret.csv"):
        (tmp_path / name).write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["query", sql.format(folder=tmp_path), "--results", str(store.root)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert "the views are cells and jobs" in error
    assert "DESCRIBE cells" in error
    assert sorted(tmp_path.rglob("*")) == before


def test_variables_of_the_program_are_no_tables(store: Store) -> None:
    with pytest.raises(UserError, match="does not exist"):
        query.ask("SELECT * FROM frame", store)


def test_damaged_and_foreign_records_are_left_out_and_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.path("cells", "beef", ".json").write_bytes(encode({"status": "done", "config": {"from": "another world"}}))
    store.path("cells", "dead", ".json").write_text("{")
    assert cli.main(["query", "SELECT count(*) AS n FROM cells", "--format", "csv", "--results", str(store.root)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "n\n3\n"
    assert "beef.json" in captured.err
    assert "dead.json" in captured.err


def test_nothing_there(tmp_path: Path) -> None:
    assert query.ask("SELECT count(*) FROM cells", Store(tmp_path)).rows == [(0,)]


def test_the_examples_in_help_work(store: Store) -> None:
    examples = [part.split('"')[1] for part in query_command.EXAMPLES.split("ddpm-bench query ")[1:]]
    assert len(examples) == 2
    for sql in examples:
        assert query.ask(sql, store).columns


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELECT count(*) FROM range(1000000000000) a, range(1000000) b", "the query took over 0.2 s"),
        ("SELECT * FROM range(1001)", "more than 1,000 rows: add a LIMIT"),
        ("SELECT len(range(200000000))", "the query needs over 300 MB"),
    ],
)
def test_a_query_that_would_take_everything(store: Store, monkeypatch: pytest.MonkeyPatch, sql: str, says: str) -> None:
    monkeypatch.setattr(query, "MOST_S", 0.2)
    monkeypatch.setattr(query, "MOST_ROWS", 1000)
    monkeypatch.setattr(query, "MOST_MB", 300)
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(UserError, match=says):
        query.ask(sql, store)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
