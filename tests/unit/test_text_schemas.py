"""What OpenAPI says of filters and parameters is what the API takes."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.api.text_schemas import filter_schema, text_schema
from sluice.datasets.model import Field
from sluice.datasets.types import STORED_TYPES
from sluice.querying.filters import parse_filters

TYPES = sorted({each.name for each in STORED_TYPES.values()} - {"jsonb"})


@pytest.mark.parametrize("kind", TYPES)
def test_a_filter_that_the_pattern_allows_is_taken(kind: str) -> None:
    column = Field("x", kind, nullable=True)

    @given(st.from_regex(filter_schema(column)["pattern"], fullmatch=True))
    @settings(max_examples=100)
    def is_taken(text: str) -> None:
        (found,) = parse_filters([("x", text)], {"x": column})
        assert text.startswith(f"{found.operator}.")

    is_taken()


@pytest.mark.parametrize("kind", TYPES)
def test_the_pattern_of_a_type_allows_its_example(kind: str) -> None:
    stored = STORED_TYPES[kind]
    text = str(stored.example).lower() if kind == "boolean" else str(stored.example)
    assert re.search(text_schema(stored)["pattern"], text)


@pytest.mark.parametrize(
    ("kind", "text", "is_allowed"),
    [
        ("integer", "2147483647", True),
        ("integer", "2147483648", False),
        ("bigint", "9223372036854775807", True),
        ("bigint", "9223372036854775808", False),
        ("date", "2020-02-29", True),
        ("date", "2000-02-29", True),
        ("date", "1900-02-29", False),
        ("date", "2021-02-29", False),
        ("date", "2021-04-31", False),
        ("date", "0000-01-01", False),
        ("text", "a\0", False),
    ],
)
def test_the_pattern_of_a_type_has_its_limits(kind: str, text: str, is_allowed: bool) -> None:
    assert bool(re.search(text_schema(STORED_TYPES[kind])["pattern"], text)) == is_allowed
