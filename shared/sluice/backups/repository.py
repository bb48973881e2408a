"""The backups in the outbox: done if there is a manifest, else running or failed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sluice.backups.manifest import (
    FOLDER,
    ID,
    MAX_MANIFEST_BYTES,
    Manifest,
    manifest_name,
    read_manifest,
    read_problem,
    read_started,
)
from sluice.documents.backups import BackedUpDataset, Backup
from sluice.errors import DamagedBackupError, NotFoundError
from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from sluice.ports import Archive
    from sluice.settings import Settings


class Repository:
    """Finds backups.

    Args:
        settings: `outbox`.
        engine: the database, which knows which backups are running.
        archive: Cloud Storage.
    """

    def __init__(self, settings: Settings, engine: Engine, archive: Archive) -> None:
        self._bucket = settings.outbox
        self._engine = engine
        self._archive = archive

    def backups(self, limit: int) -> list[Backup]:
        """Return the newest backups; one whose manifest is damaged counts as failed."""
        found = [each for each in self._archive.folders(self._bucket, FOLDER) if ID.fullmatch(each)]
        return [self._listed(each) for each in sorted(found, reverse=True)[:limit]]

    def _listed(self, backup: str) -> Backup:
        try:
            return self.backup(backup)
        except DamagedBackupError as error:
            started_at = datetime.strptime(backup[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            return Backup(
                id=backup,
                state="failed",
                format="unknown",
                started_at=started_at.isoformat(),
                datasets=[],
                problem=error.problem(),
            )

    def backup(self, backup: str) -> Backup:
        """Return a backup, whatever its state.

        Raises:
            NotFoundError: there is no backup with this id.
            DamagedBackupError: what it wrote cannot be read.
        """
        if "\0" in backup:
            raise _unknown(backup)
        is_running = self._is_running(backup)  # before the manifest: it may finish in between
        if data := self._fetch(backup, "manifest"):
            return backup_document(read_manifest(data, backup))
        started = self._fetch(backup, "started")
        if started is None:
            raise _unknown(backup)
        problem = read_problem(self._fetch(backup, "failed"))
        facts = read_started(started)
        return Backup(
            id=backup,
            state="running" if is_running and problem is None else "failed",
            format=facts.format,
            started_at=facts.started_at,
            datasets=[BackedUpDataset(name) for name in facts.datasets],
            problem=problem,
        )

    def manifest(self, backup: str) -> Manifest:
        """Return the manifest of a finished backup.

        Raises:
            NotFoundError: there is no finished backup with this id.
            DamagedBackupError: its manifest cannot be read.
        """
        data = self._fetch(backup, "manifest")
        if data is None:
            raise _unknown(backup)
        return read_manifest(data, backup)

    def newest(self) -> Manifest:
        """Return the manifest of the newest finished backup.

        Raises:
            NotFoundError: there is none.
        """
        for each in sorted(self._archive.folders(self._bucket, FOLDER), reverse=True):
            data = self._archive.fetch(self._bucket, manifest_name(each), MAX_MANIFEST_BYTES)
            if data is not None and ID.fullmatch(each):
                return read_manifest(data, each)
        raise NotFoundError("there is no backup yet; POST /v1/backups makes one")

    def _fetch(self, backup: str, name: str) -> bytes | None:
        if not ID.fullmatch(backup):
            raise _unknown(backup)
        return self._archive.fetch(
            self._bucket, f"{FOLDER}{backup}/{name}.json", MAX_MANIFEST_BYTES
        )

    def _is_running(self, backup: str) -> bool:
        with transaction(self._engine) as connection:
            return bool(connection.scalar(statement("is_backup_running"), {"backup": backup}))


def backup_document(manifest: Manifest) -> Backup:
    """Return a finished backup as the API shows it."""
    datasets = [
        BackedUpDataset(
            each.name, each.rows, sum(part.size_bytes for part in each.parts), len(each.parts)
        )
        for each in manifest.datasets
    ]
    return Backup(
        id=manifest.id,
        state="done",
        format=str(manifest.format),
        started_at=manifest.started_at,
        datasets=datasets,
        finished_at=manifest.finished_at,
        rows=sum(each.rows for each in datasets),
        size_bytes=sum(each.size_bytes for each in datasets),
    )


def _unknown(backup: str) -> NotFoundError:
    return NotFoundError(f"there is no backup {backup}; GET /v1/backups lists them")
