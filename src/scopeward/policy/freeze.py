"""A validated document → the frozen policy, with defaults filled in. Names are looked up nowhere: that is for the checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from scopeward.policy.document import (
    ApiEntry,
    ClientCertificateEntry,
    ClientEntry,
    IncludedDocument,
    IssuerEntry,
    PathEntry,
    PersonEntry,
    PolicyDocument,
    RuleEntry,
    ScopeEntry,
    SendsEntry,
    TrustEntry,
    TrustsEntry,
    UpstreamEntry,
)
from scopeward.policy.environments import Environment
from scopeward.policy.model import (
    Api,
    Caller,
    Client,
    ClientCertificate,
    Issuer,
    Narrowing,
    OddPath,
    PersonEvidence,
    Policy,
    Rule,
    Scope,
    Sends,
    To,
    Trust,
    Upstream,
)


@dataclass(frozen=True, slots=True)
class Part:
    """A file that is included, as diagnostics name it, and whose it is. ``document`` holds only names that no file before it has."""

    file: str
    document: IncludedDocument
    team: str | None


def freeze(document: PolicyDocument, parts: Sequence[Part] = (), environment: Environment | None = None) -> Policy:
    """The policy that the documents say, in the environment whose values are in them already."""
    issuers = tuple(_issuer(name, entry) for name, entry in document.issuers.items())
    only = issuers[0].name if issuers else ""
    default_to = _to(document.defaults.to)
    files = [(document, None, default_to), *((part.document, part.team, _narrowed(part, default_to)) for part in parts)]
    return Policy(
        public_url=document.public_url.rstrip("/"),
        issuers=issuers,
        scopes=tuple(_scope(name, entry, team) for file, team, _ in files for name, entry in file.scopes.items()),
        clients=tuple(_client(name, entry, only, team) for file, team, _ in files for name, entry in file.clients.items()),
        apis=tuple(_api(name, entry, issuers, to, team) for file, team, to in files for name, entry in file.apis.items()),
        trust=_trusts(document.trust),
        sends=_sends(document.defaults.sends),
        unlisted_clients=document.defaults.unlisted_clients,
        version=document.version,
        default_to=default_to,
        body_limit=document.defaults.limits.body,
        ca_bundle=document.network.ca_bundle,
        audit_on_full=document.audit.on_full,
        environment=None if environment is None else environment.name,
        confirm=environment is not None and environment.confirm,
        teams=tuple(document.teams),
        narrowings=tuple(Narrowing(part.file, _to(part.document.defaults.to)) for part in parts if part.document.defaults.to is not None),
    )


def _narrowed(part: Part, default_to: To) -> To:
    return default_to if part.document.defaults.to is None else _to(part.document.defaults.to)


def _scope(name: str, entry: ScopeEntry, team: str | None) -> Scope:
    allows = _distinct(entry.allows or [])
    return Scope(name, entry.says, team, "all" if "all" in allows else allows)


def _client(name: str, entry: ClientEntry, only_issuer: str, team: str | None) -> Client:
    issuer = entry.issuer if entry.issuer is not None else only_issuer
    return Client(name, entry.kind, issuer, entry.id, None if entry.may is None else _distinct(entry.may), team)


def _sends(entry: SendsEntry) -> Sends:
    return Sends(client=entry.client, subject=entry.subject, issuer=entry.issuer, scopes=entry.scopes, pass_=entry.pass_)


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
        jti=entry.jti,
        max_stale=int(entry.keys.max_stale),
    )


def _person(entry: PersonEntry) -> PersonEvidence:
    if entry.is_ is not None:
        return PersonEvidence(entry.claim, "is", entry.is_)
    if entry.not_ is not None:
        return PersonEvidence(entry.claim, "not", entry.not_)
    return PersonEvidence(entry.claim, "present")


def _trusts(entries: TrustsEntry) -> tuple[Trust, ...]:
    given = (_trust("external", entries.external), _trust("internal", entries.internal))
    return tuple(trust for trust in given if trust is not None)


def _trust(name: Literal["internal", "external"], entry: TrustEntry | None) -> Trust | None:
    if entry is None:
        return None
    max_stream = None if entry.max_stream is None else int(entry.max_stream)
    return Trust(name, int(entry.lifetime), entry.over, entry.log, max_stream)


def _api(name: str, entry: ApiEntry, issuers: tuple[Issuer, ...], default_to: To, team: str | None) -> Api:
    issuer = issuers[0] if issuers else None
    return Api(
        name=name,
        at=entry.at,
        issuer=issuer.name if issuer else "",
        audience=entry.audience or (issuer.audience if issuer else None) or "",
        upstream=_upstream(entry.upstream),
        rules=tuple(_rule(key, rule, default_to) for key, rule in entry.rules.items()),
        audience_stated=entry.audience is not None,
        client_certificate=None if entry.client_certificate is None else _client_certificate(entry.client_certificate),
        allow=_allowed(entry.path),
        slash=entry.slash,
        case=entry.case,
        team=team,
        default_to=default_to,
    )


def _client_certificate(entry: ClientCertificateEntry) -> ClientCertificate:
    return ClientCertificate(_distinct(entry.names))


def _allowed(entry: PathEntry | None) -> tuple[OddPath, ...]:
    """In the order of the language, so that the order of writing makes no other policy."""
    forms: tuple[OddPath, ...] = get_args(OddPath)
    return tuple(form for form in forms if entry is not None and form in entry.allow)


def _upstream(entry: UpstreamEntry) -> Upstream:
    return Upstream(
        url=entry.url,
        timeout=float(entry.timeout),
        host_header=entry.host_header,
        forward_token=entry.forward_token,
        client_certificate=entry.client_certificate,
        plaintext=entry.plaintext,
    )


def _rule(key: str, entry: RuleEntry, default_to: To) -> Rule:
    method, _, template = key.partition(" ")
    if entry.public is not None:
        return Rule(method, template, public=entry.public, stream=entry.stream)
    to = default_to if entry.to is None else _to(entry.to)
    return Rule(method, template, _distinct(entry.needs or []), to, stream=entry.stream)


def _to(words: list[str]) -> To:
    """Kinds apart from names. A client cannot be called as a kind is: the check of names refuses it."""
    kinds: tuple[Caller, ...] = get_args(Caller)
    return To(tuple(k for k in kinds if k in words), _distinct([w for w in words if w not in kinds]))


def _distinct(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))
