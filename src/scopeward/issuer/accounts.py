"""Who can sign in and which clients may ask: the development provider's accounts, as frozen values.

The methods of ``Client`` that authlib's grants call (``check_*``, ``get_*``) keep authlib's names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from scopeward.secret import Secret

GrantType = Literal["authorization_code", "client_credentials", "refresh_token"]

PERSON_SCOPES = ("openid", "profile", "email", "offline_access")
"""Scopes of OpenID Connect Core section 5.4 and 11: every client may ask them when a person signs in."""

WRITTEN_CLAIMS = frozenset({"iss", "aud", "sub", "client_id", "iat", "exp", "jti", "scope", "scp", "idtyp"})
"""Claims that the provider writes itself; an account that could set them could forge who it is."""

_LOOPBACK_PORT = re.compile(r"\A(http://(?:127\.0\.0\.1|\[::1\])):([1-9][0-9]{0,4})(?=[/?]|\Z)")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in. ``name`` is the key in the file and becomes ``sub``; ``full_name`` is shown."""

    name: str
    full_name: str
    email: str | None
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client (RFC 6749 section 2). Without ``secret`` it is public."""

    client_id: str
    secret: Secret | None
    grants: tuple[GrantType, ...]
    scopes: tuple[str, ...]
    redirect_uris: tuple[str, ...]

    def get_client_id(self) -> str:
        """The ``client_id``."""
        return self.client_id

    def get_default_redirect_uri(self) -> None:
        """None: the redirect URI must be in every authorization request, as OpenID Connect Core section 3.1.2.1 demands."""
        return

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What a person may grant to this client of ``scope``; nothing asked means all of the client's scopes. None refuses."""
        return granted_scope(self.scopes, scope, also=PERSON_SCOPES)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether the URI is registered, character by character, except for the port of a loopback address (RFC 8252 section 7.3)."""
        return _any_port(redirect_uri) in {_any_port(known) for known in self.redirect_uris}

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether the secret is the client's, compared in constant time."""
        return self.secret is not None and self.secret == Secret(client_secret)

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """A confidential client must use its secret, a public one has none (RFC 6749 section 2.3)."""
        return (method == "none") == (self.secret is None)

    def check_response_type(self, response_type: str) -> bool:
        """Only ``code``, for clients of that grant."""
        return response_type == "code" and "authorization_code" in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether the client may use the grant."""
        return grant_type in self.grants


@dataclass(frozen=True, slots=True)
class Accounts:
    """All people and clients, by name."""

    people: Mapping[str, Person]
    clients: Mapping[str, Client]

    def __post_init__(self) -> None:
        object.__setattr__(self, "people", MappingProxyType(dict(self.people)))
        object.__setattr__(self, "clients", MappingProxyType(dict(self.clients)))

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every scope that some client may get, the person's scopes first."""
        return tuple(dict.fromkeys([*PERSON_SCOPES, *(s for c in self.clients.values() for s in c.scopes)]))


def granted_scope(own: tuple[str, ...], asked: str | None, also: tuple[str, ...] = ()) -> str | None:
    """The scope string to grant, each scope once in the order asked; None if one of them may not be granted."""
    if not asked:
        return " ".join(own)
    scopes = list(dict.fromkeys(asked.split()))
    return " ".join(scopes) if set(scopes) <= {*own, *also} else None


def _any_port(uri: str) -> str:
    found = _LOOPBACK_PORT.match(uri)
    if found is None or int(found[2]) > 65535:
        return uri
    return found[1] + uri[found.end() :]
