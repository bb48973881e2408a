"""Rows of datasets: read with filters, order and pages; posted, with the outcome of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from werkzeug.wrappers import Response

from sluice.api import pages
from sluice.api.bodies import MAX_DATA_BYTES
from sluice.api.conditional import conditional, freshness_headers
from sluice.api.formats import (
    COLUMNAR_FORMATS,
    JSON_FORMATS,
    MEDIA_TYPES,
    ROW_FORMATS,
    negotiate,
    write,
    write_file,
    write_headerless_file,
    write_page,
)
from sluice.api.operations import CURSOR, LIMIT, Argument, Call, names_schema, operation
from sluice.api.responses import attachment, json_response, stream_response
from sluice.api.schemas import record
from sluice.datasets.identifiers import NAME
from sluice.documents import ingestions as documents
from sluice.documents.datasets import RowPage
from sluice.documents.document import to_json
from sluice.errors import (
    BodyError,
    DeclarationChangedError,
    NotFoundError,
    ParameterError,
    RowsRefusedError,
    SluiceError,
    TooLargeError,
)
from sluice.parsing.json_rows import read_json
from sluice.postgres.catalog import DatasetVersion, cached_dataset, dataset_version
from sluice.querying.reading import BATCH_ROWS, fetch_json, read, stream
from sluice.querying.rows import (
    RowsRequest,
    parse_rows_request,
    refuse_filters_by_parameters,
    row_by_key,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Dataset
    from sluice.ingestion.idempotency import IdempotencyKey, InsertResult

#: Rows of a page when the client sets no limit.
_PAGE_ROWS = {"json": 1000, "html": pages.PAGE_ROWS}
#: Rows of a posted request.
MAX_ROWS = 1000
MAX_KEY_CHARACTERS = 255
KEY_HEADER = "Idempotency-Key"

FORMAT = Argument(
    "format",
    "Format of the answer; takes precedence over the header Accept.",
    {"type": "string", "enum": list(ROW_FORMATS)},
)
_IDEMPOTENCY_KEY = Argument(
    KEY_HEADER,
    "Makes the request take effect once, however often it is sent: a repetition gets the same"
    " answer, another body under the same key 422. Kept for a week.",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS},
    place="header",
)
_ROWS = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_ROWS,
    "items": {"description": "An object, or a list of cells; anything else is a rejected row."},
}
_ROWS_OF_ONE = {"anyOf": [_ROWS, {**record({"rows": _ROWS}), "additionalProperties": False}]}
_NAMES = names_schema(NAME.pattern)
_LIST = {"type": "string", "minLength": 1}


def _current(call: Call, connection: Connection) -> tuple[DatasetVersion, dict[str, str]]:
    found = dataset_version(connection, call.path["dataset"])
    refuse_filters_by_parameters(found.dataset, call.arguments)
    kind = "json" if "key" in call.path else negotiate(call.request, ROW_FORMATS)
    variant = f"{kind}-masked" if call.caller.hidden_fields(found.dataset) else kind
    return found, freshness_headers(found, variant)


@operation(
    "listRows",
    "Rows",
    answer=RowPage,
    formats=ROW_FORMATS,
    arguments=(
        Argument("select", "Columns of the answer, separated by commas; all by default.", _NAMES),
        Argument("order", "Columns to order by: `a.desc,b`.", _LIST),
        LIMIT,
        CURSOR,
        Argument("group", "Columns to group by, separated by commas.", _NAMES),
        Argument(
            "measure",
            "What to measure of each group: `count`, `sum(a)`, `avg(a)`, `min(a)`, `max(a)`,"
            " `count_distinct(a)`, separated by commas.",
            _LIST,
        ),
        FORMAT,
    ),
    refusals=(406,),
    statuses=(304,),
)
@conditional(_current)
def list_rows(call: Call, connection: Connection, found: DatasetVersion) -> Response:
    """Return the published rows of a dataset: filtered, ordered, paged or aggregated.

    Filters are `column=op.value`, and all must hold: `eq` `ne` `lt` `le` `gt` `ge`, `in.(a,b)`,
    `like` and `ilike` with `*` for any text, `is.null`, `is.not_null`, `is.true`, `is.false`.
    `filter.column=op.value` is the same, also for a column called like a parameter.

    JSON without a limit is a page of 1000 rows; `next` is the cursor of the following page. HTML is
    a table of 100 rows with links to the following page, for a browser. The other formats have all
    rows, up to the limit of the service, above which the request is refused. With a limit, the
    header Link has the following page in every format. A CSV is a file that the dataset loads; if
    its files have no header, neither has the CSV, unless `select` is given, and the media type has
    `header=absent`. `spreadsheet` is a CSV to be opened in a spreadsheet: a text that it would
    execute as a formula begins with an apostrophe. Values of type numeric are decimals in parquet
    and arrow, or texts if they have more digits than a decimal.

    Columns with personal data (`pii`) are `***` for a caller without the right to see them, who can
    neither filter, order, group nor measure by them.
    """
    kind = negotiate(call.request, ROW_FORMATS)
    max_rows = call.settings.max_rows
    hidden = call.caller.hidden_fields(found.dataset)
    wanted = parse_rows_request(found.dataset, call.arguments, max_rows, hidden)
    if kind in _PAGE_ROWS and wanted.limit is None:
        wanted = replace(wanted, limit=min(_PAGE_ROWS[kind], max_rows))
    wanted.check_hidden()
    if kind == "csv":
        wanted = wanted.as_file()
    cursor = _next_cursor(connection, wanted, max_rows)
    headers = {"Link": f'<{_next_url(call, cursor)}>; rel="next"'} if cursor else {}
    if kind == "html":
        return _page(call, connection, found, wanted, cursor, headers)
    if kind == "spreadsheet":
        headers["Content-Disposition"] = attachment(found.dataset.name)
    response = stream_response(_body(connection, wanted, kind, cursor, max_rows), kind, headers)
    if kind == "csv" and wanted.is_of_files:
        response.mimetype_params["charset"] = found.dataset.dialect.encoding
    if kind == "csv" and wanted.is_of_headerless_files:
        response.mimetype_params["header"] = "absent"  # RFC 4180
    return response


def _page(
    call: Call,
    connection: Connection,
    found: DatasetVersion,
    wanted: RowsRequest,
    cursor: str | None,
    headers: Mapping[str, str],
) -> Response:
    statement = wanted.page(call.settings.max_rows, is_json=False)
    _, batches = stream(connection, statement.sql, statement.values)
    rows = [pages.shortened(row) for row in itertools.chain.from_iterable(batches)]
    body = pages.rows_page(found, wanted, call.arguments, rows, cursor)
    return Response(body, headers=headers, content_type=MEDIA_TYPES["html"])


def _body(
    connection: Connection, wanted: RowsRequest, kind: str, cursor: str | None, max_rows: int
) -> Iterator[bytes]:
    page = wanted.page(max_rows, is_json=kind in JSON_FORMATS)
    if kind == "json" and wanted.limit is not None and wanted.limit <= BATCH_ROWS:
        batch = fetch_json(connection, page.sql, page.values)
        if batch is not None:
            return write_page(batch, "rows", lambda: cursor)
    columns, batches = stream(
        connection,
        page.sql,
        page.values,
        as_json=kind in JSON_FORMATS,
        counts_digits=kind in COLUMNAR_FORMATS,
    )
    if kind == "csv" and wanted.is_of_files:
        if wanted.is_of_headerless_files:
            return write_headerless_file(wanted.dataset, columns, batches)
        return write_file(wanted.dataset, columns, batches)
    if kind == "json":
        return write_page(batches, "rows", lambda: cursor)
    return write(kind, columns, batches)


def _next_cursor(connection: Connection, wanted: RowsRequest, max_rows: int) -> str | None:
    """Return the cursor of the following page, or None if there is none.

    Raises:
        TooLargeError: there is no limit and more rows match than one answer may have.
    """
    if wanted.limit is None:
        count = wanted.count(max_rows + 1)
        if read(connection, count.sql, count.values).rows[0][0] > max_rows:
            raise TooLargeError(
                f"more than {max_rows:,} rows match, the most that one answer may have;"
                " filter, aggregate with group= and measure=, or page with limit= and cursor=",
                max_rows=max_rows,
            )
        return None
    last = wanted.last_keyset()
    keysets = read(connection, last.sql, last.values).rows
    return wanted.order.cursor(keysets[0][0]) if len(keysets) == 2 else None


def _next_url(call: Call, cursor: str) -> str:
    kept = [pair for pair in call.arguments if pair[0] != "cursor"]
    return f"{call.request.path}?{urlencode([*kept, ('cursor', cursor)])}"


@operation("showRow", "Rows", answer={"type": "object"}, statuses=(304,))
@conditional(_current)
def show_row(call: Call, connection: Connection, found: DatasetVersion) -> Response:
    """Return the row of a key; write a key of several columns as `a,b`."""
    hidden = call.caller.hidden_fields(found.dataset)
    wanted = row_by_key(found.dataset, call.path["key"], hidden)
    _, batches = stream(connection, wanted.sql, wanted.values, as_json=True)
    for batch in batches:
        return stream_response(iter([f"{batch[0][0]}\n".encode()]), "json")
    raise NotFoundError(f"key {call.path['key']}: there is no such row")


class NothingLoadedError(RowsRefusedError):
    """The dataset loads all rows of a request or none, and one is rejected."""

    code = "CSV113"
    remedy = "fix the row and send all of them again"
    title = "No row is loaded"


@operation(
    "postRows",
    "Rows",
    answer=documents.InsertedRows,
    arguments=(_IDEMPOTENCY_KEY,),
    body=_ROWS_OF_ONE,
    max_body_bytes=MAX_DATA_BYTES,
)
def post_rows(call: Call) -> Response:
    """Load and publish 1 to 1000 rows, and return the outcome of each.

    A row is an object by column names or headers, or a list of all cells. Each is typed and
    checked by the rules of the dataset's files, and is `loaded`, a `duplicate`, or `rejected` with
    column, rule and reason; rejects are kept like those of a file. The rows are an ingestion of
    their own: it has an account and events, and can be undone.
    """
    body = parse_body(call.request.get_data())
    rows = body.get("rows") if isinstance(body, dict) and set(body) == {"rows"} else body
    found = insert(call, {call.path["dataset"]: rows}, body)
    (inserted,) = found.groups
    if inserted.problem:
        raise _error(inserted, inserted.problem)
    return json_response(inserted, headers=_headers(found))


@operation(
    "postRowsOfMany",
    "Rows",
    answer=documents.InsertedRowsOfMany,
    arguments=(_IDEMPOTENCY_KEY,),
    body={"type": "object", "minProperties": 1, "additionalProperties": _ROWS},
    max_body_bytes=MAX_DATA_BYTES,
)
def post_rows_of_many(call: Call) -> Response:
    """Load 1 to 1000 rows of several datasets in one transaction."""
    body = parse_body(call.request.get_data())
    if not isinstance(body, dict):
        raise BodyError('the body is not a JSON object: send {"<dataset>": [<rows>], ...}')
    found = insert(call, body, body)
    return json_response(documents.InsertedRowsOfMany(found.groups), headers=_headers(found))


def parse_body(data: bytes) -> Any:  # any JSON value
    """Parse a body as JSON with its numbers as they are written; an empty one is None.

    Raises:
        BodyError: it is not JSON.
    """
    try:
        return read_json(data) if data else None
    except ValueError as error:
        raise BodyError(f"the body is not JSON: {error}") from None


def insert(
    call: Call, rows: Mapping[str, object], body: object, *, next_key: str = ""
) -> InsertResult:
    """Insert the rows of a request, exactly once if it has an idempotency key.

    Args:
        call: the request.
        rows: by dataset.
        body: the parsed body, which a repetition under the same key must equal.
        next_key: column that gets the next free number in a row without one.

    Raises:
        BodyError: there are not 1 to 1000 rows.
        NotFoundError: there is no such dataset.
    """
    from sluice.ingestion.insert_rows import insert_rows  # noqa: PLC0415
    from sluice.ingestion.row_groups import RowGroup  # noqa: PLC0415  # both paid where first used

    for name in rows:
        call.caller.check_dataset(name)
    lists = {name: _list(name, each) for name, each in rows.items()}
    _check_count(sum(map(len, lists.values())))
    env, key = call.environment(), _idempotency_key(call, body)
    lists = {name: each for name, each in lists.items() if each}
    datasets = {name: cached_dataset(call.engine, name) for name in lists}
    if all(datasets.values()):
        with suppress(DeclarationChangedError):
            known = [RowGroup(d, lists[name], next_key) for name, d in datasets.items() if d]
            return insert_rows(env, known, key)
    groups = [RowGroup(_dataset(call, name), each, next_key) for name, each in lists.items()]
    return insert_rows(env, groups, key)


def _list(name: str, rows: object) -> list[Any]:
    if not isinstance(rows, list):
        raise BodyError(f"{name}: is not a list of rows; send a list of objects")
    return rows


def _check_count(count: int) -> None:
    if count == 0:
        raise BodyError(f"there are no rows; send 1 to {MAX_ROWS}")
    if count > MAX_ROWS:
        raise BodyError(
            f"{count} rows are more than one request may have; send at most {MAX_ROWS}, or a file"
        )


def _dataset(call: Call, name: str) -> Dataset:
    with call.snapshot() as connection:
        return dataset_version(connection, name).dataset


def _idempotency_key(call: Call, body: object) -> IdempotencyKey | None:
    from sluice.ingestion.idempotency import IdempotencyKey  # noqa: PLC0415

    key = call.request.headers.get(KEY_HEADER)
    if key is None:
        return None
    if not key or len(key) > MAX_KEY_CHARACTERS:
        raise ParameterError(
            f"{KEY_HEADER}: has 1 to {MAX_KEY_CHARACTERS} characters", parameter=KEY_HEADER
        )
    route = f"{call.request.method} {call.request.path}"
    # A caller never meets the keys of another one.
    return IdempotencyKey.of(f"{call.caller.key}:{key}" if call.caller.key else key, route, body)


def _headers(found: InsertResult) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if found.is_repeated else {}


def _error(inserted: documents.InsertedRows, problem: documents.Problem) -> SluiceError:
    """Return the error of a request none of whose rows are loaded."""
    members = to_json(inserted)
    del members["problem"]
    return NothingLoadedError(f"{problem.code}: {problem.detail}", **members)


OPERATIONS = (list_rows, show_row, post_rows, post_rows_of_many)
