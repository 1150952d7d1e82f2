"""Passes: what is in them, and when they are signed anew."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from scopeward.passes import LIFETIME, PassIssuer, PassKeys
from scopeward.passes.renewal import RENEWED_EVERY
from scopeward.passes.ring import SIGNS_FOR
from tests.kit.clocks import SetClock

GATEWAY = "https://api.example.com"
APIS = {"orders": f"{GATEWAY}/orders/v1", "stock": f"{GATEWAY}/stock"}
NOW = 1_790_000_000


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW + 0.75)


@pytest.fixture
def issuer(clock: SetClock, tmp_path: Path) -> PassIssuer:
    return PassIssuer(PassKeys.load(tmp_path, clock.now()), clock)


def read(issuer: PassIssuer, token: str) -> jwt.Token:
    return jwt.decode(token, KeySet.import_key_set(json.loads(issuer.jwks())), algorithms=["ES256"])


def claims(issuer: PassIssuer, token: str) -> dict[str, Any]:
    return dict(read(issuer, token).claims)


def test_a_pass_says_through_whom_where_to_and_until_when_and_nothing_else(issuer: PassIssuer) -> None:
    passes = issuer.passes(GATEWAY, APIS)
    assert list(passes) == ["orders", "stock"]
    for name, token in passes.items():
        assert claims(issuer, token) == {"iss": GATEWAY, "aud": APIS[name], "iat": NOW, "exp": NOW + 3600}
        header = read(issuer, token).header
        assert set(header) == {"alg", "typ", "kid"}
        assert (header["alg"], header["typ"]) == ("ES256", "JWT")


def test_a_pass_is_a_value_of_a_header_and_short(issuer: PassIssuer) -> None:
    token = issuer.passes(GATEWAY, APIS)["orders"]
    assert token.isascii()
    assert token.isprintable()
    assert len(token) < 512


def test_the_same_passes_come_back_until_they_are_due(issuer: PassIssuer, clock: SetClock) -> None:
    first = issuer.passes(GATEWAY, APIS)
    assert issuer.next_renewal() == pytest.approx(RENEWED_EVERY - 0.75)
    clock.time = NOW + RENEWED_EVERY - 0.01
    assert issuer.passes(GATEWAY, dict(reversed(APIS.items()))) == first
    clock.time = NOW + RENEWED_EVERY
    assert issuer.next_renewal() == 0
    second = issuer.passes(GATEWAY, APIS)
    assert set(second.values()).isdisjoint(first.values())
    assert claims(issuer, second["stock"])["iat"] == NOW + RENEWED_EVERY
    assert issuer.next_renewal() == RENEWED_EVERY


def test_the_first_is_due_at_once_and_no_api_is_no_reason_to_hurry(issuer: PassIssuer) -> None:
    assert issuer.next_renewal() == 0
    assert issuer.passes(GATEWAY, {}) == {}
    assert issuer.next_renewal() > 0


def test_another_policy_renews_only_what_it_changes(issuer: PassIssuer, clock: SetClock) -> None:
    first = issuer.passes(GATEWAY, APIS)
    clock.time += 100
    second = issuer.passes(GATEWAY, {"orders": APIS["orders"], "stock": f"{GATEWAY}/stock/v2", "new": f"{GATEWAY}/new"})
    assert second["orders"] == first["orders"]
    assert claims(issuer, second["stock"])["aud"] == f"{GATEWAY}/stock/v2"
    assert claims(issuer, second["new"])["iat"] == NOW + 100
    assert issuer.next_renewal() == pytest.approx(RENEWED_EVERY - 100.75), "what is young does not put off what is old"
    assert set(issuer.passes(GATEWAY, {"new": f"{GATEWAY}/new"})) == {"new"}
    moved = issuer.passes("https://other.example.com", {"new": f"{GATEWAY}/new"})
    assert claims(issuer, moved["new"])["iss"] == "https://other.example.com"


@pytest.mark.parametrize("jump", [-1, -60, -86_400, -365 * 86_400, 365 * 86_400, LIFETIME])
def test_after_a_jump_of_the_clock_passes_are_of_the_new_time(jump: float, issuer: PassIssuer, clock: SetClock) -> None:
    first = issuer.passes(GATEWAY, APIS)
    clock.time += jump
    assert issuer.next_renewal() == 0
    second = issuer.passes(GATEWAY, APIS)
    assert set(second.values()).isdisjoint(first.values())
    for token in second.values():
        assert (claims(issuer, token)["iat"], claims(issuer, token)["exp"]) == (NOW + jump, NOW + jump + LIFETIME)
    assert 0 < issuer.next_renewal() <= RENEWED_EVERY


def test_a_jump_is_noticed_where_only_a_later_api_is_of_the_future(issuer: PassIssuer, clock: SetClock) -> None:
    issuer.passes(GATEWAY, APIS)
    clock.time = NOW + 200
    issuer.passes(GATEWAY, {**APIS, "new": f"{GATEWAY}/new"})
    clock.time = NOW + 50
    assert issuer.next_renewal() == 0


def test_keys_take_turns_and_every_pass_that_is_not_expired_verifies(issuer: PassIssuer, clock: SetClock) -> None:
    issued: list[tuple[float, str]] = []
    clock.time = NOW + SIGNS_FOR - 7000
    for _ in range(80):
        issued += [(clock.time, issuer.passes(GATEWAY, APIS)["orders"])]
        for when, token in issued:
            if clock.time < when + LIFETIME:
                read(issuer, token)
        clock.time += RENEWED_EVERY
    assert len({kid_of(token) for _, token in issued}) == 2


def kid_of(token: str) -> str:
    head = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


def test_no_pass_is_in_a_repr(issuer: PassIssuer) -> None:
    token = issuer.passes(GATEWAY, APIS)["orders"]
    assert token not in repr(issuer) + repr(vars(issuer))
