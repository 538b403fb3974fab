"""Reading other people's images: every accepted form gives the same bytes, everything else one clear line."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.errors import UserError
from bench.images import arrays, conventions, files
from bench.images.source import InDoubtError, Reading, Source

BYTES = np.random.default_rng(0).integers(0, 256, (24, 28, 28), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (24, 28, 28, 3), dtype=np.uint8)


def write(tmp_path: Path, name: str, array: np.ndarray) -> Path:
    path = tmp_path / name
    np.save(path, array)
    return path


def take(path: Path, **said: Any) -> Source:
    return files.take(path, 1, 28, Reading(**said))


def same(source: Source, expected: np.ndarray = BYTES) -> bool:
    """Whether the source has these images, each time it is asked."""
    return all(np.array_equal(source.whole()[:, 0].numpy(), expected) for _ in range(2))


def folder(path: Path, images: Any, name: str = "{:03}.png", **options: Any) -> Path:
    """A folder with an image file each."""
    for i, image in enumerate(images):
        file = path / name.format(i, i % 10)
        file.parent.mkdir(parents=True, exist_ok=True)
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, **options)
    return path


UNIT, SIGNED = (BYTES / 255).astype(np.float32), (BYTES / 127.5 - 1).astype(np.float32)


@pytest.mark.parametrize(
    "array",
    [
        BYTES,
        BYTES[:, None],
        BYTES[..., None],
        np.asfortranarray(BYTES),
        BYTES.reshape(24, -1),
        np.repeat(BYTES[..., None], 3, 3),
        np.repeat(BYTES[:, None], 3, 1),
        np.repeat(UNIT[..., None], 3, 3),
        np.concatenate([np.repeat(BYTES[..., None], 3, 3), np.full((24, 28, 28, 1), 255, np.uint8)], 3),
        UNIT,
        SIGNED.astype(np.float64),
        BYTES.astype(np.float32),
        BYTES.astype(np.int64),
        BYTES.astype(np.uint16),
        BYTES.astype(">i4"),
        BYTES.astype(np.uint16) * 257,
        UNIT.astype(np.float16),
    ],
    ids=[
        "NHW",
        "NCHW",
        "NHWC",
        "fortran",
        "rows",
        "NHW3",
        "N3HW",
        "floats3",
        "RGBA",
        "unit",
        "signed",
        "byte-floats",
        "int64",
        "uint16",
        "big-endian",
        "deep",
        "half",
    ],
)
def test_arrays(tmp_path: Path, array: np.ndarray) -> None:
    source = take(write(tmp_path, "a.npy", array))
    assert source.whole().shape == (24, 1, 28, 28)
    assert same(source)
    np.savez(tmp_path / "a.npz", array)
    np.savez_compressed(tmp_path / "b.npz", images=array)
    assert same(take(tmp_path / "a.npz"))
    assert same(take(tmp_path / "b.npz"))


def test_ones_and_zeros_as_bools_are_black_and_white(tmp_path: Path) -> None:
    assert same(take(write(tmp_path, "a.npy", BYTES > 99)), np.where(BYTES > 99, 255, 0))


def test_a_file_is_what_it_holds_not_what_it_is_called(tmp_path: Path) -> None:
    write(tmp_path, "a.npy", BYTES).rename(tmp_path / "samples")
    assert same(take(tmp_path / "samples"))


# npz


def test_the_array_of_images_in_an_npz(tmp_path: Path) -> None:
    """By name, or because it alone is shaped like images; what is not used is said."""
    noise = np.zeros((24, 100))
    for arrays_ in ({"images": BYTES, "z": noise}, {"whatever": BYTES}, {"x": BYTES, "z": noise}, {"arr_0": BYTES}):
        np.savez(tmp_path / "a.npz", **arrays_)
        source = take(tmp_path / "a.npz")
        assert same(source)
        assert ("arrays not used: z" in source.notes) == ("z" in arrays_)
        assert any(f"'{name}'" in source.how for name in arrays_)


def test_labels_of_an_npz(tmp_path: Path) -> None:
    """guidance-diffusion's form; labels that are no classes are left alone, and said to be."""
    labels = np.arange(24) % 10
    for array in (labels, labels[:, None].astype(np.int32)):
        np.savez(tmp_path / "a.npz", np.repeat(BYTES[..., None], 3, 3), array)
        source = take(tmp_path / "a.npz")
        assert same(source)
        assert source.labels is not None
        assert (source.labels == labels).all()
        assert source.counts.converted == {"equal channels to grey": 24}
    np.savez(tmp_path / "a.npz", BYTES, labels + 900)
    source = take(tmp_path / "a.npz")
    assert source.labels is None
    assert "not all from 0 to 9" in source.notes[0]
    for other in (labels[:20], labels.astype(float)):
        np.savez(tmp_path / "a.npz", BYTES, other)
        assert take(tmp_path / "a.npz").labels is None


