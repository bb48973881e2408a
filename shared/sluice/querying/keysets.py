"""Orders and keyset cursors: a page begins after the last row of the previous one, at the same cost.

Nulls sort as PostgreSQL sorts them, as if larger than any value. A cursor holds the sort values of
the last row of a page as texts; its signature binds it to one order.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sluice.datasets.identifiers import quote
from sluice.datasets.model import Field
from sluice.errors import ParameterError
from sluice.querying.filters import Bindings

#: A row's position in its table: the tie-breaker of datasets without a key.
PLACE_TYPE = "tid"
R = TypeVar("R")


@dataclass(frozen=True)
class Term:
    """One column of an order."""

    column: Field
    is_descending: bool = False

    @property
    def sql(self) -> str:
        """The term as ORDER BY writes it."""
        return quote(self.column.name) + (" DESC" if self.is_descending else "")

    def __str__(self) -> str:
        return self.column.name + (".desc" if self.is_descending else "")


@dataclass(frozen=True)
class Order:
    """A total order: no two rows are equal in all terms."""

    terms: tuple[Term, ...]

    @property
    def sql(self) -> str:
        """The ORDER BY list."""
        return ", ".join(term.sql for term in self.terms)

    @property
    def keyset_sql(self) -> str:
        """The JSON array of a row's sort values as texts, an SQL expression of type text."""
        texts = ", ".join(f"CAST({quote(term.column.name)} AS text)" for term in self.terms)
        return f"CAST(json_build_array({texts}) AS text)"

    def cursor(self, keyset: str) -> str:
        """Return the cursor that points after the row with this keyset."""
        document = json.dumps([str(self), json.loads(keyset)], separators=(",", ":"))
        return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")

    def page(self, rows: Sequence[R], limit: int) -> tuple[Sequence[R], str | None]:
        """Return the first rows, and the cursor of the following ones where there are more.

        Args:
            rows: in this order, with its columns as attributes; one more than the limit, if there are more.
            limit: rows of a page.
        """
        page = rows[:limit]
        if len(rows) == len(page):
            return page, None
        return page, self.cursor(
            json.dumps([str(getattr(page[-1], term.column.name)) for term in self.terms])
        )

    def read_cursor(self, cursor: str) -> tuple[str | None, ...]:
        """Return the sort values that a cursor holds.

        Raises:
            ParameterError: it is not a cursor, or belongs to another order.
        """
        try:
            signature, values = json.loads(
                base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            )
            self._check(values)
        except (ValueError, TypeError, RecursionError):
            raise ParameterError(
                "cursor: not one that this API returned; use `next` of the previous page",
                parameter="cursor",
            ) from None
        if signature != str(self):
            raise ParameterError(
                f"cursor: it is for the order {signature}; use the same `order` for all pages",
                parameter="cursor",
            )
        return tuple(values)

    def _check(self, values: object) -> None:
        if not isinstance(values, list):
            raise TypeError(values)
        for term, value in zip(self.terms, values, strict=False):
            if value is not None and term.column.postgres_type != PLACE_TYPE:
                term.column.stored.parse(value)

    def after(self, values: Sequence[str | None], bindings: Bindings) -> str:
        """Return the condition for the rows after these sort values."""
        if self._is_row_comparison and None not in values:
            names = ", ".join(quote(term.column.name) for term in self.terms)
            bound = ", ".join(
                _bind(term, value, bindings) for term, value in zip(self.terms, values, strict=True)
            )
            return f"({names}) {'<' if self.terms[0].is_descending else '>'} ({bound})"
        return self._lexicographic(values, bindings)

    @property
    def _is_row_comparison(self) -> bool:
        """Whether one row comparison, which an index supports, expresses the order."""
        directions = {term.is_descending for term in self.terms}
        return len(directions) == 1 and not any(term.column.nullable for term in self.terms)

    def _lexicographic(self, values: Sequence[str | None], bindings: Bindings) -> str:
        alternatives = []
        equal: list[str] = []
        for term, value in zip(self.terms, values, strict=True):
            alternatives.append(" AND ".join([*equal, _follows(term, value, bindings)]))
            name = quote(term.column.name)
            same = "IS NULL" if value is None else f"= {_bind(term, value, bindings)}"
            equal.append(f"{name} {same}")
        return "(" + " OR ".join(f"({each})" for each in alternatives) + ")"

    def __str__(self) -> str:
        return ",".join(str(term) for term in self.terms)


def _bind(term: Term, value: str | None, bindings: Bindings) -> str:
    return bindings.add(value or "", term.column.postgres_type)


def _follows(term: Term, value: str | None, bindings: Bindings) -> str:
    name = quote(term.column.name)
    if value is None:
        return f"{name} IS NOT NULL" if term.is_descending else "FALSE"
    if term.is_descending:
        return f"{name} < {_bind(term, value, bindings)}"
    return f"({name} > {_bind(term, value, bindings)} OR {name} IS NULL)"


def parse_order(text: str, columns: Mapping[str, Field], tie_breakers: Sequence[Field]) -> Order:
    """Parse `a.desc,b` into a total order.

    Args:
        text: column names, each optionally followed by `.asc` or `.desc`.
        columns: the columns to order by, by name.
        tie_breakers: columns that together identify a row.

    Raises:
        ParameterError: an unknown column or direction, or a column given twice.
    """
    terms = [_term(each.strip(), columns) for each in text.split(",") if each.strip()]
    names = [term.column.name for term in terms]
    if len(set(names)) < len(names):
        raise ParameterError(f"order: {text}: a column is named twice", parameter="order")
    # Tie-breakers have the direction of the last term, so that one row comparison can express the order.
    is_descending = terms[-1].is_descending if terms else False
    ties = [Term(each, is_descending) for each in tie_breakers if each.name not in names]
    return Order((*terms, *ties))


def _term(text: str, columns: Mapping[str, Field]) -> Term:
    name, _, direction = text.partition(".")
    if name not in columns:
        raise ParameterError(
            f"order: {name}: no such column; columns are {', '.join(columns)}", parameter="order"
        )
    if direction not in ("", "asc", "desc"):
        raise ParameterError(f"order: {text}: write {name}.asc or {name}.desc", parameter="order")
    if not columns[name].stored.is_sortable:
        kind = columns[name].postgres_type
        raise ParameterError(
            f"order: {name}: the column is {kind}, which has no order", parameter="order"
        )
    return Term(columns[name], direction == "desc")
