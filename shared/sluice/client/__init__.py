"""The Python client of the HTTP API: load files, follow them, ask for rows, rejects and answers.

    from sluice.client import Client

    with Client("http://localhost:8080") as client:
        ingestion = client.load("trips.csv", dataset="trips")
        print(ingestion.account.loaded)
        for row in client.rows("trips", {"region": "eq.Prague"}):
            print(row)

Every failure is a `sluice.errors.SluiceError` whose message says what, where and what to do.
"""

from sluice.client.client import DEFAULT_URL, Client
from sluice.client.errors import (
    ConnectionLostError,
    FileChangedError,
    FileUnreadableError,
    NoIngestionError,
    OutageError,
    RefusedError,
    UnexpectedAnswerError,
    UnreachableError,
    UploadRefusedError,
)
from sluice.client.events import EventStream
from sluice.client.queries import QueryInfo, QueryParameter
from sluice.client.records import (
    FINAL_STATES,
    Account,
    Chunks,
    Event,
    Ingestion,
    Problem,
    Reject,
    Subscription,
    Upload,
)
from sluice.client.rows import Admission, RowReject

__all__ = [
    "DEFAULT_URL",
    "FINAL_STATES",
    "Account",
    "Admission",
    "Chunks",
    "Client",
    "ConnectionLostError",
    "Event",
    "EventStream",
    "FileChangedError",
    "FileUnreadableError",
    "Ingestion",
    "NoIngestionError",
    "OutageError",
    "Problem",
    "QueryInfo",
    "QueryParameter",
    "RefusedError",
    "Reject",
    "RowReject",
    "Subscription",
    "UnexpectedAnswerError",
    "UnreachableError",
    "Upload",
    "UploadRefusedError",
]
