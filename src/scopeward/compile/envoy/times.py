"""Compare times without CEL, which costs a call more than everything else here: as decimal texts, by pattern.

A time is whole seconds since the epoch, without leading zeros. What is not of that form fits neither pattern, so a caller of these decides
what a missing or odd time means by the direction in which it asks.
"""

from __future__ import annotations

from scopeward.compile.envoy.proto import Json, header, regex

MOST_DIGITS = 19
"""Of a time; no clock shows more."""
NO_TIME = r"\b\B"
"""What nothing matches."""


def before(header_name: str, limit: int) -> Json:
    """A predicate: the header is a time before ``limit``."""
    return header(header_name, safe_regex=regex(f"(?:{'|'.join(_less(str(limit)) or [NO_TIME])})"))


def at_or_after(header_name: str, limit: int) -> Json:
    """A predicate: the header is a time not before ``limit``."""
    return header(header_name, safe_regex=regex(f"(?:{'|'.join(_not_less(str(limit)))})"))


def _less(limit: str) -> list[str]:
    """Shorter numbers, and those of the same length whose first other digit is smaller."""
    shorter = ["0", f"[1-9][0-9]{{0,{len(limit) - 2}}}"] if len(limit) > 1 else []
    smaller = [
        f"{limit[:i]}[{1 if i == 0 and len(limit) > 1 else 0}-{int(digit) - 1}]{_any(len(limit) - i - 1)}"
        for i, digit in enumerate(limit)
        if int(digit) > (1 if i == 0 and len(limit) > 1 else 0)
    ]
    return [*shorter, *smaller]


def _not_less(limit: str) -> list[str]:
    longer = f"[1-9][0-9]{{{len(limit)},{MOST_DIGITS - 1}}}"
    larger = [f"{limit[:i]}[{int(digit) + 1}-9]{_any(len(limit) - i - 1)}" for i, digit in enumerate(limit) if digit != "9"]
    return [longer, *larger, limit]


def _any(digits: int) -> str:
    return f"[0-9]{{{digits}}}" if digits else ""
