"""The functions of :mod:`ddpm_bench`."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from rich.console import Console

from bench import paths
from bench.analysis.query import ask
from bench.analysis.table import frame, iter_rows
from bench.errors import UserError
from bench.execute.plan import make_options
from bench.job.draw import Trained, trained_network
from bench.job.export import load_exported
from bench.machine.devices import pick_device
from bench.sinks.follow import follow
from bench.store.lookup import find_cell, open_store, readable
from bench.study import load as studies
from bench.study import yaml12
from bench.study.study import Study

__all__ = ["UserError", "load", "load_study", "network", "results", "run", "samples"]

StudyLike = str | Path | Mapping[str, Any] | Study
"""A shipped study's name, the path of a YAML file, what such a file holds, or a study."""


def load_study(study: StudyLike) -> Study:
    """A study, checked: its ``cells`` and ``jobs`` are what :func:`run` would do.

    :param study: a shipped study's name, a path of a YAML file, or a mapping with what such a file holds.
    :raises UserError: saying in one line what is wrong with it.
    """
    if isinstance(study, Study):
        return study
    if isinstance(study, Mapping):
        return _from_mapping(study)
    return studies.load(str(study))


def _folder(given: str | Path | None) -> Path | None:
    """The folder that a user names, whatever becomes the working directory later."""
    return paths.given(given).absolute() if given else None


def _from_mapping(content: Mapping[str, Any]) -> Study:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, f"{content.get('name', 'study')}.yaml".replace("/", "_"))
        try:
            text = yaml12.dump(_plain(content))
        except yaml.YAMLError as error:
            raise UserError(f"study: it has a value that YAML cannot hold: {error.args[-1]!r}") from None
        path.write_text(text, encoding="utf-8")
        try:
            return studies.load(str(path))
        except UserError as error:  # the lines of this file tell nobody anything
            raise UserError(re.sub(rf"{re.escape(str(path))}(:\d+)?", "study", str(error))) from None


def _plain(value: Any) -> Any:
    """Tuples, ranges and arrays as lists, which is all that YAML knows."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [_plain(item) for item in value] if isinstance(value, list | tuple | range) else value


def run(
    study: StudyLike,
    *,
    results: str | Path | None = None,
    device: str = "auto",
    workers: int | Literal["auto"] | None = None,
    threads: int | None = None,
    engine: str = "auto",
    data_dir: str | Path | None = None,
    retry: bool = False,
    executor: str = "local",
    settings: Mapping[str, Any] | None = None,
    log: str | Sequence[str] = (),
    quiet: bool = False,
) -> pd.DataFrame:
    """Do what is missing of a study, and return its table: a row a cell, the columns of ``ddpm-bench table``.

    What is done already is not done again. A cell that failed has the status ``failed`` and a ``reason``.

    :param results: the results folder; by default ``results/local`` of a checkout, or ``results`` in the working
        directory.
    :param workers: how many jobs at once. With ``auto``, a short trial finds how many, and with how many threads each.
    :param executor: where jobs run, a row of :data:`bench.execute.executor.EXECUTORS`.
    :param settings: what that executor alone is told, such as ``{"partition": "gpu"}``.
    :param log: who else is told what happens, one or several, as for ``--log``: ``jsonl:FILE``.
    :param quiet: print nothing.
    :raises UserError: for a mistake in the study or the options, in one line.
    """
    known, store = load_study(study), open_store(_folder(results) or paths.LOCAL)
    folder = _folder(data_dir)
    options = make_options(
        device,
        workers=None if workers == "auto" else workers,
        threads=threads,
        data_dir=folder,
        retry=retry,
        engine_name=engine,
        executor=executor,
        settings=settings,
    )
    sinks = [log] if isinstance(log, str) else log
    follow(known, store, options, Console(quiet=quiet), sinks, auto=workers == "auto")
    return frame(iter_rows(known, store))


def results(study: StudyLike | None = None, folder: str | Path | None = None) -> pd.DataFrame:
    """Results as a data frame: a row for each cell of a study, or for every cell of a results folder.

    :param study: a study, as for :func:`load_study`; or the path of a results folder; None for every cell there is.
    :param folder: the results folder; by default one's own if it has anything of the study, else the project's.
    :raises UserError: for a study or folder that does not exist.
    """
    if isinstance(study, str | Path) and str(study) not in studies.available() and paths.given(study).is_dir():
        study, folder = None, study
    where = _folder(folder)
    if study is None:
        answer = ask("SELECT * FROM cells", readable(where))
        return pd.DataFrame(answer.rows, columns=answer.columns)
    known = load_study(study)
    return frame(iter_rows(known, readable(where, known)))


def samples(key: str, *, results: str | Path | None = None) -> np.ndarray:
    """The samples that a cell was scored by: uint8 (N, C, H, W).

    :param key: a cell's key (the column ``key``), or the start of one.
    :raises UserError: if there is no such cell, or its samples are not kept in this folder.
    """
    store = readable(_folder(results))
    cell = find_cell(key, store)
    kept = store.load_samples(cell.key)
    if kept is None:
        raise UserError(
            f"no samples of {cell.key} in {paths.shown(store.root)}: run its study, "
            "or draw new ones with ddpm_bench.network"
        )
    return kept[0]


def network(key: str, *, results: str | Path | None = None, device: str = "auto") -> Trained:
    """The trained network of a cell: a module whose ``sample(n, seed=0)`` gives uint8 (n, C, H, W).

    Calling it gives the network's own output for x_t (B, C, H, W) and t/T (B,).

    :param key: a cell's key (the column ``key``), or the start of one.
    :raises UserError: if there is no such cell, or its weights are not kept in this folder.
    """
    store = readable(_folder(results))
    return trained_network(find_cell(key, store), store, pick_device(device))


def load(what: str | Path, *, results: str | Path | None = None, device: str = "auto") -> Trained:
    """A trained network as a module: by a cell's key, as :func:`network`, or from a file of ``ddpm-bench export``.

    :param what: a cell's key, the start of one, or the path of a ``.safetensors``.
    :raises UserError: if there is no such cell or file, or it is another kind of file.
    """
    if str(what).endswith(".safetensors"):
        return load_exported(paths.given(what), pick_device(device))
    return network(str(what), results=results, device=device)
