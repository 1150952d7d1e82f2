"""Obtain a token from a provider: for a client by itself, or for a person of the development provider, whose login form it posts."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx2
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from scopeward.errors import ScopewardError
from scopeward.idp.documents import cause_of
from scopeward.issuer.loopback import is_loopback
from scopeward.secret import Secret

TIMEOUT = 10.0
"""Seconds for each step of a request."""
LOOPBACK_REDIRECT = "http://127.0.0.1/callback"


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What the provider gave. ``expires_in`` in seconds; None where it does not say."""

    access_token: Secret
    expires_in: int | None
    scope: str | None
    refresh_token: Secret | None
    id_token: Secret | None


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What is asked. ``lifetime`` (seconds) is understood by the development provider only."""

    client_id: str
    secret: Secret | None = None
    scopes: Sequence[str] = ()
    resource: str | None = None
    lifetime: int | None = None
    redirect_uri: str = LOOPBACK_REDIRECT

    def wishes(self) -> dict[str, str]:
        """``scope`` and ``resource``, where given."""
        return {**({"scope": " ".join(self.scopes)} if self.scopes else {}), **({"resource": self.resource} if self.resource else {})}


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Metadata(_Document):
    issuer: str
    token_endpoint: str
    authorization_endpoint: str | None = None


class _Answer(_Document):
    access_token: SecretStr
    expires_in: int | None = None
    scope: str | None = None
    refresh_token: SecretStr | None = None
    id_token: SecretStr | None = None


def obtain_token(
    issuer: str,
    client_id: str,
    *,
    secret: Secret | None = None,
    person: str | None = None,
    scopes: Sequence[str] = (),
    resource: str | None = None,
    lifetime: int | None = None,
    redirect_uri: str = LOOPBACK_REDIRECT,
    transport: httpx2.BaseTransport | None = None,
) -> TokenAnswer:
    """Get an access token: by client credentials, or with ``person`` by the authorization code flow with PKCE.

    Nothing needs to listen at ``redirect_uri``; it only has to be one of the client's. ``transport`` is for tests.
    Raises ``ScopewardError``: ``idp-unreachable``, ``idp-insecure``, ``idp-document``, ``idp-issuer-mismatch``, ``token-refused``.
    """
    asked = TokenRequest(client_id, secret, scopes, resource, lifetime, redirect_uri)
    _check_secure(issuer)
    # A proxy from the environment must not see, and cannot reach, what is on loopback.
    local = is_loopback(urlsplit(issuer).hostname or "")
    try:
        with httpx2.Client(timeout=TIMEOUT, follow_redirects=False, trust_env=not local, transport=transport) as http:
            metadata = _discover(http, issuer)
            if person is None:
                return _ask_token(http, metadata, asked, {"grant_type": "client_credentials", **asked.wishes()})
            return _sign_in(http, metadata, asked, person)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ScopewardError("idp-unreachable", f"'{issuer}': {cause_of(error)}") from None


def _check_secure(url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise ScopewardError("idp-document", f"{url!r} is not a URL") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(host)):
        raise ScopewardError("idp-insecure", f"{url!r} is neither https nor on loopback")


def _discover(http: httpx2.Client, issuer: str) -> _Metadata:
    """The provider's metadata, which must name the issuer that was asked (RFC 8414 section 3.3)."""
    found = next((response for url in _well_known(issuer) if (response := http.get(url)).status_code == 200), None)
    if found is None:
        raise ScopewardError("idp-unreachable", f"{issuer} has no discovery document")
    try:
        metadata = _Metadata.model_validate_json(found.content)
    except ValidationError:
        raise ScopewardError("idp-document", f"the discovery document of {issuer} lacks an issuer or a token_endpoint") from None
    if metadata.issuer != issuer:
        raise ScopewardError("idp-issuer-mismatch", f"the document of {issuer} names {metadata.issuer!r}")
    for url in filter(None, (metadata.token_endpoint, metadata.authorization_endpoint)):
        _check_secure(url)
    return metadata


def _well_known(issuer: str) -> tuple[str, str]:
    """OpenID Connect Discovery section 4 puts its path after the issuer's, RFC 8414 section 3.1 before it."""
    parts = urlsplit(issuer.rstrip("/"))
    origin = f"{parts.scheme}://{parts.netloc}"
    return f"{origin}{parts.path}/.well-known/openid-configuration", f"{origin}/.well-known/oauth-authorization-server{parts.path}"


