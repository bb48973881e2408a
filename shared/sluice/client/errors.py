"""The errors of the client, each with what to do about it.

SluiceError
|-- PermanentError
|   |-- RefusedError            the API refused the request: its problem document
|   |-- UploadRefusedError      Cloud Storage refused the upload
|   |-- FileChangedError        the file changed while it was read
|   |-- FileUnreadableError     the file has no rows that can be read
|   `-- UnexpectedAnswerError   the answer is not one of the API
`-- TransientError
    |-- OutageError             the API could not serve the request: its problem document
    |-- UnreachableError        nothing answers
    |-- ConnectionLostError     the connection ended before the answer
    |-- NoIngestionError        an uploaded object became no ingestion in time
    `-- NoProgressError         an ingestion published no event for too long
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.errors import PermanentError, TransientError

if TYPE_CHECKING:
    from sluice.documents.ingestions import Event, Problem


class RefusedError(PermanentError):
    """The API refused the request.

    Attributes:
        answer: its problem document.
    """

    code = "SYS920"
    title = "The request was refused"
    status = 400

    def __init__(self, answer: Problem) -> None:
        super().__init__(f"{answer.detail} ({answer.code})" if answer.code else answer.detail)
        self.answer = answer


class OutageError(TransientError):
    """The API could not serve the request now.

    Attributes:
        answer: its problem document.
    """

    code = "SYS921"
    title = "The service is not available"

    def __init__(self, answer: Problem) -> None:
        code = f" ({answer.code})" if answer.code else ""
        super().__init__(f"{answer.detail}{code}; try again in a moment")
        self.answer = answer


class FileUnreadableError(PermanentError):
    """A file has no rows that can be read."""

    code = "SYS928"
    title = "The file cannot be read"

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}; fix it, or upload it as it is with `--via storage`")


class UnreachableError(TransientError):
    """Nothing answers at the URL."""

    code = "SYS922"
    title = "Nothing answers"

    def __init__(self, url: str) -> None:
        super().__init__(
            f"nothing answers at {url}; run `sluice up` to start the local cloud,"
            " or set SLUICE_URL to where Sluice runs",
            url=url,
        )


class ConnectionLostError(TransientError):
    """The connection ended before the whole answer came."""

    code = "SYS923"
    title = "The connection was lost"

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{url}: the connection was lost ({why}); try again", url=url)


class UploadRefusedError(PermanentError):
    """Cloud Storage refused the upload, or refused it too often."""

    code = "SYS924"
    title = "The upload was refused"

    def __init__(self, file: str, offset: int, why: str) -> None:
        super().__init__(
            f"{file}: the upload stopped at byte {offset} ({why}); nothing of it was loaded,"
            " run the command again",
            file=file,
            offset=offset,
        )


class FileChangedError(PermanentError):
    """The file became shorter while it was uploaded."""

    code = "SYS925"
    title = "The file changed"

    def __init__(self, file: str) -> None:
        super().__init__(
            f"{file}: became shorter while it was uploaded, so nothing of it was loaded;"
            " upload it again when it no longer changes",
            file=file,
        )


class UnexpectedAnswerError(PermanentError):
    """The answer is not one of the API."""

    code = "SYS926"
    title = "An unexpected answer"

    def __init__(self, url: str, what: str) -> None:
        super().__init__(f"{url}: {what}; is SLUICE_URL the address of Sluice?", url=url)


class NoIngestionError(TransientError):
    """An uploaded object became no ingestion in time."""

    code = "SYS927"
    title = "No ingestion began"

    def __init__(self, bucket: str, object_name: str, waited_s: float) -> None:
        super().__init__(
            f"gs://{bucket}/{object_name} is uploaded, but no ingestion of it began in"
            f" {waited_s:.0f} s; `sluice ingestions` shows it when it does,"
            " `sluice status` whether every part runs",
            bucket=bucket,
            object=object_name,
        )


class NoProgressError(TransientError):
    """An ingestion published no event for too long; it is not cancelled."""

    code = "SYS929"
    title = "No progress"

    def __init__(self, newest: Event | None, waited_s: float) -> None:
        limit = f"{waited_s / 60:.0f} minutes" if waited_s >= 120 else f"{waited_s:g} s"
        if newest is None:
            super().__init__(
                f"no event of the ingestion in {limit}; `sluice status` shows every part"
            )
            return
        data = newest.data
        total = "?" if data.chunks.total is None else data.chunks.total
        super().__init__(
            f"{data.object}: ingestion {data.id} is {data.state} ({data.chunks.loaded} of {total} chunks"
            f" loaded) since {newest.time:%Y-%m-%d %H:%M:%S} UTC, and made no progress for {limit}."
            f" It continues in the background: `sluice watch {data.id}` follows it, `sluice status`"
            " shows whether every part runs",
            ingestion=data.id,
            state=str(data.state),
        )
