"""An issuer's metadata: OpenID Connect Discovery 1.0 section 4, and RFC 8414 section 3 where that is not served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from scopeward.errors import ScopewardError
from scopeward.idp.documents import DEFAULT_LIMITS, Limits, check_secure, fetch_document, in_time, is_loopback, printable
from scopeward.policy.url import UrlError, parse_url


@dataclass(frozen=True, slots=True)
class IssuerMetadata:
    """What an issuer says of itself (RFC 8414 section 2). ``issuer`` is what was asked, code point by code point."""

    issuer: str
    jwks_uri: str
    token_endpoint: str | None = None
    authorization_endpoint: str | None = None
    scopes_supported: tuple[str, ...] = ()


class IssuerMismatchError(ScopewardError):
    """``idp-issuer-mismatch``: the document that ``asked`` led to is ``named``'s."""

    def __init__(self, asked: str, named: str) -> None:
        self.asked = asked
        self.named = named
        what = f"asked was '{printable(asked)}', and the document names '{printable(named)}'"
        super().__init__("idp-issuer-mismatch", what, f"If that is the issuer you mean, write it exactly so: {printable(named)}")


async def fetch_metadata(issuer: str, client: httpx2.AsyncClient, limits: Limits = DEFAULT_LIMITS) -> IssuerMetadata:
    """The metadata of ``issuer``.

    1. The issuer is https, or http on loopback. 2. Its document comes from one of two places below it, without redirects, small and
    soon. 3. It names exactly the issuer that was asked (RFC 8414 section 3.3). 4. Each address in it that will be used obeys 1.

    Errors: ``idp-insecure``, ``idp-unreachable``, ``idp-document``, ``idp-issuer-mismatch`` (``IssuerMismatchError``).
    """
    places = well_known(issuer)
    loopback = is_loopback(httpx2.URL(issuer).host)
    check_secure(issuer, "the issuer", loopback=loopback)
    async with in_time(issuer, limits):
        document = await _first(places, client, limits)
    return _read(document, issuer, loopback=loopback)


def well_known(issuer: str) -> tuple[str, str]:
    """Where the document may be: after the issuer's path (OpenID Connect Discovery section 4.1), or before it (RFC 8414 section 3.1).

    Errors: ``idp-document`` where the issuer is no URL, or has a query or fragment (RFC 8414 section 2).
    """
    try:
        url = parse_url(issuer)
    except UrlError as error:
        raise ScopewardError("idp-document", f"the issuer {error}", "Give the issuer's URL, such as https://login.example.com/tenant.") from None
    path = url.path.rstrip("/")
    origin = issuer[: len(issuer) - len(url.path)]
    return f"{origin}{path}/.well-known/openid-configuration", f"{origin}/.well-known/oauth-authorization-server{path}"


async def _first(places: tuple[str, ...], client: httpx2.AsyncClient, limits: Limits) -> Mapping[str, Any]:
    """The first place that serves a JSON object; where none does, what was wrong with the first. Without a connection none is tried further."""
    wrong: list[ScopewardError] = []
    for place in places:
        try:
            return await fetch_document(place, client, limits)
        except ScopewardError as error:
            if error.reference.id != "idp-document":
                raise
            wrong.append(error)
    raise wrong[0]


def _read(document: Mapping[str, Any], issuer: str, *, loopback: bool) -> IssuerMetadata:
    named = document.get("issuer")
    if not isinstance(named, str):
        raise ScopewardError("idp-document", f"the metadata of '{printable(issuer)}' names no issuer")
    if named != issuer:
        raise IssuerMismatchError(issuer, named)
    jwks_uri = _address(document, "jwks_uri", loopback=loopback)
    if jwks_uri is None:
        raise ScopewardError("idp-document", f"the metadata of '{printable(issuer)}' has no jwks_uri")
    scopes = document.get("scopes_supported")
    return IssuerMetadata(
        issuer,
        jwks_uri,
        _address(document, "token_endpoint", loopback=loopback),
        _address(document, "authorization_endpoint", loopback=loopback),
        tuple(s for s in scopes if isinstance(s, str) and s.isprintable()) if isinstance(scopes, list) else (),
    )


def _address(document: Mapping[str, Any], name: str, *, loopback: bool) -> str | None:
    value = document.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ScopewardError("idp-document", f"the metadata's {name} is not text")
    check_secure(value, name, loopback=loopback)
    return value
