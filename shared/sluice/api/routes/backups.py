"""Backups: made, listed, restored, compared with their copies."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sluice.api import schemas
from sluice.api.operations import Argument, Call, operation
from sluice.api.responses import json_response, stream_response
from sluice.backups.manifest import Format, Manifest
from sluice.backups.repository import Repository, Summary
from sluice.errors import BodyError, ParameterError, SluiceError

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from sluice.backups.backup import Progress, ReportProgress
    from sluice.gcloud.storage import CloudStorage

SUFFIX = "2"
NDJSON = "application/x-ndjson"
_LISTED = 100
#: Longest silence of a stream of lines, so that no proxy closes the connection.
_HEARTBEAT_S = 10.0

_WHOLE = {"type": "integer"}
_TEXT = {"type": "string"}
_NAMES = schemas.array(_TEXT)
_RESTORED = schemas.record(
    {
        "backup": _TEXT,
        "restored": schemas.array(
            schemas.record({"dataset": _TEXT, "into": _TEXT, "rows": _WHOLE, "ingestion": _WHOLE})
        ),
    }
)
_RESTORE_REQUEST = {"datasets": _NAMES, "suffix": _TEXT, "in_place": {"type": "boolean"}}


@operation(
    "makeBackup",
    "Backups",
    status=201,
    answer=schemas.ref("Backup"),
    formats=("ndjson",),
    body=schemas.record(
        {"datasets": _NAMES, "format": {"type": "string", "enum": [*Format]}},
        optional=("datasets", "format"),
    ),
)
def make_backup(call: Call) -> Response:
    """Back up some or all datasets to the outbox, from one consistent snapshot.

    The response is sent when the backup is done. With `Accept: application/x-ndjson` it is a
    stream: a line for each part, the last with `done` or `problem`.
    """
    body = _body(call, ("datasets", "format"))
    work = _backing_up(call, _datasets(body), _format(body))
    return _answer(call, lambda report: asdict(Summary.of(work(report))), 201)


@operation("listBackups", "Backups", answer=schemas.list_of("backups", "Backup"))
def list_backups(call: Call) -> Response:
    """List the newest backups, each with its state."""
    return json_response(
        {"backups": [asdict(each) for each in _repository(call).summaries(_LISTED)]}
    )


@operation("showBackup", "Backups", answer=schemas.ref("Backup"))
def show_backup(call: Call) -> Response:
    """Return a backup: its state, datasets and sizes."""
    return json_response(asdict(_repository(call).summary(call.path["backup"])))


@operation(
    "restoreBackup",
    "Backups",
    answer=_RESTORED,
    formats=("ndjson",),
    body=schemas.record(_RESTORE_REQUEST, optional=tuple(_RESTORE_REQUEST)),
)
def restore_backup(call: Call) -> Response:
    """Restore some or all datasets of a backup, as copies or in place.

    Copies have the suffix "2" unless another is given; `in_place` replaces the present rows. All or
    nothing: every part is verified, and all rows become visible together. `Accept:
    application/x-ndjson` as for a backup.
    """
    body = _body(call, ("datasets", "suffix", "in_place"))
    return _answer(call, _restoring(call, _repository(call).manifest(call.path["backup"]), body))


@operation(
    "compareBackup",
    "Backups",
    answer=schemas.ref("Comparison"),
    formats=("ndjson",),
    arguments=(
        Argument("datasets", "Names, separated by commas; by default all that have a copy."),
        Argument("suffix", "Suffix of the copies; 2 by default."),
    ),
)
def compare_backup(call: Call) -> Response:
    """Compare datasets with the copies that a restore of this backup made."""
    from sluice.backups.compare import compare  # noqa: PLC0415  # paid where first used

    given = dict(call.arguments)
    if unknown := set(given) - {"datasets", "suffix"}:
        raise ParameterError(f"{', '.join(sorted(unknown))}: not taken; datasets and suffix are")
    datasets = [each for each in given.get("datasets", "").split(",") if each] or None
    suffix = given.get("suffix", SUFFIX)
    manifest = _repository(call).manifest(call.path["backup"])

    def work(_: ReportProgress) -> dict[str, Any]:
        found = compare(call.engine, manifest, datasets, suffix)
        listed = [
            {**asdict(each), "equal": not (each.only_here or each.only_there)} for each in found
        ]
        equal = all(each["equal"] for each in listed)
        return {"backup": manifest.id, "equal": equal, "datasets": listed}

    return _answer(call, work)


@operation(
    "backUpTables",
    "Backups",
    answer={"type": "object"},
    body=schemas.record({"table": _TEXT}, optional=("table",)),
)
def back_up_tables(call: Call) -> Response:
    """Back up every table, or one, to Avro files."""
    body = _body(call, ("table", "tables", "datasets"))
    manifest = _backing_up(call, _tables(call, body), Format.AVRO)(lambda _: None)
    answer = {"response": "backups were taken sucessfully", "backup": asdict(Summary.of(manifest))}
    return json_response(answer)


@operation(
    "restoreTables",
    "Backups",
    answer=_RESTORED,
    body=schemas.record(
        {"table": _TEXT, "backup": _TEXT, **_RESTORE_REQUEST},
        optional=("table", "backup", *_RESTORE_REQUEST),
    ),
)
def restore_tables(call: Call) -> Response:
    """Restore every table of the newest backup, or one, with the suffix 2 or in place."""
    body = _body(call, ("table", "tables", "datasets", "backup", "suffix", "in_place"))
    repository = _repository(call)
    manifest = (
        repository.manifest(_text(body, "backup")) if "backup" in body else repository.newest()
    )
    given: dict[str, Any] = {key: body[key] for key in ("suffix", "in_place") if key in body}
    given["datasets"] = _tables(call, body)
    restored = _restoring(call, manifest, given)(lambda _: None)
    return json_response({"response": "backups were restored successfully", **restored})


def _tables(call: Call, body: dict[str, Any]) -> list[str] | None:
    """Return the tables that the body or the query string names."""
    named = [value for name, value in call.arguments if name == "table"]
    named += [_text(body, "table")] if "table" in body else []
    return named or _datasets({"datasets": body.get("tables", body.get("datasets"))})


def _body(call: Call, optional: tuple[str, ...]) -> dict[str, Any]:
    """Return the body; an empty one has no members."""
    return call.body(required=(), optional=optional) if call.request.get_data() else {}


def _datasets(body: dict[str, Any]) -> list[str] | None:
    found = body.get("datasets")
    if found is None:
        return None
    if not isinstance(found, list) or not found or not all(isinstance(each, str) for each in found):
        raise BodyError("datasets: is not a list of names; leave it out for all")
    return found


def _format(body: dict[str, Any]) -> Format:
    try:
        return Format(body.get("format", Format.AVRO))
    except ValueError:
        raise BodyError(f"format: {body['format']!r} is none of {', '.join(Format)}") from None


def _text(body: dict[str, Any], name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise BodyError(f"{name}: {value!r} is not a text")
    return value


def _suffix(body: dict[str, Any]) -> str:
    in_place = body.get("in_place", False)
    if not isinstance(in_place, bool):
        raise BodyError(f"in_place: {in_place!r} is not true or false")
    if in_place:
        if body.get("suffix"):
            raise BodyError("in_place: takes no suffix")
        return ""
    suffix = _text(body, "suffix") if "suffix" in body else SUFFIX
    if not suffix:
        raise BodyError('suffix: is empty; send "in_place": true to replace the present rows')
    return suffix


def _archive(call: Call) -> CloudStorage:
    from sluice.gcloud.storage import CloudStorage  # noqa: PLC0415  # paid where first used

    return CloudStorage(call.settings.project)


def _repository(call: Call) -> Repository:
    return Repository(call.settings, call.engine, _archive(call))


def _backing_up(
    call: Call, datasets: list[str] | None, kind: Format
) -> Callable[[ReportProgress], Manifest]:
    from sluice.backups.backup import Backup  # noqa: PLC0415  # paid where first used

    backup = Backup(call.settings, call.engine, _archive(call))
    return lambda report: backup(datasets, kind, report)


def _restoring(
    call: Call, manifest: Manifest, body: dict[str, Any]
) -> Callable[[ReportProgress], dict[str, Any]]:
    from sluice.backups.restore import Restore  # noqa: PLC0415

    datasets, suffix = _datasets(body), _suffix(body)
    publisher = call.environment().publisher
    restore = Restore(call.settings, call.engine, _archive(call), publisher)

    def work(report: ReportProgress) -> dict[str, Any]:
        restored = restore(manifest, datasets, suffix, report)
        return {"backup": manifest.id, "restored": [asdict(each) for each in restored]}

    return work


def _answer(
    call: Call, work: Callable[[ReportProgress], dict[str, Any]], status: int = 200
) -> Response:
    """Respond when the work is done, or with a stream of its steps if the client accepts lines."""
    if NDJSON in call.request.headers.get("Accept", ""):
        return stream_response(_lines(work), "ndjson", {"Cache-Control": "no-store"}, ExitStack())
    return json_response(work(lambda _: None), status)


def _lines(work: Callable[[ReportProgress], dict[str, Any]]) -> Iterator[bytes]:
    """Yield `{"progress": ...}` while the work is done, then `{"done": ...}` or `{"problem": ...}`."""
    steps: queue.Queue[dict[str, Any]] = queue.Queue()

    def report(progress: Progress) -> None:
        steps.put({"progress": asdict(progress)})

    def run() -> None:
        try:
            steps.put({"done": work(report)})
        except SluiceError as error:
            steps.put({"problem": error.problem()})
        except BaseException:
            steps.put({"problem": SluiceError("the work failed; the log has the cause").problem()})
            raise

    worker = threading.Thread(target=run, name="backup")
    worker.start()
    step: dict[str, Any] = {"progress": None}
    while "progress" in step:
        try:
            step = steps.get(timeout=_HEARTBEAT_S)
        except queue.Empty:
            step = {"progress": None}
        yield json.dumps(step).encode() + b"\n"
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
