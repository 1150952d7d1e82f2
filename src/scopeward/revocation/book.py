"""The book of revocations: every one that was made, in the store. It knows nothing of Envoy."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, get_args

from scopeward.analysis.gateway import Revocation, RevokedWhat
from scopeward.clock import Clock
from scopeward.errors import ScopewardError
from scopeward.revocation.entry import OUTLIVES, Entry, canonical
from scopeward.store import NewRevocationRow, RevocationRow, Store

LONGEST_TEXT: Final = 1024
"""Bytes (UTF-8) of a token id, client id, subject or reason."""
LAST_TIME: Final = 253_402_300_800
"""The year 10000: what is later is milliseconds, or nonsense."""

_LAST_NUMBER: Final = 2**63 - 1
_WHATS: Final = frozenset(get_args(RevokedWhat))


@dataclass(frozen=True, slots=True)
class Asked:
    """A revocation to be made. ``ends_at`` (seconds since the epoch) is the token's ``exp``, ``None`` for until it is undone."""

    revocation: Revocation
    ends_at: float | None = None
    reason: str | None = None


class RevocationBook:
    """Adds, undoes and lists. Errors of every method: those of ``Store``."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def add(self, revocation: Revocation, *, ends_at: float | None = None, reason: str | None = None) -> Entry:
        """Revoke. Errors: ``revocation-invalid``."""
        return self.add_many((Asked(revocation, ends_at, reason),))[0]

    def add_many(self, asked: Iterable[Asked]) -> tuple[Entry, ...]:
        """Revoke all of them or, where one is invalid, none; in the order of their numbers. Errors: ``revocation-invalid``."""
        now = self._clock.now()
        return _entries(self._store.revocations.add([_row(one, now) for one in asked]))

    def undo(self, number: int) -> Entry:
        """Take a revocation back. Errors: ``revocation-unknown``, also where it is undone already."""
        row = self._store.revocations.undo(number, self._clock.now()) if 0 < number <= _LAST_NUMBER else None
        if row is None:
            raise ScopewardError("revocation-unknown", f"there is no revocation {number}, or it is undone already")
        return _entry(row)

    def entries(self, include_undone: bool = False) -> tuple[Entry, ...]:
        """Those in force, in the order of their numbers; with ``include_undone`` all that were ever made, also those that are over."""
        return _entries(self._store.revocations.all() if include_undone else self._store.revocations.open(self._over()))

    def standing(self) -> tuple[Revocation, ...]:
        """What is revoked now, in one order and without repetitions."""
        return canonical(self.entries())

    def changes(self, since: int) -> tuple[Entry, ...]:
        """What was made or undone by changes later than this, as it is now."""
        return _entries(self._store.revocations.since(since))

    def sequence(self) -> int:
        """The number of the last change. It grows with each; it is the truth about whether anything changed, and cheap to ask."""
        return self._store.revocations.sequence()

    def _over(self) -> float:
        return self._clock.now() - OUTLIVES


def require_text(what: str, text: str, remedy: str | None = None) -> None:
    """Refuse what cannot be a claim of a token. Errors: ``revocation-invalid``."""
    wrong = _wrong(text)
    if wrong:
        raise ScopewardError("revocation-invalid", f"the {what} {wrong}", remedy or f"Give the {what} exactly as it stands in the token.")


def _wrong(text: str) -> str | None:
    if not text:
        return "is empty"
    if any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} for c in text):
        return "holds a control character or something that is no text"
    if text != text.strip():
        return "begins or ends with white space"
    if len(text.encode()) > LONGEST_TEXT:
        return f"is longer than {LONGEST_TEXT} bytes"
    return None


def _row(asked: Asked, now: float) -> NewRevocationRow:
    found = asked.revocation
    require_text("issuer", found.issuer)
    if found.what == "issuer":
        _require(found.value == "", "an issuer is revoked as a whole, without a value")
    else:
        require_text(found.what.replace("-", " "), found.value)
    if asked.reason is not None:
        require_text("reason", asked.reason, f"Give one line of at most {LONGEST_TEXT} bytes, or leave it out.")
    _require(found.before is None or (found.what != "token-id" and 0 <= found.before < LAST_TIME), "'before' is no time, or does not go with a token id")
    _require(asked.ends_at is None or 0 <= asked.ends_at < LAST_TIME, "the token's 'exp' is no time")
    ends_at = None if asked.ends_at is None else float(asked.ends_at)
    return NewRevocationRow(found.issuer, found.what, found.value, found.before, ends_at, asked.reason, now)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ScopewardError("revocation-invalid", what)


def _entries(rows: Iterable[RevocationRow]) -> tuple[Entry, ...]:
    return tuple(_entry(row) for row in rows)


def _entry(row: RevocationRow) -> Entry:
    if row.what not in _WHATS:
        raise ScopewardError("state-version", f"revocation {row.number} is of the kind {row.what!a}, which this version of Scopeward does not know")
    # the issuer is the same text in a hundred thousand entries
    revocation = Revocation(sys.intern(row.issuer), row.what, row.value, row.before)  # type: ignore[arg-type]
    return Entry(row.number, revocation, row.ends_at, row.reason, row.made_at, row.undone_at, row.changed)
