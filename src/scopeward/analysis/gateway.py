"""The gateway model: the policy with all names resolved and all facts filled in. It knows no engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from scopeward.policy.model import ClientCertificate, ClientKind, OddPath, PersonEvidence, Sends, StreamKind, To, Upstream

NO_KEYS = '{"keys":[]}'
"""An empty JWK set (RFC 7517 section 5)."""


@dataclass(frozen=True, slots=True)
class IssuerFacts:
    """What was fetched from an issuer: its usable public keys as a canonical JSON text (RFC 7517 section 5).

    ``good_until`` (seconds since the epoch) is when they are too old to be believed; ``None`` is never.
    """

    issuer: str
    jwks: str
    good_until: int | None = None


RevokedWhat = Literal["token-id", "client", "subject", "issuer"]
"""What a revocation is about: one token by its ``jti``, a client's, a subject's, or all tokens of the issuer."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Tokens that are no longer good, always of one issuer (the value of ``iss``, not the policy's name).

    ``value`` is the ``jti``, the client id or the subject; empty for ``issuer``. ``before`` (seconds since the epoch) keeps tokens good whose
    ``iat`` is that or later; ``None`` revokes later ones too. A token id has no ``before``.
    """

    issuer: str
    what: RevokedWhat
    value: str = ""
    before: int | None = None

    def covers(self, other: Revocation) -> bool:
        """Whether it revokes at least the tokens of ``other``, which has the same issuer, what and value."""
        return self.before is None or (other.before is not None and self.before >= other.before)


def strongest(revocations: Iterable[Revocation]) -> dict[tuple[str, RevokedWhat, str], Revocation]:
    """One for each issuer, what and value: the one that covers the others. A table can hold no more."""
    found: dict[tuple[str, RevokedWhat, str], Revocation] = {}
    for revocation in revocations:
        key = (revocation.issuer, revocation.what, revocation.value)
        known = found.get(key)
        if known is None or revocation.covers(known):
            found[key] = revocation
    return found


@dataclass(frozen=True, slots=True)
class Facts:
    """All that resolve needs and no policy says. ``issuers`` is keyed by the issuer's name in the policy.

    ``recent`` and ``settled`` are revocations; the first are few and change often. ``passes`` are the gateway's passes by API name, and
    ``pass_keys`` is the JWK set that verifies them.
    """

    issuers: Mapping[str, IssuerFacts]
    recent: tuple[Revocation, ...] = ()
    settled: tuple[Revocation, ...] = ()
    passes: Mapping[str, str] = field(default_factory=dict, repr=False)
    pass_keys: str = NO_KEYS


@dataclass(frozen=True, slots=True)
class GatewayIssuer:
    """An issuer with its keys. ``lifetime`` bounds ``exp - iat`` in seconds where the policy refuses longer tokens.

    ``longest_stream`` is in seconds; ``good_until`` is as in ``IssuerFacts``.
    """

    name: str
    issuer: str
    jwks: str
    clock_skew: int
    typ: Literal["at+jwt", "any"]
    client_claim: str
    person: PersonEvidence | None
    lifetime: int | None = None
    scope_form: Literal["any", "string"] = "any"
    jti: Literal["optional", "required"] = "optional"
    good_until: int | None = None
    longest_stream: int = 3600


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
    """A rule in its place. ``id`` is a hash of all that decides it, so that a stale id can only mean "no rule".

    ``guards_spelling`` says that other spellings of its literals are refused: they could fall to a rule that asks less. ``guards_slash`` says the
    same of its paths with a slash at their end.
    """

    id: str
    method: str
    template: str
    needs: tuple[str, ...]
    to: To
    public: str | None
    stream: StreamKind | None = None
    guards_spelling: bool = False
    guards_slash: bool = False


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
    client_certificate: ClientCertificate | None = None
    allow: tuple[OddPath, ...] = ()
    slash: Literal["exact", "same"] = "exact"
    case: Literal["guarded", "sensitive"] = "guarded"


@dataclass(frozen=True, slots=True)
class Gateway:
    """What a compiler needs, and nothing else. ``policy_version`` is a hash of all of it that the policy says, and of nothing that was fetched."""

    policy_version: str
    public_url: str
    issuers: tuple[GatewayIssuer, ...]
    clients: tuple[GatewayClient, ...]
    apis: tuple[GatewayApi, ...]
    sends: Sends
    unlisted_clients: Literal["refuse", "as_person"]
    body_limit: int = 10 * 1024 * 1024
    ca_bundle: str | None = None
    recent: tuple[Revocation, ...] = ()
    settled: tuple[Revocation, ...] = ()
    passes: Mapping[str, str] = field(default_factory=dict, repr=False)
    pass_keys: str = NO_KEYS
    environment: str | None = None
