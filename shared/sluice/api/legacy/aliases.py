"""Routes of other systems, served as the datasets declare them: dispatch, and the shapes of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from werkzeug.wrappers import Response

from sluice.api.bodies import bounded_body
from sluice.api.conditional import conditional, freshness_headers
from sluice.api.legacy.uploads import show_job, show_job_output, take_file, take_part
from sluice.api.responses import stream_response
from sluice.api.routes.rows import insert, parse_body
from sluice.datasets.aliases import AliasMatch, find_alias
from sluice.errors import BodyError, NotFoundError
from sluice.parsing.json_rows import MAX_ROW_DEPTH, read_json, write_json
from sluice.postgres.catalog import DatasetVersion, declared_datasets, version_for_query
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import stream
from sluice.routes import function_for

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from werkzeug.wrappers import Request

    from sluice.api.operations import Call
    from sluice.datasets.model import Dataset, Query
    from sluice.documents.ingestions import InsertedRows, RowOutcome

    Texts = Iterator[str]

_MAX_FIELDS = 1000
TEXT_TYPE = "text/plain; charset=utf-8"


def answer_alias(call: Call) -> Response:
    """Answer a request to a path that is not the API's own.

    Raises:
        NotFoundError: no dataset declares it.
        NotAllowedError: it is the API's own, for other methods.
    """
    method, path = call.request.method, call.request.path
    function_for(method, path)
    with call.snapshot() as connection:
        visible = [each for each in declared_datasets(connection) if call.caller.sees(each.name)]
    match = find_alias(visible, method, path)
    call.caller.require(match.alias.role)
    return _HANDLERS[match.alias.kind](call, match)


def _text(_: Call, match: AliasMatch) -> Response:
    return Response(match.alias.text, content_type=TEXT_TYPE)


def _query(call: Call, match: AliasMatch) -> Response:
    given = [*match.variables.items(), *call.arguments]
    if call.request.method != "GET":
        given += _as_arguments(_body(call))
    return _answer_query(call, match, given)


def _row(call: Call, match: AliasMatch) -> Response:
    """Insert a row, then answer the query."""
    row = _body(call)
    names = {name.strip().casefold() for name in row}
    missing = [name for name in match.alias.needs if name.casefold() not in names]
    if missing:
        raise BodyError(f"{', '.join(missing)}: missing in the body", missing=missing)
    with call.snapshot() as connection:  # before anything is loaded
        asked, _ = version_for_query(connection, match.dataset.name, match.alias.query)
        call.caller.check_reads(asked)
    found = insert(call, {match.dataset.name: [row]}, row, next_key=match.alias.next_key)
    (inserted,) = found.groups
    (outcome,) = inserted.rows
    _check_loaded(match.dataset, inserted, outcome)
    response = _answer_query(call, match, match.variables.items())
    if outcome.outcome == "duplicate":
        response.headers["Warning"] = '299 - "the key is there already; the row is ignored"'
    return response


def _check_loaded(dataset: Dataset, inserted: InsertedRows, outcome: RowOutcome) -> None:
    if outcome.outcome == "rejected":
        headers = {each.name: each.headers[0] for each in dataset.columns}
        field = headers.get(outcome.column, outcome.column) if outcome.column else None
        detail = f"{field}: {outcome.reason}" if field else outcome.reason
        raise BodyError(detail, field=field, ingestion=inserted.ingestion)
    if inserted.problem:
        raise BodyError(inserted.problem.detail, ingestion=inserted.ingestion)


def _body(call: Call) -> dict[str, Any]:
    """Return the members of the body: a JSON object, or a form.

    What starts like a JSON object is parsed as one: curl declares every body a form.
    """
    with bounded_body(call.request):
        return _members(call.request)


def _members(request: Request) -> dict[str, Any]:
    if request.mimetype == "multipart/form-data":
        return dict(request.form.items())
    data = request.get_data()
    is_form = request.mimetype == "application/x-www-form-urlencoded"
    if is_form and not data.lstrip().startswith(b"{"):
        return _form(data.decode("utf-8", "replace"))
    body = parse_body(data)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise BodyError("the body is not a JSON object")
    return body


def _form(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError:
        raise BodyError(f"the body has more than {_MAX_FIELDS} fields") from None


def _as_arguments(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the members of a body as parameters; null is left out."""
    words = {True: "true", False: "false"}
    return [
        (name, words[value] if isinstance(value, bool) else str(value))
        for name, value in body.items()
        if value is not None
    ]


def _answer_query(call: Call, match: AliasMatch, arguments: Iterable[tuple[str, str]]) -> Response:
    """Answer the query of an alias in its shape."""
    alias = match.alias

    def find(
        _: Call, connection: Connection
    ) -> tuple[tuple[DatasetVersion, Query], dict[str, str]]:
        found, query = version_for_query(connection, match.dataset.name, alias.query)
        if query is None:
            raise NotFoundError(f"{match.dataset.name} has no query {alias.query} any more")
        call.caller.check_reads(found)
        headers = freshness_headers(found, "json")
        return (found, query), headers

    @conditional(find)
    def answer(_: Call, connection: Connection, asked: tuple[DatasetVersion, Query]) -> Response:
        found, query = asked
        values = read_parameters(query, arguments)
        types = query.parameter_types
        batches = stream(connection, query.sql, values, types=types, as_json=True)[1]
        texts = _renamed(batches, found.dataset) if alias.names == "headers" else _texts(batches)
        response = stream_response(_SHAPES[alias.shape](texts, query.name), "json")
        if alias.shape == "text":
            response.content_type = TEXT_TYPE
        return response

    return answer(call)


def _texts(batches: Iterable[Sequence[Sequence[Any]]]) -> Texts:
    return (row[0] for batch in batches for row in batch)


def _renamed(batches: Iterable[Sequence[Sequence[Any]]], dataset: Dataset) -> Texts:
    """Yield rows with the headers of the dataset's files for its columns."""
    headers = {each.name: each.headers[0] for each in dataset.columns}
    for text in _texts(batches):
        row = read_json(text, MAX_ROW_DEPTH)
        yield write_json({headers.get(name, name): value for name, value in row.items()})


def _objects(texts: Texts, _: str) -> Iterator[bytes]:
    return _array(texts)


def _list(texts: Texts, _: str) -> Iterator[bytes]:
    return _array(write_json(_first(text)) for text in texts)


def _array(texts: Texts) -> Iterator[bytes]:
    opening = "["
    for text in texts:
        yield f"{opening}{text}".encode()
        opening = ",\n"
    yield b"[]\n" if opening == "[" else b"]\n"


def _object(texts: Texts, name: str) -> Iterator[bytes]:
    yield f"{_only(texts, name)}\n".encode()


def _first_value(texts: Texts, name: str) -> Iterator[bytes]:
    value = _first(_only(texts, name))
    yield (value if isinstance(value, str) else json.dumps(value)).encode()


def _only(texts: Texts, name: str) -> str:
    for text in texts:
        return text
    raise NotFoundError(f"{name}: nothing matches these parameters")


def _first(text: str) -> object:
    return next(iter(read_json(text, MAX_ROW_DEPTH).values()))


_SHAPES: Mapping[str, Callable[[Texts, str], Iterator[bytes]]] = {
    "objects": _objects,
    "object": _object,
    "list": _list,
    "text": _first_value,
}

_HANDLERS: Mapping[str, Callable[[Call, AliasMatch], Response]] = {
    "text": _text,
    "query": _query,
    "row": _row,
    "upload": take_file,
    "chunked_upload": take_part,
    "job_status": show_job,
    "job_output": show_job_output,
}
