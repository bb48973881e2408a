"""How large a declaration may be: what is beyond occupies PostgreSQL, DuckDB and each loader for minutes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sluice.datasets.sql_text import comment_depth
from sluice.errors import DeclarationError

#: Of one text, such as a query.
MAX_TEXT_CHARACTERS = 64 * 1024
#: Of one list or table, such as `nulls` or `queries`.
MAX_ITEMS = 2_000
#: Of a table of SQL: each is checked by PostgreSQL or DuckDB.
MAX_STATEMENTS = 200
#: Of all lists and tables together.
MAX_VALUES = 50_000
#: Comments in each other.
MAX_COMMENT_DEPTH = 32
_SQL = ("queries", "rollups", "projections", "aliases")


def check_size(document: Mapping[str, Any]) -> None:
    """Refuse a declaration that is too large to be checked and applied in time.

    Raises:
        DeclarationError: names the key, and its limit.
    """
    count = 0
    for path, value in _values(document, ""):
        count += 1
        if isinstance(value, str):
            _check_text(path, value)
        elif isinstance(value, list | dict) and len(value) > MAX_ITEMS:
            raise DeclarationError(
                f"has {len(value):,} items, and at most {MAX_ITEMS:,} are allowed", key=path
            )
    for key in _SQL:
        _check_count(key, document.get(key))
    columns = document.get("columns")
    columns = columns if isinstance(columns, list) else []
    checks = [
        each
        for column in columns
        if isinstance(column, dict) and isinstance(column.get("checks"), list)
        for each in column["checks"]
    ]
    _check_count("checks", checks)
    if count > MAX_VALUES:
        raise DeclarationError(
            f"the declaration has {count:,} values, and at most {MAX_VALUES:,} are allowed"
        )


def _values(value: object, path: str) -> Iterator[tuple[str, object]]:
    yield path, value
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _values(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _values(each, f"{path}[{number}]")


def _check_text(path: str, text: str) -> None:
    if len(text) > MAX_TEXT_CHARACTERS:
        raise DeclarationError(
            f"has {len(text):,} characters, and at most {MAX_TEXT_CHARACTERS:,} are allowed",
            key=path,
        )
    may_be_deep = text.count("/*") > MAX_COMMENT_DEPTH
    if may_be_deep and comment_depth(text) > MAX_COMMENT_DEPTH:
        raise DeclarationError(
            f"has comments in comments, more than {MAX_COMMENT_DEPTH} deep; write them side by side",
            key=path,
        )


def _check_count(key: str, value: object) -> None:
    if isinstance(value, list | dict) and len(value) > MAX_STATEMENTS:
        raise DeclarationError(
            f"has {len(value):,} items, and at most {MAX_STATEMENTS} are allowed", key=key
        )
