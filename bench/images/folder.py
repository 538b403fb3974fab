"""A user's own images as a data set: a folder of pictures, or an .npy or .npz file. See ``docs/data.md``.

A part is held out to measure with. Images are ordered by the sha256 of their pixels, and the first ones are held out:
the same images give the same parts, whatever the files are called and wherever they lie.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.errors import UserError, unknown
from bench.images import arrays, conventions, pictures
from bench.images.dataset import Images
from bench.images.source import MINIMUM, is_range, reworded
from bench.paths import given

FITS = ("exact", "crop", "pad")
"""What is done with an image of another size: nothing (it is an error), its middle is taken, or a border is added."""
FOUND = ("train", "test", "classes", "sha256")
"""The options that are found out."""
SAID = {"say --range": "say range: [low, high]", "say which with --array": "say which with array: NAME"}
"""What messages advise users of the command → what they advise here."""


class _Decoded(NamedTuple):
    """An image (k, H, W) of bytes, k = 1 or 3, its class's name, and what an error calls it."""

    image: np.ndarray
    label: str
    name: str


@dataclass
class Pictures:
    """All images, in the order of their hashes, (N, C, H, W); their labels; how many of them are held out.

    ``classes`` are names; none if there are no labels. ``sizes`` and ``done``: what sizes they had, and what was done
    to them → how many.
    """

    images: np.ndarray
    labels: np.ndarray
    held_out: int
    sha256: str
    classes: list[str]
    sizes: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)


def options(
    *,
    path: str = "",
    side: int = 28,
    channels: int = 0,
    fit: str = "exact",
    background: int = 0,
    labels: bool = True,
    held_out: float = 0.1,
    array: str = "",
    range: tuple[float, ...] = (),  # noqa: A002 (what users call it)
    train: int = 0,
    test: int = 0,
    classes: int = 0,
    sha256: str = "",
) -> Mapping[str, Any]:
    """The options, the last four of which are found out; which fields of the row they change."""
    return {"channels": channels or 1, "side": side, "train": train, "test": test, "classes": classes}


def look(**chosen: Any) -> Mapping[str, Any]:
    """The options with what was found: how many images and classes, how many channels, and the hash of all.

    :raises UserError: for options that make no sense, and images that cannot be read.
    """
    if chosen.get("train") and chosen.get("test") and chosen.get("sha256"):
        return chosen
    if told := [name for name in FOUND[:-1] if name in chosen]:
        raise UserError(f"data set folder: {told[0]} is found out: leave it out")
    wanted = _checked(chosen)
    found = _pictures(wanted)
    if chosen.get("sha256") and chosen["sha256"] != found.sha256:
        raise UserError(f"the images in {wanted['path']} are not those with sha256 {chosen['sha256']}: it is "
                        f"{found.sha256}")  # fmt: skip
    return chosen | {
        "path": wanted["path"],
        "channels": found.images.shape[1],
        "train": len(found.images) - found.held_out,
        "test": found.held_out,
        "classes": len(found.classes),
        "sha256": found.sha256,
    }


def read(root: Path, **chosen: Any) -> Images:
    """The images, which must be those that were looked at. ``root`` is not used.

    :raises UserError: if they cannot be read, or have changed.
    """
    found = _pictures(_checked(chosen))
    if found.sha256 != chosen["sha256"]:
        raise UserError(f"the images in {chosen['path']} have changed: their sha256 was {chosen['sha256']} and is now "
                        f"{found.sha256}")  # fmt: skip
    k, images, labels = found.held_out, torch.from_numpy(found.images), torch.from_numpy(found.labels)
    return Images(images[k:], labels[k:], images[:k], labels[:k], found.sha256, len(found.classes))


def tell(**chosen: Any) -> list[str]:
    """What is in them, a line each.

    :raises UserError: if they cannot be read.
    """
    found = _pictures(_checked(chosen))
    n, channels, height, width = found.images.shape
    many = Counter(found.labels.tolist())
    classes = ", ".join(f"{name} ({many[i]:,})" for i, name in enumerate(found.classes))
    sizes = ", ".join(f"{size} ({count:,})" for size, count in found.sizes.most_common(5))
    done = "; ".join(f"{what}: {count:,}" for what, count in found.done.items())
    grey = found.images / np.float32(255)
    return [
        f"{n:,} images of {channels}×{height}×{width} in {chosen['path']}: {n - found.held_out:,} to train on, "
        f"{found.held_out:,} held out",
        f"{len(found.classes)} classes: {classes}" if found.classes else "no classes",
        f"sizes of the files: {sizes}{', and others' if len(found.sizes) > 5 else ''}{'; ' if done else ''}{done}",
        f"pixels from 0 to 1: mean {grey.mean():.4f}, standard deviation {grey.std():.4f}",
        f"sha256 {found.sha256}",
    ]  # fmt: skip


