"""The delivery state machine of one subscription: pure; its caller passes the time.

    put -> WAITING -> READY -> LEASED -> (ack) settled
              ^                   |
              '---- backoff <-----'  nack or deadline; after the last attempt: dead-lettered

With ordering, only the oldest unsettled message of a key leaves WAITING, so after a nack the key
continues from that message, in order.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

from sluice.local.pubsub.deliveries import BacklogCounts, Delivery, Observer
from sluice.local.pubsub.errors import InvalidArgumentError
from sluice.local.pubsub.faults import NO_FAULTS, Faults
from sluice.local.pubsub.flow_control import Window

if TYPE_CHECKING:
    from sluice.local.pubsub.messages import Message
    from sluice.local.pubsub.policy import DeliveryPolicy

MAX_TAKE_BYTES = 4_000_000

_Timer: TypeAlias = tuple[float, int, str]  # when, its number, for which message


class _State(Enum):
    WAITING = auto()  # until its timer, or until the message before it in its key is settled
    READY = auto()  # WAITING -> READY: its timer fired
    LEASED = auto()  # READY -> LEASED: handed out
    SETTLED = auto()  # any -> SETTLED: acked, dead-lettered or past the retention


@dataclass(slots=True, eq=False)
class _Entry:
    message: Message
    place: int
    attempts: int
    state: _State = _State.WAITING
    lease: int = 0
    timer: int = 0
    window: Window = field(default_factory=Window)


class Backlog:
    """The unsettled messages of one subscription."""

    def __init__(self, name: str, policy: DeliveryPolicy, observer: Observer) -> None:
        self.policy = policy
        self.faults: Faults = NO_FAULTS
        self.dead_lettered = 0
        self._name = name
        self._ack_id_prefix = f"{crc32(name.encode()):08x}"
        self._observer = observer
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._ready: deque[_Entry] = deque()
        self._keys: dict[str, deque[_Entry]] = {}
        self._timers: list[_Timer] = []
        self._serial = 0
        self._places = 0
        self._outstanding = 0

    def put(self, message: Message, now: float, attempts: int = 0) -> None:
        """Add a message, delivered `attempts` times before."""
        self._places += 1
        entry = _Entry(message, self._places, attempts, lease=attempts)
        self._entries[message.message_id] = entry
        if self._is_keyed(entry):
            queue = self._keys.setdefault(message.ordering_key, deque())
            queue.append(entry)
            if len(queue) > 1:
                return
        self._schedule(entry, now, 0.0)

    def take(
        self, now: float, limit: int, window: Window, ack_deadline_s: float | None = None
    ) -> list[Delivery]:
        """Lease up to `limit` messages, as far as the window has room for them."""
        self.advance(now)
        deadline_at = now + (ack_deadline_s or self.policy.ack_deadline_s)
        deliveries: list[Delivery] = []
        size_bytes = 0
        while self._ready and len(deliveries) < limit and size_bytes < MAX_TAKE_BYTES:
            if not window.has_room():
                break
            entry = self._pop_ready()
            if entry.state is not _State.READY:
                continue
            delivery = self._lease(entry, window, deadline_at)
            deliveries.append(delivery)
            size_bytes += entry.message.size_bytes
            if self.faults.is_duplicated(self._name, entry.place, entry.attempts):
                deliveries.append(delivery)
        return deliveries

    def ack(self, ack_id: str, now: float) -> None:
        """Settle a message; an ack after the deadline counts unless the message was leased again.

        Raises:
            InvalidArgumentError: the id is not from this subscription.
        """
        entry, lease = self._find(ack_id)
        if entry is None or (entry.state is _State.LEASED and entry.lease != lease):
            return
        if not self.faults.is_ack_dropped(self._name, entry.place, entry.attempts):
            self._settle(entry, now)

    def nack(self, ack_id: str, now: float) -> None:
        """Return a message, to be delivered again after the backoff."""
        entry = self._find_leased(ack_id)
        if entry is not None:
            self._fail(entry, now)

    def extend(self, ack_id: str, ack_deadline_s: float, now: float) -> None:
        """Move the deadline of a lease to `ack_deadline_s` from now; 0 is a nack."""
        if ack_deadline_s <= 0:
            self.nack(ack_id, now)
            return
        entry = self._find_leased(ack_id)
        if entry is not None:
            self._set_timer(entry, now + ack_deadline_s)

    def advance(self, now: float) -> None:
        """Process what is due: expired leases, ended backoffs, ended retention."""
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)
            if not self._is_current(timer):
                continue
            entry = self._entries[timer[2]]
            if entry.state is _State.LEASED:
                self._fail(entry, now)
            elif entry.state is _State.WAITING:
                self._make_ready(entry)
        self.purge(now - self.policy.retention_s, now)

    def purge(self, published_before: float, now: float) -> None:
        """Settle every message published before a time."""
        while self._entries:
            oldest = next(iter(self._entries.values()))
            if oldest.message.published_at >= published_before:
                return
            self._settle(oldest, now)
            while self._ready and self._ready[0].state is _State.SETTLED:
                self._ready.popleft()

    def next_timer_at(self) -> float | None:
        """Return when `advance` is due next, as far as is known now."""
        while self._timers and not self._is_current(self._timers[0]):
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def counts(self) -> BacklogCounts:
        """Return how many messages there are in each state."""
        undelivered = len(self._entries) - self._outstanding
        return BacklogCounts(undelivered, self._outstanding, self.dead_lettered)

    def _pop_ready(self) -> _Entry:
        ready = self._ready
        chosen = self.faults.overtakes(self._name, ready[0].place, len(ready))
        if chosen:
            ready[0], ready[chosen] = ready[chosen], ready[0]
        return ready.popleft()

    def _lease(self, entry: _Entry, window: Window, deadline_at: float) -> Delivery:
        entry.state = _State.LEASED
        entry.attempts += 1
        entry.lease += 1
        entry.window = window
        window.charge(entry.message.size_bytes)
        self._outstanding += 1
        self._set_timer(entry, deadline_at)
        self._observer.leased(entry.message.message_id, entry.attempts)
        ack_id = f"{self._ack_id_prefix}-{entry.message.message_id}-{entry.lease}"
        return Delivery(entry.message, ack_id, entry.attempts)

    def _fail(self, entry: _Entry, now: float) -> None:
        self._release(entry)
        entry.state = _State.WAITING
        if self.policy.is_last_attempt(entry.attempts) and self._observer.exhausted(
            entry.message, entry.attempts
        ):
            self.dead_lettered += 1
            self._settle(entry, now)
        else:
            self._schedule(entry, now, self.policy.backoff_s(entry.attempts))

    def _schedule(self, entry: _Entry, now: float, wait_s: float) -> None:
        wait_s += self.faults.delay_s_of(self._name, entry.place, entry.attempts)
        if wait_s > 0:
            self._set_timer(entry, now + wait_s)
        else:
            self._make_ready(entry)

    def _make_ready(self, entry: _Entry) -> None:
        entry.state = _State.READY
        self._ready.append(entry)
        self._observer.became_ready()

    def _settle(self, entry: _Entry, now: float) -> None:
        if entry.state is _State.LEASED:
            self._release(entry)
        entry.state = _State.SETTLED
        del self._entries[entry.message.message_id]
        self._observer.settled(entry.message.message_id)
        if self._is_keyed(entry):
            self._advance_key(entry, now)

    def _advance_key(self, settled: _Entry, now: float) -> None:
        key = settled.message.ordering_key
        queue = self._keys[key]
        was_first = queue[0] is settled
        queue.remove(settled)
        if not queue:
            del self._keys[key]
        elif was_first:
            self._schedule(queue[0], now, 0.0)

    def _release(self, entry: _Entry) -> None:
        self._outstanding -= 1
        entry.window.credit(entry.message.size_bytes)

    def _is_keyed(self, entry: _Entry) -> bool:
        return self.policy.is_ordered and bool(entry.message.ordering_key)

    def _find_leased(self, ack_id: str) -> _Entry | None:
        entry, lease = self._find(ack_id)
        is_held = entry is not None and entry.state is _State.LEASED and entry.lease == lease
        return entry if is_held else None

    def _find(self, ack_id: str) -> tuple[_Entry | None, int]:
        prefix, _, rest = ack_id.partition("-")
        message_id, _, lease = rest.partition("-")
        if prefix != self._ack_id_prefix or not lease.isdecimal():
            raise InvalidArgumentError(
                f"You have passed an invalid ack ID to the service (ack_id={ack_id})."
            )
        return self._entries.get(message_id), int(lease)

    def _set_timer(self, entry: _Entry, at: float) -> None:
        self._serial += 1
        entry.timer = self._serial
        heapq.heappush(self._timers, (at, self._serial, entry.message.message_id))
        if len(self._timers) > 2 * len(self._entries) + 1024:
            self._drop_stale_timers()
        if self._timers[0][1] == self._serial:
            self._observer.timer_set(at)

    def _drop_stale_timers(self) -> None:
        # Acked messages leave their deadline in the heap: without this, it would grow with them.
        self._timers = [timer for timer in self._timers if self._is_current(timer)]
        heapq.heapify(self._timers)

    def _is_current(self, timer: _Timer) -> bool:
        entry = self._entries.get(timer[2])
        return entry is not None and entry.timer == timer[1]
