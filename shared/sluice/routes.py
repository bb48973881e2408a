"""The public routes: method, path, function and name of each, the only place that has them.

The local gateway, Terraform's URL map and `sluice.api` read this table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from sluice.errors import NotAllowedError

#: The function that serves every other path: the aliases that datasets declare.
ALIASES = "intake"


@dataclass(frozen=True)
class Route:
    """One method of one public path.

    Attributes:
        path: `{name}` matches one segment.
        function: the function that serves it.
        name: the operationId in OpenAPI.
    """

    method: str
    path: str
    function: str
    name: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression."""
        parts = re.split(r"\{\w+\}", self.path)
        return re.compile("[^/]+".join(re.escape(each) for each in parts))


ROUTES = (
    Route("GET", "/openapi.json", "query", "showOpenapi"),
    Route("GET", "/docs", "query", "showDocs"),
    Route("GET", "/v1/datasets", "query", "listDatasets"),
    Route("GET", "/v1/datasets/{dataset}", "query", "describeDataset"),
    Route("PUT", "/v1/datasets/{dataset}", "intake", "declareDataset"),
    Route("POST", "/v1/infer", "query", "infer"),
    Route("GET", "/v1/datasets/{dataset}/rows", "query", "listRows"),
    Route("GET", "/v1/datasets/{dataset}/rows/{key}", "query", "showRow"),
    Route("POST", "/v1/datasets/{dataset}/rows", "intake", "postRows"),
    Route("POST", "/v1/rows", "intake", "postRowsOfMany"),
    Route("GET", "/v1/datasets/{dataset}/queries", "query", "listQueries"),
    Route("GET", "/v1/datasets/{dataset}/queries/{query}", "query", "askQuery"),
    Route("POST", "/v1/uploads", "intake", "openUpload"),
    Route("GET", "/v1/ingestions", "status", "listIngestions"),
    Route("GET", "/v1/ingestions/{ingestion}", "status", "showIngestion"),
    Route("GET", "/v1/ingestions/{ingestion}/rejects", "status", "listRejects"),
    Route("GET", "/v1/ingestions/{ingestion}/duplicates", "status", "listDuplicates"),
    Route("GET", "/v1/ingestions/{ingestion}/output", "status", "showOutput"),
    Route("GET", "/v1/ingestions/{ingestion}/events", "status", "listEvents"),
    Route("POST", "/v1/ingestions/{ingestion}/cancel", "intake", "cancelIngestion"),
    Route("POST", "/v1/ingestions/{ingestion}/retry", "intake", "retryIngestion"),
    Route("POST", "/v1/ingestions/{ingestion}/undo", "intake", "undoIngestion"),
    Route("POST", "/v1/ingestions/{ingestion}/redo", "intake", "redoIngestion"),
    Route("POST", "/v1/ingestions/{ingestion}/verify", "intake", "verifyIngestion"),
    Route("POST", "/v1/subscriptions", "status", "subscribe"),
    Route("GET", "/v1/subscriptions", "status", "listSubscriptions"),
    Route("GET", "/v1/subscriptions/{subscription}", "status", "showSubscription"),
    Route("DELETE", "/v1/subscriptions/{subscription}", "status", "unsubscribe"),
    Route("POST", "/v1/backups", "backup", "makeBackup"),
    Route("GET", "/v1/backups", "backup", "listBackups"),
    Route("GET", "/v1/backups/{backup}", "backup", "showBackup"),
    Route("POST", "/v1/backups/{backup}/restore", "backup", "restoreBackup"),
    Route("GET", "/v1/backups/{backup}/compare", "backup", "compareBackup"),
    Route("POST", "/backup", "backup", "backUpTables"),
    Route("POST", "/restore", "backup", "restoreTables"),
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
    raise NotAllowedError(f"{method} {path}: this path allows {', '.join(methods)}", allow=methods)