def _checked(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Every option, the path whole.

    :raises UserError: for a value that makes no sense.
    """
    usual = options.__kwdefaults__ or {}
    wanted = dict(usual) | dict(chosen)
    if not wanted["path"]:
        raise UserError("data set folder needs a path: dataset: {folder: {path: …, side: 28}}")
    path = given(wanted["path"]).absolute()
    if not path.exists():
        raise UserError(f"no such file or folder: {path}")
    if wanted["fit"] not in FITS:
        raise unknown("fit", wanted["fit"], FITS)
    for name, fine, text in (
        ("side", wanted["side"] >= 4, "4 or more"),
        ("channels", wanted["channels"] in (0, 1, 3), "1, 3, or 0 to find out"),
        ("background", 0 <= wanted["background"] <= 255, "from 0 to 255"),
        ("held_out", 0 < wanted["held_out"] < 1, "between 0 and 1"),
        ("range", not wanted["range"] or is_range(wanted["range"]), "two numbers, the lower first"),
    ):
        if not fine:
            said = list(wanted[name]) if isinstance(wanted[name], tuple) else wanted[name]
            raise UserError(f"data set folder: {name} must be {text}, not {said}")
    arrays.of_files(path, {f"data set folder: {name}": wanted[name] for name in ("array", "range")})
    return wanted | {"path": str(path)}


def _pictures(wanted: Mapping[str, Any]) -> Pictures:
    """All of them, read once for as long as no file changes."""
    path = Path(wanted["path"])
    files = [path] if path.is_file() else [Path(file) for file in pictures.listing(path).files]
    stamp = hash(tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()))
    own = {k: v for k, v in wanted.items() if k not in FOUND}
    try:
        return _read(tuple(sorted(own.items())), stamp)
    except UserError as error:
        raise reworded(error, SAID) from error


@lru_cache(maxsize=1)
def _read(chosen: tuple[tuple[str, Any], ...], stamp: int) -> Pictures:
    wanted = dict(chosen)
    path, side = Path(wanted["path"]), wanted["side"]
    sizes: Counter[str] = Counter()
    done: Counter[str] = Counter()
    found, labels = [], []
    for image, label, name in (_of_folder if path.is_dir() else _of_file)(path, wanted, done):
        sizes[f"{image.shape[1]}×{image.shape[2]}"] += 1
        found.append(_fitted(image, side, wanted["fit"], wanted["background"], path, name, done))
        labels.append(label)
    if not found:
        raise UserError(f"no image files in {path}")
    colour = any(len(image) == 3 and not (image == image[:1]).all() for image in found)
    channels = wanted["channels"] or (3 if colour else 1)
    images = np.concatenate([conventions.channels_of(i[None], channels, wanted["background"], done) for i in found])
    if not wanted["channels"] and channels == 1:
        done.pop("equal channels to grey", None)
    names = sorted(set(labels)) if all(labels) and wanted["labels"] else []
    numbers = {name: i for i, name in enumerate(names)} if len(names) > 1 else {}
    of_each = np.array([numbers.get(label, 0) for label in labels], np.int64)
    return _in_order(path, images, of_each, wanted["held_out"], list(numbers), sizes, done)


def forget() -> None:
    """Read them anew the next time."""
    _read.cache_clear()


def _in_order(
    path: Path, images: np.ndarray, labels: np.ndarray, share: float, classes: list[str], sizes: Counter[str],
    done: Counter[str],
) -> Pictures:  # fmt: skip
    """The images in the order of their hashes, the first ones held out. The same image twice is on one side."""
    hashes = [hashlib.sha256(image.tobytes()).digest() for image in images]
    order = sorted(range(len(images)), key=lambda i: (hashes[i], labels[i]))
    k = round(share * len(order))
    while 0 < k < len(order) and hashes[order[k]] == hashes[order[k - 1]]:
        k += 1
    if min(k, len(order) - k) < MINIMUM:
        raise UserError(
            f"{path} has {len(order)} images: with held_out {share:g}, {k} are held out and {len(order) - k} are "
            f"trained on, and at least {MINIMUM} of each are needed"
        )
    whole = hashlib.sha256(f"{images.shape[1:]} {k} {len(classes)}".encode())
    for i in order:
        whole.update(hashes[i] + int(labels[i]).to_bytes(4, "big"))
    return Pictures(images[order], labels[order], k, whole.hexdigest()[:32], classes, sizes, done)


def _of_folder(path: Path, wanted: Mapping[str, Any], done: Counter[str]) -> Iterator[_Decoded]:
    """Each picture in a folder; its class is the name of the folder in it that it lies in."""
    for file in pictures.listing(path).files:
        name = os.path.relpath(file, path)
        try:
            image = pictures.decode(file, done)
        except pictures.UnreadableError as error:
            raise UserError(f"{path}: {name} is not readable: {error}") from error
        label = name.split(os.sep)[0] if os.sep in name else ""
        yield _Decoded(_opaque(image[None], wanted["background"], done)[0], label, name)


def _of_file(path: Path, wanted: Mapping[str, Any], done: Counter[str]) -> Iterator[_Decoded]:
    """Each image in an .npy or .npz file."""
    side = wanted["side"]
    found = arrays.read(path, lambda shape: _view(shape, side) is not None, wanted["array"] or None)
    view = _view(found.images.shape, side)
    if view is None:
        shape = arrays.in_words(found.images.shape)
        raise UserError(f"{path} holds an array of {shape}: (N, H, W), (N, H, W, C) or (N, C, H, W) is needed")
    labels = None if found.labels is None else found.labels.whole().reshape(-1)
    width = 0 if labels is None else len(str(labels.max()))  # 02 comes before 10
    bounds, n = _bounds(path, found.images, wanted["range"]), 0
    for part in found.images.parts():
        if outside := conventions.beyond(part, bounds):
            done["values clipped"] += outside
        for image in _opaque(conventions.to_bytes(view.view(part), bounds), wanted["background"], done):
            yield _Decoded(image, "" if labels is None else f"{labels[n]:0{width}d}", f"image {n}")
            n += 1


def _view(shape: tuple[int, ...], side: int) -> conventions.Layout | None:
    """How an array of that shape is laid out, whatever the size of its images."""
    if len(shape) == 2:
        return conventions.layout(shape, 1, side) or conventions.layout(shape, 3, side)
    return conventions.layout(shape, 1, 1, larger=True)


def _bounds(path: Path, array: arrays.Array, said: tuple[float, ...]) -> tuple[float, float]:
    """What black and white are."""
    if not conventions.real(array.dtype):
        raise UserError(f"{path} holds {array.dtype} values: numbers are needed")
    extent = conventions.Extent()
    try:
        for part in array.parts():
            extent.add(part)
        return (said[0], said[1]) if said else conventions.range_of(extent, array.dtype)
    except (ValueError, UserError) as error:
        raise UserError(f"{path} {error}") from error


def _opaque(block: np.ndarray, background: int, done: Counter[str]) -> np.ndarray:
    """Without opacity, which is the last of 2 or 4 channels."""
    return conventions.channels_of(block, 3 if block.shape[1] > 2 else 1, background, done)


def _fitted(
    image: np.ndarray, side: int, fit: str, background: int, path: Path, name: str, done: Counter[str]
) -> np.ndarray:
    """The image (k, H, W) as (k, side, side).

    :raises UserError: if it has another size and nothing is to be done about it, or what was asked for is impossible.
    """
    _, height, width = image.shape
    if height == width == side:
        return image
    top, left = abs(height - side) // 2, abs(width - side) // 2
    if fit == "crop" and min(height, width) >= side:
        done["the middle taken"] += 1
        return image[:, top : top + side, left : left + side]
    if fit == "pad" and max(height, width) <= side:
        done[f"{conventions.shade(background)} border added"] += 1
        padded = np.full((len(image), side, side), background, np.uint8)
        padded[:, top : top + height, left : left + width] = image
        return padded
    ways = {"crop": min(height, width) >= side, "pad": max(height, width) <= side}
    more = next((f"; fit: {way} is possible" for way, fine in ways.items() if fine), "")
    raise UserError(f"{path}: {name} is {height}×{width}, not {side}×{side}{more}")
