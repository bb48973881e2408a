"""Sends spans to a collector of OpenTelemetry, if a setting names one. The only importer of its SDK.

A span is sent before its request is answered, as Cloud Run gives a function no processor afterwards. Only
sampled spans are sent, which are few: Cloud Run samples a request in ten seconds for each instance.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sluice.tracing import export_to

if TYPE_CHECKING:
    from sluice.settings import Settings
    from sluice.tracing import Exporter, Span

_TIMEOUT_S = 2.0


def export_spans(function: str, settings: Settings) -> None:
    """Send the spans of this process, if the settings say where.

    Args:
        function: its name.
        settings: `traces_endpoint`.
    """
    if settings.traces_endpoint:
        export_to(_exporter(function, settings.traces_endpoint))


def _exporter(function: str, endpoint: str) -> Exporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # 0.3 s
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags  # noqa: PLC0415

    exporter = OTLPSpanExporter(endpoint, timeout=_TIMEOUT_S)
    resource = Resource.create({"service.name": function, "service.namespace": "sluice"})

    def context(trace: str, span: str) -> SpanContext:
        flags = TraceFlags(TraceFlags.SAMPLED)
        return SpanContext(int(trace, 16), int(span, 16), is_remote=False, trace_flags=flags)

    def export(span: Span, what: str) -> None:
        ended = ReadableSpan(
            what,
            context=context(span.trace, span.id),
            parent=context(span.trace, span.parent) if span.parent else None,
            resource=resource,
            kind=SpanKind.SERVER,
            start_time=span.began_ns,
            end_time=time.time_ns(),
        )
        exporter.export([ended])

    return export
