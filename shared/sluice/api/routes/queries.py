"""The named queries of a dataset: listed, and answered as data, a picture or a page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from sluice.api import pages
from sluice.api.conditional import conditional, freshness_headers
from sluice.api.formats import (
    COLUMNAR_FORMATS,
    FORMATS,
    JSON_FORMATS,
    MEDIA_TYPES,
    SHOWN_FORMATS,
    formats_of,
    negotiate,
    write,
)
from sluice.api.operations import Argument, Call, operation
from sluice.api.responses import attachment, json_response, stream_response
from sluice.charts.chart import MAX_ROWS
from sluice.documents import datasets as documents
from sluice.documents.document import parse
from sluice.errors import NotFoundError, ParameterError, RequestError
from sluice.postgres.catalog import DatasetVersion, dataset_version, version_for_query
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import stream

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sluice.datasets.model import Query
    from sluice.querying.reading import ResultColumn

    _Found = tuple[DatasetVersion, Query]
    _Answer = tuple[tuple[ResultColumn, ...], Iterator[Sequence[Sequence[Any]]]]


@operation("listQueries", "Queries", answer=documents.Queries)
def list_queries(call: Call) -> Response:
    """List the named queries of a dataset with their parameters."""
    with call.snapshot() as connection:
        dataset = dataset_version(connection, call.path["dataset"]).dataset
    return json_response(documents.Queries([_document(dataset.name, q) for q in dataset.queries]))


def _document(dataset: str, query: Query) -> documents.Query:
    drawing = query.drawing
    return documents.Query(
        dataset=dataset,
        name=query.name,
        summary=query.summary,
        description=query.description,
        parameters=[parse(asdict(each), documents.QueryParameter) for each in query.parameters],
        needs=[list(each) for each in query.needs],
        returns=query.returns,
        drawing={"kind": drawing.kind, **dict(drawing.options)} if drawing else None,
        verb=query.verb,
        output=query.verb_output,
        heading=query.verb_heading,
        near=documents.Near(query.near.query, query.near.column) if query.near else None,
        formats=list(formats_of(query)),
        url=f"/v1/datasets/{dataset}/queries/{query.name}",
    )


def _current(call: Call, connection: Connection) -> tuple[_Found, dict[str, str]]:
    found, query = version_for_query(connection, call.path["dataset"], call.path["query"])
    if query is None:
        known = ", ".join(each.name for each in found.dataset.queries) or "none"
        name = call.path["query"]
        raise NotFoundError(f"{found.dataset.name} has no query {name}; it has {known}")
    call.caller.check_reads(found)
    kind = _format(call, query)
    return (found, query), freshness_headers(found, kind)


@operation(
    "askQuery",
    "Queries",
    answer={"type": "object"},
    formats=(*FORMATS, *SHOWN_FORMATS),
    arguments=(
        Argument(
            "format",
            "Format of the answer; takes precedence over the header Accept.",
            {"type": "string", "enum": [*FORMATS, *SHOWN_FORMATS]},
        ),
    ),
    refusals=(406, 409),
    statuses=(304,),
)
@conditional(_current)
def ask_query(call: Call, connection: Connection, asked: _Found) -> Response:
    """Answer a named query: with an object or rows, or drawn, as the query declares.

    `svg` is the picture that the query declares, `html` a page with the picture, a form for the
    parameters, and the rows. A query that declares no picture has no `svg`. `spreadsheet` is a CSV
    without formulas, to be opened in a spreadsheet.
    """
    found, query = asked
    kind = _format(call, query)
    if kind == "html":
        return _page(call, connection, found, query)
    values = read_parameters(query, _arguments(call, kind))
    if kind == "svg":
        rows, _ = _first_rows(connection, query, values)
        body = pages.picture(found, query, values, rows)
        return Response(body, content_type=MEDIA_TYPES["svg"])
    columns, batches = _answer(connection, query, values, kind)
    if kind == "json" and query.returns == "one":
        return stream_response(_object(batches, query.name), kind)
    headers = {}
    if kind == "spreadsheet":
        headers["Content-Disposition"] = attachment(f"{found.dataset.name}_{query.name}")
    return stream_response(write(kind, columns, batches), kind, headers)


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
    """Return the parameters without those that a form leaves empty."""
    is_form = kind == "html"
    return [p for p in call.arguments if p[0] != "format" and not (is_form and p[1] == "")]


def _answer(
    connection: Connection, query: Query, values: Mapping[str, object], kind: str = "html"
) -> _Answer:
    return stream(
        connection,
        query.sql,
        values,
        types=query.parameter_types,
        as_json=kind in JSON_FORMATS,
        counts_digits=kind in COLUMNAR_FORMATS,
    )


def _object(batches: Iterator[Sequence[Sequence[Any]]], name: str) -> Iterator[bytes]:
    for batch in batches:
        yield f"{batch[0][0]}\n".encode()
        return
    raise NotFoundError(f"{name}: nothing matches these parameters")


def _first_rows(
    connection: Connection, query: Query, values: Mapping[str, object]
) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows that a picture or a page shows, and whether there are more."""
    columns, batches = _answer(connection, query, values)
    names = [each.name for each in columns]
    every = itertools.chain.from_iterable(batches)
    first = map(pages.shortened, itertools.islice(every, MAX_ROWS + 1))
    rows = [dict(zip(names, row, strict=True)) for row in first]
    return rows[:MAX_ROWS], len(rows) > MAX_ROWS


def _page(call: Call, connection: Connection, found: DatasetVersion, query: Query) -> Response:
    """Return the page of a query; an error in the request is shown above its form."""
    given = _arguments(call, "html")
    try:
        values = read_parameters(query, given)
        rows, has_more = _first_rows(connection, query, values)
        status, body = 200, pages.page(found, query, dict(given), values, rows, has_more=has_more)
    except RequestError as error:
        status, body = error.status, pages.refusal(found, query, dict(given), error)
    return Response(body, status, content_type=MEDIA_TYPES["html"])


OPERATIONS = (list_queries, ask_query)
