"""The backups that there are, as the bucket tells: done with a manifest, else being made or failed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sluice.backups.manifest import FOLDER, Manifest, manifest_name, read_manifest
from sluice.errors import NotFoundError
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sluice.ports import Archive
    from sluice.settings import Settings

_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


class Shelf:
    """Finds backups.

    Args:
        settings: `outbox`.
        engine: the database, which knows what is being made.
        archive: Cloud Storage.
    """

    def __init__(self, settings: Settings, engine: Engine, archive: Archive) -> None:
        self._bucket = settings.outbox
        self._engine = engine
        self._archive = archive

    def documents(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest backups as the API shows them."""
        found = [
            each for each in self._archive.folders(self._bucket, FOLDER) if _ID.fullmatch(each)
        ]
        return [self.document(each) for each in sorted(found, reverse=True)[:limit]]

    def document(self, backup: str) -> dict[str, Any]:
        """Return a backup as the API shows it, whatever its state.

        Raises:
            NotFoundError: there is none of that id.
        """
        is_made = self._is_made(backup)  # before the manifest: it may be finished in between
        if data := self._fetch(backup, "manifest"):
            return document_of(read_manifest(data))
        started = self._fetch(backup, "started")
        if started is None:
            raise _unknown(backup)
        problem = self._fetch(backup, "failed")
        return {
            **_EMPTY,
            **json.loads(started),
            "state": "running" if is_made and problem is None else "failed",
            "problem": None if problem is None else json.loads(problem),
            "datasets": [
                {"name": name, "rows": 0, "size_bytes": 0, "parts": 0}
                for name in json.loads(started)["datasets"]
            ],
        }

    def manifest(self, backup: str) -> Manifest:
        """Return what a finished backup holds.

        Raises:
            NotFoundError: there is no finished backup of that id.
            DamagedBackupError: its manifest cannot be read.
        """
        data = self._fetch(backup, "manifest")
        if data is None:
            raise _unknown(backup)
        return read_manifest(data)

    def newest(self) -> Manifest:
        """Return the newest finished backup.

        Raises:
            NotFoundError: there is none.
        """
        for each in sorted(self._archive.folders(self._bucket, FOLDER), reverse=True):
            data = self._archive.fetch(self._bucket, manifest_name(each))
            if data is not None:
                return read_manifest(data)
        raise NotFoundError("there is no backup yet; POST /v1/backups makes one")

    def _fetch(self, backup: str, name: str) -> bytes | None:
        if not _ID.fullmatch(backup):
            raise _unknown(backup)
        return self._archive.fetch(self._bucket, f"{FOLDER}{backup}/{name}.json")

    def _is_made(self, backup: str) -> bool:
        with transaction(self._engine) as connection:
            return bool(connection.scalar(statement("is_backup_running"), {"backup": backup}))


_EMPTY: dict[str, Any] = {"finished_at": None, "rows": 0, "size_bytes": 0, "problem": None}


def document_of(manifest: Manifest) -> dict[str, Any]:
    """Return a finished backup as the API shows it."""
    datasets = [
        {
            "name": each.name,
            "rows": each.rows,
            "size_bytes": sum(part.size_bytes for part in each.parts),
            "parts": len(each.parts),
        }
        for each in manifest.datasets
    ]
    return {
        "id": manifest.id,
        "state": "done",
        "format": str(manifest.format),
        "started_at": manifest.started_at,
        "finished_at": manifest.finished_at,
        "rows": sum(each.rows for each in manifest.datasets),
        "size_bytes": sum(part.size_bytes for each in manifest.datasets for part in each.parts),
        "datasets": datasets,
        "problem": None,
    }


def _unknown(backup: str) -> NotFoundError:
    return NotFoundError(f"there is no backup {backup}; GET /v1/backups lists them")