def test_which_array_is_asked_for(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=BYTES, b=255 - BYTES)
    with pytest.raises(UserError, match=r"2 arrays of images \(it has: a 24×28×28, b 24×28×28\); say which"):
        take(tmp_path / "two.npz")
    assert same(take(tmp_path / "two.npz", array="b"), 255 - BYTES)
    with pytest.raises(UserError, match=r"unknown array 'c'.*choices: a, b"):
        take(tmp_path / "two.npz", array="c")
    np.savez(tmp_path / "stats.npz", mu=np.zeros(2048), sigma=np.zeros((8, 8)))
    with pytest.raises(UserError, match="no array of images"):
        take(tmp_path / "stats.npz")


class Bomb:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_in_an_array_file_is_executed(tmp_path: Path) -> None:
    objects = np.array([Bomb(tmp_path / "executed")] * 24)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", images=objects)
    np.savez(tmp_path / "b.npz", images=BYTES, labels=objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UserError, match="not a readable array file"):
            take(tmp_path / name)
    assert same(take(tmp_path / "b.npz"))
    assert not (tmp_path / "executed").exists()


def test_damage_inside_a_compressed_array(tmp_path: Path) -> None:
    """Whatever the library makes of it, the user gets one line."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=BYTES)
    whole = path.read_bytes()
    for at in range(100, len(whole) - 200, len(whole) // 20):
        path.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])
        with pytest.raises(UserError, match="not a readable"):
            take(path).whole()


def test_damage_inside_an_array_in_fortran_order(tmp_path: Path) -> None:
    """Which is read whole, not as a stream."""
    path = tmp_path / "a.npz"
    np.savez(path, images=np.asfortranarray(UNIT))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a readable array file"):
        take(path).whole()


@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("form", ["npy", "npz", "compressed", "folder"])
def test_every_source_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, form: str) -> None:
    """The same images, none of them before they are asked for; what is wrong is found beforehand."""
    for module in (arrays, files):
        monkeypatch.setattr(module, "PART", 10)
    array = BYTES if kind == "bytes" else SIGNED
    if form == "folder":
        path = folder(tmp_path / "d", BYTES)
    else:
        path = tmp_path / ("a.npy" if form == "npy" else "a.npz")
        {"npy": np.save, "npz": np.savez, "compressed": np.savez_compressed}[form](path, array)
    source = take(path)
    assert [len(part) for part in source] == [10, 10, 4]
    assert same(source)


# ranges


def test_values_a_little_beyond_are_clipped_and_counted(tmp_path: Path) -> None:
    """−1.003 to 1.002, and −1e-6 in [0, 1]: the range stays what it is."""
    signed = SIGNED.copy()
    signed[0, 0, :3] = -1.003, 1.002, 1.0001
    source = take(write(tmp_path, "a.npy", signed))
    assert source.how == "array of floats in [-1, 1]"
    assert source.counts.clipped == 3
    expected = BYTES.copy()
    expected[0, 0, :3] = 0, 255, 255
    assert same(source, expected)
    unit = UNIT.copy()
    unit[0, 0, 0] = -1e-6
    source = take(write(tmp_path, "b.npy", unit))
    assert source.how == "array of floats in [0, 1]"
    assert source.counts.clipped == 1
    beyond = SIGNED.copy()
    beyond[0, 0, 0] = -1.0249
    with pytest.raises(UserError, match=r"floats from -1\.0249 to 1: .*--range"):
        take(write(tmp_path, "c.npy", beyond))
    assert take(tmp_path / "c.npy", range=(-1.0, 1.0)).counts.clipped == 1


@pytest.mark.parametrize("pixels", [1, 100])
def test_a_few_pixels_settle_nothing(tmp_path: Path, pixels: int) -> None:
    """Of 18,816 values: negative ones in [0, 1], and large ones. The range is then asked for."""
    for value, ranges in ((-0.5, ((0, 1), (-1, 1))), (-1, ((0, 1), (-1, 1))), (100, ((0, 1), (0, 255)))):
        array = UNIT.copy()
        array.reshape(-1)[:pixels] = value
        with pytest.raises(InDoubtError, match=f"{pixels} of 18,816 values") as doubt:
            take(write(tmp_path, "a.npy", array))
        assert doubt.value.ranges == ranges
        expected = np.round(array.clip(0, 1) * 255).astype(np.uint8)
        assert same(take(tmp_path / "a.npy", range=(0.0, 1.0)), expected)


def test_arrays_in_memory_are_read_alike() -> None:
    """Where there is no command, no option of it is named."""
    assert same(files.of_array(UNIT, "samples", 1, 28))
    odd = UNIT.copy()
    odd[0, 0, 0] = -1
    for array in (odd, UNIT * 7):
        with pytest.raises(UserError, match=r"^samples holds floats .*; make them uint8 first$"):
            files.of_array(array, "samples", 1, 28)


def test_noise_about_black_is_not_a_sign(tmp_path: Path) -> None:
    """A network's output in [0, 1], not clipped: a third of its values are a little below 0."""
    noisy = (UNIT * 0.9 - 0.05).astype(np.float32)
    with pytest.raises(InDoubtError):
        take(write(tmp_path, "a.npy", noisy))


