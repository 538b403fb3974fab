"""One job: train a network, then sample and score each of its cells, skipping whatever the store holds already.

:func:`process` is what the process of a job runs: it is given a job's cells and sends events, one JSON object each.
"""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from bench import UserError, cost, data, engine, timing
from bench.engine import Calls, Wish
from bench.generate import TILE, Batch, asked, first_outputs, generate, ways
from bench.heldout import HeldOut, likelihood
from bench.scoring import Scorer, provenance
from bench.store import Store
from bench.study import ORACLE, Cell, Job
from ddpm.denoiser import Denoiser
from ddpm.ema import KEPT, coefficients, combine
from ddpm.nets import classes_of, make_net
from ddpm.oracle import Mixture
from ddpm.schedule import Schedule, make_schedule
from ddpm.spacing import space
from ddpm.train import Loss, Recipe, Trainer

Event = dict[str, Any]
BUSY = 75  # exit code: another process is at work on this job (sysexits.h EX_TEMPFAIL)
PREVIEW = 64
WORK = ("trial", "compile", "train", "validate", "sample", "reference", "score")


class Stages:
    """Seconds spent in each named stage; what is none of :data:`WORK` is the harness's own."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.seconds: dict[str, float] = {}

    def add(self, stage: str, since: float) -> None:
        """Count the time since ``since`` (``time.time()``)."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.time() - since

    def summary(self) -> dict[str, Any]:
        """Stages, wall-clock from the moment the process was asked for, and the share that was not work."""
        wall = time.time() - self.began
        own = wall - sum(self.seconds.get(stage, 0.0) for stage in WORK)
        return {"stages_s": dict(self.seconds), "wall_s": wall, "overhead": own / wall}


def run(
    cells: list[Cell],
    store: Store,
    *,
    device: torch.device,
    data_dir: Path | None = None,
    exclusive: bool = True,
    began: float | None = None,
    sample_batch: int | None = None,
    estimate: float | None = None,
    wish: Wish = Wish(),  # noqa: B008 (it is frozen)
    likelihood_of: int = 0,
    now: Callable[[], float] = time.time,
) -> Iterator[Event]:
    """Do whatever is missing of one job's cells, yielding events as it goes.

    :param exclusive: whether the device is this job's alone; if not, durations are kept out of timing tables.
    :param estimate: the seconds expected of it, recorded beside those it took.
    :param wish: the engine to evaluate the network with.
    :param likelihood_of: of how many test images the likelihood is wanted.
    :raises FloatingPointError: if training diverges.
    :raises UserError: for bad data or a results folder that cannot be written.
    """
    job = cells[0].job
    stages = Stages(began or now())
    if began:
        stages.add("start", began)
    since = now()
    images = data.load(job.dataset, data_dir)
    if (n := max(cell.n for cell in cells)) > len(images.test):
        raise UserError(f"n={n} is more than the {len(images.test)} test images the floor is drawn from")
    schedule = make_schedule(job.schedule, job.T)
    torch.manual_seed(job.seed)
    exact = job.net == ORACLE
    if exact:
        net: nn.Module = Mixture(schedule, job.objective, images.train[: job.train.images]).to(device)
        wish = Wish()
    else:
        net = make_net(job.net, *images.shape).to(device)
    stages.add("load", since)

    weights, record = _trained(job, store)
    if exact:
        record = record or _record(job, net, cost.oracle_flops(job), [], {"engine": wish.name}, device)
    elif record is None:
        record = yield from _train(job, net, images, schedule, store, device, exclusive, stages, wish)
    else:
        net.load_state_dict(weights)
        yield {"event": "kept", "what": "training"}
    net.eval()
    if lacks_likelihood(job, record, likelihood_of):
        since = now()
        record["likelihood"] = likelihood(Denoiser(net, schedule, job.objective), images.test, likelihood_of, device)
        store.write("jobs", job.key, record)
        stages.add("validate", since)

    since = now()
    scorer = Scorer(job.dataset, images, store, device)
    bounds = {n: scorer.bounds(n) for n in {cell.n for cell in cells}}
    stages.add("reference", since)
    left = [cell for cell in cells if _unscored(cell, store, scorer)]
    sampling = _Sampling(job, net, images.shape, schedule, device, stages)
    unsampled = [cell for cell in left if store.load_samples(cell.key) is None]
    if unsampled:
        sampling.prepare(unsampled, store, wish)
    for cell in left:
        try:
            result = yield from _cell(cell, sampling, store, scorer, exclusive, sample_batch)
        except FloatingPointError as error:
            result = {"status": "failed", "reason": str(error)}
        result |= _about(cell.model_dump(mode="json"), device)
        result["job"] = job.key
        result["provenance"] = provenance(scorer)
        result |= bounds[cell.n]
        store.write("cells", cell.key, result)
        yield (
            {"event": "cell", "key": cell.key, "label": cell.label}
            | {k: v for k, v in result.items() if k in ("status", "reason")}
            | {"fid": result.get("metrics", {}).get("fid")}
        )
    record["harness"] = [*record.get("harness", []), stages.summary() | {"estimate_s": estimate}]
    record["peak_rss_mb"] = max(record["peak_rss_mb"], timing.peak_rss_mb())
    store.write("jobs", job.key, record)
    yield {"event": "done", "overhead": record["harness"][-1]["overhead"]}


