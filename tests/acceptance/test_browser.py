"""The real dropzone.js in a real browser uploads a file in parallel pieces through the gateway."""
# ruff: noqa: ASYNC110  # a browser has no event of ours to wait for

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import ClientSession

if TYPE_CHECKING:
    from sluice.local.cloud import Cloud

DROPZONE = Path(__file__).parents[1] / "dropzone" / "dropzone.min.js"
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
ROWS = 20_000
START_S = 30.0
#: Uploads a text and resolves to what each request was answered.
UPLOAD = """
new Promise((resolve, reject) => {
  Dropzone.autoDiscover = false;
  document.body.innerHTML = '<div id="drop"></div>';
  const answers = [];
  const zone = new Dropzone("#drop", {
    url: "/api/upload_file", chunking: true, forceChunking: true, chunkSize: 40000,
    parallelChunkUploads: true, retryChunks: true, maxFilesize: 1000,
  });
  zone.on("sending", (_, xhr) => xhr.addEventListener("load", () => answers.push(xhr.responseText)));
  zone.on("success", () => setTimeout(() => resolve(JSON.stringify(answers)), 0));
  zone.on("error", (_, message) => reject(new Error(JSON.stringify(message))));
  zone.addFile(new File([%s], "browser.csv", {type: "text/csv"}));
})
"""

pytestmark = pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")


class Page:
    """A page of the browser, spoken to by the DevTools protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = await self._socket.receive_json(timeout=60)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found

    async def loaded(self, url: str) -> None:
        state = "location.href + ' ' + document.readyState"
        async with asyncio.timeout(START_S):
            while not re.fullmatch(rf"{re.escape(url)}\S* complete", await self.run(state)):
                await asyncio.sleep(0.05)  # a browser has no event of ours

    async def run(self, script: str) -> Any:
        found = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[Page]:
    """Open a page in a browser of its own."""
    arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command = [BROWSER, *arguments, "--remote-debugging-port=0", f"--user-data-dir={folder}", url]
    browser = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port = await _port(folder / "DevToolsActivePort")
        async with ClientSession() as session:
            target = await _target(session, port, url)
            async with session.ws_connect(target, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        browser.terminate()
        await browser.wait()


async def _port(path: Path) -> int:
    async with asyncio.timeout(START_S):
        while not (text := await asyncio.to_thread(_text, path)):
            await asyncio.sleep(0.05)
    return int(text.splitlines()[0])


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


async def _target(session: ClientSession, port: int, url: str) -> str:
    async with asyncio.timeout(START_S):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                for each in await answer.json(content_type=None):
                    if each["type"] == "page" and each["url"].startswith(url):
                        return str(each["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)


async def upload(url: str, text: str, folder: Path) -> list[dict[str, str]]:
    async with opened(f"{url}/docs", folder) as page:
        await page.loaded(url)
        # The pages of Sluice send no requests; this one stands for a page of somebody's own.
        await page.call("Page.setBypassCSP", enabled=True)
        await page.call("Page.navigate", url=f"{url}/docs?upload")
        await page.loaded(f"{url}/docs?upload")
        await page.run(DROPZONE.read_text("utf-8"))
        answers = await page.run(UPLOAD % json.dumps(text))
    return [json.loads(each) for each in json.loads(answers)]


def test_dropzone_uploads_a_file_in_parallel_pieces(local_cloud: Cloud) -> None:
    marker = f"browser {time.time_ns()}"
    lines = [
        f'"{marker}, no {number}",2020-02-0{number % 9 + 1},{number}' for number in range(ROWS)
    ]
    text = "\n".join(["Song,Date,Number of Plays", *lines])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answers = asyncio.run(upload(local_cloud.url, text, Path(folder)))
    assert len(answers) == -(-len(text) // 40_000)
    (job,) = {each["job_id"] for each in answers if "job_id" in each}
    with httpx.Client(base_url=local_cloud.url) as client:
        while (status := client.get(f"/api/file_status/{job}").json())["job_status"] != "SUCCESS":
            assert status["job_status"] in ("PENDING", "STARTED"), status
            time.sleep(0.1)
        account = client.get(f"/v1/ingestions/{job}").json()["account"]
    assert account == {"read": ROWS, "loaded": ROWS, "rejected": 0, "duplicates": 0}
