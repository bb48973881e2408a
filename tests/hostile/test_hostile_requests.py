"""Hostile requests are answered in time, as documented, and no function exceeds its memory."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING

import pytest
from hostile_requests import CLOSED, REQUESTS, HostileRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from hostile_cloud import Processes

_BLOCK_BYTES = 64 * 1024


#: Those that run with all tests: one of each kind.
QUICK = {
    "rows_nested",
    "rows_of_many_digits",
    "rows_beyond_the_limit",
    "gzipped_rows",
    "an_unfinished_body",
    "infer_a_bomb",
    "many_filters",
    "a_long_list",
    "a_nested_cursor",
    "many_parameters",
    "a_long_header",
    "a_last_event_of_digits",
    "a_long_endpoint",
    "nested_comments",
    "nested_brackets",
    "many_queries",
    "many_nulls",
    "many_parts",
    "a_long_boundary",
    "an_unfinished_part",
    "push_of_no_base64",
    "push_of_many_attributes",
    "push_of_nul",
    "push_of_a_large_generation",
    "push_of_a_large_chunk",
    "a_backup_of_many_datasets",
}


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(each, id=each.name, marks=[] if each.name in QUICK else pytest.mark.hostile)
        for each in REQUESTS
    ],
)
def test_a_hostile_request_is_answered_within_the_memory_of_its_function(
    served: int,
    processes: Processes,
    request_: HostileRequest,
    record_property: Callable[[str, str], None],
) -> None:
    status, body = send(processes.port(request_.function), request_)
    record_property("end", str(status))
    assert status == request_.status or (status == CLOSED and request_.may_close), body
    if body and status >= 400:
        assert b"Traceback" not in body
        assert body.startswith(b"<html>") or json.loads(body)["code"], body
    assert not processes.beyond_limit()


def send(port: int, request: HostileRequest) -> tuple[int, bytes]:
    """Send a request to an instance; return the status of the answer and the start of its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=request.within_s)
    body = request.body()
    headers = {
        "Content-Length": str(len(body) if request.length is None else request.length),
        **request.headers,
    }
    try:
        connection.putrequest(request.method, request.target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        _send_body(connection, body)
        if request.length is not None and connection.sock is not None:
            connection.sock.shutdown(1)  # the rest of the body never comes
        answer = connection.getresponse()
        return answer.status, answer.read(_BLOCK_BYTES)
    except (ConnectionError, http.client.RemoteDisconnected):
        return CLOSED, b""
    finally:
        connection.close()


def _send_body(connection: http.client.HTTPConnection, body: bytes) -> None:
    """Send a body, up to where the server no longer reads: it may have answered already."""
    try:
        connection.send(body)
    except ConnectionError:
        return
