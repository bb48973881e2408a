"""The audit log: who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.api.operations import CURSOR, LIMIT, Argument, Call, known_arguments, operation
from sluice.api.responses import json_response
from sluice.api.text_schemas import STORABLE_TEXT
from sluice.datasets.model import Field
from sluice.documents import access as documents
from sluice.postgres.named_sql import statement
from sluice.querying.keysets import Order, Term
from sluice.querying.rows import parse_limit

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

PAGE_ENTRIES = 100
_NEWEST_FIRST = Order((Term(Field("id", "bigint", nullable=False), is_descending=True),))


@operation(
    "listAudit",
    "Keys",
    answer=documents.AuditPage,
    arguments=(
        Argument("dataset", "Only what concerns this dataset.", STORABLE_TEXT),
        Argument("actor", "Only what this caller did, such as `key:4f2a8c01zz`.", STORABLE_TEXT),
        Argument("action", "Only this, such as `dataset.declare`.", STORABLE_TEXT),
        LIMIT,
        CURSOR,
    ),
)
def list_audit(call: Call) -> Response:
    """List who did what, the newest first.

    Declarations, loads, commands to ingestions, backups and restores, subscriptions and keys. The actor of
    a file that was written to the bucket without an upload through the API is `bucket`: Cloud Storage's own
    audit log knows who wrote it.
    """
    given = known_arguments(call, ("dataset", "actor", "action", "limit", "cursor"))
    limit = parse_limit(given.pop("limit", None), call.settings.max_rows) or PAGE_ENTRIES
    cursor = given.pop("cursor", None)
    values = {
        **dict.fromkeys(("dataset", "actor", "action")),
        **given,
        "before": _NEWEST_FIRST.read_cursor(cursor)[0] if cursor else None,
        "limit": limit + 1,
    }
    with call.snapshot() as connection:
        rows = connection.execute(statement("list_audit"), values).all()
    page, following = _NEWEST_FIRST.page(rows, limit)
    entries = [documents.AuditEntry(**row._mapping) for row in page]  # noqa: SLF001  # SQLAlchemy's API
    return json_response(documents.AuditPage(entries, following))


OPERATIONS = (list_audit,)