def lacks_likelihood(job: Job, record: dict[str, Any] | None, n: int) -> bool:
    """Whether the likelihood of ``n`` test images is still to be worked out; of the oracle there is none."""
    return n > 0 and job.net != ORACLE and ((record or {}).get("likelihood") or {"n": 0})["n"] != n


def _unscored(cell: Cell, store: Store, scorer: Scorer) -> bool:
    """Whether there is anything to do for a cell."""
    kept = store.read("cells", cell.key)
    scored = kept is not None and kept["status"] == "done" and kept["provenance"]["classifier"] == scorer.classifier
    return not scored or store.cut_short("samples", cell.key)


def _trained(job: Job, store: Store) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """The averaged weights and the record of a training run that is complete, else ({}, None)."""
    record = store.read("jobs", job.key)
    if record is None or record["status"] != "done":
        return {}, None
    if job.net == ORACLE:
        return {}, record
    kept = store.load_tensors("checkpoints", job.key)
    if kept is None:
        return {}, None
    if any(store.load_meta("snapshots", key) is None for key in _snapshots(job)):
        return {}, None
    return {k[4:]: v for k, v in kept[0].items() if k.startswith("ema.")}, record


def _snapshots(job: Job) -> list[str]:
    """The keys of a training run's snapshots."""
    return [f"{job.key}-{number}" for number in range(1, job.train.snapshots + 1)]


