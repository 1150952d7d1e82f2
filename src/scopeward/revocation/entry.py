"""One revocation as it is kept, and when it is over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scopeward.analysis.gateway import Revocation, strongest

OUTLIVES: Final = 3600
"""Seconds that an entry stays in force after ``ends_at``, a token's ``exp``: an issuer's ``clock_skew`` (at most 10 minutes) accepts the token
longer, and clocks differ."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A revocation with its number. Times are seconds since the epoch.

    ``ends_at`` is when the token expires by itself, ``None`` where the entry stands until it is undone. ``sequence`` is the change that made
    or undid it: whoever has read that far knows of it.
    """

    number: int
    revocation: Revocation
    ends_at: float | None
    reason: str | None
    made_at: float
    undone_at: float | None
    sequence: int

    def is_over(self, now: float) -> bool:
        """Whether its token expired so long ago that nothing accepts it any more."""
        return self.ends_at is not None and self.ends_at + OUTLIVES <= now

    def stands(self, now: float) -> bool:
        """Whether it is in force: neither undone nor over."""
        return self.undone_at is None and not self.is_over(now)


def canonical(entries: Iterable[Entry]) -> tuple[Revocation, ...]:
    """Their revocations in one order, without those that another covers."""
    found = strongest(entry.revocation for entry in entries)
    return tuple(found[key] for key in sorted(found))
