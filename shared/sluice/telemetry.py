"""Starts the log of a function and, if the settings name a collector, the export of its spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.logs import configure_logging
from sluice.span_export import export_spans

if TYPE_CHECKING:
    import logging

    from sluice.settings import Settings


def start_telemetry(function: str, settings: Settings) -> logging.Logger:
    """Start log and traces of this process.

    Args:
        function: its name.
        settings: those of `configure_logging` and `export_spans`.

    Returns:
        The function's logger.
    """
    export_spans(function, settings)
    return configure_logging(function, settings)
