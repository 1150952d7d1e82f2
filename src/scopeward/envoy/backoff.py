"""How long to wait before Envoy is started again after it ended by itself."""

from __future__ import annotations

from typing import Final

DELAYS: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Seconds before the first start after an end, the second, …; the last one from then on."""

HEALTHY: Final = 60.0
"""Seconds of life after which an end counts as the first again."""


class Backoff:
    """Counts ends that follow each other. Time is that of a clock that never goes back, in seconds, given by the caller."""

    def __init__(self) -> None:
        self._ends = 0
        self._started: float | None = None

    def started(self, now: float) -> None:
        """Envoy is ready."""
        self._started = now

    def ended(self, now: float) -> float:
        """Envoy ended, or could not be started; the seconds to wait before the next start."""
        if self._started is not None and now - self._started >= HEALTHY:
            self._ends = 0
        self._started = None
        delay = DELAYS[min(self._ends, len(DELAYS) - 1)]
        self._ends += 1
        return delay
