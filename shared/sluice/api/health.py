"""Whether a function takes requests: the answer to probes of containers and load balancers.

It needs no key and asks neither database nor Pub/Sub, so that their outage restarts no function. Cloud Run
reserves some paths that end in `z`, so it is not `/healthz`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from werkzeug.wrappers import Request

HEALTH_PATH = "/health"
#: Body and HTTP status.
HEALTHY = ("", 204)


def is_health_check(request: Request) -> bool:
    """Whether a request asks only whether the function takes requests."""
    return request.path == HEALTH_PATH and request.method in ("GET", "HEAD")
