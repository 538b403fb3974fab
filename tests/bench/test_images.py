"""Reading other people's images: every accepted form gives the same bytes, everything else one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.errors import UserError
from bench.images import files

BYTES = np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)


def write(tmp_path: Path, name: str, array: np.ndarray) -> Path:
    path = tmp_path / name
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    "array",
    [
        BYTES,
        BYTES[:, None],
        BYTES[..., None],
        (BYTES / 255).astype(np.float32),
        (BYTES / 127.5 - 1).astype(np.float64),
    ],
    ids=["NHW", "NCHW", "NHWC", "unit floats", "signed floats"],
)
def test_arrays(tmp_path: Path, array: np.ndarray) -> None:
    read, _ = files.read(write(tmp_path, "a.npy", array), 1, 28)
    assert read.shape == (24, 1, 28, 28)
    np.testing.assert_array_equal(read[:, 0].numpy(), BYTES)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_folder_of_pngs(tmp_path: Path, mode: str) -> None:
    for i, image in enumerate(BYTES):
        Image.fromarray(image).convert(mode).save(tmp_path / f"{i:03}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    read, how = files.read(tmp_path, 1, 28)
    np.testing.assert_array_equal(read[:, 0].numpy(), BYTES)
    assert "PNG" in how


def test_npz_by_name_or_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=BYTES, labels=np.zeros(24))
    np.savez(tmp_path / "b.npz", whatever=BYTES)
    for name in ("a.npz", "b.npz"):
        np.testing.assert_array_equal(files.read(tmp_path / name, 1, 28)[0][:, 0].numpy(), BYTES)


def test_colour(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    read, _ = files.read(write(tmp_path, "a.npy", array), 3, 32)
    np.testing.assert_array_equal(read.permute(0, 2, 3, 1).numpy(), array)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (BYTES[:19], "at least 20"),
        (np.zeros((0, 28, 28), np.uint8), "0 images"),
        (np.zeros((24, 32, 32), np.uint8), "24×32×32"),
        (np.zeros(24, np.uint8), "1×28×28 images|images of 1×28×28"),
        (np.full((24, 28, 28), np.nan), "NaN"),
        (np.full((24, 28, 28), 3.0), "range"),
        (np.zeros((24, 28, 28), np.int64), "int64"),
        (np.array([None] * 24), "not a readable"),
    ],
)
def test_bad_arrays(tmp_path: Path, array: np.ndarray, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        files.read(write(tmp_path, "a.npy", array), 1, 28)
    assert "\n" not in str(error.value)


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such"):
        files.read(tmp_path / "none", 1, 28)
    with pytest.raises(UserError, match="no PNG"):
        files.read(tmp_path, 1, 28)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="neither"):
        files.read(tmp_path / "a.txt", 1, 28)
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="not a readable"):
        files.read(tmp_path / "a.npz", 1, 28)
    np.savez(tmp_path / "two.npz", a=BYTES, b=BYTES)
    with pytest.raises(UserError, match="no array 'images'"):
        files.read(tmp_path / "two.npz", 1, 28)


def test_bad_folders(tmp_path: Path) -> None:
    Image.fromarray(BYTES[0]).save(tmp_path / "0.png")
    Image.fromarray(BYTES[1][:20, :20]).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"mixed sizes.*28×28.*20×20"):
        files.read(tmp_path, 1, 28)
    Image.fromarray(BYTES[1].astype(np.uint16) * 257).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"1\.png has more than 8 bits"):
        files.read(tmp_path, 1, 28)
    (tmp_path / "1.png").write_bytes(b"not a png")
    with pytest.raises(UserError, match=r"1\.png is not a readable PNG"):
        files.read(tmp_path, 1, 28)


def test_damage_inside_a_compressed_array(tmp_path: Path) -> None:
    """Whatever the library makes of it, the user gets one line."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=BYTES)
    whole = path.read_bytes()
    for at in range(100, len(whole) - 200, len(whole) // 20):
        path.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])
        with pytest.raises(UserError, match="not a readable"):
            files.read(path, 1, 28)


@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_a_large_array_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The same images, none of them before they are asked for; what is wrong is found beforehand."""
    array = np.random.default_rng(0).integers(0, 256, (130, 28, 28)).astype(np.uint8)
    array = array if kind == "bytes" else (array / 255 * 2 - 1).astype(np.float32)
    np.save(tmp_path / "large.npy", array)
    assert files.stream(tmp_path / "large.npy", 1, 28) is None
    monkeypatch.setattr(files, "STREAMED", 100)
    monkeypatch.setattr(files, "PART", 50)
    large = files.stream(tmp_path / "large.npy", 1, 28)
    assert large is not None
    n, parts, how = large
    found = list(parts)
    assert (n, [len(part) for part in found]) == (130, [50, 50, 30])
    whole, said = files.read(tmp_path / "large.npy", 1, 28)
    assert torch.equal(torch.cat(found), whole)
    assert how == said
    if kind == "floats":
        array[120, 0, 0] = np.nan
        np.save(tmp_path / "large.npy", array)
        with pytest.raises(UserError, match="NaN"):
            files.stream(tmp_path / "large.npy", 1, 28)
    np.savez(tmp_path / "other.npz", images=array)
    assert files.stream(tmp_path / "other.npz", 1, 28) is None
