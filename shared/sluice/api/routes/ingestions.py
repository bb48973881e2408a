"""Ingestions: listed and shown, with their rejects, output and live events."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sluice.api.downloads import download_output
from sluice.api.formats import negotiate, write, write_page
from sluice.api.operations import CURSOR, LIMIT, Argument, Call, known_arguments, operation
from sluice.api.responses import json_response, stream_response
from sluice.api.schemas import list_of_names
from sluice.api.sse import EVENT_STREAM, stream_all, stream_ingestion
from sluice.api.text_schemas import STORABLE_TEXT
from sluice.csv.rejects import MASK
from sluice.datasets.model import Field
from sluice.documents import ingestions as documents
from sluice.documents.ingestions import State
from sluice.errors import ForbiddenError, NotFoundError, ParameterError
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
#: Entries of a page that is made as a whole.
MAX_PAGE = 10_000
REJECT_FORMATS = ("json", "csv", "ndjson", "reasons")
PAGE_LIMIT = replace(LIMIT, schema={**LIMIT.schema, "maximum": MAX_PAGE})
_NEWEST_FIRST = Order((Term(Field("id", "integer", nullable=False), is_descending=True),))
_BY_RECORD = Order((Term(Field("record", "bigint", nullable=False)),))
_BY_LINE = Order((Term(Field("line", "bigint", nullable=False)),))


@operation(
    "listIngestions",
    "Ingestions",
    answer=documents.IngestionPage,
    formats=(EVENT_STREAM,),
    arguments=(
        Argument("dataset", "Only ingestions of this dataset.", STORABLE_TEXT),
        Argument(
            "state",
            "Only ingestions in one of these states, separated by commas.",
            list_of_names(State),
        ),
        PAGE_LIMIT,
        CURSOR,
    ),
    refusals=(406,),
)
def list_ingestions(call: Call) -> Response:
    """List ingestions, newest first; with `Accept: text/event-stream`, stream the events of all."""
    if _wants_events(call):
        return stream_all(call)
    arguments = known_arguments(call, ("dataset", "state", "limit", "cursor"))
    limit = parse_limit(arguments.get("limit"), MAX_PAGE) or PAGE_INGESTIONS
    cursor = arguments.get("cursor")
    values = {
        "dataset": arguments.get("dataset"),
        "datasets": call.caller.listed,
        "states": _states(arguments.get("state")),
        "before": _NEWEST_FIRST.read_cursor(cursor)[0] if cursor else None,
        "limit": limit + 1,
    }
    with call.snapshot() as connection:
        rows = query_ingestions(connection, "list_ingestions", values)
    page, following = _NEWEST_FIRST.page(rows, limit)
    return json_response(
        documents.IngestionPage([ingestion_document(each) for each in page], following)
    )


def _wants_events(call: Call) -> bool:
    accepted = call.request.accept_mimetypes
    return accepted.best_match(["application/json", EVENT_STREAM]) == EVENT_STREAM


def _states(text: str | None) -> list[str] | None:
    if text is None:
        return None
    states = text.split(",")
    unknown = [each for each in states if each not in tuple(State)]
    if unknown:
        raise ParameterError(
            f"state: {', '.join(unknown)}: not one of {', '.join(State)}", parameter="state"
        )
    if len(set(states)) < len(states):
        raise ParameterError(f"state: {text}: a state is named twice", parameter="state")
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


#: Of a rejected row, and characters of its value and reason, that JSON shows; format=csv has the row in full.
SHOWN_BYTES = 64 * 1024
_REJECTS = f"""
SELECT record, line, column_name AS "column", rule, left(value, {SHOWN_BYTES}) AS value,
    left(reason, {SHOWN_BYTES}) AS reason, length(original) AS size_bytes,
    substring(original FROM 1 FOR {SHOWN_BYTES}) AS original
