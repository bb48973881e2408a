"""The client: a method for each operation of the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote

from sluice.client.backups import Backups
from sluice.client.dead_letters import DeadLetterBox
from sluice.client.declarations import read_declaration
from sluice.client.errors import RefusedError, UnexpectedAnswerError
from sluice.client.events import PROGRESS_TIMEOUT_S, Arrivals, EventStream
from sluice.client.file_rows import read_lines
from sluice.client.keys import KeyRing
from sluice.client.rows import numbered, send_lines
from sluice.client.samples import take_sample
from sluice.client.transport import Transport
from sluice.client.uploads import ResumableUpload
from sluice.documents.access import AuditEntry, AuditPage
from sluice.documents.datasets import Declared, Queries, Query, RowPage
from sluice.documents.inference import Inference
from sluice.documents.ingestions import (
    Ingestion,
    IngestionPage,
    Reject,
    RejectPage,
    Subscription,
    Subscriptions,
    UploadSession,
    Verification,
)
from sluice.errors import EmptyFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sluice.client.rows import SentRows
    from sluice.client.uploads import Progress, Upload

Page = TypeVar("Page", RejectPage, RowPage)

DEFAULT_URL = "http://localhost:8080"
ARRIVAL_TIMEOUT_S = 60.0


def _rows_path(dataset: str) -> str:
    return f"/v1/datasets/{quote(dataset, safe='')}/rows"


def _no_progress(_: int) -> None:
    return


class Client:
    """The operations of the API; use it in a `with` statement, from any number of threads.

    Args:
        url: address of Sluice.
        token: bearer token, if the API requires one.

    Every method raises `RefusedError` if the API refuses the request, `OutageError` if it cannot
    serve it now, and `UnreachableError` or `ConnectionLostError` if the network fails. A request
    that a rate limit refuses is sent again after the time that the API asks for, up to two minutes.
    """

    def __init__(self, url: str = DEFAULT_URL, token: str = "") -> None:
        self._transport = Transport(url, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address of Sluice."""
        return self._transport.url

    def rows_url(self, dataset: str) -> str:
        """Return where a browser shows the rows of a dataset."""
        return self.url + _rows_path(dataset)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    @property
    def backups(self) -> Backups:
        """Backups: made, listed, restored, compared."""
        return Backups(self._transport)

    @property
    def keys(self) -> KeyRing:
        """Keys: created, listed, rotated, revoked."""
        return KeyRing(self._transport)

    @property
    def dead_letters(self) -> DeadLetterBox:
        """Dead letters: listed, published again, dropped."""
        return DeadLetterBox(self._transport)

    def load(
        self, path: str | Path, dataset: str, *, timeout_s: float = PROGRESS_TIMEOUT_S
    ) -> Ingestion:
        """Upload a file and wait until its ingestion ends, in whatever state.

        Args:
            path: the file.
            dataset: the dataset that it belongs to.
            timeout_s: longest wait without any progress of the ingestion.

        Raises:
            NoIngestionError: no ingestion of the upload started in time.
            NoProgressError: the ingestion made no progress in time; it is not cancelled.
        """
        with Arrivals(self) as arrivals:
            upload = self.upload(path, dataset)
            number = arrivals.wait(upload, ARRIVAL_TIMEOUT_S)
        for event in self.events(number, timeout_s=timeout_s):
            if event.is_final:
                break
        return self.ingestion(number)

    def upload(
        self,
        path: str | Path,
        dataset: str,
        progress: Progress = _no_progress,
        *,
        fixes: int | None = None,
        dialect: Mapping[str, str] | None = None,
    ) -> Upload:
        """Upload a file directly to the inbox, resuming after failures.

        Args:
            path: the file.
            dataset: the dataset that it belongs to.
            progress: called with the number of bytes sent so far.
            fixes: the ingestion whose rejects the file fixes, if it does.
            dialect: how the file is written, by the keys of a dialect, if it is not as declared.

        Raises:
            EmptyFileError: it has no bytes; Sluice ignores empty objects.
            UploadRefusedError: Cloud Storage refused it, or failed too often.
            FileChangedError: the file became shorter during the upload.
        """
        source = Path(path)
        if not source.stat().st_size:
            raise EmptyFileError(f"{source}: the file is empty; nothing was uploaded")
        name = source.name if fixes is None else f"_fixes/{fixes}/{source.name}"
        body = {"dataset": dataset, "name": name, "size_bytes": source.stat().st_size}
        if dialect:
            body["dialect"] = dict(dialect)
        session = self._transport.read(UploadSession, "POST", "/v1/uploads", body=body)
        return ResumableUpload(self._transport, session.url, source, progress).run()

    def infer(
        self,
        data: bytes,
        name: str,
        dataset: str | None = None,
        dialect: Mapping[str, str] | None = None,
        size_bytes: int | None = None,
    ) -> Inference:
        """Return what loading a file would do; nothing is loaded.

        Args:
            data: the file, or its first bytes.
            name: of the file.
            dataset: the dataset; None takes its name from that of the file.
            dialect: how the file is written, by the keys of a dialect; not detected then.
            size_bytes: of the complete file, if `data` is its beginning.

        Raises:
            EmptyFileError: it is empty.
            FileError: loading it would fail.
        """
        if not data:
            raise EmptyFileError(f"{name}: the file is empty")
        given = {"name": name, "size_bytes": str(size_bytes or len(data)), **(dialect or {})}
        if dataset:
            given["dataset"] = dataset
        return self._transport.read(Inference, "POST", "/v1/infer", given, data)

    def infer_file(
        self, path: str | Path, dataset: str | None = None, dialect: Mapping[str, str] | None = None
    ) -> Inference:
        """Return what loading a file would do, by its beginning if it is large; nothing is loaded.

        Args:
            path: of the file.
            dataset: the dataset; None takes its name from that of the file.
            dialect: how the file is written, by the keys of a dialect; not detected then.

        Raises:
            EmptyFileError: it is empty.
            FileError: loading it would fail.
        """
        sample = take_sample(Path(path), dialect or {})
        return self.infer(sample.data, Path(path).name, dataset, sample.dialect, sample.size_bytes)

    def declare_file(self, path: str | Path, dataset: str) -> Declared:
        """Declare a dataset by a dataset.toml, or by a folder that has one and its SQL files.

        A dataset.toml alone keeps the queries, roll-ups, projections of SQL and table that are declared.

        Raises:
            DeclarationError: it is wrong, or would lose stored values.
        """
        try:
            current = self.dataset(dataset)["declaration"]
        except RefusedError as error:
            if error.answer.status != 404:
                raise
            current = {}
        return self.declare(read_declaration(Path(path), dataset, current))

    def declare(self, document: Mapping[str, Any]) -> Declared:
        """Declare a dataset, or change its declaration.

        Args:
            document: the JSON document, with the name of the dataset.

        Raises:
            DeclarationError: it is wrong, or would lose stored values.
        """
        path = f"/v1/datasets/{quote(str(document['name']), safe='')}"
        return self._transport.read(Declared, "PUT", path, body=dict(document))

    def send_rows(
        self, rows: Iterable[Mapping[str, Any] | Sequence[Any]], dataset: str
    ) -> Iterator[SentRows]:
        """Send rows, a thousand at a time, and yield their outcome; by then they are published.

        Args:
            rows: each by column names or headers, or as a list of all cells.
            dataset: the dataset that they go to.
        """
        return send_lines(self._transport, _rows_path(dataset), numbered(rows))

    def send_file(self, path: str | Path, dataset: str) -> Iterator[SentRows]:
        """Send the rows of a CSV or NDJSON file as `send_rows` does.

        Raises:
            FileUnreadableError: its rows cannot be read.
            FileError: the file does not fit the dataset.
        """
        declaration = self.dataset(dataset)["declaration"]
        lines = read_lines(Path(path), declaration)
        return send_lines(self._transport, _rows_path(dataset), lines)

    def ingestions(self, **parameters: str) -> list[Ingestion]:
        """Return the newest ingestions; `dataset`, `state` and `limit` narrow them."""
        return self._transport.read(IngestionPage, "GET", "/v1/ingestions", parameters).ingestions

    def ingestion(self, number: int) -> Ingestion:
        """Return an ingestion."""
        return self._transport.read(Ingestion, "GET", f"/v1/ingestions/{number}")

    def cancel(self, number: int) -> Ingestion:
        """Cancel an ingestion that is not published yet."""
        return self._command(number, "cancel")

    def retry(self, number: int) -> Ingestion:
        """Start a failed, cancelled or skipped ingestion again."""
        return self._command(number, "retry")

    def undo(self, number: int) -> Ingestion:
        """Withdraw the rows of a published ingestion."""
        return self._command(number, "undo")

    def redo(self, number: int) -> Ingestion:
        """Publish an undone ingestion again."""
        return self._command(number, "redo")

    def verify(self, number: int) -> Verification:
        """Compare an ingestion with its file and with the tables."""
        return self._transport.read(Verification, "POST", f"/v1/ingestions/{number}/verify")

    def events(
        self,
        ingestion: int | None = None,
        *,
        last_event_id: str = "",
        on_connect: Callable[[], None] = lambda: None,
        timeout_s: float | None = None,
    ) -> EventStream:
        """Return the events of an ingestion from its first, or of all ingestions from now on.

        Args:
            ingestion: one ingestion; None for all.
            last_event_id: resume after this one.
            on_connect: called whenever the server starts to answer.
            timeout_s: time without any event after which the iteration fails; None: never.
        """
        path = "/v1/ingestions" if ingestion is None else f"/v1/ingestions/{ingestion}/events"
        return EventStream(self._transport, path, last_event_id, on_connect, timeout_s=timeout_s)

    def rejects(self, ingestion: int) -> Iterator[Reject]:
        """Yield the rejected rows of an ingestion, in order of the file."""
        for page in self._pages(RejectPage, f"/v1/ingestions/{ingestion}/rejects", {}):
            yield from page.rejects

    def rejects_page(self, ingestion: int, limit: int) -> dict[str, Any]:
        """Return the first rejects of an ingestion as the API answers them."""
        path = f"/v1/ingestions/{ingestion}/rejects"
        page = self._transport.json("GET", path, {"limit": str(limit)})
        return {**page, "rejects": self._list(page, "rejects")}

    def duplicates_page(self, ingestion: int, limit: int) -> dict[str, Any]:
        """Return the first duplicates of an ingestion as the API answers them."""
        path = f"/v1/ingestions/{ingestion}/duplicates"
        page = self._transport.json("GET", path, {"limit": str(limit)})
        return {**page, "duplicates": self._list(page, "duplicates")}

    def download_rejects(self, ingestion: int, kind: str) -> Iterator[bytes]:
        """Yield the rejected rows as bytes of a format: `csv`, `reasons`, `json` or `ndjson`."""
        return self._download(f"/v1/ingestions/{ingestion}/rejects", [("format", kind)])

    def download_output(self, ingestion: int) -> Iterator[bytes]:
        """Yield the output of a file, if its dataset declares one."""
        return self._download(f"/v1/ingestions/{ingestion}/output", [])

    def datasets(self) -> list[dict[str, Any]]:
        """Return every dataset, each with at least its name."""
        found = self._transport.json("GET", "/v1/datasets")
        return self._list(found, "datasets")

    def dataset(self, name: str) -> dict[str, Any]:
        """Return a dataset's declaration."""
        return self._transport.json("GET", f"/v1/datasets/{quote(name, safe='')}")

    def queries(self, dataset: str) -> list[Query]:
        """Return the queries of a dataset with their parameters."""
        path = f"/v1/datasets/{quote(dataset, safe='')}/queries"
        found = self._transport.read(Queries, "GET", path)
        return found.queries

    def query(self, dataset: str, name: str, parameters: Mapping[str, str]) -> dict[str, Any]:
        """Return the answer of a query: an object, or `{"rows": [...]}`."""
        path = f"/v1/datasets/{quote(dataset, safe='')}/queries/{quote(name, safe='')}"
        return self._transport.json("GET", path, parameters)

    def download_query(
        self, dataset: str, name: str, parameters: Mapping[str, str], kind: str
    ) -> Iterator[bytes]:
        """Yield the answer of a query as bytes of a format: of rows', or `svg` or `html`."""
        path = f"/v1/datasets/{quote(dataset, safe='')}/queries/{quote(name, safe='')}"
        return self._download(path, [*parameters.items(), ("format", kind)])

    def rows(self, dataset: str, filters: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield all rows that pass the filters, page by page.

        Args:
            dataset: the dataset.
            filters: `column: "op.value"`, and `select`, `order`, `limit` (of a page).
        """
        for page in self._pages(RowPage, _rows_path(dataset), filters):
            yield from page.rows

    def rows_page(self, dataset: str, filters: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Return one page of rows: `{"rows": [...], "next": cursor or null}`."""
        path = _rows_path(dataset)
        page = self._transport.json("GET", path, filters)
        return {**page, "rows": self._list(page, "rows")}

    def download_rows(
        self, dataset: str, filters: Sequence[tuple[str, str]], kind: str
    ) -> Iterator[bytes]:
        """Yield rows as bytes of a format: `json`, `ndjson`, `csv`, `parquet` or `arrow`."""
        path = _rows_path(dataset)
        return self._download(path, [*filters, ("format", kind)])

    def audit(self, **parameters: str) -> list[AuditEntry]:
        """Return who did what, the newest first; `dataset`, `actor`, `action` and `limit` narrow it."""
        return self._transport.read(AuditPage, "GET", "/v1/audit", parameters).entries

    def subscriptions(self) -> list[Subscription]:
        """Return the push subscriptions."""
        return self._transport.read(Subscriptions, "GET", "/v1/subscriptions").subscriptions

    def subscribe(
        self, endpoint: str, dataset: str | None = None, states: Sequence[str] = ()
    ) -> Subscription:
        """Push events to an HTTP endpoint: of one dataset, of some states, or all."""
        body: dict[str, object] = {"endpoint": endpoint}
        if dataset:
            body["dataset"] = dataset
        if states:
            body["states"] = list(states)
        return self._transport.read(Subscription, "POST", "/v1/subscriptions", body=body)

    def unsubscribe(self, subscription: str) -> None:
        """Delete a push subscription."""
        self._transport.json("DELETE", f"/v1/subscriptions/{quote(subscription, safe='')}")

    def _list(self, answer: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
        found = answer.get(name)
        if not isinstance(found, list):
            raise UnexpectedAnswerError(self.url, f"answered without {name!r}")
        return found

    def _command(self, number: int, verb: str) -> Ingestion:
        return self._transport.read(Ingestion, "POST", f"/v1/ingestions/{number}/{verb}")

    def _download(self, path: str, parameters: Sequence[tuple[str, str]]) -> Iterator[bytes]:
        with self._transport.stream(path, parameters) as body:
            yield from body.blocks()

    def _pages(self, kind: type[Page], path: str, parameters: Mapping[str, str]) -> Iterator[Page]:
        cursor: str | None = ""
        while cursor is not None:
            given = dict(parameters) | ({"cursor": cursor} if cursor else {})
            page = self._transport.read(kind, "GET", path, given)
            yield page
            cursor = page.next
