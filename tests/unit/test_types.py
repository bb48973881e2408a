"""Each column type is defined once, completely, and its definition holds in Python and DuckDB."""

from __future__ import annotations

import re
from collections.abc import Iterator

import duckdb
import pgpq
import pyarrow as pa
import pytest

from sluice.datasets.declarations import parse_document
from sluice.datasets.grammars import meaning
from sluice.datasets.types import (
    PARAMETER_TYPES,
    STORED_BY_OID,
    STORED_TYPES,
    TYPES,
    ColumnType,
    StoredType,
    TypeDefinition,
    stored_from_duckdb,
)
from sluice.parsing.layout import lay_out
from sluice.parsing.parser import parse_chunk

DEFINITIONS = pytest.mark.parametrize("kind", TYPES.values(), ids=TYPES.keys())
STORED = sorted({each.name for each in STORED_TYPES.values()})


@pytest.fixture(scope="module")
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duckdb.connect()
    yield connection
    connection.close()


def test_every_type_has_one_definition() -> None:
    assert list(TYPES) == list(ColumnType)
    assert {each.name for each in TYPES.values()} == set(ColumnType)


@DEFINITIONS
def test_a_definition_is_complete(kind: TypeDefinition) -> None:
    assert all((kind.meaning, kind.example, kind.duckdb, kind.suffixes))
    assert bool(kind.grammar) is (kind.find_problem is None)
    assert STORED_TYPES[kind.stored.name] is kind.stored


@pytest.mark.parametrize(
    "kind", [pytest.param(each, id=each.name) for each in TYPES.values() if each.grammar]
)
def test_python_and_duckdb_agree_on_a_grammar(
    kind: TypeDefinition, cursor: duckdb.DuckDBPyConnection
) -> None:
    for cell in (kind.example, *kind.accepted, *kind.refused):
        expected = cell not in kind.refused
        assert bool(re.fullmatch(kind.grammar, cell)) is expected, cell
        found = cursor.execute("SELECT regexp_full_match(?, ?)", [cell, kind.grammar]).fetchone()
        assert found == (expected,), cell


def test_json_has_its_cells_and_no_others() -> None:
    kind = TYPES[ColumnType.JSON]
    assert kind.find_problem is not None
    assert [each for each in (kind.example, *kind.accepted) if kind.find_problem(each)] == []
    assert [each for each in kind.refused if not kind.find_problem(each)] == []


@DEFINITIONS
def test_the_example_loads_and_what_no_grammar_has_does_not(kind: TypeDefinition) -> None:
    dataset = parse_document({"name": "d", "columns": [{"name": "a", "type": kind.name}]})
    layout = lay_out(dataset, None)
    data = f'"{kind.example}"\n"\u00a7"\n'.encode()
    with parse_chunk(data, dataset, layout, first_line=1, first_record=0) as chunk:
        reasons = [each.reason for each in chunk.rejects]
    assert reasons == (
        [] if kind.name is ColumnType.TEXT else [f'"§" is not {meaning(dataset.columns[0])}']
    )
    assert [each.name for each in dataset.fields] == [f"a{suffix}" for suffix in kind.suffixes]


@DEFINITIONS
def test_duckdb_stores_a_cast_as_the_definition_says(
    kind: TypeDefinition, cursor: duckdb.DuckDBPyConnection
) -> None:
    cell = "1" if kind.is_compound else kind.example
    row = cursor.execute(f"SELECT typeof(CAST(? AS {kind.duckdb}))", [cell]).fetchone()
    assert row is not None
    name = row[0].partition("(")[0]
    if not kind.is_stored_from_text:
        assert name in kind.stored.duckdb
        assert stored_from_duckdb(row[0]) is kind.stored


@pytest.mark.parametrize("name", ["DECIMAL(38,9)", "TIME", "UUID", "INTERVAL", "INTEGER[]"])
def test_what_has_no_binary_copy_is_not_stored_from_duckdb(name: str) -> None:
    with pytest.raises(KeyError):
        stored_from_duckdb(name)


@pytest.mark.parametrize("name", STORED)
def test_a_stored_type_is_complete(name: str) -> None:
    stored = STORED_TYPES[name]
    assert STORED_BY_OID[stored.oid] is stored
    assert all((stored.duckdb, stored.arrow, stored.json_schema, stored.description))
    assert not stored.sum_type or STORED_TYPES[stored.sum_type].is_number
    assert stored.parse(_as_text(stored)) is not None


def test_any_json_value_is_one_of_the_type_that_stores_json() -> None:
    assert "type" not in STORED_TYPES["jsonb"].json_schema


@pytest.mark.parametrize("name", sorted(set(STORED) - {"jsonb"}))
def test_the_example_of_a_stored_type_has_the_type_of_its_schema(name: str) -> None:
    stored = STORED_TYPES[name]
    found = {bool: "boolean", int: "integer", float: "number", str: "string"}[type(stored.example)]
    assert found == stored.json_schema["type"]


@pytest.mark.parametrize("name", STORED)
def test_arrow_has_a_type_of_that_name_that_can_be_copied(name: str) -> None:
    stored = STORED_TYPES[name]
    kind = pa.type_for_alias(stored.arrow)
    if stored.has_binary_copy:
        assert pgpq.ArrowToPostgresBinaryEncoder(pa.schema([("a", kind)]))


@pytest.mark.parametrize("name", sorted(set(STORED) - {"text"}))
def test_a_text_that_is_not_a_value_is_refused_with_what_one_looks_like(name: str) -> None:
    stored = STORED_TYPES[name]
    with pytest.raises(ValueError, match=re.escape(f'"§" is not {stored.description}')):
        stored.parse("§")


def test_parameters_have_stored_types() -> None:
    assert all(STORED_TYPES[each.name] is each for each in PARAMETER_TYPES.values())


def _as_text(stored: StoredType) -> str:
    return str(stored.example).lower() if stored.name == "boolean" else str(stored.example)
