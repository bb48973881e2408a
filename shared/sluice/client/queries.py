"""The named queries of a dataset as the API lists them; knows the shape of its JSON alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    Document = Mapping[str, Any]


@dataclass(frozen=True)
class QueryParameter:
    """A parameter that a query takes."""

    name: str
    type: str
    description: str = ""
    required: bool = False
    default: str | None = None
    one_of: tuple[str, ...] = ()

    @classmethod
    def parse(cls, document: Document) -> Self:
        """Read one parameter of the listing of queries."""
        default = document.get("default")
        return cls(
            name=str(document["name"]),
            type=str(document.get("type") or "text"),
            description=str(document.get("description") or ""),
            required=bool(document.get("required")),
            default=None if default is None else str(default),
            one_of=tuple(str(each) for each in document.get("one_of") or ()),
        )


@dataclass(frozen=True)
class QueryInfo:
    """A named query of a dataset: what it answers, what it takes, the verb it asks for.

    Attributes:
        needs: alternatives of parameters, of which one has to be given in full; an empty one
            is none of them.
        verb: name of a command of its own, or empty.
        output: what the verb prints of each row: a column, or a text with `{column}` in it.
        near: the query and its column that tell what is near, where the verb finds nothing.
    """

    dataset: str
    name: str
    summary: str
    parameters: tuple[QueryParameter, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    returns: str = "many"
    verb: str = ""
    output: str = ""
    near: tuple[str, str] | None = None
    document: Document = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def parse(cls, dataset: str, document: Document) -> Self:
        """Read one entry of the listing of queries."""
        near = document.get("near")
        return cls(
            dataset=dataset,
            name=str(document["name"]),
            summary=str(document.get("summary") or document.get("description") or ""),
            parameters=tuple(QueryParameter.parse(p) for p in document.get("parameters") or ()),
            needs=tuple(tuple(map(str, names)) for names in document.get("needs") or ()),
            returns=str(document.get("returns") or "many"),
            verb=str(document.get("verb") or ""),
            output=str(document.get("output") or ""),
            near=(str(near["query"]), str(near["column"])) if near else None,
            document=document,
        )
