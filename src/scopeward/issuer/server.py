"""authlib's authorization server without a web framework: parameters in, a ``Reply`` out. No I/O."""

# authlib has no type information, so its classes are Any to mypy.
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749 import AuthorizationServer, InvalidClientError, InvalidRequestError, OAuth2Error, OAuth2Request
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload

from scopeward.clock import Clock
from scopeward.issuer.accounts import Accounts, Client, Person
from scopeward.issuer.grants import PKCE, AuthorizationCode, ClientCredentials, RefreshToken
from scopeward.issuer.ledger import Ledger
from scopeward.issuer.options import ProviderOptions
from scopeward.issuer.tokens import TokenMaker

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """What to send: JSON, or a redirect where there is a Location. It has no repr, for it may hold tokens and codes."""

    status: int
    body: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...]

    @property
    def location(self) -> str | None:
        """Where the browser is sent."""
        return next((value for name, value in self.headers if name == "Location"), None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A valid authorization request, for the page that asks a person."""

    client: Client
    scopes: tuple[str, ...]
    redirect_uri: str
    parameters: Mapping[str, str]


class _Request(OAuth2Request):
    def __init__(self, uri: str, parameters: Mapping[str, str], authorization: str | None = None) -> None:
        super().__init__("POST", uri, headers={} if authorization is None else {"Authorization": authorization})
        self.payload = BasicOAuth2Payload(dict(parameters))

    @property
    def form(self) -> dict[str, str]:
        return dict(self.payload.data)

    args = form


class ProviderServer(AuthorizationServer):
    """The protocol's server. Grants reach what they need through it: ``accounts``, ``maker``, ``ledger``, ``options``, ``now``."""

    def __init__(self, accounts: Accounts, maker: TokenMaker, ledger: Ledger, options: ProviderOptions, clock: Clock) -> None:
        super().__init__(scopes_supported=accounts.scopes)
        self.accounts = accounts
        self.maker = maker
        self.ledger = ledger
        self.options = options
        self._clock = clock
        self.register_grant(AuthorizationCode, [PKCE(required=True)])
        self.register_grant(ClientCredentials)
        self.register_grant(RefreshToken)

    def now(self) -> int:
        """The time as a NumericDate in whole seconds."""
        return int(self._clock.now())

    def answer_token_request(self, parameters: Mapping[str, str], authorization: str | None) -> Reply:
        """The token endpoint (RFC 6749 section 3.2)."""
        if "grant_type" not in parameters:
            return self.refuse(InvalidRequestError("The parameter grant_type is missing."))
        reply: Reply = self.create_token_response(_Request(f"{self.options.issuer}/token", parameters, authorization))
        if "error" in reply.body:
            _log.info("token refused: %s", reply.body["error"])
        return reply

    def examine_authorization_request(self, parameters: Mapping[str, str]) -> Asked | Reply:
        """The authorization endpoint's first half: what to ask the person, or the refusal.

        The refusal is a redirect only where client and redirect URI were found good (RFC 6749 section 4.1.2.1).
        """
        request = self._authorization_request(parameters)
        try:
            grant = self.get_consent_grant(request)
        except OAuth2Error as error:
            return self.refuse(error)
        return Asked(request.client, tuple(request.scope.split()), grant.redirect_uri, parameters)

    def answer_authorization_request(self, parameters: Mapping[str, str], person: Person | None) -> Reply:
        """The second half: a code for the person's yes, ``access_denied`` for their no (None). All is checked again."""
        request = self._authorization_request(parameters)
        try:
            grant = self.get_consent_grant(request)
        except OAuth2Error as error:
            return self.refuse(error)
        reply: Reply = self.create_authorization_response(request, grant_user=person, grant=grant)
        return reply

    def refuse(self, error: OAuth2Error) -> Reply:
        """The reply for an error."""
        reply: Reply = self.handle_error_response(None, error)
        return reply

    def _authorization_request(self, parameters: Mapping[str, str]) -> _Request:
        return _Request(f"{self.options.issuer}/authorize", parameters)

    # What authlib asks of an integration.

    def query_client(self, client_id: str) -> Client | None:
        """The registered client."""
        return self.accounts.clients.get(client_id)

    def authenticate_client(self, request: Any, methods: Sequence[str], endpoint: str = "token") -> Client:
        """Client authentication (RFC 6749 section 2.3): one way a request, and one answer for all failures.

        1. Credentials in the header and in the body are refused.
        2. With a header only the header counts, without one only the body.
        3. A failure does not tell whether the client exists.
        4. A ``client_id`` beside the header must be the same client's.
        """
        by_header = "Authorization" in request.headers
        if by_header and "client_secret" in request.form:
            raise InvalidRequestError("The client authenticates in more than one way.")
        usable = [method for method in methods if (method == "client_secret_basic") == by_header]
        try:
            client: Client = super().authenticate_client(request, usable, endpoint)
        except (InvalidClientError, ValueError):  # ValueError: authlib lets base64 of what is not UTF-8 escape
            raise InvalidClientError("Client authentication failed.", status_code=401) from None
        if request.payload.client_id not in (None, client.client_id):
            raise InvalidClientError("Client authentication failed.", status_code=401)
        return client

    def save_token(self, token: Any, request: Any) -> None:
        """Nothing: the ledger knows already."""

    def send_signal(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Nobody listens."""

    def create_oauth2_request(self, request: _Request) -> _Request:
        """It is one already."""
        return request

    def handle_response(self, status: int, body: Any, headers: Sequence[tuple[str, str]]) -> Reply:
        """Each redirect, an error's too, names the issuer (RFC 9207 section 2) and is a 303, so that no form is posted on."""
        location = dict(headers).get("Location")
        if location is None:
            return Reply(status, body, tuple(headers))
        return Reply(303, {}, (("Location", add_params_to_uri(location, [("iss", self.options.issuer)])),))
