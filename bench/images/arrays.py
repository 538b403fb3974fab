"""Arrays of images in .npy and .npz files, read a part at a time: an .npy is mapped, a member of an .npz streamed."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from bench.errors import UserError, unknown
from bench.images.source import PART

NPY, ZIP = b"\x93NUMPY", (b"PK\x03\x04", b"PK\x05\x06")
"""What files start with."""
IMAGES, LABELS = ("images", "arr_0"), ("labels", "arr_1", "label", "y", "classes")
"""Names of arrays, the first that is there: those of guided-diffusion are ``arr_0`` and ``arr_1``."""


@dataclass(frozen=True)
class Array:
    """An array in a file: its shape, kind of number, and its parts in order, each time anew. ``name``: in an .npz."""

    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Callable[[], Iterator[np.ndarray]]
    name: str | None = None

    def whole(self) -> np.ndarray:
        """All of it."""
        return np.concatenate(list(self.parts()))


class Found(NamedTuple):
    """The array of images in a file, that of their labels if there is one, and the names of the rest."""

    images: Array
    labels: Array | None = None
    others: tuple[str, ...] = ()


def of_array(array: np.ndarray) -> Array:
    """An array in memory."""
    return Array(array.shape, array.dtype, lambda: (array[i : i + PART] for i in range(0, len(array), PART)))


def read(path: Path, image_shaped: Callable[[tuple[int, ...]], bool], asked: str | None) -> Found:
    """The images in an .npy or .npz file, told apart by how it starts: see :func:`read_npz`.

    :raises UserError: if it is neither, cannot be read, or has no arrays with names and one is asked for.
    """
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(NPY):
        if asked is not None:
            raise UserError(f"{path} is an .npy file: its one array has no name, not '{asked}'")
        return read_npy(path)
    if start.startswith(ZIP):
        return read_npz(path, image_shaped, asked)
    if path.suffix in (".npy", ".npz"):
        raise UserError(f"{path} is not a readable array file")
    raise UserError(f"{path} is neither a folder of images nor an .npy or .npz file")


def read_npy(path: Path) -> Found:
    """The array in an .npy. It is mapped anew for each part: what was read of a mapping stays in memory with it.

    :raises UserError: if it cannot be read, or holds Python objects.
    """

    def mapped() -> np.ndarray:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return found

    with explained(path):
        head = mapped()
    _usable(path, head)

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, len(head), PART):
            yield mapped()[start : start + PART]

    return Found(Array(head.shape, head.dtype, parts))


def read_npz(path: Path, image_shaped: Callable[[tuple[int, ...]], bool], asked: str | None) -> Found:
    """The images in an .npz, and their labels: see :data:`IMAGES` and :data:`LABELS`.

    Without such a name the images are in the only array that is shaped like them.

    :param asked: the name of the array of images, if the user says it.
    :raises UserError: if it cannot be read, or which array it is cannot be told.
    """
    with explained(path), zipfile.ZipFile(path) as file:
        members = [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
        strange = next((name for name in file.namelist() if not name.endswith(".npy")), None)
        found = {name: _member(path, name) for name in members}
    if not found and strange:
        raise UserError(
            f"{path} is a zip file without arrays (it has {strange}): unpack it, or save arrays by numpy.savez"
        )
    held = ", ".join(f"{name} {in_words(array.shape)}" for name, array in found.items()) or "nothing"
    if asked is not None and asked not in found:
        raise unknown("array", asked, found)
    shaped = [name for name, array in found.items() if image_shaped(array.shape)]
    likely = (
        [name for name in IMAGES if name in shaped]
        or (shaped if len(shaped) == 1 else [])
        or (members if len(members) == 1 else [])
    )
    if asked is None and not likely:
        what = f"{len(shaped)} arrays of images" if shaped else "no array of images"
        raise UserError(f"{path} has {what} (it has: {held})" + ("; say which with --array" if shaped else ""))
    images = asked if asked is not None else likely[0]
    _usable(path, found[images])
    labels = next((name for name in LABELS if name in found and _labels(found[name], found[images])), None)
    others = tuple(name for name in found if name not in (images, labels))
    return Found(found[images], found[labels] if labels else None, others)


def _labels(array: Array, images: Array) -> bool:
    """Whether an array holds a whole number for each image."""
    one_each = array.shape[:1] == images.shape[:1] and array.shape[1:] in ((), (1,))
    return one_each and np.issubdtype(array.dtype, np.integer)


def _member(path: Path, name: str) -> Array:
    """An array of an .npz; nothing but its head is read."""
    with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as stream:
        shape, fortran, dtype = _head(stream)

    def parts() -> Iterator[np.ndarray]:
        with explained(path):
            if fortran or dtype.hasobject or not shape:  # in another order than the file's: it cannot be streamed
                yield from of_array(np.load(path, allow_pickle=False)[name]).parts()
                return
            with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as stream:
                _head(stream)
                for start in range(0, shape[0], PART):
                    yield _next(stream, (min(PART, shape[0] - start), *shape[1:]), dtype)
                if stream.read(1):  # reading to the end also checks the sum of the bytes
                    raise ValueError("more bytes than its head says")

    return Array(shape, dtype, parts, name)


def _head(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version} of the format")


def _next(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    block = np.empty(shape, dtype)
    into = memoryview(block.reshape(-1).view(np.uint8).data)
    while into:
        n = stream.readinto(into)  # type: ignore[attr-defined]
        if not n:
            raise ValueError("it ends too soon")
        into = into[n:]
    return block


def _usable(path: Path, array: Array | np.ndarray) -> None:
    """Refuse Python objects, for to read them is to run whatever the file says; and an array with nothing in it."""
    if array.dtype.hasobject:
        raise UserError(
            f"{path} is not a readable array file (it holds pickled Python objects, which are never loaded)"
        )
    if array.shape[:1] == (0,):
        raise UserError(f"{path} holds an array of {in_words(array.shape)}: 0 images")


def of_files(path: Path, said: Mapping[str, object]) -> None:
    """Refuse what is said of arrays where there are pictures: it would do nothing.

    :param said: what the user calls an option → its value, if there is one.
    :raises UserError: naming the first.
    """
    for name, value in said.items():
        if value and path.is_dir():
            raise UserError(f"{name} is for an .npy or .npz file, and {path} is a folder")


def in_words(shape: tuple[int, ...]) -> str:
    """A shape as messages show it: 100×28×28."""
    return "×".join(map(str, shape)) or "one number"


class explained:  # noqa: N801 (a context manager)
    """Whatever a library makes of a damaged file, the user gets one line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, where: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, UserError):
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"{self.path} is not a readable array file ({reason})") from error
