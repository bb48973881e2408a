"""Every error of Sluice: permanent or transient, with a stable code and a message for a person.

    SluiceError
    |-- PermanentError                  recorded, reported, acknowledged: trying again cannot help
    |   |-- FileError                   CSV1xx  the file
    |   |   |-- EmptyFileError
    |   |   |-- NotCsvError
    |   |   |-- UnknownDatasetError
    |   |   |-- HeaderMismatchError
    |   |   |-- ObjectGoneError
    |   |   |-- TooManyRejectsError
    |   |   |-- TooManyCellsError
    |   |   |-- AllRowsRejectedError      CSV201
    |   |   |-- AccountImbalanceError
    |   |   |-- EncodingMismatchError
    |   |   |-- CompressionError
    |   |   |-- ExpansionError
    |   |   |-- WorkbookError
    |   |   |-- RowsRefusedError
    |   |   |-- RecordTooLongError
    |   |   |-- RepeatedFailureError
    |   |   |-- OutdatedDeclarationError
    |   |   |-- OutputRefusedError
    |   |   `-- FixesRefusedError
    |   |-- RequestError                API3xx  a client's request
    |   |   |-- ParameterError
    |   |   |-- FilterError
    |   |   |-- BodyError
    |   |   |-- UnauthenticatedError
    |   |   |-- RateLimitedError
    |   |   |-- ForbiddenError
    |   |   |-- KeyStateError
    |   |   |-- NotFoundError
    |   |   |-- NotAllowedError
    |   |   |-- NotAcceptableError
    |   |   |-- IllegalTransitionError
    |   |   |-- QueryTimeoutError
    |   |   |-- TooLargeError
    |   |   |-- ObjectExistsError
    |   |   |-- NotDrawableError
    |   |   |-- IdempotencyKeyError
    |   |   |-- PartMismatchError
    |   |   |-- RangeNotSatisfiableError
    |   |   |-- DeclarationError        API32x  a dataset declaration
    |   |   |-- QueryRefusedError
    |   |   |-- DamagedBackupError      API33x  a backup
    |   |   |-- BackupMismatchError
    |   |   `-- UnrestorableBackupError
    |   `-- SettingError                SYS902  raised at start
    `-- TransientError                  SYS9xx  raised, so that the message is delivered again
        |-- DatabaseUnavailableError
        |-- StorageUnavailableError
        |-- PubsubUnavailableError
        |-- IdentityUnavailableError
        |-- ChunkInProgressError
        |-- SplitInProgressError
        |-- OutputInProgressError
        |-- PublicationUnfinishedError
        |-- DeclarationChangedError
        `-- CompactionUnfinishedError

Rows that break a rule become rejects, not errors. This module imports neither HTTP nor Pub/Sub: `status`
is the HTTP status with which the API answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import ClassVar, Self

#: The remedy of a file that does not fit its declaration: either of them may be wrong.
_FIX_EITHER = (
    "fix the file and load it again, or fix the declaration and run `sluice retry {ingestion}`"
)
_RETRY = "run `sluice retry {ingestion}` to start it again"
PROBLEM_TYPE_BASE = "https://sluice.dev/problems/"


#: Of a detail: it may repeat what a client sent.
_MAX_DETAIL_CHARACTERS = 4_000


class SluiceError(Exception):
    """The root of the tree.

    Attributes:
        code: stable identifier such as `CSV101`.
        title: the kind of problem in a few words, the same for every instance of the code.
        status: HTTP status with which an API answers.
        detail: what, where and what to do, in the user's words.
        extra: further members of the problem document.
    """

    code: ClassVar[str] = "SYS900"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, **extra: object) -> None:
        if len(detail) > _MAX_DETAIL_CHARACTERS:
            detail = f"{detail[: _MAX_DETAIL_CHARACTERS // 2]} … {detail[-_MAX_DETAIL_CHARACTERS // 2 :]}"
        super().__init__(detail)
        self.detail = detail
        self.extra: Mapping[str, object] = extra

    def problem(self) -> dict[str, object]:
        """Return the RFC 9457 problem document of this error."""
        return {
            "type": f"{PROBLEM_TYPE_BASE}{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }


class InternalError(SluiceError):
    """An unexpected error; the log has its cause, under the reference.

    Args:
        what: the kind of error, without its message: that may repeat any value.
    """

    def __init__(self, what: str) -> None:
        reference = uuid.uuid4().hex[:12]
        super().__init__(
            f"unexpected error {what}; the log has its cause under the reference {reference}",
            reference=reference,
        )

    @property
    def fields(self) -> Mapping[str, object]:
        """The fields of a record of the log about it."""
        return {"fields": {"reference": self.extra["reference"]}}


class PermanentError(SluiceError):
    """Trying again cannot help."""


class TransientError(SluiceError):
    """Trying again later may succeed."""

    code = "SYS901"
    title = "Temporarily unavailable"
    status = 503


class FileError(PermanentError):
    """The file cannot be loaded.

    Attributes:
        remedy: what to do next, with `{ingestion}` for the number of the failed ingestion.
    """

    code = "CSV100"
    title = "The file cannot be loaded"
    status = 422
    remedy: ClassVar[str] = "fix the file and load it again"


class EmptyFileError(FileError):
    """The file has no content, also after decompression, or no header where one is declared."""

    code = "CSV101"
    title = "The file is empty"


class NotCsvError(FileError):
    """The object is not a CSV file."""

    code = "CSV102"
    title = "The object is not a CSV file"


class UnknownDatasetError(FileError):
    """No dataset is declared for the object's prefix."""

    code = "CSV103"
    title = "No dataset for this prefix"
    remedy = "declare the dataset and run `sluice retry {ingestion}`, or load the file into another dataset"


