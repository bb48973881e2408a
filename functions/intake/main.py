"""The function `intake`: rows, uploads, declarations, commands to ingestions, and aliases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import functions_framework

from sluice.api.app import App
from sluice.api.legacy import aliases
from sluice.api.routes import audit, commands, datasets, dead_letters, keys, rows, uploads
from sluice.settings import read_settings
from sluice.telemetry import start_telemetry

if TYPE_CHECKING:
    from flask import Request
    from werkzeug.wrappers import Response

SETTINGS = read_settings(required=("project",))
LOGGER = start_telemetry("intake", SETTINGS)
OPERATIONS = (
    *datasets.OPERATIONS,
    *rows.OPERATIONS,
    *uploads.OPERATIONS,
    *commands.OPERATIONS,
    *keys.OPERATIONS,
    *dead_letters.OPERATIONS,
    *audit.OPERATIONS,
)
APP = App(SETTINGS, "intake", OPERATIONS, aliases.answer_alias)


@functions_framework.http
def intake(request: Request) -> Response:
    """Answer one request."""
    return APP.answer(request)
