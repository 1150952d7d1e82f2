"""Policy and facts → the gateway model. Pure, and the same input gives the same bytes: nothing depends on the order of writing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from scopeward.analysis.gateway import Facts, Gateway, GatewayApi, GatewayClient, GatewayIssuer, IssuerFacts, Operation
from scopeward.errors import ScopewardError
from scopeward.policy.model import Api, Issuer, Policy, Rule, To
from scopeward.policy.path import join, parse_at, parse_template

ID_LENGTH = 12
"""Hex digits of an operation's id and of the policy's version: 48 bits, since they tell versions apart and prove nothing."""


def resolve(policy: Policy, facts: Facts) -> Gateway:
    """Fill in the facts and give every rule its place.

    The policy must have passed ``checks.check``. Errors: ``ScopewardError`` ``idp-no-keys`` where the facts lack an issuer,
    ``idp-issuer-mismatch`` where they name another ``iss`` than the policy does (keys must not change owners).
    """
    issuers = {i.name: i for i in policy.issuers}
    parts: dict[str, Any] = {
        "public_url": policy.public_url,
        "issuers": tuple(_issuer(i, policy, facts) for i in sorted(policy.issuers, key=lambda i: i.name)),
        "clients": tuple(
            GatewayClient(c.name, c.kind, c.issuer, c.id, None if c.may is None else tuple(sorted(set(c.may))))
            for c in sorted(policy.clients, key=lambda c: c.name)
        ),
        "apis": tuple(_api(a, issuers[a.issuer], policy.public_url) for a in sorted(policy.apis, key=lambda a: a.name)),
        "sends": policy.sends,
        "unlisted_clients": policy.unlisted_clients,
    }
    revoked = tuple(sorted(set(facts.revoked), key=lambda r: (r.issuer, r.token_id)))
    return Gateway(policy_version=_version(parts), **parts, revoked=revoked)


def _issuer(issuer: Issuer, policy: Policy, facts: Facts) -> GatewayIssuer:
    known = _facts_of(issuer, facts)
    lifetime = next((t.lifetime for t in policy.trust if t.name == issuer.trust and t.over == "refuse"), None)
    return GatewayIssuer(issuer.name, issuer.issuer, known.jwks, issuer.clock_skew, issuer.typ, issuer.client_claim, issuer.person, lifetime, issuer.scope_form)


def _facts_of(issuer: Issuer, facts: Facts) -> IssuerFacts:
    known = facts.issuers.get(issuer.name)
    if known is None:
        raise ScopewardError("idp-no-keys", f"nothing was fetched from the issuer '{issuer.name}'")
    if known.issuer != issuer.issuer:
        raise ScopewardError("idp-issuer-mismatch", f"the issuer '{issuer.name}' calls itself '{known.issuer}', the policy says '{issuer.issuer}'")
    return known


def _api(api: Api, issuer: Issuer, public_url: str) -> GatewayApi:
    at = parse_at(api.at)
    placed = [(join(at, parse_template(rule.template)), rule) for rule in api.rules]
    placed.sort(key=lambda p: (p[0].specificity, p[0].shape, p[1].method))
    return GatewayApi(
        name=api.name,
        at=api.at,
        resource=public_url + api.at,
        issuer=api.issuer,
        audience=api.audience,
        upstream=api.upstream,
        operations=tuple(_operation(api, issuer, rule, str(template)) for template, rule in placed),
    )


def _operation(api: Api, issuer: Issuer, rule: Rule, template: str) -> Operation:
    to = To(tuple(sorted(set(rule.to.kinds))), tuple(sorted(set(rule.to.clients))))
    content = {
        "api": api.name,
        "at": api.at,
        "audience": api.audience,
        "issuer": [issuer.name, issuer.issuer],
        "method": rule.method,
        "template": template,
        "needs": sorted(rule.needs),
        "to": asdict(to),
        "public": rule.public,
    }
    return Operation(_digest(content), rule.method, template, rule.needs, to, rule.public)


def _version(parts: dict[str, Any]) -> str:
    content = {k: [asdict(x) for x in v] if isinstance(v, tuple) else v for k, v in parts.items() if k != "sends"}
    for issuer in content["issuers"]:
        del issuer["jwks"]
    return _digest({**content, "sends": asdict(parts["sends"])})


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 over canonical JSON: keys sorted, no spaces, ASCII only (the core of RFC 8785 for what stands here)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:ID_LENGTH]
