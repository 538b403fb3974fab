"""Engines: what a trial measures and concludes, what it costs, and that a compiled network is the same network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.job import engine
from bench.job.engine import AUTO, COMPILING_S, ENGINES, ROUNDS, Calls, Engine, Wish, Work, choose, fastest, trial, wish
from bench.machine import clocks
from bench.machine.provenance import machine_id
from bench.store.records import EngineChoice, EngineRecord, Trial
from bench.store.store import Store
from bench.study.study import Study
from ddpm.nets import NETS, make_net
from tests.conftest import TinyNet

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
TRIED = Trial(cold_s=30.0, warm_s=2.0, error=0.0, eager_s=(1.0, 3.0, 1.1), seconds=(0.9, 1.5, 1.0))


@pytest.fixture(autouse=True)
def _kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kernels go to a folder of their own, and nothing compiled outlives a test."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    yield
    torch.compiler.reset()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def make_work(task: engine.Task = "sample", net: nn.Module | None = None) -> Work:
    torch.manual_seed(0)
    return Work(task, net or TinyNet().train(task == "train"), 4, (1, 8), CPU)


class Fake:
    """A clock that only engines move: each evaluation takes as long as its engine says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, takes: dict[str, float], warm: float = 5.0) -> None:
        self.now, self.began = 0.0, 0.0
        self.made: list[str] = []
        monkeypatch.setattr(clocks, "make_clock", lambda device: self)
        monkeypatch.setattr(engine, "evaluator", self.evaluator)
        monkeypatch.setattr(engine, "ENGINES", {name: Engine() for name in takes})
        self.takes, self.warm = takes, warm

    def start(self) -> None:
        """Begin."""
        self.began = self.now

    def stop(self) -> float:
        """Seconds since."""
        return self.now - self.began

    def evaluator(self, name: str, net: nn.Module, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        """An engine that is slow the first time."""
        self.made.append(name)
        new = [True]

        def evaluate(x: Tensor, u: Tensor) -> Tensor:
            self.now += self.takes[name] + self.warm * new.pop() if new else self.takes[name]
            return net(x, u)  # type: ignore[no-any-return]

        return evaluate

    def net(self) -> nn.Module:
        """An eager network that takes time too."""
        fake = self

        class Slow(TinyNet):
            def forward(self, x: Tensor, u: Tensor) -> Tensor:
                fake.now += fake.takes["eager"]
                return super().forward(x, u)

        return Slow().eval()


def make_study(**axes: Any) -> Study:
    axes = {"net": ["unet"], "objective": ["eps"], "schedule": ["cosine"], "T": [100]} | axes
    axes = {"sampler": ["ddim"], "sample_steps": [5, 10]} | axes
    train = {"epochs": 3, "images": 1000, "batch_size": 64}
    return Study.model_validate({"name": "s", "train": train, "axes": axes, "score": {"n": 250}})


# what there is to do


def test_calls_by_hand() -> None:
    cells = next(iter(make_study().jobs.values()))
    assert engine.calls(cells, 100) == {"train": 3 * 15, "sample": 3 * 5 + 3 * 10}


def test_jobs_whose_network_sees_the_same_shapes_are_alike() -> None:
    study = make_study(net=["unet", {"unet": {"width": 24}}], seed=[0, 1])
    first = next(iter(study.jobs.values()))
    wanted = wish(AUTO, first, study.jobs.values(), "cpu")
    assert wanted.calls == {"train": Calls(45, 90), "sample": Calls(45, 90)}


# what a trial concludes


def test_the_fastest_saves_more_than_its_warm_up() -> None:
    """The median of 0.1, 1.5 and 0.1 saved a call."""
    assert fastest({"a": TRIED}, 100) == ("a", pytest.approx(8.0))
    assert fastest({"a": TRIED}, 19) == ("eager", 0.0)
    better = TRIED.model_copy(update={"seconds": (0.8, 1.5, 0.9)})
    assert fastest({"a": TRIED, "b": better}, 100) == ("b", pytest.approx(18.0))
    assert fastest({"a": TRIED, "b": Trial(failed="no")}, 100)[0] == "a"
    assert fastest({}, 100) == ("eager", 0.0)


def test_a_trial_times_engines_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, {"eager": 0.2, "quick": 0.1})
    tried = trial(make_work(net=fake.net()), ["quick"])["quick"]
    # the compiled network calls the eager one here, which takes its own time
    assert list(tried.eager_s) == pytest.approx([0.2] * ROUNDS)
    assert list(tried.seconds) == pytest.approx([0.3] * ROUNDS)
    assert tried.cold_s == tried.warm_s == pytest.approx(5.3)
    assert fake.made == ["quick", "quick"], "once from nothing, once from what was kept"


