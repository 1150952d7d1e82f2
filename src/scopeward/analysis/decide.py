"""May this call pass, and why? The policy's own answer, from the policy alone.

The compiled gateway gives a second, independent answer to the same question, so this shares no code with the compiler beyond the
frozen types and ``policy.path``. The order of the questions is data: the first that says no is the reason.

1. The gateway's own name                    (``unknown-host``)
2. One token at most                         (``token-ambiguous``)
3. No question of a browser's                (``cors-not-configured``)
4. The API at the path, the longest ``at``   (``api-not-found``)
5. A path that all servers read alike        (``path-ambiguous``)
6. The rule; a public one ends here with yes, given the client certificate where the API asks for one
7. The token: ``TOKEN_CHECKS``, in their order
8. The caller: who the token speaks for
9. The rule again: ``RULE_CHECKS``, in their order; what no rule covers is refused

Where calls cannot be recorded and are refused for it (``audit-unavailable``), that comes before all but what tokens are refused for by their
signature, times, issuer and audience.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from scopeward.analysis.caller import Caller, caller_of
from scopeward.analysis.place import api_at, hosts, odd, rule_for, spelt_otherwise
from scopeward.analysis.token_checks import TOKEN_CHECKS, VERIFYING, Presented, Standing
from scopeward.decision import Allowed, Decision, Denial
from scopeward.identity import PresentedToken
from scopeward.policy.model import Api, Policy, Rule


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it reaches the gateway.

    ``path`` is the request target with its query, after the edge normalized it. ``authorization`` holds every value of that header,
    ``token`` what the bearer credential among them was: taken apart, none at all, or not a signed JWT. ``host`` is the Host header's name
    without its port, ``None`` for the gateway's own. ``preflight`` tells a CORS preflight. ``certificate`` holds the subject alternative
    names (``dns:…``, ``uri:…``) of the client certificate that TLS verified, and is ``None`` where there is none.
    """

    method: str
    path: str
    authorization: tuple[str, ...]
    token: PresentedToken | Literal["none", "malformed"]
    host: str | None = None
    preflight: bool = False
    certificate: tuple[str, ...] | None = None


NOTHING_KNOWN: Final = Standing()


def decide(policy: Policy, call: Call, now: float, standing: Standing = NOTHING_KNOWN) -> Decision:
    """Decide one call.

    ``policy`` must have passed the checks. ``now`` is in seconds since 1970. Raises nothing for whatever a caller sends.
    """
    decision = _decide(policy, call, now, standing)
    if standing.audit_full and not (isinstance(decision, Denial) and decision.reference in VERIFYING):
        return Denial("audit-unavailable", decision.api, decision.rule)
    return decision


def _decide(policy: Policy, call: Call, now: float, standing: Standing) -> Decision:
    path, _, query = call.path.partition("?")
    if reference := _before_any_api(policy, call, query):
        return Denial(reference)
    api = api_at(policy, path)
    if api is None:
        return Denial("api-not-found")
    if odd(path, api):
        return Denial("path-ambiguous", api.name)
    rule = None if spelt_otherwise(policy, api, path) else rule_for(api, call.method, path)
    if rule and rule.public is not None:
        refused = _certificate(api, call)
        return Denial(refused, api.name, rule.operation) if refused else Allowed(api.name, rule.operation, None, public=True)
    return _by_token(policy, call, api, rule, now, standing)


def _before_any_api(policy: Policy, call: Call, query: str) -> str | None:
    if call.host is not None and call.host.lower() not in hosts(policy):
        return "unknown-host"
    if _ambiguous(call, query):
        return "token-ambiguous"
    return "cors-not-configured" if call.preflight and call.method == "OPTIONS" else None


def _by_token(policy: Policy, call: Call, api: Api, rule: Rule | None, now: float, standing: Standing) -> Decision:
    operation = rule.operation if rule else None
    if not isinstance(call.token, PresentedToken):
        return Denial("token-missing" if call.token == "none" else "token-malformed", api.name, operation)  # noqa: S105
    issuer = next(i for i in policy.issuers if i.name == api.issuer)
    lifetime = next((t.lifetime for t in policy.trust if t.name == issuer.trust and t.over == "refuse"), None)
    presented = Presented(call.token, api, issuer, lifetime, now, standing)
    for check in TOKEN_CHECKS:
        if reference := check(presented):
            return Denial(reference, api.name, operation)
    caller = caller_of(policy, issuer, call.token.claims)
    if isinstance(caller, str):
        return Denial(caller, api.name, operation)
    if rule and (refused := _certificate(api, call)):
        return Denial(refused, api.name, operation, caller.chain)
    return _by_rule(api, rule, caller)


def _ambiguous(call: Call, query: str) -> bool:
    """RFC 6750 section 2: one method of sending a token a request. The parameter's name counts in every encoding of it."""
    if sum(value != "" for value in call.authorization) > 1 or any("," in value or _more_than_a_token(value) for value in call.authorization):
        return True
    # an upstream may split a query at any of these
    names = (unquote(part.partition("=")[0]) for part in re.split("[&;?]", query))
    return bool(call.authorization) and "access_token" in names


def _more_than_a_token(value: str) -> bool:
    """RFC 6750 section 2.1: after the scheme stands one token and nothing else."""
    return "bearer " in value.lower() and not re.fullmatch(r"bearer +[A-Za-z0-9\-._~+/]+=* *", value, re.IGNORECASE | re.ASCII)


def _certificate(api: Api, call: Call) -> str | None:
    """Names are of a type: ``dns:a`` is not ``uri:a``. Of several names of one type none counts (for URIs: X509-SVID section 2)."""
    wanted = api.client_certificate
    if wanted is None:
        return None
    if call.certificate is None:
        return "client-certificate"
    by_type = [[name for name in call.certificate if name.startswith(prefix)] for prefix in ("uri:", "dns:")]
    accepted = not wanted.names or any(len(names) == 1 and names[0] in wanted.names for names in by_type)
    return None if accepted else "client-certificate"


# ── the rule ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _kind(rule: Rule, caller: Caller) -> str | None:
    actor = caller.chain.current
    kind = {"person": "people", "service": "services", "agent": "agents"}[actor.kind]
    if kind in rule.to.kinds or (actor.client is not None and actor.client in rule.to.clients):
        return None
    return "agent-not-named" if actor.kind == "agent" else "kind-not-allowed"


def _may(rule: Rule, caller: Caller) -> str | None:
    return None if caller.may is None or set(rule.needs) <= set(caller.may) else "client-may-not"


def _scopes(rule: Rule, caller: Caller) -> str | None:
    return None if set(rule.needs) <= caller.scopes else "scope-missing"


RULE_CHECKS: Final[tuple[Callable[[Rule, Caller], str | None], ...]] = (_kind, _may, _scopes)


def _by_rule(api: Api, rule: Rule | None, caller: Caller) -> Decision:
    if rule is None:
        return Denial("no-rule", api.name, chain=caller.chain)
    for check in RULE_CHECKS:
        if reference := check(rule, caller):
            needs = rule.needs if reference == "scope-missing" else ()
            return Denial(reference, api.name, rule.operation, caller.chain, needs)
    return Allowed(api.name, rule.operation, caller.chain, rule.needs)
