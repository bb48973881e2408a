"""Requests and answers over HTTP: the only importer of httpx."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import ssl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from sluice.client.addresses import address_for
from sluice.client.errors import (
    ConnectionLostError,
    OutageError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
)
from sluice.documents.document import DocumentError, decode, parse, read_json
from sluice.documents.ingestions import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sluice.errors import SluiceError

    Parameters = Mapping[str, str] | Sequence[tuple[str, str]]

T = TypeVar("T")
# For each 8 MiB of an upload, the size that Google recommends.
UPLOAD_TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 5.0
TOO_MANY_REQUESTS = 429
#: Longest time in all for which a request waits until its rate is allowed.
MAX_WAIT_S = 120.0


class Transport:
    """One connection pool to one address, with its credentials; translates errors.

    Args:
        url: where the API answers.
        token: bearer token; empty sends none.
        timeout_s: longest silence of the server; a stream of events has a heartbeat every 15 s.
    """

    def __init__(self, url: str, token: str = "", *, timeout_s: float = 60.0) -> None:
        self.url = url.rstrip("/")
        # Session addresses of uploads carry their own credentials; the token stays with the API.
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(
            timeout=httpx.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S), verify=_certificates()
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def json(
        self,
        method: str,
        path: str,
        parameters: Parameters = (),
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send a request and return the JSON object in its answer; {} if it is empty.

        Raises:
            RefusedError: the API refused the request.
            OutageError: the API cannot serve it now.
            UnreachableError: nothing answers there.
            ConnectionLostError: the connection ended before the answer.
            UnexpectedAnswerError: the answer is not one of the API.
        """
        answer = self._answer(method, path, parameters, body, headers)
        return _object(answer) if answer.content else {}

    def read(
        self,
        kind: type[T],
        method: str,
        path: str,
        parameters: Parameters = (),
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> T:
        """Send a request and return the document that it is answered with; errors as `json`."""
        answer = self._answer(method, path, parameters, body, headers)
        try:
            return decode(answer.content or b"{}", kind)
        except DocumentError as error:
            _object(answer)
            raise UnexpectedAnswerError(f"{self.url}{path}", f"answered {error}") from None

    @contextmanager
    def stream(
        self,
        path: str,
        parameters: Parameters = (),
        accept: str = "*/*",
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        body: object = None,
    ) -> Iterator[Body]:
        """Open an answer with a streamed body.

        Raises:
            RefusedError, OutageError, UnreachableError, ConnectionLostError: see `json`.
        """
        request = self._client.build_request(
            method,
            address_for(self.url, method, path) + path,
            params=_params(parameters),
            **_content(body),
            headers={**self._headers, "Accept": accept, **(headers or {})},
        )
        answer = self._send(request, is_streamed=True)
        try:
            if answer.is_error:
                with self._translated():
                    answer.read()
                raise self._error(answer)
            yield Body(answer, self)
        finally:
            answer.close()

    def put(self, url: str, headers: Mapping[str, str], content: Iterable[bytes]) -> Receipt:
        """Send bytes to an upload session of Cloud Storage; any status is an answer.

        Raises:
            ConnectionLostError: no answer came.
        """
        try:
            answer = self._client.put(
                url, headers=dict(headers), content=content, timeout=UPLOAD_TIMEOUT_S
            )
        except httpx.TransportError as error:
            raise ConnectionLostError(url.split("?", 1)[0], _why(error)) from error
        return Receipt(answer.status_code, answer.headers.get("Range", ""), answer.text)

    def _answer(
        self,
        method: str,
        path: str,
        parameters: Parameters,
        body: object,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        with self._translated():
            request = self._client.build_request(
                method,
                address_for(self.url, method, path) + path,
                params=_params(parameters),
                **_content(body),
                headers={**self._headers, **(headers or {})},
            )
        answer = self._send(request)
        if answer.is_error:
            raise self._error(answer)
        return answer

    def _send(self, request: httpx.Request, *, is_streamed: bool = False) -> httpx.Response:
        """Send a request; where its rate is refused, wait as the answer asks and send it again."""
        waited_s = 0.0
        while True:
            with self._translated():
                answer = self._client.send(request, stream=is_streamed)
            if answer.status_code != TOO_MANY_REQUESTS:
                return answer
            pause_s = _pause_s(answer)
            waited_s += pause_s
            if waited_s > MAX_WAIT_S:
                return answer
            answer.close()
            time.sleep(pause_s)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise UnexpectedAnswerError(self.url, "is not an http address") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UnreachableError(self.url) from error
        except httpx.TransportError as error:
            raise ConnectionLostError(self.url, _why(error)) from error

    def _error(self, answer: httpx.Response) -> SluiceError:
        try:
            problem = parse(_object(answer), Problem)
        except (UnexpectedAnswerError, DocumentError):
            detail = f"{answer.request.url}: answered {answer.status_code}"
            problem = Problem(title="", status=answer.status_code, code="", detail=detail)
        return OutageError(problem) if answer.status_code >= 500 else RefusedError(problem)


class Body:
    """The streamed body of an answer."""

    def __init__(self, answer: httpx.Response, transport: Transport) -> None:
        self._answer = answer
        self._transport = transport

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes."""
        with self._transport._translated():  # noqa: SLF001  # two classes of one module
            yield from self._answer.iter_bytes()

    def interrupt(self) -> None:
        """End it from another thread, even while one waits for its next bytes."""
        stream = self._answer.extensions["network_stream"]
        with contextlib.suppress(OSError):  # it has ended
            stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the text, without their ends."""
        with self._transport._translated():  # noqa: SLF001
            yield from self._answer.iter_lines()


class Receipt:
    """The answer of Cloud Storage to a part of an upload.

    Attributes:
        status: HTTP status.
        range: the bytes it has, as `bytes=0-N`; empty if none.
        text: the body.
    """

    def __init__(self, status: int, range_: str, text: str) -> None:
        self.status = status
        self.range = range_
        self.text = text

    def json(self) -> dict[str, Any]:
        """Return the body as a JSON object; {} if it is not one."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return the trusted certificates, which take 25 ms to read."""
    return httpx.create_ssl_context()


def _pause_s(answer: httpx.Response) -> float:
    """Return the time after which to try again; one second if the answer does not say."""
    given = answer.headers.get("Retry-After", "")
    return float(given) if given.isascii() and given.isdigit() else 1.0


def _params(parameters: Parameters) -> httpx.QueryParams:
    pairs = parameters.items() if hasattr(parameters, "items") else parameters
    return httpx.QueryParams(list(pairs))


def _content(body: object) -> dict[str, Any]:
    """Return the arguments of httpx for a body: bytes as they are, anything else as JSON."""
    return {"content": body} if isinstance(body, bytes) else {"json": body}


def _object(answer: httpx.Response) -> dict[str, Any]:
    where = str(answer.request.url)
    try:
        found = read_json(answer.content)
    except ValueError:
        kind = answer.headers.get("content-type", "nothing")
        raise UnexpectedAnswerError(where, f"answered {kind} instead of JSON") from None
    if not isinstance(found, dict):
        raise UnexpectedAnswerError(where, "answered JSON that is not an object")
    return found


def _why(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__