def test_a_range_of_ones_own(tmp_path: Path) -> None:
    """Any, for any kind of number: for bytes of 0 and 1 too."""
    assert same(take(write(tmp_path, "a.npy", UNIT - 0.5), range=(-0.5, 0.5)))
    ones = (BYTES > 99).astype(np.uint8)
    assert same(take(write(tmp_path, "b.npy", ones), range=(0.0, 1.0)), ones * 255)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (BYTES[:19], "at least 20"),
        (np.zeros((0, 28, 28), np.uint8), "0 images"),
        (np.zeros((24, 32, 32), np.uint8), "24×32×32.*--apply crop"),
        (np.zeros((24, 20, 20), np.uint8), r"24×20×20: images of 1×28×28 are needed$"),
        (np.zeros((24, 28, 28, 5), np.uint8), "24×28×28×5"),
        (np.zeros(24, np.uint8), "images of 1×28×28"),
        (np.array(3.0), "one number"),
        (np.full((24, 28, 28), np.nan), "NaN"),
        (np.full((24, 28, 28), np.inf), "infinite"),
        (np.full((24, 28, 28), 3.0), "range must be"),
        (np.full((24, 28, 28), -1, np.int64), "int64 values from -1 to -1"),
        (np.full((24, 28, 28), 70_000, np.int64), "int64 values from 70000 to 70000"),
        (np.zeros((24, 28, 28), complex), "complex128"),
        (np.full((24, 28, 28), "a"), "numbers are needed"),
        (np.zeros((24, 28, 28), "datetime64[s]"), "numbers are needed"),
        (np.zeros((24, 28, 28), "timedelta64[s]"), "numbers are needed"),
        (np.array([None] * 24), "not a readable"),
    ],
)
def test_bad_arrays(tmp_path: Path, array: np.ndarray, says: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, array, allow_pickle=True)
    for said in ({}, {"range": (0.0, 255.0)}):
        if not said or ("range must be" not in says and "int64" not in says):
            with pytest.raises(UserError, match=says) as error:
                take(path, **said)
            assert "\n" not in str(error.value)


