"""The function `status`: ingestions with their events, and push subscriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.api.app import App
from sluice.api.routes import ingestions, subscriptions
from sluice.settings import read_settings
from sluice.telemetry import start_telemetry

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

SETTINGS = read_settings(required=("project",))
LOGGER = start_telemetry("status", SETTINGS)
APP = App(SETTINGS, "status", (*ingestions.OPERATIONS, *subscriptions.OPERATIONS))


@functions_framework.http
def status(request: Request) -> Response:
    """Answer one request."""
    return APP.answer(request)
