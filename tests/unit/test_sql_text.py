"""Parameters and statements of SQL are found where PostgreSQL finds them."""

from __future__ import annotations

import time

import pytest

from sluice.datasets.sql_text import (
    SqlStatement,
    line_of,
    split_statements,
    tokens,
    with_literals,
    with_nulls,
    with_numbers,
    words,
)

#: SQL, and the same with its parameters as nulls.
PARAMETERS = {
    ":a": "CAST(NULL AS int)",
    ":a::text || :b": "CAST(NULL AS int)::text || CAST(NULL AS text)",
    "':a' \":a\" $$:a$$ $x$ :a $$ :a $x$": "':a' \":a\" $$:a$$ $x$ :a $$ :a $x$",
    "-- :a\n:a": "-- :a\nCAST(NULL AS int)",
    "/* :a /* :b */ :a */ :b": "/* :a /* :b */ :a */ CAST(NULL AS text)",
    "E'\\':a' ':a''' :a": "E'\\':a' ':a''' CAST(NULL AS int)",
    "'\\' :a '": "'\\' CAST(NULL AS int) '",
    "x[1:a], x[i:a], x$y:a, x$$:a": "x[1:a], x[i:a], x$y:a, x$$:a",
    ":c :ab": ":c :ab",
    "'never closed :a": "'never closed :a",
    "$q$ never closed :a": "$q$ never closed :a",
}
TYPES = {"a": "int", "b": "text"}


@pytest.mark.parametrize("sql", PARAMETERS)
def test_parameters_are_found_outside_of_texts_and_comments(sql: str) -> None:
    assert with_nulls(sql, TYPES) == PARAMETERS[sql]


@pytest.mark.parametrize("sql", PARAMETERS)
def test_tokens_are_the_whole_text(sql: str) -> None:
    assert "".join(each.text for each in tokens(sql)) == sql


def test_a_parameter_has_one_number() -> None:
    sql = "SELECT :b, :a WHERE x = :b"
    assert with_numbers(sql, {"a": 1, "b": "x"}, {"a": "int"}) == (
        "SELECT $1, CAST($2 AS int) WHERE x = $1",
        ["x", 1],
    )


def test_literals_are_quoted() -> None:
    values = {"a": None, "b": "it's :a"}
    written = "CAST(NULL AS int), CAST('it''s :a' AS text)"
    assert with_literals(":a, :b", values, TYPES) == written


def test_statements_are_divided_outside_of_texts() -> None:
    sql = "-- One.\nSELECT ';' -- ;\n, $$;$$;\n\n/* two; */ SELECT\n2 ;; -- end"
    assert split_statements(sql) == [
        SqlStatement("SELECT ';' -- ;\n, $$;$$", 2),
        SqlStatement("SELECT\n2 ", 5),
    ]


def test_words_are_in_lower_case_and_quoted_names_are_not() -> None:
    assert words('CREATE Table "A b" (/* x */ c)') == ["create", "table", '"A b"', "(", "c", ")"]


def test_the_line_of_a_name_is_that_of_its_first_use() -> None:
    assert line_of("SELECT 'f', -- f\n1,\n F(1), f(2)", "f") == 3
    assert line_of("SELECT 1", "f") == 1


@pytest.mark.parametrize(
    "sql",
    ["'" * 65_001, "/*" * 40_000, ":a" * 40_000, "E'\\" * 30_000, "".join(f"$a{n}$ " for n in range(9_000))],
    ids=["quotes", "comments", "parameters", "escapes", "dollars"],
)  # fmt: skip
def test_hostile_sql_is_read_in_linear_time(sql: str) -> None:
    began = time.process_time()
    with_nulls(sql, TYPES)
    assert time.process_time() - began < 1
