"""Faults planted in a snapshot with all that an edge can have: the numbers are those of ``prove``'s list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from scopeward.analysis.gateway import Revocation
from scopeward.compile import TlsMaterial
from scopeward.compile import prove as proof
from scopeward.compile.envoy.certificates import upstream_secret
from scopeward.compile.envoy.proto import action, header, nested
from scopeward.compile.prove import PROOFS, prove
from scopeward.compile.prove import _faults as faults_of
from scopeward.errors import ScopewardError
from scopeward.secret import Secret
from tests.kit.compiling import EDGE, Draft, compiled, unproven

POLICY = """
version: 1
public_url: https://gw.example
issuers:
  idp: {issuer: "https://idp.test/", typ: at+jwt, scope_form: string, jti: required, trust: internal}
trust:
  internal: {lifetime: 1h, over: refuse, max_stream: 30m}
scopes:
  read.stock: {says: Read the stock}
clients:
  shop: {kind: service, id: shop}
apis:
  stock:
    at: /stock
    audience: api://stock
    client_certificate: {names: ["dns:shop.example", "uri:spiffe://example/shop"]}
    upstream: {url: "https://stock.example", client_certificate: "file:/etc/stock.pem"}
    path: {allow: dot}
    rules:
      GET /{sku}: {needs: read.stock}
      GET /health: {public: "load balancer probe, no data"}
  news:
    at: /news
    audience: api://news
    upstream: {url: "http://news:8080", plaintext: "another container of the same pod"}
    rules:
      GET /socket: {needs: read.stock, stream: websocket}
      GET /changes: {needs: read.stock, stream: sse}
      GET /{id}: {needs: read.stock}
      POST /rpc: {needs: read.stock, stream: grpc}
