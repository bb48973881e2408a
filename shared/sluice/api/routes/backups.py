"""The function `backup`: makes backups, lists them, restores them, compares copies."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sluice.api import schemas
from sluice.api.operations import Argument, Operation
from sluice.api.responses import json_response, stream_response
from sluice.backups.manifest import Format, Manifest
from sluice.backups.repository import Shelf, document_of
from sluice.errors import BodyError, ParameterError, SluiceError

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from sluice.api.operations import Call
    from sluice.backups.backup import Progress, Tell
    from sluice.gcloud.storage import StorageArchive

SUFFIX = "2"
NDJSON = "application/x-ndjson"
_LISTED = 100
#: A line at least so often, so that nobody on the way takes the connection for dead.
_HEARTBEAT_S = 10.0


def make_backup(call: Call) -> Response:
    """Answer `POST /v1/backups`."""
    body = _body(call, ("datasets", "format"))
    work = _backing_up(call, _datasets(body), _format(body))
    return _answer(call, lambda tell: document_of(work(tell)), 201)


def list_backups(call: Call) -> Response:
    """Answer `GET /v1/backups`."""
    return json_response({"backups": _shelf(call).documents(_LISTED)})


def show_backup(call: Call) -> Response:
    """Answer `GET /v1/backups/{backup}`."""
    return json_response(_shelf(call).document(call.path["backup"]))


def restore_backup(call: Call) -> Response:
    """Answer `POST /v1/backups/{backup}/restore`."""
    body = _body(call, ("datasets", "suffix", "in_place"))
    return _answer(call, _restoring(call, _shelf(call).manifest(call.path["backup"]), body))


def compare_backup(call: Call) -> Response:
    """Answer `GET /v1/backups/{backup}/compare`."""
    from sluice.backups.compare import compare  # noqa: PLC0415  # paid where first used

    given = dict(call.arguments)
    if unknown := set(given) - {"datasets", "suffix"}:
        raise ParameterError(f"{', '.join(sorted(unknown))}: not taken; datasets and suffix are")
    datasets = [each for each in given.get("datasets", "").split(",") if each] or None
    suffix = given.get("suffix", SUFFIX)
    manifest = _shelf(call).manifest(call.path["backup"])

    def work(_: Tell) -> dict[str, Any]:
        found = compare(call.engine, manifest, datasets, suffix)
        listed = [
            {**asdict(each), "equal": not (each.only_here or each.only_there)} for each in found
        ]
        equal = all(each["equal"] for each in listed)
        return {"backup": manifest.id, "equal": equal, "datasets": listed}

    return _answer(call, work)


def back_up_tables(call: Call) -> Response:
    """Answer `POST /backup`: every table, or one, as Avro files."""
    body = _body(call, ("table", "tables", "datasets"))
    manifest = _backing_up(call, _tables(call, body), Format.AVRO)(lambda _: None)
    told = {"response": "backups were taken sucessfully", "backup": document_of(manifest)}
    return json_response(told)


def restore_tables(call: Call) -> Response:
    """Answer `POST /restore`: every table of the newest backup, or one, beside or in place."""
    body = _body(call, ("table", "tables", "datasets", "backup", "suffix", "in_place"))
    shelf = _shelf(call)
    manifest = shelf.manifest(_text(body, "backup")) if "backup" in body else shelf.newest()
    given: dict[str, Any] = {key: body[key] for key in ("suffix", "in_place") if key in body}
    given["datasets"] = _tables(call, body)
    restored = _restoring(call, manifest, given)(lambda _: None)
    return json_response({"response": "backups were restored successfully", **restored})


def _tables(call: Call, body: dict[str, Any]) -> list[str] | None:
    """Return the tables that a request names, in its body or its address."""
    named = [value for name, value in call.arguments if name == "table"]
    named += [_text(body, "table")] if "table" in body else []
    return named or _datasets({"datasets": body.get("tables", body.get("datasets"))})


# What is asked


def _body(call: Call, optional: tuple[str, ...]) -> dict[str, Any]:
    """Return the body; none is one without members."""
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
        raise BodyError(
            'suffix: is empty; say "in_place": true to put the rows in the place of others'
        )
    return suffix


# What is done


def _archive(call: Call) -> StorageArchive:
    from sluice.gcloud.storage import StorageArchive  # noqa: PLC0415  # paid where first used

    return StorageArchive(call.settings.project)


def _shelf(call: Call) -> Shelf:
    return Shelf(call.settings, call.engine, _archive(call))


def _backing_up(call: Call, datasets: list[str] | None, kind: Format) -> Callable[[Tell], Manifest]:
    from sluice.backups.backup import Backup  # noqa: PLC0415  # paid where first used

    backup = Backup(call.settings, call.engine, _archive(call))
    return lambda tell: backup(datasets, kind, tell)


def _restoring(
    call: Call, manifest: Manifest, body: dict[str, Any]
) -> Callable[[Tell], dict[str, Any]]:
    from sluice.backups.restore import Restore  # noqa: PLC0415
    from sluice.gcloud.pubsub import PubsubPublisher  # noqa: PLC0415  # paid where first used

    datasets, suffix = _datasets(body), _suffix(body)
    publisher = PubsubPublisher(call.settings.project)
    restore = Restore(call.settings, call.engine, _archive(call), publisher)

    def work(tell: Tell) -> dict[str, Any]:
        restored = restore(manifest, datasets, suffix, tell)
        return {"backup": manifest.id, "restored": [asdict(each) for each in restored]}

    return work


def _answer(call: Call, work: Callable[[Tell], dict[str, Any]], status: int = 200) -> Response:
    """Answer when the work is done; or at once, with a line for each step, where lines are asked for."""
    if NDJSON in call.request.headers.get("Accept", ""):
        return stream_response(_lines(work), "ndjson", {"Cache-Control": "no-store"}, ExitStack())
    return json_response(work(lambda _: None), status)


def _lines(work: Callable[[Tell], dict[str, Any]]) -> Iterator[bytes]:
    """Yield `{"progress": ...}` while the work is done, then `{"done": ...}` or `{"problem": ...}`."""
    steps: queue.Queue[dict[str, Any]] = queue.Queue()

    def tell(progress: Progress) -> None:
        steps.put({"progress": asdict(progress)})

    def run() -> None:
        try:
            steps.put({"done": work(tell)})
        except SluiceError as error:
            steps.put({"problem": error.problem()})
        except BaseException:
            steps.put(
                {"problem": SluiceError("something went wrong; the log tells what").problem()}
            )
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

OPERATIONS = (
    Operation(
        "POST", "/v1/backups", make_backup, "makeBackup",
        "Backs up some datasets, or all, to the outbox, as they stand at one moment.",
        "Backups",
        description=(
            "Answers when the backup is done. With `Accept: application/x-ndjson` it answers at once,"
            " a line for each part, and last one with `done` or `problem`."
        ),
        status=201, answer=schemas.ref("Backup"), formats=("ndjson",),
        body=schemas.record(
            {"datasets": _NAMES, "format": {"type": "string", "enum": [*Format]}},
            optional=("datasets", "format"),
        ),
    ),
    Operation(
        "GET", "/v1/backups", list_backups, "listBackups",
        "Lists the newest backups, each with its state.",
        "Backups", answer=schemas.list_of("backups", "Backup"),
    ),
    Operation(
        "GET", "/v1/backups/{backup}", show_backup, "showBackup",
        "Answers a backup: its state, datasets and sizes.",
        "Backups", answer=schemas.ref("Backup"),
    ),
    Operation(
        "POST", "/v1/backups/{backup}/restore", restore_backup, "restoreBackup",
        "Restores some datasets of a backup, or all, beside the present ones or in their place.",
        "Backups",
        description=(
            'Beside, under the suffix "2" unless another is given; or with `in_place`. All or nothing:'
            " every part is verified, and readers see the rows at once when all are there."
            " `Accept: application/x-ndjson` as for a backup."
        ),
        answer=_RESTORED, formats=("ndjson",),
        body=schemas.record(_RESTORE_REQUEST, optional=tuple(_RESTORE_REQUEST)),
    ),
    Operation(
        "GET", "/v1/backups/{backup}/compare", compare_backup, "compareBackup",
        "Tells how datasets differ from the copies that a restore of this backup made.",
        "Backups", answer=schemas.ref("Comparison"), formats=("ndjson",),
        arguments=(
            Argument("datasets", "Names, separated by commas; all that have a copy when left out."),
            Argument("suffix", "Suffix of the copies, 2 when left out."),
        ),
    ),
    Operation(
        "POST", "/backup", back_up_tables, "backUpTables",
        "Backs up every table, or one, to Avro files.",
        "Backups", answer={"type": "object"},
        body=schemas.record({"table": _TEXT}, optional=("table",)),
    ),
    Operation(
        "POST", "/restore", restore_tables, "restoreTables",
        "Restores every table of the newest backup, or one, with a 2 behind its name, or in place.",
        "Backups", answer=_RESTORED,
        body=schemas.record(
            {"table": _TEXT, "backup": _TEXT, **_RESTORE_REQUEST},
            optional=("table", "backup", *_RESTORE_REQUEST),
        ),
    ),
)  # fmt: skip
