"""The function `query`: datasets, published rows, named queries, and the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.api.app import App
from sluice.api.routes import datasets, documentation, inference, queries, rows
from sluice.settings import read_settings
from sluice.telemetry import start_telemetry

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

SETTINGS = read_settings(required=("project",))
LOGGER = start_telemetry("query", SETTINGS)
APP = App(
    SETTINGS,
    "query",
    (
        *datasets.OPERATIONS,
        *inference.OPERATIONS,
        *rows.OPERATIONS,
        *queries.OPERATIONS,
        *documentation.OPERATIONS,
    ),
)


@functions_framework.http
def query(request: Request) -> Response:
    """Answer one request."""
    return APP.answer(request)
