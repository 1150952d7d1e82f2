"""The policy as frozen values: what a person wrote, with defaults filled in and nothing looked up yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ClientKind = Literal["app", "service", "agent"]
"""``app``: people use it and its tokens speak for them. ``service`` and ``agent`` act themselves, also for a person."""

Caller = Literal["people", "services", "agents"]


@dataclass(frozen=True, slots=True)
class PersonEvidence:
    """What in a token proves that it speaks for a person: the claim equals ``value``, is there, or is there and differs."""

    claim: str
    test: Literal["is", "present", "not"]
    value: str = ""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs tokens.

    ``issuer`` is compared code point by code point with ``iss`` (RFC 8414 section 3.3). ``clock_skew`` is in seconds.
    ``scope_form`` is ``string`` where its tokens always carry their scopes as one string: reading arrays too costs every call more.
    ``typ`` is ``at+jwt`` where the issuer marks access tokens as RFC 9068 does, else ``any``: then an ID token is told by its claims.
    """

    name: str
    issuer: str
    audience: str | None
    clock_skew: int = 30
    typ: Literal["at+jwt", "any"] = "any"
    client_claim: str = "client_id"
    person: PersonEvidence | None = None
    trust: Literal["internal", "external"] = "external"
    scope_form: Literal["any", "string"] = "any"


@dataclass(frozen=True, slots=True)
class Trust:
    """How long a token may live: ``exp - iat`` in seconds; a token over it is refused, or left to readers of the audit line's ``iat`` and ``exp``."""

    name: Literal["internal", "external"]
    lifetime: int
    over: Literal["report", "refuse"] = "report"


@dataclass(frozen=True, slots=True)
class Scope:
    """An entry of the dictionary of scopes: a verb first, then its object."""

    name: str
    says: str


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client, the pair (issuer, id). ``may`` bounds what its tokens' scopes can do here; ``None`` is no bound."""

    name: str
    kind: ClientKind
    issuer: str
    id: str
    may: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class To:
    """Whom a rule lets in, by the current actor: kinds, and clients by name."""

    kinds: tuple[Caller, ...] = ("people", "services")
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One operation of an API. ``template`` is relative to the API: ``/{id}``, ``/items/**``; ``/`` is the API's ``at`` itself.

    ``needs`` lists scopes that must all be there. ``public`` is the reason why no token is asked for, or ``None``.
    """

    method: str
    template: str
    needs: tuple[str, ...] = ()
    to: To = field(default_factory=To)
    public: str | None = None

    @property
    def operation(self) -> str:
        """How the policy writes it, and its key there: ``GET /{id}``."""
        return f"{self.method} {self.template}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where calls go. ``timeout`` (seconds) is the longest wait for the first byte of the answer, and between two bytes of it."""

    url: str
    timeout: float = 30.0
    host_header: Literal["upstream", "caller"] = "upstream"
    forward_token: bool = False


@dataclass(frozen=True, slots=True)
class Sends:
    """Names of the identity headers that an upstream receives; ``None`` sends none. All are scrubbed from every call first."""

    client: str | None = "x-agw-client-id"
    subject: str | None = "x-agw-subject"
    issuer: str | None = None
    scopes: str | None = None


@dataclass(frozen=True, slots=True)
class Api:
    """A protected upstream, at a path prefix of the gateway.

    ``audience_stated`` tells an audience of the API's own from its issuer's, filled in; ``audience`` is empty where neither says one,
    which the checks refuse.
    """

    name: str
    at: str
    issuer: str
    audience: str
    upstream: Upstream
    rules: tuple[Rule, ...]
    audience_stated: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of it. ``public_url`` is the address under which callers reach the gateway, for RFC 9728 metadata.

    ``default_to`` is filled into every rule that does not say ``to``; it stays here so that a fault in it is reported once.
    """

    public_url: str
    issuers: tuple[Issuer, ...]
    scopes: tuple[Scope, ...]
    clients: tuple[Client, ...]
    apis: tuple[Api, ...]
    trust: tuple[Trust, ...] = ()
    sends: Sends = field(default_factory=Sends)
    unlisted_clients: Literal["refuse", "as_person"] = "refuse"
    version: int = 1
    default_to: To = field(default_factory=To)
