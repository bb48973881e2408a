"""Pictures as SVG: well-formed, complete, the same each time, safe whatever the names are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from xml.etree import ElementTree as ET

import pytest

from sluice.charts.chart import Caption, Cells, Chart, Picture, Place, Series
from sluice.charts.svg import NARROW_IN, NOTHING, WIDE_IN, draw

CAPTION = Caption("Plays & <sums> of $x$", "plays · year = 2021", ("the 40 largest",))
DAYS = tuple(datetime.fromisoformat(f"2020-01-0{n}") for n in (1, 2, 3))


def chart(kind: str, places: tuple[Place, ...], *series: Series) -> Chart:
    return Chart(kind, CAPTION, places, series, "song", "plays")


PICTURES: dict[str, Picture] = {
    "vertical bars": chart("bar", ("a", "b"), Series("n", (1, 2.5))),
    "a single bar": chart("bar", ("a",), Series("n", (0,))),
    "horizontal bars": chart(
        "bar", tuple(f"a long name {n}" for n in range(40)), Series("n", (7,) * 40)
    ),
    "stacked bars": chart("bar", (2020.0, 2021.0), Series("q1", (1, -2)), Series("q2", (3, None))),
    "a single point": chart("line", DAYS[:1], Series("n", (5,))),
    "two lines": chart("line", DAYS, Series("東京", (1, None, 2)), Series("$", (2e9, 1, 0))),
    "named points": chart("line", ("x", "y"), Series("n", (1, 2))),
    "nothing": chart("bar", ()),
    "cells": Cells(CAPTION, ((14.4, 50.1, 3), (14.5, 50.1, 300)), (0.1, 0.1), "trips"),
    "a single cell": Cells(CAPTION, ((-74.0, 40.7, 3),), (0.1, 0.1), "trips"),
    "cells at both ends of the Earth": Cells(CAPTION, ((-180, -90, 0), (180, 90, 1)), (1, 1), "n"),
    "no cells": Cells(CAPTION, (), (0.1, 0.1), "trips"),
}


def texts(svg: str) -> list[str]:
    root = ET.fromstring(svg)
    return [
        "".join(each.itertext()).strip() for each in root.iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.mark.parametrize("width_in", [WIDE_IN, NARROW_IN])
@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_drawn_with_its_caption(name: str, width_in: float) -> None:
    svg = draw(PICTURES[name], width_in)
    found = texts(svg)
    assert "Plays & <sums> of $x$" in found
    assert "plays · year = 2021" in found
    assert "the 40 largest" in found
    assert (NOTHING in " ".join(found)) == (name in ("nothing", "no cells"))


def test_names_are_unchanged_and_long_ones_are_cut() -> None:
    found = texts(draw(PICTURES["two lines"]))
    assert {"東京", "$"} <= set(found)
    found = texts(draw(chart("bar", ("x" * 200,), Series("n", (1,)))))
    assert any(each.startswith("xxx") and each.endswith("…") for each in found)


def test_the_same_picture_is_the_same_text_from_any_thread() -> None:
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: draw(PICTURES["cells"]), range(4)))
    assert len(set(drawn)) == 1
    assert "<metadata" not in drawn[0]
    assert "<!DOCTYPE" not in drawn[0]


def test_a_picture_without_caption_is_for_a_page_that_has_its_own() -> None:
    assert "plays · year = 2021" not in draw(PICTURES["cells"], has_caption=False)


@pytest.mark.parametrize("width_in", [WIDE_IN, NARROW_IN])
@pytest.mark.parametrize(
    ("latitude", "size"),
    [
        (50.15, (0.1, 0.1)),
        (50.4, (0.08, 0.08)),
        (50.1003, (0.0004, 0.0004)),
        (-33.199, (0.02, 0.0006)),
    ],
)
def test_the_degrees_beside_a_map_are_drawn_in_full(
    latitude: float, size: tuple[float, float], width_in: float
) -> None:
    svg = ET.fromstring(draw(Cells(CAPTION, ((14.4, latitude, 3),), size, "trips"), width_in))
    labels = {
        "".join(each.itertext()): float(each.attrib["x"])
        for each in svg.iter("{http://www.w3.org/2000/svg}text")
        if "text-anchor: end" in each.attrib["style"]
    }
    degrees = {text: x for text, x in labels.items() if text.endswith(("° N", "° S"))}
    assert degrees
    # A digit of the font is 0.64 of its size wide, 9.5 points.
    assert [text for text, end in degrees.items() if end < len(text) * 0.64 * 9.5] == []
