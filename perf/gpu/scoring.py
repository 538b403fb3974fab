"""Scoring: features, FID of 50,000 images, and every metric of fewer."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from bench.job.engine import precision
from bench.machine import clocks
from bench.score import classifier, eyes, metrics
from bench.score.classifier import Features
from bench.score.judges import judges_of
from bench.score.learning import JudgeNetwork
from bench.score.reference import Reference
from bench.score.running import Running
from perf.gpu.budget import scale
from perf.gpu.record import Row
from perf.gpu.session import Found, Raw, Session

PART = 5_000
"""Images a part, where they come in parts."""


def network(session: Session) -> JudgeNetwork:
    """The pinned classifier, on the device."""
    return eyes.load(judges_of("mnist")["classifier"]).to(session.device)


def noisy(session: Session, n: int) -> Tensor:
    """n training images with a little noise, uint8 (n, 1, 28, 28): something between the data and its samples."""
    random = torch.Generator().manual_seed(session.seed)
    images = session.images.train[:n].float()
    return images.add_(20 * torch.randn(images.shape, generator=random)).round_().clamp_(0, 255).to(torch.uint8)


def images_per_s(session: Session) -> float:
    """The classifier's rate, from two batches."""
    net, images = network(session), session.images.test[: classifier.BATCH]
    with precision("float32", session.device):
        return len(images) / session.timed(lambda: classifier.extract(net, images, session.device)).median


def scoring(session: Session) -> Generator[Row]:
    """Each part of scoring by itself: features and FID first, metrics that compare pairs last."""
    at: Found = {"images": session.sizes.scored}
    seen: dict[str, Features] = {}
    made: dict[str, Reference] = {}

    def features() -> tuple[Found, Raw]:
        rate = images_per_s(session)
        most = min(session.sizes.scored, len(session.images.train))
        n = scale(1 / rate, most, session.budget.left() / 4, least=min(2 * classifier.BATCH, most))
        at["images"], net, images = n, network(session), noisy(session, n)

        def extract() -> None:
            seen["all"] = classifier.extract(net, images, session.device)

        with precision("float32", session.device):
            timed = session.timed(extract)
        return {"images_per_s": n / timed.median, "first_s": timed.first_s}, {"seconds": timed.seconds}

    def reference() -> tuple[Found, Raw]:
        clock = clocks.make_clock(session.device)
        clock.start()
        made["all"] = Reference(seen["all"].features)
        seconds = clock.stop()
        return {"seconds": seconds}, {"seconds": [seconds]}

    yield session.attempt("features", at, features)
    if "all" in seen:
        yield session.attempt("a reference, from features", at, reference)
    if "all" not in made:
        return
    yield session.attempt("FID, from features", at, lambda: _fid(session, seen["all"], made["all"]))
    yield session.attempt("FID, a part at a time", at, lambda: _stream(session, made["all"], len(seen["all"].features)))
    for n in session.sizes.all_metrics:
        few = seen["all"].rows(torch.arange(min(n, len(seen["all"].features))))
        if len(few.features) == n:
            measure = lambda few=few: _metrics(session, few, made["all"])  # noqa: E731
            yield session.attempt("every metric, from features", {"images": n}, measure)


def _fid(session: Session, seen: Features, reference: Reference) -> tuple[Found, Raw]:
    timed = session.timed(lambda: metrics.score(seen, reference, only="fid"))
    return {"seconds": timed.median}, {"seconds": timed.seconds}


def _stream(session: Session, reference: Reference, n: int) -> tuple[Found, Raw]:
    """Images to score, end to end, in the memory of one part."""
    net, images = network(session), noisy(session, n)

    def run() -> dict[str, float]:
        seen = Running(classifier.FEATURES)
        for part in images.split(PART):
            seen.add(classifier.extract(net, part, session.device))
        return seen.scores(reference)

    with precision("float32", session.device):
        timed = session.timed(run)
    return {"images_per_s": n / timed.median, "seconds": timed.median}, {"seconds": timed.seconds}


def _metrics(session: Session, few: Features, reference: Reference) -> tuple[Found, Raw]:
    """Every metric; what a reference keeps is kept from one time to the next."""
    # copies, since what a metric keeps of features it keeps by their identity
    timed = session.timed(lambda: metrics.score(Features(few.features.clone(), few.logits.clone()), reference))
    return {"seconds": timed.median, "first_s": timed.first_s}, {"seconds": timed.seconds}