def averaged(job: Job, store: Store, length: float | None) -> dict[str, Tensor]:
    """The weights of a complete training run: its own average, or one of length σ_rel made of its snapshots.

    :raises UserError: if the files it needs are gone or damaged.
    """
    gone = UserError(f"weights of {job.label} are missing or damaged: run its study again")
    if length is None:
        weights, record = _trained(job, store)
        if record is None:
            raise gone
        return weights
    whole = [one for key in _snapshots(job) if (one := store.load_tensors("snapshots", key)) is not None]
    if len(whole) < job.train.snapshots:
        raise gone
    parts, at = [], []
    for tensors, meta in whole:
        for sigma_rel in KEPT:
            prefix = f"{sigma_rel:g}/"
            parts.append({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
            at.append((meta["step"], sigma_rel))
    return combine(parts, coefficients(at, max(step for step, _ in at), length))


def _train(
    job: Job,
    net: nn.Module,
    images: data.Images,
    schedule: Schedule,
    store: Store,
    device: torch.device,
    exclusive: bool,
    stages: Stages,
    wish: Wish,
) -> Generator[Event, None, dict[str, Any]]:
    """Train from the last complete epoch; leaves the averaged weights in ``net`` and returns the job's record."""
    recipe = Recipe(**job.train.model_dump(exclude={"images"}), timesteps=job.timesteps)
    trainer = Trainer(net, Loss(schedule, job.objective, job.weight), recipe, job.seed)
    since = time.time()
    epochs: list[dict[str, Any]] = []
    kept = store.load_tensors("resume", job.key)
    if kept is not None and kept[1].get("code") == timing.code_hash():
        trainer.load_state(kept[0])
        epochs = kept[1]["epochs"]
        yield {"event": "resumed", "epoch": trainer.epoch}
    elif kept is not None:
        yield {"event": "outdated"}
    train = images.train[: job.train.images].to(device)
    none = classes_of(job.net)
    classes = images.train_labels[: len(train)].to(device) if none else None
    flops = timing.flops_per_image(net, *images.shape)
    held_out = HeldOut(images.test, schedule, device)
    copy = make_net(job.net, *images.shape).to(device).eval()
    denoiser = Denoiser(copy, schedule, job.objective)
    clock = timing.make_clock(device)
    stages.add("load", since)

    size = min(recipe.batch_size, len(train))
    chosen = _choose(engine.Work("train", net.train(), size, images.shape, device, none), job, store, wish, stages)

    since = time.time()
    losses: list[Tensor] = []
    first, spoke, spent = True, 0.0, 0.0
    timing.reset_peak(device)
    clock.start()
    for step in chosen.inside(trainer.steps(train, data.to_float, chosen.net, classes, none), device):
        losses.append(step.loss)
        if step.snapshot:
            spent += clock.stop()
            stages.add("train", since)
            since = time.time()
            at = {"step": (step.epoch - 1) * step.of + step.index}
            store.save_tensors("snapshots", _snapshots(job)[step.snapshot - 1], trainer.snapshot(), at)
            stages.add("store", since)
            since = time.time()
            clock.start()
        if not step.ends_epoch:
            if time.time() - spoke > 1:
                spoke = time.time()
                yield {"event": "step", "epoch": step.epoch, "of": recipe.epochs, "share": step.index / step.of}
            continue
        seconds, spent = spent + clock.stop(), 0.0
        stages.add("train", since)
        since = time.time()
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss):
            raise FloatingPointError(f"diverged: the mean loss of epoch {step.epoch} is {loss}")
        copy.load_state_dict(trainer.ema.weights)
        epochs.append(
            {
                "seconds": seconds,
                "images": step.of * min(recipe.batch_size, len(train)),
                "warm": not first,
                "exclusive": exclusive,
                "loss": loss,
                **held_out(denoiser),
            }
        )
        stages.add("validate", since)
        since = time.time()
        if step.epoch < recipe.epochs:
            store.save_tensors("resume", job.key, trainer.state(), {"epochs": epochs, "code": timing.code_hash()})
        yield {"event": "epoch", "epoch": step.epoch, "of": recipe.epochs, **epochs[-1]}
        losses, first = [], False
        stages.add("store", since)
        since = time.time()
        clock.start()

    since = time.time()
    ema = {f"ema.{k}": v for k, v in trainer.ema.weights.items()}
    raw = {f"net.{k}": v for k, v in net.state_dict().items()}
    store.save_tensors("checkpoints", job.key, ema | raw, {"job": job.model_dump(mode="json")})
    net.load_state_dict(trainer.ema.weights)
    record = _record(job, net, flops, epochs, chosen.about, device)
    store.write("jobs", job.key, record)
    store.path("resume", job.key, ".safetensors").unlink(missing_ok=True)
    stages.add("store", since)
    return record


def _choose(work: engine.Work, job: Job, store: Store, wish: Wish, stages: Stages) -> engine.Chosen:
    """The engine for this work; what trying takes, which one job does for all, is kept apart from warming up."""
    since = time.time()
    if wish.name == engine.AUTO:
        engine.learn(work, job.net, store, wish)
    stages.add("trial", since)
    since = time.time()
    chosen = engine.choose(work, job.net, store, wish)
    stages.add("compile", since)
    return chosen


def _record(
    job: Job,
    net: nn.Module,
    flops: dict[str, int],
    epochs: list[dict[str, Any]],
    about: dict[str, Any],
    device: torch.device,
) -> dict[str, Any]:
    """What is kept of a training run that is done; ``about`` is its engine."""
    return {
        "status": "done",
        "epochs": epochs,
        "params": sum(p.numel() for p in net.parameters()),
        "trained_params": sum(p.numel() for p in net.parameters() if p.requires_grad),
        "megabytes": megabytes(net),
        "flops_per_image": flops,
        "engine": about,
        "peak_rss_mb": timing.peak_rss_mb(),
        "peak_device_mb": timing.peak_device_mb(device),
        **_about(job.model_dump(mode="json"), device),
    }


class Start(NamedTuple):
    """What decides the network's first output: cells alike in it share that evaluation."""

    seed: int
    ema: float | None
    guidance: float | None

    @classmethod
    def of(cls, cell: Cell) -> Start:
        """Where a cell starts."""
        return cls(cell.sample_seed, cell.ema, cell.guidance)


class _Sampling:
    """Draws the samples of a job's cells, evaluating the network for x_T but once for all that start alike."""

    def __init__(
        self, job: Job, net: nn.Module, shape: tuple[int, int], schedule: Schedule, device: torch.device, stages: Stages
    ) -> None:
        self.job, self.net, self.shape, self.schedule = job, net, shape, schedule
        self.device, self.stages = device, stages
        self.tile = TILE[device.type]
        self._first: dict[Start, tuple[Tensor, list[float]]] = {}
        self._length: float | None = None

    def prepare(self, cells: list[Cell], store: Store, wish: Wish) -> None:
        """Get ready for these cells."""
        self.store = store
        work = engine.Work("sample", self.net, self.tile, self.shape, self.device, classes_of(self.job.net))
        self.chosen = _choose(work, self.job, store, wish, self.stages)
        since = time.time()
        starts: dict[Start, list[int]] = {}
        for cell in filter(self._starts_at_end, cells):
            starts.setdefault(Start.of(cell), []).append(cell.n)
        for start, alike in starts.items():
            if len(alike) > 1:
                self._use(start.ema)
                self._first[start] = self._evaluate_first(start, max(alike))
        self.stages.add("sample", since)

    def _use(self, length: float | None) -> None:
        """Have the network's weights be the average of that length."""
        if length != self._length:
            self.net.load_state_dict(averaged(self.job, self.store, length))
            self._length = length

    def _starts_at_end(self, cell: Cell) -> bool:
        """Whether the first of its times is T, so that its first output can be shared."""
        return space(self.schedule, cell.sample_steps, cell.spacing)[0] == self.schedule.T

    def _evaluate_first(self, start: Start, n: int) -> tuple[Tensor, list[float]]:
        """The network's outputs for x_T, and the seconds that each tile took."""
        clock = timing.make_clock(self.device)
        outputs, seconds = [], []
        clock.start()
        steps = first_outputs(
            self.chosen.net,
            shape=self.shape,
            n=n,
            seed=start.seed,
            device=self.device,
            guidance=start.guidance,
            classes=classes_of(self.job.net),
        )
        for out in self.chosen.inside(steps, self.device):
            seconds.append(clock.stop())
            outputs.append(out)
            clock.start()
        return torch.cat(outputs), seconds

    def draw(self, cell: Cell, batch: int | None) -> Iterator[tuple[Batch, float]]:
        """A cell's samples, a batch at a time, with the seconds each took (its share of what was shared included)."""
        self._use(cell.ema)
        first, shared = self._first.get(Start.of(cell), (None, []))
        clock = timing.make_clock(self.device)
        steps = generate(
            self.chosen.net,
            self.schedule,
            self.job.objective,
            shape=self.shape,
            n=cell.n,
            seed=cell.sample_seed,
            device=self.device,
            batch=batch,
            first=first,
            **ways(cell),
        )
        clock.start()
        for drawn in self.chosen.inside(steps, self.device):
            tiles = slice(drawn.start // self.tile, -(-(drawn.start + len(drawn.images)) // self.tile))
            yield drawn, clock.stop() + sum(shared[tiles])
            clock.start()


def _cell(
    cell: Cell,
    sampling: _Sampling,
    store: Store,
    scorer: Scorer,
    exclusive: bool,
    batch: int | None,
) -> Generator[Event, None, dict[str, Any]]:
    """Sample (unless that was done) and score one cell, and return its record."""
    stages = sampling.stages
    kept = store.load_samples(cell.key)
    if kept is None:
        since = time.time()
        batches: list[Batch] = []
        durations: list[float] = []
        timing.reset_peak(sampling.device)
        for drawn, seconds in sampling.draw(cell, batch):
            durations.append(seconds)
            batches.append(drawn)
            yield {"event": "sample", "label": cell.label, "share": (drawn.start + len(drawn.images)) / cell.n}
        samples = torch.cat([drawn.images for drawn in batches])
        stages.add("sample", since)
        since = time.time()
        about = {
            "batch_s": durations,
            "batch_images": [len(drawn.images) for drawn in batches],
            "exclusive": exclusive,
            "engine": sampling.chosen.about,
            "peak_rss_mb": timing.peak_rss_mb(),
            "peak_device_mb": timing.peak_device_mb(sampling.device),
        }
        _previews(cell, store, samples, batches[0].strip)
        store.save_samples(cell.key, samples.numpy(), about)
        stages.add("store", since)
    else:
        samples, about = torch.from_numpy(kept[0]), kept[1]
    since = time.time()
    classes = None if cell.guidance is None else asked(0, cell.n, classes_of(cell.job.net))
    scores = scorer.score(samples, classes)
    stages.add("score", since)
    return {"status": "done", "metrics": scores, "sampling": about}


def _about(config: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """What a record says of where it comes from."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    return {"config": config, "environment": timing.environment(device), "created": made}


def _previews(cell: Cell, store: Store, samples: Tensor, strip: Tensor | None) -> None:
    """The pictures kept with a cell: 8×8 samples; and for each of six, a row of x_t above a row of x̂₀ over time."""
    pictures = {".png": tile_grid(samples[:PREVIEW], 8)}
    if strip is not None:
        frames = strip.permute(2, 1, 0, 3, 4, 5)  # image, (x_t, x̂₀), time
        flat = frames.reshape(-1, *frames.shape[3:])
        pictures[".strip.png"] = tile_grid(flat, frames.shape[2])
    for ending, picture in pictures.items():
        store.write_bytes(store.path("cells", cell.key, ending), png(picture), durable=False)


def tile_grid(images: Tensor, columns: int) -> Tensor:
    """uint8 (N, C, H, W) → one image (C, rows·H, columns·W), row by row, missing ones black."""
    rows = -(-len(images) // columns)
    blank = images.new_zeros(rows * columns - len(images), *images.shape[1:])
    c, h, w = images.shape[1:]
    grid = torch.cat([images, blank]).view(rows, columns, c, h, w)
    return grid.permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def png(image: Tensor) -> bytes:
    """uint8 (C, H, W), grey or RGB, as a PNG file."""
    from PIL import Image

    pixels: np.ndarray = image.numpy()[0] if len(image) == 1 else image.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def megabytes(net: nn.Module) -> float:
    """The size of the network's weights as saved, in MiB (the seed's "4.3 MB" is 4.255 MiB)."""
    from safetensors.torch import save

    return len(save({k: v.contiguous() for k, v in net.state_dict().items()})) / 2**20


def reason_of(error: BaseException) -> str:
    """One line on why a job failed."""
    text = str(error).strip().splitlines()
    memory = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (text and "can't allocate memory" in text[0])
    if memory:
        return f"out of memory{': ' + text[0] if text else ''}"
    if isinstance(error, (FloatingPointError, UserError)):
        return text[0]
    return f"crashed: {type(error).__name__}{': ' + text[0] if text else ''}"


def record_failure(cells: list[Cell], store: Store, reason: str, device: torch.device) -> None:
    """Record that a job died: as its training, or, once that is done, as each of its cells that are not."""
    failed: dict[str, Any] = {"status": "failed", "reason": reason}
    job = cells[0].job
    if (store.read("jobs", job.key) or failed)["status"] != "done":
        store.write("jobs", job.key, failed | _about(job.model_dump(mode="json"), device))
        return
    for cell in cells:
        kept = store.read("cells", cell.key)
        if kept is None or (kept["status"] == "failed" and not kept["reason"].startswith("diverged")):
            store.write("cells", cell.key, failed | _about(cell.model_dump(mode="json"), device) | {"job": job.key})


def process(spec: dict[str, Any], events: Connection, log: str) -> NoReturn:
    """Be the process of a job: what it or a library prints goes to the file ``log``, events go to ``events``."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ |= spec["visible"]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # tidily: no half-written file stays
    sys.exit(work(spec, lambda event: events.send_bytes(json.dumps(event).encode())))


def work(spec: dict[str, Any], say: Callable[[Event], None]) -> int:
    """Run the job {"cells", "store", "device", …} under its lock, and return the process's exit code."""
    cells = [Cell.model_validate(cell) for cell in spec["cells"]]
    store, key = Store(Path(spec["store"])), cells[0].job.key
    torch.set_num_threads(spec["threads"])
    try:
        lock = FileLock(store.path("locks", key, ".lock"), timeout=0)
        with lock:
            device = torch.device(spec["device"])
            try:
                for event in run(
                    cells,
                    store,
                    device=device,
                    data_dir=Path(spec["data_dir"]) if spec["data_dir"] else None,
                    exclusive=spec["exclusive"],
                    began=spec["began"],
                    sample_batch=spec["sample_batch"],
                    estimate=spec["estimate_s"],
                    likelihood_of=spec["likelihood"],
                    wish=Wish(spec["engine"], {task: Calls(*counts) for task, counts in spec["calls"].items()}),
                ):
                    for path in store.damaged:
                        say({"event": "damaged", "path": str(path)})
                    store.damaged.clear()
                    say(event)
            except BrokenPipeError:
                return 1  # whoever started this job is gone
            except UserError as error:
                say({"event": "refused", "reason": str(error)})
                return 2
            except Exception as error:
                traceback.print_exc()
                record_failure(cells, store, reason_of(error), device)
                say({"event": "failed", "reason": reason_of(error)})
                return 1
    except Timeout:
        return BUSY
    return 0
