"""Aliases that take files, in one request or in parts, and their jobs."""

from __future__ import annotations

import itertools
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sluice.api.downloads import download_output
from sluice.api.legacy.multipart import Part, read_parts
from sluice.api.operations import MAX_INGESTION
from sluice.api.responses import json_response
from sluice.csv.contents import ENDINGS, is_csv_name
from sluice.documents.ingestions import FINAL, State
from sluice.errors import BodyError, NotFoundError, RequestError, TooLargeError
from sluice.ingestion.ingestions import select_ingestion
from sluice.ingestion.model import Ingestion
from sluice.postgres.catalog import declared_datasets
from sluice.querying.parameters import read_count

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from sluice.api.operations import Call
    from sluice.datasets.aliases import AliasMatch
    from sluice.datasets.model import Dataset
    from sluice.ingestion.uploads import UploadPart

MAX_PART_BYTES = 16 * 1024 * 1024
#: Of an object in Cloud Storage.
_MAX_FILE_BYTES = 5 * 1024**4
#: How long an upload waits for the end of its ingestion before it answers.
WAIT_S = 60.0
#: Members of a body, or of the query string, that name the dataset of a file.
DATASET_FIELDS = ("dataset", "table")
PROBLEM_TYPE = "application/problem+json"
JOB_STATUSES: Mapping[State, str] = {
    State.RECEIVED: "PENDING",
    State.SPLITTING: "STARTED",
    State.LOADING: "STARTED",
    State.PUBLISHING: "STARTED",
    State.DONE: "SUCCESS",
    State.SKIPPED: "SUCCESS",  # its content was loaded before
    State.FAILED: "FAILURE",
    State.CANCELLED: "FAILURE",
    State.UNDONE: "FAILURE",
}
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class NotCsvNameError(RequestError):
    """A file uploaded in parts is not a CSV file; the message is that of the protocol."""


def take_file(call: Call, _: AliasMatch) -> Response:
    """Answer kind `upload`: load a file and return its account."""
    given = dict(call.arguments)
    for part in read_parts(call.request):
        if part.file_name is None:
            given[part.name] = part.text()
        elif part.name == "file":
            return _load_file(call, part, given)
    raise BodyError("file: missing in the body; send the file as its member `file`")


def _load_file(call: Call, part: Part, given: Mapping[str, str]) -> Response:
    name = _check_name(_base_name(part.file_name or ""))
    if not is_csv_name(name):
        raise BodyError(f'file: "{name}" does not end in {ENDINGS}')
    named = next((given[each] for each in DATASET_FIELDS if given.get(each)), "")
    dataset = named or name.partition(".")[0]
    call.caller.check_dataset(dataset)
    _check_declared(call, dataset)
    number = _upload(call, f"{dataset}/{name}", part.blocks)
    found = _wait(call, number)
    if found.problem:
        body = {**found.problem, "ingestion": number, "account": found.account}
        return _problem(body)
    is_over = found.state in FINAL
    outcome = "processed it with status: 0" if is_over else "it is being processed"
    answer = {
        "response": f"successfully saved the file and {outcome}",
        "dataset": dataset,
        "ingestion": number,
        "state": str(found.state),
        "account": found.account,
    }
    return json_response(answer, 200 if is_over else 202)


def _problem(body: Mapping[str, Any]) -> Response:
    response = json_response(body, int(body["status"]))
    response.content_type = PROBLEM_TYPE
    return response


def _check_declared(call: Call, dataset: str) -> None:
    with call.snapshot() as connection:
        declared = declared_datasets(connection)
    names = [each.name for each in declared if call.caller.sees(each.name)]
    if dataset not in names:
        raise BodyError(
            f'there is no dataset "{dataset}"; name the file after one, or give its name as '
            f"`dataset`, before the file: {', '.join(names)}"
        )


def _wait(call: Call, ingestion: int) -> Ingestion:
    """Return an ingestion when it ends, or after `WAIT_S` as it is."""
    from sluice.postgres.listen_notify import listener_of  # noqa: PLC0415  # SQLAlchemy, paid here

    ends_at = time.monotonic() + WAIT_S
    with listener_of(call.engine).mailbox(ingestion) as box:
        while True:
            found = _ingestion(call, ingestion)
            left_s = ends_at - time.monotonic()
            if found.state in FINAL or left_s <= 0:
                return found
            box.wait(left_s)


def _ingestion(call: Call, ingestion: int) -> Ingestion:
    with call.snapshot() as connection:
        return select_ingestion(connection, ingestion)


def take_part(call: Call, match: AliasMatch) -> Response:
    """Answer kind `chunked_upload`: take a part or a file; return the job of a complete file."""
    try:
        job = _take_part(call, match.dataset.name)
    except NotCsvNameError as error:
        return json_response({"status": "error", "message": error.detail}, error.status)
    if job is None:
        return json_response({"message": "Chunk file uploaded successfully"})
    return json_response({"message": "File uploaded successfully", "job_id": str(job)})


