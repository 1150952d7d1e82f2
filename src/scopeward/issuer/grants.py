"""The three grants, as authlib's with this provider's memory and tokens: code with PKCE, client credentials, refresh."""

# authlib has no type information, so its classes are Any to mypy.
# mypy: disable-error-code="import-untyped", allow-subclassing-any

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from typing import Any

from authlib.oauth2.rfc6749 import InvalidRequestError, InvalidScopeError, OAuth2Error
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, BaseGrant, ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge, create_s256_code_challenge

from scopeward.issuer.accounts import Client, Person, granted_scope
from scopeward.issuer.ledger import Code, Grant, Refresh, new_handle
from scopeward.issuer.options import LONGEST_LIFETIME, SHORTEST_LIFETIME
from scopeward.issuer.parameters import is_resource
from scopeward.issuer.tokens import AccessToken, SignIn, Terms, TokenBody

_log = logging.getLogger(__name__)

SECRET_METHODS = ["client_secret_basic", "client_secret_post"]


class PKCE(CodeChallenge):
    """RFC 7636 with S256 and nothing else, demanded of confidential clients too (RFC 9700 section 2.1.1)."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ("S256",)
    CODE_CHALLENGE_METHODS = {"S256": lambda verifier, challenge: hmac.compare_digest(create_s256_code_challenge(verifier), challenge)}  # noqa: RUF012

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        """Refuse a request without a challenge, where authlib would let it pass, and one whose method is left out, which means plain."""
        asked = grant.request.payload.data
        if "code_challenge" not in asked or asked.get("code_challenge_method") != "S256":
            raise InvalidRequestError("PKCE is required: code_challenge with code_challenge_method=S256.")
        super().validate_code_challenge(grant, redirect_uri)


class _Issuing(BaseGrant):
    """What the grants share: the token answer is written by ``TokenMaker`` from the request and the person's grant."""

    def person_grant(self) -> tuple[Grant | None, SignIn | None, str]:
        """The grant of a person this request rests on, its sign-in, and the scope for a new refresh token."""
        return None, None, ""

    def generate_token(self, user: Person | None = None, scope: str | None = None, include_refresh_token: bool = True, **_: Any) -> TokenBody:
        """The token endpoint's answer. authlib calls it once the request is valid."""
        grant, sign_in, lasting_scope = self.person_grant()
        terms = self._terms(user, scope, grant)
        token = self.server.maker.access_token(terms)
        answer = TokenBody({"access_token": token.text, "token_type": "Bearer", "expires_in": terms.lifetime, "scope": terms.scope})
        if grant is not None:
            self.server.ledger.note_access(token.jti, token.exp, grant)
            if include_refresh_token:
                answer["refresh_token"] = self.server.ledger.issue_refresh(Refresh(grant, lasting_scope))
        if user and sign_in and "openid" in terms.scope.split():
            answer["id_token"] = self._id_token(terms, user, sign_in, token)
        _log.info("access token issued: client=%s sub=%s aud=%s scope=%r", terms.client.client_id, terms.subject, terms.audience, terms.scope)
        return answer

    def _id_token(self, terms: Terms, user: Person, sign_in: SignIn, token: AccessToken) -> str:
        text: str = self.server.maker.id_token(terms, user, sign_in, token)
        return text

    def _terms(self, user: Person | None, scope: str | None, grant: Grant | None) -> Terms:
        client: Client = self.request.client
        asked: Mapping[str, str] = self.request.payload.data
        # A person's scopes were settled when the person agreed; a client's own are settled here, and openid has no meaning for it.
        granted = scope if grant else granted_scope(client.scopes, scope)
        if granted is None:
            raise InvalidScopeError
        lifetime = _lifetime(asked, self.server.options.lifetime)
        return Terms(client, user, granted, _audience(asked, grant, self.server.options.audience), lifetime)


