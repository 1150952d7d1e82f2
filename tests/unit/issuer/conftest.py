"""A provider in memory, a clock that stands still, and the steps of a sign-in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from scopeward.issuer import ProviderOptions, SigningKeys, default_accounts, development_provider, generate_key
from scopeward.issuer.keys import SigningKey
from scopeward.issuer.options import Algorithm
from scopeward.secret import Secret

ISSUER = "http://127.0.0.1:9400"
AUDIENCE = "https://api.example.test"
CALLBACK = "http://127.0.0.1:50123/callback"
VERIFIER = "a-verifier-of-forty-three-characters-or-more-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
ADMIN = "the-admin-token"


@dataclass
class StoppedClock:
    time: float = 1_790_000_000.5

    def now(self) -> float:
        return self.time


@dataclass
class Provider:
    """A development provider with the requests that tests make."""

    http: TestClient
    clock: StoppedClock
    keys: SigningKeys
    asked: dict[str, str] = field(
        default_factory=lambda: {
            "response_type": "code",
            "client_id": "orders-web",
            "redirect_uri": CALLBACK,
            "scope": "openid profile email read.orders",
            "state": "st4te",
            "nonce": "n0nce",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
    )

    def token(self, basic: tuple[str, str] | None = None, **form: str) -> httpx2.Response:
        return self.http.post("/token", data=form, auth=basic)

    def authorize(self, **changes: str | None) -> httpx2.Response:
        asked = {name: value for name, value in {**self.asked, **changes}.items() if value is not None}
        return self.http.get("/authorize", params=asked)

    def choose(self, page: httpx2.Response, **fields: str) -> httpx2.Response:
        assert page.status_code == 200, page.text
        return self.http.post("/authorize", data={"form": form_of(page), **fields})

    def code(self, person: str = "alice", **changes: str | None) -> str:
        return location_of(self.choose(self.authorize(**changes), person=person))["code"]

    def exchange(self, code: str | None, basic: tuple[str, str] | None = None, **changes: str | None) -> httpx2.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        if basic is None:
            form["client_id"] = "orders-web"
        return self.token(basic, **{name: value for name, value in {**form, **changes}.items() if value is not None})

    def refresh(self, token: str, **more: str) -> httpx2.Response:
        return self.token(grant_type="refresh_token", refresh_token=token, **{"client_id": "orders-web", **more})

    def userinfo(self, token: str) -> httpx2.Response:
        return self.http.get("/userinfo", headers={"Authorization": f"Bearer {token}"})


def form_of(page: httpx2.Response) -> str:
    found = re.search(r'name="form" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def location_of(response: httpx2.Response) -> dict[str, str]:
    assert response.status_code == 303, response.text
    query = parse_qs(urlsplit(response.headers["location"]).query, strict_parsing=True)
    assert all(len(values) == 1 for values in query.values())
    return {name: values[0] for name, values in query.items()}


def part_of(token: str, index: int) -> dict[str, Any]:
    text = token.split(".")[index]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def refused(response: httpx2.Response, error: str, status: int = 400) -> str:
    """Check the form of RFC 6749 section 5.2; returns the description."""
    assert (response.status_code, response.json()["error"]) == (status, error), response.text
    assert response.headers["cache-control"] == "no-store"
    return str(response.json().get("error_description", ""))


@pytest.fixture(scope="session")
def make_key() -> Callable[[Algorithm], SigningKey]:
    """Each RSA key is made once: the same two again and again."""
    rsa: list[SigningKey] = []

    def make(alg: Algorithm) -> SigningKey:
        if alg == "ES256":
            return generate_key(alg)
        if not rsa:
            rsa.append(generate_key(alg))
        return rsa[0]

    return make


@pytest.fixture
def make_provider(make_key: Callable[[Algorithm], SigningKey]) -> Iterator[Callable[..., Provider]]:
    opened: list[TestClient] = []

    def make(**options: Any) -> Provider:
        chosen = ProviderOptions(ISSUER, AUDIENCE, **options)
        keys, clock = SigningKeys.create(chosen.alg, generate=make_key), StoppedClock()
        app = development_provider(default_accounts(), keys, chosen, clock, Secret(ADMIN))
        opened.append(TestClient(app, base_url=ISSUER, follow_redirects=False))
        return Provider(opened[-1], clock, keys)

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def provider(make_provider: Callable[..., Provider]) -> Provider:
    return make_provider()
