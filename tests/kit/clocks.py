"""A clock that stands where a test sets it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SetClock:
    """``time`` is in seconds since the epoch."""

    time: float

    def now(self) -> float:
        return self.time
