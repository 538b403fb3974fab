"""The pages of a PDF, looked at as pictures: how full they are, and what is where."""

import io

import numpy as np
import pikepdf
import pytest
import typst
from PIL import Image

from bench.report.blocks import Column, Figure, Spread, heading, table, text
from bench.report.render import pdf
from tests.bench.pages import compile_pages


def filled(pages, tmp_path, layout=pdf.LAYOUTS[0]):
    """How far down each page goes, as a share of the room for text: the lowest row that is not white."""
    for page in compile_pages(pages, tmp_path, "png", ppi=40, layout=layout):
        grey = np.asarray(Image.open(io.BytesIO(page)).convert("L"), float)
        top, bottom = (round(len(grey) * edge / 297) for edge in (18, 297 - 19))
        dark = np.flatnonzero((grey[top:bottom] < 200).any(axis=1))
        yield 0 if len(dark) == 0 else (dark[-1] + 1) / (bottom - top)


@pytest.mark.parametrize("height", [60, 86, 200])
def test_pages_are_at_least_half_full(height, tmp_path):
    """Whatever the figures' height and where they come, white takes no half of a page that is followed by another."""
    (tmp_path / "figures").mkdir()
    figure = f"#set page(width: 172mm, height: {height}mm, margin: 0mm, fill: gray)".encode()
    (tmp_path / "figures" / "f.pdf").write_bytes(typst.Compiler(figure).compile())
    figure = Figure("f", "lines", {}, ("A caption.",), "")
    words_ = text("Words that say nothing at all about anything. " * 12)
    numbers = table([Column("name", "left"), Column("FID")], [["a", 1.5]] * 50, "A table:")
    few = table([Column("name", "left"), Column("FID")], [["a", 1.5]] * 12, "A table:")
    section = [heading(2, "A section"), figure, words_, figure, numbers, figure, few, words_, figure, figure]
    *most, last = filled([heading(1, "A title"), words_, *section * 3], tmp_path)
    assert len(most) > 5
    assert min(most) > 0.5
    assert last > 0


def test_a_figure_is_a_third_of_a_page_at_most(tmp_path):
    """One that was drawn higher is made smaller, and one with very many parts is still read."""
    (tmp_path / "figures").mkdir()
    for drawn, shown in ((60, 60), (100, 86), (200, 140)):
        figure = f"#set page(width: 172mm, height: {drawn}mm, margin: 0mm, fill: black)".encode()
        (tmp_path / "figures" / "f.pdf").write_bytes(typst.Compiler(figure).compile())
        (page,) = compile_pages([heading(2, "A"), Figure("f", "lines", {}, (), "")], tmp_path, "png", ppi=72)
        grey = np.asarray(Image.open(io.BytesIO(page)).convert("L"))
        black = (grey < 60).mean(axis=1) > 0.3
        assert black.sum() / len(grey) * 297 == pytest.approx(shown, abs=2)


def test_a_wide_table_fits_the_page(tmp_path):
    """Sixteen columns of numbers: titles stand upright, and no number runs into another."""
    columns = [Column("objective", "left"), *(Column(f"spectrum distance {i}") for i in range(15))]
    wide = table(columns, [["previous", *[Spread(12345.0, 12345.0, 123456.0)] * 2, *[1.25] * 13]] * 3)
    (page,) = compile_pages([heading(1, "A"), wide], tmp_path, "png", ppi=72)
    grey = np.asarray(Image.open(io.BytesIO(page)).convert("L"))
    across = np.flatnonzero((grey < 200).any(axis=0)) / grey.shape[1] * 210
    assert across.min() > 18
    assert across.max() < 192


def test_pictures_in_print_have_fewer_greys():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    printed = np.asarray(Image.open(io.BytesIO(pdf.in_print(buffer.getvalue()))))
    assert len(np.unique(printed)) == pdf.GREYS
    assert np.abs(printed.astype(int) - ramp).max() <= 9
    colour = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(colour, "PNG")
    assert pdf.in_print(colour.getvalue()) == colour.getvalue()
    assert pdf.in_print(b"no picture") == b"no picture"


def test_the_last_page_is_half_full_too(tmp_path):
    """Pictures get a little smaller, until what would be alone on a last page has room before it."""
    (tmp_path / "figures").mkdir()
    figure = b"#set page(width: 172mm, height: 80mm, margin: 0mm, fill: gray)"
    (tmp_path / "figures" / "f.pdf").write_bytes(typst.Compiler(figure).compile())
    drawn = Figure("f", "lines", {}, ("A caption.",), "")
    line = text("One line.")
    page = [heading(1, "A title"), line, *[drawn, line] * 2, *[line] * 12]
    assert len(list(filled(page, tmp_path))) == 2, "a little too much for a page"
    pdf.render(page, tmp_path / "report.pdf")
    with pikepdf.open(tmp_path / "report.pdf") as document:
        assert len(document.pages) == 1


def test_the_last_page_of_a_text_is_half_full_too(tmp_path):
    """Where no picture can get smaller, each page before it holds a little less."""
    page = [heading(1, "A title"), *[text("One line.")] * 60]
    first, last = filled(page, tmp_path)
    assert first > 0.9
    assert last < 0.5
    pdf.render(page, tmp_path / "report.pdf")
    made = (tmp_path / "report.pdf").read_bytes()
    (layout,) = (
        one for one in pdf.LAYOUTS if list(map(pdf.packed, compile_pages(page, tmp_path, layout=one))) == [made]
    )
    first, last = filled(page, tmp_path, layout)
    assert first > 0.5
    assert last > 0.5


def test_packed_pages_are_the_same(tmp_path):
    """Fewer bytes, the same each time, and the tags for screen readers are still there."""
    (plain,) = compile_pages([heading(1, "A title"), *[text("One line.")] * 60], tmp_path)
    made = pdf.packed(plain)
    assert made == pdf.packed(plain)
    assert len(made) < 0.8 * len(plain)
    with pikepdf.open(io.BytesIO(plain)) as before, pikepdf.open(io.BytesIO(made)) as after:
        for one, other in zip(before.pages, after.pages, strict=True):
            assert one.Contents.read_bytes() == other.Contents.read_bytes()
        assert "/StructTreeRoot" in after.Root
        assert after.docinfo == before.docinfo


def test_no_figure_stands_above_the_title(tmp_path):
    """A figure near the beginning of a page's text would float to its top, and on the first one the title is there."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "f.pdf").write_bytes(
        typst.Compiler(b"#set page(width: 172mm, height: 80mm, margin: 0mm, fill: black)").compile()
    )
    page = [heading(1, "A title"), text("A line."), Figure("f", "lines", {}, ("A caption.",), ""), text("A line.")]
    (png,) = compile_pages(page, tmp_path, "png", ppi=40)
    grey = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    (black,) = np.nonzero((grey < 60).mean(axis=1) > 0.5)
    assert black.min() > len(grey) / 2
