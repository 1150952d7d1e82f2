"""The keys that sign passes, and their turns: one waits, one signs, the others are only still believed. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from joserfc.jwk import ECKey

ALGORITHM: Final = "ES256"
"""RFC 7518 section 3.4: a short signature, since it goes with every call; what verifies RS256 nearly always verifies it too."""
CURVE: Final = "P-256"

LIFETIME: Final = 3600
"""Seconds from ``iat`` to ``exp``: for so long upstreams take calls while the warden is down."""
SKEW: Final = 300
"""Seconds by which an upstream's clock may be behind ours. RFC 7519 section 4.1.4: "usually no more than a few minutes"."""
SIGNS_FOR: Final = 7 * 86_400
"""Seconds that a key signs: a stolen one is worthless soon, and an upstream that cannot follow a rotation shows it in its first week."""
PUBLISHED_BEFORE: Final = 2 * 3600
"""The least time, in seconds, that a key is published before it signs.

Verifiers commonly keep a key set for an hour, and some ask for it again only then, also when they meet a ``kid`` that they do not know.
The second hour is for the fetch that fails, and for the time that publishing takes.
"""


@dataclass(frozen=True, slots=True, repr=False)
class Kept:
    """A key, and since when (seconds since the epoch) it is what it is: waiting, signing or retired."""

    key: ECKey
    since: float

    @property
    def kid(self) -> str:
        """Its JWK thumbprint (RFC 7638)."""
        return str(self.key.kid)

    def __repr__(self) -> str:
        return f"Kept({self.kid}, since={self.since:.0f})"


@dataclass(frozen=True, slots=True)
class Ring:
    """All keys that are published. The private halves of the retired ones are gone."""

    waiting: Kept
    signing: Kept
    retired: tuple[Kept, ...] = ()

    @property
    def published(self) -> tuple[Kept, ...]:
        """Every key that may verify, now or later."""
        return (self.waiting, self.signing, *self.retired)


Make = Callable[[], ECKey]


def generate_key() -> ECKey:
    """A new private key with ``use``, ``alg``, and its thumbprint as ``kid``."""
    return ECKey.generate_key(CURVE, {"use": "sig", "alg": ALGORITHM}, auto_kid=True)


def new_ring(now: float, make: Make = generate_key) -> Ring:
    """Two new keys. The first signs at once, for nobody could have learned it before."""
    return Ring(Kept(make(), now), Kept(make(), now))


def turned(ring: Ring, now: float, make: Make = generate_key) -> Ring:
    """The ring as it must be at ``now``; the same object where nothing is due.

    1. A time in the future was written by a clock that was wrong; it becomes ``now``, or the key would never have its turn.
    2. A retired key goes when the last pass that it signed is expired everywhere.
    3. When the signing key has signed long enough and the waiting one is known long enough, they take turns, and a new key waits. However
       long the warden was down, a key is never used before it was published for a while.
    """
    ring = _not_after(ring, now)
    believed = tuple(kept for kept in ring.retired if now < kept.since + LIFETIME + SKEW)
    if len(believed) != len(ring.retired):
        ring = replace(ring, retired=believed)
    if now - ring.signing.since < SIGNS_FOR or now - ring.waiting.since < PUBLISHED_BEFORE:
        return ring
    return Ring(Kept(make(), now), Kept(ring.waiting.key, now), (*ring.retired, Kept(public_half(ring.signing.key), now)))


def _not_after(ring: Ring, now: float) -> Ring:
    if all(kept.since <= now + SKEW for kept in ring.published):  # a step of a few seconds is worth no rewriting
        return ring
    waiting, signing, *retired = (replace(kept, since=min(kept.since, now)) for kept in ring.published)
    return Ring(waiting, signing, tuple(retired))


def public_half(key: ECKey) -> ECKey:
    """The key without what signs."""
    return ECKey.import_key(public_members(key))


def public_members(key: ECKey) -> dict[str, Any]:
    """Its JWK (RFC 7517 section 4) without the private member."""
    return dict(key.as_dict(private=False))
