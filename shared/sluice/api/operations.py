"""An operation of the API: a handler, its route, and its description for OpenAPI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from inspect import getdoc
from typing import TYPE_CHECKING, Any, TypeVar

from sluice.documents.document import Document, DocumentError, decode
from sluice.environment import open_environment
from sluice.errors import BodyError, NotFoundError
from sluice.postgres.connection import open_database
from sluice.querying.reading import snapshot
from sluice.routes import ROUTES, Route

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine
    from werkzeug.wrappers import Request, Response

    from sluice.ports import Environment
    from sluice.settings import Settings

T = TypeVar("T")
#: JSON Schema, or the document that has one.
Schema = Mapping[str, Any] | type[Document]
_MAX_INTEGER = 2**31 - 1


@dataclass(frozen=True)
class Call:
    """One request to one operation.

    Attributes:
        path: the variable segments of the path, by name.
    """

    settings: Settings
    request: Request
    path: Mapping[str, str]

    @cached_property
    def engine(self) -> Engine:
        """The database of this process."""
        return open_database(self.settings)

    def environment(self) -> Environment:
        """Return what a use case works with."""
        return open_environment(self.settings)

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
        if not (text.isascii() and text.isdigit()) or int(text) > _MAX_INTEGER:
            raise NotFoundError(f"there is no ingestion {text}; ingestions are numbers")
        return int(text)

    def body(self, kind: type[T]) -> T:
        """Return the JSON body as a document; an empty body has no members.

        Raises:
            BodyError: it is not JSON, or another document.
        """
        try:
            return decode(self.request.get_data() or b"{}", kind)
        except DocumentError as error:
            raise BodyError(str(error)) from None


@dataclass(frozen=True)
class Argument:
    """A parameter of the query string, or a header."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    place: str = "query"


#: The arguments of every route that answers in pages.
LIMIT = Argument("limit", "Most entries of the answer.", {"type": "integer", "minimum": 1})
CURSOR = Argument("cursor", "`next` of the previous page.")


@dataclass(frozen=True, eq=False)
class Operation:
    """One route with its handler.

    Attributes:
        tag: heading in the documentation.
        answer: schema of the JSON of the successful answer.
        formats: other formats of the answer, by `sluice.api.formats`.
        body: schema of the JSON body.
    """

    route: Route
    handler: Callable[[Call], Response]
    tag: str
    status: int = 200
    answer: Schema | None = None
    formats: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    body: Schema | None = None

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
    name: str,
    tag: str,
    *,
    status: int = 200,
    answer: Schema | None = None,
    formats: tuple[str, ...] = (),
    arguments: tuple[Argument, ...] = (),
    body: Schema | None = None,
) -> Callable[[Callable[[Call], Response]], Operation]:
    """Make a handler the operation of a route of `sluice.routes`; its docstring documents it."""
    (route,) = (each for each in ROUTES if each.name == name)

    def decorate(handler: Callable[[Call], Response]) -> Operation:
        return Operation(route, handler, tag, status, answer, formats, arguments, body)

    return decorate
