"""The addresses of a deployment without a load balancer: each function has its own, and one tells the others.

Cloud Run's addresses are SERVICE-PROJECT_NUMBER.REGION.run.app:
https://cloud.google.com/run/docs/triggering/https-request#deterministic.
"""

from __future__ import annotations

import re

from sluice.routes import ROUTES, function_for

_FUNCTIONS = "|".join(sorted({route.function for route in ROUTES}))
_OF_A_FUNCTION = re.compile(
    rf"(?P<before>https://(?:[a-z0-9-]+-)?)(?:{_FUNCTIONS})(?P<after>-[0-9]+\.[a-z0-9-]+\.run\.app)"
)


def address_for(url: str, method: str, path: str) -> str:
    """Return the address that serves a route.

    Args:
        url: address of Sluice, which serves all routes unless it is one function of a deployment.
        method: of the request.
        path: of the request.

    Raises:
        NotAllowedError: routes have this path, for other methods.
    """
    found = _OF_A_FUNCTION.fullmatch(url)
    return f"{found['before']}{function_for(method, path)}{found['after']}" if found else url
