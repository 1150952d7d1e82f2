"""Rows as values. Times are seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewRevocationRow:
    """A row of the table ``revocation`` before it has a number."""

    issuer: str
    what: str
    value: str
    before: int | None
    ends_at: float | None
    reason: str | None
    made_at: float


@dataclass(frozen=True, slots=True)
class RevocationRow:
    """A row of the table ``revocation``. ``changed`` is the number of the change that made or undid it."""

    number: int
    issuer: str
    what: str
    value: str
    before: int | None
    ends_at: float | None
    reason: str | None
    made_at: float
    undone_at: float | None
    changed: int
