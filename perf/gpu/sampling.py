"""Sampling: images·steps a second by engine and by tile, and what the noise costs."""

from __future__ import annotations

from collections.abc import Generator

import torch

from bench.job import engine
from bench.job.engine import Chosen, evaluator
from bench.job.generate import Batch, generate, noise
from bench.job.speed import SCHEDULE
from bench.machine.flops import flops as count
from bench.store.records import EngineChoice
from bench.study.model import Sampling
from ddpm.denoiser import Net
from ddpm.nets import make_net
from ddpm.spec import Variant
from perf.gpu.record import Row
from perf.gpu.session import SIDE, Found, Raw, Session, tile_of


def sampling(session: Session) -> Generator[Row]:
    """Noise by itself; then every engine at the device's own tile; then other tiles, eagerly and by the fastest."""
    own, *others = session.sizes.tiles
    net = session.sizes.net
    yield session.attempt("noise alone", {"tile": own}, lambda: _noise(session, own))
    yield session.attempt("without a network", {"tile": own}, lambda: _without(session, own))
    for name in session.engines():
        yield _row(session, net, name, own)
    yield _row(session, session.sizes.demo_net, "eager", own)
    best = session.best("sampling", "step_s", net=net, tile=own)
    fast = str(best.at["engine"]) if best else "eager"
    for tile in others:
        for name in dict.fromkeys(["eager", fast]):
            yield _row(session, net, name, tile)


def _row(session: Session, net: str, name: str, tile: int) -> Row:
    at: Found = {"net": net, "engine": name, "tile": tile}
    return session.attempt(f"{net}, tile {tile}, {name}", at, lambda: _draw(session, net, name, tile))


def draw(session: Session, net: Net, name: str, tile: int) -> list[Batch]:
    """One tile of samples, DDPM's ancestral way, as a cell of a study has them."""
    batches = generate(
        net,
        SCHEDULE,
        "eps",
        Sampling(sampler=Variant("ancestral"), sample_steps=session.sizes.sample_steps, sample_seed=session.seed),
        shape=(1, SIDE),
        n=tile,
        device=session.device,
    )
    with tile_of(session.device, tile):
        return list(Chosen(name, net, EngineChoice(engine=name)).inside(batches, session.device))


def _draw(session: Session, net: str, name: str, tile: int) -> tuple[Found, Raw]:
    """Drawing a tile, and the network's part of it."""
    torch.manual_seed(session.seed)
    made = make_net(net, *session.images.shape).to(session.device).eval()
    evaluate = evaluator(name, made, session.device)
    work = engine.Work("sample", made, tile, (1, SIDE), session.device)
    session.compiling(name, "sample")
    first = session.timed(lambda: work(name, evaluate))
    session.compiled(name, "sample", first.first_s)
    with torch.inference_mode():
        flops = count(lambda: made(work.x, work.u))
    steps = session.sizes.sample_steps
    session.budget.need(steps * first.median, "a tile")
    timed = session.timed(lambda: draw(session, evaluate, name, tile))
    found: Found = {
        "step_s": timed.median / steps,
        "image_steps_per_s": tile * steps / timed.median,
        "network_s": first.median,
        "first_s": first.first_s,
        "beside_the_network": max(0.0, 1 - steps * first.median / timed.median),
    }
    raw = {"seconds": timed.seconds, "network_seconds": first.seconds}
    return found | session.shares(flops * steps / timed.median, name), raw


def _noise(session: Session, tile: int) -> tuple[Found, Raw]:
    """A tile's noise for a step: drawn on the host, moved to the device."""
    steps = session.sizes.sample_steps
    times = list(range(steps))
    shape = (1, SIDE, SIDE)
    drawn = session.timed(lambda: noise(session.seed, times, 0, tile, shape))
    moved = session.timed(lambda: noise(session.seed, times, 0, tile, shape).to(session.device))
    found: Found = {"step_s": moved.median / steps, "drawn_s": drawn.median / steps}
    return found, {"seconds": moved.seconds, "drawn_seconds": drawn.seconds}


def _without(session: Session, tile: int) -> tuple[Found, Raw]:
    """Sampling by a network that costs nothing: noise, and the sampler's arithmetic."""
    out = torch.zeros(tile, 1, SIDE, SIDE, device=session.device)
    timed = session.timed(lambda: draw(session, lambda x, u: out, "eager", tile))
    return {"step_s": timed.median / session.sizes.sample_steps}, {"seconds": timed.seconds}


def evaluation_s(session: Session, net: str, name: str, tile: int) -> float:
    """Seconds of one evaluation of an untrained network for a tile."""
    made = make_net(net, *session.images.shape).to(session.device).eval()
    work = engine.Work("sample", made, tile, (1, SIDE), session.device)
    evaluate = evaluator(name, made, session.device)
    return session.timed(lambda: work(name, evaluate)).median
