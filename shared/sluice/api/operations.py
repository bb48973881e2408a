"""An operation of the API: a handler, its route, and what OpenAPI says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from inspect import getdoc
from typing import TYPE_CHECKING, Any

from sluice.environment import open_environment
from sluice.errors import BodyError
from sluice.postgres.connection import open_database
from sluice.querying.reading import snapshot
from sluice.routes import ROUTES, Route

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from sqlalchemy import Connection, Engine
    from werkzeug.wrappers import Request, Response

    from sluice.ports import Environment
    from sluice.settings import Settings

#: JSON Schema.
Schema = Mapping[str, Any]


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

    def body(self, *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the JSON object of the body.

        Raises:
            BodyError: it is not an object, lacks a member, or has an unknown one.
        """
        document = self.document()
        missing = [name for name in required if name not in document]
        if missing:
            raise BodyError(f"{', '.join(missing)}: missing in the body", missing=missing)
        unknown = [name for name in document if name not in (*required, *optional)]
        if unknown:
            known = ", ".join((*required, *optional))
            raise BodyError(f"{', '.join(unknown)}: not taken; the body takes {known}")
        return document

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the body, whatever its members.

        Raises:
            BodyError: it is not a JSON object.
        """
        document = self.request.get_json(force=True, silent=True)
        if not isinstance(document, dict):
            raise BodyError("the body is not a JSON object")
        return document


@dataclass(frozen=True)
class Argument:
    """A parameter of the query string, or a header."""

    name: str
    description: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
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
