"""The function `intake`: rows that come with a request, and what is answered to each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sluice.api import schemas
from sluice.api.operations import Argument, Operation
from sluice.api.responses import json_response
from sluice.datasets.json_numbers import read_json
from sluice.errors import BodyError, ParameterError, RowsRefusedError, SluiceError, TooLargeError
from sluice.postgres.catalog import dataset_version
from sluice.querying.reading import snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from werkzeug.wrappers import Response

    from sluice.api.operations import Call
    from sluice.datasets.model import Dataset
    from sluice.ingestion.insert_rows import Admission

MAX_ROWS = 1000
MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_KEY_CHARACTERS = 255
KEY_HEADER = "Idempotency-Key"


class NothingLoadedError(RowsRefusedError):
    """The dataset takes all rows of a request or none, and refuses one of them."""

    code = "CSV113"
    title = "No row is loaded"


def post_rows(call: Call) -> Response:
    """Answer `POST /v1/datasets/{dataset}/rows`."""
    body = parse_body(read_data(call))
    rows = body.get("rows") if isinstance(body, dict) and set(body) == {"rows"} else body
    found = admit(call, {call.path["dataset"]: rows}, body)
    document = found.groups[0]
    if document["problem"]:
        raise _refusal(document)
    return json_response(document, headers=_headers(found))


def post_rows_of_many(call: Call) -> Response:
    """Answer `POST /v1/rows`."""
    body = parse_body(read_data(call))
    if not isinstance(body, dict):
        raise BodyError('the body is not a JSON object: send {"<dataset>": [<rows>], ...}')
    found = admit(call, body, body)
    return json_response({"ingestions": found.groups}, headers=_headers(found))


def read_data(call: Call) -> bytes:
    """Return the bytes of the body.

    Raises:
        TooLargeError: it is too long.
    """
    data = call.request.stream.read(MAX_BODY_BYTES + 1)
    if len(data) > MAX_BODY_BYTES:
        limit = MAX_BODY_BYTES // 1024**2
        raise TooLargeError(f"the body is longer than {limit} MiB; send fewer rows, or a file")
    return data


def parse_body(data: bytes) -> Any:  # any JSON value
    """Return a body as JSON, its numbers as they are written; None where there is no body.

    Raises:
        BodyError: it is no JSON.
    """
    try:
        return read_json(data) if data else None
    except ValueError as error:
        raise BodyError(f"the body is not JSON: {error}") from None


def admit(call: Call, rows: Mapping[str, object], body: object, *, next_key: str = "") -> Admission:
    """Admit the rows of a request, exactly once where the client gave it a key.

    Args:
        call: the request.
        rows: by dataset.
        body: the whole of it, which the same key has to come with.
        next_key: column that is given the next free number where a row has none.

    Raises:
        BodyError: these are not 1 to 1000 rows.
        NotFoundError: there is no such dataset.
    """
    from sluice.gcloud.pubsub import PubsubPublisher  # noqa: PLC0415
    from sluice.ingestion.insert_rows import Admit  # noqa: PLC0415
    from sluice.ingestion.submissions import Group  # noqa: PLC0415  # all paid where first used

    lists = {name: _list(name, each) for name, each in rows.items()}
    _check_count(sum(map(len, lists.values())))
    groups = [Group(_dataset(call, name), each, next_key) for name, each in lists.items() if each]
    use_case = Admit(call.settings, call.engine, PubsubPublisher(call.settings.project))
    return use_case(groups, _once(call, body))


def _list(name: str, rows: object) -> list[Any]:
    if not isinstance(rows, list):
        raise BodyError(f"{name}: the rows are not a list; send a list of objects")
    return rows


def _check_count(count: int) -> None:
    if count == 0:
        raise BodyError(f"there are no rows; send 1 to {MAX_ROWS}")
    if count > MAX_ROWS:
        raise BodyError(
            f"{count} rows are more than a request may have; send {MAX_ROWS} at most, or a file"
        )


def _dataset(call: Call, name: str) -> Dataset:
    with snapshot(call.engine, call.settings.statement_timeout_s) as connection:
        return dataset_version(connection, name).dataset


def _once(call: Call, body: object) -> Any:  # Once, or None
    from sluice.ingestion.insert_rows import Once  # noqa: PLC0415

    key = call.request.headers.get(KEY_HEADER)
    if key is None:
        return None
    if not key or len(key) > MAX_KEY_CHARACTERS:
        raise ParameterError(
            f"{KEY_HEADER}: has 1 to {MAX_KEY_CHARACTERS} characters", parameter=KEY_HEADER
        )
    return Once.of(key, f"{call.request.method} {call.request.path}", body)


def _headers(found: Admission) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if found.is_repeated else {}


def _refusal(document: Mapping[str, Any]) -> SluiceError:
    """Return the error of a request of which nothing was loaded."""
    problem = document["problem"]
    detail = f"{problem['code']}: {problem['detail']}"
    found = {name: document[name] for name in ("dataset", "ingestion", "state", "account", "rows")}
    return NothingLoadedError(detail, **found)


_ROWS = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS, "items": {"type": "object"}}
_KEY = Argument(
    KEY_HEADER,
    "Makes the request take effect once, however often it is sent: a repetition gets the same"
    " answer, another body under the same key 422. Kept for a week.",
    place="header",
)
OPERATIONS = (
    Operation(
        "POST", "/v1/datasets/{dataset}/rows", post_rows, "postRows",
        "Loads 1 to 1000 rows and publishes them before it answers what became of each.",
        "Rows",
        description=(
            "A row is an object by column names or headers, or a list of all cells. Each is typed"
            " and checked by the rules of the dataset's files, and is `loaded`, a `duplicate`, or"
            " `rejected` with column, rule and reason; rejects are kept as those of a file are."
            " The rows are an ingestion of their own: it has an account and events, and can be"
            " undone."
        ),
        answer=schemas.ref("Admission"), arguments=(_KEY,), body=_ROWS,
    ),
    Operation(
        "POST", "/v1/rows", post_rows_of_many, "postRowsOfMany",
        "Loads 1 to 1000 rows of several datasets in one transaction.",
        "Rows", answer=schemas.list_of("ingestions", "Admission"), arguments=(_KEY,),
        body={"type": "object", "additionalProperties": _ROWS},
    ),
)  # fmt: skip
