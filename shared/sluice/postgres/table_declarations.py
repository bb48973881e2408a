"""Creates the stored table of a dataset from its `table.sql`: one CREATE TABLE, and indexes on it.

PostgreSQL parses and runs each statement alone, in the caller's transaction; its catalog shows what was made.
So this knows of SQL only how statements begin and end.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sluice.datasets.identifiers import store_table
from sluice.datasets.model import INGESTION_COLUMN, Dataset
from sluice.datasets.sql_text import SqlStatement, line_of, split_statements, words
from sluice.errors import DeclarationError
from sluice.postgres.connection import line_of_error, refusals, run_bound
from sluice.postgres.dependencies import refuse_functions
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FILE = "table.sql"


def make_declared_table(connection: Connection, dataset: Dataset) -> None:
    """Create the table that `table.sql` describes.

    Raises:
        DeclarationError: it does anything else, or its table is not that of the declared columns.
    """
    statements = split_statements(dataset.table_sql)
    for number, each in enumerate(statements):
        _check_kind(dataset, each, is_first=number == 0)
    if not statements:
        raise DeclarationError(f"has no CREATE TABLE store.{dataset.name}", file=_FILE, line=1)
    for each in statements:
        with refusals(partial(_refusal, each)):
            run_bound(connection, each.text, ())
    _check_made(connection, dataset)


def _refusal(sent: SqlStatement, message: str, error: Exception) -> DeclarationError:
    line = sent.line + line_of_error(error, sent.text) - 1
    return DeclarationError(message, file=_FILE, line=line)


def _check_kind(dataset: Dataset, found: SqlStatement, *, is_first: bool) -> None:
    """Check how a statement begins and, where more could follow, how it ends."""
    table = ["store", ".", dataset.name]
    match [each.strip('"') for each in words(found.text)]:
        case ["create", "table", a, b, c, "(", *rest] if is_first and [a, b, c] == table:
            if _is_storage(_after_parenthesis(rest)):
                return
        case ["create", "index", _, "on", a, b, c, *_] | [
            "create",
            "unique",
            "index",
            _,
            "on",
            a,
            b,
            c,
            *_,
        ] if not is_first and [a, b, c] == table:
            return
    raise DeclarationError(
        f"has one CREATE TABLE store.{dataset.name} (...), then any CREATE INDEX name ON"
        f" store.{dataset.name}, and nothing else",
        file=_FILE,
        line=found.line,
    )


def _after_parenthesis(tokens: list[str]) -> list[str]:
    """Return what follows the parenthesis that is open."""
    depth = 1
    for at, each in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(each, 0)
        if depth == 0:
            return tokens[at + 1 :]
    return tokens


def _is_storage(tokens: list[str]) -> bool:
    """Whether nothing follows the columns, or parameters of the storage."""
    return not tokens or (tokens[:2] == ["with", "("] and not _after_parenthesis(tokens[2:]))


def _check_made(connection: Connection, dataset: Dataset) -> None:
    facts: Any = connection.execute(
        statement("facts_of_store_table"), {"table": store_table(dataset.name)}
    ).one()
    declared = {each.name for each in dataset.fields} | {INGESTION_COLUMN}
    if different := sorted(declared ^ set(facts.columns)):
        raise _error(
            dataset, different[0], "the table has the declared columns and ingestion, and no others"
        )
    if facts.unusual:
        raise _error(dataset, facts.unusual[0], "is not allowed in table.sql")
    for name in facts.names:
        if not name.startswith(f"{dataset.name}_") or name.startswith(f"{dataset.name}__"):
            detail = (
                f"begin the name of an index or constraint with {dataset.name}_, and one _ only"
            )
            raise _error(dataset, name, detail)
    try:
        refuse_functions(connection, dataset.table_sql, facts.tree)
    except DeclarationError as error:
        raise error.in_file(_FILE, 1) from None


def _error(dataset: Dataset, name: str, detail: str) -> DeclarationError:
    line = line_of(dataset.table_sql, name)
    return DeclarationError(f"{name}: {detail}", file=_FILE, line=line, key=name)
