"""Rate limits: token buckets in PostgreSQL, from which each instance takes some tokens at a time.

A bucket holds as many tokens as its limit allows in a minute, and refills at that rate. An instance takes
what refills in `LEASE_REFILL_S`, spends it without asking the database again, and after `LEASE_S` returns
what it has not spent. If the bucket is empty, it refuses until the next token is due, also without asking.
So the limit holds however many instances there are: in any time t they allow at most a minute's requests and
those of t + `LEASE_S`; and a caller whose requests reach n instances may be refused while the others hold
unspent tokens, n - 1 leases at most.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sluice.postgres.connection import transaction
from sluice.postgres.named_sql import statement

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: The tokens of a lease: as many as refill in this time, and at least one.
LEASE_REFILL_S = 2.0
#: For how long an instance spends the tokens of a lease.
LEASE_S = 10.0
WINDOW_S = 60
_SUBJECTS = 8192


@dataclass(frozen=True)
class Standing:
    """What a subject has left after a request.

    Attributes:
        per_minute: its limit.
        remaining: requests that it may send now, as far as this instance knows.
        wait_s: if the request is refused, time after which another may be allowed; else 0.
    """

    per_minute: int
    remaining: int
    wait_s: int = 0

    @property
    def reset_s(self) -> int:
        """Time until all requests of a minute are allowed again, if none is sent."""
        return math.ceil((self.per_minute - self.remaining) * WINDOW_S / self.per_minute)


@dataclass
class _Lease:
    """The tokens of one subject that this instance has."""

    tokens: int = 0
    shared: float = 0.0
    taken_at: float = -math.inf
    refused_until: float = -math.inf
    lock: threading.Lock = field(default_factory=threading.Lock)


class Buckets:
    """The token buckets of some subjects; any thread may use them.

    Args:
        engine: returns the database.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, engine: Callable[[], Engine], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: OrderedDict[str, _Lease] = OrderedDict()

    def take(self, subject: str, per_minute: int) -> Standing:
        """Take a token; the subject has none left if the standing has a time to wait.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        lease = self._lease(subject)
        with lease.lock:
            now = self._clock()
            if now < lease.refused_until:
                return _refused(lease, per_minute, now)
            if not lease.tokens or now >= lease.taken_at + LEASE_S:
                self._renew(lease, subject, per_minute)
            if not lease.tokens:
                missing_s = (1 - lease.shared) * WINDOW_S / per_minute
                lease.refused_until = self._clock() + max(1.0, missing_s)
                return _refused(lease, per_minute, now)
            lease.tokens -= 1
            refilled = max(0.0, now - lease.taken_at) * per_minute / WINDOW_S
            remaining = min(per_minute, lease.tokens + int(lease.shared + refilled))
            return Standing(per_minute, remaining)

    def refusal(self, subject: str, per_minute: int) -> Standing | None:
        """Return the standing of a subject that is refused now; takes no token and asks no database."""
        with self._lock:
            lease = self._leases.get(subject)
        now = self._clock()
        return _refused(lease, per_minute, now) if lease and now < lease.refused_until else None

    def _lease(self, subject: str) -> _Lease:
        with self._lock:
            found = self._leases.setdefault(subject, _Lease())
            self._leases.move_to_end(subject)
            if len(self._leases) > _SUBJECTS:
                self._leases.popitem(last=False)
            return found

    def _renew(self, lease: _Lease, subject: str, per_minute: int) -> None:
        values = {
            "subject": subject,
            "per_minute": per_minute,
            "wanted": max(1, int(per_minute * LEASE_REFILL_S / WINDOW_S)),
            "returned": lease.tokens,
        }
        with transaction(self._engine()) as connection:
            row = connection.execute(statement("take_tokens"), values).one()
        lease.tokens, lease.shared, lease.taken_at = row.granted, row.remaining, self._clock()


def _refused(lease: _Lease, per_minute: int, now: float) -> Standing:
    return Standing(per_minute, 0, max(1, math.ceil(lease.refused_until - now)))
