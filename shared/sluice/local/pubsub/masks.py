"""Updates by field mask: which fields may change, and the configuration after the change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.local.pubsub.errors import InvalidArgumentError

if TYPE_CHECKING:
    from google.protobuf.field_mask_pb2 import FieldMask

    from sluice.local.pubsub import wire

MUTABLE_TOPIC_FIELDS = frozenset({"labels", "message_retention_duration", "message_storage_policy"})
MUTABLE_SUBSCRIPTION_FIELDS = frozenset(
    {
        "ack_deadline_seconds",
        "dead_letter_policy",
        "expiration_policy",
        "labels",
        "message_retention_duration",
        "push_config",
        "retry_policy",
    }
)


def merged(
    current: wire.Wire, change: wire.Wire, mask: FieldMask, mutable: frozenset[str]
) -> wire.Wire:
    """Return a copy of `current` with the fields of `change` that the mask names.

    Raises:
        InvalidArgumentError: the mask is empty, or names an immutable field.
    """
    kind = current.DESCRIPTOR.name
    if not mask.paths:
        raise InvalidArgumentError(
            f"The update_mask in the Update{kind}Request must be set, and must contain a "
            "non-empty paths list."
        )
    for path in mask.paths:
        if path.partition(".")[0] not in mutable:
            raise InvalidArgumentError(
                f"Invalid update_mask provided in the Update{kind}Request: the '{path}' field in "
                f"the {kind} is not mutable."
            )
    result = type(current)()
    result.CopyFrom(current)
    mask.MergeMessage(change, result, replace_message_field=True, replace_repeated_field=True)
    return result
