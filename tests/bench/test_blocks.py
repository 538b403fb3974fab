"""Blocks and their renderers: what is text stays text, in every form."""

import html
import io
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import typst
from markdown_it import MarkdownIt
from PIL import Image

from bench.report import blocks, marks, sections, write
from bench.report.blocks import (
    Bullets,
    Code,
    CodeSpan,
    Column,
    Emph,
    Figure,
    Gallery,
    Link,
    OneSeed,
    Picture,
    Range,
    Spread,
    Strong,
    WithError,
    heading,
    table,
    text,
    with_one_file_each,
)
from bench.report.formats import best_marked, count, number, short, span_of
from bench.report.render import RENDERERS, markdown, pdf
from bench.report.render.page import PAGE as PAGE_STYLE
from bench.text import listing, visible
from tests.bench.pages import compile_pages

HOSTILE = [
    "<script>alert(1)</script> &amp; <b>",
    "```\n# out of the fence\n```` and ``more` backticks",
    "**bold** _em_ [link](http://x) ![image](y) ~~gone~~ a|b \\| \\",
    "- item",
    "1. item",
    "# heading",
    "> quote",
    "=====",
    '#set page(width: 1pt) $x^2$ @ref <label> // comment /* more */ #"a" "quoted" \\u{41} *b* _c_ `d` [e]',
    "right \u202eto left\u202c and \u2067isolated\u2069, zero\u200bwidth",
    "bell \x07 escape \x1b[31m null \x00 and half a pair \ud800",
    "<!-- inputs: " + "0" * 64 + " -->",
    "](figures/away.png)",
]


def picture(width=28):
    buffer = io.BytesIO()
    Image.new("L", (width, 28)).save(buffer, "PNG")
    return buffer.getvalue()


def everywhere(said):
    """A page that says something in every place where words can stand."""
    return [
        heading(1, said),
        text(said),
        text(
            "before ", Strong(said), " ", Emph(said), " ", CodeSpan(said), " ", Link(said, "http://x.example"), " after"
        ),
        Bullets(((said,), (CodeSpan(said),))),
        Code(said, "yaml"),
        table([Column(said, "left"), Column("n")], [[said, 1.5], [CodeSpan(said), None], [Strong(said), 2]], said),
        Gallery((Picture("one", picture(), said, (said,), (said,), (said,)), None), 2, (said,)),
        Figure("two", "lines", {}, (said,), said),
    ]


def words_of(tokens):
    """What a reader sees of parsed Markdown; images by their descriptions. Nothing may have become HTML but a <br>."""
    for token in tokens:
        if token.type == "html_inline":
            alt = re.fullmatch(r'<br>|<img src="figures/one.png" alt="([^"<>]*)" width="720">', token.content)
            assert alt, token.content
            yield f"{html.unescape(alt[1] or '')}\n"
        elif token.type in ("text", "code_inline", "fence"):
            yield token.content
        elif token.type == "softbreak":
            yield " "
        else:
            assert not token.type.startswith("html"), token.content
        yield from words_of(token.children or [])
        if token.type in ("inline", "image"):
            yield "\n"


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text_in_markdown(said):
    """Every place shows the words letter by letter, and none begins a list, a heading, code or HTML of its own."""
    source = markdown.source(everywhere(said))
    tokens = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(source)
    seen = "".join(words_of(tokens))
    shown = re.sub(r"[ \t\r\n]+", " ", visible(said))
    assert seen.count(shown) >= 18 if "\n" in said else seen.count(shown) >= 19
    assert visible(said) in seen, "in the block of code"
    kinds = [token.type for token in tokens if token.level == 0 and not token.type.endswith("_close")]
    assert kinds == ["heading_open", "paragraph_open", "paragraph_open", "bullet_list_open", "fence", "paragraph_open",
                     "table_open", "table_open", "paragraph_open", "paragraph_open", "paragraph_open"]  # fmt: skip


