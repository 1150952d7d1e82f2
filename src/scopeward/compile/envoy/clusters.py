"""Upstreams. A TLS upstream is always verified, chain and name."""

from __future__ import annotations

import ipaddress
import ssl
from urllib.parse import urlsplit

from scopeward.analysis.gateway import GatewayApi
from scopeward.compile.envoy.proto import Json, typed


def cluster_name(api: GatewayApi) -> str:
    """One cluster an API."""
    return f"upstream.{api.name}"


def compile_cluster(api: GatewayApi) -> Json:
    """The API's upstream: a fixed address, or a name that is resolved again and again."""
    url = urlsplit(api.upstream.url)
    host = url.hostname or ""
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    endpoint = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    cluster = typed(
        "envoy.config.cluster.v3.Cluster",
        name=cluster_name(api),
        type="STATIC" if _is_address(host) else "STRICT_DNS",
        connect_timeout="5s",
        load_assignment={"cluster_name": cluster_name(api), "endpoints": [{"lb_endpoints": [endpoint]}]},
    )
    if secure:
        cluster["transport_socket"] = _verified_tls(host)
    return cluster


def upstream_host(api: GatewayApi) -> str:
    """The Host header that the upstream knows itself by."""
    return urlsplit(api.upstream.url).netloc


def upstream_path(api: GatewayApi) -> str:
    """The path below which the upstream's API lives, without a trailing slash."""
    return urlsplit(api.upstream.url).path.rstrip("/")


def _verified_tls(host: str) -> Json:
    """Without a validation context Envoy accepts any certificate of any name."""
    bundle = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    names = [{"san_type": "IP_ADDRESS" if _is_address(host) else "DNS", "matcher": {"exact": host}}]
    context = {"trusted_ca": {"filename": bundle}, "match_typed_subject_alt_names": names}
    tls = typed(
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context={"validation_context": context, "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"}},
        **({} if _is_address(host) else {"sni": host}),
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
