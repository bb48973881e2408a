"""Who sent a request, and what that caller may do.

What a caller may not see does not exist for it: a dataset outside its list is answered like one that nobody
declared, so that no answer tells whether there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sluice.documents.roles import Role
from sluice.errors import ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from sluice.access.stored_keys import StoredKey
    from sluice.datasets.model import Dataset
    from sluice.postgres.catalog import DatasetVersion


@dataclass(frozen=True)
class Caller:
    """An authenticated caller.

    Attributes:
        actor: who it is, as the audit log names it.
        datasets: those that it may read or load; None for all.
        pii: whether it sees the values of columns with personal data.
        key: id of its key; empty for a caller without one.
        requests_per_minute: its own limit; None for that of the settings.
    """

    actor: str
    role: Role
    datasets: frozenset[str] | None = None
    pii: bool = False
    key: str = ""
    requests_per_minute: int | None = None

    def require(self, role: Role) -> None:
        """Check that it has a role, or one that includes it.

        Raises:
            ForbiddenError: it has a lesser one.
        """
        if not self.role.includes(role):
            raise ForbiddenError(
                f"this needs the role {role}, and the caller has the role {self.role}"
            )

    @property
    def is_limited(self) -> bool:
        """Whether it may see some datasets only."""
        return self.datasets is not None

    @property
    def listed(self) -> list[str] | None:
        """The datasets that it may see as a parameter of a statement; None for all."""
        return None if self.datasets is None else sorted(self.datasets)

    def sees(self, dataset: str | None) -> bool:
        """Return whether it may see a dataset; None is what belongs to none."""
        return self.datasets is None or dataset in self.datasets

    def check_dataset(self, name: str) -> None:
        """Check that it may see a dataset.

        Raises:
            NotFoundError: it may not.
        """
        if not self.sees(name):
            raise NotFoundError(f"there is no dataset {name}; GET /v1/datasets lists them")

    def hidden_fields(self, dataset: Dataset) -> frozenset[str]:
        """Return the stored columns of a dataset whose values it does not see."""
        return frozenset() if self.pii else dataset.pii_fields

    def check_reads(self, found: DatasetVersion) -> None:
        """Check that it may see all that a query reads.

        Raises:
            ForbiddenError: it may not.
        """
        datasets = found.reads
        if found.reads_pii and not self.pii:
            raise ForbiddenError(
                "the query reads columns with personal data, which the caller does not see"
            )
        if self.datasets is not None and (
            datasets is None or not self.datasets.issuperset(datasets)
        ):
            raise ForbiddenError("the query reads datasets that the key does not apply to")


def caller_of(stored: StoredKey) -> Caller:
    """Return the caller who has a key, or an identity that was granted the same."""
    actor = f"identity:{stored.identity}" if stored.identity else f"key:{stored.id}"
    return Caller(
        actor, stored.role, stored.datasets, stored.pii, stored.id, stored.requests_per_minute
    )


#: Whoever calls the local cloud, which has no authentication.
ANONYMOUS = Caller("anonymous", Role.ADMIN, pii=True)
#: Who has the token of the settings.
BOOTSTRAP = Caller("bootstrap", Role.ADMIN, pii=True)