@pytest.mark.parametrize("said", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_text_in_typst(said, tmp_path):
    """Typst shows the words letter by letter (here in its other form, HTML, in which they can be read)."""
    source = pdf.source(everywhere(said)).replace(PAGE_STYLE, PLAIN)
    made = typst.Compiler(source.encode(), root=tmp_path).compile(format="html")
    body = re.sub(r"<pre>.*?</pre>", "", made.decode().split("<body>")[1], flags=re.DOTALL)
    seen = html.unescape(re.sub(r"<[^>]*>", "", body))
    shown = re.sub(r"[ \t\r\n]+", " ", visible(said)).strip()
    assert seen.count(shown) == 18


def test_hostile_text_makes_a_pdf(tmp_path):
    """One page has all of it; a Typst error would be raised."""
    page = [block for said in HOSTILE for block in everywhere(said)]
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "one.png").write_bytes(picture())
    (tmp_path / "figures" / "two.pdf").write_bytes(typst.Compiler(b"A figure.").compile())
    RENDERERS["pdf"](page, tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")


PLAIN = """
#let data-table(caption: none, breakable: true, titles: (), ..content) = { caption; table(..titles, ..content) }
#let captioned(path, alt, number, caption, floats: true) = caption
#let picture(path, alt, title, note, across) = { title; note; across.join() }
#let gallery(columns, width, number, caption, ..pictures) = { caption; pictures.pos().join() }
"""
"""The page's functions without a look, for Typst's HTML has none."""


PAGE = [
    heading(2, "A ", Emph("title")),
    text("Words, ", Strong("strong"), ", ", CodeSpan("a|b"), ", ", Link("linked", "https://x.example/?a=b"), "."),
    Bullets((("one",), ("two",))),
    Code("a: b", "yaml"),
    table(
        [Column("name", "left"), Column("FID"), Column("share", format="percent")],
        [["eps", Spread(5.87, 5.46, 6.07), 0.5], [Strong("v"), WithError(140.2, 8.54), None], ["", Range(1, 2), 1]],
        "Caption:",
    ),
    Figure("shown", "lines", {"lines": pd.DataFrame({"series": ["a"], "x": [1], "y": [2]})}, ("Said.",), "Seen."),
    Gallery(
        (Picture("digits", b"png", "digits", ("eps",), ("FID 5",)), Picture("gone", None, "", ("v",))), 2, ("All.",)
    ),
]


def test_markdown():
    assert (
        markdown.source(PAGE).replace("\u00a0", " ")
        == """\
## A *title*

Words, **strong**, `a\\|b`, [linked](<https://x.example/?a=b>).

- one
- two

```yaml
a: b
```

Caption:

| name | FID | share |
| :--- | ---: | ---: |
| eps | 5.87 (5.46–6.07) | 50% |
| **v** | 140 ± 8.54 | – |
|  | 1.00–2.00 | 100% |

![Seen.](figures/shown.png)

*Figure 1. Said.*

|    |    |
| :---: | :---: |
| **eps**<br><img src="figures/digits.png" alt="digits" width="272"><br>FID 5 | **v** |

*Figure 2. All.*
"""
    )


def test_typst():
    made = pdf.source(PAGE).partition("\n\n#heading")[2].replace("\u00a0", " ")
    assert (
        made.replace("\\u{2060}", "")
        == """\
(level: 2, ([] + "A " + emph("title")))

#par(([] + "Words, " + strong("strong") + ", " + raw("a|b") + ", " + link("https://x.example/?a=b", "linked") + "."))

#list(([] + "one"), ([] + "two"))

#raw(block: true, lang: "yaml", "a: b")

#data-table(caption: ([] + "Caption:"), breakable: false, columns: 3, align: (left, right, right,),
  titles: ("name", "FID", "share",),
  ([] + "eps"), ([] + "5.87 (5.46–6.07)"), ([] + "50%"),
  ([] + strong("v")), ([] + "140 ± 8.54"), ([] + "–"),
  ([] + ""), ([] + "1.00–2.00"), ([] + "100%"),
)

#captioned("figures/shown.pdf", "Seen.", 1, ([] + "Said."))

#gallery(2, 57mm, 2, ([] + "All."),
  picture("figures/digits.png", "digits", ([] + "eps"), ([] + "FID 5"), ()),
  picture(none, "", ([] + "v"), ([]), ()),
)"""
    )


def test_pages_are_a4(tmp_path):
    pages = compile_pages([heading(1, "A title"), text("Text | with $5 and x̂₀ and ε̂.")], tmp_path, "png")
    assert len(pages) == 1
    width, height = (int.from_bytes(pages[0][i : i + 4], "big") for i in (16, 20))
    assert height / width == pytest.approx(297 / 210, rel=0.01)


def test_a_table_keeps_its_shape():
    with pytest.raises(ValueError, match="a row of 1 cells in a table of 2 columns"):
        table([Column("a"), Column("b")], [[1, 2], [3]])


def test_a_renderer_is_one_row(tmp_path, monkeypatch):
    """Another form of the report: a row of RENDERERS, and its file is written with the others."""
    monkeypatch.setattr(marks, "draw", lambda block: marks.Drawn(picture(), b"a figure"))
    monkeypatch.setitem(RENDERERS, "pdf", lambda page, path: path.write_bytes(b"a page"))

    def render(page, path: Path) -> None:
        assert (path.parent / "figures" / "shown.png").is_file(), "pictures are drawn before"
        path.write_text("\n".join(blocks.words(b.content) for b in page if isinstance(b, blocks.Text)))

    monkeypatch.setitem(RENDERERS, "txt", render)
    pictures = write.write_files(tmp_path / "out", PAGE)
    assert (tmp_path / "out" / "report.txt").read_text() == "Words, strong, a|b, linked."
    assert [path.name for path in pictures] == ["shown.png", "digits.png"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "report.pdf", "report.txt", "figures"}


def test_a_section_is_one_row(monkeypatch):
    """Another section: a row of SECTIONS, and each renderer shows it."""

    def section(results):
        yield heading(2, "Toy")
        yield text(f"About {results}.")

    monkeypatch.setattr(write, "SECTIONS", (section,))
    assert isinstance(sections.SECTIONS, tuple)
    page = write.compose("a study")
    assert "## Toy\n\nAbout a study." in markdown.source(page)
    assert '"About a study."' in pdf.source(page)


def test_a_mark_is_one_row(monkeypatch):
    """Another kind of figure: a row of MARKS; it gets the block's data and options."""
    seen = {}

    def mark(data, options):
        seen.update(data, **options)
        return marks.lines.draw({"lines": data["lines"]}, {"x": "x", "y": "y"})

    monkeypatch.setitem(marks.MARKS, "toy", mark)
    frame = pd.DataFrame({"series": ["a", "a"], "x": [1, 2], "y": [2, 3]})
    made = dict(write.draw([Figure("toy", "toy", {"lines": frame}, (), "", {"more": 1})]))
    assert made["figures/toy.png"].startswith(b"\x89PNG")
    assert made["figures/toy.pdf"].startswith(b"%PDF")
    assert seen["more"] == 1
    assert seen["lines"] is frame


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (4.3, "4.30"), (0.0824, "0.0824"), (12.345, "12.3"), (2301.2, "2,301"), (1e-5, "1.00e-05"),
     (99.97, "100"), (0.99999, "1.00"), (math.nan, "–"), (math.inf, "–"), (None, "–")],
)  # fmt: skip
def test_short(value, said):
    assert short(value) == said


