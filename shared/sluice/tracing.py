"""The trace of the work that a thread does: W3C Trace Context, from an upload to the push of its events.

A request begins a span of the trace that it names, or of a new one. Messages carry the span on, in the
attribute that Google's client libraries use, so that what they cause belongs to the same trace; each line of
the log names trace and span. Source: https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

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
        began_ns: nanoseconds since 1970.
    """

    trace: str
    id: str
    is_sampled: bool = False
    parent: str = ""
    began_ns: int = field(default_factory=time.time_ns)

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


#: Receives the sampled spans that end, each with what was done; see `sluice.span_export`.
Exporter = Callable[[Span, str], None]

_exporters: list[Exporter] = []
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


def export_to(exporter: Exporter) -> None:
    """Let an exporter receive the spans of this process, and no other one."""
    _exporters[:] = [exporter]


@contextmanager
def traced(parent: str, what: str) -> Iterator[None]:
    """Do work in a span of its own.

    Args:
        parent: see `child_of`.
        what: the work, in a few words that are the same each time.
    """
    token = _current.set(child_of(parent))
    try:
        yield
    finally:
        span = _current.get()
        _current.reset(token)
        if span is not None and span.is_sampled:
            for each in _exporters:
                each(span, what)


def join(parent: str) -> None:
    """Let the rest of the work that is traced belong to the trace of a message, if that names one."""
    begun = current_span()
    if parent and begun:
        _current.set(replace(child_of(parent), began_ns=begun.began_ns))


def with_span(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of a message, with the span that publishes it unless they name one."""
    span = current_span()
    return {ATTRIBUTE: span.header, **attributes} if span else dict(attributes)
