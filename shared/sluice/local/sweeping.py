"""Plays Cloud Scheduler: has the function that sweeps do so by the clock."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiohttp import ClientError

from sluice.ingestion.ack_policy import SWEEP_PATH
from sluice.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Container

    from aiohttp import ClientSession

FUNCTION = "finish"
#: So often within the time that an ingestion may stand still, as in Terraform's scheduler.
TIMES = 3
LOGGER = logging.getLogger(__name__)


async def sweep_by_the_clock(session: ClientSession, port: int, functions: Container[str]) -> None:
    """Call the sweep until cancelled; what a call misses the next one makes good.

    Args:
        session: makes the calls.
        port: of the gateway.
        functions: those that are deployed.
    """
    if FUNCTION not in functions:
        return
    url = f"http://127.0.0.1:{port}/functions/{FUNCTION}{SWEEP_PATH}"
    while True:
        await asyncio.sleep(read_settings().sweep_idle_s / TIMES)
        try:
            async with session.post(url):
                pass
        except ClientError as error:
            LOGGER.warning("%s: %s", url, error)
