"""Peers beside ours, with the settings of :mod:`perf.peers`: a training step and sampling, everybody in turn."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from bench.job.engine import ENGINES, precision
from bench.machine import clocks
from perf import record
from perf.gpu.budget import scale
from perf.gpu.record import Row
from perf.gpu.session import Found, Raw, Session, pending
from perf.peers.build import build
from perf.peers.contender import Contender, Setting

EVALUATIONS = 50
PLANNED_STEPS = 4_000
OWN = "ours"


def settings() -> dict[str, Setting]:
    """Who was compared in the last run of ``perf.peers``, the best and the documented setting of each peer."""
    kept = record.load().get("peers", {}).get("contenders", [])
    fields = ("library", "label", "settings", "recipe")
    return {one["id"]: Setting(**{name: one[name] for name in fields}) for one in kept}


def formats(session: Session) -> list[str]:
    """Number formats that are compared: float32, and TF32 where there is any."""
    return [name for name in ("float32", "tf32") if any(ENGINES[one].format == name for one in session.engines())]


def peers(session: Session) -> Generator[Row]:
    """Everybody eagerly at its own batch size; ours by its fastest engine; then everybody at one larger batch size."""
    everybody = settings()
    if not everybody:
        yield pending("peers", "results/perf/peers.json has no settings: run perf.peers first")
        return
    for number in formats(session):
        for name, setting in everybody.items():
            yield _row(session, name, setting, number)
    fast = _fastest(session)
    if OWN in everybody and fast is not None:
        yield _row(session, OWN, everybody[OWN], ENGINES[fast].format, fast)
    for name, setting in everybody.items():
        yield _row(session, name, setting.using(batch_size=session.sizes.peers_batch), formats(session)[0])


def _fastest(session: Session) -> str | None:
    """The engine with the fastest training step, where that is not eager."""
    own = settings().get(OWN)
    best = session.best("unet", "step_s", batch=own.recipe["batch_size"]) if own else None
    name = str(best.at["engine"]) if best else "eager"
    return None if name == "eager" else name


def _row(session: Session, name: str, setting: Setting, number: str, engine: str = "eager") -> Row:
    batch = setting.recipe["batch_size"]
    at: Found = {"id": name, "label": setting.label, "batch": batch, "format": number, "engine": engine}
    return session.attempt(
        f"{name}, batch {batch}, {number}, {engine}", at, lambda: _measure(session, setting, number, engine)
    )


def _made(session: Session, setting: Setting, engine: str) -> Contender:
    """The contender, or an error that says what is missing."""
    try:
        if setting.library == OWN:
            from perf.peers.ours import Ours

            return Ours(setting, session.seed, session.device, engine)
        return build(setting, session.seed, session.device)
    except ImportError as error:
        raise RuntimeError(f"not installed: {error.name}") from error


def _measure(session: Session, setting: Setting, number: str, engine: str) -> tuple[Found, Raw]:
    """Training steps, then a pass of samples; the evaluations of a pass fit the time that is left."""
    contender = _made(session, setting, engine)
    sizes, batch = session.sizes, setting.recipe["batch_size"]
    images = session.train_images
    steps = contender.steps(images, PLANNED_STEPS if session.cuda else 50 * sizes.most_calls)
    with precision(number, session.device):
        session.compiling(engine, "train")
        train = session.timed(lambda: next(steps), most_calls=sizes.most_calls)
        found: Found = {
            "step_s": train.median,
            "images_per_s": batch / train.median,
            "first_s": train.first_s,
            "params": sum(p.numel() for p in contender.net.parameters()),
        }
        raw = {"seconds": train.seconds}
        session.compiling(engine, "sample")
        evaluations, n = EVALUATIONS, sizes.peers_drawn
        once = _seconds(session, contender, n, 2) / 2
        evaluations = scale(once, EVALUATIONS, session.budget.left() / 3 / sizes.repeats, least=2)
        drawn = session.timed(lambda: contender.sample(n, evaluations, session.seed, n))
    found |= {
        "evaluations": evaluations,
        "drawn": n,
        "image_steps_per_s": n * evaluations / drawn.median,
    }
    return found, raw | {"sample_seconds": drawn.seconds}


def _seconds(session: Session, contender: Any, n: int, evaluations: int) -> float:
    """A pass of samples, once."""
    clock = clocks.make_clock(session.device)
    clock.start()
    contender.sample(n, evaluations, session.seed, n)
    return clock.stop()
