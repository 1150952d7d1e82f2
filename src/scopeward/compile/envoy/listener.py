"""The listener: static, so that no policy change has to wait for connections to end."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import access_log, certificates, names, replies
from scopeward.compile.envoy.filters import HTTP_FILTERS, HttpFilter
from scopeward.compile.envoy.proto import Json, file_source, set_header, typed
from scopeward.compile.snapshot import Edge

ROUTE_CONFIG = "routes"


def compile_listener(gateway: Gateway, edge: Edge) -> Json:
    """One listener with the whole chain. What depends on the policy stays outside: routes by RDS, filters by ECDS, keys by SDS."""
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        rds={"route_config_name": ROUTE_CONFIG, "config_source": file_source(f"{edge.xds}/routes", "routes.json")},
        http_filters=[_filter(f, gateway, edge) for f in HTTP_FILTERS],
        early_header_mutation_extensions=[_early_mutation(edge)],
        access_log=[access_log.compile_access_log(edge)],
        local_reply_config=replies.compile_replies(),
        server_name="scopeward",
        server_header_transformation="APPEND_IF_ABSENT",
        **_addresses(edge),
        **PATHS,
        **LIMITS,
    )
    chain: Json = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if edge.tls is not None:
        chain["transport_socket"] = certificates.downstream(edge)
        chain["transport_socket_connect_timeout"] = "10s"
    if edge.proxies:
        chain["filter_chain_match"] = {"direct_source_prefix_ranges": [_range(cidr) for cidr in (*edge.proxies, *_this_node(edge))]}
    return typed(
        "envoy.config.listener.v3.Listener",
        name="edge",
        address={"socket_address": {"address": edge.host, "port_value": edge.port}},
        per_connection_buffer_limit_bytes=32_768,
        filter_chains=[chain],
    )


# the policy must see the path that the upstream gets
PATHS: Json = {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "REJECT_REQUEST"}

LIMITS: Json = {
    "request_headers_timeout": "10s",
    "max_request_headers_kb": 64,
    "stream_error_on_invalid_http_message": False,
    "common_http_protocol_options": {
        # to a WSGI upstream 'x_agw_subject' and 'x-agw-subject' are one header
        "headers_with_underscores_action": "REJECT_REQUEST",
        "idle_timeout": "3600s",
        "max_headers_count": 100,
    },
    # no CONNECT, plain or extended; the windows are Envoy's advice for an edge
    "http2_protocol_options": {
        "max_concurrent_streams": 100,
        "initial_stream_window_size": 65_536,
        "initial_connection_window_size": 1_048_576,
        "allow_connect": False,
    },
    # off unless a route declares it: an upgrade that nobody declared is refused
    "upgrade_configs": [{"upgrade_type": "websocket", "enabled": False}],
}


def _addresses(edge: Edge) -> Json:
    """Who the caller is by its address. Only the proxies that may connect are believed, and only about the caller's address and scheme."""
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": 1 if edge.proxies else 0,
        # No address is inside: Envoy would believe x-envoy-* and x-request-id from there (CVE-2024-45806). Given no range at all it takes
        # every private address for inside; this one calls nobody.
        "internal_address_config": {"unix_sockets": False, "cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
    }


def _range(cidr: str) -> Json:
    address, _, length = cidr.partition("/")
    return {"address_prefix": address, "prefix_len": int(length)}


def _this_node(edge: Edge) -> list[str]:
    """Where the warden itself calls from, to see the chain at work."""
    if edge.host in {"0.0.0.0", "::"}:  # noqa: S104  # compared, not bound
        return ["127.0.0.1/32", "::1/128"]
    return [f"{edge.host}/{128 if ':' in edge.host else 32}"]


def _filter(place: HttpFilter, gateway: Gateway, edge: Edge) -> Json:
    entry: Json = {"name": place.name}
    if place.message:
        source = file_source(f"{edge.xds}/extensions/{place.name}", "filter.json")
        entry["config_discovery"] = {"config_source": source, "type_urls": [f"type.googleapis.com/{place.message}"]}
    else:
        entry["typed_config"] = place.build(gateway)
    if place.off:
        entry["disabled"] = True
    return entry


# what upstreams believe of a proxy: a caller's would be taken for ours, and some of them choose another method or path than was judged
SPOKEN_BY_PROXIES = ("forwarded", "x-real-ip", "x-original-url", "x-rewrite-url", "x-http-method", "x-http-method-override", "x-method-override")

# RFC 7540 section 3.2.1; Envoy removes it only where Connection names it
OF_ONE_HOP = ("http2-settings",)

# all of X-Forwarded-* but -For and -Proto; RE2 has no way to say "but"
NOT_BELIEVED = "x-forwarded-(?:[^fp].*|f(?:[^o].*)?|fo(?:[^r].*)?|for.+|p(?:[^r].*)?|pr(?:[^o].*)?|pro(?:[^t].*)?|prot(?:[^o].*)?|proto.+)?"


def _early_mutation(edge: Edge) -> Json:
    """Before routing: what only the gateway may say goes, and the caller's request id is kept beside the one that Envoy makes."""
    forwarded = {"safe_regex": {"regex": NOT_BELIEVED}} if edge.proxies else {"prefix": "x-forwarded-"}
    mutations = [
        {"remove_on_match": {"key_matcher": {"prefix": names.PREFIX}}},
        {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
        {"remove_on_match": {"key_matcher": forwarded}},
        *({"remove": name} for name in (*SPOKEN_BY_PROXIES, *OF_ONE_HOP)),
        set_header(names.CLIENT_REQUEST_ID, "%REQ(X-REQUEST-ID)%"),
    ]
    config = typed("envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=mutations)
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": config}
