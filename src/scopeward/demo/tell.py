"""Play the story: make each call, compare, print. No token is ever printed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

import httpx2

from scopeward.audit_line import AuditLine, parse
from scopeward.demo.stage import Stage
from scopeward.demo.story import STORY, Step, TokenWish
from scopeward.envoy.node import FLUSH_MS
from scopeward.errors import ScopewardError
from scopeward.issuer import default_accounts, obtain_token
from scopeward.secret import Secret

Say = Callable[[str], None]


async def tell(stage: Stage, say: Say) -> None:
    """All steps in their order, then their audit lines. Errors: ``demo-step-failed``."""
    async with httpx2.AsyncClient(trust_env=False, timeout=10.0) as http:
        for number, step in enumerate(STORY, 1):
            say(f"\n{number}. {step.title}")
            await _play(step, stage, http, say)
    await _show_audit(stage, say)


async def _play(step: Step, stage: Stage, http: httpx2.AsyncClient, say: Say) -> None:
    if step.edit:
        await _edit(*step.edit, stage, say)
    url = f"{stage.gateway_url}{step.path}"
    say(f"   $ {curl(step, url, stage.issuer)}")
    headers = {}
    if step.token:
        token = await asyncio.to_thread(_token, step.token, stage.issuer)
        if step.token.lifetime is not None:
            await asyncio.sleep(step.token.lifetime + 2.2)  # and the policy's clock skew, and the rest of a second
        headers["Authorization"] = f"Bearer {token.reveal()}"
    answer = await http.request(step.method, url, headers=headers)
    challenge = answer.headers.get("www-authenticate", "")
    say(f"   {answer.status_code} {answer.reason_phrase}" + (f"   WWW-Authenticate: {challenge}" if challenge else ""))
    reference = answer.headers.get("scopeward-reference")
    if (answer.status_code, reference) != (step.status, step.reference) or step.challenge not in challenge:
        raise ScopewardError("demo-step-failed", f"'{step.title}' ended with {answer.status_code} {reference or ''}")
    say(f"   why: {step.why or _why(answer)}")


def curl(step: Step, url: str, issuer: str) -> str:
    """The command that makes this call by hand."""
    method = "" if step.method == "GET" else f"-X {step.method} "
    if step.token is None:
        return f"curl -i {method}{url}"
    token = f"$({step.token.command(issuer)})"
    if step.token.lifetime is None:
        return f'curl -i {method}{url} -H "Authorization: Bearer {token}"'
    return f'T={token}; sleep {step.token.lifetime + 3}; curl -i {method}{url} -H "Authorization: Bearer $T"'


def _why(answer: httpx2.Response) -> str:
    problem = answer.json()
    needs = f" (needs {', '.join(problem['needs'])})" if "needs" in problem else ""
    return f"{problem['reference']}{needs}: {problem['detail']}"


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
    prepared = await stage.warden.apply(stage.policy.read_bytes(), stage.policy.name)
    say(f"   in force after {1000 * (time.monotonic() - begun):.0f} ms, confirmed by Envoy: policy {prepared.gateway.policy_version}")


async def _show_audit(stage: Stage, say: Say) -> None:
    await asyncio.sleep(3 * FLUSH_MS / 1000)
    lines = stage.node.audit_log.read_text().splitlines()
    mine = [(text, line) for text in lines if (line := parse(text)).api == "orders"]
    if len(mine) != len(STORY):
        raise ScopewardError("demo-step-failed", f"{len(STORY)} calls left {len(mine)} audit lines")
    say(f"\nThe audit lines of these calls ({stage.node.audit_log}):\n")
    for _, line in mine:
        say("   " + in_one_line(line))
    say("\nThe last one, as it is written:\n\n   " + json.dumps(json.loads(mine[-1][0])))


def in_one_line(line: AuditLine) -> str:
    """Time, verdict, who, call, and the rule or the reference."""
    verdict = "allowed" if line.verdict == "allowed" else f"{line.status} {line.reference}"
    who = str(line.chain) if line.chain else "-"
    return f"{line.time[11:23]}  {verdict:<20}  {who:<40}  {line.method} {line.path}"
