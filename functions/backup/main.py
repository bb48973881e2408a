"""The function `backup`: makes backups, restores them, compares copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.api.app import App
from sluice.api.routes import backups
from sluice.settings import read_settings
from sluice.telemetry import start_telemetry

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

SETTINGS = read_settings(required=("project", "outbox"))
LOGGER = start_telemetry("backup", SETTINGS)
APP = App(SETTINGS, "backup", backups.OPERATIONS)


@functions_framework.http
def backup(request: Request) -> Response:
    """Answer one request."""
    return APP.answer(request)
