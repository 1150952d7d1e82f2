"""Tokens of every kind, good and bad: made by hand, since a library refuses to make most of the bad ones."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from joserfc import jwk

_ids = itertools.count(1)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def signing_key(kid: str = "k1", kind: str = "RS256") -> jwk.Key:
    """A key made once a test process."""
    options = {"kid": kid, "use": "sig", "alg": kind}
    if kind.startswith(("RS", "PS")):
        return jwk.RSAKey.generate_key(2048, options)
    if kind.startswith("ES"):
        return jwk.ECKey.generate_key({"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}[kind], options)
    return jwk.OKPKey.generate_key("Ed25519", options)


def jwks(*keys: jwk.Key) -> str:
    """The public keys as an issuer publishes them."""
    return json.dumps({"keys": [k.as_dict(private=False) for k in keys or (signing_key(),)]})


def sign(alg: str, key: jwk.Key, message: bytes) -> bytes:
    """A JWS signature (RFC 7518 section 3), whatever the key says about its algorithm."""
    private: Any = key.private_key
    digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}.get(alg[2:], hashes.SHA256())
    if isinstance(private, rsa.RSAPrivateKey):
        pad = padding.PSS(padding.MGF1(digest), digest.digest_size) if alg.startswith("PS") else padding.PKCS1v15()
        return private.sign(message, pad, digest)
    if isinstance(private, ec.EllipticCurvePrivateKey):
        size = (private.curve.key_size + 7) // 8
        r, s = utils.decode_dss_signature(private.sign(message, ec.ECDSA(digest)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    return private.sign(message)


def compact(header: dict[str, Any], claims: dict[str, Any] | str, key: jwk.Key, alg: str | None = None) -> str:
    """A JWS in compact form. ``alg`` is what really signs; the header may say something else."""
    payload = claims if isinstance(claims, str) else json.dumps(claims)
    signed = f"{b64(json.dumps(header).encode())}.{b64(payload.encode())}"
    return f"{signed}.{b64(sign(alg or str(header.get('alg')), key, signed.encode()))}"


def hs256(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """A symmetric signature, for the confusion of a public key with a shared secret."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


@dataclass
class Mint:
    """An issuer that signs what it is told to. ``token(scope=…)`` changes claims, a value of ``...`` leaves one out."""

    issuer: str = "https://idp.test/"
    audience: str = "api://orders"
    key: jwk.Key = field(default_factory=signing_key)

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": "order-sync",
            "client_id": "order-sync",
            "iat": now,
            "exp": now + 300,
            "jti": f"t{next(_ids)}",
            "scope": "read.orders create.orders",
            "idtyp": "app",
        }
        return {k: v for k, v in (claims | changes).items() if v is not ...}

    def header(self, **changes: Any) -> dict[str, Any]:
        header = {"alg": "RS256", "kid": str(self.key.kid), "typ": "at+jwt"}
        return {k: v for k, v in (header | changes).items() if v is not ...}

    def token(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        return compact(self.header(**header or {}), self.claims(**changes), self.key, "RS256")

    def person(self, name: str = "alice", client: str = "orders-web", **changes: Any) -> str:
        """A token that speaks for a person."""
        return self.token(**({"sub": name, "client_id": client, "idtyp": "user"} | changes))
