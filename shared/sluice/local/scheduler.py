"""Simulates Cloud Scheduler: calls recovery periodically."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import ClientError

from sluice.ingestion.recovery import RECOVERY_PATH
from sluice.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Container

    from aiohttp import ClientSession

FUNCTION = "finish"
#: Calls within the time after which an ingestion is stalled, as in Terraform's scheduler.
TIMES = 3
LOGGER = logging.getLogger(__name__)


async def call_recovery(session: ClientSession, port: int, functions: Container[str]) -> None:
    """Call recovery periodically until cancelled; after a failed call the next one catches up.

    Args:
        session: makes the calls.
        port: of the gateway.
        functions: those that are deployed.
    """
    if FUNCTION not in functions:
        return
    url = f"http://127.0.0.1:{port}/functions/{FUNCTION}{RECOVERY_PATH}"
    while True:
        await asyncio.sleep(read_settings().recovery_idle_s / TIMES)
        try:
            async with session.post(url):
                pass
        except ClientError as error:
            LOGGER.warning("%s: %s", url, error)
