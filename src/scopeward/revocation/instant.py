"""A point in time as people write it, and back."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Final

from scopeward.errors import ScopewardError

FORMS: Final = "Write it like 2026-11-24T10:00:00Z, as seconds since 1970, as 'now', or as a time ago such as 5m."
ABSOLUTE_FORMS: Final = "Write it like 2026-11-24T10:00:00Z, or as seconds since 1970 as it stands in the token's 'exp'."

_RFC_3339: Final = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})")
_EPOCH: Final = re.compile(r"[0-9]{1,15}")
_AGO: Final = re.compile(r"([0-9]{1,6})(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FIRST: Final = 1_000_000_000
"""The year 2001, before OAuth: an earlier time is another number that was taken for one."""


def read_instant(option: str, text: str, now: float, latest: float) -> int:
    """A time that is past, as a rule, in whole seconds since the epoch, rounded up; ``latest`` is the last that makes sense.

    'now' takes in the second that has begun, since ``iat`` counts whole seconds. Errors: ``revocation-invalid``, which names the option.
    """
    return _sensible(option, text, _relative(text, now), latest, FORMS)


def read_absolute(option: str, text: str, latest: float) -> int:
    """The same without 'now' and times ago, where a time to come is meant and '5m' would be taken for its opposite."""
    return _sensible(option, text, _absolute(text), latest, ABSOLUTE_FORMS)


def write_instant(seconds: float) -> str:
    """RFC 3339 in UTC, in whole seconds rounded up."""
    try:
        return datetime.fromtimestamp(math.ceil(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:.0f}"


def _sensible(option: str, text: str, found: int | None, latest: float, forms: str) -> int:
    if found is None:
        raise ScopewardError("revocation-invalid", f"{option}: {text[:60]!a} is not a point in time", forms)
    if found < _FIRST:
        raise ScopewardError("revocation-invalid", f"{option}: {text[:60]!a} is before the year 2001, when no token was issued", forms)
    if found > latest:
        raise ScopewardError("revocation-invalid", f"{option}: {text[:60]!a} is too far in the future; are these milliseconds?", forms)
    return found


def _relative(text: str, now: float) -> int | None:
    if text == "now":
        return math.floor(now) + 1
    if ago := _AGO.fullmatch(text):
        return math.ceil(now - int(ago[1]) * _SECONDS[ago[2]])
    return _absolute(text)


def _absolute(text: str) -> int | None:
    if _EPOCH.fullmatch(text):
        return int(text)
    found = _RFC_3339.fullmatch(text)
    if not found:
        return None
    date, time, fraction, zone = found.groups()
    try:
        whole = datetime.fromisoformat(f"{date}T{time}{zone.upper()}").timestamp()
    except (ValueError, OverflowError):
        return None
    return int(whole) + (1 if (fraction or "").strip(".0") else 0)
