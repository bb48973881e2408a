"""The app of the HTTP functions: finds the operation, checks the token, answers errors."""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Response

from sluice.api.operations import Call, Operation
from sluice.errors import (
    BodyError,
    NotAllowedError,
    NotFoundError,
    RangeNotSatisfiableError,
    SluiceError,
    TransientError,
    UnauthenticatedError,
)
from sluice.escaping import escape_all

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

    from sluice.settings import Settings

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 1
_log = logging.getLogger("sluice.api")


class InternalError(SluiceError):
    """An unexpected error; the details are in the log only."""

    def __init__(self) -> None:
        super().__init__("an unexpected error; its cause is in the log; try again or report it")


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
        self._others = others
        self._paths = Map([_rule(each) for each in self.operations], strict_slashes=False)

    def answer(self, request: Request) -> Response:
        """Answer a request; a failure becomes a problem document."""
        try:
            response = self._dispatch(request)
        except Exception as error:  # noqa: BLE001  # the one place that turns errors into responses
            return problem_response(_public_error(error, request))
        if response.is_streamed:
            response.response = _LoggedBody(iter(response.response), request)
        if request.method == "HEAD":
            response.close()
        return response

    def _dispatch(self, request: Request) -> Response:
        handler, path = self._find(request)
        self._authenticate(request)
        return handler(Call(self._settings, request, path))

    def _find(self, request: Request) -> tuple[Callable[[Call], Response], Mapping[str, str]]:
        with _translated_errors(request):
            try:
                paths = self._paths.bind_to_environ(request.environ)
                rule, path = paths.match(return_rule=True)
            except NotFound:
                if self._others is None:
                    raise
                return self._others, {}
        operation: Operation = rule.endpoint
        return operation.handler, path

    def _authenticate(self, request: Request) -> None:
        if not self._settings.token:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.encode(), self._settings.token.encode()
        ):
            raise UnauthenticatedError("send the header `Authorization: Bearer TOKEN`")


def problem_response(error: SluiceError) -> Response:
    """Return the RFC 9457 response of an error."""
    response = Response(
        json.dumps(escape_all(error.problem()), default=str),
        status=error.status,
        content_type=PROBLEM_TYPE,
    )
    if isinstance(error, TransientError):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
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


@contextmanager
def _translated_errors(request: Request) -> Iterator[None]:
    try:
        yield
    except MethodNotAllowed as error:
        allowed = sorted(error.valid_methods or ())
        raise NotAllowedError(
            f"{request.method} {request.path}: this path allows {', '.join(allowed)}", allow=allowed
        ) from None
    except NotFound:
        raise NotFoundError(f"{request.path}: no such route; /docs lists them all") from None


def _public_error(error: Exception, request: Request) -> SluiceError:
    """Return the error for the client, and log what it must not see."""
    if isinstance(error, SluiceError):
        if error.status >= 500:
            _log.warning("%s %s: %s", request.method, request.path, error, exc_info=error)
        return error
    if isinstance(error, HTTPException) and (error.code or 500) < 500:
        return BodyError(error.description or str(error))
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return InternalError()


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
        except Exception as error:
            _log.error("%s broke off", self._request.path, exc_info=error)
            raise

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close:
            close()
