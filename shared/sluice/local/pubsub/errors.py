"""The refusals of the service, each with the words the real one answers; knows no transport.

StatusError
├── NotFoundError
├── AlreadyExistsError
├── InvalidArgumentError
├── OutOfRangeError
├── FailedPreconditionError
└── UnsupportedError
"""

from __future__ import annotations


class StatusError(Exception):
    """A request the service refuses; `code` is the name of the gRPC status."""

    code = "UNKNOWN"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotFoundError(StatusError):
    """The named resource does not exist."""

    code = "NOT_FOUND"

    def __init__(self, resource: str) -> None:
        super().__init__(f"Resource not found (resource={resource_id(resource)}).")


class AlreadyExistsError(StatusError):
    """The name is taken."""

    code = "ALREADY_EXISTS"

    def __init__(self, resource: str) -> None:
        short = resource_id(resource)
        super().__init__(f"Resource already exists in the project (resource={short}).")


class InvalidArgumentError(StatusError):
    """The request breaks a rule or a limit of the service."""

    code = "INVALID_ARGUMENT"


class OutOfRangeError(StatusError):
    """A number is beyond its bounds, for the few that are refused with this status."""

    code = "OUT_OF_RANGE"


class FailedPreconditionError(StatusError):
    """The request is well formed, but the resource is not in a state for it."""

    code = "FAILED_PRECONDITION"


class UnsupportedError(StatusError):
    """The real service does this, the embedded one does not."""

    code = "UNIMPLEMENTED"

    def __init__(self, feature: str) -> None:
        super().__init__(f"The embedded Pub/Sub does not support {feature}.")


def resource_id(resource: str) -> str:
    """Return the last part of a resource name: `t` of `projects/p/topics/t`."""
    return resource.rsplit("/", 1)[-1]
