"""The tokens: JWT access tokens (RFC 9068), ID tokens (OpenID Connect Core section 2) and what the token endpoint answers.

authlib's RFC 9068 generator is not used: it reads the wall clock itself, writes no ``kid`` and sees neither ``resource`` nor a
lifetime chosen for one request.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scopeward.clock import Clock
from scopeward.issuer.accounts import Client, Person
from scopeward.issuer.keys import SigningKeys
from scopeward.issuer.options import ProviderOptions

ACCESS_TYPE = "at+jwt"
"""The header's ``typ`` of an access token (RFC 9068 section 2.1)."""
ID_TYPE = "JWT"


@dataclass(frozen=True, slots=True)
class Terms:
    """What an access token says. Without ``person`` it speaks for the client. ``lifetime`` in seconds."""

    client: Client
    person: Person | None
    scope: str
    audience: str
    lifetime: int

    @property
    def subject(self) -> str:
        """``sub``: the person's name, or the client's id."""
        return self.person.name if self.person else self.client.client_id


@dataclass(frozen=True, slots=True, repr=False)
class AccessToken:
    """An access token with what the provider must remember of it."""

    text: str
    jti: str
    exp: int


@dataclass(frozen=True, slots=True)
class SignIn:
    """What an ID token tells of the sign-in itself."""

    auth_time: int
    nonce: str | None


class TokenBody(dict[str, Any]):
    """The token endpoint's JSON (RFC 6749 section 5.1). It hides its values, for authlib logs it at debug level."""

    def __repr__(self) -> str:
        return f"TokenBody({', '.join(self)})"


class TokenMaker:
    """Writes and signs tokens."""

    def __init__(self, options: ProviderOptions, keys: SigningKeys, clock: Clock) -> None:
        self.options = options
        self._keys = keys
        self._clock = clock

    def access_token(self, terms: Terms) -> AccessToken:
        """An access token of RFC 9068 section 2, plus ``idtyp`` ("user" or "app") and the person's own claims."""
        now = int(self._clock.now())
        jti = secrets.token_urlsafe(16)
        claims = {
            **(terms.person.claims if terms.person else {}),
            "iss": self.options.issuer,
            "aud": terms.audience,
            "sub": terms.subject,
            "client_id": terms.client.client_id,
            "iat": now,
            "exp": now + terms.lifetime,
            "jti": jti,
            **self._scope_claim(terms.scope),
            "idtyp": "user" if terms.person else "app",
        }
        return AccessToken(self._keys.sign(claims, ACCESS_TYPE), jti, now + terms.lifetime)

    def _scope_claim(self, scope: str) -> dict[str, Any]:
        return {"scope": scope} if self.options.scope_form == "string" else {"scp": scope.split()}

    def id_token(self, terms: Terms, person: Person, sign_in: SignIn, access_token: AccessToken) -> str:
        """An ID token: for the client, never for an API."""
        now = int(self._clock.now())
        claims = {
            "iss": self.options.issuer,
            "aud": terms.client.client_id,
            "iat": now,
            "exp": now + terms.lifetime,
            "auth_time": sign_in.auth_time,
            "at_hash": half_hash(access_token.text),
            **({"nonce": sign_in.nonce} if sign_in.nonce else {}),
            **person_claims(person, terms.scope.split()),
        }
        return self._keys.sign(claims, ID_TYPE)

    def read_access_token(self, token: str) -> Mapping[str, Any] | None:
        """The claims of an access token of this provider that has not run out, or None."""
        claims = self._keys.verify(token, ACCESS_TYPE)
        if claims is None or claims.get("iss") != self.options.issuer:
            return None
        exp = claims.get("exp")
        return claims if isinstance(exp, int) and self._clock.now() < exp else None


def person_claims(person: Person, scopes: list[str]) -> dict[str, Any]:
    """The standard claims that the scopes ask for (OpenID Connect Core section 5.4)."""
    claims: dict[str, Any] = {"sub": person.name}
    if "profile" in scopes:
        claims |= {"name": person.full_name, "preferred_username": person.name}
    if "email" in scopes and person.email:
        claims |= {"email": person.email, "email_verified": True}
    return claims


def half_hash(text: str) -> str:
    """The left half of the SHA-256 hash in base64url, as ``at_hash`` wants it for RS256 and ES256 (OpenID Connect Core section 3.1.3.6)."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:16]).rstrip(b"=").decode()
