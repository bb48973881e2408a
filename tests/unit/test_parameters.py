"""Parameters of named queries: types, ranges, defaults, alternatives."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sluice.datasets.declarations import read_folder
from sluice.datasets.model import Parameter, Query
from sluice.errors import ParameterError
from sluice.querying.parameters import read_parameters

BOX = ("west", "east")
QUERY = Query(
    name="nearby",
    summary="What is near.",
    sql="SELECT 1",
    parameters=(
        Parameter("town", "text"),
        Parameter("west", "number", minimum=-180, maximum=180),
        Parameter("east", "number", minimum=-180, maximum=180),
        Parameter("by", "text", default="origin", one_of=("origin", "both")),
        Parameter("limit", "integer", default="100", minimum=1, maximum=1000),
        Parameter("since", "date"),
        Parameter("open", "boolean"),
    ),
    needs=(("town",), BOX),
    ascending=(BOX,),
)


def read(**given: str) -> dict[str, object]:
    return read_parameters(QUERY, given.items())


def test_values_are_typed_and_defaults_fill_in() -> None:
    assert read(west="14", east="14.5", since="2018-05-28", open="true") == {
        "town": None,
        "west": 14.0,
        "east": 14.5,
        "by": "origin",
        "limit": 100,
        "since": date(2018, 5, 28),
        "open": True,
    }


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nearby needs town, or west, east"),
        ({"west": "1"}, "nearby: east is missing"),
        ({"town": "a", "west": "1"}, "nearby: east is missing"),
        ({"town": "a", "radius": "1"}, "radius: no such parameter; nearby takes town, west"),
        ({"town": "a", "limit": "many"}, 'limit: "many" is not a whole number'),
        ({"town": "a", "limit": "0"}, "limit: 0 is less than 1"),
        ({"west": "nan", "east": "1"}, "west: nan is not a finite number"),
        ({"west": "1", "east": "181"}, "east: 181.0 is more than 180"),
        ({"west": "2", "east": "1"}, "west: 2.0 is more than east, 1.0"),
        ({"town": "a", "by": "end"}, 'by: "end" is not one of origin, both'),
        ({"town": "a", "since": "May"}, "since: "),
        ({"town": "a", "open": "perhaps"}, "open: "),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(given: dict[str, str], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        read(**given)
    assert message in error.value.detail


def test_an_empty_alternative_needs_nothing() -> None:
    query = Query("all", "All.", "SELECT 1", parameters=QUERY.parameters, needs=((), BOX))
    assert read_parameters(query, [])["west"] is None
    with pytest.raises(ParameterError, match="east is missing"):
        read_parameters(query, [("west", "1")])


def test_a_required_parameter_is_named_when_it_is_missing() -> None:
    query = Query("one", "One.", "SELECT 1", parameters=(Parameter("id", "text", required=True),))
    with pytest.raises(ParameterError, match="one: id is missing"):
        read_parameters(query, [])


@pytest.mark.parametrize("name", ["weekly_average", "groups"])
def test_an_inverted_box_of_trips_is_refused(name: str) -> None:
    query = read_folder(Path(__file__).parents[2] / "sql/datasets/trips").query(name)
    assert query is not None
    box = {"min_lon": "15", "max_lon": "14", "min_lat": "49", "max_lat": "50"}
    with pytest.raises(ParameterError, match=r"min_lon: .* is more than max_lon"):
        read_parameters(query, box.items())
