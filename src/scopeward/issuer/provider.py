"""The development identity provider: its endpoints, put together."""

from __future__ import annotations

import logging
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scopeward.clock import Clock
from scopeward.issuer.accounts import Accounts
from scopeward.issuer.keys import ROTATIONS, SigningKeys
from scopeward.issuer.ledger import Ledger
from scopeward.issuer.loopback import LoopbackHostOnly
from scopeward.issuer.options import ProviderOptions
from scopeward.issuer.parameters import ParameterError, read_parameters
from scopeward.issuer.server import ProviderServer
from scopeward.issuer.sign_in import SignIn
from scopeward.issuer.tokens import TokenMaker
from scopeward.issuer.userinfo import UserInfo
from scopeward.issuer.wire import NO_STORE, read_authorization, read_bearer, read_form, refuse, send
from scopeward.secret import Secret

_log = logging.getLogger(__name__)


def development_provider(accounts: Accounts, keys: SigningKeys, options: ProviderOptions, clock: Clock, admin_token: Secret | None = None) -> Starlette:
    """The provider as an ASGI application. Without ``admin_token`` it has no ``/dev/rotate``.

    It signs people in without a password, so serve it on loopback only: ``open_loopback_socket`` and ``provider_server``.
    Raises ``ValueError`` if ``keys`` sign with another algorithm than ``options`` announce.
    """
    if keys.alg != options.alg:
        raise ValueError(f"keys sign with {keys.alg}, options say {options.alg}")
    ledger = Ledger(clock)
    maker = TokenMaker(options, keys, clock)
    server = ProviderServer(accounts, maker, ledger, options, clock)
    sign_in = SignIn(server, ledger)
    endpoints = _Endpoints(server, keys, _metadata(accounts, options), admin_token)
    routes = [
        Route("/.well-known/openid-configuration", endpoints.metadata),
        Route("/.well-known/oauth-authorization-server", endpoints.metadata),
        Route("/jwks", endpoints.jwks),
        Route("/authorize", sign_in.show, methods=["GET"]),
        Route("/authorize", sign_in.choose, methods=["POST"]),
        Route("/token", endpoints.token, methods=["POST"]),
        Route("/userinfo", UserInfo(accounts, maker, ledger).show, methods=["GET", "POST"]),
        Route("/healthz", endpoints.health),
    ]
    if admin_token is not None:
        routes.append(Route("/dev/rotate", endpoints.rotate, methods=["POST"]))
    return Starlette(routes=routes, middleware=[Middleware(LoopbackHostOnly)])


def _metadata(accounts: Accounts, options: ProviderOptions) -> dict[str, Any]:
    """RFC 8414 section 2, OpenID Connect Discovery section 3, RFC 9207 section 3."""
    return {
        "issuer": options.issuer,
        "authorization_endpoint": f"{options.issuer}/authorize",
        "token_endpoint": f"{options.issuer}/token",
        "userinfo_endpoint": f"{options.issuer}/userinfo",
        "jwks_uri": f"{options.issuer}/jwks",
        "scopes_supported": list(accounts.scopes),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [options.alg],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "name", "preferred_username", "email", "email_verified"],
        "authorization_response_iss_parameter_supported": True,
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
    }


class _Endpoints:
    def __init__(self, server: ProviderServer, keys: SigningKeys, metadata: dict[str, Any], admin_token: Secret | None) -> None:
        self._server = server
        self._keys = keys
        self._metadata = metadata
        self._admin_token = admin_token

    async def metadata(self, _request: Request) -> Response:
        return JSONResponse(self._metadata, headers=NO_STORE)

    async def jwks(self, _request: Request) -> Response:
        return JSONResponse(self._keys.public_jwks(), headers=NO_STORE, media_type="application/jwk-set+json")

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers=NO_STORE)

    async def token(self, request: Request) -> Response:
        try:
            parameters, authorization = await read_form(request), read_authorization(request)
        except ParameterError as error:
            return refuse("invalid_request", str(error))
        return send(self._server.answer_token_request(parameters, authorization))

    async def rotate(self, request: Request) -> Response:
        """POST /dev/rotate?mode=…: key rotation by command, for whoever can read the admin token's file."""
        try:
            given, mode = read_bearer(request), read_parameters(request.url.query).get("mode")
        except ParameterError as error:
            return refuse("invalid_request", str(error))
        if given is None or self._admin_token != Secret(given):
            return refuse("invalid_token", "This needs the provider's admin token.", 401, {"WWW-Authenticate": "Bearer"})
        for known in ROTATIONS:
            if mode == known:
                self._keys.rotate(known)
                _log.info("keys rotated: mode=%s signing=%s published=%d", known, self._keys.signing_kid, len(self._keys.published_kids))
                return JSONResponse({"signing": self._keys.signing_kid, "published": list(self._keys.published_kids)}, headers=NO_STORE)
        return refuse("invalid_request", f"The mode is one of {', '.join(ROTATIONS)}.")
