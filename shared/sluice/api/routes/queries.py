"""The named queries of a dataset: listed, and answered as data, as a picture or as a page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from sluice.api import pages, schemas
from sluice.api.formats import (
    FORMATS,
    JSON_FORMATS,
    MEDIA_TYPES,
    SHOWN_FORMATS,
    negotiate,
    write,
)
from sluice.api.keeping import find_answer, keep_answer, kept_answer
from sluice.api.openapi import formats_of
from sluice.api.operations import Argument, Operation
from sluice.api.responses import (
    freshness_headers,
    json_response,
    stream_response,
)
from sluice.charts.chart import MAX_ROWS
from sluice.errors import NotFoundError, ParameterError, RequestError
from sluice.postgres.catalog import DatasetVersion, dataset_version, version_for_query
from sluice.querying.dependencies import is_lasting
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import snapshot, stream, without_comments

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.api.operations import Call
    from sluice.datasets.model import Query
    from sluice.querying.reading import ResultColumn

    Answer = tuple[tuple[ResultColumn, ...], Iterator[Sequence[Sequence[Any]]]]


def list_queries(call: Call) -> Response:
    """Answer `GET /v1/datasets/{dataset}/queries`."""
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        dataset = dataset_version(connection, call.path["dataset"]).dataset
    return json_response({"queries": [query_document(dataset.name, q) for q in dataset.queries]})


def query_document(dataset: str, query: Query) -> dict[str, object]:
    """Return what a client must know to ask a query."""
    drawing = query.drawing
    return {
        "name": query.name,
        "summary": query.summary,
        "description": query.description,
        "parameters": [asdict(each) for each in query.parameters],
        "needs": [list(each) for each in query.needs],
        "returns": query.returns,
        "drawing": {"kind": drawing.kind, **dict(drawing.options)} if drawing else None,
        "verb": query.verb,
        "output": query.verb_output,
        "near": asdict(query.near) if query.near else None,
        "formats": list(formats_of(query)),
        "url": f"/v1/datasets/{dataset}/queries/{query.name}",
    }


def ask_query(call: Call) -> Response:
    """Answer `GET /v1/datasets/{dataset}/queries/{query}`."""
    if answer := kept_answer(call, lambda connection: _freshness(connection, call)):
        return answer
    with ExitStack() as stack:
        connection = stack.enter_context(snapshot(call.engine, call.settings.statement_timeout_s))
        found, query = _asked(connection, call.path["dataset"], call.path["query"])
        kind = _format(call, query)
        if kind == "html":
            return _page(call, connection, found, query)
        values = read_parameters(query, _arguments(call, kind))
        headers = freshness_headers(found, kind, is_lasting=is_lasting(query.sql))
        if answer := find_answer(call, headers):
            return answer
        if kind == "svg":
            rows, _ = _first_rows(connection, query, values)
            body = pages.picture(found, query, values, rows)
            shown = Response(body, content_type=MEDIA_TYPES["svg"], headers=headers)
            return keep_answer(call, shown)
        columns, batches = _answer(connection, query, values, as_json=kind in JSON_FORMATS)
        if kind == "json" and query.returns == "one":
            blocks = _object(batches, query.name)
        else:
            blocks = write(kind, columns, batches)
        return keep_answer(call, stream_response(blocks, kind, headers, stack))


def _freshness(connection: Connection, call: Call) -> dict[str, str]:
    found, query = _asked(connection, call.path["dataset"], call.path["query"])
    return freshness_headers(found, _format(call, query), is_lasting=is_lasting(query.sql))


def _asked(connection: Connection, dataset: str, name: str) -> tuple[DatasetVersion, Query]:
    found, query = version_for_query(connection, dataset, name)
    if query is None:
        known = ", ".join(each.name for each in found.dataset.queries) or "none"
        raise NotFoundError(f"{found.dataset.name} has no query {name}; it has {known}")
    return found, query


def _format(call: Call, query: Query) -> str:
    offered = formats_of(query)
    if call.request.args.get("format") == "svg" and "svg" not in offered:
        raise ParameterError(
            f"format: {query.name} declares no drawing (a line `-- draw:`), so there is no svg;"
            " format=html shows it as a table",
            parameter="format",
        )
    return negotiate(call.request, offered)


def _arguments(call: Call, kind: str) -> list[tuple[str, str]]:
    """Return the parameters; what a form leaves empty is not given."""
    is_form = kind == "html"
    return [p for p in call.arguments if p[0] != "format" and not (is_form and p[1] == "")]


def _answer(
    connection: Connection, query: Query, values: Mapping[str, object], *, as_json: bool = False
) -> Answer:
    return stream(
        connection,
        without_comments(query.sql),
        values,
        types=query.parameter_types,
        as_json=as_json,
    )


def _object(batches: Iterator[Sequence[Sequence[Any]]], name: str) -> Iterator[bytes]:
    for batch in batches:
        yield f"{batch[0][0]}\n".encode()
        return
    raise NotFoundError(f"{name}: nothing fits these parameters")


def _first_rows(
    connection: Connection, query: Query, values: Mapping[str, object]
) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows that a picture or a page shows, and whether there are more."""
    columns, batches = _answer(connection, query, values)
    names = [each.name for each in columns]
    every = itertools.chain.from_iterable(batches)
    rows = [dict(zip(names, row, strict=True)) for row in itertools.islice(every, MAX_ROWS + 1)]
    return rows[:MAX_ROWS], len(rows) > MAX_ROWS


def _page(call: Call, connection: Connection, found: DatasetVersion, query: Query) -> Response:
    """Answer with a page; what is wrong with the request stands above its form."""
    given = _arguments(call, "html")
    try:
        values = read_parameters(query, given)
        headers = freshness_headers(found, "html", is_lasting=is_lasting(query.sql))
        if answer := find_answer(call, headers):
            return answer
        rows, has_more = _first_rows(connection, query, values)
        body = pages.page(found, query, dict(given), values, rows, has_more=has_more)
    except RequestError as error:
        body = pages.refusal(found, query, dict(given), error)
        return Response(body, error.status, pages.HEADERS, content_type=MEDIA_TYPES["html"])
    every = {**headers, **pages.HEADERS}
    return keep_answer(call, Response(body, content_type=MEDIA_TYPES["html"], headers=every))


OPERATIONS = (
    Operation(
        "GET", "/v1/datasets/{dataset}/queries", list_queries, "listQueries",
        "Lists the named queries of a dataset with their parameters.",
        "Queries", answer=schemas.list_of("queries", "Query"),
    ),
    Operation(
        "GET", "/v1/datasets/{dataset}/queries/{query}", ask_query, "askQuery",
        "Answers a named query: an object, or rows, or drawn, as the query declares.",
        "Queries",
        description=(
            "`svg` is the picture that the query declares, `html` a page with the picture, the"
            " parameters as a form, and the rows; a query that declares none has no `svg`."
        ),
        answer={"type": "object"},
        formats=(*FORMATS, *SHOWN_FORMATS),
        arguments=(
            Argument(
                "format",
                "Format of the answer; goes before the header Accept.",
                {"type": "string", "enum": [*FORMATS, *SHOWN_FORMATS]},
            ),
        ),
    ),
)  # fmt: skip
