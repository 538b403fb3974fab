"""Results on disk: one immutable JSON a cell and a job, atomic, checksummed, with its artefacts beside it.

::

    <results>/jobs/<key>.json          a training run: config, losses, durations, environment, or why it failed
    <results>/cells/<key>.json         a cell: config, metrics, durations, provenance
    <results>/cells/<key>.png          the first 64 samples;  <key>.strip.png: six of them, denoised step by step
    <results>/references/<key>.json    floor and ceiling
    <results>/engines/<key>.json       a machine's trial of the ways to evaluate a network
    <results>/samples/<key>.npz        all samples, uint8 (N, C, H, W)              (not in git)
    <results>/checkpoints/<key>.safetensors   averaged and raw weights              (not in git)
    <results>/resume/, logs/, locks/   work in progress                             (not in git)
    <results>/compiled/                kernels, for the next job to find            (not in git)

Nothing is unpickled. A file that is truncated or altered is treated as missing, and remembered in ``damaged``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


VERSION = 2
"""1 had the hash of the record's canonical JSON, so that checking a record meant writing it out again; 2 has the hash
of the bytes that follow, as they are in the file. Both are read."""

_HEAD = '{{\n "version": 2,\n "sha256": "{}",\n "record": '
_HEAD_BYTES = len(_HEAD.format("0" * 64))

Kind = Literal["jobs", "cells", "references", "engines"]


class Store:
    """A results folder. Opening one writes nothing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.damaged: list[Path] = []

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Where that file is, or would be."""
        return self.root / kind / f"{key}{suffix}"

    def read(self, kind: Kind, key: str) -> dict[str, Any] | None:
        """The record, or None if there is none or it is damaged."""
        from pydantic_core import from_json  # several times faster than json.loads, with the same result

        path = f"{self.root}/{kind}/{key}.json"  # no Path: this runs a hundred thousand times for a large study
        try:
            with open(path, "rb", buffering=0) as file:
                content = file.read()
            envelope = from_json(content)
            if envelope["sha256"] == _DIGESTS[envelope["version"]](content, envelope):
                record: dict[str, Any] = envelope["record"]
                return record
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._note(Path(path))
        return None

    def write(self, kind: Kind, key: str, record: dict[str, Any]) -> None:
        """Write a record, whole or not at all."""
        self.write_bytes(self.path(kind, key, ".json"), self.encode(record))

    @staticmethod
    def encode(record: dict[str, Any]) -> bytes:
        """The file that holds a record."""
        head = _HEAD.format("0" * 64)
        text = json.dumps({"version": VERSION, "sha256": "0" * 64, "record": record}, indent=1, ensure_ascii=False)
        body = f"{text.removeprefix(head)}\n".encode()
        return _HEAD.format(hashlib.sha256(body).hexdigest()).encode() + body

    def write_bytes(self, path: Path, content: bytes, *, durable: bool = True) -> None:
        """Write a file, whole or not at all.

        :param durable: whether to wait until it would outlive a power cut. Pictures need not: no result depends on one.
        :raises UserError: if the folder cannot be written or the disk is full.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with self.explained():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with temporary.open("wb") as file:
                    file.write(content)
                    if durable:
                        file.flush()
                        os.fsync(file.fileno())
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what goes wrong with a disk into one line for the user."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(f"disk full: cannot write to {self.root}; free some space and run again") from error
            if error.strerror:
                raise UserError(f"cannot write to folder {self.root}: {error.strerror}") from error
            raise

    def writable(self, folder: str = "locks") -> None:
        """Make sure that results can be written, before any work is done for them.

        :param folder: where in the store to try, "" being its root.
        :raises UserError: if they cannot.
        """
        probe = self.root / folder / f".probe.{os.getpid()}"
        self.write_bytes(probe, b"x" * 4096)
        probe.unlink()

    def save_tensors(self, kind: str, key: str, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Write tensors and a JSON-able ``meta`` as one checksummed safetensors file."""
        from safetensors.torch import save

        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        text = json.dumps(meta, sort_keys=True)
        header = {"meta": text, "sha256": _digest_tensors(tensors, text)}
        self.write_bytes(self.path(kind, key, ".safetensors"), save(tensors, header))

    def load_tensors(self, kind: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What :meth:`save_tensors` wrote, on the CPU, or None if there is none or it is damaged."""
        from safetensors import SafetensorError, safe_open

        path = self.path(kind, key, ".safetensors")
        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            if header["sha256"] == _digest_tensors(tensors, header["meta"]):
                return tensors, json.loads(header["meta"])
        except (SafetensorError, KeyError, ValueError, OSError):
            pass
        self._note(path)
        return None

    def load_meta(self, kind: str, key: str) -> dict[str, Any] | None:
        """The ``meta`` that :meth:`save_tensors` wrote, unchecked and without reading the tensors, or None."""
        from safetensors import SafetensorError, safe_open

        path = self.path(kind, key, ".safetensors")
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as file:
                meta: dict[str, Any] = json.loads(file.metadata()["meta"])
                return meta
        except (SafetensorError, KeyError, TypeError, ValueError, OSError):
            return None

    def save_samples(self, key: str, images: np.ndarray, meta: dict[str, Any]) -> None:
        """Write samples, uint8 (N, C, H, W), and a JSON-able ``meta``; the zip format keeps checksums of both."""
        import zipfile

        import numpy as np

        arrays = {"images": images, "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
        buffer = io.BytesIO()
        # as numpy's savez_compressed, which takes five times as long to save a twelfth of the size
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for name, values in arrays.items():
                with file.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, values)
        self.write_bytes(self.path("samples", key, ".npz"), buffer.getvalue())

    def load_samples(self, key: str) -> tuple[np.ndarray, dict[str, Any]] | None:
        """What :meth:`save_samples` wrote, or None if there is none or it is damaged."""
        import zipfile

        import numpy as np

        path = self.path("samples", key, ".npz")
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as file:
                sound = file.testzip() is None
            if sound:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
                    return arrays["images"], json.loads(arrays["meta"].tobytes())
        except Exception:  # noqa: S110 (a damaged zip can raise nearly anything, and all of it means damaged)
            pass
        self._note(path)
        return None

    def cut_short(self, kind: Literal["checkpoints", "classifiers", "samples"], key: str) -> bool:
        """Whether that file is there but not all of it: a look at its ends, which costs next to nothing."""
        import zipfile

        from safetensors import SafetensorError, safe_open

        path = self.path(kind, key, ".npz" if kind == "samples" else ".safetensors")
        if not path.is_file():
            return False
        try:
            if kind == "samples":
                whole = zipfile.is_zipfile(path)
            else:
                with safe_open(path, "np"):
                    whole = True
        except (SafetensorError, OSError):
            whole = False
        if not whole:
            self._note(path)
        return not whole

    def _note(self, path: Path) -> None:
        if path not in self.damaged:
            self.damaged.append(path)


def cached_record(store: Store, kind: Kind, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The record, made and written if there is none yet."""
    record = store.read(kind, key)
    if record is None:
        record = make()
        store.write(kind, key, record)
    return record


def _digest_of_canonical(content: bytes, envelope: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(envelope["record"], sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _digest_of_bytes(content: bytes, envelope: dict[str, Any]) -> str:
    return hashlib.sha256(content[_HEAD_BYTES:]).hexdigest()


_DIGESTS = {1: _digest_of_canonical, 2: _digest_of_bytes}


def _digest_tensors(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
