"""What a route of the API is: a row of a table, from which come its dispatch and its OpenAPI entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sluice.errors import BodyError

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from werkzeug.wrappers import Request, Response

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
        from sluice.postgres.connection import open_database  # noqa: PLC0415  # paid where first used

        return open_database(self.settings)

    @property
    def arguments(self) -> list[tuple[str, str]]:
        """The pairs of the query string, in order."""
        return list(self.request.args.items(multi=True))

    def body(self, *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the JSON object of the body.

        Raises:
            BodyError: it is none, lacks a member, or has one that the route does not take.
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
            BodyError: it is no JSON object.
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


@dataclass(frozen=True, eq=False)
class Operation:
    """One method of one path.

    Attributes:
        path: `{name}` stands for one segment.
        name: the operationId.
        summary: one sentence for the reader of `/docs`.
        answer: schema of the successful answer's JSON.
        formats: other formats of the answer, by `sluice.api.formats`.
    """

    method: str
    path: str
    handler: Callable[[Call], Response]
    name: str
    summary: str
    tag: str
    description: str = ""
    status: int = 200
    answer: Schema | None = None
    formats: tuple[str, ...] = ()
    arguments: tuple[Argument, ...] = ()
    body: Schema | None = None
