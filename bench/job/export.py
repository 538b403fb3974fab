"""A cell for other tools: its samples as PNGs or an .npz, its weights as safetensors with a card beside them."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from bench import files
from bench.errors import UserError, unknown
from bench.images import datasets
from bench.images.grids import png
from bench.job.draw import Trained, trained_network
from bench.job.generate import asked
from bench.job.network import network_of
from bench.paths import shown
from bench.rows import ORACLE, needed
from bench.store.lookup import find_cell
from bench.store.records import CellRecord, JobRecord, ScoredCell, TrainedJob
from bench.store.store import Store
from bench.study.model import Cell
from ddpm.nets import classes_of

SAMPLES = ("npz", "png", "none")
ABOUT = "ddpm-bench"
"""The key of a weights file's metadata under which its cell is, as JSON."""


def export(
    key: str, store: Store, out: Path | None = None, *, samples: str = "npz", weights: bool = True
) -> list[Path]:
    """Write a cell's samples and weights to a folder; the paths written, a folder of PNGs as one.

    :param key: a cell's key, or the start of one.
    :param out: the folder; by default named by the key, in the working directory.
    :param samples: one of :data:`SAMPLES`. An .npz is in guided-diffusion's form.
    :raises UserError: if there is no such cell, or what is asked for is not kept. Nothing is written then.
    """
    if samples not in SAMPLES:
        raise unknown("form of samples", samples, SAMPLES)
    cell = find_cell(key, store)
    folder = out or Path(cell.key)
    images = None if samples == "none" else _samples(cell, store)
    network = _network(cell, store) if weights else None
    written = []
    if images is not None:
        labels = None
        if cell.sampling.guidance is not None:
            labels = asked(0, len(images), classes_of(cell.job.net)).numpy()
        written.append(_npz(folder, images, labels) if samples == "npz" else _pngs(folder, images, labels))
    if network is not None:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in network.net.state_dict().items()}
        config = json.dumps(cell.model_dump(mode="json"), sort_keys=True)
        files.write_bytes(folder / "weights.safetensors", save(tensors, {ABOUT: config}))
        files.write_text(folder / "weights.md", card(cell, store))
        written += [folder / "weights.safetensors", folder / "weights.md"]
    return written


def _samples(cell: Cell, store: Store) -> np.ndarray:
    kept = store.load_samples(cell.key)
    if kept is None:
        raise UserError(f"no samples of {cell.key} in {shown(store.root)}: run its study, or say --samples none")
    return kept[0]


def _network(cell: Cell, store: Store) -> Trained:
    if cell.job.net == ORACLE:
        raise UserError(f"{cell.key} is of the oracle, which has no weights: say --no-weights")
    return trained_network(cell, store, torch.device("cpu"))


def _npz(folder: Path, images: np.ndarray, labels: np.ndarray | None) -> Path:
    """guided-diffusion's form: ``arr_0`` uint8 (N, H, W, 3), and ``arr_1`` the classes that were asked for."""
    colour = np.repeat(images, 3, 1) if images.shape[1] == 1 else images
    arrays = [np.ascontiguousarray(colour.transpose(0, 2, 3, 1)), *([labels] if labels is not None else [])]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, *arrays)
    files.write_bytes(folder / "samples.npz", buffer.getvalue())
    return folder / "samples.npz"


def _pngs(folder: Path, images: np.ndarray, labels: np.ndarray | None) -> Path:
    """A file an image, in a folder for each class that was asked for.

    :raises UserError: if there is something in the folder already, such as another cell's images.
    """
    if any((folder / "samples").glob("*")):
        raise UserError(f"{shown(folder / 'samples')} is not empty: delete it, or name another folder with --out")
    for i, image in enumerate(images):
        inner = folder / "samples" / (str(labels[i]) if labels is not None else "")
        files.write_bytes(inner / f"{i:06}.png", png(torch.from_numpy(image)), durable=False)
    return folder / "samples"


def load_exported(path: Path, device: torch.device) -> Trained:
    """The network in a ``weights.safetensors`` that :func:`export` wrote.

    :raises UserError: for any other file.
    """
    if not path.is_file():
        raise UserError(f"no file {path}")
    try:
        with safe_open(path, "pt") as file:
            cell = Cell.model_validate_json((file.metadata() or {})[ABOUT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except KeyError as error:
        raise UserError(f"{path} does not say which cell it is of: it is not from `ddpm-bench export`") from error
    except (SafetensorError, ValidationError, OSError) as error:
        raise UserError(f"{path} is not a weights file of `ddpm-bench export`") from error
    needed(cell.packages)
    row = datasets.row(cell.job.dataset)
    net = network_of(cell.job, row.channels, row.side)
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise UserError(f"{path} holds weights of another network than {cell.job.net}") from error
    return Trained(cell, net).to(device).eval()


OF_BASE = "In it `net.` begins the names of the network's own tensors, and `base.` those of its base.\n"
CARD = """\
# {title}

A network of ddpm-bench, trained on {dataset} to predict `{objective}` under the schedule `{schedule}` with T = {T}.

## Load it

```python
from ddpm_bench import load

network = load("weights.safetensors")  # a torch.nn.Module: (x_t (B, C, H, W), t/T (B,)) → the objective's output
images = network.sample(64, seed=1)  # uint8 (64, C, H, W)
print(images.shape, sum(p.numel() for p in network.parameters()))
```

Without ddpm-bench the file is the state of the network `{net}`: `safetensors.torch.load_file("weights.safetensors")`.
{parts}
## What it is

{what}

## Scores

Of {n:,} samples by `{way}`, against the training images, in the features of the classifier `{classifier}`.
The floor is of as many test images.

{scores}
"""


def card(cell: Cell, store: Store) -> str:
    """What a network is, how it was trained, and its scores, in Markdown."""
    job, record, run = cell.job, store.read(CellRecord, cell.key), store.read(JobRecord, cell.job.key)
    what: dict[str, object] = {"cell": cell.key, "training run": job.key, "network": job.network, "weight": job.weight}
    what |= {name: value for name, value in job.train.model_dump().items() if value is not None}
    what["seed"] = job.seed
    if isinstance(run, TrainedJob):
        made = run.environment
        what |= {"parameters": f"{run.params:,}", "seconds of training": f"{sum(e.seconds for e in run.epochs):.0f}"}
        what |= {"device": made.gpu or made.processor, "torch": made.torch, "commit": made.commit, "code": made.code}
        what["made"] = run.created.isoformat()
    scores, classifier = "It has no scores.", "none"
    if isinstance(record, ScoredCell):
        rows = [(name, f"{value:.4g}", _number(record.floor, name)) for name, value in record.metrics.items()]
        scores, classifier = _table(("metric", "value", "floor"), rows), record.provenance.classifier[:12]
    return CARD.format(
        title=job.label, dataset=job.dataset, objective=job.objective, schedule=job.schedule, T=job.T, net=job.network,
        parts=OF_BASE if job.based else "",
        what=_table(("fact", "value"), [(name, str(value)) for name, value in what.items()]), n=cell.n,
        way=cell.label, classifier=classifier, scores=scores,
    )  # fmt: skip


def _number(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.4g}" if name in scores else "–"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join("| " + " | ".join(one.replace("|", "\\|") for one in line) + " |" for line in lines)
