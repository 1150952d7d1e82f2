"""Signing keys and their rotation. ``rotated`` is the whole story as a pure function; ``SigningKeys`` keeps its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, assert_never

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, JWKRegistry, KeySet, RSAKey

from scopeward.errors import ScopewardError
from scopeward.issuer.options import Algorithm
from scopeward.private_file import read_private, write_private

KEYS_FILE = "keys.json"

SigningKey = RSAKey | ECKey
Rotation = Literal["publish", "promote", "drop", "hard"]
ROTATIONS: tuple[Rotation, ...] = ("publish", "promote", "drop", "hard")


def generate_key(alg: Algorithm) -> SigningKey:
    """A new private key; its ``kid`` is its thumbprint (RFC 7638)."""
    match alg:
        case "RS256":
            return RSAKey.generate_key(2048, {"use": "sig", "alg": alg}, auto_kid=True)
        case "ES256":
            return ECKey.generate_key("P-256", {"use": "sig", "alg": alg}, auto_kid=True)
    assert_never(alg)


@dataclass(frozen=True, slots=True, repr=False)
class KeyRing:
    """All published keys, the oldest first, and which of them signs. Those after the signing one wait for their turn."""

    published: tuple[SigningKey, ...]
    signing: int

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs new tokens."""
        return self.published[self.signing]

    def __repr__(self) -> str:
        return f"KeyRing(published={[k.kid for k in self.published]}, signing={self.signing})"


def rotated(ring: KeyRing, mode: Rotation, make: Callable[[], SigningKey]) -> KeyRing:
    """The ring after one step: ``publish`` and ``promote`` in turn lose no token, ``hard`` makes all old ones worthless."""
    match mode:
        case "publish":  # a gateway can learn the key before it is used
            return KeyRing((*ring.published, make()), ring.signing)
        case "promote":  # the next waiting key signs, or a new one if none waits
            waits = ring.signing + 1 < len(ring.published)
            return KeyRing(ring.published if waits else (*ring.published, make()), ring.signing + 1)
        case "drop":  # tokens of the old keys should have run out by now
            return KeyRing((ring.signing_key,), 0)
        case "hard":  # as after a compromise
            return KeyRing((make(),), 0)
    assert_never(mode)


class SigningKeys:
    """The provider's keys. With a state directory they outlive the process, in a file only its owner can read."""

    def __init__(self, alg: Algorithm, ring: KeyRing, state_dir: Path | None, generate: Callable[[Algorithm], SigningKey]) -> None:
        self.alg = alg
        self._ring = ring
        self._state_dir = state_dir
        self._generate = generate

    @classmethod
    def create(cls, alg: Algorithm = "RS256", state_dir: Path | None = None, generate: Callable[[Algorithm], SigningKey] = generate_key) -> Self:
        """New keys, replacing any in ``state_dir``. Without ``state_dir`` they live in memory only."""
        keys = cls(alg, KeyRing((generate(alg),), 0), state_dir, generate)
        keys._keep(keys._ring)
        return keys

    @classmethod
    def load(cls, state_dir: Path, alg: Algorithm = "RS256", generate: Callable[[Algorithm], SigningKey] = generate_key) -> Self:
        """The keys kept in ``state_dir``, or new ones. Keys of another ``alg`` stay published, and a new key signs.

        Raises ``ScopewardError``: ``state-unwritable``, or ``state-version`` if the file is not of the expected form.
        """
        path = state_dir / KEYS_FILE
        text = read_private(path)
        if text is None:
            return cls.create(alg, state_dir, generate)
        keys = cls(alg, _read_ring(text, path), state_dir, generate)
        if keys._ring.signing_key.alg != alg:
            keys._keep(KeyRing((*keys._ring.published, generate(alg)), len(keys._ring.published)))
        return keys

    def rotate(self, mode: Rotation) -> None:
        """Take one step (see ``rotated``) and keep its result."""
        self._keep(rotated(self._ring, mode, lambda: self._generate(self.alg)))

    @property
    def signing_kid(self) -> str:
        """The ``kid`` of the key that signs."""
        return str(self._ring.signing_key.kid)

    @property
    def published_kids(self) -> tuple[str, ...]:
        """The ``kid`` of every published key, the oldest first."""
        return tuple(str(key.kid) for key in self._ring.published)

    def public_jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The JWK Set (RFC 7517 section 5) of the public halves."""
        return {"keys": [dict(key.as_dict(private=False)) for key in self._ring.published]}

    def sign(self, claims: Mapping[str, Any], typ: str) -> str:
        """A signed JWT with ``typ``, ``alg`` and ``kid`` in its header."""
        key = self._ring.signing_key
        alg = str(key.alg)
        return jwt.encode({"typ": typ, "alg": alg, "kid": str(key.kid)}, dict(claims), key, algorithms=[alg])

    def verify(self, token: str, typ: str) -> Mapping[str, Any] | None:
        """The claims of a JWT of that ``typ`` that a published key signed, or None. Times are not looked at."""
        try:
            found = jwt.decode(token, KeySet(list(self._ring.published)), algorithms=["RS256", "ES256"])
        except (JoseError, ValueError):
            return None
        return found.claims if found.header.get("typ") == typ else None

    def _keep(self, ring: KeyRing) -> None:
        """Write first, then use: a key that signs is never one that a restart would lose."""
        if self._state_dir is not None:
            kept = {"version": 1, "signing": ring.signing, "keys": [key.as_dict(private=True) for key in ring.published]}
            write_private(self._state_dir / KEYS_FILE, json.dumps(kept, indent=1) + "\n")
        self._ring = ring

    def __repr__(self) -> str:
        return f"SigningKeys({self._ring!r})"


def _read_ring(text: str, path: Path) -> KeyRing:
    try:
        kept = json.loads(text)
        ring = KeyRing(tuple(_import(one) for one in kept["keys"]), int(kept["signing"]))
        good = kept["version"] == 1 and 0 <= ring.signing < len(ring.published)
    except (ValueError, KeyError, TypeError, JoseError):
        good = False
    if not good:
        raise ScopewardError("state-version", f"{path}: not a key file of this version")
    return ring


def _import(data: Any) -> SigningKey:
    key = JWKRegistry.import_key(data)
    if not isinstance(key, RSAKey | ECKey) or not key.is_private or key.alg not in ("RS256", "ES256") or not key.kid:
        raise ValueError("key")
    return key
