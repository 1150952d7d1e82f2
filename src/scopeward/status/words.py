"""Times and sizes as people say them."""

from __future__ import annotations

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """``0 s``, ``59 s``, ``2 h 5 min``, ``3 d``: the two largest units, rounded down. A negative one counts as 0."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def size(number: int) -> str:
    """``512 MiB``, ``1.5 GiB``; below one MiB in KiB."""
    for unit, bytes_ in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if number >= bytes_:
            exact = number / bytes_
            return f"{exact:.0f} {unit}" if exact >= 10 or exact == int(exact) else f"{exact:.1f} {unit}"
    return f"{number // 1024} KiB"


def counted(number: int, what: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