class HeaderMismatchError(FileError):
    """The header misses a column, or has an unknown one or one twice."""

    code = "CSV104"
    title = "The header does not fit the dataset"
    remedy = _FIX_EITHER


class ObjectGoneError(FileError):
    """The generation of the object was deleted or overwritten."""

    code = "CSV105"
    title = "The object is gone"
    remedy = "load the file again"


class TooManyRejectsError(FileError):
    """The file has more rejects than its dataset allows, or than Sluice keeps."""

    code = "CSV106"
    title = "Too many rejects"
    remedy = _FIX_EITHER


class TooManyCellsError(FileError):
    """The records are so much shorter than the header that they cannot be padded."""

    code = "CSV116"
    title = "The records are too short"
    remedy = _FIX_EITHER


class AllRowsRejectedError(FileError):
    """Every row of the file is rejected, most likely for the same reason."""

    code = "CSV201"
    title = "All rows are rejected"
    remedy = _FIX_EITHER


class AccountImbalanceError(FileError):
    """The counts of rows differ, so nothing is published."""

    code = "CSV107"
    title = "The account does not balance"
    remedy = "run `sluice retry {ingestion}`; if it fails again, report it with the file"


class EncodingMismatchError(FileError):
    """The bytes are not text in the declared encoding."""

    code = "CSV108"
    title = "The encoding does not fit"
    remedy = _FIX_EITHER


class CompressionError(FileError):
    """The compressed stream is truncated or damaged."""

    code = "CSV109"
    title = "The compressed file is damaged"


class ExpansionError(FileError):
    """The content of a compressed file or workbook is larger than allowed."""

    code = "CSV115"
    title = "The file expands too much"
    remedy = (
        "upload the content in several files, or allow more with SLUICE_MAX_EXPANSION and"
        " SLUICE_MAX_CONTENT_BYTES and run `sluice retry {ingestion}`"
    )

    def __init__(self, name: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{name} has {size_bytes:,} bytes and expands to more than {limit_bytes:,}; upload its"
            " content in several files, or as it is"
        )


class WorkbookError(FileError):
    """The Excel workbook cannot be read: damaged, too large, without the sheet, or not calculated."""

    code = "CSV114"
    title = "The workbook cannot be read"


class RecordTooLongError(FileError):
    """A record does not end within the limit: most likely its line has no end."""

    code = "CSV112"
    title = "A record is too long"
    remedy = _FIX_EITHER


class RepeatedFailureError(FileError):
    """A step of the ingestion failed, or did not end, too often."""

    code = "CSV121"
    title = "A step failed too often"
    remedy = "fix the cause and run `sluice retry {ingestion}`"


class OutdatedDeclarationError(FileError):
    """The dataset got another key or other roll-ups while the file was loading."""

    code = "CSV122"
    title = "The dataset was declared meanwhile"
    remedy = "run `sluice retry {ingestion}`"

    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"dataset {dataset} got another key or other roll-ups while the file was loading;"
            " nothing of the file is published: retry the ingestion"
        )


class SlowDeclarationError(FileError):
    """A check, a roll-up or a cluster key of the declaration does not end within its time."""

    code = "CSV124"
    title = "A check or roll-up takes too long"
    remedy = "declare a simpler check, roll-up or cluster key and run `sluice retry {ingestion}`"

    def __init__(self, limit_s: float) -> None:
        super().__init__(
            f"a check, roll-up or cluster key of the dataset ran for {limit_s:g} s on one chunk and was"
            " ended; declare a simpler one"
        )


class OutputRefusedError(FileError):
    """The database refuses the query that makes the file's output."""

    code = "CSV120"
    title = "The output cannot be made"
    remedy = "fix the query, declare it and run `sluice retry {ingestion}`"


