"""The environment of the use cases in a function: the real database, Cloud Storage and Pub/Sub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sluice.ports import Environment

if TYPE_CHECKING:
    from sluice.settings import Settings


def open_environment(settings: Settings, actor: str = "system") -> Environment:
    """Return the environment that the settings describe; connections are opened on first use.

    Args:
        settings: of the function.
        actor: who requested the work.
    """
    from sluice.gcloud.pubsub import PubsubPublisher  # noqa: PLC0415
    from sluice.gcloud.storage import CloudStorage  # noqa: PLC0415
    from sluice.postgres.connection import open_database  # noqa: PLC0415  # all paid where first used

    return Environment(
        settings,
        open_database(settings),
        CloudStorage(settings.project),
        PubsubPublisher(settings.project, settings.name_prefix),
        actor,
    )
