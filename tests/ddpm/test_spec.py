"""Names with options: one variant, one text, and every mistake refused in words."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpm.bounds import Part
from ddpm.nets import NETS, classes_of, learns_variance, make_net
from ddpm.sampler import make_sampler
from ddpm.schedule import make_schedule
from ddpm.spec import Variant, bounds, build, canonical, chosen, option, parse, row


def built(
    channels: int,
    *,
    width: int = 32,
    rate: float = 0.5,
    skip: bool = True,
    name: str = "a",
    sizes: tuple[float, ...] = (1.0, 2.0),
    limit: float | None = None,
    empty: tuple[float, ...] = (),
    share: Part = 0.5,
) -> dict[str, Any]:
    """Something with options of every type."""
    return {"channels": channels, "width": width, "sizes": sizes, "name": name}


def one(options: dict[str, Any]) -> Variant:
    return canonical(Variant("net", tuple(options.items())), built)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "net"),
        ({"width": 24}, "net(width=24)"),
        ({"width": 24, "skip": False}, "net(skip=false,width=24)"),
        ({"skip": False, "width": 24}, "net(skip=false,width=24)"),
        ({"width": 32, "rate": 0.25}, "net(rate=0.25)"),
        ({"rate": 1}, "net(rate=1.0)"),
        ({"rate": 1.0}, "net(rate=1.0)"),
        ({"rate": 0.5, "sizes": [1, 2]}, "net"),
        ({"rate": -0.0}, "net(rate=0.0)"),
        ({"sizes": [3, 0.5]}, "net(sizes=[3.0,0.5])"),
        ({"sizes": []}, "net(sizes=[])"),
        ({"name": "a,b=(c)"}, 'net(name="a,b=(c)")'),
        ({"limit": 2.0}, "net(limit=2)"),
        ({"limit": None}, "net"),
        ({"limit": 2.5}, "net(limit=2.5)"),
        ({"limit": [2.0, 2.5, [3.0]]}, "net(limit=[2,2.5,[3]])"),
        ({"limit": "2.0"}, 'net(limit="2.0")'),
        ({"empty": [1.0, 2]}, "net(empty=[1,2])"),
    ],
)
def test_one_text_each_way(options: dict[str, Any], text: str) -> None:
    found = one(options)
    assert str(found) == f"{found}" == text
    assert found == text
    assert hash(found) == hash(text)
    assert canonical(parse(text), built) == found


def test_a_value_has_the_type_of_its_default() -> None:
    """1 and 1.0 are one value of one key; what reaches the function is a float."""
    (rate,) = dict(one({"rate": 1}).options).values()
    assert type(rate) is float
    (sizes,) = dict(one({"sizes": [3, 4]}).options).values()
    assert sizes == (3.0, 4.0)
    assert {type(size) for size in sizes} == {float}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)
NAMES = st.from_regex(r"[A-Za-z_]\w{0,8}", fullmatch=True)


def frozen(value: Any) -> Any:
    """As a variant holds it."""
    if isinstance(value, list):
        return tuple(map(frozen, value))
    return value + 0.0 if isinstance(value, float) else value


@given(name=NAMES, options=st.dictionaries(NAMES, PLAIN, max_size=4))
def test_text_and_back(name: str, options: dict[str, Any]) -> None:
    """Whatever is in the options: commas, quotes, brackets, equals signs, numbers of any size."""
    there = Variant(name, tuple(options.items()))
    back = parse(str(there))
    assert back == there
    assert back.options == there.options == tuple(sorted((key, frozen(value)) for key, value in options.items()))
    assert repr(back.options) == repr(there.options)  # True is not 1, and 1 not 1.0
    assert json.loads(json.dumps(str(there))) == str(back)


@given(width=st.integers(), rate=st.floats(allow_nan=False), name=st.text(), sizes=st.lists(st.floats(-9, 9)))
def test_canonical_text_and_back(width: int, rate: float, name: str, sizes: list[float]) -> None:
    found = one({"width": width, "rate": rate, "name": name, "sizes": sizes})
    again = canonical(parse(str(found)), built)
    assert again == found
    assert repr(again.options) == repr(found.options)
    defaults = {"width": 32, "rate": 0.5, "name": "a", "sizes": (1.0, 2.0)}
    assert not any(defaults[key] == value for key, value in found.options)


def test_spaces_and_no_options_in_text() -> None:
    assert parse(" net( width = 24 , skip=false ) ") == parse("net(skip=false,width=24)")
    assert parse("net()") == Variant("net")


def test_different_values_are_different_variants() -> None:
    assert len({Variant("a", (("x", value),)) for value in (1, 1.0, True, "1", (1,), None)}) == 6
    assert Variant("a") != Variant("b")
    assert Variant("a") != 3


def test_a_variant_finds_what_its_text_finds() -> None:
    assert {"net(width=24)": 1}[one({"width": 24})] == 1  # type: ignore[index]
    assert one({"width": 24}) in ["net(width=24)"]
    assert one({}) != "other"
    assert f"{one({}):>5}" == "  net"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widht": 24}, "no option 'widht' .*width, rate, skip"),
        ({"channels": 3}, "no option 'channels'"),
        ({"width": 24.5}, "takes a value like 32"),
        ({"width": True}, "takes a value like 32"),
        ({"width": "24"}, "takes a value like 32"),
        ({"rate": True}, "takes a value like 0.5, not True"),
        ({"rate": 10**400}, "takes a value like 0.5"),
        ({"skip": 1}, "takes a value like true"),
        ({"name": 1}, 'takes a value like "a"'),
        ({"sizes": 3.0}, r"takes a value like \[1.0,2.0\]"),
        ({"sizes": [1.0, "b"]}, r"takes a value like \[1.0,2.0\], not \[1.0, 'b'\]"),
        ({"rate": math.nan}, "option 'rate' of 'net' has no plain value"),
        ({"sizes": {"a": 1}}, "option 'sizes' of 'net' has no plain value"),
        ({"sizes": [1.0, {"a": 1}]}, "^option 'sizes' of 'net' has no plain value: {'a': 1}$"),
        ({"share": 2.5}, r"^option 'share' of 'net' must be a finite number above 0 and at most 1, not 2\.5$"),
    ],
)
def test_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        one(options)


@pytest.mark.parametrize(
    "spec", ["", "two words", "net(", "net)", "net(width=24)x", "net(,)", "net(width=24;)", "net(=3)", "né-t"]
)
def test_not_a_name(spec: str) -> None:
    with pytest.raises(ValueError, match=r"is not a name|no plain value"):
        parse(spec)


@pytest.mark.parametrize(
    "spec", ["net(width)", "net(width=)", "net(width=wide)", "net(width=NaN)", 'net(width={"a":1})', "net(width=1 2)"]
)
def test_option_without_a_value(spec: str) -> None:
    with pytest.raises(ValueError, match=r"option 'width'.* has no plain value"):
        parse(spec)


def test_values_that_break_their_reader() -> None:
    for value in ("[" * 100_000, "1" * 10_000):
        with pytest.raises(ValueError, match="has no plain value"):
            parse(f"net(width={value})")


def test_an_option_twice() -> None:
    with pytest.raises(ValueError, match="option 'width' is there twice"):
        parse("net(width=1,width=2)")


def test_names_that_could_not_be_read_back() -> None:
    for name in ("", "a b", "a(b", "a=b"):
        with pytest.raises(ValueError, match="is not a name"):
            Variant(name)


# what is made of one


def test_building_by_variant_and_by_text() -> None:
    table = {"net": built}
    for spec in ("net(width=24)", one({"width": 24})):
        assert build(table, spec, 3) == {"channels": 3, "width": 24, "sizes": (1.0, 2.0), "name": "a"}
    with pytest.raises(ValueError, match=r"'other' is not there \(choices: net\)"):
        build(table, "other", 3)


def test_an_option_is_that_of_the_row_where_it_is_not_given() -> None:
    table = {"net": built}
    assert option(table, "net", "width", 0) == 32
    assert option(table, "net(width=24)", "width", 0) == 24
    assert option(table, "net", "classes", 0) == 0
    assert option(table, "oracle", "classes", 0) == 0


def test_the_core_takes_either() -> None:
    assert make_schedule(Variant("cosine", (("s", 0.01),)), 10).alpha.equal(make_schedule("cosine(s=0.01)", 10).alpha)
    assert make_schedule(Variant("linear"), 100).name == "linear"
    assert make_sampler(Variant("heun", (("churn", 5.0),))) == make_sampler("heun(churn=5.0)")
    net = Variant("unet", (("classes", 10), ("variance", True)))
    assert (classes_of(net), learns_variance(net)) == (10, True)
    assert (classes_of("unet"), learns_variance("unet")) == (0, False)
    small = Variant("unet", (("inner", 32), ("width", 8)))
    assert type(make_net(small, 1, 28)) is NETS["unet"]


def test_a_row_without_options() -> None:
    with pytest.raises(ValueError, match=r"^'net' has no option 'width' \(options: none\)$"):
        canonical(parse("net(width=3)"), lambda channels: channels)


def test_options_out_of_bounds_build_nothing() -> None:
    """Also where nobody made the variant canonical. The bounds are those beside the types, as texts too."""
    assert [*bounds(built)] == ["share"]
    with pytest.raises(ValueError, match=r"^option 'share' of 'net' must be .* at most 1, not 2\.5$"):
        build({"net": built}, "net(share=2.5)", 3)
    assert chosen(parse("net(share=0.25)"), built) == {"share": 0.25}


def test_rows_that_there_are_stand_in_the_message() -> None:
    with pytest.raises(ValueError, match=r"^'c' is not there \(choices: a, b\)$"):
        row({"a": 1, "b": 2}, parse("c"))


def test_a_variant_is_no_number() -> None:
    assert Variant("a").__eq__(3) is NotImplemented
    assert Variant("a") != 3


def test_types_inside_options() -> None:
    """Of several values each gets the type of the default's first; text is not several values."""
    assert canonical(Variant("net", (("sizes", (3,)),)), lambda channels, *, sizes=(1.0,): sizes).options == (
        ("sizes", (3.0,)),
    )
    for value in (("b",), ("b", "c")):
        with pytest.raises(ValueError, match=r"^option 'name' of 'net' takes a value like "):
            one({"name": value})


def test_a_default_that_no_text_can_hold() -> None:
    def odd(channels: int, *, width: object = object) -> None: ...

    with pytest.raises(ValueError, match=r"^option 'width' of 'net' has no plain value: <class 'object'>$"):
        canonical(Variant("net", (("width", 3),)), odd)