def test_an_engine_that_computes_something_else_is_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for factor, failed in ((1.001, False), (1.1, True), (float("nan"), True)):
        monkeypatch.setattr(engine, "evaluator", lambda name, net, device, f=factor: lambda x, u: f * net(x, u))
        tried = trial(make_work(), ["compiled"])["compiled"]
        assert (tried.failed is not None) is failed


def test_an_engine_that_breaks_is_out_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, net: nn.Module, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        raise RuntimeError("InvalidCxxCompiler: none\nmore")

    monkeypatch.setattr(engine, "evaluator", broken)
    work = make_work("train")
    assert trial(work, ["compiled"]) == {"compiled": Trial(failed="InvalidCxxCompiler: none")}
    assert all(p.grad is None for p in work.net.parameters())


# what is done with it


def calls(job: int = 1000, study: int = 10**6) -> Wish:
    return Wish(AUTO, {"sample": Calls(job, study), "train": Calls(job, study)})


def test_a_machine_tries_once(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(engine, "COMPILING_S", {"sample": 0.0})
    monkeypatch.setattr(engine, "trial", lambda work, names: dict.fromkeys(names, TRIED))
    made = []
    monkeypatch.setattr(engine, "evaluator", lambda name, net, device: made.append(name) or net)
    chosen = choose(make_work(), "tiny", store, calls())
    assert chosen.name == "compiled"
    assert chosen.about.why == "saves 98 s"
    kept = store.read(EngineRecord, str(chosen.about.trial))
    assert kept is not None
    assert kept.trials["compiled"] == TRIED
    monkeypatch.setattr(engine, "trial", lambda *_: pytest.fail("tried again"))
    assert choose(make_work(), "tiny", store, calls()).name == "compiled"
    assert choose(make_work(), "tiny", store, calls(study=1)).name == "compiled", "what was tried is not forgotten"
    short = choose(make_work(), "tiny", store, calls(job=1))
    assert (short.name, short.about.why) == ("eager", "nothing else saves time")
    assert made == ["compiled"] * 3
    # another network, task, shape or number of threads has a trial of its own
    with pytest.raises(pytest.fail.Exception):
        choose(make_work(), "other", store, calls())


def test_what_is_too_little_to_try_for(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(engine, "trial", lambda *_: pytest.fail("not worth it"))
    chosen = choose(make_work(), "tiny", store, calls(study=100))
    assert chosen.name == "eager"
    assert chosen.net is not None
    assert str(chosen.about.why).startswith("no other engine may save what trying it takes, of about")
    assert COMPILING_S["sample"] > 1


def test_each_engine_is_tried_where_it_may_win_what_trying_takes(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """A tenth of 400 s is not worth 40 s, three tenths are; what costs nothing to try is tried for anything."""
    engines = {"eager": Engine(), "a": Engine("default", saves=0.1), "b": Engine("default"), "c": Engine(saves=0.01)}
    monkeypatch.setattr(engine, "ENGINES", engines)
    monkeypatch.setattr(engine, "_call_s", lambda work: 4.0)
    monkeypatch.setattr(engine, "evaluator", lambda name, net, device: net)
    tried: list[list[str]] = []

    def keep(work: Work, names: list[str]) -> dict[str, Any]:
        tried.append(names)
        return dict.fromkeys(names, TRIED)

    monkeypatch.setattr(engine, "trial", keep)
    for study in (30, 100, 101, 101):
        choose(make_work(), "tiny", store, calls(study=study))
    assert tried == [["c"], ["b"], ["a"]]


def test_the_timing_that_decides_is_taken_once(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """Or noise would give one study's jobs two engines."""
    times = iter([1e-6])
    monkeypatch.setattr(engine, "_call_s", lambda work: next(times))
    whys = [choose(make_work(), "tiny", store, calls()).about.why for _ in range(3)]
    assert whys == ["no other engine may save what trying it takes, of about 1 s"] * 3


def test_a_call_is_timed_by_the_device_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, {"eager": 0.25})
    assert engine._call_s(make_work(net=fake.net())) == pytest.approx(0.25)


def test_no_compiler_no_trial(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert choose(make_work(), "tiny", store, calls()).about == EngineChoice(engine="eager", why="no C++ compiler")


def test_what_fails_after_its_trial_falls_back(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    def broken(name: str, net: nn.Module, device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        raise RuntimeError("gone")

    monkeypatch.setattr(engine, "COMPILING_S", {"sample": 0.0})
    monkeypatch.setattr(engine, "trial", lambda work, names: dict.fromkeys(names, TRIED))
    monkeypatch.setattr(engine, "evaluator", broken)
    chosen = choose(make_work(), "tiny", store, calls())
    assert (chosen.name, chosen.about.why) == ("eager", "engine 'compiled' fails here: gone")
    with pytest.raises(UserError, match="engine 'compiled' fails here: gone"):
        choose(make_work(), "tiny", store, Wish("compiled"))


def test_eager_on_request_is_the_network_itself(store: Store) -> None:
    work = make_work()
    assert choose(work, "tiny", store, Wish("eager")).net is work.net
    assert not store.root.exists()


# names and devices


def test_names_are_checked() -> None:
    engine.check(AUTO, CPU)
    engine.check("compiled", CPU)
    with pytest.raises(UserError, match=r"unknown engine 'eagre'.*eager, compiled"):
        engine.check("eagre", CPU)
    with pytest.raises(UserError, match=r"'graphs' does not fit device cpu \(engines that do: auto, eager, compiled"):
        engine.check("graphs", CPU)


def test_what_fits_which_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    fits = {device.type: [n for n, e in ENGINES.items() if e.fits(device)] for device in (CPU, CUDA)}
    fits["mps"] = [n for n, e in ENGINES.items() if e.fits(torch.device("mps"))]
    assert fits["cpu"] == fits["mps"] == ["eager", "compiled"]
    assert fits["cuda"] == ["eager", "compiled", "eager_tf32", "compiled_tf32", "graphs", "graphs_tf32"]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert ENGINES["graphs_bf16"].fits(CUDA)
    assert not ENGINES["graphs_bf16"].fits(CPU)
    assert ENGINES["compiled_bf16"].fits(CPU)


def test_precision_is_set_for_each_step_alone() -> None:
    """CUDA's settings can be looked at without a GPU."""
    conv = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = conv.fp32_precision

    def steps() -> Iterator[str]:
        yield conv.fp32_precision
        yield conv.fp32_precision

    for name, precision in (("eager", "ieee"), ("graphs_tf32", "tf32")):
        chosen = engine.Chosen(name, TinyNet(), {})
        seen = []
        for step in chosen.inside(steps(), CUDA):
            assert conv.fp32_precision == before
            seen.append(step)
        assert seen == [precision] * 2
    assert conv.fp32_precision == before


def test_reduced_precision_returns_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "bf16", Engine(None, "bfloat16"))
    net = TinyNet().eval()
    x, u = torch.randn(4, 1, 8, 8), torch.ones(1)
    out = engine.evaluator("bf16", net, CPU)(x, u)
    assert out.dtype == torch.float32
    assert 0 < float((out - net(x, u)).detach().abs().max()) < 0.05


def test_a_captured_graph_is_told_of_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(torch, "compile", lambda net, **how: net)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: told.append(1))
    evaluate = engine.evaluator("graphs", TinyNet(), CPU)
    for _ in range(3):
        evaluate(torch.zeros(1, 1, 8, 8), torch.ones(1))
    assert told == [1, 1, 1]


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[torch.fx.GraphModule]:
    """The graphs that are compiled, by a compiler that leaves them as they are."""
    graphs: list[torch.fx.GraphModule] = []
    real = torch.compile

    def backend(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda net, mode, **how: real(net, backend=backend, **how))
    return graphs


def test_every_shape_is_compiled(compiled: list[torch.fx.GraphModule]) -> None:
    """torch stops after eight of one class of networks, and goes on uncompiled."""
    evaluators = [engine.evaluator("compiled", TinyNet().eval(), CPU) for _ in range(2)]
    for size in [*range(1, 13), 1]:
        for evaluate in evaluators:
            evaluate(torch.zeros(size, 1, 8, 8), torch.ones(1))
    assert len(compiled) == 12


@pytest.mark.parametrize("name", NETS)
def test_every_network_compiles_whole(name: str, compiled: list[torch.fx.GraphModule]) -> None:
    net = make_net(name, 1, 28).eval()
    x, u = torch.randn(2, 1, 28, 28), torch.ones(2)
    with torch.inference_mode():
        torch.testing.assert_close(engine.evaluator("compiled", net, CPU)(x, u), net(x, u))
    assert len(compiled) == 1


def test_what_does_not_compile_whole_says_so() -> None:
    class Breaks(TinyNet):
        def forward(self, x: Tensor, u: Tensor) -> Tensor:
            print(end="")
            torch._dynamo.graph_break()
            return super().forward(x, u)

    with pytest.raises(UserError, match="engine 'compiled' fails here: "):
        choose(make_work(net=Breaks().eval()), "tiny", Store(Path("nowhere")), Wish("compiled"))


def test_kernels_go_to_the_users_cache_by_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, store: Store
) -> None:
    """Torch runs what lies there, and code for one processor may not run on another that shares the home folder."""
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    choose(make_work(), "tiny", store, Wish("auto", {"train": Calls(1, 1), "sample": Calls(1, 1)}))
    folder = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert folder.is_relative_to(tmp_path / "cache" / "ddpm-bench")
    assert folder.name == machine_id()
    assert not folder.is_relative_to(store.root)


# the real compiler


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("task", ["train", "sample"])
def test_a_compiled_network_is_the_same_function(task: engine.Task, store: Store) -> None:
    work = make_work(task)
    before = [p.detach().clone() for p in work.net.parameters()]
    expected = work("eager", work.net)
    chosen = choose(work, "tiny", store, Wish("compiled"))
    assert chosen.name == "compiled"
    assert chosen.net is not work.net
    torch.testing.assert_close(work("compiled", chosen.net), expected, rtol=1e-5, atol=1e-6)
    assert all(p.equal(b) for p, b in zip(work.net.parameters(), before, strict=True))
    assert all(p.grad is None for p in work.net.parameters())
    assert any(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*.so"))
    assert not any(store.root.rglob("*.so")), "nothing that runs lies with the results"
    with torch.no_grad():
        for p in work.net.parameters():
            p.mul_(2)
    torch.testing.assert_close(work("compiled", chosen.net), work("eager", work.net), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_one_time_for_a_tile(name: str) -> None:
    """What sampling gives the network: one time, for all images alike."""
    torch.manual_seed(0)
    net = make_net(name, 1, 28).eval()
    for p in net.parameters():
        p.data.add_(0.05 * torch.randn_like(p))
    x = torch.randn(6, 1, 28, 28)
    torch.testing.assert_close(net(x, torch.full((1,), 0.3)), net(x, torch.full((6,), 0.3)), rtol=1e-4, atol=1e-5)
