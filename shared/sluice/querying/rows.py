"""Parses requests of the rows route against their dataset, and compiles them to SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

from sluice.csv.rejects import MASK
from sluice.datasets.identifiers import literal, quote, view
from sluice.datasets.model import INGESTION_COLUMN, Dataset, Field
from sluice.errors import ForbiddenError, NotFoundError, ParameterError, TooLargeError
from sluice.querying.filters import (
    PREFIX,
    Bindings,
    Filter,
    condition,
    conjunction,
    is_filter,
    parse_filters,
    parse_list,
)
from sluice.querying.keysets import PLACE_TYPE, Order, parse_order
from sluice.querying.measures import Grouping, parse_grouping
from sluice.querying.parameters import read_count

#: Parameters of the route that are not filters.
RESERVED = ("select", "order", "limit", "cursor", "group", "measure", "format")
_LISTS = ("select", "order", "group", "measure")

#: Column of the reader views of datasets without a key: the row's position in its table.
PLACE_COLUMN = "_place"


@dataclass(frozen=True)
class Statement:
    """An SQL text with its values by placeholder."""

    sql: str
    values: Mapping[str, object]


@dataclass(frozen=True)
class RowsRequest:
    """A client's request for rows of a dataset.

    Attributes:
        fields: the columns of the result.
        has_select: whether the client chose them.
        limit: rows of a page; None for all.
        after: sort values of the last row of the previous page.
        hidden: columns whose values are masked.
    """

    dataset: Dataset
    fields: tuple[Field, ...]
    has_select: bool
    filters: tuple[Filter, ...]
    order: Order
    has_order: bool
    limit: int | None
    after: tuple[str | None, ...]
    grouping: Grouping | None
    hidden: frozenset[str] = frozenset()

    @property
    def is_of_files(self) -> bool:
        """Whether a CSV of the result is a file that the dataset loads: of rows without masked values."""
        return self.grouping is None and not any(each.name in self.hidden for each in self.fields)

    @property
    def is_of_headerless_files(self) -> bool:
        """Whether a CSV of the result has no header, as the files of the dataset have none."""
        return self.is_of_files and not (self.dataset.dialect.header or self.has_select)

    def check_hidden(self) -> None:
        """Check that nothing but the values of the result depends on hidden columns.

        Raises:
            ForbiddenError: a filter, an order, a group or a measure would show their values.
        """
        used = [each.column for each in self.filters]
        if self.grouping is not None:
            used += [*self.grouping.columns]
            used += [each.column for each in self.grouping.measures if each.column is not None]
        elif self._is_ordered:
            used += [each.column for each in self.order.terms]
        for each in used:
            check_visible(each.name, self.hidden)

    def as_file(self) -> Self:
        """Return the request for the columns of a CSV; a file without header has the declared ones."""
        return replace(self, fields=self.dataset.fields) if self.is_of_headerless_files else self

    def page(self, max_rows: int, *, is_json: bool = True) -> Statement:
        """Return the statement that reads the rows.

        Args:
            max_rows: most rows of a result without a limit.
            is_json: whether PostgreSQL writes the rows as JSON; elsewhere values of JSON are texts, because
                the driver would not keep their digits.
        """
        bindings = Bindings()
        listed = ", ".join(_listed(each, self.hidden, is_json=is_json) for each in self.fields)
        limit = max_rows if self.limit is None else self.limit
        ordered = f" ORDER BY {self.order.sql}" if self._is_ordered else ""
        return Statement(
            f"SELECT {listed} FROM {self._source(bindings)}{ordered} LIMIT {limit}",
            bindings.values,
        )

    def last_keyset(self) -> Statement:
        """Return the statement with the keyset of the page's last row, and a second row if more follow."""
        bindings = Bindings()
        return Statement(
            f"SELECT {self.order.keyset_sql} FROM {self._source(bindings)}"
            f" ORDER BY {self.order.sql} OFFSET {(self.limit or 1) - 1} LIMIT 2",
            bindings.values,
        )

    def count(self, at_most: int) -> Statement:
        """Return the statement that counts the rows of the result, up to a number."""
        bindings = Bindings()
        source = self._source(bindings)
        return Statement(
            f"SELECT count(*) FROM (SELECT FROM {source} LIMIT {at_most}) AS counted",
            bindings.values,
        )

    @property
    def _is_ordered(self) -> bool:
        """Whether the rows must be sorted: not if all are requested without an order."""
        return self.has_order or self.limit is not None or self.grouping is not None

    def _source(self, bindings: Bindings) -> str:
        """Return what follows FROM, up to its WHERE clause."""
        name = view(self.dataset.name)
        matching = conjunction([condition(each, bindings) for each in self.filters])
        following = self.order.after(self.after, bindings) if self.after else "TRUE"
        if self.grouping is not None:
            return f"({self.grouping.sql(name, matching)}) AS grouped WHERE {following}"
        return f"{name} WHERE {matching} AND {following}"


