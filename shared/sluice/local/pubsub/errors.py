"""The errors of the service, with the messages of the real one.

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
    """The service refuses a request; `code` is the name of the gRPC status."""

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
    """A resource of the name exists."""

    code = "ALREADY_EXISTS"

    def __init__(self, resource: str) -> None:
        short = resource_id(resource)
        super().__init__(f"Resource already exists in the project (resource={short}).")


class InvalidArgumentError(StatusError):
    """The request breaks a rule or a limit of the service."""

    code = "INVALID_ARGUMENT"


class OutOfRangeError(StatusError):
    """A number is out of bounds, for the few that the service refuses with this status."""

    code = "OUT_OF_RANGE"


class FailedPreconditionError(StatusError):
    """The state of the resource does not allow the request."""

    code = "FAILED_PRECONDITION"


class UnsupportedError(StatusError):
    """The embedded service does not implement this."""

    code = "UNIMPLEMENTED"

    def __init__(self, feature: str) -> None:
        super().__init__(f"The embedded Pub/Sub does not support {feature}.")


def resource_id(resource: str) -> str:
    """Return the last part of a resource name: `t` of `projects/p/topics/t`."""
    return resource.rsplit("/", 1)[-1]
