"""A fault planted in each kind of file: the proof refuses the snapshot and names the fault. The numbers are those of ``prove``'s list."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scopeward.analysis.gateway import Gateway
from scopeward.compile import prove as proof
from scopeward.compile.prove import PROOFS, prove
from scopeward.compile.prove import _faults as faults_of
from scopeward.errors import ScopewardError
from tests.kit.compiling import Draft, compiled, unproven

CASES = Path(__file__).parents[2] / "compile" / "cases"
POLICY = (CASES / "orders" / "policy.yaml").read_bytes().replace(b"http://127.0.0.1:9001/api", b"https://orders.example/api")
PREPARED = compiled(POLICY)
JWT = "envoy.filters.http.jwt_authn"

Plant = Callable[[Draft], object]


def action(name: str, verb: str = "ALLOW") -> dict[str, Any]:
    return {"action": {"name": "action", "typed_config": {"@type": "type.googleapis.com/envoy.config.rbac.v3.Action", "name": name, "action": verb}}}


def filters(draft: Draft, ending: str) -> Any:
    return draft.route(ending)["typed_per_filter_config"]


def mutations(draft: Draft, ending: str, name: str) -> Any:
    return filters(draft, ending)[name]["mutations"]["request_mutations"]


def cases(matcher: Any) -> Any:
    return matcher["matcher"]["matcher_list"]["matchers"]


def base_of_issuer(draft: Draft) -> Any:
    return draft.extensions["base"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]["https://idp.test/"]


def who_of_issuer(draft: Draft) -> Any:
    return draft.extensions["who"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]["https://idp.test/"]["matcher"]


def allowing(conjuncts: list[Any], kept: Callable[[Any], bool]) -> None:
    conjuncts[:] = [c for c in conjuncts if kept(c)]


def swap(items: list[Any], one: int, other: int) -> None:
    items[one], items[other] = items[other], items[one]


GET_ORDER = "orders GET /orders/v1/**"
POST = "orders POST /orders/v1"
HEALTH = "orders GET /orders/v1/health"
REST = "orders - -"
REQUIRED = next(r for r in compiled(POLICY).snapshot.extensions[JWT]["requirement_map"] if r.startswith("required."))
OPTIONAL = REQUIRED.replace("required.", "optional.")

PLANTED: dict[str, tuple[int, Plant, str]] = {
    "listener: a filter is missing": (1, lambda d: d.manager["http_filters"].remove(d.filter("enforce")), "not the one that was proven"),
    "listener: two filters changed places": (1, lambda d: swap(d.manager["http_filters"], 9, 10), "not the one that was proven"),
    "listener: a filter nobody knows": (1, lambda d: d.manager["http_filters"].insert(3, {"name": "lua"}), "not the one that was proven"),
    "listener: a guard is off": (1, lambda d: d.filter("decide").update(disabled=True), "guarding filter decide is off"),
    "listener: identity is off": (1, lambda d: d.filter("identity").update(disabled=True), "guarding filter identity is off"),
    "listener: a second chain": (
        1,
        lambda d: d.listeners[0]["filter_chains"].append(copy.deepcopy(d.listeners[0]["filter_chains"][0])),
        "not exactly one listener",
    ),
    "listener: a second listener": (1, lambda d: d.listeners.append(copy.deepcopy(d.listeners[0])), "not exactly one listener"),
    "routes: a guard is switched off": (
        1,
        lambda d: filters(d, GET_ORDER).update(enforce={"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}),
        "enforce is switched there",
    ),
    "routes: the token is not asked for": (1, lambda d: filters(d, GET_ORDER)[JWT].update(disabled=True), "is switched there"),
    "routes: a part for no filter": (1, lambda d: filters(d, GET_ORDER).update({"decyde": filters(d, GET_ORDER)["scrub"]}), "decyde is no filter"),
    "routes: another decision by the route": (
        1,
        lambda d: filters(d, GET_ORDER).update(decide={"@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"}),
        "decide is replaced there",
    ),
    "virtual host: a guard is switched off": (
        1,
        lambda d: d.host["typed_per_filter_config"].update(enforce={"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}),
        "enforce is switched there",
    ),
    "routes: an unknown requirement": (2, lambda d: filters(d, GET_ORDER)[JWT].update(requirement_name="required.0"), "token requirement does not exist"),
    "routes: no requirement": (2, lambda d: filters(d, GET_ORDER).pop(JWT), "token requirement does not exist"),
    "jwt_authn: a requirement is gone": (2, lambda d: d.extensions[JWT]["requirement_map"].pop(REQUIRED), "token requirement does not exist"),
    "routes: an unknown rule": (
        3,
        lambda d: mutations(d, GET_ORDER, "scrub")[0]["append"]["header"].update(value="0123456789ab"),
        "its rule does not exist",
    ),
    "routes: no rule": (3, lambda d: mutations(d, GET_ORDER, "scrub").clear(), "its rule does not exist"),
    "routes: two rules": (3, lambda d: mutations(d, GET_ORDER, "scrub").append(mutations(d, POST, "scrub")[0]), "its rule does not exist"),
    "routes: the caller's rule stays": (
        3,
        lambda d: mutations(d, GET_ORDER, "scrub")[0]["append"].update(append_action="ADD_IF_ABSENT"),
        "its rule does not exist",
    ),
    "decide: an entry is gone": (3, lambda d: d.entries().pop(next(k for k in d.entries() if d.entries()[k] is d.rule(POST))), "its rule does not exist"),
    "routes: a guarded route takes calls without a token": (
        4,
        lambda d: filters(d, GET_ORDER)[JWT].update(requirement_name=OPTIONAL),
        "does not demand a token",
    ),
    "jwt_authn: a requirement takes calls without a token": (
        4,
        lambda d: d.extensions[JWT]["requirement_map"].update({REQUIRED: {"allow_missing_or_failed": {}}}),
        "does not demand a token",
    ),
    "jwt_authn: a requirement of nothing": (4, lambda d: d.extensions[JWT]["requirement_map"].update({REQUIRED: {}}), "does not demand a token"),
    "routes: a closed route redirects": (
        4,
        lambda d: (d.route(REST).pop("direct_response"), d.route(REST).update(redirect={"host_redirect": "elsewhere.example"})),
        "neither goes to an upstream nor is closed",
    ),
    "decide: a guarded rule is public": (
        4,
        lambda d: d.rule(GET_ORDER).update(action("public.x")) or d.rule(GET_ORDER).pop("matcher"),
        "public without a reason",
    ),
    "listener: enforce ends in yes": (
        5,
        lambda d: d.filter("enforce")["typed_config"]["matcher"].update(on_no_match=action("pass")),
        "does not end in a denial",
    ),
    "listener: enforce ends in nothing": (5, lambda d: d.filter("enforce")["typed_config"]["matcher"].pop("on_no_match"), "does not end in a denial"),
    "listener: enforce passes a refusal": (
        5,
        lambda d: cases(d.filter("enforce")["typed_config"])[3].update(on_match=action("pass")),
        "passes on something else",
    ),
    "listener: enforce passes a shorter prefix": (
        5,
        lambda d: cases(d.filter("enforce")["typed_config"])[0]["predicate"]["single_predicate"]["custom_match"]["typed_config"]["value"].update(
            string_match={"prefix": "r"}
        ),
        "passes on something else",
    ),
    "listener: enforce passes what another table says": (
        5,
        lambda d: cases(d.filter("enforce")["typed_config"])[0]["predicate"]["single_predicate"]["input"]["typed_config"].update(
            path=[{"key": "who_enforced_effective_policy_id"}]
        ),
        "passes on something else",
    ),
    "who: a tree without an answer": (6, lambda d: who_of_issuer(d).pop("on_no_match"), "who: a tree has no answer"),
    "base: a tree without an answer": (6, lambda d: base_of_issuer(d)["matcher"].pop("on_no_match"), "base: a tree has no answer"),
    "decide: a tree without an answer": (6, lambda d: d.rule(GET_ORDER)["matcher"].pop("on_no_match"), "decide: a tree has no answer"),
    "revoke-settled: a table without an answer": (
        6,
        lambda d: d.extensions["revoke-settled"]["matcher"].pop("on_no_match"),
        "revoke-settled: a tree has no answer",
    ),
    "revoke-recent: a table without an answer": (
        6,
        lambda d: d.extensions["revoke-recent"]["matcher"].pop("on_no_match"),
        "revoke-recent: a tree has no answer",
    ),
    "who: a tree over metadata": (
        6,
        lambda d: who_of_issuer(d)["matcher_tree"]["input"]["typed_config"].update({"@type": "type.googleapis.com/envoy.matching.inputs.dynamic_metadata"}),
        "something else than a header",
    ),
    "who: an unknown issuer is somebody": (
        6,
        lambda d: d.extensions["who"]["matcher"].update(on_no_match=action("service x idp |*|")),
        "unknown issuer is somebody",
    ),
    "who: an unknown client is somebody": (6, lambda d: who_of_issuer(d).update(on_no_match=action("service x idp |*|")), "unlisted client is somebody"),
    "who: a table denies": (6, lambda d: who_of_issuer(d).update(on_no_match=action("x", "DENY")), "who: a table denies"),
    "base: what is not found is ok": (6, lambda d: d.extensions["base"]["matcher"].update(on_no_match=action("ok")), "what is not found is ok"),
    "base: an issuer's last answer is ok": (6, lambda d: base_of_issuer(d)["matcher"].update(on_no_match=action("ok")), "what is not found is ok"),
    "decide: no rule is a rule": (6, lambda d: d.extensions["decide"]["matcher"].update(on_no_match=action("rule.x")), "what is not found passes"),
    "decide: a rule without the token's facts": (
        7,
        lambda d: allowing(cases(d.rule(GET_ORDER))[0]["predicate"]["and_matcher"]["predicate"], lambda c: "base_" not in str(c)),
        "passes without the token's facts",
    ),
    "decide: any instead of all": (
        7,
        lambda d: cases(d.rule(GET_ORDER))[0].update(predicate={"or_matcher": cases(d.rule(GET_ORDER))[0]["predicate"]["and_matcher"]}),
        "passes without the token's facts",
    ),
    "decide: a refusal becomes a yes": (
        7,
        lambda d: cases(d.rule(GET_ORDER))[1].update(on_match=action("rule.x read.orders")),
        "passes without the token's facts",
    ),
    "decide: what matches nothing passes": (7, lambda d: d.rule(GET_ORDER)["matcher"].update(on_no_match=action("rule.x")), "what matches nothing passes"),
    "decide: the whole entry is a yes": (
        7,
        lambda d: d.rule(GET_ORDER).update(action("rule.x")) or d.rule(GET_ORDER).pop("matcher"),
        "passes whatever",
    ),
    "decide: a rule asks for no caller": (
        7,
        lambda d: allowing(cases(d.rule(GET_ORDER))[0]["predicate"]["and_matcher"]["predicate"], lambda c: "who_" not in str(c)),
        "passes whoever calls",
    ),
    "decide: a rule asks for no scope": (
        7,
        lambda d: allowing(cases(d.rule(GET_ORDER))[0]["predicate"]["and_matcher"]["predicate"], lambda c: "x-sw-sc" not in str(c)),
        "passes without the scope",
    ),
    "decide: one of two scopes is forgotten": (
        7,
        lambda d: allowing(
            cases(d.rule("DELETE /orders/v1/{order_id}"))[0]["predicate"]["and_matcher"]["predicate"],
            lambda c: "x-sw-sc" not in str(c) or "approve" not in str(c),
        ),
        "passes without the scope",
    ),
    "base: ok without crit": (
        7,
        lambda d: allowing(cases(base_of_issuer(d))[0]["predicate"]["and_matcher"]["predicate"], lambda c: "crit" not in str(c)),
        "ok without all of its facts",
    ),
    "base: ok without the revocations": (
        7,
        lambda d: allowing(cases(base_of_issuer(d))[0]["predicate"]["and_matcher"]["predicate"], lambda c: "revoke" not in str(c)),
        "ok without all of its facts",
    ),
    "base: any instead of all": (
        7,
        lambda d: cases(base_of_issuer(d))[0].update(predicate={"or_matcher": cases(base_of_issuer(d))[0]["predicate"]["and_matcher"]}),
        "ok without all of its facts",
    ),
    "routes: a public route lends identity": (
        9,
        lambda d: filters(d, HEALTH).update(identity=copy.deepcopy(filters(d, GET_ORDER)["identity"])),
        "lends identity without a rule",
    ),
    "routes: a closed route lends identity": (
        9,
        lambda d: filters(d, REST).update(identity=copy.deepcopy(filters(d, GET_ORDER)["identity"])),
        "lends identity without a rule",
    ),
    "routes: the token stays": (9, lambda d: mutations(d, GET_ORDER, "identity").remove({"remove": "authorization"}), "caller's token would reach"),
    "routes: the token stays on a public route": (9, lambda d: filters(d, HEALTH).pop("identity"), "caller's token would reach"),
    "listener: callers may say x-sw-": (
        10,
        lambda d: d.manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"].pop(0),
        "not removed before routing",
    ),
    "listener: callers may say x-envoy-": (
        10,
        lambda d: d.manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"].pop(1),
        "not removed before routing",
    ),
    "listener: no early mutation": (10, lambda d: d.manager.pop("early_header_mutation_extensions"), "prove_headers: the snapshot is not of the form"),
    "listener: x-sw- goes to upstreams": (
        10,
        lambda d: d.filter("identity")["typed_config"]["mutations"].update(request_mutations=[]),
        "x-sw-* headers would reach an upstream",
    ),
    "listener: trailers go to upstreams": (
        10,
        lambda d: d.filter("scrub")["typed_config"]["mutations"].pop("request_trailers_mutations"),
        "caller's x-sw-* trailers are not removed",
    ),
    "virtual host: a caller's identity header stays": (
        10,
        lambda d: d.host["typed_per_filter_config"]["scrub"]["mutations"]["request_mutations"].pop(0),
        "caller's x-agw-client-id is not removed",
    ),
    "virtual host: nothing is removed": (10, lambda d: d.host.pop("typed_per_filter_config"), "prove_headers: the snapshot is not of the form"),
    "listener: underscores are let through": (
        12,
        lambda d: d.manager["common_http_protocol_options"].pop("headers_with_underscores_action"),
        "names with '_' are not refused",
    ),
    "listener: the path is not normalized": (12, lambda d: d.manager.pop("normalize_path"), "path is not"),
    "listener: escaped slashes are let through": (12, lambda d: d.manager.update(path_with_escaped_slashes_action="KEEP_UNCHANGED"), "path is not"),
    "clusters: no authority": (
        11,
        lambda d: d.cluster("upstream.orders")["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"].pop("trusted_ca"),
        "TLS is not verified",
    ),
    "clusters: no name": (
        11,
        lambda d: d.cluster("upstream.orders")["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"].pop(
            "match_typed_subject_alt_names"
        ),
        "TLS is not verified",
    ),
    "clusters: no TLS": (11, lambda d: d.cluster("upstream.orders").pop("transport_socket"), "in clear text"),
    "clusters: unverified certificates are taken": (
        11,
        lambda d: d.cluster("upstream.orders")["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"].update(
            trust_chain_verification="ACCEPT_UNTRUSTED"
        ),
        "TLS is not verified",
    ),
}


def test_the_snapshot_as_it_is_compiled_is_proven() -> None:
    prove(PREPARED.snapshot, PREPARED.gateway)
    prove(Draft(PREPARED.snapshot).snapshot(), PREPARED.gateway)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_refused_by_name(fault: str) -> None:
    _, plant, said = PLANTED[fault]
    assert said in unproven(PREPARED, plant)


@pytest.mark.parametrize("name", ["a|b", "*", "a b", "", "a\nb"])
def test_a_name_with_a_delimiter_is_refused(name: str) -> None:
    gateway = PREPARED.gateway
    changed: list[Gateway] = [
        replace(gateway, clients=(replace(gateway.clients[0], name=name),)),
        replace(gateway, clients=(replace(gateway.clients[0], may=(name,)),)),
        replace(gateway, issuers=(replace(gateway.issuers[0], name=name),)),
        replace(gateway, apis=(replace(gateway.apis[0], operations=(replace(gateway.apis[0].operations[0], needs=(name,)),)),)),
    ]
    for other in changed:
        assert any("delimiter" in fault for fault in proof.prove_names(PREPARED.snapshot, other))


ELSEWHERE = {13: proof.prove_hosts, 14: proof.prove_streams, 15: proof.prove_secrets}
"""Those whose faults are planted in a snapshot with an edge: ``test_compile_prove_edge.py``."""


def test_every_proof_of_the_list_has_a_fault_that_it_finds() -> None:
    numbered = {number for number, _, _ in PLANTED.values()} | {8, *ELSEWHERE}
    listed = {int(line.split(".")[0]) for line in (proof.__doc__ or "").splitlines() if line[:2].strip(". ").isdigit() and "." in line[:3]}
    assert numbered == listed
    found = set()
    for _, plant, _ in PLANTED.values():
        draft = Draft(PREPARED.snapshot)
        plant(draft)
        found |= {check for check in PROOFS if faults_of(check, draft.snapshot(), PREPARED.gateway)}
    assert {*PROOFS} - found - {*ELSEWHERE.values()} == {proof.prove_names}


def test_all_faults_are_told_at_once() -> None:
    draft = Draft(PREPARED.snapshot)
    draft.filter("decide")["disabled"] = True
    draft.cluster("upstream.orders").pop("transport_socket")
    with pytest.raises(ScopewardError, match=r"decide is off.*; .*in clear text"):
        prove(draft.snapshot(), PREPARED.gateway)
