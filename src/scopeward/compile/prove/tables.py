"""Proofs 6 and 7: the tables answer for everything, and say yes only where all that is needed was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scopeward.analysis.gateway import Gateway, GatewayIssuer
from scopeward.compile.envoy import names
from scopeward.compile.prove.reading import Fault, action_names, cases, conjuncts, entries, matchers, on_matches, verbs
from scopeward.compile.snapshot import Resource, Snapshot
from scopeward.errors import ScopewardError

REVOCATION_TABLES = ("revoke-recent", "revoke-settled")
TABLES = ("who", "base", "decide", "pass")

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


def prove_tables(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """6."""
    for name in TABLES:
        matcher = snapshot.extensions[name]["matcher"]
        if not matcher:
            yield f"{name}: a tree has no answer for what it does not find"
        for tree in matchers(matcher):
            if "on_no_match" not in tree:
                yield f"{name}: a tree has no answer for what it does not find"
            if not _asks_a_header(tree):
                yield f"{name}: a tree over something else than a header never matches"
            if name == "base" and "ok" in action_names(tree.get("on_no_match", {})):
                yield "base: what is not found is ok"
        if any(verb_of == "DENY" for verb_of in verbs(matcher)):
            yield f"{name}: a table denies"
    yield from _prove_unknown(snapshot.extensions["who"]["matcher"], gateway)
    if not _refuses(snapshot.extensions["decide"]["matcher"]["on_no_match"]):
        yield "decide: what is not found passes"


def prove_revocation(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """6, for the revocation tables: an entry that does not apply goes on to what is asked next, and that always answers."""
    for name in REVOCATION_TABLES:
        yield from _prove_revocations(name, snapshot.extensions[name]["matcher"])


def prove_revocation_table(name: str, table: Resource) -> None:
    """The same for one table that is pushed alone. Errors: ``snapshot-unproven``."""
    faults = list(_prove_revocations(name, table["matcher"]))
    if faults:
        raise ScopewardError("snapshot-unproven", "; ".join(faults[:10]))


def _prove_revocations(name: str, matcher: Any) -> Iterator[Fault]:
    if not set(action_names({"matcher": matcher})) <= {"live", "revoked"} or "DENY" in set(verbs(matcher)):
        yield f"{name}: it says something else than live and revoked"
    if not all(_asks_a_header(tree) for tree in matchers(matcher)):
        yield f"{name}: a tree over something else than a header never matches"
    issuers = [entry.get("matcher", {}) for entry in _entries(matcher)]
    if not all(_answers(chain) for chain in (matcher, *issuers)):
        yield f"{name}: a tree has no answer for what it does not find"
    if any("live" in action_names(entry) for of_issuer in issuers for entry in _entries(of_issuer)):
        yield f"{name}: an entry ends the search with live"


def _answers(matcher: Any) -> bool:
    """Whether it says something of what it does not find, at the latest where all of its questions were asked."""
    otherwise = matcher.get("on_no_match", {})
    return "action" in otherwise or ("matcher" in otherwise and _answers(otherwise["matcher"]))


def _entries(matcher: Any) -> Iterator[Any]:
    """What can be found in it, one question after the other."""
    if matcher:
        yield from (on_match for on_match in on_matches(matcher) if on_match is not matcher.get("on_no_match"))
        yield from _entries(matcher.get("on_no_match", {}).get("matcher"))


def _prove_unknown(who: Any, gateway: Gateway) -> Iterator[Fault]:
    """Whom *who* does not list is nobody; under ``as_person`` at most a person without a client."""
    if not all(name.startswith("refused.") for name in action_names(who["on_no_match"])):
        yield "who: an unknown issuer is somebody"
    nobody = ("refused.", "person - ") if gateway.unlisted_clients == "as_person" else ("refused.",)
    for issuer in on_matches(who):
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
    certified = {o.id for api in gateway.apis if api.client_certificate is not None for o in api.operations}
    for key, entry in entries(snapshot).items():
        if "action" in entry and (key in certified or any(n.startswith("rule.") for n in action_names(entry))):
            yield f"rule {key}: passes whatever the call is"
        for case in cases(entry):
            passes = any(n.startswith(("rule.", "public.")) for n in action_names(case["on_match"]))
            if passes and key in certified and not any(_asks_certificate(part) for part in conjuncts(case["predicate"])):
                yield f"rule {key}: passes without a client certificate"
            if any(n.startswith("rule.") for n in action_names(case["on_match"])):
                if not _needs_base_ok(case["predicate"]):
                    yield f"rule {key}: passes without the token's facts"
                yield from _prove_asked(key, conjuncts(case["predicate"]), needs.get(key))
        for tree in matchers(entry.get("matcher", {})):
            if not _refuses(tree.get("on_no_match", {})):
                yield f"rule {key}: what matches nothing passes"


def _asks_certificate(predicate: Any) -> bool:
    """Every alternative of it looks at the certificate."""
    several = predicate.get("or_matcher", {}).get("predicate", [predicate])
    return all(".ssl.v3." in str(one.get("single_predicate", {}).get("input", "")) for one in several)


def prove_base(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """7, for *base*."""
    matcher = snapshot.extensions["base"]["matcher"]
    for branch in cases({"matcher": matcher}):
        if "ok" in action_names(branch["on_match"]):
            yield from _prove_facts(branch, BASE_FACTS)
    branches = matcher.get("matcher_tree", {}).get("exact_match_map", {}).get("map", {})
    for issuer in gateway.issuers:
        for branch in cases(branches[issuer.issuer]):
            if "ok" in action_names(branch["on_match"]):
                yield from _prove_facts(branch, _further_facts(issuer))


def _further_facts(issuer: GatewayIssuer) -> tuple[str, ...]:
    asked = [(names.NOW, issuer.good_until is not None), (names.TOKEN_ID, issuer.jti == "required"), (names.EXPIRES, issuer.lifetime is not None)]
    return tuple(fact for fact, wanted in asked if wanted)


def _prove_facts(branch: Any, facts: tuple[str, ...]) -> Iterator[Fault]:
    asked = [str(part) for part in conjuncts(branch["predicate"])]
    missing = [fact for fact in facts if not any(f"'{fact}'" in part for part in asked)]
    if missing or len(asked) < len(facts):  # the second: all in one alternative would be none
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
    for part in conjuncts(predicate):
        single = part.get("single_predicate", {})
        if single.get("input", {}).get("typed_config", {}).get("path") == wanted:
            test: object = single["custom_match"]["typed_config"]["value"]
            return test == {"string_match": {"exact": "ok"}}
    return False
