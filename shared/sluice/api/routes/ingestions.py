"""Ingestions: listed and shown, with their rejects, output and live events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from sluice.api.downloads import download_output
from sluice.api.formats import negotiate, write, write_page
from sluice.api.operations import CURSOR, LIMIT, Argument, Call, operation
from sluice.api.responses import json_response, stream_response
from sluice.api.sse import EVENT_STREAM, stream_all, stream_ingestion
from sluice.csv.rejects import MASK
from sluice.datasets.model import Field
from sluice.documents import ingestions as documents
from sluice.documents.ingestions import State
from sluice.errors import NotFoundError, ParameterError
from sluice.ingestion.ingestions import query_ingestions, select_ingestion
from sluice.ingestion.reject_files import reject_lines, reject_reasons
from sluice.postgres.catalog import read_dataset
from sluice.postgres.named_sql import statement
from sluice.querying.filters import Bindings
from sluice.querying.keysets import Order, Term
from sluice.querying.reading import stream
from sluice.querying.rows import parse_limit

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row
    from werkzeug.wrappers import Response

    from sluice.ingestion.model import Ingestion

PAGE_INGESTIONS = 50
PAGE_REJECTS = 1000
REJECT_FORMATS = ("json", "csv", "ndjson", "reasons")
_NEWEST_FIRST = Order((Term(Field("id", "integer", nullable=False), is_descending=True),))
_BY_RECORD = Order((Term(Field("record", "bigint", nullable=False)),))
_BY_LINE = Order((Term(Field("line", "bigint", nullable=False)),))


@operation(
    "listIngestions",
    "Ingestions",
    answer=documents.IngestionPage,
    formats=(EVENT_STREAM,),
    arguments=(
        Argument("dataset", "Only ingestions of this dataset."),
        Argument("state", "Only ingestions in one of these states, separated by commas."),
        LIMIT,
        CURSOR,
    ),
)
def list_ingestions(call: Call) -> Response:
    """List ingestions, newest first; with `Accept: text/event-stream`, stream the events of all."""
    if _wants_events(call):
        return stream_all(call.engine, call.request.headers.get("Last-Event-ID", ""))
    arguments = _arguments(call, ("dataset", "state", "limit", "cursor"))
    limit = parse_limit(arguments.get("limit"), call.settings.max_rows) or PAGE_INGESTIONS
    cursor = arguments.get("cursor")
    values = {
        "dataset": arguments.get("dataset"),
        "states": _states(arguments.get("state")),
        "before": _NEWEST_FIRST.read_cursor(cursor)[0] if cursor else None,
        "limit": limit + 1,
    }
    with call.snapshot() as connection:
        rows = query_ingestions(connection, "list_ingestions", values)
    page = rows[:limit]
    following = _NEWEST_FIRST.cursor(json.dumps([str(page[-1].id)])) if len(rows) > limit else None
    return json_response(
        documents.IngestionPage([ingestion_document(each) for each in page], following)
    )


def _wants_events(call: Call) -> bool:
    accepted = call.request.accept_mimetypes
    return accepted.best_match(["application/json", EVENT_STREAM]) == EVENT_STREAM


def _arguments(call: Call, known: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in call.arguments:
        if name not in known:
            raise ParameterError(
                f"{name}: no such parameter; this route takes {', '.join(known)}", parameter=name
            )
        given[name] = value
    return given


def _states(text: str | None) -> list[str] | None:
    if text is None:
        return None
    states = text.split(",")
    unknown = [each for each in states if each not in tuple(State)]
    if unknown:
        raise ParameterError(
            f"state: {', '.join(unknown)}: not one of {', '.join(State)}", parameter="state"
        )
    return states


@operation("showIngestion", "Ingestions", answer=documents.Ingestion)
def show_ingestion(call: Call) -> Response:
    """Return an ingestion: its state, progress and account."""
    with call.snapshot() as connection:
        row = select_ingestion(connection, call.ingestion)
    return json_response(ingestion_document(row), headers={"Cache-Control": "no-cache"})


def ingestion_document(ingestion: Ingestion) -> documents.Ingestion:
    """Return an ingestion as the API shows it."""
    output = ingestion.output
    url = f"/v1/ingestions/{ingestion.id}/output"
    return documents.Ingestion(
        **ingestion.facts(),
        output=documents.Output(output.size_bytes, url) if output else None,
        declaration_version=ingestion.declaration_version,
        replaced_by=ingestion.replaced_by,
        received_at=ingestion.received_at,
        started_at=ingestion.started_at,
        updated_at=ingestion.updated_at,
        finished_at=ingestion.finished_at,
    )


_REJECTS = """
SELECT record, line, column_name AS "column", rule, value, reason, original
FROM sluice.rejects WHERE ingestion = CAST(:ingestion AS integer) AND fixed_by IS NULL"""
_REJECT_NAMES = ("line", "column", "rule", "value", "reason", "original")


@operation(
    "listRejects",
    "Ingestions",
    answer=documents.RejectPage,
    formats=REJECT_FORMATS,
    arguments=(
        LIMIT,
        CURSOR,
        Argument(
            "format", "Format of the answer.", {"type": "string", "enum": list(REJECT_FORMATS)}
        ),
    ),
)
def list_rejects(call: Call) -> Response:
    """List the rejected rows of an ingestion, each in full, with position, rule and reason.

    With `format=csv`, the rejected lines of the file exactly as they came, under its header, in its
    dialect and encoding: fix them and load the file. With `format=reasons`, a CSV with line, record,
    column, rule, value and reason of each.
    """
    kind = negotiate(call.request, REJECT_FORMATS)
    arguments = _arguments(call, ("limit", "cursor", "format"))
    limit = parse_limit(arguments.get("limit"), call.settings.max_rows)
    cursor = arguments.get("cursor")
    after = _BY_LINE.read_cursor(cursor) if cursor else None
    with ExitStack() as stack:
        connection = stack.enter_context(call.snapshot())
        ingestion = select_ingestion(connection, call.ingestion)
        if kind in _FILES:
            last = -1 if after is None else int(str(after[0]))
            body = _FILES[kind](connection, ingestion, last, limit)
            headers = {"Content-Disposition": _disposition(ingestion, kind)}
            return stream_response(body, "csv", headers, stack, encoding=_written_in(ingestion))
        if limit is None and kind == "json":
            limit = PAGE_REJECTS
        bindings = Bindings({"ingestion": str(call.ingestion)})
        sql = _REJECTS + (f" AND {_BY_LINE.after(after, bindings)}" if after else "")
        sql += " ORDER BY line" + (f" LIMIT {limit + 1}" if limit else "")
        _, batches = stream(connection, sql, bindings.values)
        dataset = read_dataset(connection, ingestion.dataset or "")
        masks = dataset is not None and dataset.has_pii
        body = _rejects_body(kind, batches, limit, ingestion, masks=masks)
        return stream_response(body, kind, {}, stack)


def _lines(
    connection: Connection, ingestion: Ingestion, after: int, limit: int | None
) -> Iterator[bytes]:
    """Yield the rejected lines of a file.

    Raises:
        NotFoundError: the rows came in a request.
    """
    if ingestion.source != "file":
        raise NotFoundError(
            f"ingestion {ingestion.id} came as rows in a request, and has no lines of a file; format=json"
            " and format=ndjson have its rejects"
        )
    return reject_lines(connection, ingestion, after, limit)


_FILES = {"csv": _lines, "reasons": reject_reasons}


def _disposition(ingestion: Ingestion, kind: str) -> str:
    name = "rejects" if kind == "csv" else "reasons"
    return f'attachment; filename="{name}_{ingestion.id}.csv"'


def _encoding_of(ingestion: Ingestion) -> str:
    """Return the encoding of a file, which may be declared or detected."""
    dialect = (ingestion.layout or {}).get("dialect", {})
    return str(dialect.get("encoding", "utf-8"))


def _written_in(ingestion: Ingestion) -> str:
    """Return the encoding of a file as it was uploaded."""
    return str((ingestion.layout or {}).get("written_in") or _encoding_of(ingestion))


def _rejects_body(
    kind: str,
    batches: Iterable[Sequence[Sequence[Any]]],
    limit: int | None,
    ingestion: Ingestion,
    *,
    masks: bool,
) -> Iterator[bytes]:
    if kind == "json":
        rows = [row for batch in batches for row in batch]
        has_more = limit is not None and len(rows) > limit
        page = rows[:limit]
        cursor = _BY_LINE.cursor(json.dumps([str(page[-1][1])])) if has_more else None
        return write_page(
            [[(_reject_json(row, ingestion, masks=masks),) for row in page]], "rejects", cursor
        )
    cut = _first(batches, limit)
    return write(
        kind, (), ([(_reject_json(row, ingestion, masks=masks),) for row in batch] for batch in cut)
    )


def _first(
    batches: Iterable[Sequence[Sequence[Any]]], limit: int | None
) -> Iterator[Sequence[Sequence[Any]]]:
    left = limit
    for batch in batches:
        yield batch if left is None else batch[:left]
        left = None if left is None else left - len(batch[:left])


def _reject_json(row: Sequence[Any], ingestion: Ingestion, *, masks: bool) -> str:
    text = MASK if masks else bytes(row[-1]).decode(_encoding_of(ingestion), "replace")
    cells = (*row[1:-1], text)
    reject = dict(zip(_REJECT_NAMES, cells, strict=True))
    if cell := ingestion.cell_of(reject["line"], reject["column"]):
        reject["cell"] = cell
    return json.dumps(reject, ensure_ascii=False)


@operation(
    "listDuplicates", "Ingestions", answer=documents.DuplicatePage, arguments=(LIMIT, CURSOR)
)
def list_duplicates(call: Call) -> Response:
    """List the rows that were left out because of their key, each with the row that counts.

    In the order of the file, 100,000 at most; the account counts all.
    """
    arguments = _arguments(call, ("limit", "cursor"))
    limit = parse_limit(arguments.get("limit"), call.settings.max_rows) or PAGE_REJECTS
    cursor = arguments.get("cursor")
    after = int(str(_BY_RECORD.read_cursor(cursor)[0])) if cursor else -1
    with call.snapshot() as connection:
        select_ingestion(connection, call.ingestion)
        values = {"ingestion": call.ingestion, "after": after, "limit": limit + 1}
        rows = connection.execute(statement("page_of_duplicates"), values).all()
    page = rows[:limit]
    following = _BY_RECORD.cursor(json.dumps([str(page[-1].record)])) if len(rows) > limit else None
    return json_response(documents.DuplicatePage([_duplicate(each) for each in page], following))


def _duplicate(row: Row[Any]) -> documents.Duplicate:
    won_record = None if row.won_record is None else row.won_record + 1
    winner = documents.Winner(row.won_by, row.won_line, won_record)
    return documents.Duplicate(row.line, row.record + 1, row.key, winner)


@operation(
    "listEvents",
    "Ingestions",
    answer=documents.Events,
    formats=(EVENT_STREAM,),
)
def list_events(call: Call) -> Response:
    """Stream the events of an ingestion as server-sent events until it ends.

    The stream starts with the first event, or after the sequence in the header Last-Event-ID. With
    `Accept: application/json` the answer is the list of the events so far.
    """
    number = call.ingestion
    accepted = call.request.accept_mimetypes
    if not accepted or accepted.best_match([EVENT_STREAM, "application/json"]) != (
        "application/json"
    ):
        last_event_id = call.request.headers.get("Last-Event-ID", "")
        return stream_ingestion(call.engine, number, last_event_id)
    with call.snapshot() as connection:
        select_ingestion(connection, number)
        values = {"ingestion": number, "sequence": 0}
        rows = connection.execute(statement("events_after"), values).all()
    return json_response({"events": [row.body for row in rows]})


@operation("showOutput", "Ingestions", formats=("csv",))
def show_output(call: Call) -> Response:
    """Download the output of a file, if its dataset declares one; takes `Range`.

    A CSV, made of this file alone, and complete when the ingestion is `done`. Ranges (206, 416),
    `If-Range` and HEAD allow to resume or split a download. Before `done` the answer is 409;
    without a declared output, 404.
    """
    return download_output(call, call.ingestion)


OPERATIONS = (
    list_ingestions,
    show_ingestion,
    list_rejects,
    list_duplicates,
    list_events,
    show_output,
)
