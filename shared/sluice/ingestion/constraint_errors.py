"""Translates PostgreSQL's errors about rows that the declaration allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluice.errors import RowsRefusedError
from sluice.postgres.connection import message_of, refuses_value, sqlstate


@contextmanager
def constraint_errors(where: str = "", *, is_masked: bool = False) -> Iterator[None]:
    """Turn PostgreSQL's error about a row into a permanent one: it would refuse the row again.

    Args:
        where: place of the rows in the file, such as `lines from 17`, where known.
        is_masked: whether the rows have personal data, which PostgreSQL's message may repeat.

    Raises:
        RowsRefusedError: a value is out of range, or violates a constraint of the table.
    """
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    try:
        yield
    except DBAPIError as error:
        if not refuses_value(error):
            raise
        place = f"{where}: " if where else ""
        why = f"SQLSTATE {sqlstate(error)}" if is_masked else message_of(error)
        raise RowsRefusedError(
            f"{place}the database refuses a row: {why}. "
            "Declare the rule as a check, so that such rows become rejects, and retry"
        ) from error
