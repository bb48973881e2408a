"""Routes of other systems that a dataset serves: parses and checks their declarations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sluice.datasets.model import VARIABLE, Alias, Dataset
from sluice.errors import NotFoundError, SluiceError, not_allowed
from sluice.routes import ALIASES, function_for

SHAPES = ("objects", "object", "list", "text")
NAMES = ("columns", "headers")

#: The keys of each kind of alias: the type of the value, and its description for errors.
_ANSWER = {
    "query": (str, "the name of a query of this dataset"),
    "shape": (str, "one of " + ", ".join(SHAPES)),
    "names": (str, "columns or headers"),
}
KINDS: Mapping[str, Mapping[str, tuple[type, str]]] = {
    "text": {"text": (str, "a text")},
    "query": _ANSWER,
    "row": {
        **_ANSWER,
        "needs": (list, "a list of names that the body must have"),
        "next_key": (str, "the column that is given the next free number"),
    },
    "upload": {},
    "chunked_upload": {},
    "job_status": {},
    "job_output": {},
}
_REQUIRED = {"text": ("text",), "query": ("query",), "row": ("query",)}
_METHODS = {
    "text": ("GET",),
    "query": ("GET", "POST"),
    "row": ("POST", "PUT"),
    "upload": ("POST", "PUT"),
    "chunked_upload": ("POST", "PUT"),
    "job_status": ("GET",),
    "job_output": ("GET",),
}


class AliasError(ValueError):
    """An alias is declared wrongly.

    Attributes:
        key: the wrong key, or empty for the alias as a whole.
    """

    def __init__(self, detail: str, key: str = "") -> None:
        super().__init__(detail)
        self.key = key


def parse_alias(route: str, table: object) -> Alias:
    """Parse one entry of `[aliases]`.

    Raises:
        AliasError: it is wrong; the message names the problem.
    """
    method, space, path = route.partition(" ")
    if not space or not path.startswith("/") or _has_bad_path(path):
        raise AliasError("write METHOD /path, {name} for a segment that varies")
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(table, dict) or not isinstance(kind, str) or kind not in KINDS:
        raise AliasError(f"is a table with a kind: {', '.join(KINDS)}", "kind")
    if method not in _METHODS[kind]:
        raise AliasError(f"kind {kind} takes {', '.join(_METHODS[kind])}")
    _check_table(kind, table)
    _check_free(method, path)
    given: dict[str, Any] = {
        key: tuple(each) if isinstance(each, list) else each for key, each in table.items()
    }
    alias = Alias(method, path, **given)
    if kind.startswith("job_") and len(alias.variables) != 1:
        raise AliasError(f"kind {kind} has one segment that varies: the job")
    return alias


def _has_bad_path(path: str) -> bool:
    rest = VARIABLE.sub("", path)
    names = VARIABLE.findall(path)
    return bool(re.search(r"[{}?#\s]|//", rest)) or len(set(names)) < len(names)


def _check_table(kind: str, table: Mapping[str, Any]) -> None:
    known = KINDS[kind]
    for key, value in table.items():
        if key == "kind":
            continue
        if key not in known:
            raise AliasError(
                f"kind {kind} has no such key; it has {', '.join(known) or 'none'}", key
            )
        expected, what = known[key]
        texts = value if isinstance(value, list) else [value]
        if not isinstance(value, expected) or not all(isinstance(each, str) for each in texts):
            raise AliasError(f"{value!r} is not {what}", key)
        choices = {"shape": SHAPES, "names": NAMES}.get(key)
        if choices and value not in choices:
            raise AliasError(f"{value!r} is not {what}", key)
    for key in _REQUIRED.get(kind, ()):
        if key not in table:
            raise AliasError(f"is missing: {known[key][1]}", key)


def _check_free(method: str, path: str) -> None:
    """Refuse a route that the API has or reserves."""
    first = path.split("/", 2)[1]
    if first in ("v1", "functions", "-"):
        raise AliasError(f"/{first}/ is the API's own; choose another path")
    try:
        is_free = function_for(method, VARIABLE.sub("x", path)) == ALIASES
    except SluiceError:
        is_free = False
    if not is_free:
        raise AliasError("is a route of the API's own; choose another path")


def check_alias(alias: Alias, dataset: Dataset) -> None:
    """Check an alias against the dataset that declares it.

    Raises:
        AliasError: it names a query, parameter or column that does not exist.
    """
    if alias.query:
        query = dataset.query(alias.query)
        if query is None:
            known = ", ".join(each.name for each in dataset.queries) or "none"
            raise AliasError(
                f"{alias.query!r} is not a query of this dataset; known: {known}", "query"
            )
        parameters = {each.name for each in query.parameters}
        if strange := [each for each in alias.variables if each not in parameters]:
            raise AliasError(f"{', '.join(strange)}: not a parameter of {alias.query}", "query")
    if alias.next_key:
        column = next((each for each in dataset.columns if each.name == alias.next_key), None)
        if column is None or not column.definition.is_whole:
            raise AliasError(f"{alias.next_key!r} is not a column of whole numbers", "next_key")
    names = {h.casefold() for c in dataset.columns for h in (c.name, *c.headers)}
    if strange := [each for each in alias.needs if each.casefold() not in names]:
        raise AliasError(f"{', '.join(strange)}: not a column of this dataset", "needs")


@dataclass(frozen=True)
class AliasMatch:
    """The alias that serves a request.

    Attributes:
        variables: the texts of the path's variable segments, by name.
    """

    dataset: Dataset
    alias: Alias
    variables: Mapping[str, str]


def find_alias(datasets: Iterable[Dataset], method: str, path: str) -> AliasMatch:
    """Return the alias that serves a request; the one with the fewest variables goes first.

    Raises:
        NotFoundError: no dataset declares one.
        NotAllowedError: datasets declare some with this path, for other methods.
    """
    wanted = "GET" if method == "HEAD" else method
    of_path = [
        AliasMatch(dataset, alias, found.groupdict())
        for dataset in datasets
        for alias in dataset.aliases
        if (found := alias.pattern.fullmatch(path))
    ]
    if not of_path:
        raise NotFoundError(f"{method} {path}: no such route; /docs lists them all")
    fitting = [each for each in of_path if each.alias.method == wanted]
    if not fitting:
        raise not_allowed(method, path, {each.alias.method for each in of_path})
    return min(fitting, key=lambda each: len(each.alias.variables))
