"""Backups: made, listed, restored, compared with their copies."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sluice.api.operations import Argument, Call, names_schema, operation
from sluice.api.responses import json_response, stream_response
from sluice.backups.manifest import Format, Manifest
from sluice.backups.repository import Repository, backup_document
from sluice.datasets.identifiers import NAME
from sluice.documents import backups as documents
from sluice.documents.document import to_json
from sluice.errors import BodyError, InternalError, ParameterError, SluiceError

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from sluice.backups.backup import Progress, ReportProgress
    from sluice.gcloud.storage import CloudStorage

SUFFIX = "2"
NDJSON = "application/x-ndjson"
_LISTED = 100
#: Longest silence of a stream of lines, so that no proxy closes the connection.
_HEARTBEAT_S = 10.0
_log = logging.getLogger("sluice.api")


@operation(
    "makeBackup",
    "Backups",
    status=201,
    answer=documents.Backup,
    formats=("ndjson",),
    refusals=(409,),
    body=documents.BackupRequest,
)
def make_backup(call: Call) -> Response:
    """Back up some or all datasets to the outbox, from one consistent snapshot.

    The response is sent when the backup is done. With `Accept: application/x-ndjson` it is a
    stream: a line for each part, the last with `done` or `problem`.
    """
    body = call.body(documents.BackupRequest)
    if body.format not in tuple(Format):
        raise BodyError(f"format: {body.format!r} is not one of {', '.join(Format)}")
    work = _backing_up(call, body.datasets, Format(body.format))
    return _answer(call, lambda report: backup_document(work(report)), 201)


@operation("listBackups", "Backups", answer=documents.Backups)
def list_backups(call: Call) -> Response:
    """List the newest backups, each with its state."""
    return json_response(documents.Backups(_repository(call).backups(_LISTED)))


@operation("showBackup", "Backups", answer=documents.Backup)
def show_backup(call: Call) -> Response:
    """Return a backup: its state, datasets and sizes."""
    return json_response(_repository(call).backup(call.path["backup"]))


@operation(
    "restoreBackup",
    "Backups",
    answer=documents.Restored,
    formats=("ndjson",),
    refusals=(409,),
    body=documents.RestoreRequest,
)
def restore_backup(call: Call) -> Response:
    """Restore some or all datasets of a backup, as copies or in place.

    Copies have the suffix "2" unless another is given; `in_place` replaces the present rows. All or
    nothing: every part is verified, and all rows become visible together. `Accept:
    application/x-ndjson` as for a backup.
    """
    body = call.body(documents.RestoreRequest)
    manifest = _repository(call).manifest(call.path["backup"])
    return _answer(call, _restoring(call, manifest, body.datasets, _suffix(body)))


@operation(
    "compareBackup",
    "Backups",
    answer=documents.Comparison,
    formats=("ndjson",),
    arguments=(
        Argument(
            "datasets",
            "Names, separated by commas; by default all that have a copy.",
            names_schema(NAME.pattern),
        ),
        Argument(
            "suffix",
            "Suffix of the copies; 2 by default.",
            {"type": "string", "pattern": f"^{documents.SUFFIX_PATTERN}$"},
        ),
    ),
    refusals=(409,),
)
def compare_backup(call: Call) -> Response:
    """Compare datasets with the copies that a restore of this backup made."""
    from sluice.backups.compare import compare  # noqa: PLC0415  # paid where first used

    given = dict(call.arguments)
    if unknown := set(given) - {"datasets", "suffix"}:
        raise ParameterError(f"{', '.join(sorted(unknown))}: not taken; datasets and suffix are")
    datasets = given["datasets"].split(",") if "datasets" in given else None
    if datasets and "" in datasets:
        raise ParameterError("datasets: a name is empty; leave it out", parameter="datasets")
    suffix = given.get("suffix", SUFFIX)
    manifest = _repository(call).manifest(call.path["backup"])

    def work(_: ReportProgress) -> documents.Comparison:
        listed = [
            documents.ComparedDataset(**asdict(each), equal=not (each.only_here or each.only_there))
            for each in compare(call.engine, manifest, datasets, suffix)
        ]
        return documents.Comparison(manifest.id, all(each.equal for each in listed), listed)

    return _answer(call, work)


@operation(
    "backUpTables",
    "Backups",
    answer={"type": "object"},
    refusals=(409,),
    body=documents.TablesRequest,
)
def back_up_tables(call: Call) -> Response:
    """Back up every table, or one, to Avro files."""
    tables = _tables(call, call.body(documents.TablesRequest))
    manifest = _backing_up(call, tables, Format.AVRO)(lambda _: None)
    backup = backup_document(manifest)
    answer = {"response": "backups were taken sucessfully", "backup": backup}
    return json_response(answer)


@operation(
    "restoreTables",
    "Backups",
    answer=documents.Restored,
    refusals=(409,),
    body=documents.RestoreTablesRequest,
)
def restore_tables(call: Call) -> Response:
    """Restore every table of the newest backup, or one, with the suffix 2 or in place."""
    body = call.body(documents.RestoreTablesRequest)
    repository = _repository(call)
    manifest = repository.newest() if body.backup is None else repository.manifest(body.backup)
    restored = _restoring(call, manifest, _tables(call, body), _suffix(body))(lambda _: None)
    answer = {"response": "backups were restored successfully", **to_json(restored)}
    return json_response(answer)


def _tables(
    call: Call, body: documents.TablesRequest | documents.RestoreTablesRequest
) -> list[str] | None:
    """Return the tables that the query string or the body names; None for all."""
    named = [value for name, value in call.arguments if name == "table"]
    named += [body.table] if body.table is not None else []
    return named or body.tables or body.datasets


def _suffix(body: documents.RestoreRequest) -> str:
    """Return the suffix of the copies; empty to restore in place."""
    if body.in_place and body.suffix:
        raise BodyError("in_place: takes no suffix")
    if body.suffix == "" and not body.in_place:
        raise BodyError('suffix: is empty; send "in_place": true to replace the present rows')
    return "" if body.in_place else body.suffix or SUFFIX


def _archive(call: Call) -> CloudStorage:
    from sluice.gcloud.storage import CloudStorage  # noqa: PLC0415  # paid where first used

    return CloudStorage(call.settings.project)


def _repository(call: Call) -> Repository:
    return Repository(call.settings, call.engine, _archive(call))


def _backing_up(
    call: Call, datasets: list[str] | None, kind: Format
) -> Callable[[ReportProgress], Manifest]:
    from sluice.backups.backup import Backup  # noqa: PLC0415  # paid where first used

    backup = Backup(call.settings, call.engine, _archive(call), call.caller.actor)
    return lambda report: backup(datasets, kind, report)


def _restoring(
    call: Call, manifest: Manifest, datasets: list[str] | None, suffix: str
) -> Callable[[ReportProgress], documents.Restored]:
    from sluice.backups.restore import Restore  # noqa: PLC0415

    publisher = call.environment().publisher
    restore = Restore(call.settings, call.engine, _archive(call), publisher, call.caller.actor)

    def work(report: ReportProgress) -> documents.Restored:
        restored = restore(manifest, datasets, suffix, report)
        listed = [documents.RestoredDataset(**asdict(each)) for each in restored]
        return documents.Restored(manifest.id, listed)

    return work


def _answer(call: Call, work: Callable[[ReportProgress], object], status: int = 200) -> Response:
    """Respond when the work is done, or with a stream of its steps if the client accepts lines."""
    if NDJSON in call.request.headers.get("Accept", ""):
        return stream_response(_lines(work), "ndjson", {"Cache-Control": "no-store"}, ExitStack())
    return json_response(work(lambda _: None), status)


def _lines(work: Callable[[ReportProgress], object]) -> Iterator[bytes]:
    """Yield `{"progress": ...}` while the work is done, then `{"done": ...}` or `{"problem": ...}`.

    If the client is gone, the request ends with the work nevertheless, which holds locks until then.
    """
    steps: queue.Queue[dict[str, Any]] = queue.Queue()

    def report(progress: Progress) -> None:
        steps.put({"progress": asdict(progress)})

    def run() -> None:
        try:
            steps.put({"done": work(report)})
        except SluiceError as error:
            steps.put({"problem": error.problem()})
        except BaseException as error:  # noqa: BLE001  # logged without values
            hidden = InternalError(type(error).__name__)
            _log.error("the work of a backup failed", exc_info=error, extra=hidden.fields)
            steps.put({"problem": hidden.problem()})

    worker = threading.Thread(target=run, name="backup")
    worker.start()
    step: dict[str, Any] = {"progress": None}
    try:
        while "progress" in step:
            try:
                step = steps.get(timeout=_HEARTBEAT_S)
            except queue.Empty:
                step = {"progress": None}
            yield json.dumps(to_json(step)).encode() + b"\n"
    finally:
        worker.join()


OPERATIONS = (
    make_backup,
    list_backups,
    show_backup,
    restore_backup,
    compare_backup,
    back_up_tables,
    restore_tables,
)
