"""The clock of one server; it may run faster than real time, to shorten tests."""

from __future__ import annotations

import time


class Clock:
    """Seconds since the epoch, UTC, that pass `speed` times as fast as real ones."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._wall_at_start = time.time()
        self._monotonic_at_start = time.monotonic()

    def now(self) -> float:
        """Return the current time in seconds since the epoch; it never goes back."""
        elapsed_s = time.monotonic() - self._monotonic_at_start
        return self._wall_at_start + elapsed_s * self.speed

    def real_s(self, duration_s: float) -> float:
        """Return how many real seconds `duration_s` of this clock take."""
        return duration_s / self.speed
