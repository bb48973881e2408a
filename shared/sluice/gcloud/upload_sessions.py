"""Resumable upload sessions straight to the inbox, so that no upload passes through a function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.errors import NotAllowedError, StorageUnavailableError

if TYPE_CHECKING:
    from sluice.settings import Settings


class ObjectExistsError(NotAllowedError):
    """The upload must not replace an object, and there is one of that name."""

    code = "API312"
    title = "The object exists"
    status = 412


def open_session(
    settings: Settings,
    name: str,
    *,
    content_type: str,
    size_bytes: int | None = None,
    create_only: bool = False,
) -> str:
    """Open a session for an object of the inbox and return its address, good for a week.

    Args:
        settings: name the project and the inbox.
        name: of the object.
        content_type: of the object.
        size_bytes: of the file, if known: Cloud Storage then refuses another size.
        create_only: refuse to replace an object.

    Raises:
        ObjectExistsError: `create_only`, and the object is there.
        StorageUnavailableError: try again later.
    """
    from google.api_core.exceptions import GoogleAPICallError, PreconditionFailed  # noqa: PLC0415
    from requests.exceptions import RequestException  # noqa: PLC0415  # 0.3 s with the above

    from sluice.gcloud.storage import storage_client  # noqa: PLC0415

    blob = storage_client(settings.project).bucket(settings.inbox).blob(name)
    try:
        url: str = blob.create_resumable_upload_session(
            content_type=content_type,
            size=size_bytes,
            if_generation_match=0 if create_only else None,
        )
    except PreconditionFailed as error:
        raise ObjectExistsError(f"gs://{settings.inbox}/{name}: there is one already") from error
    except (GoogleAPICallError, RequestException) as error:
        raise StorageUnavailableError(f"gs://{settings.inbox}/{name}: {error}") from error
    return url
