"""A value that must not be seen: in a repr, a log line, an error or a diff."""

from __future__ import annotations

import hmac
from typing import Never


class Secret:
    """Holds a secret string and shows itself only when asked by name.

    ``reveal()`` is the single way out, so that every use can be found by searching for it.
    Comparison is in constant time; hashing, pickling and formatting are refused or masked.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. The caller must not log it, format it or pass it as an argument of a process."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash in a set or a dump would be an oracle

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> Never:
        raise TypeError("a Secret is not pickled or copied into another process")
