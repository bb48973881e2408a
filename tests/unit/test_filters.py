"""Row filters: what they accept, what they refuse, and that values never reach the SQL."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.datasets.model import Field
from sluice.errors import FilterError
from sluice.querying.filters import OPERATORS, Bindings, condition, parse_filters

COLUMNS = {
    each.name: each
    for each in (
        Field("region", "text", nullable=True),
        Field("trips", "integer", nullable=False),
        Field("price", "double precision", nullable=True),
        Field("paid", "boolean", nullable=True),
        Field("day", "date", nullable=True),
        Field("begun_at", "timestamp", nullable=True),
    )
}
# All that the SQL of a filter may consist of: quoted names of columns, placeholders, fixed words.
SAFE_SQL = re.compile(
    r'"(region|trips|price|paid|day|begun_at)" '
    r"(IS (NOT )?(NULL|TRUE|FALSE)"
    r"|(=|<>|<|<=|>|>=|LIKE|ILIKE) CAST\(:p\d+ AS [a-z ]+\)"
    r"|IN \(CAST\(:p\d+ AS [a-z ]+\)(, CAST\(:p\d+ AS [a-z ]+\))*\))"
)


def compiled(column: str, text: str) -> tuple[str, list[str]]:
    bindings = Bindings()
    sql = " AND ".join(condition(f, bindings) for f in parse_filters([(column, text)], COLUMNS))
    return sql, list(bindings.values.values())


@pytest.mark.parametrize(
    ("column", "text", "sql", "values"),
    [
        ("trips", "eq.5", '"trips" = CAST(:p0 AS integer)', ["5"]),
        ("trips", "ne.5", '"trips" <> CAST(:p0 AS integer)', ["5"]),
        ("day", "ge.2018-05-28", '"day" >= CAST(:p0 AS date)', ["2018-05-28"]),
        ("region", "eq.a.b", '"region" = CAST(:p0 AS text)', ["a.b"]),
        ("region", "eq.", '"region" = CAST(:p0 AS text)', [""]),
        (
            "region",
            'in.(a,"b,c")',
            '"region" IN (CAST(:p0 AS text), CAST(:p1 AS text))',
            ["a", "b,c"],
        ),
        ("region", "ilike.*pra*", '"region" ILIKE CAST(:p0 AS text)', ["%pra%"]),
        ("region", "is.null", '"region" IS NULL', []),
        ("region", "is.not_null", '"region" IS NOT NULL', []),
        ("paid", "is.true", '"paid" IS TRUE', []),
    ],
)
def test_a_filter_compiles_to_a_condition(
    column: str, text: str, sql: str, values: list[str]
) -> None:
    assert compiled(column, text) == (sql, values)


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("town", "eq.a", "town: no such column"),
        ("region", "Prague", "write region=eq.Prague"),
        ("region", "near.Prague", "op one of eq"),
        ("trips", "eq.many", '"many" is not a whole number'),
        ("trips", "eq.99999999999", "is not a whole number of 32 bits"),
        ("day", "lt.yesterday", "is not a date such as"),
        ("begun_at", "eq.2018-05-28T00:00:00Z", "without a time zone"),
        ("trips", "like.5*", "like is for text columns; this one is integer"),
        ("region", "like.a\\", "ends in a backslash"),
        ("region", "is.true", "is.true is for boolean columns"),
        ("region", "is.empty", "write is. and one of null"),
        ("region", "in.a,b", "in takes a list in parentheses"),
        ("region", 'in.("a)', "the quote is not closed"),
        ("region", "eq.a\0b", "a text without NUL"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_to_write(column: str, text: str, message: str) -> None:
    with pytest.raises(FilterError, match=re.escape(message)) as error:
        compiled(column, text)
    assert error.value.extra["parameter"] == column


@given(
    column=st.sampled_from([*COLUMNS, "town"]),
    operator=st.sampled_from([*OPERATORS, "or", ""]),
    value=st.text() | st.sampled_from(["null", "true", "1", "(1,2)", "2018-05-28", "' OR 1=1 --"]),
)
def test_a_filter_never_emits_an_unbound_literal(column: str, operator: str, value: str) -> None:
    try:
        sql, values = compiled(column, f"{operator}.{value}")
    except FilterError:
        return
    assert SAFE_SQL.fullmatch(sql)
    assert sql.count(":p") == len(values)


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1))
def test_any_texts_survive_the_list_of_in(texts: list[str]) -> None:
    quoted = ",".join('"' + each.replace("\\", "\\\\").replace('"', '""') + '"' for each in texts)
    assert compiled("region", f"in.({quoted})")[1] == texts
