"""Which function serves which path: one table for the local gateway and for Terraform's URL map."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from sluice.errors import NotAllowedError

#: The function that serves every other path: those that datasets declare as aliases.
ALIASES = "intake"


@dataclass(frozen=True)
class Route:
    """One public path: `{name}` stands for one segment."""

    method: str
    path: str
    function: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression."""
        parts = re.split(r"\{\w+\}", self.path)
        return re.compile("[^/]+".join(re.escape(each) for each in parts))


ROUTES = (
    Route("GET", "/openapi.json", "query"),
    Route("GET", "/docs", "query"),
    Route("GET", "/v1/datasets", "query"),
    Route("GET", "/v1/datasets/{dataset}", "query"),
    Route("GET", "/v1/datasets/{dataset}/rows", "query"),
    Route("GET", "/v1/datasets/{dataset}/rows/{key}", "query"),
    Route("GET", "/v1/datasets/{dataset}/queries", "query"),
    Route("GET", "/v1/datasets/{dataset}/queries/{query}", "query"),
    Route("POST", "/v1/infer", "query"),
    Route("PUT", "/v1/datasets/{dataset}", "intake"),
    Route("POST", "/v1/datasets/{dataset}/rows", "intake"),
    Route("POST", "/v1/rows", "intake"),
    Route("POST", "/v1/uploads", "intake"),
    Route("POST", "/v1/ingestions/{ingestion}/cancel", "intake"),
    Route("POST", "/v1/ingestions/{ingestion}/retry", "intake"),
    Route("POST", "/v1/ingestions/{ingestion}/undo", "intake"),
    Route("GET", "/v1/ingestions", "status"),
    Route("GET", "/v1/ingestions/{ingestion}", "status"),
    Route("GET", "/v1/ingestions/{ingestion}/rejects", "status"),
    Route("GET", "/v1/ingestions/{ingestion}/output", "status"),
    Route("GET", "/v1/ingestions/{ingestion}/events", "status"),
    Route("POST", "/v1/subscriptions", "status"),
    Route("GET", "/v1/subscriptions", "status"),
    Route("GET", "/v1/subscriptions/{subscription}", "status"),
    Route("DELETE", "/v1/subscriptions/{subscription}", "status"),
    Route("POST", "/v1/backups", "backup"),
    Route("GET", "/v1/backups", "backup"),
    Route("GET", "/v1/backups/{backup}", "backup"),
    Route("POST", "/v1/backups/{backup}/restore", "backup"),
    Route("GET", "/v1/backups/{backup}/compare", "backup"),
    Route("POST", "/backup", "backup"),
    Route("POST", "/restore", "backup"),
)


def function_for(method: str, path: str) -> str:
    """Return the function that serves a request; a path without a route may be an alias.

    Raises:
        NotAllowedError: routes have this path, for other methods.
    """
    wanted = "GET" if method == "HEAD" else method
    fitting = [route for route in ROUTES if route.pattern.fullmatch(path)]
    for route in fitting:
        if route.method == wanted:
            return route.function
    if not fitting:
        return ALIASES
    methods = sorted({route.method for route in fitting})
    raise NotAllowedError(f"{method} {path}: this path takes {', '.join(methods)}", allow=methods)
