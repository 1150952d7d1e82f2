"""How far a provider's clock is from ours, as its answers tell it."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import httpx2

_LONGEST_DATE: Final = 64


def clock_difference(headers: httpx2.Headers, sent: float, received: float) -> int | None:
    """The provider's clock minus ours, in whole seconds: positive where it is ahead. ``None`` is not known.

    ``sent`` and ``received`` are our time as the request left and as the answer's headers came; the answer is taken to be of the middle
    between them. ``Date`` (RFC 9110 section 6.6.1) is cut to seconds: of the differences that it allows, the whole one is taken. An answer out of a cache
    (``Age``, RFC 9111 section 5.1) tells the time of another moment, and counts as none.
    """
    date = _seconds(headers.get("Date", ""))
    if date is None or headers.get("Age", "0").strip() != "0":
        return None
    return math.ceil(date - (sent + received) / 2)


def _seconds(date: str) -> float | None:
    if len(date) > _LONGEST_DATE:
        return None
    try:
        read = parsedate_to_datetime(date)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()  # the obsolete form of asctime names no zone, and means UTC
    except (ValueError, OverflowError):
        return None
