"""Proof before publication: a compiled snapshot is looked through for what Envoy accepts and what would still be wrong.

1.  The chain is whole and in order, no guarding filter is off or disabled anywhere, and a route replaces none of what decides.
2.  Every route asks jwt_authn for a requirement that exists.
3.  Every route sets a rule key, and the key is in *decide* (a key that is not there means "no rule").
4.  A route that may be passed without a token, or without an upstream's consent, is one that the gateway marks so.
5.  *enforce* ends in a denial, and each of its passes is one of the two verdicts.
6.  Every table and every nested tree has its own answer for what it does not find, and no ``ok`` is such an answer.
7.  *base* says ``ok`` and *decide* says ``rule.`` only where all of a list of positive predicates hold: the token's facts, the caller, and
    each scope that the rule needs.
8.  No name that travels in *who* holds a delimiter.
9.  A route lends identity only under a rule, and removes the caller's token unless its API forwards it.
10. No header of our own reaches an upstream, and none of a caller's reaches us.
11. Every TLS upstream verifies chain and name.
12. The path and the header names that are judged are those that go on.

It is written against the resources, not against the compiler: it shares no code with what it judges but the names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.snapshot import Resource, Snapshot
from scopeward.errors import ScopewardError

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
    "envoy.filters.http.router",
)
ROUTE_PARTS = frozenset({"scrub", "envoy.filters.http.jwt_authn", "identity"})
"""What a route says of itself: its rule key, what it asks for, what it lends. All the rest is one for all."""
HOST_PARTS = frozenset({"scrub"})
GUARDS = frozenset({"scrub", "envoy.filters.http.jwt_authn", "revoke-recent", "revoke-settled", "who", "base", "decide", "enforce", "identity"})
JWT = "envoy.filters.http.jwt_authn"
TABLES = ("revoke-recent", "revoke-settled", "who", "base", "decide")

BASE_FACTS = (
    "crit",
    "typ",
    "revoke_recent_enforced_effective_policy_id",
    "revoke_settled_enforced_effective_policy_id",
    "who_enforced_effective_policy_id",
    names.ACTOR,
    names.SUBJECT,
)
"""What *base* must have asked before it says ``ok``: keys of metadata and names of headers."""

Fault = str
Proof = Callable[[Snapshot, Gateway], Iterator[Fault]]


def prove(snapshot: Snapshot, gateway: Gateway) -> None:
    """Raise ``ScopewardError`` ``snapshot-unproven`` with every fault found. Pure."""
    faults = [fault for check in PROOFS for fault in _faults(check, snapshot, gateway)]
    if faults:
        raise ScopewardError("snapshot-unproven", "; ".join(faults[:10]))


def _faults(check: Proof, snapshot: Snapshot, gateway: Gateway) -> list[Fault]:
    """A snapshot in which a proof does not find what it looks at is not proven."""
    try:
        return list(check(snapshot, gateway))
    except (LookupError, AttributeError, TypeError, RuntimeError):
        return [f"{check.__name__}: the snapshot is not of the form that was proven"]


def _manager(snapshot: Snapshot) -> Any:
    return snapshot.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]


def _routes(snapshot: Snapshot) -> list[Any]:
    return [r for config in snapshot.routes for host in config["virtual_hosts"] for r in host["routes"]]


def _entries(snapshot: Snapshot) -> dict[str, Any]:
    entries: dict[str, Any] = snapshot.extensions["decide"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]
    return entries


def prove_chain(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """1."""
    if len(snapshot.listeners) != 1 or len(snapshot.listeners[0]["filter_chains"]) != 1:
        yield "there is not exactly one listener with one filter chain"
    filters = _manager(snapshot)["http_filters"]
    if tuple(f["name"] for f in filters) != CHAIN:
        yield "the filter chain is not the one that was proven"
    for f in filters:
        if f["name"] in GUARDS and f.get("disabled"):
            yield f"the guarding filter {f['name']} is off"
    for config in snapshot.routes:
        yield from _prove_parts(f"table {config['name']}", config.get("typed_per_filter_config", {}), frozenset())
        for host in config["virtual_hosts"]:
            yield from _prove_parts(f"virtual host {host['name']}", host.get("typed_per_filter_config", {}), HOST_PARTS)
    for route in _routes(snapshot):
        yield from _prove_parts(f"route {route['name']}", route["typed_per_filter_config"], ROUTE_PARTS)


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
    for route in _routes(snapshot):
        if route["typed_per_filter_config"].get(JWT, {}).get("requirement_name") not in known:
            yield f"route {route['name']}: its token requirement does not exist"


def prove_rules(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """3 and 4."""
    entries = _entries(snapshot)
    public = {o.id for api in gateway.apis for o in api.operations if o.public is not None}
    requirements = snapshot.extensions[JWT]["requirement_map"]
    for route in _routes(snapshot):
        key = rule_key(route)
        if key is None or key not in entries:
            yield f"route {route['name']}: its rule does not exist"
            continue
        requirement = requirements.get(route["typed_per_filter_config"].get(JWT, {}).get("requirement_name"), {})
        if "route" in route and key not in public and _optional(requirement):
            yield f"route {route['name']}: a guarded route does not demand a token"
        if "route" not in route and route.get("direct_response", {}).get("status") not in {403, 200}:
            yield f"route {route['name']}: it neither goes to an upstream nor is closed"
    for key, entry in entries.items():
        says_public = any(name.startswith("public.") for name in action_names(entry))
        if says_public and key not in public and key != names.RESOURCE_METADATA:
            yield f"rule {key}: public without a reason in the policy"


def rule_key(route: Any) -> str | None:
    """The key that the route's part of *scrub* sets, if it sets exactly one."""
    mutations = route["typed_per_filter_config"].get("scrub", {}).get("mutations", {}).get("request_mutations", [])
    keys: list[str] = [m["append"]["header"]["value"] for m in mutations if m.get("append", {}).get("header", {}).get("key") == names.RULE]
    overwrites = all(m["append"]["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD" for m in mutations if "append" in m)
    return keys[0] if len(keys) == 1 and overwrites else None


def _optional(requirement: Any) -> bool:
    text = str(requirement)
    return not requirement or "allow_missing" in text


def prove_enforce(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """5."""
    enforce = next(f["typed_config"] for f in _manager(snapshot)["http_filters"] if f["name"] == "enforce")
    if verb(enforce["matcher"].get("on_no_match")) != "DENY":
        yield "enforce does not end in a denial"
    cases = enforce["matcher"]["matcher_list"]["matchers"]
    passing = [string_match(case["predicate"]) for case in cases if verb(case["on_match"]) != "DENY"]
    if sorted(map(str, passing)) != sorted(map(str, ({"prefix": "public."}, {"prefix": "rule."}))):
        yield "enforce passes on something else than the two verdicts"


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


def prove_tables(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """6."""
    for name in TABLES:
        matcher = snapshot.extensions[name]["matcher"]
        if not matcher:
            yield f"{name}: a tree has no answer for what it does not find"
        for tree in _matchers(matcher):
            if "on_no_match" not in tree:
                yield f"{name}: a tree has no answer for what it does not find"
            if not _asks_a_header(tree):
                yield f"{name}: a tree over something else than a header never matches"
            if name == "base" and "ok" in action_names(tree.get("on_no_match", {})):
                yield "base: what is not found is ok"
        if any(verb_of == "DENY" for verb_of in _verbs(matcher)):
            yield f"{name}: a table denies"
    yield from _prove_unknown(snapshot.extensions["who"]["matcher"], gateway)
    if not _refuses(snapshot.extensions["decide"]["matcher"]["on_no_match"]):
        yield "decide: what is not found passes"


def _prove_unknown(who: Any, gateway: Gateway) -> Iterator[Fault]:
    """Whom *who* does not list is nobody; under ``as_person`` at most a person without a client."""
    if not all(name.startswith("refused.") for name in action_names(who["on_no_match"])):
        yield "who: an unknown issuer is somebody"
    nobody = ("refused.", "person - ") if gateway.unlisted_clients == "as_person" else ("refused.",)
    for issuer in _on_matches(who):
        found = action_names(issuer["matcher"].get("on_no_match", {})) if "matcher" in issuer else action_names(issuer)
        if not all(name.startswith(nobody) for name in found):
            yield "who: an unlisted client is somebody"


def _refuses(on_match: Any) -> bool:
    return not any(name.startswith(("rule.", "public.")) for name in action_names(on_match))


def _asks_a_header(matcher: Any) -> bool:
    tree = matcher.get("matcher_tree")
    return tree is None or tree["input"]["typed_config"]["@type"].endswith("HttpRequestHeaderMatchInput")


def prove_decide(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """7, for *decide*."""
    needs = {o.id: o.needs for api in gateway.apis for o in api.operations}
    for key, entry in _entries(snapshot).items():
        if "action" in entry and any(n.startswith("rule.") for n in action_names(entry)):
            yield f"rule {key}: passes whatever the call is"
        for case in _cases(entry):
            if any(n.startswith("rule.") for n in action_names(case["on_match"])) and not _needs_base_ok(case["predicate"]):
                yield f"rule {key}: passes without the token's facts"
            elif any(n.startswith("rule.") for n in action_names(case["on_match"])):
                yield from _prove_asked(key, _conjuncts(case["predicate"]), needs.get(key))
        for tree in _matchers(entry.get("matcher", {})):
            if any(n.startswith("rule.") for n in action_names(tree.get("on_no_match", {}))):
                yield f"rule {key}: what matches nothing passes"


def prove_base(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """7, for *base*."""
    for branch in _cases({"matcher": snapshot.extensions["base"]["matcher"]}):
        if "ok" in action_names(branch["on_match"]):
            asked = [str(part) for part in _conjuncts(branch["predicate"])]
            missing = [fact for fact in BASE_FACTS if not any(f"'{fact}'" in part for part in asked)]
            if missing or len(asked) < len(BASE_FACTS):  # the second: all in one alternative would be none
                yield f"base: ok without all of its facts: {', '.join(missing) or 'not each by itself'}"


def _prove_asked(key: str, asked: list[Any], needs: tuple[str, ...] | None) -> Iterator[Fault]:
    """A predicate over the caller, and one for each scope."""
    of_caller = [part for part in asked if "who_enforced_effective_policy_id" in str(part)]
    of_token = str([part for part in asked if part not in of_caller and "not_matcher" not in part])
    if not any("not_matcher" not in part for part in of_caller):
        yield f"rule {key}: passes whoever calls"
    if needs is None or not all(repr(scope)[1:-1] in of_token or repr(re.escape(scope))[1:-1] in of_token for scope in needs):
        yield f"rule {key}: passes without the scope"


def _needs_base_ok(predicate: Any) -> bool:
    wanted = [{"key": "base_enforced_effective_policy_id"}]
    for part in _conjuncts(predicate):
        single = part.get("single_predicate", {})
        if single.get("input", {}).get("typed_config", {}).get("path") == wanted:
            test: object = single["custom_match"]["typed_config"]["value"]
            return test == {"string_match": {"exact": "ok"}}
    return False


def _conjuncts(predicate: Any) -> list[Any]:
    return list(predicate["and_matcher"]["predicate"]) if "and_matcher" in predicate else [predicate]


def prove_names(_snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """8."""
    used = [c.name for c in gateway.clients] + [i.name for i in gateway.issuers] + [s for c in gateway.clients for s in c.may or ()]
    used += [s for api in gateway.apis for o in api.operations for s in o.needs] + [api.name for api in gateway.apis]
    for name in used:
        if not name or any(c in "|* " or not c.isprintable() for c in name):
            yield f"the name {name!a} holds a delimiter"


def prove_lending(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """9."""
    public = {o.id for api in gateway.apis for o in api.operations if o.public is not None}
    forwarding = {f"upstream.{api.name}" for api in gateway.apis if api.upstream.forward_token}
    for route in _routes(snapshot):
        mutations = route["typed_per_filter_config"].get("identity", {}).get("mutations", {}).get("request_mutations", [])
        lends = any("append" in m for m in mutations)
        if lends and ("route" not in route or rule_key(route) in public):
            yield f"route {route['name']}: it lends identity without a rule"
        if {"remove": "authorization"} not in mutations and route.get("route", {}).get("cluster") not in forwarding:
            yield f"route {route['name']}: the caller's token would reach the upstream"


def prove_headers(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """10."""
    manager = _manager(snapshot)
    early = manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    if early[:2] != [{"remove_on_match": {"key_matcher": {"prefix": p}}} for p in ("x-sw-", "x-envoy-")]:
        yield "a caller's x-sw-* or x-envoy-* headers are not removed before routing"
    own = {f["name"]: f.get("typed_config", {}) for f in manager["http_filters"]}
    identity = own["identity"]
    if {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".*"}}}} not in own["scrub"]["mutations"].get("request_trailers_mutations", []):
        yield "a caller's trailers would reach an upstream"
    if {"remove_on_match": {"key_matcher": {"prefix": "x-sw-"}}} not in identity["mutations"]["request_mutations"]:
        yield "x-sw-* headers would reach an upstream"
    sent = {n.lower() for n in (gateway.sends.client, gateway.sends.subject, gateway.sends.issuer, gateway.sends.scopes) if n}
    for config in snapshot.routes:
        for host in config["virtual_hosts"]:
            removed = {m.get("remove") for m in host["typed_per_filter_config"]["scrub"]["mutations"]["request_mutations"]}
            yield from (f"a caller's {name} is not removed" for name in sorted(sent - removed))


def prove_upstreams(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """11."""
    secure = {f"upstream.{api.name}" for api in gateway.apis if api.upstream.url.startswith("https://")}
    for cluster in snapshot.clusters:
        if cluster["name"] not in secure:
            continue
        tls = cluster.get("transport_socket", {}).get("typed_config", {})
        context = tls.get("common_tls_context", {}).get("validation_context", {})
        verified = context.get("trust_chain_verification", "VERIFY_TRUST_CHAIN") == "VERIFY_TRUST_CHAIN"
        if not verified or not context.get("trusted_ca") or not context.get("match_typed_subject_alt_names"):
            yield f"{cluster['name']}: TLS is not verified"


def prove_edge(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """12."""
    manager = _manager(snapshot)
    wanted = {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "REJECT_REQUEST"}
    if {key: manager.get(key) for key in wanted} != wanted:
        yield "the path is not normalized before it is judged"
    if manager["common_http_protocol_options"].get("headers_with_underscores_action") != "REJECT_REQUEST":
        yield "header names with '_' are not refused"


PROOFS: tuple[Proof, ...] = (
    prove_chain,
    prove_requirements,
    prove_rules,
    prove_enforce,
    prove_tables,
    prove_decide,
    prove_base,
    prove_names,
    prove_lending,
    prove_headers,
    prove_upstreams,
    prove_edge,
)


def _on_matches(matcher: Any) -> Iterator[Any]:
    yield from (case["on_match"] for case in matcher.get("matcher_list", {}).get("matchers", []))
    yield from matcher.get("matcher_tree", {}).get("exact_match_map", {}).get("map", {}).values()
    if "on_no_match" in matcher:
        yield matcher["on_no_match"]


def _matchers(matcher: Any) -> Iterator[Any]:
    """A matcher and all that are nested in it."""
    if not matcher:
        return
    yield matcher
    for on_match in _on_matches(matcher):
        yield from _matchers(on_match.get("matcher"))


def _cases(on_match: Any) -> Iterator[Any]:
    for matcher in _matchers(on_match.get("matcher")):
        yield from matcher.get("matcher_list", {}).get("matchers", [])


def action_names(on_match: Resource) -> list[str]:
    """The names of all actions that an on_match can end in."""
    if "action" in on_match:
        return [on_match["action"]["typed_config"]["name"]]
    return [name for inner in _on_matches(on_match.get("matcher", {})) for name in action_names(inner)]


def _verbs(matcher: Any) -> Iterator[str]:
    for on_match in _on_matches(matcher):
        if "action" in on_match:
            yield on_match["action"]["typed_config"]["action"]
        else:
            yield from _verbs(on_match.get("matcher", {}))
