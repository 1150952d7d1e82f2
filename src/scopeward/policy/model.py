"""The policy as frozen values: what a person wrote, with defaults filled in and nothing looked up yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ClientKind = Literal["app", "service", "agent"]
"""``app``: people use it and its tokens speak for them. ``service`` and ``agent`` act themselves, also for a person."""

Caller = Literal["people", "services", "agents"]

StreamKind = Literal["sse", "websocket", "grpc"]
"""An operation whose answer does not end by itself: server-sent events, a WebSocket (RFC 6455, RFC 8441), or gRPC."""

OddPath = Literal["semicolon", "percent", "space", "dot"]
"""What a path may hold only where its API allows it, since servers strip or fold it: ``;``, ``%25``, ``%20``, and a dot that ends a segment."""

OnFull = Literal["refuse", "count"]
"""What happens to calls whose audit line could not be written: they are refused, or the lost lines are counted."""


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
    ``jti`` is ``required`` where a token without an id is refused, since it could not be revoked by it. ``max_stale`` is how long, in seconds,
    the last good keys serve while the issuer publishes none that are usable.
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
    jti: Literal["optional", "required"] = "optional"
    max_stale: int = 86_400


@dataclass(frozen=True, slots=True)
class Trust:
    """How long a token may live: ``exp - iat`` in seconds; a token over it is refused, or left to readers of the audit line's ``iat`` and ``exp``.

    ``log`` is ``full`` where no call with such a token may go unrecorded (see ``Policy.on_full``). ``max_stream`` is the longest duration, in
    seconds, of a stream that such a token opened.
    """

    name: Literal["internal", "external"]
    lifetime: int
    over: Literal["report", "refuse"] = "report"
    log: Literal["normal", "full"] = "normal"
    max_stream: int | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """An entry of the dictionary of scopes: a verb first, then its object.

    ``team`` is whose it is, ``None`` the whole policy's. ``allows`` are the other teams whose rules may need it, or all of them.
    """

    name: str
    says: str
    team: str | None = None
    allows: tuple[str, ...] | Literal["all"] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client, the pair (issuer, id). ``may`` bounds what its tokens' scopes can do here; ``None`` is no bound."""

    name: str
    kind: ClientKind
    issuer: str
    id: str
    may: tuple[str, ...] | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True)
class To:
    """Whom a rule lets in, by the current actor: kinds, and clients by name."""

    kinds: tuple[Caller, ...] = ("people", "services")
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One operation of an API. ``template`` is relative to the API: ``/{id}``, ``/items/**``; ``/`` is the API's ``at`` itself.

    ``needs`` lists scopes that must all be there. ``public`` is the reason why no token is asked for, or ``None``. ``stream`` says that the
    answer goes on, for as long as the trust in the token's issuer allows.
    """

    method: str
    template: str
    needs: tuple[str, ...] = ()
    to: To = field(default_factory=To)
    public: str | None = None
    stream: StreamKind | None = None

    @property
    def operation(self) -> str:
        """How the policy writes it, and its key there: ``GET /{id}``."""
        return f"{self.method} {self.template}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where calls go. ``timeout`` (seconds) is the longest wait for the first byte of the answer, and between two bytes of it.

    ``client_certificate`` is where the certificate and key are with which the gateway shows itself: ``file:/path.pem``. ``plaintext`` is the
    reason why calls go there in clear text though it is not on loopback.
    """

    url: str
    timeout: float = 30.0
    host_header: Literal["upstream", "caller"] = "upstream"
    forward_token: bool = False
    client_certificate: str | None = None
    plaintext: str | None = None


@dataclass(frozen=True, slots=True)
class Sends:
    """Names of the identity headers that an upstream receives; ``None`` sends none. All are scrubbed from every call first.

    ``pass_`` is the header of the gateway's pass. It goes with every call that is let go on, and says nothing of the caller.
    """

    client: str | None = "x-agw-client-id"
    subject: str | None = "x-agw-subject"
    issuer: str | None = None
    scopes: str | None = None
    pass_: str | None = "x-scopeward-pass"  # noqa: S105 - the name of a header


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A call must come with a client certificate that the node's authorities signed; with ``names``, one with such a subject alternative name.

    A name is ``dns:…`` or ``uri:…``, compared whole: equal text of another type is another name. It counts only where it is the certificate's
    only name of its type.
    """

    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Api:
    """A protected upstream, at a path prefix of the gateway.

    ``audience_stated`` tells an audience of the API's own from its issuer's, filled in; ``audience`` is empty where neither says one,
    which the checks refuse. ``allow`` are the odd forms of path that are not refused. ``slash`` is ``same`` where a path with a slash at its end
    is the one without. ``case`` is ``sensitive`` where the upstream tells ``/ADMIN`` from ``/admin``; else another spelling of a literal
    segment is refused where it would fall to a rule that asks less. ``default_to`` is what its rules without ``to`` were given.
    """

    name: str
    at: str
    issuer: str
    audience: str
    upstream: Upstream
    rules: tuple[Rule, ...]
    audience_stated: bool = True
    client_certificate: ClientCertificate | None = None
    allow: tuple[OddPath, ...] = ()
    slash: Literal["exact", "same"] = "exact"
    case: Literal["guarded", "sensitive"] = "guarded"
    team: str | None = None
    default_to: To = field(default_factory=To)


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What a file that is included says of its own defaults: ``to`` for its rules that say none."""

    file: str
    to: To


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole of it. ``public_url`` is the address under which callers reach the gateway, for RFC 9728 metadata.

    ``default_to`` is filled into every rule that does not say ``to``; it stays here so that a fault in it is reported once. ``body_limit`` is in
    bytes. ``ca_bundle`` is the path of the authorities (PEM) that TLS upstreams are verified against; ``None`` is the system's. ``environment`` is
    the one that was chosen, ``None`` where the policy has none; ``confirm`` says that it is not applied there without asking. ``teams`` are those
    that the policy lists.
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
    body_limit: int = 10 * 1024 * 1024
    ca_bundle: str | None = None
    audit_on_full: OnFull | None = None
    environment: str | None = None
    confirm: bool = False
    teams: tuple[str, ...] = ()
    narrowings: tuple[Narrowing, ...] = ()

    @property
    def on_full(self) -> OnFull:
        """What the policy says of calls that leave no audit line; where it says nothing, a trust with ``log: full`` refuses them."""
        return self.audit_on_full or ("refuse" if any(t.log == "full" for t in self.trust) else "count")
