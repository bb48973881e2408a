"""The API's description of itself: OpenAPI 3.1, and the same document to read in a browser."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from sluice.api.openapi import document
from sluice.api.operations import Call, Operation, operation
from sluice.api.responses import json_response
from sluice.api.routes import (
    audit,
    backups,
    commands,
    datasets,
    dead_letters,
    inference,
    ingestions,
    keys,
    queries,
    rows,
    subscriptions,
    uploads,
)
from sluice.postgres.catalog import dataset_versions

if TYPE_CHECKING:
    from jinja2 import Template


@operation("showOpenapi", "About", answer={"type": "object"})
def show_openapi(call: Call) -> Response:
    """Describe this API as an OpenAPI 3.1 document."""
    return json_response(_document(call))


@operation("showDocs", "About")
def show_docs(call: Call) -> Response:
    """Show this page."""
    html = _template().render(api=_document(call))
    return Response(html, content_type="text/html; charset=utf-8")


def _document(call: Call) -> dict[str, Any]:
    with call.snapshot() as connection:
        declared = [
            each.dataset
            for each in dataset_versions(connection)
            if call.caller.sees(each.dataset.name)
        ]
    return document(operations(), declared, call.settings)


def operations() -> tuple[Operation, ...]:
    """Return every operation of the API, whichever function serves it."""
    return (
        *datasets.OPERATIONS,
        *inference.OPERATIONS,
        *rows.OPERATIONS,
        *queries.OPERATIONS,
        *uploads.OPERATIONS,
        *ingestions.OPERATIONS,
        *commands.OPERATIONS,
        *subscriptions.OPERATIONS,
        *backups.OPERATIONS,
        *keys.OPERATIONS,
        *dead_letters.OPERATIONS,
        *audit.OPERATIONS,
        *OPERATIONS,
    )


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader  # noqa: PLC0415  # paid where first used

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("docs.html")


OPERATIONS = (show_openapi, show_docs)
