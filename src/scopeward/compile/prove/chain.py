"""Proofs 1 to 5: the chain, what routes ask for, and who denies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.prove.reading import JWT, Fault, action_names, entries, manager, on_matches, routes, rule_key, string_match, verb
from scopeward.compile.snapshot import Snapshot

CHAIN = (
    "upstream401",
    "cors",
    "scrub",
    "authz",
    "envoy.filters.http.jwt_authn",
    "revoke-recent",
    "revoke-settled",
    "who",
    "who-candidate",
    "base",
    "decide",
    "record",
    "enforce",
    "pass",
    "identity",
    "credential",
    "rate-limit",
    "body-limit",
    "envoy.filters.http.router",
)
ROUTE_PARTS = frozenset({"scrub", "envoy.filters.http.jwt_authn", "identity"})
"""What a route says of itself: its rule key, what it asks for, what it lends. All the rest is one for all."""
HOST_PARTS = frozenset({"scrub"})
GUARDS = frozenset({"scrub", "envoy.filters.http.jwt_authn", "revoke-recent", "revoke-settled", "who", "base", "decide", "enforce", "identity"})
DOCUMENTS = frozenset({names.RESOURCE_METADATA, names.PASS_KEYS})
"""What the gateway itself tells everybody."""


def prove_chain(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """1."""
    if len(snapshot.listeners) != 1 or len(snapshot.listeners[0]["filter_chains"]) != 1:
        yield "there is not exactly one listener with one filter chain"
    filters = manager(snapshot)["http_filters"]
    if tuple(f["name"] for f in filters) != CHAIN:
        yield "the filter chain is not the one that was proven"
    for f in filters:
        if f["name"] in GUARDS and f.get("disabled"):
            yield f"the guarding filter {f['name']} is off"
    for config in snapshot.routes:
        yield from _prove_parts(f"table {config['name']}", config.get("typed_per_filter_config", {}), frozenset())
        for host in config["virtual_hosts"]:
            yield from _prove_parts(f"virtual host {host['name']}", host.get("typed_per_filter_config", {}), HOST_PARTS)
    streams = {o.id for api in gateway.apis for o in api.operations if o.stream}
    for route in routes(snapshot):
        parts = dict(route["typed_per_filter_config"])
        if rule_key(route) in streams:
            parts.pop("body-limit", None)  # what goes on without end has no length
        yield from _prove_parts(f"route {route['name']}", parts, ROUTE_PARTS)


def _prove_parts(place: str, parts: Any, allowed: frozenset[str]) -> Iterator[Fault]:
    for name, config in parts.items():
        if name not in CHAIN:
            yield f"{place}: {name} is no filter of the chain"
        elif config.get("disabled") or config["@type"].endswith("FilterConfig"):
            yield f"{place}: {name} is switched there"
        elif name not in allowed:
            yield f"{place}: {name} is replaced there"


def prove_requirements(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """2."""
    known = snapshot.extensions[JWT]["requirement_map"]
    for route in routes(snapshot):
        if route["typed_per_filter_config"].get(JWT, {}).get("requirement_name") not in known:
            yield f"route {route['name']}: its token requirement does not exist"


def prove_rules(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """3 and 4."""
    known = entries(snapshot)
    public = {o.id for api in gateway.apis for o in api.operations if o.public is not None}
    requirements = snapshot.extensions[JWT]["requirement_map"]
    for route in routes(snapshot):
        key = rule_key(route)
        if key is None or key not in known:
            yield f"route {route['name']}: its rule does not exist"
            continue
        requirement = requirements.get(route["typed_per_filter_config"].get(JWT, {}).get("requirement_name"), {})
        if "route" in route and key not in public and _optional(requirement):
            yield f"route {route['name']}: a guarded route does not demand a token"
        if "route" not in route and route.get("direct_response", {}).get("status") not in {403, 200}:
            yield f"route {route['name']}: it neither goes to an upstream nor is closed"
    for key, entry in known.items():
        says_public = any(name.startswith("public.") for name in action_names(entry))
        if says_public and key not in public and key not in DOCUMENTS:
            yield f"rule {key}: public without a reason in the policy"


def _optional(requirement: Any) -> bool:
    text = str(requirement)
    return not requirement or "allow_missing" in text


def prove_enforce(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """5."""
    enforce = next(f["typed_config"] for f in manager(snapshot)["http_filters"] if f["name"] == "enforce")
    if verb(enforce["matcher"].get("on_no_match")) != "DENY":
        yield "enforce does not end in a denial"
    cases = enforce["matcher"]["matcher_list"]["matchers"]
    passing = [string_match(case["predicate"]) for case in cases if verb(case["on_match"]) != "DENY"]
    if sorted(map(str, passing)) != sorted(map(str, ({"prefix": "public."}, {"prefix": "rule."}))):
        yield "enforce passes on something else than the two verdicts"
    if any("matcher" in on_match for on_match in on_matches(enforce["matcher"])):
        yield "enforce asks further where it should answer"
