"""Reading a snapshot's resources: what all proofs look at, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.snapshot import Resource, Snapshot

JWT = "envoy.filters.http.jwt_authn"

Fault = str
Proof = Callable[[Snapshot, Gateway], Iterator[Fault]]


def manager(snapshot: Snapshot) -> Any:
    """The HTTP connection manager of the one listener."""
    return snapshot.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]


def routes(snapshot: Snapshot) -> list[Any]:
    """All routes of all virtual hosts."""
    return [r for config in snapshot.routes for host in config["virtual_hosts"] for r in host["routes"]]


def entries(snapshot: Snapshot) -> dict[str, Any]:
    """*decide*'s answers by rule key."""
    found: dict[str, Any] = snapshot.extensions["decide"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]
    return found


def rule_key(route: Any) -> str | None:
    """The key that the route's part of *scrub* sets, if it sets exactly one."""
    mutations = route["typed_per_filter_config"].get("scrub", {}).get("mutations", {}).get("request_mutations", [])
    keys: list[str] = [m["append"]["header"]["value"] for m in mutations if m.get("append", {}).get("header", {}).get("key") == names.RULE]
    overwrites = all(m["append"]["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD" for m in mutations if "append" in m)
    return keys[0] if len(keys) == 1 and overwrites else None


def verb(on_match: Any) -> str | None:
    """ALLOW or DENY, or ``None`` where nothing is said."""
    return None if not on_match or "action" not in on_match else on_match["action"]["typed_config"]["action"]


def string_match(predicate: Any) -> Any:
    """The string test of a predicate over *decide*'s value, or the predicate itself where it is another one."""
    single = predicate.get("single_predicate", {})
    path = single.get("input", {}).get("typed_config", {}).get("path")
    if path != [{"key": "decide_enforced_effective_policy_id"}]:
        return predicate
    return single["custom_match"]["typed_config"]["value"]["string_match"]


def conjuncts(predicate: Any) -> list[Any]:
    """The parts that must all hold."""
    return list(predicate["and_matcher"]["predicate"]) if "and_matcher" in predicate else [predicate]


def on_matches(matcher: Any) -> Iterator[Any]:
    """All that a matcher can end in."""
    yield from (case["on_match"] for case in matcher.get("matcher_list", {}).get("matchers", []))
    yield from matcher.get("matcher_tree", {}).get("exact_match_map", {}).get("map", {}).values()
    if "on_no_match" in matcher:
        yield matcher["on_no_match"]


def matchers(matcher: Any) -> Iterator[Any]:
    """A matcher and all that are nested in it."""
    if not matcher:
        return
    yield matcher
    for on_match in on_matches(matcher):
        yield from matchers(on_match.get("matcher"))


def cases(on_match: Any) -> Iterator[Any]:
    """All cases with a predicate, however deep."""
    for matcher in matchers(on_match.get("matcher")):
        yield from matcher.get("matcher_list", {}).get("matchers", [])


def action_names(on_match: Resource) -> list[str]:
    """The names of all actions that an on_match can end in."""
    if "action" in on_match:
        return [on_match["action"]["typed_config"]["name"]]
    return [name for inner in on_matches(on_match.get("matcher", {})) for name in action_names(inner)]


def verbs(matcher: Any) -> Iterator[str]:
    """Every ALLOW or DENY."""
    for on_match in on_matches(matcher):
        if "action" in on_match:
            yield on_match["action"]["typed_config"]["action"]
        else:
            yield from verbs(on_match.get("matcher", {}))
