"""Proofs 11 to 15: the edge towards callers, and the way to upstreams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.prove.reading import Fault, manager, routes, rule_key
from scopeward.compile.snapshot import Snapshot
from scopeward.policy.url import parse_url

NOBODY_INSIDE = {"unix_sockets": False, "cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]}
"""Without a range, all private addresses would be."""
ODD = {
    "": ("%00", "%1F", "%7f", "%C0", "%e0%80%80", "%F0%80%80%80", "%f5", "%", "%4", "%zz", "%4z"),
    "semicolon": (";", "%3b", "%3B"),
    "percent": ("%25",),
    "space": ("%20",),
    "dot": (".",),
}
"""Of each form of path that is refused unless an API allows it some that must be; the first are never allowed."""
ALL_FORWARDED = {"remove_on_match": {"key_matcher": {"prefix": "x-forwarded-"}}}


def prove_upstreams(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """11."""
    apis = {f"upstream.{api.name}": api for api in gateway.apis}
    for cluster in snapshot.clusters:
        upstream = apis[cluster["name"]].upstream
        url = parse_url(upstream.url)
        tls = cluster.get("transport_socket", {}).get("typed_config")
        if tls is None:
            if url.scheme == "https" or not (url.loopback or upstream.plaintext):
                yield f"{cluster['name']}: calls go there in clear text"
            continue
        common = tls.get("common_tls_context", {})
        combined = common.get("combined_validation_context", {})
        context = common.get("validation_context") or combined.get("default_validation_context", {})
        verified = context.get("trust_chain_verification", "VERIFY_TRUST_CHAIN") == "VERIFY_TRUST_CHAIN"
        authorities = context.get("trusted_ca") or combined.get("validation_context_sds_secret_config")
        if not verified or not authorities or not context.get("match_typed_subject_alt_names"):
            yield f"{cluster['name']}: TLS is not verified"
        if upstream.client_certificate and not tls["common_tls_context"].get("tls_certificate_sds_secret_configs"):
            yield f"{cluster['name']}: the gateway would not show its certificate"


def prove_edge(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """12."""
    found = manager(snapshot)
    wanted = {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "REJECT_REQUEST"}
    if {key: found.get(key) for key in wanted} != wanted:
        yield "the path is not normalized before it is judged"
    if found["common_http_protocol_options"].get("headers_with_underscores_action") != "REJECT_REQUEST":
        yield "header names with '_' are not refused"
    for api in gateway.apis:
        of_api = [r for r in routes(snapshot) if r["name"].split(" ")[1] == api.name]
        first = next((i for i, r in enumerate(of_api) if "route" in r), len(of_api))
        refused = [r["match"]["safe_regex"]["regex"] for r in of_api[:first] if rule_key(r) == names.ODD_PATH and set(r["match"]) == {"safe_regex"}]
        odd = [text for form, texts in ODD.items() if form not in api.allow for text in texts]
        at = "" if api.at == "/" else api.at
        if not all(any(re.fullmatch(pattern, f"{at}/a{text}{rest}") for pattern in refused) for text in odd for rest in ("", "/b")):
            yield f"the API {api.name}: paths that servers read in different ways are not refused first"


def prove_hosts(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """13."""
    url = parse_url(gateway.public_url)
    own = {f"[{url.host}]" if ":" in url.host else url.host.lower()} | ({"127.0.0.1", "localhost", "[::1]"} if url.loopback else set())
    for config in snapshot.routes:
        for host in config["virtual_hosts"]:
            if not set(host["domains"]) <= own and any("route" in r or r.get("direct_response", {}).get("status") != 403 for r in host["routes"]):
                yield f"virtual host {host['name']}: another name than the gateway's reaches an upstream"
    found = manager(snapshot)
    sources = snapshot.listeners[0]["filter_chains"][0].get("filter_chain_match", {}).get("direct_source_prefix_ranges", [])
    everybody = not sources or any(source["prefix_len"] == 0 for source in sources)
    early = found["early_header_mutation_extensions"][0]["typed_config"]["mutations"]
    if everybody and (found.get("xff_num_trusted_hops", 0) or ALL_FORWARDED not in early):
        yield "X-Forwarded-* is believed of everybody"
    if found.get("use_remote_address") is not True or found.get("internal_address_config") != NOBODY_INSIDE:
        yield "some addresses are believed to be inside"


def prove_streams(snapshot: Snapshot, gateway: Gateway) -> Iterator[Fault]:
    """14."""
    found = manager(snapshot)
    if any(upgrade.get("enabled", True) for upgrade in found["upgrade_configs"]) or found["http2_protocol_options"].get("allow_connect"):
        yield "an upgrade is taken that no route declares"
    longest = {issuer.name: issuer.longest_stream for issuer in gateway.issuers}
    streams = {o.id: (o.stream, longest[api.issuer]) for api in gateway.apis for o in api.operations if o.stream}
    for route in routes(snapshot):
        kind, seconds = streams.get(rule_key(route) or "", (None, 0))
        action = route.get("route", {})
        upgrades = {upgrade["upgrade_type"] for upgrade in action.get("upgrade_configs", [])}
        if upgrades and (kind != "websocket" or upgrades != {"websocket"}):
            yield f"route {route['name']}: an upgrade is taken that no rule declares"
        if kind and action.get("max_stream_duration") != {"max_stream_duration": f"{seconds}s"}:
            yield f"route {route['name']}: the stream outlives its token"


def prove_secrets(snapshot: Snapshot, _gateway: Gateway) -> Iterator[Fault]:
    """15."""
    for resource in (*snapshot.listeners, *snapshot.clusters):
        for key, value in _walk(resource):
            if key == "private_key":
                yield "a private key stands outside its secret"
            if key in {"tls_certificate_sds_secret_configs", "validation_context_sds_secret_config"}:
                for wanted in value if isinstance(value, list) else [value]:
                    if wanted["name"] not in snapshot.secrets:
                        yield f"the secret {wanted['name']} does not exist"


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _walk(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from _walk(item)
