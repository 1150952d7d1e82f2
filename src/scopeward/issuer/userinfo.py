"""The UserInfo endpoint (OpenID Connect Core section 5.3): who the bearer of an access token is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from scopeward.issuer.accounts import Accounts
from scopeward.issuer.ledger import Ledger
from scopeward.issuer.parameters import ParameterError
from scopeward.issuer.tokens import TokenMaker, person_claims
from scopeward.issuer.wire import NO_STORE, read_bearer, refuse


class UserInfo:
    """Answers for tokens of people with ``openid`` among their scopes; refusals are RFC 6750's."""

    def __init__(self, accounts: Accounts, maker: TokenMaker, ledger: Ledger) -> None:
        self._accounts = accounts
        self._maker = maker
        self._ledger = ledger

    async def show(self, request: Request) -> Response:
        """GET or POST /userinfo."""
        try:
            token = read_bearer(request)
        except ParameterError as error:
            return refuse("invalid_request", str(error))
        if token is None:
            return Response(status_code=401, headers={**NO_STORE, "WWW-Authenticate": "Bearer"})
        claims = self._maker.read_access_token(token)
        if claims is None or self._ledger.is_revoked(str(claims.get("jti"))):
            return _challenge(401, "invalid_token", "The access token is not good, or not any more.")
        person = self._accounts.people.get(str(claims.get("sub"))) if claims.get("idtyp") == "user" else None
        scopes = _scopes(claims)
        if person is None or "openid" not in scopes:
            return _challenge(403, "insufficient_scope", "The token is not a person's with the scope openid.")
        return JSONResponse(person_claims(person, scopes), headers=NO_STORE)


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    scopes: list[str] = claims["scp"] if "scp" in claims else str(claims.get("scope", "")).split()
    return scopes


def _challenge(status: int, error: str, description: str) -> JSONResponse:
    return refuse(error, description, status, {"WWW-Authenticate": f'Bearer error="{error}", error_description="{description}"'})
