"""The API's description of itself: OpenAPI 3.1, and the same document to read in a browser."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Response

from sluice.api import downloads as outputs
from sluice.api.openapi import document
from sluice.api.operations import Operation
from sluice.api.responses import json_response
from sluice.api.routes import backups as backup
from sluice.api.routes import datasets as query
from sluice.api.routes import ingestions as status
from sluice.api.routes import queries as asking
from sluice.api.routes import rows as admission
from sluice.api.routes import uploads as intake
from sluice.postgres.catalog import dataset_versions
from sluice.querying.reading import snapshot

if TYPE_CHECKING:
    from jinja2 import Template

    from sluice.api.operations import Call


def show_openapi(call: Call) -> Response:
    """Answer `GET /openapi.json`."""
    return json_response(_document(call))


def show_docs(call: Call) -> Response:
    """Answer `GET /docs`."""
    html = _template().render(api=_document(call))
    return Response(html, content_type="text/html; charset=utf-8")


def _document(call: Call) -> dict[str, Any]:
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        datasets = [each.dataset for each in dataset_versions(connection)]
    return document(operations(), datasets, call.settings)


def operations() -> tuple[Operation, ...]:
    """Return every operation of the API, whichever function serves it."""
    return (
        *query.OPERATIONS,
        *asking.OPERATIONS,
        *admission.OPERATIONS,
        *intake.OPERATIONS,
        *status.OPERATIONS,
        *outputs.OPERATIONS,
        *backup.OPERATIONS,
        *OPERATIONS,
    )


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader  # noqa: PLC0415  # paid where first used

    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("docs.html")


OPERATIONS = (
    Operation(
        "GET", "/openapi.json", show_openapi, "showOpenapi",
        "Describes this API as an OpenAPI 3.1 document.", "About", answer={"type": "object"},
    ),
    Operation(
        "GET", "/docs", show_docs, "showDocs",
        "Shows this page.", "About",
    ),
)  # fmt: skip
