"""Dead letters: messages that Pub/Sub could not deliver to a function or an endpoint."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sluice.documents.document import Document, Request, StorableText, Time

#: Most letters of one request.
MAX_LETTERS = 1_000


class DeadLetter(Document, frozen=True, kw_only=True):
    """A message that was delivered too often without success."""

    id: str
    subscription: Annotated[str, Meta(description="It could not deliver the message.")]
    subject: Annotated[
        str, Meta(description="What the message is about: an ingestion, or an object.")
    ]
    published_at: Annotated[Time | None, Meta(description="When the message was published.")]
    deliveries: Annotated[int | None, Meta(description="How often it was delivered.")]
    attributes: dict[str, str]
    data: Annotated[str, Meta(description="Its first 64 KiB, as text.")]


class DeadLetters(Document, frozen=True):
    """Dead letters, the oldest first."""

    letters: list[DeadLetter]
    is_complete: Annotated[bool, Meta(description="Whether these are all that Pub/Sub returned.")]


class DeadLetterRequest(Request, frozen=True):
    """Which letters."""

    ids: Annotated[list[StorableText], Meta(min_length=1, max_length=MAX_LETTERS)]


class DeadLetterOutcome(Document, frozen=True):
    """What was done."""

    ids: Annotated[list[str], Meta(description="The letters that are gone.")]
    missing: Annotated[
        list[str],
        Meta(description="Those that Pub/Sub did not return: gone before, or read by another."),
    ]
