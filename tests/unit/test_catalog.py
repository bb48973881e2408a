"""Names of datasets in a statement, which may come from a URL or from the text of a query."""

from __future__ import annotations

import pytest

from sluice.postgres.catalog import names_literal


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (("trips",), """'{"trips"}'"""),
        (("null", "a_1"), """'{"null","a_1"}'"""),
        (("trips'; DROP TABLE x; --",), "'{}'"),
        (("a,b", 'a"b', "a\\", "a}", "a\n", "", "é", "x" * 49, "trips"), """'{"trips"}'"""),
    ],
    ids=["a name", "a word that arrays read as null", "a literal's end", "what is no name"],
)
def test_only_names_enter_the_statement(names: tuple[str, ...], listed: str) -> None:
    assert names_literal(names) == listed
