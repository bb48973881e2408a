"""Datasets and their rows, as the function `query` answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sluice.api import schemas
from sluice.api.formats import FORMATS, JSON_FORMATS, negotiate, write, write_page
from sluice.api.keeping import find_answer, keep_answer, kept_answer
from sluice.api.operations import Argument, Operation
from sluice.api.responses import (
    freshness_headers,
    is_known,
    json_response,
    not_modified,
    stream_response,
)
from sluice.datasets.identifiers import view
from sluice.errors import NotFoundError, TooLargeError
from sluice.postgres.catalog import DatasetVersion, dataset_version, dataset_versions
from sluice.postgres.named_sql import composed
from sluice.querying.reading import BATCH_ROWS, fetch_json, snapshot, stream
from sluice.querying.rows import RowsRequest, Statement, parse_rows_request, row_by_key

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from werkzeug.wrappers import Response

    from sluice.api.operations import Call
    from sluice.datasets.model import Column

#: Rows of a JSON page when the client names no limit; `next` leads on.
PAGE_ROWS = 1000


@contextmanager
def _snapshot(call: Call) -> Iterator[Connection]:
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        yield connection


def _text(connection: Connection, found: Statement) -> Any:  # a CursorResult
    return connection.execute(composed(found.sql), dict(found.values))


def list_datasets(call: Call) -> Response:
    """Answer `GET /v1/datasets`."""
    with _snapshot(call) as connection:
        found = [_summary(connection, each) for each in dataset_versions(connection)]
    return json_response({"datasets": found})


def describe_dataset(call: Call) -> Response:
    """Answer `GET /v1/datasets/{dataset}`."""
    with _snapshot(call) as connection:
        found = dataset_version(connection, call.path["dataset"], has_counts=True)
        headers = freshness_headers(found, "json")
        if is_known(call.request, headers):
            return not_modified(headers)
        return json_response(_description(connection, found), headers=headers)


def _summary(connection: Connection, found: DatasetVersion) -> dict[str, object]:
    return {
        "name": found.dataset.name,
        "description": found.dataset.description,
        "version": found.dataset.version,
        "origin": found.origin,
        "rows": _count(connection, found),
        "freshness": {
            "version": found.freshness,
            "ingestion": found.ingestion,
            "changed_at": found.changed_at.isoformat() if found.changed_at else None,
        },
    }


def _count(connection: Connection, found: DatasetVersion) -> int:
    """Return how many rows readers see: counted where a row may replace another, else added up."""
    if not found.dataset.key:
        return found.rows_loaded or 0
    count = Statement(f"SELECT count(*) FROM {view(found.dataset.name)}", {})
    return int(_text(connection, count).scalar_one())


def _description(connection: Connection, found: DatasetVersion) -> dict[str, object]:
    dataset = found.dataset
    return {
        **_summary(connection, found),
        "columns": [_column_document(each) for each in dataset.columns],
        "key": list(dataset.key),
        "duplicates": str(dataset.duplicates),
        "load": str(dataset.load),
        "reupload": str(dataset.reupload),
        "rollups": [
            {"name": each.name, "description": each.description} for each in dataset.rollups
        ],
        "queries": [{"name": each.name, "summary": each.summary} for each in dataset.queries],
        "declaration": found.document,
    }


def _column_document(column: Column) -> dict[str, object]:
    return {
        "name": column.name,
        "type": str(column.type),
        "description": column.description,
        "required": column.required,
        "headers": list(column.headers),
        "fields": [
            {"name": each.name, "type": each.postgres_type, "nullable": each.nullable}
            for each in column.fields
        ],
    }


def _freshness(connection: Connection, call: Call, kind: str) -> dict[str, str]:
    return freshness_headers(dataset_version(connection, call.path["dataset"]), kind)


def list_rows(call: Call) -> Response:
    """Answer `GET /v1/datasets/{dataset}/rows`."""
    kind = negotiate(call.request)
    max_rows = call.settings.max_rows
    if answer := kept_answer(call, lambda connection: _freshness(connection, call, kind)):
        return answer
    with ExitStack() as stack:
        connection = stack.enter_context(_snapshot(call))
        found = dataset_version(connection, call.path["dataset"])
        wanted = parse_rows_request(found.dataset, call.arguments, max_rows)
        if kind == "json" and wanted.limit is None:
            wanted = replace(wanted, limit=min(PAGE_ROWS, max_rows))
        headers = freshness_headers(found, kind)
        if answer := find_answer(call, headers):
            return answer
        cursor = _next_cursor(connection, wanted, max_rows)
        if cursor:
            headers["Link"] = f'<{_next_url(call, cursor)}>; rel="next"'
        body = _body(connection, wanted.page(max_rows), kind, wanted.limit, cursor)
        return keep_answer(call, stream_response(body, kind, headers, stack))


def _body(
    connection: Connection, page: Statement, kind: str, limit: int | None, cursor: str | None
) -> Iterator[bytes]:
    if kind == "json" and limit is not None and limit <= BATCH_ROWS:
        return write_page(fetch_json(connection, page.sql, page.values), "rows", cursor)
    columns, batches = stream(connection, page.sql, page.values, as_json=kind in JSON_FORMATS)
    return write_page(batches, "rows", cursor) if kind == "json" else write(kind, columns, batches)


def _next_cursor(connection: Connection, wanted: RowsRequest, max_rows: int) -> str | None:
    """Return the cursor behind the page, or None when nothing follows.

    Raises:
        TooLargeError: no limit is given and there are more rows than one answer holds.
    """
    if wanted.limit is None:
        if _text(connection, wanted.count(max_rows + 1)).scalar_one() > max_rows:
            raise TooLargeError(
                f"more than {max_rows:,} rows match, which is the most that one answer holds;"
                " filter, aggregate with group= and measure=, or page with limit= and cursor=",
                max_rows=max_rows,
            )
        return None
    keysets = _text(connection, wanted.last_keyset()).scalars().all()
    return wanted.order.cursor(keysets[0]) if len(keysets) == 2 else None


def _next_url(call: Call, cursor: str) -> str:
    kept = [pair for pair in call.arguments if pair[0] != "cursor"]
    return f"{call.request.path}?{urlencode([*kept, ('cursor', cursor)])}"


def show_row(call: Call) -> Response:
    """Answer `GET /v1/datasets/{dataset}/rows/{key}`."""
    if answer := kept_answer(call, lambda connection: _freshness(connection, call, "json")):
        return answer
    with _snapshot(call) as connection:
        found = dataset_version(connection, call.path["dataset"])
        headers = freshness_headers(found, "json")
        wanted = row_by_key(found.dataset, call.path["key"])
        if answer := find_answer(call, headers):
            return answer
        _, batches = stream(connection, wanted.sql, wanted.values, as_json=True)
        row = _only(batches, f"key {call.path['key']}")
        return keep_answer(call, json_response(row, headers=headers))


def _only(batches: Iterator[Sequence[Sequence[Any]]], what: str) -> Any:  # JSON
    for batch in batches:
        return json.loads(batch[0][0])
    raise NotFoundError(f"{what}: there is no such row")


_INTEGER: Mapping[str, object] = {"type": "integer", "minimum": 1}
FORMAT = Argument(
    "format",
    "Format of the answer; goes before the header Accept.",
    {"type": "string", "enum": list(FORMATS)},
)
LIMIT = Argument("limit", "Most rows of the answer.", _INTEGER)
CURSOR = Argument("cursor", "`next` of the page before.")

OPERATIONS = (
    Operation(
        "GET", "/v1/datasets", list_datasets, "listDatasets",
        "Lists the datasets, each with its number of published rows and its freshness.",
        "Datasets", answer=schemas.list_of("datasets", "Dataset"),
    ),
    Operation(
        "GET", "/v1/datasets/{dataset}", describe_dataset, "describeDataset",
        "Describes a dataset: columns, key, policies, queries, freshness, declaration.",
        "Datasets", answer=schemas.ref("DatasetDescription"),
    ),
    Operation(
        "GET", "/v1/datasets/{dataset}/rows", list_rows, "listRows",
        "Answers the published rows of a dataset: filtered, ordered, paged or aggregated.",
        "Rows",
        description=(
            "Filters are `column=op.value`, and all have to hold: `eq` `ne` `lt` `le` `gt` `ge`,"
            " `in.(a,b)`, `like` and `ilike` with `*` for any text, `is.null`, `is.not_null`,"
            f" `is.true`, `is.false`. JSON without a limit holds {PAGE_ROWS} rows and leads on with"
            " `next`; the other formats hold all rows, up to the limit of the service, beyond which"
            " the request is refused. With a limit, the header Link leads on in every format."
            " Numbers of type numeric are doubles in parquet and arrow, and exact elsewhere."
        ),
        answer=schemas.page_of("rows", {"type": "object"}),
        formats=tuple(FORMATS),
        arguments=(
            Argument("select", "Columns of the answer, separated by commas; all when left out."),
            Argument("order", "Columns to order by: `a.desc,b`."),
            LIMIT,
            CURSOR,
            Argument("group", "Columns to group by, separated by commas."),
            Argument(
                "measure",
                "What to measure of each group: `count`, `sum(a)`, `avg(a)`, `min(a)`, `max(a)`,"
                " `count_distinct(a)`, separated by commas.",
            ),
            FORMAT,
        ),
    ),
    Operation(
        "GET", "/v1/datasets/{dataset}/rows/{key}", show_row, "showRow",
        "Answers the row of a key; a key of several columns is written `a,b`.",
        "Rows", answer={"type": "object"},
    ),
)  # fmt: skip