class FixesRefusedError(FileError):
    """A file cannot fix the rejects of the ingestion that its folder names."""

    code = "CSV123"
    title = "The rejects cannot be fixed by this file"


class RowsRefusedError(FileError):
    """The database refuses rows that the declaration allows."""

    code = "CSV111"
    title = "The database refuses a row"
    remedy = _FIX_EITHER


def postgres_fields(error: BaseException | None) -> Mapping[str, str]:
    """Return the fields of a PostgreSQL error by the letters of its protocol; none if it is another one.

    Source: PostgreSQL's manual, "Error and Notice Message Fields". `C` is the SQLSTATE, `M` the message.
    """
    original = getattr(error, "orig", None) or error
    fields = original.args[0] if original is not None and original.args else None
    return fields if isinstance(fields, dict) and "C" in fields else {}


def remedy_of(code: str, ingestion: int) -> str:
    """Return what to do about an ingestion that failed with a code."""
    kinds: list[type[FileError]] = [FileError, *FileError.__subclasses__()]
    known = {each.code: each.remedy for each in kinds}
    return known.get(code, _RETRY).format(ingestion=ingestion)


class RequestError(PermanentError):
    """The request cannot be answered."""

    code = "API300"
    title = "The request is not valid"
    status = 400


class ParameterError(RequestError):
    """A parameter is missing, unknown or malformed."""

    code = "API301"
    title = "A parameter is not valid"


class FilterError(RequestError):
    """A row filter names an unknown column or operator, or a value of the wrong type."""

    code = "API302"
    title = "A filter is not valid"


class BodyError(RequestError):
    """The body of a request does not fit the route."""

    code = "API303"
    title = "The body is not valid"


class UnauthenticatedError(RequestError):
    """The request has no valid credentials."""

    code = "API304"
    title = "Not authenticated"
    status = 401


class RateLimitedError(RequestError):
    """The caller, or its address, has sent too many requests; `retry_after_s` says when to try again."""

    code = "API319"
    title = "Too many requests"
    status = 429


class ForbiddenError(RequestError):
    """The caller may not do this."""

    code = "API311"
    title = "Not permitted"
    status = 403


class KeyStateError(RequestError):
    """The state of the key does not allow this, or the identity has a grant already."""

    code = "API314"
    title = "Not possible for this key"
    status = 409


class NotFoundError(RequestError):
    """What the path names does not exist."""

    code = "API305"
    title = "Not found"
    status = 404


class NotAllowedError(RequestError):
    """The route exists, but not for this method."""

    code = "API306"
    title = "Method not allowed"
    status = 405


def not_allowed(method: str, path: str, methods: Iterable[str]) -> NotAllowedError:
    """Return the error of a request to a path that has other methods."""
    allowed = sorted(methods)
    return NotAllowedError(f"{method} {path}: this path allows {', '.join(allowed)}", allow=allowed)


class ObjectExistsError(RequestError):
    """The upload must not replace an object, and there is one with this name."""

    code = "API312"
    title = "The object exists"
    status = 412


class NotAcceptableError(RequestError):
    """The route offers none of the formats that the client accepts."""

    code = "API307"
    title = "Format not offered"
    status = 406


class IllegalTransitionError(RequestError):
    """The state of the ingestion does not allow this."""

    code = "API308"
    title = "Not possible in this state"
    status = 409


class QueryTimeoutError(RequestError):
    """The query was cancelled by the statement timeout."""

    code = "API309"
    title = "The query took too long"
    status = 422


class TooLargeError(RequestError):
    """The request, or its answer, exceeds a limit."""

    code = "API310"
    title = "Too large"
    status = 413


class IdempotencyKeyError(RequestError):
    """An `Idempotency-Key` was used with another request."""

    code = "API315"
    title = "The idempotency key is taken"
    status = 422


class RangeNotSatisfiableError(RequestError):
    """The requested range starts after the end of the file."""

    code = "API318"
    title = "No such range"
    status = 416


class NotDrawableError(RequestError):
    """The answer of the query cannot be drawn as requested."""

    code = "API313"
    title = "Nothing to draw"
    status = 422


class PartMismatchError(RequestError):
    """A part of an upload does not fit the parts received before."""

    code = "API316"
    title = "The part does not fit"
    status = 409


class DamagedBackupError(RequestError):
    """A part of a backup is missing or differs from the manifest, or the manifest is not one."""

    code = "API330"
    title = "The backup is damaged"
    status = 422


class BackupMismatchError(RequestError):
    """A backup does not fit the declaration, or a restore would overwrite another dataset."""

    code = "API331"
    title = "The backup does not fit"
    status = 409


class UnrestorableBackupError(RequestError):
    """A backup would exceed what a restore accepts, and is not made."""

    code = "API332"
    title = "The backup could not be restored"
    status = 422


