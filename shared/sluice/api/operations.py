"""An operation of the API: a handler, its route, and its description for OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from inspect import getdoc
from typing import TYPE_CHECKING, Any, TypeVar

from sluice.api.authentication import authenticator_of
from sluice.api.bodies import MAX_DOCUMENT_BYTES
from sluice.documents.document import Document, DocumentError, decode
from sluice.environment import open_environment
from sluice.errors import (
    BodyError,
    NotFoundError,
    ParameterError,
    RateLimitedError,
    UnauthenticatedError,
)
from sluice.postgres.connection import open_database
from sluice.querying.parameters import read_count
from sluice.querying.reading import snapshot
from sluice.routes import ROUTES, Route

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine
    from werkzeug.wrappers import Request, Response

    from sluice.api.caller import Caller
    from sluice.ports import Environment
    from sluice.settings import Settings

T = TypeVar("T")
#: JSON Schema, or the document that has one.
Schema = Mapping[str, Any] | type[Document]
#: The largest number of an ingestion.
MAX_INGESTION = 2**31 - 1


@dataclass(frozen=True)
class Call:
    """One request to one operation.

    Attributes:
        path: the variable segments of the path, by name.
        caller: who sent it; its role suffices for the route.
    """

    settings: Settings
    request: Request
    path: Mapping[str, str]
    caller: Caller

    @cached_property
    def engine(self) -> Engine:
        """The database of this process."""
        return open_database(self.settings)

    def environment(self) -> Environment:
        """Return what a use case works with."""
        return open_environment(self.settings, self.caller.actor)

    def is_still_allowed(self) -> bool:
        """Return whether the caller has the same rights still; a long answer ends when it has not."""
        try:
            return authenticator_of(self.settings)(self.request) == self.caller
        except (UnauthenticatedError, RateLimitedError):
            return False

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Open a read-only transaction in which every statement sees the same rows."""
        return snapshot(self.engine, self.settings.statement_timeout_s)

    @property
    def arguments(self) -> list[tuple[str, str]]:
        """The pairs of the query string, in order."""
        return list(self.request.args.items(multi=True))

    @property
    def ingestion(self) -> int:
        """The ingestion that the path names.

        Raises:
            NotFoundError: it is not the number of an ingestion.
        """
        text = self.path["ingestion"]
        number = read_count(text)
        if number is None or number > MAX_INGESTION:
            raise NotFoundError(f"there is no ingestion {text}; ingestions are numbers")
        return number

    def body(self, kind: type[T]) -> T:
        """Return the JSON body as a document; an empty body has no members.

        Raises:
            BodyError: it is not JSON, or another document.
        """
        try:
            return decode(self.request.get_data() or b"{}", kind)
        except DocumentError as error:
            raise BodyError(str(error)) from None


def known_arguments(call: Call, known: Sequence[str]) -> dict[str, str]:
    """Return the query string by name.

    Raises:
        ParameterError: the route does not take a parameter.
    """
    given: dict[str, str] = {}
    for name, value in call.arguments:
        if name not in known:
            raise ParameterError(
                f"{name}: no such parameter; this route takes {', '.join(known)}", parameter=name
            )
        given[name] = value
    return given


@dataclass(frozen=True)
class Argument:
    """A parameter of the query string, or a header."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    place: str = "query"


#: The arguments of every route that answers in pages.
LIMIT = Argument("limit", "Most entries of the answer.", {"type": "integer", "minimum": 1})
CURSOR = Argument(
    "cursor", "`next` of the previous page.", {"type": "string", "pattern": "^[A-Za-z0-9_=-]*$"}
)


def names_schema(one: str) -> dict[str, str]:
    """Return the schema of a text of names that match a pattern, separated by commas."""
    return {"type": "string", "pattern": f"^{one}(,{one})*$"}


@dataclass(frozen=True, eq=False)
class Operation:
    """One route with its handler.

    Attributes:
        tag: heading in the documentation.
        answer: schema of the JSON of the successful answer.
        formats: other formats of the answer, by `sluice.api.formats`.
        refusals: HTTP statuses of its problem documents, besides those that every operation has.
        statuses: further HTTP statuses of answers: 206, 304.
        body: schema of the JSON body.
        body_type: media type of the body.
        max_body_bytes: most bytes of a body.
    """

    route: Route
    handler: Callable[[Call], Response]
    tag: str
    status: int = 200
    answer: Schema | None = None
    formats: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    refusals: tuple[int, ...] = ()
    statuses: tuple[int, ...] = ()
    body: Schema | None = None
    body_type: str = "application/json"
    max_body_bytes: int = MAX_DOCUMENT_BYTES

    @property
    def summary(self) -> str:
        """One sentence: the first paragraph of the handler's docstring."""
        return self._paragraphs[0]

    @property
    def description(self) -> str:
        """The other paragraphs of the handler's docstring."""
        return "\n\n".join(self._paragraphs[1:])

    @property
    def _paragraphs(self) -> list[str]:
        text = getdoc(self.handler) or ""
        return [" ".join(each.split()) for each in text.split("\n\n")]


def operation(
    name: str, tag: str, **properties: Any
) -> Callable[[Callable[[Call], Response]], Operation]:
    """Make a handler the operation of a route of `sluice.routes`; its docstring documents it.

    Args:
        name: of the route.
        tag: heading in the documentation.
        properties: further attributes of `Operation`.
    """
    (route,) = (each for each in ROUTES if each.name == name)

    def decorate(handler: Callable[[Call], Response]) -> Operation:
        return Operation(route, handler, tag, **properties)

    return decorate
