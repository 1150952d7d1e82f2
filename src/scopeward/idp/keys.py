"""An issuer's signing keys: of what it publishes, only what can verify a signature, in one canonical text.

What is dropped here can verify no token. An engine that reads the text may refuse all of it for one broken key, so each key that is
kept was loaded once.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry

from scopeward.errors import ScopewardError
from scopeward.idp.discovery import IssuerMetadata
from scopeward.idp.documents import DEFAULT_LIMITS, Heard, Limits, fetch_document, in_time, printable

LEAST_RSA_BITS: Final = 2048
"""NIST SP 800-131A; RFC 7518 section 3.3."""
MOST_RSA_BITS: Final = 8192
"""Beyond it each verification costs milliseconds."""
_MOST_EXPONENT_BITS: Final = 33
"""What BoringSSL takes."""

_RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final[Mapping[tuple[str, str], tuple[str, int]]] = {
    ("EC", "P-256"): ("ES256", 32),
    ("EC", "P-384"): ("ES384", 48),
    ("EC", "P-521"): ("ES512", 66),
    ("OKP", "Ed25519"): ("EdDSA", 32),
}
"""(kty, crv) → the one ``alg`` of the curve, and the bytes of a coordinate (RFC 7518 section 6.2.1.2, RFC 8037 section 2)."""

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""RFC 7518 sections 6.2.2, 6.3.2 and 6.4."""
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")


async def fetch_keys(metadata: IssuerMetadata, client: httpx2.AsyncClient, limits: Limits = DEFAULT_LIMITS, heard: Heard | None = None) -> str:
    """The canonical JSON text of the issuer's usable public signing keys (RFC 7517 section 5); see ``usable_keys``.

    ``heard`` is told the answer's headers.

    Errors: ``idp-unreachable``, ``idp-document``, ``idp-no-keys``.
    """
    async with in_time(metadata.issuer, limits):
        document = await fetch_document(metadata.jwks_uri, client, limits, heard)
    return usable_keys(document, metadata.jwks_uri)


def usable_keys(document: Mapping[str, Any], source: str) -> str:
    """Of a JWK Set the keys that may verify, as canonical JSON: equal sets of keys give equal texts. ``source`` is for messages.

    A key is kept where

    1. it is RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or Ed25519, and its numbers are such a key;
    2. no private member is published with it, for then anybody may hold it, and it is not symmetric;
    3. ``use`` and ``key_ops``, where given, allow verifying (RFC 7517 sections 4.2 and 4.3);
    4. ``alg`` fits it. Without ``alg`` it is bound to one, so that a token cannot choose (RFC 8725 section 3.1);
    5. no key before it has the same ``kid`` and ``alg``.

    Errors: ``idp-document`` where it is no JWK Set, ``idp-no-keys`` where none is kept.
    """
    published = document.get("keys")
    if not isinstance(published, list):
        raise ScopewardError("idp-document", f"'{printable(source)}' is not a JWK Set: it has no list 'keys'")
    kept: dict[tuple[str, ...], dict[str, str]] = {}
    for given in published:
        key = _usable(given) if isinstance(given, dict) else None
        if key is not None:
            kept.setdefault((key["kid"], key["alg"]) if "kid" in key else ("", *sorted(key.values())), key)
    if not kept:
        raise ScopewardError("idp-no-keys", f"of the {len(published)} keys at '{printable(source)}' none can verify a token's signature")
    keys = sorted(kept.values(), key=lambda key: (key.get("kid", ""), key["alg"], _canonical(key)))
    return _canonical({"keys": keys})


def key_ids(jwks: str) -> tuple[str, ...]:
    """The ``kid`` of each key of a text that ``usable_keys`` made, in its order; ``""`` is a key without one."""
    return tuple(key.get("kid", "") for key in json.loads(jwks)["keys"])


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _usable(given: Mapping[str, Any]) -> dict[str, str] | None:
    if not _PRIVATE.isdisjoint(given) or not _may_verify(given):
        return None
    numbers = _rsa(given) if given.get("kty") == "RSA" else _curve(given)
    if numbers is None:
        return None
    kid = given.get("kid")
    if kid is not None and not (isinstance(kid, str) and kid.isprintable()):
        return None
    key = {**numbers, **({"kid": kid} if kid else {}), **({"use": "sig"} if "use" in given else {})}
    return key if _loads(key) else None


def _may_verify(given: Mapping[str, Any]) -> bool:
    operations = given.get("key_ops", ["verify"])
    return given.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _rsa(given: Mapping[str, Any]) -> dict[str, str] | None:
    alg = given.get("alg", "RS256")
    n, e = _number(given.get("n")), _number(given.get("e"))
    if alg not in _RSA_ALGORITHMS or n is None or e is None:
        return None
    # with an exponent of 1 every number is its own signature; an even modulus is no product of two large primes, and Envoy takes no set with one
    if not LEAST_RSA_BITS <= n.bit_length() <= MOST_RSA_BITS or n % 2 == 0 or e < 3 or e % 2 == 0 or e.bit_length() > _MOST_EXPONENT_BITS:
        return None
    return {"kty": "RSA", "alg": alg, "n": _text(_shortest(n)), "e": _text(_shortest(e))}


def _curve(given: Mapping[str, Any]) -> dict[str, str] | None:
    kty, crv = given.get("kty"), given.get("crv")
    if not isinstance(kty, str) or not isinstance(crv, str) or (kty, crv) not in _CURVES:
        return None
    alg, size = _CURVES[kty, crv]
    coordinates = {name: _octets(given.get(name)) for name in (("x", "y") if kty == "EC" else ("x",))}
    if given.get("alg", alg) != alg or any(value is None or len(value) != size for value in coordinates.values()):
        return None
    return {"kty": kty, "crv": crv, "alg": alg, **{name: _text(value) for name, value in coordinates.items() if value is not None}}


def _number(value: object) -> int | None:
    """Base64urlUInt (RFC 7518 section 2); leading zero octets are forgiven."""
    octets = _octets(value)
    return None if octets is None else int.from_bytes(octets)


def _octets(value: object) -> bytes | None:
    if not isinstance(value, str) or not _BASE64URL.fullmatch(value):
        return None
    try:
        return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        return None


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def _shortest(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8)


def _loads(key: Mapping[str, str]) -> bool:
    """Whether its numbers are a key: a point on its curve, a possible modulus."""
    try:
        return JWKRegistry.import_key(dict(key)).public_key is not None
    except (JoseError, ValueError):
        return False
