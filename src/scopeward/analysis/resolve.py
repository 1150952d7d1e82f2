"""Policy and facts → the gateway model. Pure, and the same input gives the same bytes: nothing depends on the order of writing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from scopeward.analysis.gateway import Facts, Gateway, GatewayApi, GatewayClient, GatewayIssuer, IssuerFacts, Operation, Revocation
from scopeward.errors import ScopewardError
from scopeward.policy.model import Api, Issuer, Policy, Rule, To, Trust
from scopeward.policy.path import Template, join, parse_at, parse_template

LONGEST_STREAM = 3_600
"""Seconds, where the policy bounds neither lifetimes nor streams."""

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
        "body_limit": policy.body_limit,
        "ca_bundle": policy.ca_bundle,
        "environment": policy.environment,
    }
    return Gateway(
        policy_version=_version(parts),
        **parts,
        recent=_sorted(facts.recent),
        settled=_sorted(facts.settled),
        passes=facts.passes,
        pass_keys=facts.pass_keys,
    )


def _sorted(revocations: tuple[Revocation, ...]) -> tuple[Revocation, ...]:
    return tuple(sorted(set(revocations), key=lambda r: (r.issuer, r.what, r.value, -1 if r.before is None else r.before)))


def _issuer(issuer: Issuer, policy: Policy, facts: Facts) -> GatewayIssuer:
    known = _facts_of(issuer, facts)
    trust = next((t for t in policy.trust if t.name == issuer.trust), None)
    return GatewayIssuer(
        name=issuer.name,
        issuer=issuer.issuer,
        jwks=known.jwks,
        clock_skew=issuer.clock_skew,
        typ=issuer.typ,
        client_claim=issuer.client_claim,
        person=issuer.person,
        lifetime=trust.lifetime if trust and trust.over == "refuse" else None,
        scope_form=issuer.scope_form,
        jti=issuer.jti,
        good_until=known.good_until,
        longest_stream=_longest_stream(trust),
    )


def _longest_stream(trust: Trust | None) -> int:
    """What a stream may last at most, for its token is looked at only when it begins: the longest life that a token can have, or what is said."""
    if trust is None:
        return LONGEST_STREAM
    bounds = [bound for bound in (trust.max_stream, trust.lifetime if trust.over == "refuse" else None) if bound is not None]
    return min(bounds, default=min(trust.lifetime, LONGEST_STREAM))


def _facts_of(issuer: Issuer, facts: Facts) -> IssuerFacts:
    known = facts.issuers.get(issuer.name)
    if known is None:
        raise ScopewardError("idp-no-keys", f"nothing was fetched from the issuer '{issuer.name}'")
    if known.issuer != issuer.issuer:
        raise ScopewardError("idp-issuer-mismatch", f"the issuer '{issuer.name}' calls itself '{known.issuer}', the policy says '{issuer.issuer}'")
    return known


def _api(api: Api, issuer: Issuer, public_url: str) -> GatewayApi:
    at = parse_at(api.at)
    placed = [(_placed(at, rule, api), rule) for rule in api.rules]
    placed.sort(key=lambda p: (p[0].specificity, p[0].shape, p[1].method))
    spelt, slashed = _guarded_shapes(placed, api)
    return GatewayApi(
        name=api.name,
        at=api.at,
        resource=public_url + api.at,
        issuer=api.issuer,
        audience=api.audience,
        upstream=api.upstream,
        operations=tuple(_operation(api, issuer, rule, t, spelling=t.shape in spelt, slash=t.shape in slashed) for t, rule in placed),
        client_certificate=api.client_certificate,
        allow=tuple(sorted(set(api.allow))),
        slash=api.slash,
        case=api.case,
    )


def _placed(at: Template, rule: Rule, api: Api) -> Template:
    template = join(at, parse_template(rule.template))
    return template.without_slash() if api.slash == "same" else template


def _guarded_shapes(placed: list[tuple[Template, Rule]], api: Api) -> tuple[frozenset[str], frozenset[str]]:
    """Templates whose literals, spelt in another way, could fall to a less specific template that lets more through; and those that do with a slash."""
    groups: dict[str, tuple[Template, dict[str, Rule]]] = {}
    for template, rule in placed:
        groups.setdefault(template.shape, (template, {}))[1][rule.method] = rule

    def falls(spelling: Template, rules: Mapping[str, Rule]) -> bool:
        return any(other.meets(spelling) and _asks_more(rules, others) for other, others in groups.values())

    def falls_with_slash(template: Template, rules: Mapping[str, Rule]) -> bool:
        """To the first that takes all of them, or to one before it."""
        slashed = template.with_slash()
        if slashed is None or slashed.shape in groups:  # a rule that is written with the slash is meant
            return False
        for other, others in sorted(groups.values(), key=lambda group: group[0].specificity):
            if other.meets(slashed) and _asks_more(rules, others):
                return True
            if other.contains(slashed):
                return False
        return False

    at = len(parse_at(api.at).segments)
    folds = api.case == "guarded"
    spelt = {s for s, (t, rules) in groups.items() if Template(t.segments[at:]).has_spellings(any_case=folds) and falls(t, rules)}
    slashed = {shape for shape, (template, rules) in groups.items() if api.slash == "exact" and falls_with_slash(template, rules)}
    return frozenset(spelt), frozenset(slashed)


def _asks_more(rules: Mapping[str, Rule], others: Mapping[str, Rule]) -> bool:
    """Whether there is a method that ``others`` let through on easier terms, or at all, or whose answer goes on without the end of a stream."""
    for method, other in others.items():
        rule = rules.get(method)
        if rule is None or (rule.stream and rule.stream != other.stream):
            return True
        if rule.public is None and (other.public is not None or _asked(rule) != _asked(other)):
            return True
    return False


def _asked(rule: Rule) -> tuple[frozenset[str], ...]:
    return frozenset(rule.needs), frozenset(rule.to.kinds), frozenset(rule.to.clients)


def _operation(api: Api, issuer: Issuer, rule: Rule, template: Template, *, spelling: bool, slash: bool) -> Operation:
    to = To(tuple(sorted(set(rule.to.kinds))), tuple(sorted(set(rule.to.clients))))
    content = {
        "api": api.name,
        "at": api.at,
        "audience": api.audience,
        "issuer": [issuer.name, issuer.issuer],
        "method": rule.method,
        "template": str(template),
        "needs": sorted(rule.needs),
        "to": asdict(to),
        "public": rule.public,
        "certificate": None if api.client_certificate is None else list(api.client_certificate.names),
    }
    return Operation(_digest(content), rule.method, str(template), rule.needs, to, rule.public, rule.stream, spelling, slash)


def _version(parts: dict[str, Any]) -> str:
    """A policy without environments has the version that it had before there were any."""
    content = {k: [asdict(x) for x in v] if isinstance(v, tuple) else v for k, v in parts.items() if k not in {"sends", "environment"}}
    if parts["environment"] is not None:
        content["environment"] = parts["environment"]
    for issuer in content["issuers"]:
        del issuer["jwks"], issuer["good_until"]
    return _digest({**content, "sends": asdict(parts["sends"])})


def _digest(content: dict[str, Any]) -> str:
    """SHA-256 over canonical JSON: keys sorted, no spaces, ASCII only (the core of RFC 8785 for what stands here)."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:ID_LENGTH]
