"""Time is an argument. The core sees this protocol only; who builds objects passes a real clock in."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall-clock time as OAuth counts it."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z (NumericDate, RFC 7519 section 2), with a fraction."""
        ...
