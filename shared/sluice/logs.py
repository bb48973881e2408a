"""Structured logging: one JSON object a line, as Cloud Logging reads it."""

from __future__ import annotations

import json
import logging
import sys


class _CloudFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure_logging(function: str, level: str) -> logging.Logger:
    """Send this process's records to standard error as JSON; return the function's logger."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_CloudFormatter())
    root = logging.getLogger("sluice")
    root.handlers[:] = [handler]
    root.setLevel(level)
    root.propagate = False
    return root.getChild(function)