def check_visible(name: str, hidden: Collection[str]) -> None:
    """Check that a column is not hidden.

    Raises:
        ForbiddenError: it is.
    """
    if name in hidden:
        raise ForbiddenError(
            f"{name}: has personal data, which the caller does not see, so it can be neither filtered nor"
            " ordered by nor aggregated; where it is a key, read all rows with format=ndjson"
        )


def _listed(column: Field, hidden: Collection[str], *, is_json: bool) -> str:
    """Return a column as a SELECT lists it."""
    name = quote(column.name)
    if column.name in hidden:
        return f"CAST({literal(MASK)} AS text) AS {name}"
    return name if is_json or column.stored.is_sortable else f"CAST({name} AS text) AS {name}"


def parse_rows_request(
    dataset: Dataset,
    arguments: Iterable[tuple[str, str]],
    max_rows: int,
    hidden: frozenset[str] = frozenset(),
) -> RowsRequest:
    """Parse the query string of the rows route.

    Args:
        dataset: whose rows.
        arguments: the pairs of the query string.
        max_rows: most rows that a page may have.
        hidden: columns whose values are masked; see `RowsRequest.check_hidden`.

    Raises:
        ParameterError, FilterError, TooLargeError: names the parameter and what it takes.
    """
    pairs = list(arguments)
    refuse_filters_by_parameters(dataset, pairs)
    given = _reserved(pairs)
    columns = readable_columns(dataset)
    grouping = parse_grouping(given.get("group", ""), given.get("measure", ""), columns)
    answered = {each.name: each for each in grouping.fields} if grouping else columns
    ties = grouping.columns or grouping.fields if grouping else tie_breakers(dataset)
    order = parse_order(given.get("order", ""), answered, ties)
    cursor = given.get("cursor", "")
    return RowsRequest(
        dataset=dataset,
        fields=_selected(given.get("select", ""), answered),
        has_select="select" in given,
        filters=parse_filters([pair for pair in pairs if pair[0] not in RESERVED], columns),
        order=order,
        has_order="order" in given,
        limit=parse_limit(given.get("limit"), max_rows),
        after=order.read_cursor(cursor) if cursor else (),
        grouping=grouping,
        hidden=hidden,
    )


def refuse_filters_by_parameters(dataset: Dataset, arguments: Iterable[tuple[str, str]]) -> None:
    """Check that no parameter of the route is given what is meant as a filter on a column.

    Raises:
        ParameterError: names the spelling of the filter.
    """
    columns = readable_columns(dataset)
    for name, text in arguments:
        first = text.partition(".")[0]
        if name in RESERVED and name in columns and is_filter(text) and first not in columns:
            raise ParameterError(
                f"{name}: is a parameter here; filter the column with {PREFIX}{name}={text}",
                parameter=name,
            )


