"""The app of the HTTP functions: finds the operation and the caller, answers errors."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flask
from werkzeug.exceptions import (
    HTTPException,
    MethodNotAllowed,
    NotFound,
    RequestEntityTooLarge,
)
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Response

from sluice.api import limits
from sluice.api.authentication import authenticator_of
from sluice.api.bodies import bounded_body, discard_body
from sluice.api.health import HEALTHY, is_health_check
from sluice.api.limits import CallerLimits, ConcurrencyLimits
from sluice.api.operations import Call, Operation
from sluice.api.responses import SECURITY_HEADERS
from sluice.errors import (
    BodyError,
    InternalError,
    NotAllowedError,
    NotFoundError,
    RangeNotSatisfiableError,
    RateLimitedError,
    SluiceError,
    TooLargeError,
    TransientError,
    UnauthenticatedError,
    not_allowed,
)
from sluice.escaping import escape_all
from sluice.ingestion.ingestions import no_ingestion, select_ingestion
from sluice.tracing import HEADER as TRACE_HEADER
from sluice.tracing import traced

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from sluice.api.caller import Caller
    from sluice.settings import Settings

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_log = logging.getLogger("sluice.api")


class BrokenAnswerError(Exception):
    """A streamed answer failed after its headers; the cause is in the log."""


class App:
    """Answers the requests of one function.

    Args:
        settings: read once, at start.
        function: its name.
        operations: those of its resources; it serves the ones whose route names it.
        others: answers all other requests; by default they are not found.

    Attributes:
        operations: what it serves.
    """

    def __init__(
        self,
        settings: Settings,
        function: str,
        operations: Sequence[Operation],
        others: Callable[[Call], Response] | None = None,
    ) -> None:
        self.operations = [each for each in operations if each.route.function == function]
        self._settings = settings
        self._function = function
        self._others = others
        self._authenticate = authenticator_of(settings)
        self._limits = CallerLimits(settings)
        self._concurrency = ConcurrencyLimits(settings)
        self._paths = Map([_rule(each) for each in self.operations], strict_slashes=False)
        if flask.has_app_context():  # that of functions-framework, which loads main.py
            flask.current_app.register_error_handler(HTTPException, _refuse)

    def answer(self, request: Request) -> Response:
        """Answer a request, in a span of its trace; a failure becomes a problem document."""
        if is_health_check(request):
            return Response(*HEALTHY)
        with traced(request.headers.get(TRACE_HEADER, ""), f"{request.method} {self._function}"):
            return self._answer(request)

    def _answer(self, request: Request) -> Response:
        caller = standing = leave = None
        try:
            caller = self._authenticate(request)
            standing = self._limits.take(caller)
            limits.check(standing)
            leave = self._concurrency.enter(caller)
            response = self._dispatch(request, caller)
        except Exception as error:  # noqa: BLE001  # the one place that turns errors into responses
            response = problem_response(_public_error(error, request))
        discard_body(request)
        if leave is not None:
            response.call_on_close(leave)
        if caller is not None:
            response.call_on_close(functools.partial(self._authenticate.touch, caller))
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.update(limits.headers(standing) if standing else {})
        if response.is_streamed:
            response.response = _LoggedBody(iter(response.response), request)
        if request.method == "HEAD":
            response.close()
        return response

    def _dispatch(self, request: Request, caller: Caller) -> Response:
        found, path = self._find(request)
        call = Call(self._settings, request, path, caller)
        if not isinstance(found, Operation):
            return found(call)
        caller.require(found.route.role)
        check_subject(call)
        with bounded_body(request, found.max_body_bytes):
            return found.handler(call)

    def _find(
        self, request: Request
    ) -> tuple[Operation | Callable[[Call], Response], Mapping[str, str]]:
        try:
            paths = self._paths.bind_to_environ(request.environ)
            rule, path = paths.match(return_rule=True)
        except NotFound:
            if self._others is None:
                raise
            return self._others, {}
        operation: Operation = rule.endpoint
        return operation, path


def check_subject(call: Call) -> None:
    """Check that the caller may see the dataset, or the ingestion, that the path names.

    Raises:
        NotFoundError: it may not, or there is no such ingestion.
    """
    if "dataset" in call.path:
        call.caller.check_dataset(call.path["dataset"])
    if "ingestion" in call.path and call.caller.is_limited:
        with call.snapshot() as connection:
            found = select_ingestion(connection, call.ingestion)
        if not call.caller.sees(found.dataset):
            raise no_ingestion(call.ingestion)


def _refuse(error: HTTPException) -> Response:
    """Answer what functions-framework does not pass on, such as a path with a line break."""
    response = problem_response(_public_error(error, flask.request))
    response.headers.update(SECURITY_HEADERS)
    return response


def problem_response(error: SluiceError) -> Response:
    """Return the RFC 9457 response of an error."""
    response = Response(
        json.dumps(escape_all(error.problem()), default=str),
        status=error.status,
        content_type=PROBLEM_TYPE,
    )
    if isinstance(error, TransientError):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if isinstance(error, RateLimitedError):
        response.headers["Retry-After"] = str(error.extra["retry_after_s"])
    if isinstance(error, UnauthenticatedError):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RangeNotSatisfiableError):
        response.headers["Content-Range"] = f"bytes */{error.extra.get('size_bytes')}"
    if isinstance(error, NotAllowedError):
        response.headers["Allow"] = ", ".join(error.extra.get("allow", ()))  # type: ignore[arg-type]
    return response


def _rule(operation: Operation) -> Rule:
    route = operation.route
    path = route.path.replace("{key}", "<path:key>").replace("{", "<").replace("}", ">")
    return Rule(path, methods=[route.method], endpoint=operation, merge_slashes=False)


def _public_error(error: Exception, request: Request) -> SluiceError:
    """Return the error for the client, and log what it must not see."""
    if isinstance(error, SluiceError):
        if error.status >= 500:
            _log.warning("%s %s: %s", request.method, request.path, error, exc_info=error)
        return error
    if isinstance(error, NotFound):
        return NotFoundError(f"{request.path}: no such route; /docs lists them all")
    if isinstance(error, MethodNotAllowed):
        return not_allowed(request.method, request.path, error.valid_methods or ())
    if isinstance(error, RequestEntityTooLarge):
        return TooLargeError("the body is too long")
    if isinstance(error, HTTPException) and (error.code or 500) < 500:
        return BodyError(error.description or str(error))
    hidden = InternalError(type(error).__name__)
    _log.error("%s %s failed", request.method, request.path, exc_info=error, extra=hidden.fields)
    return hidden


class _LoggedBody:
    """A streamed body that logs a failure, which then breaks the connection."""

    def __init__(self, body: Iterator[Any], request: Request) -> None:
        self._body = body
        self._request = request

    def __iter__(self) -> _LoggedBody:
        return self

    def __next__(self) -> Any:  # text or bytes, as the body has it
        try:
            return next(self._body)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001  # logged without values
            _log.error("%s broke off", self._request.path, exc_info=error)
            raise BrokenAnswerError from None  # the server logs it with its message

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close:
            close()
        self._body = iter(())  # what it reads from is closed with it
