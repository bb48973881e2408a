"""Uploads a CSV file in pieces, waits until it is loaded, and downloads its output.

    python docs/examples/upload_in_pieces.py plays.csv totals.csv

The protocol is that of dropzone.js. The file is read piece by piece and the output is streamed to disk, so
neither has to fit into memory. An interrupted download is resumed.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from pathlib import Path

import httpx

URL = os.environ.get("SLUICE_URL", "http://localhost:8080")
TOKEN = os.environ.get("SLUICE_TOKEN", "")
PIECE_BYTES = int(os.environ.get("PIECE_BYTES", "2000000"))
RETRIES = 5


def upload(client: httpx.Client, path: Path) -> str:
    """Send a file; return its job."""
    size_bytes = path.stat().st_size
    fields = {
        "dzuuid": str(uuid.uuid4()),
        "dzchunksize": PIECE_BYTES,
        "dztotalfilesize": size_bytes,
        "dzfilename": path.name,
    }
    with path.open("rb") as file:
        for first_byte in range(0, size_bytes, PIECE_BYTES):
            piece = file.read(PIECE_BYTES)
            answer = send(client, {**fields, "dzchunkbyteoffset": first_byte}, path.name, piece)
    return str(answer["job_id"])


def send(
    client: httpx.Client, fields: dict[str, object], name: str, piece: bytes
) -> dict[str, str]:
    """Send a piece, and retry if the network or the service fails; pieces are idempotent."""
    for attempt in range(RETRIES):
        try:
            answer = client.post("/api/upload_file", data=fields, files={"file": (name, piece)})
        except httpx.TransportError:
            time.sleep(2**attempt)
            continue
        if answer.status_code < 500:
            found: dict[str, str] = answer.raise_for_status().json()
            return found
        time.sleep(2**attempt)
    raise SystemExit(f"{name}: the piece at {fields['dzchunkbyteoffset']} was not accepted")


def wait(client: httpx.Client, job: str) -> None:
    """Wait until the job has ended."""
    while True:
        found = client.get(f"/api/file_status/{job}").raise_for_status().json()
        if found["job_status"] == "SUCCESS":
            return
        if found["job_status"] == "FAILURE":
            raise SystemExit(f"job {job} failed: {found.get('message', '')}")
        time.sleep(0.2)


def download(client: httpx.Client, job: str, path: Path) -> None:
    """Download the output, and resume after a lost connection."""
    with path.open("wb") as file:
        for attempt in range(RETRIES):
            headers = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
            try:
                with client.stream("GET", f"/api/download_file/{job}", headers=headers) as answer:
                    if answer.status_code == 416:  # the output is complete
                        return
                    answer.raise_for_status()
                    for block in answer.iter_bytes():
                        file.write(block)
                    return
            except httpx.TransportError:
                time.sleep(2**attempt)
    raise SystemExit(f"job {job}: the download failed repeatedly")


def main() -> None:
    """Upload, wait and download."""
    source, target = map(Path, sys.argv[1:3])
    headers = {"Authorization": f"Bearer {TOKEN}"} if TOKEN else {}
    with httpx.Client(base_url=URL, headers=headers, timeout=60) as client:
        job = upload(client, source)
        sys.stdout.write(f"job {job}: uploaded {source}\n")
        wait(client, job)
        download(client, job, target)
        sys.stdout.write(f"job {job}: wrote {target}\n")


if __name__ == "__main__":
    main()
