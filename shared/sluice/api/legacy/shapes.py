"""Answers of queries in the shapes that the clients of other systems expect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from sluice.api.responses import freshness_headers, is_known, not_modified, stream_response
from sluice.datasets.json_numbers import read_json, write_json
from sluice.errors import NotFoundError
from sluice.postgres.catalog import version_for_query
from sluice.querying.dependencies import is_lasting
from sluice.querying.parameters import read_parameters
from sluice.querying.reading import snapshot, stream, without_comments

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from sluice.api.operations import Call
    from sluice.datasets.aliases import Alias
    from sluice.datasets.model import Dataset

Texts = Iterator[str]
TEXT_TYPE = "text/plain; charset=utf-8"


def answer_query(
    call: Call,
    dataset: str,
    alias: Alias,
    arguments: Iterable[tuple[str, str]],
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer the query of an alias in its shape.

    Args:
        call: the request.
        dataset: whose query it is.
        alias: names query, shape and the way its members are named.
        arguments: the parameters as they were given.
        headers: of the answer, besides those that say how fresh it is.

    Raises:
        ParameterError: a parameter is missing, unknown or malformed.
        NotFoundError: one object or text is asked for, and nothing fits.
    """
    with ExitStack() as stack:
        connection = stack.enter_context(snapshot(call.engine, call.settings.statement_timeout_s))
        found, query = version_for_query(connection, dataset, alias.query)
        if query is None:
            raise NotFoundError(f"{dataset} has no query {alias.query} any more")
        values = read_parameters(query, arguments)
        all_headers = {
            **freshness_headers(found, "json", is_lasting=is_lasting(query.sql)),
            **(headers or {}),
        }
        if call.request.method == "GET" and is_known(call.request, all_headers):
            return not_modified(all_headers)
        types = query.parameter_types
        sql = without_comments(query.sql)
        _, batches = stream(connection, sql, values, types=types, as_json=True)
        texts = _renamed(batches, found.dataset) if alias.names == "headers" else _texts(batches)
        body = _SHAPES[alias.shape](texts, query.name)
        response = stream_response(body, "json", all_headers, stack)
        if alias.shape == "text":
            response.content_type = TEXT_TYPE
        return response


def _texts(batches: Iterable[Sequence[Sequence[Any]]]) -> Texts:
    return (row[0] for batch in batches for row in batch)


def _renamed(batches: Iterable[Sequence[Sequence[Any]]], dataset: Dataset) -> Texts:
    """Yield rows with the headers of the dataset's files for its columns."""
    headers = {each.name: each.headers[0] for each in dataset.columns}
    for text in _texts(batches):
        row = read_json(text)
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


def _text(texts: Texts, name: str) -> Iterator[bytes]:
    value = _first(_only(texts, name))
    yield (value if isinstance(value, str) else json.dumps(value)).encode()


def _only(texts: Texts, name: str) -> str:
    for text in texts:
        return text
    raise NotFoundError(f"{name}: nothing fits these parameters")


def _first(text: str) -> object:
    return next(iter(read_json(text).values()))


_SHAPES: Mapping[str, Callable[[Texts, str], Iterator[bytes]]] = {
    "objects": _objects,
    "object": _object,
    "list": _list,
    "text": _text,
}
