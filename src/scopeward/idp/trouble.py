"""What is wrong with one issuer's keys, since when, and what the log was told of it: each cause once, and that it ended."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from scopeward.errors import ScopewardError

_MOST_CAUSES: Final = 8
"""Told between a beginning and an end: what a provider answers is in the words, and it could answer something new each time."""

log = logging.getLogger("scopeward.idp")


@dataclass(frozen=True, slots=True)
class KeyFailure:
    """Why the last look failed: the reference, and what and where in words that are safe to show."""

    reference: str
    what: str


class Trouble:
    """Begins with the first look at an issuer that fails, and ends with the first that does not."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.failure: KeyFailure | None = None
        self.times = 0
        self._told: set[KeyFailure] = set()
        self._told_stale = False

    def add(self, issuer: str, error: ScopewardError, now: float, good_until: int | None) -> None:
        """One more look at ``issuer`` (its name in the policy) failed, at ``now``. ``good_until`` is of the keys that serve meanwhile, if any."""
        self.since = now if self.since is None else min(self.since, now)
        self.failure = KeyFailure(error.reference.id, error.what)
        self.times += 1
        if good_until is not None:  # else it is an error of whoever asked, who tells it
            self._tell(issuer, self.failure, error.remedy, good_until, stale=now >= good_until)

    def _tell(self, issuer: str, failure: KeyFailure, remedy: str, good_until: int, *, stale: bool) -> None:
        if failure not in self._told and len(self._told) < _MOST_CAUSES:
            self._told.add(failure)
            words = "issuer '%s' cannot be read: %s: %s; its last good keys count until %s. %s"
            log.warning(words, issuer, failure.reference, failure.what, _moment(good_until), remedy)
        if stale and not self._told_stale:
            self._told_stale = True
            log.warning("issuer '%s': issuer-keys-stale: its last good keys are too old, and calls with its tokens are refused", issuer)

    def end(self, issuer: str, now: float) -> None:
        """A look succeeded."""
        if self.since is not None:
            log.info("issuer '%s' can be read again, after %d s", issuer, now - self.since)
        self.since, self.failure, self.times = None, None, 0
        self._told.clear()
        self._told_stale = False


def _moment(at: float) -> str:
    """A time as people read it, in UTC (RFC 3339)."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
