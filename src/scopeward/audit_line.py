"""The audit line, version 1: one JSON object a call, written by Envoy, read by everything else.

Envoy writes few and cheap fields, because every field costs each call; ``parse`` reads them as people mean them. What a caller chose
(path, ids, claims) stands in values that Envoy escapes: it can neither end a line nor pose as another field.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from scopeward.errors import REFERENCES
from scopeward.identity import ActorChain, Kind, Principal

VERSION = 1

FIELDS: Mapping[str, str] = {
    "v": "Version of this schema: 1.",
    "node": "The node that answered.",
    "time": "When the call arrived: RFC 3339 in UTC with milliseconds.",
    "ms": "Milliseconds from the first byte of the call to the last of the answer.",
    "request_id": "The gateway's id of the call; it is in the answer of a refused call and goes to the upstream.",
    "client_request_id": "The X-Request-Id that the caller sent; at most 128 bytes of it.",
    "traceparent": "The caller's trace context (W3C Trace Context).",
    "address": "Where the call came from: the caller's address, or what a trusted proxy says of it.",
    "method": "The method.",
    "path": "The path as it was asked for, normalized, without its query; at most 2048 bytes of it.",
    "status": "The status of the answer.",
    "details": "Envoy's word for how the call ended: 'via_upstream', or what answered instead.",
    "reference": "Why the gateway itself answered; null where the upstream did.",
    "route": "'POLICY_VERSION API METHOD TEMPLATE'; '-' where there is none.",
    "decision": "'rule.ID SCOPE…', 'public.ID', 'base' (the token's facts refused it) or a reference; null where the token was refused first.",
    "who": "'KIND CLIENT ISSUER |SCOPE|…|': the caller as the policy knows it, and what its client may use ('|*|': no bound).",
    "sub": "The token's subject.",
    "client_id": "The token's client.",
    "scope": "The token's scopes: words, or a JSON array in base64 where the token has an array.",
    "jti": "The token's id.",
    "iat": "When the token was issued, in seconds since the epoch.",
    "exp": "When it expires.",
    "roles": "The role claims that the policy reads; none in this version.",
}
"""Every field of the line, by name. All of them are in every line."""

NUMBERS = frozenset({"v", "ms", "status"})


def json_schema() -> dict[str, Any]:
    """The line as JSON Schema (draft 2020-12)."""
    properties: dict[str, Any] = {
        name: {"description": text, "type": ["integer", "null"] if name in NUMBERS else ["string", "null"]} for name, text in FIELDS.items()
    }
    properties["v"] = {"description": FIELDS["v"], "const": VERSION}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scopeward audit line, version 1",
        "type": "object",
        "properties": properties,
        "required": sorted(FIELDS),
        "additionalProperties": False,
    }


Verdict = Literal["allowed", "refused"]


@dataclass(frozen=True, slots=True)
class AuditLine:
    """A line as it is meant. ``iat`` and ``exp`` are seconds; ``scopes_used`` are those that the rule asked for."""

    time: str
    node: str
    request_id: str | None
    client_request_id: str | None
    trace_id: str | None
    address: str | None
    method: str | None
    path: str | None
    status: int
    ms: int
    verdict: Verdict
    reference: str | None
    details: str | None
    policy_version: str | None
    api: str | None
    operation: str | None
    rule: str | None
    chain: ActorChain | None
    issuer: str | None
    subject: str | None
    client: str | None
    client_id: str | None
    kind: str | None
    scopes: tuple[str, ...]
    scopes_used: tuple[str, ...]
    token_id: str | None
    iat: int | None
    exp: int | None


class AuditLineError(ValueError):
    """The text is not a line of this version."""


def parse(text: str | bytes) -> AuditLine:
    """Read one line. Errors: ``AuditLineError``."""
    try:
        raw = json.loads(text)
    except ValueError:
        raise AuditLineError("not JSON") from None
    if not isinstance(raw, dict) or raw.get("v") != VERSION or set(raw) != set(FIELDS):
        raise AuditLineError("not a line of version 1")
    if not all(value is None or type(value) is (int if name in NUMBERS else str) for name, value in raw.items()):
        raise AuditLineError("a value is of another type")
    try:
        return _read(raw)
    except ValueError:
        raise AuditLineError("a value is not of its form") from None


def _read(raw: Mapping[str, Any]) -> AuditLine:
    version, api, operation = _route(raw["route"])
    rule, used = _decision(raw["decision"])
    kind, client, issuer = _who(raw["who"])
    return AuditLine(
        time=raw["time"],
        node=raw["node"],
        request_id=raw["request_id"],
        client_request_id=raw["client_request_id"],
        trace_id=_trace_id(raw["traceparent"]),
        address=raw["address"],
        method=raw["method"],
        path=raw["path"],
        status=raw["status"],
        ms=raw["ms"],
        verdict=_verdict(rule, raw["reference"]),
        reference=raw["reference"],
        details=raw["details"],
        policy_version=version,
        api=api,
        operation=operation,
        rule=rule,
        chain=_chain(kind, client, issuer, raw),
        issuer=issuer,
        subject=raw["sub"],
        client=client,
        client_id=raw["client_id"],
        kind=kind,
        scopes=_scopes(raw["scope"]),
        scopes_used=used,
        token_id=raw["jti"],
        iat=_seconds(raw["iat"]),
        exp=_seconds(raw["exp"]),
    )


def _verdict(rule: str | None, reference: str | None) -> Verdict:
    """The gateway let the call through if a rule said so and nothing of its own refused it afterwards."""
    if reference is None:
        return "allowed" if rule else "refused"
    known = REFERENCES.get(reference)
    return "allowed" if rule and known is not None and known.status in {502, 503, 504} else "refused"


def _route(route: str | None) -> tuple[str | None, str | None, str | None]:
    if not route:
        return None, None, None
    version, api, method, template = route.split(" ", 3)
    return version, None if api == "-" else api, None if method == "-" else f"{method} {template}"


def _decision(decision: str | None) -> tuple[str | None, tuple[str, ...]]:
    if decision is None or not decision.startswith(("rule.", "public.")):
        return None, ()
    rule, *scopes = decision.split(" ")
    return rule, tuple(scopes)


def _who(who: str | None) -> tuple[str | None, str | None, str | None]:
    if who is None:
        return None, None, None
    kind, client, issuer, _may = who.split(" ", 3)
    named = None if kind.startswith("refused.") else kind
    return named, None if client == "-" else client, None if issuer == "-" else issuer


def _chain(kind: str | None, client: str | None, issuer: str | None, raw: Mapping[str, Any]) -> ActorChain | None:
    """``agent-for-person`` is the agent, acting for the person that the subject names."""
    if kind is None or issuer is None:
        return None
    name, _, for_person = kind.partition("-for-")
    if name not in get_args(Kind):
        return None
    machine_subject = None if for_person else raw["sub"]
    current = Principal(name, issuer, machine_subject, client, raw["client_id"])  # type: ignore[arg-type]
    return ActorChain((current, Principal("person", issuer, raw["sub"]))) if for_person else ActorChain((current,))


def _scopes(scope: str | None) -> tuple[str, ...]:
    if not scope:
        return ()
    if scope.startswith(("Wy", "W10")):  # '["' and '[]' in base64
        try:
            words = json.loads(base64.b64decode(scope + "=" * (-len(scope) % 4), validate=True))
        except ValueError:
            return tuple(scope.split(" "))
        return tuple(str(word) for word in words) if isinstance(words, list) else (scope,)
    return tuple(word for word in scope.split(" ") if word)


def _seconds(value: str | None) -> int | None:
    return int(value) if value is not None and re.fullmatch(r"[0-9]{1,15}", value) else None


def _trace_id(traceparent: str | None) -> str | None:
    found = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*", traceparent or "")
    return found.group(1) if found else None