def _take_part(call: Call, dataset: str) -> int | None:
    from sluice.ingestion.uploads import upload_part  # noqa: PLC0415  # paid where first used

    given: dict[str, str] = {}
    held: tuple[str, bytes] | None = None
    for part in read_parts(call.request):
        if part.file_name is None:
            given[part.name] = part.text()
        elif part.name == "file":
            name = _csv_name(given.get("dzfilename") or part.file_name)
            held = name, _read_part(part.blocks)
            if len(held[1]) > MAX_PART_BYTES:
                return _take_large(
                    call, dataset, name, given, itertools.chain(held[1:], part.blocks)
                )
    if held is None:
        raise BodyError("file: missing in the body; send the part as its member `file`")
    if "dzuuid" not in given:
        blocks = _checked_size(iter(held[1:]), given)
        return _upload(call, f"{dataset}/{uuid.uuid4()}/{held[0]}", blocks)
    name = _csv_name(given.get("dzfilename") or held[0])
    return upload_part(call.environment(), _part(dataset, name, given, held[1]))


def _take_large(
    call: Call, dataset: str, name: str, given: Mapping[str, str], blocks: Iterator[bytes]
) -> int:
    """Stream a file that is sent in one request."""
    if "dzuuid" in given:
        limit = MAX_PART_BYTES // 1024**2
        raise TooLargeError(f"file: a part has at most {limit} MiB; set a smaller chunkSize")
    return _upload(call, f"{dataset}/{uuid.uuid4()}/{name}", _checked_size(blocks, given))


def _checked_size(blocks: Iterator[bytes], given: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the blocks of a file; its size must be the one that is given, if there is one.

    Raises:
        BodyError: the size differs; what was written of the object is discarded.
    """
    size_bytes = 0
    for block in blocks:
        size_bytes += len(block)
        yield block
    if "dztotalfilesize" in given and size_bytes != _number(given, "dztotalfilesize"):
        raise BodyError(
            f"file: has {size_bytes} bytes, and dztotalfilesize says {given['dztotalfilesize']}"
        )


def _read_part(blocks: Iterator[bytes]) -> bytes:
    """Return all bytes of a part, or slightly more than the limit."""
    data = bytearray()
    for block in blocks:
        data += block
        if len(data) > MAX_PART_BYTES:
            break
    return bytes(data)


def _part(dataset: str, name: str, given: Mapping[str, str], data: bytes) -> UploadPart:
    from sluice.ingestion.uploads import UploadPart  # noqa: PLC0415

    upload = given["dzuuid"]
    if not _UPLOAD_ID.fullmatch(upload):
        raise BodyError("dzuuid: has 1 to 64 letters, digits, - and _")
    total, first = _number(given, "dztotalfilesize"), _number(given, "dzchunkbyteoffset")
    part = UploadPart(upload, dataset, name, total, first, data)
    if not data:
        raise BodyError("file: the part is empty")
    if part.end_byte > total:
        raise BodyError(
            f"file: bytes {first} to {part.end_byte - 1} are beyond the file's {total} bytes"
        )
    if "dzchunksize" in given and len(data) > _number(given, "dzchunksize"):
        raise BodyError(f"file: has {len(data)} bytes, more than dzchunksize declares")
    return part


def _number(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    number = read_count(text)
    if number is None or number > _MAX_FILE_BYTES:
        raise BodyError(f'{name}: "{text}" is not a number of bytes')
    return number


def _csv_name(text: str) -> str:
    name = _check_name(_base_name(text))
    if not is_csv_name(name):
        raise NotCsvNameError("File must be a csv file")
    return name


def _base_name(path: str) -> str:
    """Return the name of a file without the folders that some browsers send."""
    return re.split(r"[/\\]", path)[-1]


def _check_name(name: str) -> str:
    if name in ("", ".", "..") or len(name.encode()) > 255 or any(ord(sign) < 32 for sign in name):
        raise BodyError(f"file: {name!r} is not the name of a file")
    return name


def _upload(call: Call, name: str, blocks: Iterator[bytes]) -> int:
    from sluice.ingestion.uploads import upload_stream  # noqa: PLC0415  # paid where first used

    return upload_stream(call.environment(), name, blocks)


def show_job(call: Call, match: AliasMatch) -> Response:
    """Answer kind `job_status`."""
    (job,) = match.variables.values()
    found = _job(call, match.dataset, job)
    if found is None:
        return _no_job(job)
    # `jod_id` is a typo of the protocol's first server that clients rely on.
    answer = {"job_status": job_status(found), "job_id": job, "jod_id": job}
    if found.problem:
        answer["message"] = found.problem["detail"]
    return json_response(answer, headers={"Cache-Control": "no-store"})


def job_status(found: Ingestion) -> str:
    """Return the state of an ingestion as a job queue names it."""
    is_retried = found.state == State.RECEIVED and found.sequence > 1
    return "RETRY" if is_retried else JOB_STATUSES[found.state]


def show_job_output(call: Call, match: AliasMatch) -> Response:
    """Answer kind `job_output`."""
    (job,) = match.variables.values()
    found = _job(call, match.dataset, job)
    if found is None:
        return _no_job(job)
    status = job_status(found)
    if status == "SUCCESS":
        return download_output(call, found.id)
    message = "This job is not completed yet."
    if status == "FAILURE":
        message = found.problem["detail"] if found.problem else f"This job was {found.state}."
    return json_response({"status": "error", "job_status": status, "message": message}, 400)


def _job(call: Call, dataset: Dataset, job: str) -> Ingestion | None:
    """Return the ingestion of a job of this dataset."""
    number = read_count(job)
    if number is None or number > MAX_INGESTION:
        return None
    with call.snapshot() as connection:
        try:
            found = select_ingestion(connection, number)
        except NotFoundError:
            return None
    return found if found.dataset == dataset.name else None


def _no_job(job: str) -> Response:
    return json_response({"status": "error", "message": f"There is no job {job}."}, 404)
