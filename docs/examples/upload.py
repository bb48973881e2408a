"""Uploads a file of trips with the client library of Cloud Storage: `upload.py saturday.csv`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from google.cloud import storage

INBOX = os.environ.get("SLUICE_INBOX", "inbox")


def main(path: Path) -> None:
    """Create the object `trips/<name>` in the inbox."""
    storage.Client().bucket(INBOX).blob(f"trips/{path.name}").upload_from_filename(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
