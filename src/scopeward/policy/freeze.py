"""A validated document → the frozen policy, with defaults filled in. Names are looked up nowhere: that is for the checks."""

from __future__ import annotations

from typing import get_args

from scopeward.policy.document import ApiEntry, IssuerEntry, PersonEntry, PolicyDocument, RuleEntry, TrustsEntry, UpstreamEntry
from scopeward.policy.model import Api, Caller, Client, Issuer, PersonEvidence, Policy, Rule, Scope, Sends, To, Trust, Upstream


def freeze(document: PolicyDocument) -> Policy:
    """The policy that the document says."""
    issuers = tuple(_issuer(name, entry) for name, entry in document.issuers.items())
    only = issuers[0].name if issuers else ""
    sends = document.defaults.sends
    default_to = _to(document.defaults.to)
    return Policy(
        public_url=document.public_url.rstrip("/"),
        issuers=issuers,
        scopes=tuple(Scope(name, entry.says) for name, entry in document.scopes.items()),
        clients=tuple(
            Client(name, entry.kind, entry.issuer if entry.issuer is not None else only, entry.id, None if entry.may is None else _distinct(entry.may))
            for name, entry in document.clients.items()
        ),
        apis=tuple(_api(name, entry, issuers, default_to) for name, entry in document.apis.items()),
        trust=_trust(document.trust),
        sends=Sends(sends.client, sends.subject, sends.issuer, sends.scopes),
        unlisted_clients=document.defaults.unlisted_clients,
        version=document.version,
        default_to=default_to,
    )


def _issuer(name: str, entry: IssuerEntry) -> Issuer:
    return Issuer(
        name=name,
        issuer=entry.issuer,
        audience=entry.audience,
        clock_skew=int(entry.clock_skew),
        typ=entry.typ,
        client_claim=entry.client_claim,
        scope_form=entry.scope_form,
        person=None if entry.person is None else _person(entry.person),
        trust=entry.trust,
    )


def _person(entry: PersonEntry) -> PersonEvidence:
    if entry.is_ is not None:
        return PersonEvidence(entry.claim, "is", entry.is_)
    if entry.not_ is not None:
        return PersonEvidence(entry.claim, "not", entry.not_)
    return PersonEvidence(entry.claim, "present")


def _trust(entry: TrustsEntry) -> tuple[Trust, ...]:
    given = []
    if entry.external is not None:
        given.append(Trust("external", int(entry.external.lifetime), entry.external.over))
    if entry.internal is not None:
        given.append(Trust("internal", int(entry.internal.lifetime), entry.internal.over))
    return tuple(given)


def _api(name: str, entry: ApiEntry, issuers: tuple[Issuer, ...], default_to: To) -> Api:
    issuer = issuers[0] if issuers else None
    return Api(
        name=name,
        at=entry.at,
        issuer=issuer.name if issuer else "",
        audience=entry.audience or (issuer.audience if issuer else None) or "",
        upstream=_upstream(entry.upstream),
        rules=tuple(_rule(key, rule, default_to) for key, rule in entry.rules.items()),
        audience_stated=entry.audience is not None,
    )


def _upstream(entry: UpstreamEntry) -> Upstream:
    return Upstream(entry.url, float(entry.timeout), entry.host_header, entry.forward_token)


def _rule(key: str, entry: RuleEntry, default_to: To) -> Rule:
    method, _, template = key.partition(" ")
    if entry.public is not None:
        return Rule(method, template, public=entry.public)
    to = default_to if entry.to is None else _to(entry.to)
    return Rule(method, template, _distinct(entry.needs or []), to)


def _to(words: list[str]) -> To:
    """Kinds apart from names. A client cannot be called as a kind is: the check of names refuses it."""
    kinds: tuple[Caller, ...] = get_args(Caller)
    return To(tuple(k for k in kinds if k in words), _distinct([w for w in words if w not in kinds]))


def _distinct(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
