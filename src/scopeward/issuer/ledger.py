"""What the provider remembers between requests: open login forms, codes, refresh tokens and what was revoked.

All of it is in memory and changed by one event loop only, without waiting in between, so no two requests ever see half a change.
Handles are kept as SHA-256 hashes: a dump of the ledger cannot be used.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from scopeward.clock import Clock
from scopeward.issuer.accounts import Client

CODE_LIFETIME = 60
"""Seconds. RFC 6749 section 4.1.2 allows ten minutes; a browser needs seconds."""
FORM_LIFETIME = 600
REFRESH_LIFETIME = 86_400
MOST_ENTRIES = 10_000
"""Of each kind. The oldest goes, so that opening login pages for ever does not fill the memory."""

T = TypeVar("T")


@dataclass(slots=True)
class Grant:
    """What a person granted to a client, with everything that was issued for it. Revoking it kills the whole family."""

    client_id: str
    person: str
    audience: str | None
    auth_time: int
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code's terms (RFC 6749 section 4.1.2), in the form that authlib's grant asks for them."""

    grant: Grant
    scope: str
    redirect_uri: str
    code_challenge: str
    code_challenge_method: str
    nonce: str | None

    def get_redirect_uri(self) -> str:
        """The ``redirect_uri`` of the authorization request."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """The scope that the person granted."""
        return self.scope


@dataclass(slots=True)
class Refresh:
    """A refresh token's terms, in the form that authlib's grant asks for them. ``spent`` once it was exchanged."""

    grant: Grant
    scope: str
    spent: bool = False

    def check_client(self, client: Client) -> bool:
        """Whether it was issued to this client (RFC 6749 section 10.4)."""
        return client.client_id == self.grant.client_id

    def get_scope(self) -> str:
        """The scope that the person granted."""
        return self.scope


@dataclass(frozen=True, slots=True, repr=False)
class LoginForm:
    """An authorization request that waits for a person, bound to the browser that opened it by that browser's cookie."""

    parameters: Mapping[str, str]
    browser: str


@dataclass(slots=True)
class Shelf(Generic[T]):
    """Values that run out, found by a secret handle."""

    lifetime: int
    _kept: dict[str, tuple[float, T]] = field(default_factory=dict, repr=False)

    def put(self, handle: str, value: T, now: float) -> None:
        """Keep the value under its handle."""
        self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now}
        while len(self._kept) >= MOST_ENTRIES:
            del self._kept[next(iter(self._kept))]
        self._kept[_hashed(handle)] = (now + self.lifetime, value)

    def get(self, handle: str, now: float) -> T | None:
        """The value, if it has not run out."""
        until, value = self._kept.get(_hashed(handle), (0.0, None))
        return value if until > now else None

    def take(self, handle: str, now: float) -> T | None:
        """The value, for the last time."""
        value = self.get(handle, now)
        self._kept.pop(_hashed(handle), None)
        return value


class Ledger:
    """The provider's memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._forms: Shelf[LoginForm] = Shelf(FORM_LIFETIME)
        self._codes: Shelf[Code] = Shelf(CODE_LIFETIME)
        self._spent_codes: dict[str, Grant] = {}
        self._refresh: Shelf[Refresh] = Shelf(REFRESH_LIFETIME)
        self._access: dict[str, tuple[int, Grant]] = {}

    def open_form(self, form: LoginForm) -> str:
        """Register a login form; returns its handle."""
        handle = new_handle()
        self._forms.put(handle, form, self._clock.now())
        return handle

    def close_form(self, handle: str, browser: str) -> LoginForm | None:
        """The form, once, and only for the browser that opened it."""
        form = self._forms.take(handle, self._clock.now())
        return form if form is not None and secrets.compare_digest(form.browser.encode(), browser.encode()) else None

    def keep_code(self, handle: str, code: Code) -> None:
        """Register a code that is about to be issued."""
        self._codes.put(handle, code, self._clock.now())

    def spend_code(self, handle: str, client: Client) -> Code | None:
        """The code's terms, at its first presentation only, right or wrong.

        A second presentation means that two parties have the code, so what the first one got is revoked (RFC 6749 section 4.1.2).
        """
        known = self._spent_codes.get(_hashed(handle))
        if known is not None:
            known.revoked = True
            return None
        code = self._codes.take(handle, self._clock.now())
        if code is None:
            return None
        self._remember_spent(handle, code.grant)
        return code if code.grant.client_id == client.client_id else None

    def _remember_spent(self, handle: str, grant: Grant) -> None:
        while len(self._spent_codes) >= MOST_ENTRIES:
            del self._spent_codes[next(iter(self._spent_codes))]
        self._spent_codes[_hashed(handle)] = grant

    def issue_refresh(self, refresh: Refresh) -> str:
        """Register a refresh token; returns it."""
        handle = new_handle()
        self._refresh.put(handle, refresh, self._clock.now())
        return handle

    def find_refresh(self, handle: str, client: Client) -> Refresh | None:
        """The refresh token's terms, if it is good.

        A spent one, or one that another client presents, is known to two parties: the family dies (RFC 9700 section 4.14.2).
        """
        refresh = self._refresh.get(handle, self._clock.now())
        if refresh is None or refresh.grant.revoked:
            return None
        if refresh.spent or not refresh.check_client(client):
            refresh.grant.revoked = True
            return None
        return refresh

    def note_access(self, jti: str, until: int, grant: Grant) -> None:
        """Remember for which grant an access token was issued."""
        now = self._clock.now()
        self._access = {key: kept for key, kept in self._access.items() if kept[0] > now}
        self._access[jti] = (until, grant)

    def is_revoked(self, jti: str) -> bool:
        """Whether the access token's grant was revoked. A token of before the last start is not known, and not revoked."""
        known = self._access.get(jti)
        return known is not None and known[1].revoked


def new_handle() -> str:
    """256 random bits in base64url: a code, a refresh token or the name of a form."""
    return secrets.token_urlsafe(32)


def _hashed(handle: str) -> str:
    return hashlib.sha256(handle.encode("utf-8", "surrogatepass")).hexdigest()
