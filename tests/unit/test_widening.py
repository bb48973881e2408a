"""A declared column is widened by what a later file has, and not more than it needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_inference import observed
from test_inference_properties import CELLS, dataset_of, infer, loaded

from sluice.datasets.declarations import parse_document
from sluice.datasets.model import Column
from sluice.inference.typing.columns import InferredColumn
from sluice.inference.typing.widening import document_of, widen


def declared(**keys: Any) -> Column:
    return parse_document({"name": "things", "columns": [{"name": "a", **keys}]}).columns[0]


def widened(column: Column, *cells: str) -> InferredColumn:
    return widen(column, observed(list(cells)).columns[0])


@pytest.mark.parametrize(
    ("before", "cells", "after"),
    [
        ({"type": "integer"}, ["5", ""], {"type": "integer"}),
        ({"type": "integer"}, ["2147483648"], {"type": "bigint"}),
        ({"type": "integer"}, ["1.5"], {"type": "numeric"}),
        ({"type": "bigint"}, ["1"], {"type": "bigint"}),
        ({"type": "bigint"}, ["1.5"], {"type": "numeric"}),
        ({"type": "numeric"}, ["1"], {"type": "numeric"}),
        ({"type": "float"}, ["1.5", "nan"], {"type": "float"}),
        ({"type": "integer"}, ["n/a"], {"type": "integer", "nulls": ["n/a"]}),
        ({"type": "integer", "nulls": ["-"]}, ["-", "?"], {"type": "integer", "nulls": ["-", "?"]}),
        ({"type": "integer"}, ["007"], {"type": "text"}),
        ({"type": "integer"}, [" x"], {"type": "text", "trim": False}),
        ({"type": "integer", "minimum": 0}, ["1.5"], {"type": "numeric", "minimum": 0}),
        ({"type": "integer", "minimum": 0}, ["x"], {"type": "text"}),
        ({"type": "integer"}, ["1,234,567"], {"type": "integer", "thousands_separator": ","}),
        ({"type": "numeric", "decimal_separator": ","}, ["1.234,5"],
            {"type": "numeric", "decimal_separator": ",", "thousands_separator": "."}),
        ({"type": "numeric", "symbols": ["€"]}, ["€ 5"], {"type": "numeric", "symbols": ["€"]}),
        ({"type": "numeric", "symbols": ["€"]}, ["$ 5"], {"type": "text"}),
        ({"type": "date"}, ["2018-05-28"], {"type": "date"}),
        ({"type": "date"}, ["2018-05-28 09:03"], {"type": "timestamp"}),
        ({"type": "date"}, ["28.05.2018"], {"type": "date", "formats": ["%Y-%m-%d", "%d.%m.%Y"]}),
        ({"type": "date", "formats": ["%d/%m/%Y"]}, ["01/02/2017"],
            {"type": "date", "formats": ["%d/%m/%Y"]}),
        ({"type": "date", "formats": ["%d/%m/%Y"]}, ["01/13/2017"], {"type": "text"}),
        ({"type": "date", "formats": ["%d/%m/%Y"]}, ["1/2/17"],
            {"type": "date", "formats": ["%d/%m/%Y", "%d/%m/%y"]}),
        ({"type": "timestamp"}, ["2018-05-28"], {"type": "timestamp"}),
        ({"type": "instant"}, ["2018-05-28T09:03:40"], {"type": "text"}),
        ({"type": "boolean"}, ["yes"], {"type": "boolean"}),
        ({"type": "boolean"}, ["maybe"], {"type": "text"}),
        ({"type": "uuid"}, ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"], {"type": "uuid"}),
        ({"type": "uuid"}, ["5"], {"type": "text"}),
        ({"type": "json"}, ["[1]", ""], {"type": "json"}),
        ({"type": "json"}, ["null", "true"], {"type": "json"}),
        ({"type": "json"}, ["[1]", "n/a"], {"type": "json", "nulls": ["n/a"]}),
        ({"type": "json"}, ["5"], {"type": "text"}),
        ({"type": "json"}, ["[1,]"], {"type": "text"}),
        ({"type": "integer"}, ["[1]"], {"type": "text"}),
        ({"type": "text", "one_of": ["x"]}, ["y"], {"type": "text", "one_of": ["x"]}),
        ({"type": "text"}, [" y"], {"type": "text", "trim": False}),
    ],
)  # fmt: skip
def test_a_column_is_widened(
    before: dict[str, Any], cells: list[str], after: dict[str, Any]
) -> None:
    assert widened(declared(**before), *cells).document == {"name": "a", **after}


def test_what_a_type_does_not_concern_stays() -> None:
    column = declared(type="integer", header=["A", "b"], required=True, description="A number.")
    found = widened(column, "x")
    assert found.document == {**document_of(column), "type": "text"}
    assert found.evidence == ('record 1 is "x"',)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.sampled_from(CELLS), min_size=1, max_size=3),
    st.lists(st.sampled_from(CELLS), min_size=1, max_size=3),
)
def test_the_cells_of_both_files_are_admitted(before: list[str], after: list[str]) -> None:
    column = dataset_of(infer(before)).columns[0]
    dataset = dataset_of(widen(column, observed(after).columns[0]))
    loaded(dataset, [*before, *after])
    assert widen(dataset.columns[0], observed(after).columns[0]).document == document_of(
        dataset.columns[0]
    )
