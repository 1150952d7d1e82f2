"""The ring of keys on disk: read, turned, written, and published as a JWK set."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from scopeward.errors import ScopewardError
from scopeward.passes.ring import ALGORITHM, CURVE, Kept, Make, Ring, generate_key, new_ring, public_members, turned
from scopeward.private_file import read_private, write_private

KEYS_FILE: Final = "keys.json"
DAMAGED: Final = "keys.json.damaged"
VERSION: Final = 1

log = logging.getLogger("scopeward.passes")


class PassKeys:
    """The keys that sign passes. They outlive the process, in a file that only its owner can read.

    A file that cannot be believed is moved away and new keys are made: nothing of ours depends on the old ones. Upstreams that keep the old key
    set refuse calls until they fetch the new one, within an hour as a rule; ``alarm`` says so.
    """

    def __init__(self, folder: Path, ring: Ring, make: Make, alarm: ScopewardError | None = None) -> None:
        self._folder = folder
        self._ring = ring
        self._make = make
        self._damaged = alarm
        self._unwritten: ScopewardError | None = None

    @classmethod
    def load(cls, folder: Path, now: float, make: Make = generate_key) -> Self:
        """The keys kept in ``folder``, or new ones. ``now`` is in seconds since the epoch.

        Errors: ``state-unwritable`` where new keys cannot be kept: a restart would lose them.
        """
        path, alarm = folder / KEYS_FILE, None
        try:
            if (text := read_private(path)) is not None:
                return cls(folder, _read(text), make)
        except (ScopewardError, ValueError) as error:
            alarm = _damaged(path, error)
            log.warning("%s", alarm)
            with contextlib.suppress(OSError):  # the next write replaces it all the same
                path.replace(folder / DAMAGED)
        ring = new_ring(now, make)
        write_private(path, _written(ring))
        return cls(folder, ring, make, alarm)

    def turn(self, now: float) -> bool:
        """Do what is due at ``now`` (``ring.turned``); whether the published set changed.

        Written first, then used: a key that signs is never one that a restart would lose. Where it cannot be written all stays as it was, with
        an alarm, until a later turn can.
        """
        ring = turned(self._ring, now, self._make)
        if ring is self._ring:
            return False
        before = self.jwks()
        try:
            write_private(self._folder / KEYS_FILE, _written(ring))
        except ScopewardError as error:
            if self._unwritten is None:
                log.warning("the keys of passes are not rotated: %s", error)
            self._unwritten = error
            return False
        self._ring, self._unwritten = ring, None
        return self.jwks() != before

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A JWT of these claims by the signing key.

        ``typ`` is plain ``JWT``: common verifiers (Nimbus, and so Spring Security) refuse every other value unless they are told to take it.
        """
        signing = self._ring.signing
        return jwt.encode({"typ": "JWT", "alg": ALGORITHM, "kid": signing.kid}, dict(claims), signing.key, algorithms=[ALGORITHM])

    def jwks(self) -> str:
        """The JWK set (RFC 7517 section 5) of all published keys, public members only, as canonical JSON: equal sets give equal texts."""
        keys = sorted((public_members(kept.key) for kept in self._ring.published), key=lambda key: str(key["kid"]))
        return json.dumps({"keys": keys}, sort_keys=True, separators=(",", ":"))

    @property
    def signing_kid(self) -> str:
        """The ``kid`` of new passes."""
        return self._ring.signing.kid

    @property
    def alarm(self) -> ScopewardError | None:
        """What somebody should know: ``state-damaged`` since this start, or ``state-unwritable`` while a rotation cannot be kept."""
        return self._unwritten or self._damaged

    def __repr__(self) -> str:
        return f"PassKeys({self._ring!r})"


def _damaged(path: Path, error: Exception) -> ScopewardError:
    why = error.what if isinstance(error, ScopewardError) else f"{path}: not a key file of this version"
    return ScopewardError(
        "state-damaged",
        f"{why}; new keys sign the passes",
        f"Upstreams that keep the old keys refuse calls until they fetch the new ones: restart them, or wait an hour. See '{path.with_name(DAMAGED)}'.",
    )


def _written(ring: Ring) -> str:
    kept = {
        "version": VERSION,
        "waiting": _entry(ring.waiting, private=True),
        "signing": _entry(ring.signing, private=True),
        "retired": [_entry(one, private=False) for one in ring.retired],
    }
    return json.dumps(kept, indent=1) + "\n"


def _entry(kept: Kept, *, private: bool) -> dict[str, Any]:
    return {"since": kept.since, "key": dict(kept.key.as_dict(private=private))}


def _read(text: str) -> Ring:
    """Errors: ``ValueError``, which quotes nothing of the file."""
    try:
        kept = json.loads(text)
        retired = tuple(_kept(one, "public") for one in kept["retired"])
        version, ring = kept["version"], Ring(_kept(kept["waiting"], "private"), _kept(kept["signing"], "private"), retired)
    except (ValueError, KeyError, TypeError, AttributeError, JoseError, RecursionError):
        raise ValueError("not a key file") from None
    if version != VERSION or len({one.kid for one in ring.published}) != len(ring.published):
        raise ValueError("another version, or a key twice")
    return ring


def _kept(entry: Any, half: Literal["private", "public"]) -> Kept:
    key, since = ECKey.import_key(entry["key"]), entry["since"]
    # the thumbprint tells a key that somebody put under another's name
    fits = key.is_private == (half == "private") and key.alg == ALGORITHM and key.curve_name == CURVE and key.kid == key.thumbprint()
    if not fits or isinstance(since, bool) or not isinstance(since, int | float) or not math.isfinite(since):
        raise ValueError("key")
    return Kept(key, float(since))