# folders


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA", "I;16"])
def test_pngs_of_every_mode(tmp_path: Path, mode: str) -> None:
    """Grey values, whatever they are kept in."""
    images = [Image.fromarray(image) for image in BYTES]
    if mode == "I;16":
        images = [Image.fromarray(image.astype(np.uint16) * 257) for image in BYTES]
    else:
        images = [image.convert(mode) for image in images]
    source = take(folder(tmp_path, images))
    assert same(source)
    assert source.counts.converted == {
        "RGB": {"equal channels to grey": 24},
        "P": {"equal channels to grey": 24},
        "RGBA": {"equal channels to grey": 24},
        "I;16": {"16 bits to 8": 24},
    }.get(mode, {})


def test_one_bit_and_four_inks(tmp_path: Path) -> None:
    black = folder(tmp_path / "1", [Image.fromarray(image > 99) for image in BYTES])
    assert same(take(black), np.where(BYTES > 99, 255, 0))
    inks = folder(tmp_path / "cmyk", [Image.fromarray(image).convert("CMYK") for image in BYTES], "{:03}.tif")
    assert np.abs(take(inks).whole()[:, 0].numpy().astype(int) - BYTES).max() <= 1
    assert take(inks).counts.converted["CMYK to RGB"] == 24


def test_formats_by_content(tmp_path: Path) -> None:
    """30 PNGs and 70 of others, one of them under a wrong name: 100 images."""
    folder(tmp_path, np.concatenate([BYTES, BYTES[:6]]))
    for start, (ending, options) in enumerate(
        (("jpg", {"quality": 95}), ("bmp", {}), ("tif", {}), ("webp", {"lossless": True}))
    ):
        folder(tmp_path, BYTES[:18] if start < 2 else BYTES[:17], f"{start}-{{:03}}.{ending}", **options)
    (tmp_path / "0-000.jpg").rename(tmp_path / "0-000.png")
    source = take(tmp_path)
    assert (source.n, source.counts.found, source.counts.read) == (100, 100, 100)
    assert "18 images are JPEG" in source.notes[0]


def test_digits_in_transparency(tmp_path: Path) -> None:
    """White with the digit as opacity, on black, is the digit; as LA, as RGBA, and in a palette's tRNS."""
    white = np.full_like(BYTES, 255)
    la = folder(tmp_path / "la", [Image.fromarray(np.stack(pair, 2), "LA") for pair in zip(white, BYTES, strict=True)])
    rgba = folder(
        tmp_path / "rgba",
        [Image.fromarray(np.stack([w, w, w, o], 2), "RGBA") for w, o in zip(white, BYTES, strict=True)],
    )
    palette = []
    for image in BYTES:
        one = Image.fromarray(image, "P")
        one.putpalette([255] * 768)
        one.info["transparency"] = bytes(range(256))
        palette.append(one)
    for path in (la, rgba, folder(tmp_path / "p", palette)):
        source = take(path)
        assert same(source)
        assert source.counts.converted["composed on black"] == 24
    assert (take(la, background=255).whole() == 255).all()
    black = folder(tmp_path / "black", [Image.fromarray(np.stack([0 * o, o], 2), "LA") for o in BYTES])
    assert "24 images are blank on black: try --background white" in take(black).notes
    assert same(take(black, background=255), 255 - BYTES)
    assert same(take(black, background=255, changes=("invert",)))
    array = np.stack([white] * 3 + [BYTES], 3)
    assert same(take(write(tmp_path, "a.npy", array)))


def test_exif_turns_the_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn clockwise
    source = take(folder(tmp_path, BYTES, exif=exif))
    assert same(source, np.rot90(BYTES, -1, (1, 2)))
    assert source.counts.converted == {"turned as EXIF says": 24}


