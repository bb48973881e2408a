"""The types of columns, decided from what all their cells admit."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sluice.csv.dialects import Dialect
from sluice.datasets.declarations import parse_document
from sluice.inference.declaration import dataset_document, dataset_toml
from sluice.inference.names import ColumnName, name_columns
from sluice.inference.typing.columns import InferredColumn, decide
from sluice.inference.typing.observations import Observations, merge_all
from sluice.inference.typing.observe import observe


def observed(*columns: list[str], first_record: int = 0) -> Observations:
    arrays = [pa.array([cell or None for cell in cells], pa.string()) for cells in columns]
    return observe(arrays, first_record=first_record)


def inferred(cells: list[str], name: str = "a") -> InferredColumn:
    return decide(observed(cells), [ColumnName(name)])[0]


def keys(cells: list[str]) -> dict[str, Any]:
    """Return what is declared of a column besides its name."""
    document = dict(inferred(cells).document)
    del document["name"]
    return document


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ("1 0 -5 2147483647", "integer"),
        ("0 1 1 0", "integer"),
        ("1983 1978", "integer"),
        ("20180528 20180529", "integer"),
        ("42736 42737.5", "numeric"),
        ("2147483648", "bigint"),
        ("-2147483649 1", "bigint"),
        ("4111111111111111", "bigint"),
        ("9223372036854775807", "bigint"),
        ("9223372036854775808", "numeric"),
        ("12345678901234567890123", "numeric"),
        ("1.5 2 -.5 5.", "numeric"),
        ("1.10 1.1", "numeric"),
        ("1e5 1.5E-7 3", "float"),
        ("1.5e300", "numeric"),
        ("12E3 14E5", "text"),
        ("12E3 14 5e300", "text"),
        ("1e+5", "float"),
        ("1e5 1.5", "float"),
        ("1e5 NaN", "text"),
        ("0.1234567890123456789 1e5", "numeric"),
        ("1.5 NaN inf", "float"),
        ("1 nan", "float"),
        ("0.1234567890123456789 NaN", "text"),
        ("007 1", "text"),
        ("01234 94105", "text"),
        ("00.5", "text"),
        ("+420123456789", "text"),
        ("+5 -3", "integer"),
        ("0x10 5", "text"),
        ("1_000", "text"),
        ("true false", "boolean"),
        ("TRUE True", "boolean"),
        ("t f", "boolean"),
        ("yes NO", "boolean"),
        ("Y n", "boolean"),
        ("f", "text"),
        ("f m", "text"),
        ("NO", "text"),
        ("t n", "text"),
        ("true 1", "text"),
        ("2018-05-28 0001-12-31", "date"),
        ("2018-02-30", "text"),
        ("2018-05-28T09:03 2018-05-28", "timestamp"),
        ("2018-05-28T09:03:40Z 2018-05-28T09:03:40.5+02", "instant"),
        ("2018-05-28T09:03:40Z 2018-05-28T09:03:40", "text"),
        ("2018-05-28T09:03:40.123456789", "text"),
        ("2018-05-28T24:00", "text"),
        ("09:03 23:59:59.5", "time"),
        ("09:03 2018-05-28", "text"),
        ("2018-05-28 5", "text"),
        ("6BA7B810-9dad-11d1-80b4-00c04fd430c8", "uuid"),
        ("6ba7b8109dad11d180b400c04fd430c8", "text"),
        ('{"a":1} [] {}', "json"),
        ('{"a":1} 5', "text"),
        ('{"a":1} {"a":01}', "text"),
        ('{"a":1,"a":2}', "text"),
        ("[1] [1] [a]", "text"),
        ("[NaN]", "text"),
        ('"a"', "text"),
        ("180°", "text"),
        ("1-2 3-4", "text"),
        ("2:1", "text"),
        ("192.168.0.1", "text"),
        ("1,234 12", "text"),
        ("5 12%", "text"),
        ("$5 €5", "text"),
        ("(1) (2)", "text"),
        ("1.5 1,5", "text"),
        ("a 1", "text"),
        ("NA NA", "text"),
        ("", "text"),
    ],
)
def test_cells_without_spaces_have_a_type(cells: str, kind: str) -> None:
    assert keys(cells.split(" ")) == {"type": kind}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1/1/17 0:21", "1/13/17 0:22"], ("timestamp", ["%m/%d/%y %H:%M"])),
        (["13/01/2017", "01/02/2017"], ("date", ["%d/%m/%Y"])),
        (["6/25/01", "6/25/2001"], ("date", ["%m/%d/%Y", "%m/%d/%y"])),
        (["31.12.17"], ("date", ["%d.%m.%y"])),
        (["2017/1/5"], ("date", ["%Y/%m/%d"])),
        (["September 25, 2021", "May 5, 2020"], ("date", ["%B %d, %Y"])),
        (["September 25, 2021", "9-Sep-19"], ("date", ["%B %d, %Y", "%d-%b-%y"])),
        (["5 May 2020", "05Jun2020"], ("date", ["%d %b %Y", "%d%b%Y"])),
        (["Mon, 28 May 2018"], ("date", ["%a, %d %b %Y"])),
        (["5. Mai 2020"], None),
        (["1/31/2017 12:05 PM"], ("timestamp", ["%m/%d/%Y %I:%M %p"])),
        (["1/31/2017 13:05 PM"], None),
        (["2018-05-28 9:03"], ("timestamp", ["%Y-%m-%d %H:%M"])),
        (["2018-05-28", "28.05.2018"], ("date", ["%Y-%m-%d", "%d.%m.%Y"])),
        (["20180528T090340"], ("timestamp", ["%Y%m%dT%H%M%S"])),
        (["20180528T090340Z"], ("instant", ["%Y%m%dT%H%M%S%z"])),
        (["20180528 09:03:40"], ("timestamp", ["%Y%m%d %H:%M:%S"])),
        (["28/May/2018:09:03:40 +0200"], ("instant", ["%d/%b/%Y:%H:%M:%S %z"])),
        (["Mon May 28 09:03:40 2018"], ("timestamp", ["%a %b %d %H:%M:%S %Y"])),
        (["Mon May 28 09:03:40 +0000 2018"], ("instant", ["%a %b %d %H:%M:%S %z %Y"])),
        (["Mon, 28 May 2018 09:03:40 +0200"], ("instant", ["%a, %d %b %Y %H:%M:%S %z"])),
        (["28. 5. 2018"], ("date", ["%d. %m. %Y"])),
        (["1:02:03:04"], None),
        (["9:03 PM"], ("time", ["%I:%M %p"])),
        (["9:03"], ("time", ["%H:%M"])),
        (["9:03:40", "10:03:40"], ("time", ["%H:%M:%S"])),
        (["31/01/2017 10:00:00 +0200"], ("instant", ["%d/%m/%Y %H:%M:%S %z"])),
        (["29/02/2017"], None),
        (["29/02/2016"], ("date", ["%d/%m/%Y"])),
        (["01/02/2017"], None),
        (["25-05-13"], None),
        (["31-12-17"], None),
        (["31/12/17"], ("date", ["%d/%m/%y"])),
        (["90.01.01", "02.02.02", "04.12.13"], ("date", ["%y.%m.%d"])),
        ([f"{day:02}-01-17" for day in range(1, 32)], ("date", ["%d-%m-%y"])),
        ([f"17.12.{day:02}" for day in range(1, 32)], ("date", ["%y.%m.%d"])),
        (["17/12/01", "17/12/02", "18/12/03"], None),
        (["25-05-13", "32-05-13"], ("date", ["%y-%m-%d"])),
        (["13/01/2017", "01/13/2017"], None),
    ],
)
def test_dates_and_times_have_formats(
    cells: list[str], expected: tuple[str, list[str]] | None
) -> None:
    kind, formats = expected or ("text", None)
    assert keys(cells) == {"type": kind, **({"formats": formats} if formats else {})}


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1,234,567", "1,234"], {"type": "integer", "thousands_separator": ","}),
        (["1,234.5", "12"], {"type": "numeric", "thousands_separator": ","}),
        (
            ["1.234,50 €", "5 €"],
            {
                "type": "numeric",
                "decimal_separator": ",",
                "thousands_separator": ".",
                "symbols": ["€"],
            },
        ),
        (["1,5", "0,123"], {"type": "numeric", "decimal_separator": ","}),
        (
            ["1,5", "1.234,5"],
            {"type": "numeric", "decimal_separator": ",", "thousands_separator": "."},
        ),
        (
            ["1 234", "1\u00a0234,5"],
            {"type": "numeric", "decimal_separator": ",", "thousands_separator": " "},
        ),
        (["1'234.50"], {"type": "numeric", "thousands_separator": "'"}),
        (["12,34,567"], {"type": "integer", "thousands_separator": ",", "grouping": "indian"}),
        (["1.234.567"], {"type": "integer", "decimal_separator": ",", "thousands_separator": "."}),
        (["12.5%", "7 %"], {"type": "numeric", "percent": True}),
        (["100%"], {"type": "numeric", "percent": True}),
        (["1,000%"], {"type": "text"}),
        (["1,000%", "1.5%"], {"type": "numeric", "thousands_separator": ",", "percent": True}),
        (
            ["$5", "($1,000.50)"],
            {
                "type": "numeric",
                "thousands_separator": ",",
                "symbols": ["$"],
                "negatives": ["parentheses"],
            },
        ),
        (["5-", "\u22123"], {"type": "integer", "negatives": ["trailing_minus", "minus_sign"]}),
        (["USD 5.00"], {"type": "numeric", "symbols": ["USD"]}),
        (["90 min"], {"type": "text"}),
        (["777 123 456", "603 000 111"], {"type": "text"}),
        (["777 123 456", "1 000 111"], {"type": "bigint", "thousands_separator": " "}),
        (["10.100.200.100"], {"type": "text"}),
        (["1.000"], {"type": "numeric"}),
    ],
)
def test_numbers_are_read_as_they_are_written(cells: list[str], expected: dict[str, Any]) -> None:
    assert keys(cells) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["5", "NA", r"\N", "-"], {"type": "integer", "nulls": ["-", "NA", r"\N"]}),
        (["2018-05-28", "NaN"], {"type": "date", "nulls": ["NaN"]}),
        (["5", "NaN", "?"], {"type": "float", "nulls": ["?"]}),
        (["a", "NA"], {"type": "text"}),
        (["a", r"\N"], {"type": "text", "nulls": [r"\N"]}),
        ([r"\N", "007"], {"type": "text", "nulls": [r"\N"]}),
        (["5", "unknown"], {"type": "text"}),
        ([" 5", "6 ", " "], {"type": "integer"}),
        ([" a", "b"], {"type": "text", "trim": False}),
        (["b", "\u00a0"], {"type": "text", "trim": False}),
    ],
)
def test_words_mean_null_beside_other_types_only(
    cells: list[str], expected: dict[str, Any]
) -> None:
    assert keys(cells) == expected


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (["1", "2", "007"], 'text: record 3 is "007"'),
        (
            ["13/01/2017", "05/05/2017", "01/13/2017"],
            "day and month are not always in the same place",
        ),
        (["01/02/2017"], "day first or month first"),
        (["1,234", "1"], "the comma may separate decimals or thousands"),
        (["1.234"], "read with a decimal point"),
        (["13/01/2017"], 'date: day first, because record 1 is "13/01/2017"'),
        (["1", "2017-01-01"], 'record 1 is "1", record 2 is "2017-01-01"'),
        (["a\nb"], r'record 1 is "a\nb"'),
        (["20180528"], "for dates such as 20180528"),
        (["31.12.17"], "years 69 to 99 are read as 1969 to 1999"),
        (["", ""], "every cell is empty"),
    ],
)
def test_the_evidence_says_why(cells: list[str], reason: str) -> None:
    text = dataset_toml("things", Detected(), (inferred(cells),))
    assert reason in text.replace("\n# ", " ")


@pytest.mark.parametrize(
    ("other", "cells", "expected"),
    [
        (["13/01/2017"], ["01/02/2017"], {"type": "date", "formats": ["%d/%m/%Y"]}),
        (["1/13/17"], ["01/02/2017 10:00"], {"type": "timestamp", "formats": ["%m/%d/%Y %H:%M"]}),
        (["2017-01-13"], ["01/02/2017"], {"type": "text"}),
        (["1,5"], ["1,234"], {"type": "numeric", "decimal_separator": ","}),
        (["1.5"], ["1,234"], {"type": "integer", "thousands_separator": ","}),
        (
            ["1,5"],
            ["1.234"],
            {"type": "integer", "decimal_separator": ",", "thousands_separator": "."},
        ),
        (["5"], ["1,234"], {"type": "text"}),
    ],
)
def test_what_a_column_leaves_open_other_columns_decide(
    other: list[str], cells: list[str], expected: dict[str, Any]
) -> None:
    names = name_columns(["other", "a"])
    assert decide(observed(other, cells), names)[1].document == {"name": "a", **expected}


def test_columns_that_contradict_each_other_decide_nothing() -> None:
    found = decide(observed(["13/01/2017"], ["01/13/2017"], ["01/02/2017"]), name_columns("abc"))
    assert [each.document["type"] for each in found] == ["date", "date", "text"]


def test_coordinates_are_floats() -> None:
    names = name_columns(["start lat", "start lng", "lat", "price"])
    cells = ["50.08"], ["14.42"], ["50.08"], ["9.99"]
    found = decide(observed(*cells), names)
    assert [each.document["type"] for each in found] == ["float", "float", "numeric", "numeric"]
    assert "float: a position together with start_lng" in found[0].evidence


def test_repeated_texts_are_proposed_as_the_only_ones_and_to_be_stored_once() -> None:
    column = inferred(["north", "south"] * 5000)
    assert column.document == {"name": "a", "type": "text"}
    assert column.proposals == ('one_of = ["north", "south"]', "dictionary = true")


def test_a_century_is_proposed_for_years_of_two_digits() -> None:
    assert inferred(["6/24/40"]).proposals == ('two_digit_years = "past"',)


def test_a_point_is_text_where_its_stored_columns_would_have_the_name_of_another() -> None:
    names = name_columns(["place", "place_lon"])
    found = decide(observed(["POINT (14.4 50.1)"], ["1"]), names)
    assert [each.document["type"] for each in found] == ["text", "integer"]


@pytest.mark.parametrize(
    ("cells", "is_unique"),
    [
        ([str(each) for each in range(1000)], True),
        ([str(each % 999) for each in range(1000)], False),
        (["b", "a"], True),
        (["b", "a", "b"], False),
        (["b", ""], False),
        ([f"s{each}" for each in range(1000)], False),
    ],
)
def test_values_are_unique_only_if_that_is_proven(cells: list[str], is_unique: bool) -> None:
    assert inferred(cells).is_unique is is_unique


@dataclass(frozen=True)
class Reason:
    key: str
    reason: str


@dataclass(frozen=True)
class Detected:
    dialect: Dialect = field(default_factory=lambda: Dialect(delimiter=";", quote="'"))
    evidence: tuple[Reason, ...] = (Reason("delimiter", "each record has 3 fields"),)
    warnings: tuple[str, ...] = ("line 7 is short",)


def test_the_toml_declares_what_was_decided() -> None:
    headers = ["id", "", 'say "\\hi"\n', "π\x1b", "id", "price", "day", "state"]
    cells = ["1", "2"], ["", ""], ["a", "b"], [" x", "y"], ["7", "8"], ["1,5 €", "-"]
    columns = decide(observed(*cells, ["31.12.17", ""], ["a", "a"]), name_columns(headers))
    document = dataset_document("things", Detected(), columns, {"ragged": "pad"})
    text = dataset_toml("things", Detected(), columns, {"ragged": "pad"})
    assert {"name": "things", **tomllib.loads(text)} == document
    dataset = parse_document(document)
    assert [each.headers[0] for each in dataset.columns] == [each.strip() for each in headers]
    assert "# each record has 3 fields." in text
    assert '# key = ["id"]' in text


def test_observations_are_json() -> None:
    seen = observed(["1", "2"], ["a ", ""], ["b"] * 2)
    assert Observations.from_json(seen.to_json()) == seen


def test_a_nul_is_replaced_in_json() -> None:
    seen = Observations.from_json(observed(["a\0b", " \0"]).to_json())
    assert seen.columns[0].distinct == {"a\ufffdb", " \ufffd"}
    assert "\0" not in repr(seen)


def test_a_reason_names_the_record_though_others_are_missing() -> None:
    array = pa.array(["1", "2", "007"], pa.string())
    seen = observe([array], first_record=0, records=np.array([0, 4, 9]))
    assert 'text: record 10 is "007"' in decide(seen, [ColumnName("a")])[0].evidence


def test_values_ascend_though_records_are_missing() -> None:
    parts = [
        observe([pa.array(cells, pa.string())], first_record=0, records=np.array(records))
        for cells, records in ((["8", "9"], [7, 9]), (["1", "2"], [0, 1]), (["5"], [4]))
    ]
    assert decide(merge_all(parts), [ColumnName("a")])[0].is_unique
    late = observe([pa.array(["3"], pa.string())], first_record=20)
    assert merge_all([*parts, late]).columns[0].runs is None


def test_columns_that_a_record_lacks_are_empty() -> None:
    merged = observed(["1"]).merge(observed(["2"], ["x"], first_record=1))
    assert merged.padded(3)[1].cells == 1
    assert [each.document["type"] for each in decide(merged, name_columns("abc"))] == [
        "integer",
        "text",
        "text",
    ]
