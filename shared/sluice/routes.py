"""The public routes: method, path, function and name of each, the only place that has them.

The local gateway, Terraform's URL map and `sluice.api` read this table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from sluice.documents.roles import Role
from sluice.errors import not_allowed

#: The function that serves every other path: the aliases that datasets declare.
ALIASES = "intake"


@dataclass(frozen=True)
class Route:
    """One method of one public path.

    Attributes:
        path: `{name}` matches one segment.
        function: the function that serves it.
        name: the operationId in OpenAPI.
        role: the least role that a caller needs.
    """

    method: str
    path: str
    function: str
    name: str
    role: Role

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression."""
        parts = re.split(r"\{\w+\}", self.path)
        return re.compile("[^/]+".join(re.escape(each) for each in parts))


ROUTES = (
    Route("GET", "/openapi.json", "query", "showOpenapi", Role.READER),
    Route("GET", "/docs", "query", "showDocs", Role.READER),
    Route("GET", "/v1/datasets", "query", "listDatasets", Role.READER),
    Route("GET", "/v1/datasets/{dataset}", "query", "describeDataset", Role.READER),
    Route("PUT", "/v1/datasets/{dataset}", "intake", "declareDataset", Role.ADMIN),
    Route("POST", "/v1/infer", "query", "infer", Role.LOADER),
    Route("GET", "/v1/datasets/{dataset}/rows", "query", "listRows", Role.READER),
    Route("GET", "/v1/datasets/{dataset}/rows/{key}", "query", "showRow", Role.READER),
    Route("POST", "/v1/datasets/{dataset}/rows", "intake", "postRows", Role.LOADER),
    Route("POST", "/v1/rows", "intake", "postRowsOfMany", Role.LOADER),
    Route("GET", "/v1/datasets/{dataset}/queries", "query", "listQueries", Role.READER),
    Route("GET", "/v1/datasets/{dataset}/queries/{query}", "query", "askQuery", Role.READER),
    Route("POST", "/v1/uploads", "intake", "openUpload", Role.LOADER),
    Route("GET", "/v1/ingestions", "status", "listIngestions", Role.READER),
    Route("GET", "/v1/ingestions/{ingestion}", "status", "showIngestion", Role.READER),
    Route("GET", "/v1/ingestions/{ingestion}/rejects", "status", "listRejects", Role.READER),
    Route("GET", "/v1/ingestions/{ingestion}/duplicates", "status", "listDuplicates", Role.READER),
    Route("GET", "/v1/ingestions/{ingestion}/output", "status", "showOutput", Role.READER),
    Route("GET", "/v1/ingestions/{ingestion}/events", "status", "listEvents", Role.READER),
    Route("POST", "/v1/ingestions/{ingestion}/cancel", "intake", "cancelIngestion", Role.LOADER),
    Route("POST", "/v1/ingestions/{ingestion}/retry", "intake", "retryIngestion", Role.LOADER),
    Route("POST", "/v1/ingestions/{ingestion}/undo", "intake", "undoIngestion", Role.LOADER),
    Route("POST", "/v1/ingestions/{ingestion}/redo", "intake", "redoIngestion", Role.LOADER),
    Route("POST", "/v1/ingestions/{ingestion}/verify", "intake", "verifyIngestion", Role.LOADER),
    Route("POST", "/v1/subscriptions", "status", "subscribe", Role.LOADER),
    Route("GET", "/v1/subscriptions", "status", "listSubscriptions", Role.LOADER),
    Route("GET", "/v1/subscriptions/{subscription}", "status", "showSubscription", Role.LOADER),
    Route("DELETE", "/v1/subscriptions/{subscription}", "status", "unsubscribe", Role.LOADER),
    Route("POST", "/v1/backups", "backup", "makeBackup", Role.ADMIN),
    Route("GET", "/v1/backups", "backup", "listBackups", Role.ADMIN),
    Route("GET", "/v1/backups/{backup}", "backup", "showBackup", Role.ADMIN),
    Route("POST", "/v1/backups/{backup}/restore", "backup", "restoreBackup", Role.ADMIN),
    Route("GET", "/v1/backups/{backup}/compare", "backup", "compareBackup", Role.ADMIN),
    Route("POST", "/v1/keys", "intake", "createKey", Role.ADMIN),
    Route("GET", "/v1/keys", "intake", "listKeys", Role.ADMIN),
    Route("POST", "/v1/keys/{id}/rotate", "intake", "rotateKey", Role.ADMIN),
    Route("DELETE", "/v1/keys/{id}", "intake", "revokeKey", Role.ADMIN),
    Route("GET", "/v1/dead-letters", "intake", "listDeadLetters", Role.ADMIN),
    Route("POST", "/v1/dead-letters/replay", "intake", "replayDeadLetters", Role.ADMIN),
    Route("POST", "/v1/dead-letters/drop", "intake", "dropDeadLetters", Role.ADMIN),
    Route("GET", "/v1/audit", "intake", "listAudit", Role.ADMIN),
    Route("POST", "/backup", "backup", "backUpTables", Role.ADMIN),
    Route("POST", "/restore", "backup", "restoreTables", Role.ADMIN),
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
    raise not_allowed(method, path, {route.method for route in fitting})