def test_subfolders_are_classes(tmp_path: Path) -> None:
    source = take(folder(tmp_path / "d", BYTES, "{1}/{0:03}.png"))
    assert source.labels is not None
    order = np.argsort(np.arange(24) % 10, kind="stable")
    assert (source.labels == np.sort(np.arange(24) % 10)).all()
    assert same(source, BYTES[order])
    for name in ("a/{:03}.png", "run{1}/{0:03}.png", "1{1}/{0:03}.png"):
        source = take(folder(tmp_path / name[:2], BYTES, name))
        assert source.labels is None
        assert source.n == 24
        assert "not used as labels" in source.notes[0]
    folder(tmp_path / "d", BYTES[:1], "{:03}.png")
    assert take(tmp_path / "d").labels is None, "one of them has no class"


def test_what_systems_leave_is_skipped_and_counted(tmp_path: Path) -> None:
    folder(tmp_path, BYTES)
    for name in ("._000.png", "Thumbs.db", ".DS_Store", "desktop.ini", "__MACOSX/000.png", ".cache/x/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"\0\5\x16\7 not an image")
    (tmp_path / "notes.txt").write_text("not an image")
    source = take(tmp_path)
    assert same(source)
    assert source.counts.left_out == {"the system's": 6, "notes": 1}
    assert source.counts.found == 31


def test_linked_folders_are_read_once(tmp_path: Path) -> None:
    """Each image is found, a circle of links ends, and what is no file is not waited for."""
    folder(tmp_path / "real", BYTES[:12])
    folder(tmp_path / "d", BYTES[12:], "a/{:03}.png")
    (tmp_path / "d" / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "d" / "a" / "back").symlink_to(tmp_path / "d")
    assert same(take(tmp_path / "d"), np.concatenate([BYTES[12:], BYTES[:12]]))
    assert same(take(tmp_path / "real" / ".." / "d"), np.concatenate([BYTES[12:], BYTES[:12]]))
    os.mkfifo(tmp_path / "d" / "pipe.png")
    (tmp_path / "d" / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"gone\.png is not readable: not a file"):
        take(tmp_path / "d")
    assert take(tmp_path / "d", leave_out=True).counts.left_out == {"not a file": 2}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("1.png", b"not a png", "not an image of PNG"),
        ("1", b"", "not an image of PNG"),
        ("1.npy", b"\x93NUMPY", "not an image of PNG"),
        ("1.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 28 28\n", "not an image of PNG"),
        ("1.png", "cut", "damaged"),
        ("1.png", "small", "mixed sizes, 28×28 and 20×20"),
        ("1.png", "large", "32×32 where 28×28 is needed; --apply crop"),
        ("1.gif", "animated", "animated, or of several pages"),
        ("1.png", "animated", "animated, or of several pages"),
        ("1.tif", "animated", "animated, or of several pages"),
        ("1.tif", "floats", "floats: save them as .npy"),
    ],
)
def test_what_cannot_be_read_is_fatal_unless_left_out(tmp_path: Path, name: str, content: Any, says: str) -> None:
    folder(tmp_path, BYTES)
    path, image = tmp_path / name, Image.fromarray(BYTES[0])
    if content == "cut":
        image.save(path)
        path.write_bytes(path.read_bytes()[:300])
    elif content in ("small", "large"):
        image.resize((20, 20) if content == "small" else (32, 32)).save(path)
    elif content == "animated":
        image.save(path, save_all=True, append_images=[Image.fromarray(BYTES[1])])
    elif content == "floats":
        Image.fromarray(UNIT[0]).save(path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        take(tmp_path)
    assert "\n" not in str(error.value)
    assert name in str(error.value)
    source = take(tmp_path, leave_out=True)
    assert same(source)
    assert sum(source.counts.left_out.values()) == 1
    assert source.counts.found == 25


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such"):
        take(tmp_path / "none")
    with pytest.raises(UserError, match="no image files"):
        take(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match="neither"):
        take(tmp_path / "a.txt")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(UserError, match="not a readable"):
        take(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(UserError, match="not a readable"):
        take(tmp_path / "a.npz")
    torch.save({"images": torch.from_numpy(BYTES)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="a zip file without arrays"):
        take(tmp_path / "a.pt")


# colour, and simple changes


def test_colour(tmp_path: Path) -> None:
    """Colour is grey by luminance, as Pillow has it, in files and in arrays; grey is three channels."""
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in COLOUR])
    for path in (write(tmp_path, "a.npy", COLOUR), folder(tmp_path / "d", COLOUR)):
        source = take(path)
        assert same(source, grey)
        assert source.counts.converted == {"colour to grey": 24}
        three = files.take(path, 3, 28).whole().permute(0, 2, 3, 1)
        np.testing.assert_array_equal(three.numpy(), COLOUR)
    three = files.take(write(tmp_path, "g.npy", BYTES), 3, 28)
    assert three.counts.converted == {"grey to three channels": 24}
    assert torch.equal(three.whole()[:, 2], torch.from_numpy(BYTES))


@pytest.mark.parametrize("name", conventions.CHANGES)
def test_each_change_undoes_what_it_says(tmp_path: Path, name: str) -> None:
    """What went wrong, made here by other means."""
    wrong: dict[str, Any] = {
        "invert": ~BYTES,
        "transpose": np.einsum("nij->nji", BYTES),
        "mirror": np.flip(BYTES, 2),
        "flip": np.flip(BYTES, 1),
        "turn": np.rot90(BYTES, 1, (1, 2)),
        "turn_back": np.rot90(BYTES, -1, (1, 2)),
        "crop": np.pad(BYTES, ((0, 0), (2, 2), (2, 2))),
        "stretch": (BYTES > 99).astype(np.uint8),
        "widen": (BYTES // 2 + 128).astype(np.uint8),
        "swap_colours": COLOUR[..., ::-1],
    }
    right = {"stretch": np.where(BYTES > 99, 255, 0), "widen": BYTES // 2 * 2}.get(name, BYTES)
    path = write(tmp_path, "a.npy", np.ascontiguousarray(wrong[name]))
    if name == "swap_colours":
        found = files.take(path, 3, 28, Reading(changes=(name,))).whole()
        np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), COLOUR)
        return
    source = take(path, changes=(name,))
    assert same(source, right)
    assert source.counts.converted[conventions.CHANGES[name].words] == 24


def test_what_is_said_of_arrays_is_not_for_folders(tmp_path: Path) -> None:
    """It would do nothing."""
    where = folder(tmp_path, BYTES)
    for said in ({"range": (0.0, 255.0)}, {"array": "images"}):
        with pytest.raises(UserError, match=f"^--{next(iter(said))} is for an .npy or .npz file, and .* is a folder$"):
            take(where, **said)


def test_changes_of_folders(tmp_path: Path) -> None:
    """Padded images in files; several changes, in their order."""
    padded = folder(tmp_path, [np.pad(255 - image, 2) for image in BYTES])
    assert same(take(padded, changes=("crop", "invert")))
    with pytest.raises(UserError, match="32×32"):
        take(padded)
    with pytest.raises(UserError, match="unknown change 'crp'; did you mean 'crop'"):
        take(padded, changes=("crp",))


@pytest.mark.parametrize("form", ["npy", "npz", "compressed", "folder"])
@pytest.mark.parametrize("kind", ["bytes", "floats"])
def test_memory_does_not_grow_with_the_number_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, kind: str
) -> None:
    """Of reading, five times as many: what numpy and Pillow hand out, at most."""
    for module in (arrays, files):
        monkeypatch.setattr(module, "PART", 50)

    def peak(n: int) -> int:
        images = np.resize(BYTES if kind == "bytes" else SIGNED, (n, 28, 28))
        path = tmp_path / f"{n}"
        if form == "folder":
            folder(path, np.resize(BYTES, (n, 28, 28)))
        else:
            with path.open("wb") as file:
                {"npy": np.save, "npz": np.savez, "compressed": np.savez_compressed}[form](file, images)
        del images
        tracemalloc.start()
        try:
            assert sum(len(part) for part in take(path)) == n
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(60)  # whatever is imported on the way
    few, many = peak(200), peak(1000)
    assert many < 1.1 * few + 200 * 800  # a path each, and 784 bytes or more an image if they were all kept
