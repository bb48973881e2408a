"""The Python client of the HTTP API: load files, follow them, read rows, rejects and answers.

    from sluice.client import Client

    with Client("http://localhost:8080") as client:
        ingestion = client.load("trips.csv", dataset="trips")
        print(ingestion.account.loaded)
        for row in client.rows("trips", {"region": "eq.Prague"}):
            print(row)

Numbers that are not integers are floats whose `str` has every digit of the answer, so that
`Decimal(str(row["price"]))` is exact. Every error is a `sluice.errors.SluiceError` whose message
says what, where and what to do.
"""

from sluice.client.client import DEFAULT_URL, Client
from sluice.client.errors import (
    ConnectionLostError,
    FileChangedError,
    FileUnreadableError,
    NoIngestionError,
    NoProgressError,
    OutageError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
    UploadRefusedError,
)
from sluice.client.events import EventStream
from sluice.client.rows import RowReject, SentRows
from sluice.client.uploads import Upload
from sluice.documents.access import AuditEntry, Key, NewKey
from sluice.documents.datasets import Near, Query, QueryParameter
from sluice.documents.document import Number, to_json, write_json
from sluice.documents.inference import Inference
from sluice.documents.ingestions import (
    FINAL,
    Account,
    Chunks,
    Event,
    Ingestion,
    IngestionProgress,
    Problem,
    Reject,
    State,
    Subscription,
)
from sluice.inference.names import dataset_name

__all__ = [
    "DEFAULT_URL",
    "FINAL",
    "Account",
    "AuditEntry",
    "Chunks",
    "Client",
    "ConnectionLostError",
    "Event",
    "EventStream",
    "FileChangedError",
    "FileUnreadableError",
    "Inference",
    "Ingestion",
    "IngestionProgress",
    "Key",
    "Near",
    "NewKey",
    "NoIngestionError",
    "NoProgressError",
    "Number",
    "OutageError",
    "Problem",
    "Query",
    "QueryParameter",
    "RefusedError",
    "Reject",
    "RowReject",
    "SentRows",
    "State",
    "Subscription",
    "UnexpectedAnswerError",
    "UnreachableError",
    "Upload",
    "UploadRefusedError",
    "dataset_name",
    "to_json",
    "write_json",
]