class AuthorizationCode(_Issuing, AuthorizationCodeGrant):
    """RFC 6749 section 4.1. A code is good once, for 60 seconds, for the client, redirect URI and challenge it was made for."""

    TOKEN_ENDPOINT_AUTH_METHODS = (*SECRET_METHODS, "none")

    def validate_authorization_request(self) -> str:
        """The checks of authlib, then what this provider does not offer: said to the client by redirect."""
        redirect_uri: str = super().validate_authorization_request()
        refused = _refused(self.request.payload.data, self.server.options.audience)
        if refused:
            error, description = refused
            raise OAuth2Error(error=error, description=description, redirect_uri=redirect_uri)
        return redirect_uri

    def generate_authorization_code(self) -> str:
        """256 random bits."""
        return new_handle()

    def save_authorization_code(self, code: str, request: Any) -> None:
        """Keep the terms that the person agreed to."""
        asked = request.payload.data
        grant = Grant(request.client.client_id, request.user.name, asked.get("resource"), self.server.now())
        terms = Code(grant, request.scope, asked["redirect_uri"], asked["code_challenge"], asked["code_challenge_method"], asked.get("nonce"))
        self.server.ledger.keep_code(code, terms)

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        """The code's terms; it is spent by this call."""
        found: Code | None = self.server.ledger.spend_code(code, client)
        return found

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Nothing: the code was spent when it was presented."""

    def authenticate_user(self, authorization_code: Code) -> Person | None:
        """The person who agreed."""
        return _person(self, authorization_code.grant)

    def person_grant(self) -> tuple[Grant | None, SignIn | None, str]:
        """The code's."""
        code: Code = self.request.authorization_code
        return code.grant, SignIn(code.grant.auth_time, code.nonce), code.scope


class ClientCredentials(_Issuing, ClientCredentialsGrant):
    """RFC 6749 section 4.4: the client speaks for itself."""

    TOKEN_ENDPOINT_AUTH_METHODS = SECRET_METHODS


class RefreshToken(_Issuing, RefreshTokenGrant):
    """RFC 6749 section 6 with rotation: each use gives a new refresh token, and using an old one ends the family."""

    TOKEN_ENDPOINT_AUTH_METHODS = (*SECRET_METHODS, "none")
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token: str) -> Refresh | None:
        """The token's terms, if it is good."""
        found: Refresh | None = self.server.ledger.find_refresh(refresh_token, self.request.client)
        return found

    def authenticate_user(self, refresh_token: Refresh) -> Person | None:
        """The person who agreed."""
        return _person(self, refresh_token.grant)

    def revoke_old_credential(self, refresh_token: Refresh) -> None:
        """Only now, after the new one was made: a request refused for its scope costs the client nothing."""
        refresh_token.spent = True

    def person_grant(self) -> tuple[Grant | None, SignIn | None, str]:
        """The refresh token's. The new refresh token keeps the whole scope, whatever this request narrowed it to."""
        refresh: Refresh = self.request.refresh_token
        return refresh.grant, SignIn(refresh.grant.auth_time, None), refresh.scope


def _person(flow: _Issuing, grant: Grant) -> Person | None:
    person: Person | None = flow.server.accounts.people.get(grant.person)
    return person


def _refused(asked: Mapping[str, str], default_audience: str) -> tuple[str, str] | None:
    """Error and description (OpenID Connect Core section 3.1.2.6, RFC 8707 section 2) of what an authorization request may not ask."""
    if "request" in asked:
        return "request_not_supported", "Request objects are not supported."
    if "request_uri" in asked:
        return "request_uri_not_supported", "Request objects are not supported."
    if asked.get("response_mode", "query") != "query":
        return "invalid_request", "The only response_mode is query."
    if "none" in asked.get("prompt", "").split():
        return "login_required", "A person has to choose who they are."
    if not _is_audience(asked.get("resource"), default_audience):
        return "invalid_target", "The resource is not an absolute URI without fragment."
    return None


def _is_audience(resource: str | None, default: str) -> bool:
    return resource is None or resource == default or is_resource(resource)


def _audience(asked: Mapping[str, str], grant: Grant | None, default: str) -> str:
    """``aud`` by RFC 8707. One resource a token; the first that a person's grant was used for binds the grant."""
    resource = asked.get("resource")
    if not _is_audience(resource, default):
        raise OAuth2Error(error="invalid_target", description="The resource is not an absolute URI without fragment.")
    if grant is None:
        return resource or default
    if grant.audience is None:
        grant.audience = resource or default
    if resource not in (None, grant.audience):
        raise OAuth2Error(error="invalid_target", description="The person's grant is for another resource.")
    return grant.audience


def _lifetime(asked: Mapping[str, str], default: int) -> int:
    """Seconds. The parameter ``lifetime`` exists for development only; no standard has it."""
    text = asked.get("lifetime")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and SHORTEST_LIFETIME <= int(text) <= LONGEST_LIFETIME):
        raise InvalidRequestError(f"The lifetime is not between {SHORTEST_LIFETIME} and {LONGEST_LIFETIME} seconds.")
    return int(text)
