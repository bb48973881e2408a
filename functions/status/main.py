"""The function `status`: how far each file is, as documents, events and pushes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.api import downloads as outputs
from sluice.api.app import App
from sluice.api.routes import ingestions
from sluice.logs import configure_logging
from sluice.settings import read_settings

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

SETTINGS = read_settings(required=("project",))
LOGGER = configure_logging("status", SETTINGS.log_level)
APP = App(SETTINGS, (*ingestions.OPERATIONS, *outputs.OPERATIONS))


@functions_framework.http
def status(request: Request) -> Response:
    """Answer one request."""
    return APP.answer(request)
