"""The policy file's form: what may stand where. Here a file enters, so here is pydantic; beyond it are frozen dataclasses.

The descriptions are the reference that editors show (``schema.json_schema``).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scopeward.policy.environments import NAME
from scopeward.policy.model import OnFull, StreamKind
from scopeward.policy.scalars import (
    ENVIRONMENT_KEY_PATTERN,
    URL_SCHEMA,
    At,
    BodySize,
    CertificateNames,
    CertificatePlace,
    ClientId,
    FilePath,
    Flag,
    Lifetime,
    Name,
    NameKey,
    Names,
    OddPaths,
    Omittable,
    OperationKey,
    Owners,
    Patterns,
    PlaintextReason,
    Prose,
    PublicReason,
    Shorthand,
    Skew,
    SomeNames,
    Stale,
    StreamLife,
    Text,
    Timeout,
    Version,
    WebOrigin,
    WebUrl,
    Word,
    refuse,
)


class Entry(BaseModel):
    """A mapping of the policy file."""

    model_config = ConfigDict(
        extra="forbid",  # a key that is not understood is a rule that would not be kept
        hide_input_in_errors=True,  # the input may be a secret
        frozen=True,
    )


class EnvironmentEntry(Entry):
    """A place where the policy is in force: the values of '${env.…}' there, under names of your own."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"propertyNames": {"pattern": ENVIRONMENT_KEY_PATTERN, "not": {"const": NAME}}})

    __pydantic_extra__: dict[str, Word] = {}

    confirm: Flag = Field(False, description="'true': 'scopeward apply' asks before it puts a policy in force there.")

    @model_validator(mode="before")
    @classmethod
    def _has_names(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key == NAME:
                raise refuse("policy-value", "'name' is the environment's own name, and cannot be given")
            if not re.fullmatch(ENVIRONMENT_KEY_PATTERN, key):
                raise refuse("name-not-usable", "a value's name is letters, digits, '_' and '-', a letter or '_' first")
        return value


class TeamEntry(Entry):
    """A team: who owns its files, and which those are."""

    files: Omittable[Patterns] = Field(
        None, description="The team's files, as in 'include'. They belong to it whatever they say, and no other file can say that it does."
    )
    owners: Omittable[Owners] = Field(None, description="Who owns its files, for 'scopeward codeowners': '@acme/orders'.")


class PersonEntry(Entry):
    """What proves that a token speaks for a person: exactly one of 'is', 'present' and 'not'."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["is"]}, {"required": ["not"]}, {"required": ["present"], "properties": {"present": {"const": True}}}]}
    )

    claim: Word = Field(description="The claim of the token that tells a person from a machine.")
    is_: Omittable[Word] = Field(None, alias="is", description="A person when the claim equals this text.")
    present: Omittable[Flag] = Field(None, description="'true': a person when the claim is there.")
    not_: Omittable[Word] = Field(None, alias="not", description="A person when the claim is there and differs from this text.")

    @model_validator(mode="after")
    def _exactly_one(self) -> PersonEntry:
        given = [v for v in (self.is_, self.present, self.not_) if v is not None]
        if not given:
            raise refuse("policy-missing-key", "one of 'is', 'present' and 'not' is needed beside 'claim'")
        if len(given) > 1:
            raise refuse("policy-value", "only one of 'is', 'present' and 'not' may stand beside 'claim'")
        if self.present is False:
            raise refuse("policy-value", "'present' takes only true; leave 'person' out where nothing proves a person")
        return self


class KeysEntry(Entry):
    """How an issuer's keys are kept."""

    max_stale: Stale = Field(
        "24h",
        validate_default=True,
        description="How long the last good keys serve while the issuer publishes none that are usable, from 1m to 30d; then its tokens are refused.",
    )


class IssuerEntry(Entry):
    """Who signs tokens."""

    issuer: WebUrl = Field(description="The issuer's URL, exactly as 'iss' has it (RFC 8414 section 3.3).")
    audience: Omittable[Word] = Field(None, description="What 'aud' must name, where an API states no audience of its own.")
    clock_skew: Skew = Field("30s", validate_default=True, description="By how much the issuer's clock may differ, such as '30s'; at most 10m.")
    typ: Literal["at+jwt", "any"] = Field("any", description="'at+jwt' where the issuer marks access tokens as RFC 9068 does.")
    client_claim: Word = Field("client_id", description="The claim that names the client: 'client_id' (RFC 9068), 'azp', 'appid', 'cid'.")
    scope_form: Literal["any", "string"] = Field(
        "any", description="'string' where scopes are always one string ('a b'): faster; a token with an array of scopes then has none."
    )
    person: Omittable[PersonEntry] = Field(None, description="What proves that a token speaks for a person; without it nobody is a person.")
    trust: Literal["internal", "external"] = Field("external", description="Which entry of 'trust' bounds its tokens, and says how they are logged.")
    jti: Literal["optional", "required"] = Field(
        "optional", description="'required': a token without an id ('jti') is refused, so that each token can be revoked by itself."
    )
    keys: KeysEntry = Field(default_factory=lambda: KeysEntry.model_validate({}), description="How the issuer's keys are kept.")


class TrustEntry(Entry):
    """How long a token may live, and how its calls are logged."""

    lifetime: Lifetime = Field(description="The longest 'exp' minus 'iat', such as '15m'.")
    over: Literal["report", "refuse"] = Field(
        "report", description="'refuse' a token that lives longer, or leave it to whoever reads 'iat' and 'exp' in the audit line."
    )

    log: Literal["normal", "full"] = Field("normal", description="'full': no call may go unrecorded; then 'audit.on_full' is 'refuse' where nothing is said.")
    max_stream: Omittable[StreamLife] = Field(
        None, description="The longest duration of a stream, from 1s to 7d, such as '30m'. Left out: the 'lifetime' where 'over: refuse', else an hour at most."
    )


class TrustsEntry(Entry):
    """Lifetimes and logging by trust."""

    internal: Omittable[TrustEntry] = Field(None, description="For issuers with 'trust: internal'.")
    external: Omittable[TrustEntry] = Field(None, description="For issuers with 'trust: external'.")


class SendsEntry(Entry):
    """Headers that tell an upstream who calls, and that the call came through the gateway. A name of 'null' sends none."""

    client: Text | None = Field("x-agw-client-id", description="Header with the client id.")
    subject: Text | None = Field("x-agw-subject", description="Header with the subject.")
    issuer: Text | None = Field(None, description="Header with the issuer.")
    scopes: Text | None = Field(None, description="Header with the token's scopes.")
    pass_: Text | None = Field("x-scopeward-pass", alias="pass", description="Header with the gateway's pass: this call came through the gateway.")


class LimitsEntry(Entry):
    """How much a call may be."""

    body: BodySize = Field("10MiB", validate_default=True, description="The largest body of a call, from 1KiB to 1GiB, such as '10MiB'.")


class DefaultsEntry(Entry):
    """What holds where nothing else is said."""

    to: SomeNames = Field(["people", "services"], description="Whom rules without 'to' let in: people, services, agents, or clients by name.")
    unlisted_clients: Literal["refuse", "as_person"] = Field("refuse", description="Whether a person's token by a client that is not listed is refused.")
    sends: SendsEntry = Field(SendsEntry.model_construct(), description="Headers that the gateway adds for upstreams.")
    limits: LimitsEntry = Field(default_factory=lambda: LimitsEntry.model_validate({}), description="How much a call may be.")


class ScopeEntry(Entry):
    """A scope of the dictionary."""

    says: Prose = Field(description="What the scope lets its holder do, for people.")
    allows: Omittable[Names] = Field(None, description="Other teams whose rules may need it, or 'all'. Left out: the team's own only.")


class ClientEntry(Entry):
    """An OAuth client."""

    kind: Literal["app", "service", "agent"] = Field(description="'app': people use it. 'service' and 'agent' act themselves, also for a person.")
    issuer: Omittable[Text] = Field(None, description="The issuer's name here; the only one where left out.")
    id: ClientId = Field(description="The client id, as the issuer's 'client_claim' has it; or a mapping from environments to ids.")
    may: Omittable[Names] = Field(None, description="The only scopes this client can use here, whatever its tokens hold. Left out: no bound.")


class RuleEntry(Entry):
    """Who may call an operation: 'needs' and 'to', or 'public' with a reason."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["public"], "not": {"anyOf": [{"required": ["needs"]}, {"required": ["to"]}]}},
                {"anyOf": [{"required": ["needs"]}, {"required": ["to"]}], "not": {"required": ["public"]}},
            ]
        }
    )

    needs: Omittable[Names] = Field(None, description="A scope, or a list of which all are needed.")
    to: Omittable[SomeNames] = Field(None, description="Whom the rule lets in: people, services, agents, or clients by name.")
    public: Omittable[PublicReason] = Field(None, description="Why everybody may call this without a token.")
    stream: Omittable[StreamKind] = Field(
        None, description="The answer goes on: server-sent events, a WebSocket or gRPC. Left out: it ends, and an upgrade is refused."
    )

    @model_validator(mode="after")
    def _says_something(self) -> RuleEntry:
        if self.public is not None and (self.needs is not None or self.to is not None):
            raise refuse("policy-value", "a public rule asks nothing of the caller: it takes no 'needs' and no 'to'")
        if self.public is None and self.needs is None and self.to is None:
            raise refuse("policy-missing-key", "a rule says 'needs', 'to' or 'public'")
        return self


class UpstreamEntry(Entry):
    """Where calls go."""

    url: WebUrl = Field(description="http(s)://host[:port][/path].")
    timeout: Timeout = Field(
        "30s", validate_default=True, description="Longest wait for the first byte of the answer, and for each further one, such as '30s'."
    )
    host_header: Literal["upstream", "caller"] = Field("upstream", description="Whose Host the upstream sees.")
    forward_token: Flag = Field(False, description="Whether the caller's token goes on to the upstream.")
    client_certificate: Omittable[CertificatePlace] = Field(
        None, description="The file with certificate and key (PEM) with which the gateway shows itself to the upstream: 'file:/path.pem'."
    )
    plaintext: Omittable[PlaintextReason] = Field(None, description="Why calls may go there in clear text, where the URL is http and not on loopback.")


def _short_upstream(value: object) -> object:
    return {"url": value} if isinstance(value, str) else value


class ClientCertificateEntry(Entry):
    """Which client certificates an API takes."""

    names: CertificateNames = Field(
        description="Subject alternative names, of which the certificate must have one, as its only one of that type: 'dns:client.example', 'uri:spiffe://…'."
    )


def _short_certificate(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value != "required":
        raise refuse("policy-value", "'required', or a mapping with 'names', is needed here")
    return ClientCertificateEntry.model_construct(names=[])


class PathEntry(Entry):
    """Which odd forms of path an API takes; what is not named here is refused, since servers read it in different ways."""

    allow: OddPaths = Field(description="'semicolon' (;), 'percent' (%25), 'space' (%20), 'dot' (a segment that ends in a dot), or a list.")


class ApiEntry(Entry):
    """A protected upstream at a path of the gateway."""

    at: At = Field(description="The path prefix, such as '/orders/v1'.")
    audience: Omittable[Word] = Field(None, description="What 'aud' must name; the issuer's where left out. Needed with two or more APIs.")
    upstream: Annotated[UpstreamEntry, BeforeValidator(_short_upstream), Shorthand(URL_SCHEMA)] = Field(
        description="Where calls go: a URL, or a mapping with 'url'."
    )
    rules: dict[OperationKey, RuleEntry] = Field(description="By operation, such as 'GET /{id}'. What no rule covers is refused.")
    client_certificate: Omittable[
        Annotated[ClientCertificateEntry, BeforeValidator(_short_certificate), Shorthand({"type": "string", "const": "required"})]
    ] = Field(None, description="Calls need a client certificate that the node's authorities signed: any ('required'), or one of the 'names'.")
    path: Omittable[PathEntry] = Field(None, description="Which odd forms of path are taken; without it none is.")
    slash: Literal["exact", "same"] = Field("exact", description="'same' where a path with a slash at its end is the one without.")
    case: Literal["guarded", "sensitive"] = Field(
        "guarded",
        description="'guarded': another spelling of a literal segment is refused where a '{parameter}' would take it and ask less. 'sensitive' where the upstream "
        "tells /ADMIN from /admin.",
    )


class NetworkEntry(Entry):
    """How the gateway reaches others."""

    ca_bundle: Omittable[FilePath] = Field(None, description="File of the authorities (PEM) that verify TLS upstreams; the system's where left out.")


class AuditEntry(Entry):
    """The record of calls."""

    on_full: Omittable[OnFull] = Field(
        None,
        description="Calls that cannot be recorded are refused ('refuse'), or let go on and counted ('count'). Left out: 'refuse' where a trust says "
        "'log: full', else 'count'.",
    )


class NarrowedDefaultsEntry(Entry):
    """What holds for the rules of a file that is included; it can only ask more than the policy's own defaults."""

    to: Omittable[SomeNames] = Field(None, description="Whom rules without 'to' let in: some of those that the policy's 'defaults' let in.")


class Sections(Entry):
    """What every file of a policy may hold."""

    version: Omittable[Version] = Field(None, description="The version of the language: 1.")
    scopes: dict[NameKey, ScopeEntry] = Field({}, description="Every scope with what it means; a verb first: 'read.orders'.")
    clients: dict[NameKey, ClientEntry] = Field({}, description="The OAuth clients that may call.")
    apis: dict[NameKey, ApiEntry] = Field({}, description="The protected upstreams. May be left out where 'include' is said.")


SECTIONS = tuple(name for name in Sections.model_fields if name != "version")
"""The keys whose entries are collected from all files; a name is good in all of them, and stands in one."""


class PolicyDocument(Sections):
    """A Scopeward policy: who may call what."""

    version: Version = Field(description="The version of the language: 1.")
    include: Omittable[Patterns] = Field(None, description="Other files of the policy, below this one's folder: a path with '*' and '?', or a list.")
    environments: dict[Name, EnvironmentEntry] = Field({}, description="Where the policy is in force. Each gives the same values.")
    teams: dict[Name, TeamEntry] = Field({}, description="The teams. Without it a file that is included may name any.")
    owners: Omittable[Owners] = Field(None, description="Who owns all files that are no team's, for 'scopeward codeowners'.")
    public_url: WebOrigin = Field(description="How callers reach the gateway: http(s)://host[:port].")
    issuers: dict[NameKey, IssuerEntry] = Field(description="Who signs tokens. This version takes exactly one.")
    trust: TrustsEntry = Field(TrustsEntry.model_construct(), description="How long tokens may live, and how their calls are logged, by the issuer's trust.")
    defaults: DefaultsEntry = Field(DefaultsEntry.model_construct(), description="What holds where nothing else is said.")
    network: NetworkEntry = Field(NetworkEntry.model_construct(), description="How the gateway reaches others.")
    audit: AuditEntry = Field(AuditEntry.model_construct(), description="The record of calls.")


class WholeDocument(PolicyDocument):
    """A policy that includes nothing."""

    apis: dict[NameKey, ApiEntry] = Field(description="The protected upstreams.")


class HeadDocument(Entry):
    """What of a policy must be understood before the rest is: of any other key this says nothing."""

    model_config = ConfigDict(extra="ignore")

    include: Omittable[Patterns] = None
    environments: dict[Name, EnvironmentEntry] = Field({})
    teams: dict[Name, TeamEntry] = Field({})
    owners: Omittable[Owners] = None


class IncludedDocument(Sections):
    """A file that a policy includes: a team's, or another part of the platform's."""

    team: Omittable[Name] = Field(None, description="The team whose file this is. Left out: as 'teams' says, else nobody's.")
    defaults: NarrowedDefaultsEntry = Field(NarrowedDefaultsEntry.model_construct(), description="What holds for the rules of this file.")
