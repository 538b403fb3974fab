"""Reading images that somebody else made: a folder of image files, or an .npy or .npz. See ``docs/files.md``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from bench.errors import UserError, unknown
from bench.images import arrays, conventions, pictures
from bench.images.source import MINIMUM, PART, Counts, InDoubtError, Reading, Source, reworded

USUAL = Reading()
CLASSES = 10


def take(path: Path, channels: int, side: int, reading: Reading = USUAL, classes: int = CLASSES) -> Source:
    """The images at a path, which are looked at once to find out how they are to be read.

    :param channels: that images should have, and ``side`` pixels each way.
    :param classes: labels are whole numbers below this.
    :raises UserError: for anything that is not at least :data:`~bench.images.source.MINIMUM` such images.
    :raises InDoubtError: where the values can be read in two ways.
    """
    for name in reading.changes:
        if name not in conventions.CHANGES:
            raise unknown("change", name, conventions.CHANGES)
    arrays.of_files(path, {"--range": reading.range, "--array": reading.array})
    if path.is_dir():
        return _enough(path, _folder(path, channels, side, reading, classes))
    if not path.exists():
        raise UserError(f"no such file or folder: {path}")
    larger = "crop" in reading.changes

    def shaped(shape: tuple[int, ...]) -> bool:
        return conventions.layout(shape, channels, side, larger=larger) is not None

    found = arrays.read(path, shaped, reading.array)
    return _enough(path, _of_found(path, found, channels, side, reading, classes))


def of_array(
    array: np.ndarray, what: str, channels: int, side: int, reading: Reading = USUAL, classes: int = CLASSES
) -> Source:
    """An array of images in memory, in any of the forms that files have.

    :raises UserError: as :func:`take` does, calling it ``what``.
    """
    whole = np.asarray(array)
    if not whole.ndim:
        raise UserError(f"{what} is one number: images are needed")
    try:
        source = _of_found(Path(what), arrays.Found(arrays.of_array(whole)), channels, side, reading, classes)
    except UserError as error:
        raise reworded(error, {"say --range": "make them uint8 first"}) from error
    return _enough(Path(what), source)


def _enough(path: Path, source: Source) -> Source:
    if source.n < MINIMUM:
        raise UserError(f"{path} has {source.n} images: at least {MINIMUM} are needed to score")
    return source


# arrays


def _of_found(path: Path, found: arrays.Found, channels: int, side: int, reading: Reading, classes: int) -> Source:
    array, crop = found.images, "crop" in reading.changes
    laid = conventions.layout(array.shape, channels, side, larger=crop)
    if laid is None:
        raise UserError(_wrong_shape(path, array, channels, side))
    kind = array.dtype
    try:
        bounds, clipped = _bounds(array, reading)
    except InDoubtError as doubt:
        raise InDoubtError(f"{path} {doubt}", doubt.ranges) from None
    except ValueError as error:
        raise UserError(f"{path} {error}") from error

    def batches(done: Counter[str]) -> Iterator[np.ndarray]:
        with arrays.explained(path):
            for part in array.parts():
                block = conventions.to_bytes(laid.view(part), bounds)
                block = conventions.channels_of(block, channels, reading.background, done)
                yield conventions.changed(block, reading.changes, side)

    done: Counter[str] = Counter()
    if laid.view(np.empty((0, *array.shape[1:]), kind)).shape[1] != channels:
        for _ in batches(done):  # to know beforehand what is done to them
            pass
    for name in reading.changes:
        done[conventions.CHANGES[name].words] = array.shape[0]
    if kind != np.uint8:
        done[f"{kind} to bytes"] = array.shape[0]
    labels, notes = _labels(found, classes)
    counts = Counts(array.shape[0], array.shape[0], dict(done), clipped)
    return Source(array.shape[0], _words(array, laid, bounds), counts, lambda: batches(Counter()), labels, tuple(notes))


def _bounds(array: arrays.Array, reading: Reading) -> tuple[tuple[float, float], int]:
    """What black and white are, and how many values are beyond."""
    kind = array.dtype
    if reading.range is None and kind == np.uint8:
        return conventions.BYTES, 0
    if not conventions.real(kind):
        raise ValueError(f"holds {kind} values: numbers are needed")
    extent = conventions.Extent()
    if kind != np.bool_:
        for part in array.parts():
            extent.add(part)
    bounds = reading.range or conventions.range_of(extent, kind)
    if bounds[0] <= extent.low and extent.high <= bounds[1]:
        return bounds, 0
    return bounds, sum(conventions.beyond(part, bounds) for part in array.parts())


def _wrong_shape(path: Path, array: arrays.Array, channels: int, side: int) -> str:
    shape = arrays.in_words(array.shape)
    name = f" '{array.name}'" if array.name else ""
    more = ""
    if conventions.layout(array.shape, channels, side, larger=True) is not None:
        more = " (if they have a border, --apply crop takes the middle)"
    return f"{path} holds an array{name} of {shape}: images of {channels}×{side}×{side} are needed{more}"


def _words(array: arrays.Array, laid: conventions.Layout, bounds: tuple[float, float]) -> str:
    low, high = (f"{end:g}" for end in bounds)
    name = f" '{array.name}'" if array.name else ""
    values = f"bytes {low} to {high}" if array.dtype == np.uint8 else f"{array.dtype} in [{low}, {high}]"
    if np.issubdtype(array.dtype, np.floating):
        values = f"floats in [{low}, {high}]"
    return f"array{name} of {values}" + (f", {laid.words}" if laid.words else "")


def _labels(found: arrays.Found, classes: int) -> tuple[np.ndarray | None, list[str]]:
    notes = []
    labels = None
    if found.labels is not None and found.labels.shape[0]:
        labels = found.labels.whole().reshape(-1)
        if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            notes.append(f"labels in '{found.labels.name}' {_no_classes(classes)}: they are not used")
            labels = None
        else:
            labels = labels.astype(np.int64)
            notes.append(f"labels are from '{found.labels.name}'")
    if found.others:
        notes.append(f"arrays not used: {', '.join(found.others)}")
    return labels, notes


def _no_classes(classes: int) -> str:
    return f"are not all from 0 to {classes - 1}" if classes else "say nothing here, for the data set has no classes"


# folders


def _folder(path: Path, channels: int, side: int, reading: Reading, classes: int) -> Source:
    listed = pictures.listing(path)
    total: Counter[str] = Counter()
    files, blank = [], 0
    for file, image, done in pictures.survey(listed, path, side, reading):
        files.append(file)
        block = conventions.channels_of(image[None], channels, reading.background, done)
        total.update(done)
        blank += any(what.startswith("composed") for what in done) and block.min() == block.max()
    if not files:
        raise UserError(f"no image files in {path}{_elsewhere(listed)}")
    jpeg = total.pop("JPEG", 0)
    notes = []
    if jpeg:
        notes.append(f"{jpeg:,} images are JPEG: what its compression lost is part of the score")
    if blank * 2 > len(files):
        other = "black" if reading.background else "white"
        notes.append(f"{blank:,} images are blank on {conventions.shade(reading.background)}: try --background {other}")
    labels = pictures.labels_of(files, path, classes)
    inner = {os.path.dirname(file) for file in files} - {os.fspath(path)}
    if labels is not None:
        notes.append("labels are the names of subfolders")
    elif inner:
        notes.append(f"names of subfolders {_no_classes(classes)}: they are not used as labels")
    for name in reading.changes:
        total[conventions.CHANGES[name].words] = len(files)
    counts = Counts(len(files) + sum(listed.skipped.values()), len(files), dict(total), 0, dict(listed.skipped))
    batches = partial(_pictures, files, channels, side, reading)
    return Source(len(files), "image files of bytes 0 to 255", counts, batches, labels, tuple(notes))


def _elsewhere(listed: pictures.Listing) -> str:
    arrays_ = [os.path.basename(file) for file in listed.files if file.endswith((".npy", ".npz"))]
    return f"; it has {arrays_[0]}: name that file" if arrays_ else ""


def _pictures(files: list[str], channels: int, side: int, reading: Reading) -> Iterator[np.ndarray]:
    for start in range(0, len(files), PART):
        some = files[start : start + PART]
        block = np.empty((len(some), channels, side, side), np.uint8)
        for i, file in enumerate(some):  # one by one: thousands of small arrays would leave holes in the heap
            image = conventions.channels_of(pictures.again(file)[None], channels, reading.background, Counter())
            block[i] = conventions.changed(image, reading.changes, side)[0]
        yield block