class DeclarationError(RequestError):
    """A dataset declaration is wrong.

    Args:
        detail: what is wrong and what to write instead.
        file: the file of the dataset's folder; empty for a JSON document.
        line: 1-based line in that file, where known.
        key: dotted key, such as `columns.age.type`.

    Attributes:
        what: the detail without its place.
    """

    code = "API320"
    title = "The dataset declaration is not valid"
    status = 422

    def __init__(
        self, detail: str, *, file: str = "dataset.toml", line: int | None = None, key: str = ""
    ) -> None:
        where = file if line is None else f"{file}:{line}"
        super().__init__(
            ": ".join(filter(None, (where, key, detail))), file=file, line=line, key=key
        )
        self.what = detail
        self._line = line

    def in_file(self, file: str, first_line: int) -> Self:
        """Return the error with its file, where its line counts from a line of that file."""
        return type(self)(self.what, file=file, line=(self._line or 1) + first_line - 1)

    def of_document(self) -> DeclarationError:
        """Return the error of a declaration that was sent as JSON, which has no `dataset.toml`."""
        if self.extra["file"] != "dataset.toml":
            return self
        return DeclarationError(self.what, file="", key=str(self.extra["key"]))


class QueryRefusedError(RequestError):
    """A query was stored, but the current rules or datasets do not allow it."""

    code = "API321"
    title = "The query cannot be answered as it is declared"
    status = 409

    def __init__(self, dataset: str, query: str) -> None:
        super().__init__(
            f"query {query} of {dataset} reads what is not declared, or what a query may not;"
            f" declare {dataset} again to see why",
            query=query,
        )


class SettingError(PermanentError):
    """A setting is missing or malformed; raised at start."""

    code = "SYS902"
    title = "A setting is not valid"


class OtherMigrationsError(PermanentError):
    """The database has a migration that this version has not: it was renamed, or joined with others."""

    code = "SYS932"
    title = "The database has other migrations"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the database has the migration {name}, which this version has not, although it has later ones."
            " Back up its datasets with the version that made it (`sluice backup`) and restore them in a new"
            " database; without data to keep: `sluice down`, delete the state directory, `sluice up`"
        )


class DatabaseUnavailableError(TransientError):
    """The database cannot be reached, or closed the connection."""

    code = "SYS903"
    title = "The database is unavailable"


class StorageUnavailableError(TransientError):
    """Cloud Storage cannot be reached."""

    code = "SYS904"
    title = "Cloud Storage is unavailable"


class PubsubUnavailableError(TransientError):
    """Pub/Sub cannot be reached."""

    code = "SYS905"
    title = "Pub/Sub is unavailable"


class IdentityUnavailableError(TransientError):
    """Google's certificates, which identity tokens are checked with, cannot be fetched."""

    code = "SYS917"
    title = "Identities cannot be checked"


class TooManyStreamsError(TransientError):
    """An instance streams events to as many clients as it may; its other threads are for short requests."""

    code = "SYS930"
    title = "Too many event streams"

    def __init__(self) -> None:
        super().__init__("all event streams of this instance are taken; poll, or try again later")


class ChunkInProgressError(TransientError):
    """Another loader is loading this chunk."""

    code = "SYS906"
    title = "The chunk is being loaded elsewhere"

    def __init__(self, ingestion: int, chunk: int) -> None:
        super().__init__(f"another loader is loading chunk {chunk} of ingestion {ingestion}")


class SplitInProgressError(TransientError):
    """Another split is reading this file."""

    code = "SYS907"
    title = "The file is being split elsewhere"

    def __init__(self, ingestion: int) -> None:
        super().__init__(f"another split is reading the file of ingestion {ingestion}")


class CompactionUnfinishedError(TransientError):
    """The projections need more time than one handler has."""

    code = "SYS909"
    title = "Compaction is not finished"


class PublicationUnfinishedError(TransientError):
    """Publishing a large ingestion needs more time than one handler has, or another one is at work."""

    code = "SYS931"
    title = "The publication is not finished"

    def __init__(self, ingestion: int, steps: int) -> None:
        super().__init__(f"{steps} steps of publishing ingestion {ingestion} are left")


class OutputInProgressError(TransientError):
    """Another handler is writing the output of this file."""

    code = "SYS908"
    title = "The output is being written elsewhere"

    def __init__(self, ingestion: int) -> None:
        super().__init__(f"another handler is writing the output of ingestion {ingestion}")


class DeclarationChangedError(TransientError):
    """A dataset was declared while rows were checked by its earlier declaration."""

    code = "SYS916"
    title = "The dataset was declared meanwhile"

    def __init__(self, dataset: str) -> None:
        super().__init__(f"dataset {dataset} was declared meanwhile; send the rows again")
