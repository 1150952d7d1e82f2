"""The listener: static, so that no policy change has to wait for connections to end."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import access_log, names, replies
from scopeward.compile.envoy.filters import HTTP_FILTERS, HttpFilter
from scopeward.compile.envoy.proto import Json, set_header, typed
from scopeward.compile.snapshot import Edge

ROUTE_CONFIG = "routes"


def compile_listener(gateway: Gateway, edge: Edge) -> Json:
    """One listener with the whole chain. What depends on the policy stays outside: routes by RDS, filters by ECDS."""
    manager = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        rds={"route_config_name": ROUTE_CONFIG, "config_source": file_source(f"{edge.xds}/routes", "routes.json")},
        http_filters=[_filter(f, gateway, edge) for f in HTTP_FILTERS],
        early_header_mutation_extensions=[_early_mutation()],
        access_log=[access_log.compile_access_log(edge)],
        local_reply_config=replies.compile_replies(),
        server_name="scopeward",
        server_header_transformation="APPEND_IF_ABSENT",
        use_remote_address=True,
        # the policy must see the path that the upstream gets
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        common_http_protocol_options={
            # to a WSGI upstream 'x_agw_subject' and 'x-agw-subject' are one header
            "headers_with_underscores_action": "REJECT_REQUEST",
            "idle_timeout": "3600s",
        },
        request_headers_timeout="10s",
        stream_error_on_invalid_http_message=False,
    )
    return typed(
        "envoy.config.listener.v3.Listener",
        name="edge",
        address={"socket_address": {"address": edge.host, "port_value": edge.port}},
        filter_chains=[{"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
    )


def file_source(folder: str, name: str) -> Json:
    """A config source that Envoy reads again when a file is renamed into its folder; a folder of its own, since every rename wakes it."""
    return {"path_config_source": {"path": f"{folder}/{name}", "watched_directory": {"path": folder}}, "resource_api_version": "V3"}


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


def _early_mutation() -> Json:
    """Before routing: what only the gateway may say goes, and the caller's request id is kept beside the one that Envoy makes."""
    mutations = [
        {"remove_on_match": {"key_matcher": {"prefix": names.PREFIX}}},
        {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
        set_header(names.CLIENT_REQUEST_ID, "%REQ(X-REQUEST-ID)%"),
    ]
    config = typed("envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=mutations)
    return {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": config}
