"""The demo's last two steps: around the gateway, and a revoked token."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from scopeward.app import SystemClock
from scopeward.demo import tell
from scopeward.demo.orders_api import orders_api
from scopeward.demo.story import SERVICE, STORY
from scopeward.envoy.state_dir import IN_FORCE, StateDir
from scopeward.errors import ScopewardError
from scopeward.issuer import SigningKeys
from scopeward.revocation import RevocationBook
from scopeward.secret import Secret
from scopeward.store import STORE_FILE, Store

ISSUER = "http://127.0.0.1:9000"
DIRECT, REVOKED = STORY[-2:]


@dataclass(frozen=True)
class HalfStage:
    """What a revocation needs of a stage."""

    state: StateDir
    issuer: str = ISSUER


@pytest.fixture
def stage(tmp_path: Path) -> HalfStage:
    return HalfStage(StateDir(tmp_path / "it's here"))


def token(**claims: Any) -> Secret:
    return Secret(SigningKeys.create("ES256").sign({"iss": ISSUER, "jti": "-a_token's id", "exp": 2_000_000_000, **claims}, "at+jwt"))


def test_the_story_ends_at_the_back_door_and_with_a_revoked_token() -> None:
    assert [(step.status, step.reference) for step in STORY[-2:]] == [(401, None), (401, "token-revoked")]
    assert [step.verdict for step in STORY].count(None) == 1
    assert (DIRECT.direct, DIRECT.verdict, REVOKED.verdict) == (True, None, "401 token-revoked")
    assert STORY[0].token == REVOKED.token == SERVICE, "the very token of step 1"


def test_the_commands_of_both_steps_can_be_typed() -> None:
    assert tell.curl(DIRECT, "http://127.0.0.1:9001/42", ISSUER) == 'curl -i http://127.0.0.1:9001/42 -H "x-agw-client-id: order-sync"'
    assert tell.curl(REVOKED, "http://127.0.0.1:8080/orders/v1/42", ISSUER).endswith('-H "Authorization: Bearer $T"   # T is that token')


@pytest.mark.parametrize("path", ["/42", "/", "/health", "/42/customer"])
def test_the_orders_api_is_shut_to_whoever_comes_around_the_gateway(path: str) -> None:
    with TestClient(orders_api("http://127.0.0.1:8080", "http://127.0.0.1:8080/orders/v1")) as api:
        answer = api.get(path, headers=dict(DIRECT.headers))
        assert (answer.status_code, answer.headers.get("scopeward-reference")) == (DIRECT.status, DIRECT.reference)


async def confirm(stage: HalfStage) -> None:
    """What the warden does: it sees the change, and says when Envoy has it."""
    clock = SystemClock()
    with Store(stage.state.root / STORE_FILE, clock) as store:
        book = RevocationBook(store, clock)
        before = book.sequence()
        while book.sequence() == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        stage.state.write_json(IN_FORCE, {"revocations": book.sequence()})
        (revoked,) = book.entries()
    assert (revoked.revocation.issuer, revoked.revocation.what, revoked.revocation.value, revoked.ends_at) == (ISSUER, "token-id", "-a_token's id", 2e9)


def test_the_revocation_is_that_of_the_command_and_waits_until_it_is_in_force(stage: HalfStage) -> None:
    told: list[str] = []

    async def both() -> None:
        await asyncio.gather(confirm(stage), tell._revoke(token(), stage, told.append))

    asyncio.run(both())
    assert "scopeward revoke --issuer http://127.0.0.1:9000 --token-id=" in told[0]
    assert re.fullmatch(r"   revoked \(number 1\); in force after \d+ ms, confirmed by Envoy", told[1])
    assert "eyJ" not in "".join(told)


@pytest.mark.parametrize("in_force", [None, {}, {"revocations": 0}, {"revocations": "many"}])
def test_a_revocation_that_does_not_come_in_force_is_an_error(in_force: Any, stage: HalfStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "REVOKED_WITHIN", 0.1)
    if in_force is not None:
        stage.state.write_json(IN_FORCE, in_force)
    with pytest.raises(ScopewardError, match="demo-step-failed"):
        asyncio.run(tell._revoke(token(), stage, lambda _: None))


@pytest.fixture(autouse=True)
def no_token_in_the_state(tmp_path: Path) -> Iterator[None]:
    yield
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"eyJ" not in path.read_bytes(), path


def test_what_the_steps_share_does_not_show_tokens(stage: HalfStage) -> None:
    secret = token()
    scene = tell._Scene(stage, None, print, {SERVICE: secret})  # type: ignore[arg-type]
    assert secret.reveal() not in repr(scene)
    assert json.dumps("-a_token's id") not in repr(scene)
