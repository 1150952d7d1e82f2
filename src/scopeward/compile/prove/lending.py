"""Proofs 8 to 10: what goes on to an upstream, and what of a caller's words does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scopeward.analysis.gateway import Gateway
from scopeward.compile.prove.reading import Fault, manager, routes, rule_key
from scopeward.compile.snapshot import Snapshot

PASS = "%DYNAMIC_METADATA(envoy.filters.http.rbac:pass_enforced_effective_policy_id)%"  # noqa: S105  # where it is found
ALL_TRAILERS = {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".*"}}}}


def prove_names(_snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """8."""
    used = [c.name for c in gateway.clients] + [i.name for i in gateway.issuers] + [s for c in gateway.clients for s in c.may or ()]
    used += [s for api in gateway.apis for o in api.operations for s in o.needs] + [api.name for api in gateway.apis]
    for name in used:
        if not name or any(c in "|* " or not c.isprintable() for c in name):
            yield f"the name {name!a} holds a delimiter"


def prove_lending(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """9. The pass says nothing of the caller, so it is not lending."""
    public = {o.id for api in gateway.apis for o in api.operations if o.public is not None}
    forwarding = {f"upstream.{api.name}" for api in gateway.apis if api.upstream.forward_token}
    own_pass = (gateway.sends.pass_ or "").lower()
    for route in routes(snapshot):
        mutations = _requests(route, "identity")
        written = {m["append"]["header"]["key"] for m in mutations if "append" in m}
        if written - {own_pass} and ("route" not in route or rule_key(route) in public):
            yield f"route {route['name']}: it lends identity without a rule"
        if {"remove": "authorization"} not in mutations and route.get("route", {}).get("cluster") not in forwarding:
            yield f"route {route['name']}: the caller's token would reach the upstream"
        if own_pass and "route" in route and not any(m.get("append", {}).get("header") == {"key": own_pass, "value": PASS} for m in mutations):
            yield f"route {route['name']}: it goes on without the pass"


def prove_headers(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """10."""
    early = manager(snapshot)["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    if early[:2] != [{"remove_on_match": {"key_matcher": {"prefix": p}}} for p in ("x-sw-", "x-envoy-")]:
        yield "a caller's x-sw-* or x-envoy-* headers are not removed before routing"
    own = {f["name"]: f.get("typed_config", {}) for f in manager(snapshot)["http_filters"]}
    if {"remove_on_match": {"key_matcher": {"prefix": "x-sw-"}}} not in own["scrub"]["mutations"].get("request_trailers_mutations", []):
        yield "a caller's x-sw-* trailers are not removed"
    if {"remove_on_match": {"key_matcher": {"prefix": "x-sw-"}}} not in own["identity"]["mutations"]["request_mutations"]:
        yield "x-sw-* headers would reach an upstream"
    yield from _prove_trailers(snapshot, gateway)
    sends = gateway.sends
    sent = {n.lower() for n in (sends.client, sends.subject, sends.issuer, sends.scopes, sends.pass_) if n}
    for config in snapshot.routes:
        for host in config["virtual_hosts"]:
            for kind, wanted in (("request_mutations", sent), ("request_trailers_mutations", sent | {"authorization"})):
                removed = {m.get("remove") for m in host["typed_per_filter_config"]["scrub"]["mutations"].get(kind, [])}
                yield from (f"a caller's {name} is not removed" for name in sorted(wanted - removed))


def _prove_trailers(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    grpc = {o.id for api in gateway.apis for o in api.operations if o.stream == "grpc"}
    for route in routes(snapshot):
        trailers = route["typed_per_filter_config"]["scrub"]["mutations"].get("request_trailers_mutations", [])
        if ALL_TRAILERS not in trailers and rule_key(route) not in grpc:
            yield f"route {route['name']}: a caller's trailers would reach an upstream"


def _requests(route: Any, name: str) -> list[Any]:
    found: list[Any] = route["typed_per_filter_config"].get(name, {}).get("mutations", {}).get("request_mutations", [])
    return found
