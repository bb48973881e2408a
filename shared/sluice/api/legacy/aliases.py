"""The function `intake`: routes of other systems, as the datasets declare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from werkzeug.wrappers import Response

from sluice.api.legacy.hits import Hit
from sluice.api.legacy.shapes import TEXT_TYPE, answer_query
from sluice.api.legacy.uploads import answer_job, take_file, take_piece, tell_job
from sluice.api.routes.rows import admit, parse_body, read_data
from sluice.datasets.aliases import find_alias
from sluice.errors import BodyError
from sluice.postgres.catalog import declared_datasets
from sluice.querying.reading import snapshot
from sluice.routes import function_for

if TYPE_CHECKING:
    from sluice.api.operations import Call
    from sluice.datasets.model import Dataset


def answer_alias(call: Call) -> Response:
    """Answer a request to none of the API's own routes.

    Raises:
        NotFoundError: no dataset declares such a route.
        NotAllowedError: it is a route of the API's own, for other methods.
    """
    method, path = call.request.method, call.request.path
    function_for(method, path)
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        found = find_alias(declared_datasets(connection), method, path)
    hit = Hit(call, *found)
    return _HANDLERS[hit.alias.kind](hit)


def _answer_text(hit: Hit) -> Response:
    return Response(hit.alias.text, content_type=TEXT_TYPE)


def _answer_query(hit: Hit) -> Response:
    call = hit.call
    given = list(call.arguments)
    if call.request.method != "GET":
        given += _as_arguments(_body(call))
    return answer_query(call, hit.dataset.name, hit.alias, [*hit.variables.items(), *given])


def _add_row(hit: Hit) -> Response:
    """Publish a row, then answer the query."""
    row = _body(hit.call)
    names = {name.strip().casefold() for name in row}
    missing = [name for name in hit.alias.needs if name.casefold() not in names]
    if missing:
        raise BodyError(f"{', '.join(missing)}: missing in the body", missing=missing)
    found = admit(hit.call, {hit.dataset.name: [row]}, row, next_key=hit.alias.next_key)
    document = found.groups[0]
    outcome = document["rows"][0]
    _check_loaded(hit.dataset, document, outcome)
    headers = {}
    if outcome["outcome"] == "duplicate":
        headers["Warning"] = '299 - "the key is there already; the row is ignored"'
    return answer_query(hit.call, hit.dataset.name, hit.alias, hit.variables.items(), headers)


def _check_loaded(
    dataset: Dataset, document: Mapping[str, Any], outcome: Mapping[str, Any]
) -> None:
    if outcome["outcome"] == "rejected":
        headers = {each.name: each.headers[0] for each in dataset.columns}
        field = headers.get(outcome["column"], outcome["column"])
        told = f"{field}: {outcome['reason']}" if field else outcome["reason"]
        raise BodyError(told, field=field, ingestion=document["ingestion"])
    if document["problem"]:
        raise BodyError(document["problem"]["detail"], ingestion=document["ingestion"])


def _body(call: Call) -> dict[str, Any]:
    """Return the members of the body: a JSON object, or a form.

    What begins as a JSON object is one: curl calls whatever it sends a form.
    """
    if call.request.mimetype == "multipart/form-data":
        return dict(call.request.form.items())
    data = read_data(call)
    is_form = call.request.mimetype == "application/x-www-form-urlencoded"
    if is_form and not data.lstrip().startswith(b"{"):
        return dict(parse_qsl(data.decode("utf-8", "replace"), keep_blank_values=True))
    body = parse_body(data)
    if body is None:
        return {}
    if not isinstance(body, dict):
        raise BodyError("the body is not a JSON object")
    return body


def _as_arguments(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the members of a body as parameters; null is none."""
    words = {True: "true", False: "false"}
    return [
        (name, words[value] if isinstance(value, bool) else str(value))
        for name, value in body.items()
        if value is not None
    ]


_HANDLERS: Mapping[str, Callable[[Hit], Response]] = {
    "text": _answer_text,
    "query": _answer_query,
    "row": _add_row,
    "upload": take_file,
    "chunked_upload": take_piece,
    "job_status": tell_job,
    "job_output": answer_job,
}
