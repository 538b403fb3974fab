"""Results on disk: one immutable JSON a cell and a job, atomic, checksummed, with its artefacts beside it.

::

    <results>/jobs/<key>.json          a training run: config, losses, durations, environment, or why it failed
    <results>/cells/<key>.json         a cell: config, metrics, durations, provenance
    <results>/cells/<key>.png          the first 64 samples;  <key>.strip.png: six of them, denoised step by step
    <results>/references/<key>.json    floor and ceiling
    <results>/engines/<key>.json       a machine's trial of the ways to evaluate a network
    <results>/workers/<key>.json       how a machine is divided among the jobs of a study
    <results>/samples/<key>.npz        all samples, uint8 (N, C, H, W)              (not in git)
    <results>/checkpoints/<key>.safetensors   averaged and raw weights              (not in git)
    <results>/snapshots/, scoring/, classifiers/   weights of teachers and averages, what judges saw, own classifiers
    <results>/resume/, logs/, locks/   work in progress                             (not in git)

Records are those of :mod:`bench.store.records`. Nothing is unpickled. A file that is truncated or altered, of another
shape than its kind, or under a name that is not its own, is treated as missing and remembered in ``damaged``.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bench import files

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from bench.store.records import CellRecord, Record, Sampled
    from bench.store.tensors import About
    from bench.study.model import Cell

    A = TypeVar("A", bound=About)
    R = TypeVar("R", bound=Record)


VERSION = 2
"""1 had the hash of the record's canonical JSON, so that checking a record meant writing it out again; 2 has the hash
of the bytes that follow, as they are in the file. Both are read."""

_HEAD = '{{\n "version": 2,\n "sha256": "{}",\n "record": '
_HEAD_BYTES = len(_HEAD.format("0" * 64))
_HEAD_BEFORE, _HEAD_AFTER = (part.encode() for part in _HEAD.format("|").split("|"))
_END = b"\n}\n"


class Store:
    """A results folder. Opening one writes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: list[Path] = []

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Where that file is, or would be."""
        return self.root / kind / f"{key}{suffix}"

    def read(self, kind: type[R], key: str) -> R | None:
        """The record of that kind, or None if there is none or it is damaged."""
        return self._read(kind, key)

    def read_cell(self, kind: type[CellRecord], cell: Cell) -> CellRecord | None:
        """A cell's record: :meth:`read` where the cell is at hand, which is quicker."""
        return self._read(kind, cell.key, cell)

    def _read(self, kind: type[R], key: str, at_hand: Cell | None = None) -> R | None:
        path = f"{self.root}/{kind.kind}/{key}.json"  # no Path: this runs a hundred thousand times for a large study
        try:
            record = kind.parse(_checked(_content(path)), at_hand)
            if record.belongs_to(key):
                return record
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self.note(Path(path))
        return None

    def records(self, kind: type[R]) -> Iterator[tuple[str, R]]:
        """(key, record) of every file of a kind that is whole."""
        for path in sorted((self.root / kind.kind).glob("*.json")):
            record = self.read(kind, path.stem)
            if record is not None:
                yield path.stem, record

    def write(self, key: str, record: Record) -> None:
        """Write a record, whole or not at all."""
        self.write_bytes(self.path(record.kind, key, ".json"), self.encode(record))

    @staticmethod
    def encode(record: Record) -> bytes:
        """The file that holds a record."""
        return encode(record.as_json())

    def write_bytes(self, path: Path, content: bytes, *, durable: bool = True) -> None:
        """:func:`bench.files.write_bytes`, which names this folder when it fails."""
        files.write_bytes(path, content, durable=durable, folder=self.root)

    def writable(self, folder: str = "locks") -> None:
        """Make sure that results can be written, before any work is done for them.

        :param folder: where in the store to try, "" being its root.
        :raises UserError: if they cannot.
        """
        files.check_writable(self.root / folder, self.root)

    def save_tensors(self, key: str, tensors: dict[str, Tensor], about: About) -> None:
        """Write tensors, and what they are, as one checksummed safetensors file."""
        from safetensors.torch import save

        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        text = json.dumps(about.as_json(), sort_keys=True)
        header = {"meta": text, "sha256": _digest_tensors(tensors, text)}
        self.write_bytes(self.path(about.kind, key, ".safetensors"), save(tensors, header))

    def load_tensors(self, kind: type[A], key: str) -> tuple[dict[str, Tensor], A] | None:
        """What :meth:`save_tensors` wrote, on the CPU, or None if there is none or it is damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.path(kind.kind, key, ".safetensors")
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if header["sha256"] == _digest_tensors(tensors, header["meta"]):
                return tensors, kind.parse(header["meta"].encode())
        except (SafetensorError, KeyError, ValueError, OSError):
            pass
        self.note(path)
        return None

    def load_about(self, kind: type[A], key: str) -> A | None:
        """What tensors are, unchecked and without reading them, or None."""
        from safetensors import SafetensorError, safe_open

        path = self.path(kind.kind, key, ".safetensors")
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as file:
                return kind.parse(file.metadata()["meta"].encode())
        except (SafetensorError, KeyError, TypeError, ValueError, OSError):
            return None

    def save_samples(self, key: str, images: np.ndarray, about: Sampled) -> None:
        """Write samples, uint8 (N, C, H, W), and how they were drawn; the zip format keeps checksums of both."""
        import zipfile

        import numpy as np

        arrays = {"images": images, "meta": np.frombuffer(json.dumps(about.as_json()).encode(), np.uint8)}
        buffer = io.BytesIO()
        # as numpy's savez_compressed, which takes five times as long to save a twelfth of the size
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for name, values in arrays.items():
                with file.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, values)
        self.write_bytes(self.path("samples", key, ".npz"), buffer.getvalue())

    def load_samples(self, key: str) -> tuple[np.ndarray, Sampled] | None:
        """What :meth:`save_samples` wrote, or None if there is none or it is damaged."""
        import zipfile

        import numpy as np

        from bench.store.records import Sampled

        path = self.path("samples", key, ".npz")
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as file:
                sound = file.testzip() is None
            if sound:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                    images, about = arrays["images"], Sampled.parse(arrays["meta"].tobytes())
                if images.dtype == np.uint8 and images.ndim == 4 and len(images) == sum(about.batch_images):
                    return images, about
        except Exception:  # noqa: S110 (a damaged zip can raise nearly anything, and all of it means damaged)
            pass
        self.note(path)
        return None

    def picture(self, key: str, suffix: str = ".png") -> bytes | None:
        """A cell's picture as a PNG file, or None if there is none or it is damaged."""
        from bench.images.whole import decoded

        path = self.path("cells", key, suffix)
        try:
            content = path.read_bytes()
            decoded(content)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            self.note(path)
            return None
        return content

    def cut_short(self, kind: Literal["checkpoints", "classifiers", "samples"], key: str) -> bool:
        """Whether that file is there but not all of it: a look at its ends, which costs next to nothing."""
        # no Path before there is a file: this runs a hundred thousand times for a large study
        name = f"{self.root}/{kind}/{key}{'.npz' if kind == 'samples' else '.safetensors'}"
        if not os.path.isfile(name):
            return False
        import zipfile

        from safetensors import SafetensorError, safe_open

        path = Path(name)
        try:
            if kind == "samples":
                whole = zipfile.is_zipfile(path)
            else:
                with safe_open(path, "np"):
                    whole = True
        except (SafetensorError, OSError):
            whole = False
        if not whole:
            self.note(path)
        return not whole

    def note(self, path: Path) -> None:
        """Remember that a file is damaged."""
        if path not in self.damaged:
            self.damaged.append(path)


