"""The function `status`: ingestions, their rejects, their events, and pushes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from sluice.api import schemas
from sluice.api.formats import JSON_FORMATS, negotiate, write, write_page
from sluice.api.ingestion_documents import ingestion_document, ingestion_number
from sluice.api.operations import Argument, Operation
from sluice.api.responses import json_response, stream_response
from sluice.api.sse import EVENT_STREAM, stream_all, stream_ingestion
from sluice.datasets.model import Field
from sluice.errors import BodyError, ParameterError
from sluice.ingestion.ingestions import query_ingestions, select_ingestion
from sluice.ingestion.model import State
from sluice.postgres.catalog import dataset_version
from sluice.postgres.named_sql import statement
from sluice.querying.filters import Bindings
from sluice.querying.keysets import Order, Term
from sluice.querying.reading import ResultColumn, snapshot, stream
from sluice.querying.rows import parse_limit

if TYPE_CHECKING:
    from sqlalchemy import Row

    from sluice.api.operations import Call
    from sluice.gcloud.push_subscriptions import PushSubscriptions

PAGE_INGESTIONS = 50
PAGE_REJECTS = 1000
REJECT_FORMATS = ("json", "csv", "ndjson")
_NEWEST_FIRST = Order((Term(Field("id", "integer", nullable=False), is_descending=True),))
_BY_RECORD = Order((Term(Field("record", "bigint", nullable=False)),))


def list_ingestions(call: Call) -> Response:
    """Answer `GET /v1/ingestions`: a page, or the live events of all."""
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
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        rows = query_ingestions(connection, "list_ingestions", values)
    page = rows[:limit]
    following = _NEWEST_FIRST.cursor(json.dumps([str(page[-1].id)])) if len(rows) > limit else None
    return json_response({"ingestions": [ingestion_document(r) for r in page], "next": following})


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


def show_ingestion(call: Call) -> Response:
    """Answer `GET /v1/ingestions/{ingestion}`."""
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        row = select_ingestion(connection, ingestion_number(call))
    return json_response(ingestion_document(row), headers={"Cache-Control": "no-cache"})


_REJECTS = """
SELECT record, line, column_name AS "column", rule, value, reason, original
FROM sluice.rejects WHERE ingestion = CAST(:ingestion AS integer)"""
_REJECT_COLUMNS = tuple(
    ResultColumn(name, 25) for name in ("line", "column", "rule", "value", "reason", "original")
)


def list_rejects(call: Call) -> Response:
    """Answer `GET /v1/ingestions/{ingestion}/rejects`."""
    kind = negotiate(call.request, REJECT_FORMATS)
    arguments = _arguments(call, ("limit", "cursor", "format"))
    limit = parse_limit(arguments.get("limit"), call.settings.max_rows)
    if limit is None and kind == "json":
        limit = PAGE_REJECTS
    bindings = Bindings({"ingestion": str(ingestion_number(call))})
    sql = _REJECTS
    if arguments.get("cursor"):
        after = _BY_RECORD.read_cursor(arguments["cursor"])
        sql += f" AND {_BY_RECORD.after(after, bindings)}"
    sql += " ORDER BY record" + (f" LIMIT {limit + 1}" if limit else "")
    with ExitStack() as stack:
        connection = stack.enter_context(snapshot(call.engine, call.settings.statement_timeout_s))
        select_ingestion(connection, ingestion_number(call))
        _, batches = stream(connection, sql, bindings.values)
        return stream_response(_rejects_body(kind, batches, limit), kind, {}, stack)


def _rejects_body(
    kind: str, batches: Iterable[Sequence[Sequence[Any]]], limit: int | None
) -> Iterator[bytes]:
    if kind == "json":
        rows = [row for batch in batches for row in batch]
        has_more = limit is not None and len(rows) > limit
        page = rows[:limit]
        cursor = _BY_RECORD.cursor(json.dumps([str(page[-1][0])])) if has_more else None
        return write_page([[(_reject_json(row),) for row in page]], "rejects", cursor)
    cut = _first(batches, limit)
    if kind in JSON_FORMATS:
        return write(kind, (), ([(_reject_json(row),) for row in batch] for batch in cut))
    return write(kind, _REJECT_COLUMNS, ([_reject_cells(row) for row in batch] for batch in cut))


def _first(
    batches: Iterable[Sequence[Sequence[Any]]], limit: int | None
) -> Iterator[Sequence[Sequence[Any]]]:
    left = limit
    for batch in batches:
        yield batch if left is None else batch[:left]
        left = None if left is None else left - len(batch[:left])


def _reject_cells(row: Sequence[Any]) -> Sequence[Any]:
    """Return a reject without its record number, its original bytes as text."""
    return (*row[1:-1], bytes(row[-1]).decode("utf-8", "replace"))


def _reject_json(row: Sequence[Any]) -> str:
    names = [each.name for each in _REJECT_COLUMNS]
    return json.dumps(dict(zip(names, _reject_cells(row), strict=True)), ensure_ascii=False)


def list_events(call: Call) -> Response:
    """Answer `GET /v1/ingestions/{ingestion}/events`: a live stream, or the list so far."""
    number = ingestion_number(call)
    accepted = call.request.accept_mimetypes
    if not accepted or accepted.best_match([EVENT_STREAM, "application/json"]) != (
        "application/json"
    ):
        last_event_id = call.request.headers.get("Last-Event-ID", "")
        return stream_ingestion(call.engine, number, last_event_id)
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        select_ingestion(connection, number)
        values = {"ingestion": number, "sequence": 0}
        rows = connection.execute(statement("events_after"), values).all()
    return json_response({"events": [row.body for row in rows]})


def _subscriptions(call: Call) -> PushSubscriptions:
    from sluice.gcloud.push_subscriptions import PushSubscriptions  # noqa: PLC0415  # where first used

    return PushSubscriptions(call.settings, call.engine)


def subscribe(call: Call) -> Response:
    """Answer `POST /v1/subscriptions`."""
    from sluice.gcloud.push_subscriptions import make_wish  # noqa: PLC0415  # where first used

    body = call.body(required=("endpoint",), optional=("dataset", "states"))
    endpoint, dataset, states = body["endpoint"], body.get("dataset"), body.get("states") or []
    if not isinstance(endpoint, str) or not isinstance(dataset, str | None):
        raise BodyError("endpoint and dataset are texts")
    if not isinstance(states, list) or not all(isinstance(each, str) for each in states):
        raise BodyError("states: is not a list of states")
    wish = make_wish(endpoint, dataset, states)
    if dataset is not None:
        with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
            dataset_version(connection, dataset)
    row = _subscriptions(call).create(wish)
    place = {"Location": f"/v1/subscriptions/{row.id}"}
    return json_response(_subscription_document(row), 201, place)


def _subscription_document(row: Row[Any]) -> Mapping[str, object]:
    return {
        "id": row.id,
        "endpoint": row.endpoint,
        "dataset": row.dataset,
        "states": list(row.states),
        "created_at": row.created_at.isoformat(),
    }


def list_subscriptions(call: Call) -> Response:
    """Answer `GET /v1/subscriptions`."""
    found = [_subscription_document(row) for row in _subscriptions(call).list()]
    return json_response({"subscriptions": found})


def show_subscription(call: Call) -> Response:
    """Answer `GET /v1/subscriptions/{subscription}`."""
    row = _subscriptions(call).find(call.path["subscription"])
    return json_response(_subscription_document(row))


def unsubscribe(call: Call) -> Response:
    """Answer `DELETE /v1/subscriptions/{subscription}`."""
    _subscriptions(call).delete(call.path["subscription"])
    return Response(status=204)


_LIMIT = Argument("limit", "Most entries of the answer.", {"type": "integer", "minimum": 1})
_CURSOR = Argument("cursor", "`next` of the page before.")

OPERATIONS = (
    Operation(
        "GET", "/v1/ingestions", list_ingestions, "listIngestions",
        "Lists ingestions, the newest first; with `Accept: text/event-stream`, the live events of all.",
        "Ingestions",
        answer=schemas.page_of("ingestions", schemas.ref("Ingestion")),
        formats=(EVENT_STREAM,),
        arguments=(
            Argument("dataset", "Only ingestions of this dataset."),
            Argument("state", "Only ingestions in one of these states, separated by commas."),
            _LIMIT,
            _CURSOR,
        ),
    ),
    Operation(
        "GET", "/v1/ingestions/{ingestion}", show_ingestion, "showIngestion",
        "Answers an ingestion: its state, how far it is, its account.",
        "Ingestions", answer=schemas.ref("Ingestion"),
    ),
    Operation(
        "GET", "/v1/ingestions/{ingestion}/rejects", list_rejects, "listRejects",
        "Answers the refused rows of an ingestion, each whole, with where and why.",
        "Ingestions",
        answer=schemas.page_of("rejects", schemas.ref("Reject")),
        formats=REJECT_FORMATS,
        arguments=(
            _LIMIT,
            _CURSOR,
            Argument(
                "format", "Format of the answer.", {"type": "string", "enum": list(REJECT_FORMATS)}
            ),
        ),
    ),
    Operation(
        "GET", "/v1/ingestions/{ingestion}/events", list_events, "listEvents",
        "Streams the events of an ingestion as server-sent events until it ends.",
        "Ingestions",
        description=(
            "Begins with the first event, or behind the header Last-Event-ID, a sequence."
            " With `Accept: application/json` answers the events so far."
        ),
        answer=schemas.list_of("events", "Event"),
        formats=(EVENT_STREAM,),
    ),
    Operation(
        "POST", "/v1/subscriptions", subscribe, "subscribe",
        "Has events pushed to an endpoint: the CloudEvent is the body of the POST it gets.",
        "Subscriptions",
        status=201,
        answer=schemas.ref("Subscription"),
        body=schemas.ref("SubscriptionRequest"),
    ),
    Operation(
        "GET", "/v1/subscriptions", list_subscriptions, "listSubscriptions",
        "Lists the push subscriptions.",
        "Subscriptions", answer=schemas.list_of("subscriptions", "Subscription"),
    ),
    Operation(
        "GET", "/v1/subscriptions/{subscription}", show_subscription, "showSubscription",
        "Answers a push subscription.",
        "Subscriptions", answer=schemas.ref("Subscription"),
    ),
    Operation(
        "DELETE", "/v1/subscriptions/{subscription}", unsubscribe, "unsubscribe",
        "Ends a push subscription.",
        "Subscriptions", status=204,
    ),
)  # fmt: skip
