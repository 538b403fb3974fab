"""Fixtures shared by all tests: real MNIST images, and a world small enough to run whole jobs in."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor, nn

from bench.images import datasets
from bench.images.datasets import Images
from bench.score import classifier, judges, own
from bench.score.judges import PANELS, Panel
from bench.score.scorer import Scorer
from bench.store.store import Store
from bench.study.study import Study
from ddpm.nets import NETS

WORKER = "PYTEST_XDIST_WORKER" in os.environ
"""Whether others run tests beside this process."""

if WORKER:
    torch.set_num_threads(1)  # a core each


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Side by side: what needs the reference comes first, so that one process makes it while the others do the rest."""
    if WORKER:
        items.sort(key=lambda item: "scorer" not in getattr(item, "fixturenames", ()))


class TinyNet(nn.Module):
    """Two convolutions with the time added in between: a network whose training takes milliseconds."""

    def __init__(self, channels: int = 1, side: int = 28) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        self.time = nn.Linear(1, 4)
        self.last = nn.Conv2d(4, channels, 3, padding=1)

    def forward(self, x: Tensor, u: Tensor) -> Tensor:
        """(B, C, H, W), (B,) → (B, C, H, W)."""
        return self.last(torch.tanh(self.first(x) + self.time(u[:, None])[:, :, None, None]))


class TinyJudge(classifier.Network):
    """A classifier of the same parts that looks at a few averages: it takes a hundredth of the time."""

    def __init__(self, channels: int = 1, classes: int = classifier.CLASSES) -> None:
        super().__init__(channels, classes)
        self.strokes = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(channels, classifier.STROKES, 1), nn.ReLU())
        self.shapes = nn.Sequential(nn.Conv2d(classifier.STROKES, classifier.SHAPES, 1), nn.ReLU())


@dataclass
class World:
    """A results folder, a tiny data set under the name ``mnist``, a net ``tiny`` and an untrained classifier."""

    store: Store
    images: Images
    weights: Path

    def pin(self, seed: int) -> str:
        """Make another classifier the pinned one and return its hash."""
        torch.manual_seed(seed)
        sha256 = classifier.save(TinyJudge(), self.weights, {})
        PANELS["mnist"] = Panel("classifier", "classifier", {"classifier": (sha256, "")})
        return sha256


@cache
def literal(_modules: int) -> list[tuple[str, str]]:
    """(module, name) of every literal table of the project; they are looked for again once more modules are loaded."""
    return [
        (module, name)
        for module in sorted(sys.modules)
        if module.partition(".")[0] in {"bench", "ddpm", "ddpm_bench"}
        for name, table in vars(sys.modules[module]).items()
        if name.isupper() and isinstance(table, dict) and "FEATURE_EXTRACTORS" not in name  # torch-fidelity's own
    ]


def tables() -> dict[str, list[tuple[Any, int]]]:
    """The rows of every literal table, in order."""
    return {
        f"{module}.{name}": [(key, id(row)) for key, row in vars(sys.modules[module])[name].items()]
        for module, name in literal(len(sys.modules))
    }


@pytest.fixture(autouse=True)
def _tables_stay() -> Iterator[None]:
    """A test leaves every table as it found it, in its order too: the columns of a page follow that order."""
    before = tables()
    yield
    after = tables()
    changed = [name for name in before if before[name] != after.get(name)]
    assert not changed, f"this test left other rows, or another order, in {', '.join(changed)}"


@contextmanager
def standing_in(table: dict[str, Any], rows: dict[str, Any]) -> Iterator[None]:
    """``rows`` in place of all of a table's own, which are put back in their order."""
    own = dict(table)
    table.clear()
    table.update(rows)
    try:
        yield
    finally:
        table.clear()
        table.update(own)


@pytest.fixture(autouse=True)
def _no_network(_tables_stay: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever tries to reach the network fails, whether or not there is one; processes here may talk."""
    if request.node.get_closest_marker("ray"):
        return  # its nodes talk by TCP, on this machine
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def here_only(host: Any) -> None:
        if host != "127.0.0.1":
            raise OSError("no network in tests")

    def local_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX:
            here_only(address[0])
        connect(self, address)

    def local_look_up(host: Any, *about: Any, **more: Any) -> Any:
        here_only(host)
        return look_up(host, *about, **more)

    monkeypatch.setattr(socket.socket, "connect", local_connect)
    monkeypatch.setattr(socket, "getaddrinfo", local_look_up)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A user's cache for the tests, all of their processes; what one compiles the next finds."""
    folder = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str((folder.parent if WORKER else folder) / "cache"))
        yield


@pytest.fixture(scope="session")
def mnist() -> Images:
    """The MNIST that ships with the project."""
    return datasets.load("mnist")