def test_words():
    assert listing("abc") == "a, b and c"
    assert listing(["a"]) == "a"
    assert listing([]) == "none"
    assert count(33_400_000) == "33.4 M"
    assert number(None, "prefix") == "–"
    assert number(200, "seconds") == "3.3 min"
    assert span_of([3.0, 1.0]) == Range(1.0, 3.0)
    assert span_of([3.0]) == 3.0
    assert span_of([]) is None


def test_a_page_with_sections_has_a_list_of_them(tmp_path):
    """Links by GitHub's addresses, in which the second of two equal titles has a number."""
    titles = ["The answer", "What each <b> costs: x₀", "The answer", "Provenance"]
    page = [heading(1, "Title"), text("First."), *(heading(2, title) for title in titles)]
    made = markdown.source(page)
    assert "First.\n\n- [The answer](<#the-answer>)\n- [What each \\<b\\> costs: x₀](<#what-each-b-costs-x₀>)" in made
    assert "- [The answer](<#the-answer-1>)\n- [Provenance](<#provenance>)\n\n## The answer" in made
    assert "#contents()\n\n#heading(level: 2" in pdf.source(page)
    assert compile_pages(page, tmp_path)
    assert "contents" not in pdf.source(page[:-1]).replace(PAGE_STYLE, "")


def test_the_best_of_a_column_is_marked():
    columns = [Column("name", "left"), Column("FID"), Column("recall", format="three decimals")]
    rows = [["floor", 1.0, 1.0], ["a", Spread(5.0, 4.0, 6.0), 0.5], ["b", 5.001, None], ["c", 7.0, math.nan]]
    marked = best_marked(columns, rows, {1: "lower", 2: "higher"}, first=1)
    assert [row[1] for row in marked] == [1.0, Strong("5.00\u00a0(4.00–6.00)"), Strong("5.00"), 7.0]
    assert [row[2] for row in marked[:3]] == [1.0, 0.5, None], "one number is not the best of any"
    (alone, _) = best_marked(columns, [["a", OneSeed(5.87), None], ["b", 6.0, None]], {1: "lower"})
    assert alone[1] == Strong("5.87\u00a0(1\u00a0seed)")


def test_a_picture_that_is_shown_twice_is_one_file():
    """By its bytes: another picture keeps its name, and what has no picture stays as it is."""
    first, other = Gallery((Picture("a", b"1", "A"), Picture("b", b"2", "B")), 2, ()), heading(2, "Between")
    again = Gallery((Picture("c", b"2", "C"), None, Picture("d", b"3", "D"), Picture("e", None, "")), 2, ())
    one, between, two = with_one_file_each([first, other, again])
    assert (one, between) == (first, other)
    assert [picture and (picture.name, picture.alt) for picture in two.pictures] == [
        ("b", "C"), None, ("d", "D"), ("e", "")
    ]  # fmt: skip
