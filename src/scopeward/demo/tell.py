"""Play the story: make each call, compare, print. No token is ever printed."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from joserfc import jws

from scopeward.analysis.gateway import Revocation
from scopeward.app import SystemClock
from scopeward.audit.one_line import in_one_line
from scopeward.audit_line import parse
from scopeward.demo.stage import Stage
from scopeward.demo.story import STORY, Step, TokenWish
from scopeward.envoy.incarnation import FLUSH_MS
from scopeward.envoy.state_dir import IN_FORCE, StateDir
from scopeward.errors import ScopewardError
from scopeward.issuer import default_accounts, obtain_token
from scopeward.revocation import Entry, RevocationBook
from scopeward.secret import Secret
from scopeward.store import STORE_FILE, Store
from scopeward.warden import read_policy

API: Final = "orders"
REVOKED_WITHIN: Final = 5.0
"""Seconds. It takes some hundredths."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Scene:
    """What the steps share. ``tokens`` are those that were got so far."""

    stage: Stage
    http: httpx2.AsyncClient
    say: Say
    tokens: dict[TokenWish, Secret] = field(default_factory=dict, repr=False)


async def tell(stage: Stage, say: Say) -> None:
    """All steps in their order, then their audit lines. Errors: ``demo-step-failed``."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as http:
        scene = _Scene(stage, http, say)
        for number, step in enumerate(STORY, 1):
            say(f"\n{number}. {step.title}")
            await _play(step, scene)
    await _show_audit(stage, say)


async def _play(step: Step, scene: _Scene) -> None:
    headers = dict(step.headers)
    if step.edit:
        await _edit(*step.edit, scene.stage, scene.say)
    if step.revoke:
        await _revoke(await _token_of(step, scene), scene.stage, scene.say)
    url = f"{_upstream(scene.stage) if step.direct else scene.stage.gateway_url}{step.path}"
    scene.say(f"   $ {curl(step, url, scene.stage.issuer)}")
    if step.token:
        headers["Authorization"] = f"Bearer {(await _token_of(step, scene)).reveal()}"
    answer = await scene.http.request(step.method, url, headers=headers)
    challenge = answer.headers.get("www-authenticate", "")
    scene.say(f"   {answer.status_code} {answer.reason_phrase}" + (f"   WWW-Authenticate: {challenge}" if challenge else ""))
    reference = answer.headers.get("scopeward-reference")
    if (answer.status_code, reference) != (step.status, step.reference) or step.challenge not in challenge:
        raise ScopewardError("demo-step-failed", f"'{step.title}' ended with {answer.status_code} {reference or ''}")
    scene.say(f"   why: {step.why or _why(answer)}")


def curl(step: Step, url: str, issuer: str) -> str:
    """The command that makes this call by hand."""
    call = "curl -i " + ("" if step.method == "GET" else f"-X {step.method} ") + url + "".join(f' -H "{name}: {value}"' for name, value in step.headers)
    if step.token is None:
        return call
    if step.revoke:
        return f'{call} -H "Authorization: Bearer $T"   # T is that token'
    token = f"$({step.token.command(issuer)})"
    if step.token.lifetime is None:
        return f'{call} -H "Authorization: Bearer {token}"'
    return f'T={token}; sleep {step.token.lifetime + 3}; {call} -H "Authorization: Bearer $T"'


def _why(answer: httpx2.Response) -> str:
    problem = answer.json()
    needs = f" (needs {', '.join(problem['needs'])})" if "needs" in problem else ""
    return f"{problem['reference']}{needs}: {problem['detail']}"


async def _token_of(step: Step, scene: _Scene) -> Secret:
    """The token that the step wishes for; where one is got that is to expire, it has."""
    wish = step.token
    if wish is None:
        raise ScopewardError("demo-step-failed", f"'{step.title}' has no token")
    if wish not in scene.tokens:
        scene.tokens[wish] = await asyncio.to_thread(_token, wish, scene.stage.issuer)
        if wish.lifetime is not None:
            await asyncio.sleep(wish.lifetime + 2.2)  # and the policy's clock skew, and the rest of a second
    return scene.tokens[wish]


def _token(wish: TokenWish, issuer: str) -> Secret:
    client = default_accounts().clients[wish.client]
    answer = obtain_token(issuer, wish.client, secret=client.secret, person=wish.person, scopes=wish.scopes, resource=wish.resource, lifetime=wish.lifetime)
    return answer.access_token


async def _edit(old: str, new: str, stage: Stage, say: Say) -> None:
    text = stage.policy.read_text()
    if old not in text:
        raise ScopewardError("demo-step-failed", f"'{stage.policy}' does not hold the line to edit")
    say(f"   - {old}\n   + {new}")
    begun = time.monotonic()
    stage.policy.write_text(text.replace(old, new))
    prepared = await stage.warden.apply(read_policy(stage.policy), stage.policy)
    say(f"   in force after {1000 * (time.monotonic() - begun):.0f} ms, confirmed by Envoy: policy {prepared.gateway.policy_version}")


async def _revoke(token: Secret, stage: Stage, say: Say) -> None:
    """Revoke the token as ``scopeward revoke --token-id`` does, and wait until that is in force."""
    claims = json.loads(jws.extract_compact(token.reveal().encode()).payload)
    token_id, state_dir = shlex.quote(claims["jti"]), shlex.quote(str(stage.state.root))
    say(f"   $ scopeward revoke --issuer {stage.issuer} --token-id={token_id} --state-dir {state_dir}")
    begun = time.monotonic()
    entry = await asyncio.to_thread(_enter, claims, stage.state)
    try:
        async with asyncio.timeout(REVOKED_WITHIN):
            while not _is_in_force(entry, stage.state):  # noqa: ASYNC110  # it is another process's file as a rule
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise ScopewardError("demo-step-failed", f"the revocation is not in force after {REVOKED_WITHIN:.0f} s") from None
    say(f"   revoked (number {entry.number}); in force after {1000 * (time.monotonic() - begun):.0f} ms, confirmed by Envoy")


def _enter(claims: Mapping[str, Any], state: StateDir) -> Entry:
    clock = SystemClock()
    with Store(state.root / STORE_FILE, clock) as store:
        return RevocationBook(store, clock).add(Revocation(claims["iss"], "token-id", claims["jti"]), ends_at=claims["exp"], reason="the demo's last step")


def _is_in_force(entry: Entry, state: StateDir) -> bool:
    in_force = (state.read_json(IN_FORCE) or {}).get("revocations")
    return isinstance(in_force, int) and in_force >= entry.sequence


def _upstream(stage: Stage) -> str:
    return next(api.upstream.url for api in stage.prepared.gateway.apis if api.name == API)


async def _show_audit(stage: Stage, say: Say) -> None:
    await asyncio.sleep(3 * FLUSH_MS / 1000)
    lines = stage.node.audit_log.read_text().splitlines()
    mine = [(text, line) for text in lines if (line := parse(text)).api == API]
    seen = [step for step in STORY if step.verdict is not None]
    if len(mine) != len(seen):
        raise ScopewardError("demo-step-failed", f"{len(seen)} calls left {len(mine)} audit lines")
    say(f"\nThe audit lines of these calls ({stage.node.audit_log}):\n")
    for _, line in mine:
        say("   " + in_one_line(line))
    say("\nThe last one, as it is written:\n\n   " + json.dumps(json.loads(mine[-1][0])))