def cached_record(store: Store, kind: type[R], key: str, make: Callable[[], R]) -> R:
    """The record, made and written if there is none yet."""
    record = store.read(kind, key)
    if record is None:
        record = make()
        store.write(key, record)
    return record


def encode(record: dict[str, Any]) -> bytes:
    """The file that holds a JSON object as a record, checksum included; whether it is one is not looked at."""
    head = _HEAD.format("0" * 64)
    text = json.dumps({"version": VERSION, "sha256": "0" * 64, "record": record}, indent=1, ensure_ascii=False)
    body = f"{text.removeprefix(head)}\n".encode()
    return _HEAD.format(hashlib.sha256(body).hexdigest()).encode() + body


_PART = 1 << 14


def _content(path: str) -> bytes:
    """A file's bytes with one call to read where it is small, which is all that a large study does."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        content = os.read(descriptor, _PART)
        if len(content) == _PART:
            content += b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
    finally:
        os.close(descriptor)
    return content


def _checked(content: bytes) -> bytes:
    """The JSON of the record in a file, whose checksum is right.

    :raises ValueError: if it is not, or the file is of no known version.
    """
    head, body = content[:_HEAD_BYTES], content[_HEAD_BYTES:]
    digest = hashlib.sha256(body).hexdigest().encode()
    if head == _HEAD_BEFORE + digest + _HEAD_AFTER and body.endswith(_END):
        return body[: -len(_END)]
    from pydantic_core import from_json

    envelope = from_json(content)
    text = json.dumps(envelope["record"], sort_keys=True, ensure_ascii=False).encode()
    if envelope["version"] != 1 or envelope["sha256"] != hashlib.sha256(text).hexdigest():
        raise ValueError("not a record")
    return text


def _digest_tensors(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