def readable_columns(dataset: Dataset) -> dict[str, Field]:
    """Return the columns that readers see, by name: those of the dataset, and the ingestion."""
    ingestion = Field(INGESTION_COLUMN, "integer", nullable=False)
    return {each.name: each for each in (*dataset.fields, ingestion)}


def tie_breakers(dataset: Dataset) -> tuple[Field, ...]:
    """Return the columns that identify a row of a dataset."""
    columns = readable_columns(dataset)
    if not dataset.key:
        return (Field(PLACE_COLUMN, PLACE_TYPE, nullable=False),)
    return tuple(Field(name, columns[name].postgres_type, nullable=False) for name in dataset.key)


def _reserved(pairs: list[tuple[str, str]]) -> dict[str, str]:
    given = [pair for pair in pairs if pair[0] in RESERVED]
    for name in {name for name, _ in given}:
        if sum(each == name for each, _ in given) > 1:
            raise ParameterError(f"{name}: given more than once", parameter=name)
    for name, text in given:
        if name in _LISTS and not text.strip():
            raise ParameterError(f"{name}: is empty; leave it out", parameter=name)
    return dict(given)


def parse_limit(text: str | None, max_rows: int) -> int | None:
    """Read a number of rows.

    Raises:
        ParameterError: it is not a positive whole number.
        TooLargeError: it is more than allowed.
    """
    if text is None:
        return None
    number = read_count(text)
    if not number:
        raise ParameterError(
            f'limit: "{text[:20]}" is not a positive whole number', parameter="limit"
        )
    if number > max_rows:
        raise TooLargeError(
            f"limit: {text[:20]} is more than the maximum of {max_rows:,} rows;"
            " page with limit and cursor",
            parameter="limit",
            max_rows=max_rows,
        )
    return number


def _selected(text: str, columns: Mapping[str, Field]) -> tuple[Field, ...]:
    names = [each.strip() for each in text.split(",") if each.strip()]
    unknown = [name for name in names if name not in columns]
    if unknown or len(set(names)) < len(names):
        what = f"{', '.join(unknown)}: no such column" if unknown else "a column is named twice"
        raise ParameterError(
            f"select: {what}; columns are {', '.join(columns)}", parameter="select"
        )
    return tuple(columns[name] for name in names or columns)


def row_by_key(dataset: Dataset, key: str, hidden: frozenset[str] = frozenset()) -> Statement:
    """Return the statement for the row of a key; a key of several columns is a list `a,b`.

    Raises:
        NotFoundError: the dataset has no key.
        ParameterError: the text is not a key of this dataset.
        ForbiddenError: the key is hidden.
    """
    if not dataset.key:
        raise NotFoundError(
            f"{dataset.name} has no key; find rows with filters: /v1/datasets/{dataset.name}/rows"
        )
    for name in dataset.key:
        check_visible(name, hidden)
    columns = readable_columns(dataset)
    bindings = Bindings()
    conditions = [
        condition(Filter(columns[name], "eq", (value,)), bindings)
        for name, value in zip(dataset.key, _key_values(dataset, key), strict=True)
    ]
    listed = ", ".join(_listed(each, hidden, is_json=True) for each in columns.values())
    return Statement(
        f"SELECT {listed} FROM {view(dataset.name)} WHERE {conjunction(conditions)} LIMIT 1",
        bindings.values,
    )


def _key_values(dataset: Dataset, key: str) -> list[str]:
    columns = readable_columns(dataset)
    try:
        values = parse_list(key) if len(dataset.key) > 1 else [key]
        for name, value in zip(dataset.key, values, strict=False):
            columns[name].stored.parse(value)
    except ValueError as error:
        raise ParameterError(f"key {key}: {error}", parameter="key") from None
    if len(values) != len(dataset.key):
        raise ParameterError(f"key {key}: the key is {','.join(dataset.key)}", parameter="key")
    return values