def kept_scorer(
    mnist: Images, request: pytest.FixtureRequest, factory: pytest.TempPathFactory, judge: str | None = None
) -> Scorer:
    """What really scores MNIST.

    Its subset is of 10,000 images, which takes a while. It is kept in pytest's cache, where the scorer looks for it by
    data, classifier and code, as in any results folder; only one process makes it. What else a test writes goes to a
    folder of this session alone.
    """
    own = Store(factory.mktemp("scoring"))
    cache = getattr(request.config, "cache", None)
    kept = Path(cache.mkdir(f"mnist-reference-torch-{torch.__version__}")) if cache else own.root
    with FileLock(kept / ".lock"):
        scorer = Scorer("mnist", mnist, Store(kept), torch.device("cpu"), judge)
        assert scorer.reference.within > 0
    if kept != own.root:
        shutil.copytree(kept / "scoring", own.root / "scoring")
        scorer.store = own
    return scorer


@pytest.fixture(scope="session")
def scorer(mnist: Images, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """What really scores MNIST, by the headline judge."""
    return kept_scorer(mnist, request, tmp_path_factory)


@pytest.fixture(scope="session")
def first_scorer(mnist: Images, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """The same by the first judge, which scored the gate's baseline."""
    return kept_scorer(mnist, request, tmp_path_factory, "classifier")


@pytest.fixture(scope="session")
def empty(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with the reference of MNIST, all that scoring 20 images needs, and no results."""
    root = tmp_path_factory.mktemp("empty")
    shutil.copytree(scorer.store.root / "scoring", root / "scoring")
    store = Store(root)
    Scorer("mnist", scorer.images, store, torch.device("cpu")).bounds(20)
    store.writable()
    return root


@pytest.fixture(scope="session")
def tiny_images(mnist: Images) -> Images:
    """256 + 200 real images, drawn from both ends of the sets."""
    train, test = torch.arange(256) * 234, torch.arange(200) * 50
    return Images(mnist.train[train], mnist.train_labels[train], mnist.test[test], mnist.test_labels[test], "ab" * 32)


@pytest.fixture
def world(tiny_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Everything a job needs, tiny: see :class:`World`."""
    row = replace(datasets.DATASETS["mnist"], read=lambda root: tiny_images)
    monkeypatch.setitem(datasets.DATASETS, "mnist", row)
    monkeypatch.setitem(NETS, "tiny", TinyNet)
    monkeypatch.setattr(judges, "WEIGHTS", tmp_path)
    monkeypatch.setattr(classifier, "RECIPE", classifier.RECIPE._replace(network=TinyJudge))
    monkeypatch.setattr(own, "STEPS", 1)
    threads = torch.get_num_threads()
    with standing_in(PANELS, dict(PANELS)):
        world = World(Store(tmp_path / "results"), tiny_images, tmp_path / "mnist-classifier.safetensors")
        world.pin(0)
        yield world
    torch.set_num_threads(threads)
    classifier.load.cache_clear()


@pytest.fixture
def own_classifier(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST without a pinned judge: its classifier is trained in the results folder, for one epoch and not four."""
    del PANELS["mnist"]
    monkeypatch.setattr(classifier, "RECIPE", classifier.RECIPE._replace(epochs=1))


def make_study(*, budget: dict[str, Any] | None = None, n: int = 20, **axes: list[Any]) -> Study:
    """A tiny study; ``budget`` and ``axes`` replace its fields."""
    content: dict[str, Any] = {
        "name": "tiny",
        "train": {"epochs": 3, "batch_size": 64} | (budget or {}),
        "axes": {
            "net": ["tiny"],
            "objective": ["previous", "eps"],
            "schedule": ["linear"],
            "T": [100],
            "sampler": ["ancestral", "ddim"],
            "sample_steps": [4],
        }
        | axes,
        "score": {"n": n},
    }
    return Study.model_validate(content)


@pytest.fixture(name="make_study")
def _make_study(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Study]:
    """:func:`make_study`, with its net in the table."""
    monkeypatch.setitem(NETS, "tiny", TinyNet)
    return make_study


@pytest.fixture
def tiny_study(make_study: Callable[..., Study]) -> Study:
    """Two jobs of three epochs, each sampled in two ways."""
    return make_study()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A real Slurm of two nodes; the settings that fit it."""
    from perf import clusters

    with clusters.slurm(tmp_path_factory.mktemp("slurm")):
        yield {"poll": 0.3, "folder": tmp_path_factory.mktemp("submitit")}


@pytest.fixture(scope="session")
def ray() -> Iterator[dict[str, Any]]:
    """A real Ray of two nodes; the settings that fit it."""
    from perf import clusters

    with clusters.ray() as cluster:
        yield {"address": cluster.address}
