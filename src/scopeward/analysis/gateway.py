"""The gateway model: the policy with all names resolved and all facts filled in. It knows no engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scopeward.policy.model import ClientKind, PersonEvidence, Sends, To, Upstream


@dataclass(frozen=True, slots=True)
class IssuerFacts:
    """What was fetched from an issuer: its usable public keys as a canonical JSON text (RFC 7517 section 5)."""

    issuer: str
    jwks: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that resolve needs and no policy says. ``issuers`` is keyed by the issuer's name in the policy."""

    issuers: Mapping[str, IssuerFacts]
    revoked: tuple[Revoked, ...] = ()


@dataclass(frozen=True, slots=True)
class Revoked:
    """A token id that is no longer good, as the pair with its issuer (the value of ``iss``, not the policy's name)."""

    issuer: str
    token_id: str


@dataclass(frozen=True, slots=True)
class GatewayIssuer:
    """An issuer with its keys. ``lifetime`` bounds ``exp - iat`` in seconds where the policy refuses longer tokens."""

    name: str
    issuer: str
    jwks: str
    clock_skew: int
    typ: Literal["at+jwt", "any"]
    client_claim: str
    person: PersonEvidence | None
    lifetime: int | None = None
    scope_form: Literal["any", "string"] = "any"


@dataclass(frozen=True, slots=True)
class GatewayClient:
    """A client as the pair (issuer name, client id). ``may`` is ``None`` where the policy sets no bound."""

    name: str
    kind: ClientKind
    issuer: str
    client_id: str
    may: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Operation:
    """A rule in its place. ``id`` is a hash of all that decides it, so that a stale id can only mean "no rule"."""

    id: str
    method: str
    template: str
    needs: tuple[str, ...]
    to: To
    public: str | None


@dataclass(frozen=True, slots=True)
class GatewayApi:
    """An API with its full path templates (``at`` and the rule's template joined) and the audience its tokens must name."""

    name: str
    at: str
    resource: str
    issuer: str
    audience: str
    upstream: Upstream
    operations: tuple[Operation, ...]


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a compiler needs, and nothing else. ``policy_version`` is a hash of the whole model but the keys and revocations."""

    policy_version: str
    public_url: str
    issuers: tuple[GatewayIssuer, ...]
    clients: tuple[GatewayClient, ...]
    apis: tuple[GatewayApi, ...]
    sends: Sends
    unlisted_clients: Literal["refuse", "as_person"]
    revoked: tuple[Revoked, ...] = field(default=())