def _sign_in(http: httpx2.Client, metadata: _Metadata, asked: TokenRequest, person: str) -> TokenAnswer:
    """The authorization code flow. The numbers are those of RFC 6749 figure 3.

    A. ask, with a fresh state and PKCE challenge; B. be the person; C. check that the answer is to this question and take the code;
    D. exchange it.
    """
    if metadata.authorization_endpoint is None:
        raise ScopewardError("token-refused", f"{metadata.issuer} signs no people in")
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    question = {
        "response_type": "code",
        "client_id": asked.client_id,
        "redirect_uri": asked.redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **asked.wishes(),
    }
    shown = http.get(metadata.authorization_endpoint, params=question)
    if shown.status_code not in (302, 303):
        form = _read_form(shown, metadata.issuer)
        shown = http.post(metadata.authorization_endpoint, data={"form": form, "person": person})
    code = _read_code(shown, metadata.issuer, asked.redirect_uri, state)
    return _ask_token(http, metadata, asked, {"grant_type": "authorization_code", "code": code, "redirect_uri": asked.redirect_uri, "code_verifier": verifier})


class _Page(HTMLParser):
    """Finds what the development provider's pages hold for us: the form's handle, or the error."""

    def __init__(self) -> None:
        super().__init__()
        self.form: str | None = None
        self.error: str | None = None
        self._in_error = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "input" and found.get("name") == "form":
            self.form = found.get("value")
        self._in_error = "data-error" in found
        if self._in_error:
            self.error = f"{found['data-error']}: "

    def handle_data(self, data: str) -> None:
        if self._in_error:
            self.error = (self.error or "") + data

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._in_error = False


def _read_page(response: httpx2.Response) -> _Page:
    page = _Page()
    page.feed(response.text)
    return page


def _read_form(response: httpx2.Response, issuer: str) -> str:
    page = _read_page(response)
    if page.error is not None:
        raise ScopewardError("token-refused", f"{issuer} answered {_printable(page.error)}")
    if response.status_code != 200 or page.form is None:
        raise ScopewardError(
            "token-refused", f"{issuer} shows a login page that is not the development provider's", "Sign in with a browser, or leave the person out."
        )
    return page.form


def _read_code(response: httpx2.Response, issuer: str, redirect_uri: str, state: str) -> str:
    """The code from the authorization response.

    1. It is a redirect to us. 2. ``state`` is ours (RFC 6749 section 10.12). 3. ``iss`` is the provider that was asked
    (RFC 9207 section 2.4). 4. Then its error or code is believed.
    """
    location = response.headers.get("location", "")
    if response.status_code not in (302, 303) or location.partition("?")[0] != redirect_uri.partition("?")[0]:
        page = _read_page(response)
        raise ScopewardError("token-refused", f"{issuer} answered {_printable(page.error or str(response.status_code))}")
    answer = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items() if len(values) == 1}
    if answer.get("state") != state or answer.get("iss") != issuer:
        raise ScopewardError("token-refused", f"{issuer} gave an answer to another question: its state or iss differs")
    if "code" not in answer:
        raise ScopewardError("token-refused", f"{issuer} answered {_said(answer)}")
    return answer["code"]


def _ask_token(http: httpx2.Client, metadata: _Metadata, asked: TokenRequest, form: Mapping[str, str]) -> TokenAnswer:
    """The token endpoint: a secret goes by HTTP Basic (RFC 6749 section 2.3.1), a public client names itself."""
    fields = {**form, **({"lifetime": str(asked.lifetime)} if asked.lifetime is not None else {})}
    headers = {"Accept": "application/json"}
    if asked.secret is None:
        fields["client_id"] = asked.client_id
    else:
        pair = f"{quote(asked.client_id, safe='')}:{quote(asked.secret.reveal(), safe='')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    response = http.post(metadata.token_endpoint, data=fields, headers=headers)
    if response.status_code != 200:
        said = _said(_json(response)) or str(response.status_code)
        raise ScopewardError("token-refused", f"{metadata.issuer} answered {_without(asked.secret, said)}")
    return _read_answer(response, metadata.issuer)


def _read_answer(response: httpx2.Response, issuer: str) -> TokenAnswer:
    try:
        answer = _Answer.model_validate_json(response.content)
    except ValidationError:
        raise ScopewardError("token-refused", f"{issuer} gave no access token in its answer") from None
    return TokenAnswer(Secret(answer.access_token.get_secret_value()), answer.expires_in, answer.scope, _secret(answer.refresh_token), _secret(answer.id_token))


def _secret(value: SecretStr | None) -> Secret | None:
    return None if value is None else Secret(value.get_secret_value())


def _json(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(answer: Mapping[str, Any]) -> str:
    """The provider's error and description, made safe for a terminal."""
    return _printable(": ".join(str(answer[name]) for name in ("error", "error_description") if answer.get(name)))


def _without(secret: Secret | None, text: str) -> str:
    return text.replace(secret.reveal(), "***") if secret is not None and secret.reveal() else text


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:300])