FROM sluice.rejects WHERE ingestion = CAST(:ingestion AS integer) AND fixed_by IS NULL"""
_REJECT_NAMES = ("line", "column", "rule", "value", "reason")
#: Of a batch: every thread of an instance may have one.
_BATCH_BYTES = 512 * 1024


@operation(
    "listRejects",
    "Ingestions",
    answer=documents.RejectPage,
    formats=REJECT_FORMATS,
    refusals=(406,),
    arguments=(
        LIMIT,
        CURSOR,
        Argument(
            "format", "Format of the answer.", {"type": "string", "enum": list(REJECT_FORMATS)}
        ),
    ),
)
def list_rejects(call: Call) -> Response:
    """List the rejected rows of an ingestion, with position, rule and reason.

    Of a row of more than 64 KiB, `original` has the first 64 KiB, and `size_bytes` is its size. With
    `format=csv`, the rejected lines of the file exactly as they came, under its header, in its dialect
    and encoding: fix them and load the file. With `format=reasons`, a CSV with line, record, column,
    rule, value and reason of each.
    """
    kind = negotiate(call.request, REJECT_FORMATS)
    arguments = known_arguments(call, ("limit", "cursor", "format"))
    limit = parse_limit(arguments.get("limit"), call.settings.max_rows)
    cursor = arguments.get("cursor")
    after = _BY_LINE.read_cursor(cursor) if cursor else None
    with ExitStack() as stack:
        connection = stack.enter_context(call.snapshot())
        ingestion = select_ingestion(connection, call.ingestion)
        dataset = read_dataset(connection, ingestion.dataset or "")
        if kind in _FILES:
            if kind == "csv" and dataset is not None and call.caller.hidden_fields(dataset):
                raise ForbiddenError(
                    "the rejected lines hold personal data, which the caller does not see; format=json and"
                    " format=reasons mask it"
                )
            last = -1 if after is None else int(str(after[0]))
            body = _FILES[kind](connection, ingestion, last, limit)
            headers = {"Content-Disposition": _disposition(ingestion, kind)}
            return stream_response(body, "csv", headers, stack, encoding=_written_in(ingestion))
        if limit is None and kind == "json":
            limit = PAGE_REJECTS
        bindings = Bindings({"ingestion": str(call.ingestion)})
        sql = _REJECTS + (f" AND {_BY_LINE.after(after, bindings)}" if after else "")
        sql += " ORDER BY line" + (f" LIMIT {limit + 1}" if limit else "")
        _, batches = stream(
            connection, sql, bindings.values, is_of_engine=True, batch_bytes=_BATCH_BYTES
        )
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
    page = _Page(batches, limit)
    texts = ([(_reject_json(row, ingestion, masks=masks),) for row in batch] for batch in page)
    if kind == "json":
        return write_page(texts, "rejects", page.cursor)
    return write(kind, (), texts)


class _Page:
    """The first rejects of some batches, and whether there are more."""

    def __init__(self, batches: Iterable[Sequence[Sequence[Any]]], limit: int | None) -> None:
        self._batches = batches
        self._limit = limit
        self._line = ""
        self._has_more = False

    def __iter__(self) -> Iterator[Sequence[Sequence[Any]]]:
        left = self._limit
        for batch in self._batches:
            taken = batch if left is None else batch[:left]
            if taken:
                self._line = str(taken[-1][1])
                yield taken
            self._has_more = len(taken) < len(batch)
            left = None if left is None else left - len(taken)

    def cursor(self) -> str | None:
        """Return the cursor of the following page, once all rejects were taken."""
        return _BY_LINE.cursor(json.dumps([self._line])) if self._has_more else None


def _reject_json(row: Sequence[Any], ingestion: Ingestion, *, masks: bool) -> str:
    *cells, size_bytes, original = row[1:]
    reject = dict(zip(_REJECT_NAMES, cells, strict=True))
    is_whole = size_bytes <= SHOWN_BYTES
    decoder = codecs.getincrementaldecoder(_encoding_of(ingestion))("replace")
    reject["original"] = MASK if masks else decoder.decode(bytes(original), final=is_whole)
    if not is_whole:
        reject["size_bytes"] = size_bytes
    if cell := ingestion.cell_of(reject["line"], reject["column"]):
        reject["cell"] = cell
    return json.dumps(reject, ensure_ascii=False)


@operation(
    "listDuplicates", "Ingestions", answer=documents.DuplicatePage, arguments=(PAGE_LIMIT, CURSOR)
)
def list_duplicates(call: Call) -> Response:
    """List the rows that were left out because of their key, each with the row that counts.

    In the order of the file, 100,000 at most; the account counts all.
    """
    arguments = known_arguments(call, ("limit", "cursor"))
    limit = parse_limit(arguments.get("limit"), MAX_PAGE) or PAGE_REJECTS
    cursor = arguments.get("cursor")
    after = int(str(_BY_RECORD.read_cursor(cursor)[0])) if cursor else -1
    with call.snapshot() as connection:
        select_ingestion(connection, call.ingestion)
        values = {"ingestion": call.ingestion, "after": after, "limit": limit + 1}
        rows = connection.execute(statement("page_of_duplicates"), values).all()
    page, following = _BY_RECORD.page(rows, limit)
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
        return stream_ingestion(call, number)
    with call.snapshot() as connection:
        select_ingestion(connection, number)
        values = {"ingestion": number, "sequence": 0}
        rows = connection.execute(statement("events_after"), values).all()
    return json_response({"events": [row.body for row in rows]})


@operation("showOutput", "Ingestions", formats=("csv",), refusals=(409, 416), statuses=(206, 304))
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
