"""Simulates Cloud Scheduler: calls recovery periodically."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import ClientError

from sluice.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Container

    from aiohttp import ClientSession

FUNCTION = "finish"
#: Calls within the time after which an ingestion is stalled, as in Terraform's scheduler.
TIMES = 3
LOGGER = logging.getLogger(__name__)


async def call_recovery(session: ClientSession, url: str, functions: Container[str]) -> None:
    """Call recovery periodically until cancelled; after a failed call the next one catches up.

    Args:
        session: makes the calls.
        url: of recovery, at the gateway.
        functions: those that are deployed.
    """
    if FUNCTION not in functions:
        return
    while True:
        await asyncio.sleep(read_settings().recovery_idle_s / TIMES)
        try:
            async with session.post(url):
                pass
        except ClientError as error:
            LOGGER.warning("recovery was not called: %s", error)
