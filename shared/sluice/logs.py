"""Structured logging: one JSON object a line, as Cloud Logging reads it, without secrets or values of rows.

The message of an unexpected error may repeat whatever the error is about: PostgreSQL's name the values of a
row, those of HTTP libraries the address of an upload session, which is its credential. So a logged stack
trace has the frames and, of each error, what `describe` knows to be free of values.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sluice.errors import SluiceError, postgres_fields
from sluice.tracing import current_span

if TYPE_CHECKING:
    from sluice.settings import Settings

#: Errors of the standard library whose messages name what is in the code, not in the data.
_OF_CODE = (TypeError, AttributeError, NameError, ImportError, NotImplementedError, MemoryError)
#: What PostgreSQL's error names: constraint, schema, table, column, data type, routine of the server.
_NAMES = {
    "n": "constraint",
    "s": "schema",
    "t": "table",
    "c": "column",
    "d": "type",
    "R": "routine",
}
_SQLSTATE, _MESSAGE = "C", "M"
#: Classes of SQLSTATE whose messages have no values: lost connections, divisions by zero, constraints (values
#: are in DETAIL), states of transactions, unknown names, lack of resources, locks, shutdowns, the system.
_WITHOUT_VALUES = ("08", "22012", "23", "25", "26", "40", "42", "53", "55", "57", "58")
#: Secrets by their form, wherever they are: keys, ID tokens, upload sessions.
_SECRETS = re.compile(
    r"(?P<key>sluice_[0-9a-z]{10}_)[0-9A-Za-z]{43}"
    r"|(?P<token>eyJ)[\w-]+\.[\w-]+\.[\w-]*"
    r"|(?P<session>upload_id(?:=|%3D))[^&\s\"'\\)]+"
    r"|(?P<bearer>\b[Bb]earer )[^\s\"'\\,]{8,}"
)


def mask_secrets(text: str) -> str:
    """Return a text with the secrets in it replaced by `***`."""
    return _SECRETS.sub(lambda found: f"{found[found.lastgroup or 0]}***", text)


def describe(error: BaseException) -> str:
    """Return what an error is, without any value that it may repeat."""
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    what = _what(error)
    return f"{name}: {what}" if what else name


def _what(error: BaseException) -> str:
    if isinstance(error, SluiceError):
        why = f" because of {describe(error.__cause__)}" if error.__cause__ else ""
        return str(error) if error.status >= 500 else f"{error.code}{why}"
    if isinstance(error, OSError):
        return error.strerror or ""
    if isinstance(error, _OF_CODE):
        return str(error)
    fields = postgres_fields(error)
    if not fields:
        return ""
    state = fields[_SQLSTATE]
    message = [fields[_MESSAGE]] if state.startswith(_WITHOUT_VALUES) else []
    names = [f"{name} {fields[key]}" for key, name in _NAMES.items() if key in fields]
    return ", ".join([f"SQLSTATE {state}", *message, *names])


def stack_trace(error: BaseException) -> str:
    """Return the frames of an error and of those that caused it, each as `describe` has it."""
    parts = (
        "".join(["Traceback (most recent call last):\n", *traceback.format_tb(each.__traceback__)])
        + describe(each)
        for each in _chain(error)
    )
    return "\n\n".join(reversed(list(parts)))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then its cause, and so on."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


class _CloudFormatter(logging.Formatter):
    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            **getattr(record, "fields", {}),
        }
        if span := current_span():
            entry |= span.log_fields(self._project)
        if record.exc_info and record.exc_info[1]:
            entry["stack_trace"] = stack_trace(record.exc_info[1])
        return mask_secrets(json.dumps(entry, default=str))


def configure_logging(function: str, settings: Settings) -> logging.Logger:
    """Send this process's records to standard error as JSON.

    Args:
        function: its name.
        settings: `log_level`, `project`.

    Returns:
        The function's logger.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_CloudFormatter(settings.project))
    root = logging.getLogger("sluice")
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    root.propagate = False
    return root.getChild(function)