"""
MATERIAL = TlsMaterial("CERTIFICATE", Secret("KEY"))
SHOWN = replace(EDGE, tls=MATERIAL, client_ca="AUTHORITY", upstream_tls={"file:/etc/stock.pem": MATERIAL})
IDP = "https://idp.test/"
REVOKED = (
    Revocation(IDP, "token-id", "t"),
    Revocation(IDP, "client", "shop", 1_700_000_000),
    Revocation(IDP, "subject", "alice", 1_700_000_000),
    Revocation(IDP, "issuer", "", 1_700_000_000),
)
PREPARED = compiled(POLICY, REVOKED, edge=SHOWN, good_until=1_800_000_000, recent=REVOKED)
PROXIED = compiled(POLICY, edge=replace(SHOWN, proxies=("10.0.0.0/8",)))

Plant = Callable[[Draft], object]
SKU, HEALTH = "stock GET /stock/{sku}", "stock GET /stock/health"
SOCKET, CHANGES, RPC, NEWS = "news GET /news/socket", "news GET /news/changes", "news POST /news/rpc", "news GET /news/{id}"


def by_issuer(draft: Draft, table: str) -> Any:
    return draft.extensions[table]["matcher"]["matcher_tree"]["exact_match_map"]["map"][IDP]["matcher"]


def by_client(draft: Draft) -> Any:
    return by_issuer(draft, "revoke-recent")["on_no_match"]["matcher"]


def by_subject(draft: Draft) -> Any:
    return by_client(draft)["on_no_match"]["matcher"]


def last(draft: Draft) -> Any:
    return by_subject(draft)["on_no_match"]["matcher"]


def of_client(draft: Draft) -> Any:
    return by_client(draft)["matcher_tree"]["exact_match_map"]["map"]["shop"]["matcher"]


def facts(draft: Draft) -> Any:
    return by_issuer(draft, "base")["matcher_list"]["matchers"][0]["predicate"]["and_matcher"]["predicate"]


def without(conjuncts: list[Any], word: str) -> None:
    kept = [part for part in conjuncts if word not in str(part)]
    assert len(kept) < len(conjuncts)
    conjuncts[:] = kept


def rule(draft: Draft, ending: str) -> Any:
    return draft.rule(ending)["matcher"]["matcher_list"]["matchers"][0]


def asked(draft: Draft) -> Any:
    return rule(draft, SKU)["predicate"]["and_matcher"]["predicate"]


def scrub(draft: Draft, ending: str) -> Any:
    return draft.route(ending)["typed_per_filter_config"]["scrub"]["mutations"]


def written(draft: Draft, ending: str) -> Any:
    return draft.route(ending)["typed_per_filter_config"]["identity"]["mutations"]["request_mutations"]


def early(draft: Draft) -> Any:
    return draft.manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"]


def chain(draft: Draft) -> Any:
    return draft.listeners[0]["filter_chains"][0]


def odd(draft: Draft, api: str) -> list[Any]:
    return [r for r in draft.host["routes"] if r["name"].split(" ")[1] == api and "odd-path" in str(r["typed_per_filter_config"]["scrub"])]


def drop(items: list[Any], kept: Callable[[Any], bool]) -> None:
    items[:] = [item for item in items if kept(item)]


PLANTED: dict[str, tuple[int, Plant, str]] = {
    "revoke-recent: the issuer's tokens without an answer": (6, lambda d: by_issuer(d, "revoke-recent").pop("on_no_match"), "tree has no answer"),
    "revoke-settled: the issuer's tokens without an answer": (6, lambda d: by_issuer(d, "revoke-settled").pop("on_no_match"), "tree has no answer"),
    "revoke-recent: clients without an answer": (6, lambda d: by_client(d).pop("on_no_match"), "tree has no answer"),
    "revoke-recent: subjects without an answer": (6, lambda d: by_subject(d).pop("on_no_match"), "tree has no answer"),
    "revoke-recent: the last question without an answer": (6, lambda d: last(d).pop("on_no_match"), "tree has no answer"),
    "revoke-recent: an entry that says live": (
        6,
        lambda d: of_client(d)["matcher_list"]["matchers"][0].update(on_match=action("live")),
        "an entry ends the search with live",
    ),
    "revoke-recent: an entry that ends the search": (6, lambda d: of_client(d).update(on_no_match=action("live")), "an entry ends the search with live"),
    "revoke-recent: an entry that is live at once": (
        6,
        lambda d: by_issuer(d, "revoke-recent")["matcher_tree"]["exact_match_map"]["map"].update(t=action("live")),
        "an entry ends the search with live",
    ),
    "revoke-recent: an entry that says something else": (
        6,
        lambda d: by_issuer(d, "revoke-recent")["matcher_tree"]["exact_match_map"]["map"].update(t=action("gone")),
        "something else than live and revoked",
    ),
    "revoke-recent: an entry that denies": (
        6,
        lambda d: by_issuer(d, "revoke-recent")["matcher_tree"]["exact_match_map"]["map"].update(t=action("revoked", "DENY")),
        "something else than live and revoked",
    ),
    "revoke-recent: a tree over metadata": (
        6,
        lambda d: by_client(d)["matcher_tree"]["input"]["typed_config"].update({"@type": "type.googleapis.com/envoy.matching.inputs.dynamic_metadata"}),
        "something else than a header",
    ),
    "pass: a tree without an answer": (6, lambda d: d.extensions["pass"]["matcher"].pop("on_no_match"), "pass: a tree has no answer"),
    "pass: a table denies": (6, lambda d: d.extensions["pass"]["matcher"].update(on_no_match=action("none", "DENY")), "pass: a table denies"),
    "base: ok whatever the age of the keys": (7, lambda d: without(facts(d), "x-sw-now"), "ok without all of its facts: x-sw-now"),
    "base: ok without a token's id": (7, lambda d: without(facts(d), "x-sw-jti"), "ok without all of its facts: x-sw-jti"),
    "base: ok whatever the lifetime": (7, lambda d: without(facts(d), "x-sw-exp"), "ok without all of its facts: x-sw-exp"),
    "decide: a rule without its certificate": (7, lambda d: without(asked(d), ".ssl.v3."), "passes without a client certificate"),
    "decide: a certificate, or a header": (
        7,
        lambda d: asked(d)[1]["or_matcher"]["predicate"].append(header("x-certificate", exact="yes")),
        "passes without a client certificate",
    ),
    "decide: no certificate": (7, lambda d: asked(d).__setitem__(1, {"not_matcher": asked(d)[1]}), "passes without a client certificate"),
    "decide: a public rule without its certificate": (
        7,
        lambda d: rule(d, HEALTH).update(predicate=header("x-certificate", exact="yes")),
        "passes without a client certificate",
    ),
    "decide: a public rule that asks nothing": (
        7,
        lambda d: d.rule(HEALTH).update(rule(d, HEALTH)["on_match"]) or d.rule(HEALTH).pop("matcher"),
        "passes whatever the call is",
    ),
    "routes: a call goes on without the pass": (9, lambda d: drop(written(d, NEWS), lambda m: "scopeward-pass" not in str(m)), "goes on without the pass"),
    "routes: the pass is what the caller says": (
        9,
        lambda d: written(d, NEWS)[-1]["append"]["header"].update(value="%REQ(X-PASS)%"),
        "goes on without the pass",
    ),
    "virtual host: a caller's pass stays": (
        10,
        lambda d: drop(d.host["typed_per_filter_config"]["scrub"]["mutations"]["request_mutations"], lambda m: m["remove"] != "x-scopeward-pass"),
        "caller's x-scopeward-pass is not removed",
    ),
    "virtual host: a caller's pass stays as a trailer": (
        10,
        lambda d: drop(d.host["typed_per_filter_config"]["scrub"]["mutations"]["request_trailers_mutations"], lambda m: m["remove"] != "x-scopeward-pass"),
        "caller's x-scopeward-pass is not removed",
    ),
    "virtual host: a token stays as a trailer": (
        10,
        lambda d: drop(d.host["typed_per_filter_config"]["scrub"]["mutations"]["request_trailers_mutations"], lambda m: m["remove"] != "authorization"),
        "caller's authorization is not removed",
    ),
    "routes: trailers go on": (10, lambda d: scrub(d, NEWS).pop("request_trailers_mutations"), "caller's trailers would reach an upstream"),
    "routes: trailers of a websocket go on": (10, lambda d: scrub(d, SOCKET)["request_trailers_mutations"].clear(), "caller's trailers would reach"),
    "clusters: the gateway shows no certificate": (
        11,
        lambda d: d.cluster("upstream.stock")["transport_socket"]["typed_config"]["common_tls_context"].pop("tls_certificate_sds_secret_configs"),
        "would not show its certificate",
    ),
    "routes: odd paths go on": (12, lambda d: drop(d.host["routes"], lambda r: r not in odd(d, "news")), "news: paths that servers read in different ways"),
    "routes: a dot goes on": (12, lambda d: d.host["routes"].remove(odd(d, "news")[1]), "news: paths that servers read in different ways"),
    "routes: a semicolon goes on": (
        12,
        lambda d: odd(d, "stock")[0]["match"]["safe_regex"].update(regex=odd(d, "stock")[0]["match"]["safe_regex"]["regex"].replace("|;", "")),
        "stock: paths that servers read in different ways",
    ),
    "routes: odd paths are refused at last": (
        12,
        lambda d: d.host["routes"].append(d.host["routes"].pop(d.host["routes"].index(odd(d, "stock")[0]))),
        "stock: paths that servers read in different ways",
    ),
    "routes: odd paths are refused for some": (
        12,
        lambda d: odd(d, "stock")[0]["match"].update(headers=[{"name": "x", "present_match": True}]),
        "stock: paths that servers read in different ways",
    ),
    "virtual host: everybody's": (13, lambda d: d.host.update(domains=["*"]), "another name than the gateway's"),
    "virtual host: another name too": (13, lambda d: d.host["domains"].append("other.example"), "another name than the gateway's"),
    "virtual host: the unknown is let on": (
        13,
        lambda d: d.routes[0]["virtual_hosts"][1]["routes"].append(d.route(NEWS)),
        "virtual host unknown: another name than the gateway's",
    ),
    "listener: X-Forwarded-* of everybody": (13, lambda d: drop(early(d), lambda m: "x-forwarded-" not in str(m)), "X-Forwarded-* is believed of everybody"),
    "listener: the last hop of everybody": (13, lambda d: d.manager.update(xff_num_trusted_hops=1), "X-Forwarded-* is believed of everybody"),
    "listener: private addresses are inside": (13, lambda d: d.manager["internal_address_config"].pop("cidr_ranges"), "believed to be inside"),
    "listener: some addresses are inside": (
        13,
        lambda d: d.manager["internal_address_config"].update(cidr_ranges=[{"address_prefix": "10.0.0.0", "prefix_len": 8}]),
        "believed to be inside",
    ),
    "listener: the caller says its address": (13, lambda d: d.manager.pop("use_remote_address"), "believed to be inside"),
    "listener: every websocket": (14, lambda d: d.manager["upgrade_configs"][0].update(enabled=True), "no route declares"),
    "listener: every websocket, by default": (14, lambda d: d.manager["upgrade_configs"][0].pop("enabled"), "no route declares"),
    "listener: another upgrade": (14, lambda d: d.manager["upgrade_configs"].append({"upgrade_type": "CONNECT"}), "no route declares"),
    "listener: CONNECT": (14, lambda d: d.manager["http2_protocol_options"].update(allow_connect=True), "no route declares"),
    "routes: an upgrade without a rule": (
        14,
        lambda d: d.route(NEWS)["route"].update(upgrade_configs=[{"upgrade_type": "websocket", "enabled": True}]),
        "no rule declares",
    ),
    "routes: events are upgraded": (
        14,
        lambda d: d.route(CHANGES)["route"].update(upgrade_configs=[{"upgrade_type": "websocket", "enabled": True}]),
        "no rule declares",
    ),
    "routes: a websocket is another tunnel": (14, lambda d: d.route(SOCKET)["route"]["upgrade_configs"][0].update(upgrade_type="CONNECT"), "no rule declares"),
    "routes: a stream without an end": (14, lambda d: d.route(CHANGES)["route"].pop("max_stream_duration"), "outlives its token"),
    "routes: a stream that ends too late": (
        14,
        lambda d: d.route(RPC)["route"].update(max_stream_duration={"max_stream_duration": "3600s"}),
        "outlives its token",
    ),
    "routes: no limit for a body": (
        1,
        lambda d: d.route(NEWS)["typed_per_filter_config"].update({"body-limit": d.route(RPC)["typed_per_filter_config"]["body-limit"]}),
        "body-limit is switched there",
    ),
    "secrets: the listener's is gone": (15, lambda d: d.secrets.pop("listener"), "the secret listener does not exist"),
    "secrets: the authority is gone": (15, lambda d: d.secrets.pop("client-ca"), "the secret client-ca does not exist"),
    "secrets: an upstream's is gone": (15, lambda d: d.secrets.pop(upstream_secret("file:/etc/stock.pem")), "does not exist"),
    "listener: a key stands there": (
        15,
        lambda d: chain(d)["transport_socket"]["typed_config"]["common_tls_context"].update(tls_certificates=[{"private_key": {"inline_string": "KEY"}}]),
        "a private key stands outside its secret",
    ),
    "clusters: a key stands there": (
        15,
        lambda d: d.cluster("upstream.stock")["transport_socket"]["typed_config"]["common_tls_context"].update(
            tls_certificates=[{"private_key": {"inline_string": "KEY"}}]
        ),
        "a private key stands outside its secret",
    ),
}


def test_the_snapshot_as_it_is_compiled_is_proven() -> None:
    for prepared in (PREPARED, PROXIED):
        prove(prepared.snapshot, prepared.gateway)
        prove(Draft(prepared.snapshot).snapshot(), prepared.gateway)


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_refused_by_name(fault: str) -> None:
    _, plant, said = PLANTED[fault]
    assert said in unproven(PREPARED, plant)


@pytest.mark.parametrize(
    "plant",
    [
        lambda d: chain(d).pop("filter_chain_match"),
        lambda d: chain(d)["filter_chain_match"].pop("direct_source_prefix_ranges"),
        lambda d: chain(d)["filter_chain_match"]["direct_source_prefix_ranges"].append({"address_prefix": "0.0.0.0", "prefix_len": 0}),
        lambda d: chain(d)["filter_chain_match"].update(server_names=["gw.example"], direct_source_prefix_ranges=[]),
    ],
)
def test_a_proxy_is_believed_only_where_nobody_else_may_connect(plant: Plant) -> None:
    draft = Draft(PROXIED.snapshot)
    plant(draft)
    with pytest.raises(ScopewardError, match="believed of everybody"):
        prove(draft.snapshot(), PROXIED.gateway)


def test_an_upstream_in_clear_text_needs_its_reason() -> None:
    news, stock = PREPARED.gateway.apis
    gateway = replace(PREPARED.gateway, apis=(replace(news, upstream=replace(news.upstream, plaintext=None)), stock))
    assert list(proof.prove_upstreams(PREPARED.snapshot, gateway)) == ["upstream.news: calls go there in clear text"]


def test_every_proof_of_the_edge_has_a_fault_that_it_finds() -> None:
    found = set()
    for _, plant, _ in PLANTED.values():
        draft = Draft(PREPARED.snapshot)
        plant(draft)
        found |= {check for check in PROOFS if faults_of(check, draft.snapshot(), PREPARED.gateway)}
    assert {proof.prove_revocation, proof.prove_edge, proof.prove_hosts, proof.prove_streams, proof.prove_secrets, proof.prove_lending} <= found


def test_a_revocation_that_asks_on_for_ever_has_an_answer_at_last() -> None:
    """A nested answer is as good as one in the tree itself."""
    draft = Draft(PREPARED.snapshot)
    by_subject(draft)["on_no_match"] = nested({"on_no_match": action("live")})
    prove(draft.snapshot(), PREPARED.gateway)
