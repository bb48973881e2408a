"""The trace of the work that a thread does: W3C Trace Context, from an upload to the push of its events.

A request begins a span of the trace that it names, or of a new one. Messages carry the span on, in the
attribute that Google's client libraries use, so that what they cause belongs to the same trace; each line of
the log names trace and span. Source: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

#: The header of a request, and the attribute of a message.
HEADER = "traceparent"
ATTRIBUTE = "googclient_traceparent"
_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?:-.*)?"
)
_SAMPLED = 1


@dataclass(frozen=True)
class Span:
    """A piece of work within a trace.

    Attributes:
        trace: 32 hexadecimal digits.
        id: 16 hexadecimal digits.
        is_sampled: whether the caller records the trace.
        parent: the span that caused it; empty for the first one.
    """

    trace: str
    id: str
    is_sampled: bool = False
    parent: str = ""

    @property
    def header(self) -> str:
        """The span as others name it as their parent."""
        return f"00-{self.trace}-{self.id}-{int(self.is_sampled):02x}"

    def log_fields(self, project: str) -> dict[str, object]:
        """Return the fields by which Cloud Logging finds the lines of a trace."""
        return {
            "logging.googleapis.com/trace": f"projects/{project}/traces/{self.trace}",
            "logging.googleapis.com/spanId": self.id,
            "logging.googleapis.com/trace_sampled": self.is_sampled,
        }


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def current_span() -> Span | None:
    """Return the span of this thread's work; None outside of requests."""
    return _current.get()


def child_of(parent: str) -> Span:
    """Return a new span.

    Args:
        parent: a `traceparent`; where it is empty or not well-formed, a new trace begins.
    """
    span = secrets.token_hex(8)
    found = _PARENT.fullmatch(parent)
    if found is None:
        return Span(secrets.token_hex(16), span)
    is_sampled = bool(int(found["flags"], 16) & _SAMPLED)
    return Span(found["trace"], span, is_sampled, found["span"])


@contextmanager
def traced(parent: str) -> Iterator[None]:
    """Do work in a span of its own.

    Args:
        parent: see `child_of`.
    """
    token = _current.set(child_of(parent))
    try:
        yield
    finally:
        _current.reset(token)


def join(parent: str) -> None:
    """Let the rest of the work that is traced belong to the trace of a message, if that names one."""
    if parent:
        _current.set(child_of(parent))


def with_span(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of a message, with the span that publishes it."""
    span = current_span()
    return {**attributes, ATTRIBUTE: span.header} if span else dict(attributes)
