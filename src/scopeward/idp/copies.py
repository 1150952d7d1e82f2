"""The last good keys on the disk, for a start while a provider is down: one private file an issuer.

A copy is bound to its issuer's URL, by its name and by what it says, and is read by the rules that hold for what a provider serves.
One that is not as it was written is an error: keys decide who gets in, so nothing of it is guessed.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from scopeward.errors import ScopewardError
from scopeward.idp.documents import DEFAULT_LIMITS
from scopeward.idp.keys import usable_keys
from scopeward.private_file import read_private, write_private

VERSION: Final = 1
AHEAD: Final = 60.0
"""Seconds that a time may lie in the future: the clock may have been set since."""
_LARGEST: Final = 2 * DEFAULT_LIMITS.size
"""Bytes. The keys in it are at most as large as what a provider may serve, and are written without what is not needed."""
_UNUSED: Final = "it is not used, and is replaced as soon as the issuer answers"


@dataclass(frozen=True, slots=True)
class GoodKeys:
    """Keys as ``usable_keys`` gives them, and when they were asked for (seconds since the epoch)."""

    jwks: str
    fetched_at: float

    def has_all_of(self, other: GoodKeys) -> bool:
        """Whether each key of ``other`` is among these: none was withdrawn."""
        mine = json.loads(self.jwks)["keys"]
        return all(key in mine for key in json.loads(other.jwks)["keys"])


class KeyCopies:
    """The copies in ``folder``, which is made when the first is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, issuer: str) -> Path:
        """Where the copy of an issuer (its URL) is."""
        return self._folder / f"{hashlib.sha256(issuer.encode()).hexdigest()}.json"

    def read(self, issuer: str, now: float) -> GoodKeys | None:
        """What was written last, or ``None``. Errors: ``state-damaged``, and ``state-unwritable`` where others could have written it."""
        path = self.path(issuer)
        text = _text(path)
        if text is None:
            return None
        try:
            return _read(json.loads(text), issuer, now)
        except (ScopewardError, ValueError, KeyError, TypeError, RecursionError) as error:
            why = str(error) if isinstance(error, _UnbelievableError) else "it is not as it was written"
            raise ScopewardError("state-damaged", f"'{path}', the copy of an issuer's keys: {why}; {_UNUSED}") from None

    def write(self, issuer: str, keys: GoodKeys) -> None:
        """Replace the copy. Errors: ``state-unwritable``; the old copy is still there then."""
        copy = {"v": VERSION, "issuer": issuer, "fetched_at": keys.fetched_at, "jwks": json.loads(keys.jwks)}
        write_private(self.path(issuer), json.dumps(copy, sort_keys=True, indent=1) + "\n")

    def remove(self, issuer: str) -> None:
        """Take the copy away. Errors: ``state-unwritable``."""
        path = self.path(issuer)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ScopewardError("state-unwritable", f"'{path}' holds old keys and cannot be removed: {error.strerror}") from None


class _UnbelievableError(ValueError):
    """A copy in good form that says what cannot be."""


def _text(path: Path) -> str | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ScopewardError("state-unwritable", f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode) or found.st_size > _LARGEST:
        raise ScopewardError("state-damaged", f"'{path}' is no file, or larger than {_LARGEST} bytes; {_UNUSED}")
    return read_private(path)


def _read(copy: Mapping[str, Any], issuer: str, now: float) -> GoodKeys:
    version, fetched_at, published = copy["v"], copy["fetched_at"], copy["jwks"]
    if version != VERSION or copy["issuer"] != issuer:
        raise _UnbelievableError("it is of another issuer or version")
    if isinstance(fetched_at, bool) or not isinstance(fetched_at, int | float) or not 0 < fetched_at <= now + AHEAD:
        raise _UnbelievableError("its time is none, or lies in the future")
    jwks = usable_keys(published, "its copy") if isinstance(published, dict) else ""
    if not jwks or json.loads(jwks) != published:
        raise _UnbelievableError("it holds what was never written")
    return GoodKeys(jwks, float(fetched_at))
