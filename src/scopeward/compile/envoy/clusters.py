"""Upstreams. A TLS upstream is always verified, chain and name."""

from __future__ import annotations

import ipaddress
import ssl
from urllib.parse import urlsplit

from scopeward.analysis.gateway import GatewayApi
from scopeward.compile.envoy.certificates import CA_BUNDLE, secret_source, upstream_secret
from scopeward.compile.envoy.proto import Json, typed
from scopeward.compile.snapshot import Edge

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_name(api: GatewayApi) -> str:
    """One cluster an API."""
    return f"upstream.{api.name}"


def compile_cluster(api: GatewayApi, edge: Edge) -> Json:
    """The API's upstream: a fixed address, or a name that is resolved again and again. With gRPC in it, all of it speaks HTTP/2."""
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
    speaks_grpc = any(operation.stream == "grpc" for operation in api.operations)
    if secure:
        cluster["transport_socket"] = _verified_tls(host, api.upstream.client_certificate, edge, http2=speaks_grpc)
    if speaks_grpc:
        cluster["typed_extension_protocol_options"] = {_OPTIONS: typed(_OPTIONS, explicit_http_config={"http2_protocol_options": {}})}
    return cluster


def upstream_host(api: GatewayApi) -> str:
    """The Host header that the upstream knows itself by."""
    return urlsplit(api.upstream.url).netloc


def upstream_path(api: GatewayApi) -> str:
    """The path below which the upstream's API lives, without a trailing slash."""
    return urlsplit(api.upstream.url).path.rstrip("/")


def system_bundle() -> str:
    """Where the machine keeps the authorities that it trusts."""
    return ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"


def _verified_tls(host: str, client_certificate: str | None, edge: Edge, *, http2: bool) -> Json:
    """Without a validation context Envoy accepts any certificate of any name, and without a maximum it speaks TLS 1.2 to upstreams only.

    The policy's own authorities are a secret, which is read again when it is replaced; a file that a cluster names is read once.
    """
    names: Json = {"match_typed_subject_alt_names": [{"san_type": "IP_ADDRESS" if _is_address(host) else "DNS", "matcher": {"exact": host}}]}
    common: Json = {"tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}}
    if edge.ca_bundle is None:
        common["validation_context"] = {"trusted_ca": {"filename": system_bundle()}, **names}
    else:
        source = secret_source(CA_BUNDLE, edge.xds)
        common["combined_validation_context"] = {"default_validation_context": names, "validation_context_sds_secret_config": source}
    if http2:
        common["alpn_protocols"] = ["h2"]
    if client_certificate is not None:
        common["tls_certificate_sds_secret_configs"] = [secret_source(upstream_secret(client_certificate), edge.xds)]
    tls = typed(
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context=common,
        **({} if _is_address(host) else {"sni": host}),
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": tls}


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
