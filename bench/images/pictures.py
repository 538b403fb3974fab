"""Folders of image files, read by Pillow. The kind of a file is told by its content, not by its name."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from bench.errors import UserError
from bench.images.source import Reading

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF")
"""What Pillow may take a file for. Others it can read run programs (EPS) or are of no use here."""
SYSTEM = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
"""Files that systems leave in folders, beside those that start with a dot."""
NOTES = frozenset({".txt", ".md", ".json", ".jsonl", ".csv", ".tsv", ".yaml", ".yml", ".log", ".html", ".py", ".sh"})
"""Endings of files that nobody takes for images."""
DEEP = {"I", "I;16", "I;16B", "I;16L", "I;16N"}
WORDS = {"1": "1 bit to 8", "CMYK": "CMYK to RGB", "YCbCr": "YCbCr to RGB", "LAB": "LAB to RGB", "HSV": "HSV to RGB"}
"""Mode of Pillow → what is done to it."""


class UnreadableError(Exception):
    """Why a file is not taken."""


@dataclass(frozen=True)
class Listing:
    """The files of a folder that may be images, sorted, and how many were passed over, by reason."""

    files: list[str]
    skipped: dict[str, int]


def listing(folder: Path) -> Listing:
    """All files in a folder and the folders in it, linked ones too, but for those of the system and notes.

    :raises UserError: for a folder that cannot be read.
    """
    files: list[str] = []
    skipped: Counter[str] = Counter()
    seen: set[str] = set()
    for where, folders, names in os.walk(folder, onerror=_unread, followlinks=True):
        if os.path.realpath(where) in seen:  # links may lead back
            folders.clear()
            continue
        seen.add(os.path.realpath(where))
        inner = Path(where)
        hidden = [name for name in folders if name.startswith(".") or name == "__MACOSX"]
        folders[:] = sorted(set(folders) - set(hidden))
        skipped["the system's"] += sum(len(content) for name in hidden for *_, content in os.walk(inner / name))
        for name in sorted(names):
            if name.startswith(".") or name.lower() in SYSTEM:
                skipped["the system's"] += 1
            elif os.path.splitext(name)[1].lower() in NOTES:
                skipped["notes"] += 1
            else:
                files.append(os.path.join(where, name))
    return Listing(files, {why: n for why, n in skipped.items() if n})


def _unread(error: OSError) -> NoReturn:
    raise UserError(f"folder {error.filename} cannot be read: {error.strerror}") from error


def labels_of(files: list[str], folder: Path, classes: int) -> np.ndarray | None:
    """The class of each file, int64 (n,), where each is in a folder named by a class's number; else None."""
    names = [os.path.basename(os.path.dirname(file)) for file in files]
    top = os.fspath(folder)
    numbers = {str(c): c for c in range(classes)}
    if any(name not in numbers for name in set(names)) or any(os.path.dirname(f) == top for f in files):
        return None
    return np.array([numbers[name] for name in names])


def decode(file: str, done: Counter[str]) -> np.ndarray:
    """A file as bytes (k, H, W), k = 1 or 3, or 2 or 4 with opacity last; what was done to it is counted.

    :raises UnreadableError: saying why not.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not os.path.isfile(file):
        raise UnreadableError("not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which are not used
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                if getattr(image, "n_frames", 1) > 1:
                    raise UnreadableError(f"animated, or of several pages ({image.n_frames})")  # type: ignore[attr-defined]
                if image.format == "JPEG":
                    done["JPEG"] += 1
                if image.getexif().get(0x0112, 1) not in (0, 1):
                    done["turned as EXIF says"] += 1
                return _bytes(ImageOps.exif_transpose(image), done)
    except UnreadableError:
        raise
    except UnidentifiedImageError:
        raise UnreadableError("not an image of " + ", ".join(FORMATS)) from None
    except Exception as error:  # a damaged file can raise nearly anything
        raise UnreadableError("damaged") from error


def _bytes(image: Image.Image, done: Counter[str]) -> np.ndarray:
    """Any mode as bytes, one rule each."""
    mode = image.mode
    if mode == "F":
        raise UnreadableError("floats: save them as .npy")
    if mode in DEEP:
        deep = np.asarray(image).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise UnreadableError("more than 16 bits a channel")
        done["16 bits to 8"] += 1
        return np.round(deep / 257).astype(np.uint8)[None]
    if mode in WORDS:
        done[WORDS[mode]] += 1
    if image.has_transparency_data:
        return np.asarray(image.convert("LA" if mode in ("L", "LA", "La", "1") else "RGBA")).transpose(2, 0, 1)
    if mode in ("1", "L"):
        return np.asarray(image.convert("L"))[None]
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def again(file: str) -> np.ndarray:
    """A file that was readable, as :func:`decode` gives it.

    :raises UserError: if it is not readable any more.
    """
    try:
        return decode(file, Counter())
    except UnreadableError as error:
        raise UserError(f"{file} is not readable any more: {error}") from error


def survey(
    listed: Listing, folder: Path, side: int, reading: Reading
) -> Iterator[tuple[str, np.ndarray, Counter[str]]]:
    """(file, bytes, what was done) of each file that is readable. What is not is counted in ``listed``, if asked for.

    :raises UserError: for a file that cannot be read, or is of another size, unless it is to be left out.
    """
    crop, first = "crop" in reading.changes, None
    for file in listed.files:
        done: Counter[str] = Counter()
        try:
            image = decode(file, done)
            height, width = image.shape[1:]
            if not (min(height, width) >= side if crop else height == width == side):
                raise _of_size(first, height, width, side)
        except UnreadableError as error:
            why = str(error)
            if not reading.leave_out:
                name = os.path.relpath(file, folder)
                raise UserError(f"{folder}: {name} is not readable: {why} (--leave-out goes on without)") from error
            listed.skipped[why] = listed.skipped.get(why, 0) + 1
            continue
        first = first or f"{height}×{width}"
        yield file, image, done


def _of_size(first: str | None, height: int, width: int, side: int) -> UnreadableError:
    more = "; --apply crop takes the middle" if min(height, width) >= side else ""
    before = f"of mixed sizes, {first} and " if first else ""
    return UnreadableError(f"{before}{height}×{width} where {side}×{side} is needed{more}")
