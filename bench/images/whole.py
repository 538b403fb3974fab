"""Reading a picture that may be damaged, or a stranger's."""

from __future__ import annotations

import io
import warnings

from PIL import Image


def decoded(png: bytes) -> Image.Image:
    """The picture in the bytes of a PNG file, its checksums looked at and its pixels read.

    No other format is tried: Pillow would hand PostScript to Ghostscript.

    :raises ValueError: if it is damaged, larger than Pillow thinks safe, or no PNG.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.open(io.BytesIO(png), formats=["PNG"]).verify()
            picture = Image.open(io.BytesIO(png), formats=["PNG"])
            picture.load()
    except Exception as error:  # a damaged picture can raise nearly anything
        raise ValueError(f"not a whole PNG: {error}") from error
    return picture
