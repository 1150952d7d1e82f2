"""The effective policy of one API: every value that holds for it, with the place where it was said, or none where it is a default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scopeward.policy.diagnostic import Span
from scopeward.policy.model import Api, Issuer, PersonEvidence, Policy, Rule, To, Trust
from scopeward.policy.source import INCLUDED, Loaded
from scopeward.policy.tree import Scalar, Spans

Path = tuple[str | int, ...]
Plain = str | int | float | bool | list[str] | None


@dataclass(frozen=True, slots=True)
class Value:
    """One value. ``source`` is where it was said, ``None`` for a default; ``filled`` are the places of the environment's values in it."""

    name: str
    value: Plain
    source: Span | None
    filled: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """A rule with its values: ``needs`` and ``to``, or ``public``; and ``stream`` where it has one."""

    operation: str
    source: Span
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Effective:
    """All of it, in the order in which a reader asks: the API, its issuer, its upstream, what is sent, limits; then the rules."""

    api: str
    team: str | None
    environment: str | None
    source: Span
    values: tuple[Value, ...]
    rules: tuple[EffectiveRule, ...]


@dataclass(frozen=True, slots=True)
class _Places:
    """Where values are written."""

    spans: Spans

    def value(self, name: str, value: Plain, *paths: Path) -> Value:
        """The value with the first of the places at which something is written."""
        for path in paths:
            node = self.spans.exact(path)
            if node is not None:
                return Value(name, value, self.spans.of(path), node.filled if isinstance(node, Scalar) else ())
        return Value(name, value, None)


def effective(loaded: Loaded, name: str) -> Effective | None:
    """The effective policy of the API of this name, ``None`` where there is none."""
    policy, places = loaded.policy, _Places(loaded.spans)
    api = next((api for api in policy.apis if api.name == name), None)
    if api is None:
        return None
    issuer = next((issuer for issuer in policy.issuers if issuer.name == api.issuer), None)
    values = [*_api(api, issuer, places), *(_issuer(issuer, policy, places) if issuer else ()), *_upstream(api, places), *_whole(policy, places)]
    source = loaded.spans.key(("apis", name))
    return Effective(name, api.team, policy.environment, source, tuple(values), tuple(_rule(api, rule, source.file, places) for rule in api.rules))


def _api(api: Api, issuer: Issuer | None, places: _Places) -> Iterator[Value]:
    at: Path = ("apis", api.name)
    yield places.value("at", api.at, (*at, "at"))
    yield places.value("audience", api.audience, (*at, "audience"), *([("issuers", issuer.name, "audience")] if issuer else []))
    certificate = api.client_certificate
    yield places.value("client_certificate", None if certificate is None else list(certificate.names) or "required", (*at, "client_certificate"))
    yield places.value("path.allow", list(api.allow), (*at, "path", "allow"))
    yield places.value("slash", api.slash, (*at, "slash"))
    yield places.value("case", api.case, (*at, "case"))


def _issuer(issuer: Issuer, policy: Policy, places: _Places) -> Iterator[Value]:
    at: Path = ("issuers", issuer.name)
    yield Value("issuer", issuer.name, places.spans.key(at))
    for name in ("issuer", "clock_skew", "typ", "client_claim", "scope_form"):
        yield places.value(f"issuer.{name}", _seconds(name, getattr(issuer, name)), (*at, name))
    yield places.value("issuer.person", _person(issuer.person), (*at, "person"))
    yield places.value("issuer.jti", issuer.jti, (*at, "jti"))
    yield places.value("issuer.keys.max_stale", _seconds("max_stale", issuer.max_stale), (*at, "keys", "max_stale"))
    yield places.value("issuer.trust", issuer.trust, (*at, "trust"))
    trust = next((trust for trust in policy.trust if trust.name == issuer.trust), None)
    yield from _trust(trust, places) if trust else ()


def _trust(trust: Trust, places: _Places) -> Iterator[Value]:
    for name in ("lifetime", "over", "log", "max_stream"):
        yield places.value(f"trust.{name}", _seconds(name, getattr(trust, name)), ("trust", trust.name, name))


def _upstream(api: Api, places: _Places) -> Iterator[Value]:
    at: Path = ("apis", api.name, "upstream")
    short = [at] if isinstance(places.spans.exact(at), Scalar) else []
    yield places.value("upstream.url", api.upstream.url, (*at, "url"), *short)
    for name in ("timeout", "host_header", "forward_token", "client_certificate", "plaintext"):
        yield places.value(f"upstream.{name}", _seconds(name, getattr(api.upstream, name)), (*at, name))


def _whole(policy: Policy, places: _Places) -> Iterator[Value]:
    yield places.value("unlisted_clients", policy.unlisted_clients, ("defaults", "unlisted_clients"))
    sends = {
        "client": policy.sends.client,
        "subject": policy.sends.subject,
        "issuer": policy.sends.issuer,
        "scopes": policy.sends.scopes,
        "pass": policy.sends.pass_,
    }
    for name, header in sends.items():
        yield places.value(f"sends.{name}", header, ("defaults", "sends", name))
    yield places.value("limits.body", _bytes(policy.body_limit), ("defaults", "limits", "body"))
    yield places.value("public_url", policy.public_url, ("public_url",))
    yield places.value("network.ca_bundle", policy.ca_bundle, ("network", "ca_bundle"))
    yield places.value("audit.on_full", policy.on_full, ("audit", "on_full"))


def _rule(api: Api, rule: Rule, file: str, places: _Places) -> EffectiveRule:
    at: Path = ("apis", api.name, "rules", rule.operation)
    values = []
    if rule.public is not None:
        values.append(places.value("public", rule.public, (*at, "public")))
    else:
        values.append(places.value("needs", list(rule.needs), (*at, "needs")))
        values.append(places.value("to", _words(rule.to), (*at, "to"), (INCLUDED, file, "defaults", "to"), ("defaults", "to")))
    if rule.stream is not None:
        values.append(places.value("stream", rule.stream, (*at, "stream")))
    return EffectiveRule(rule.operation, places.spans.key(at), tuple(values))


def _words(to: To) -> list[str]:
    return [*to.kinds, *to.clients]


def _person(person: PersonEvidence | None) -> str | None:
    if person is None:
        return None
    return f"{person.claim} {person.test}" + (f" {person.value}" if person.test != "present" else "")


def _seconds(name: str, value: Any) -> Any:
    """A duration with its unit, as it is written; whatever else as it is."""
    if name not in {"clock_skew", "timeout", "lifetime", "max_stream", "max_stale"} or value is None:
        return value
    if value != int(value):
        return f"{round(value * 1000)}ms"
    return _measured(int(value), (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)))


def _bytes(value: int) -> str:
    return _measured(value, (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)))


def _measured(value: int, units: tuple[tuple[str, int], ...]) -> str:
    """In the largest unit of which it is a whole number."""
    unit, size = next((unit, size) for unit, size in units if value % size == 0)
    return f"{value // size}{unit}"
