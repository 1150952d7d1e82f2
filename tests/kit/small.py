"""The least snapshot that Envoy can run on, by hand: what a node does with a snapshot does not depend on what is compiled.

Its API answers by itself: 200 with the text that was given, where *decide* lets it; the probe's route refuses, as the real one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scopeward.compile.envoy import names
from scopeward.compile.envoy.filters import jwt_authn
from scopeward.compile.envoy.proto import action, choose, file_source, look_up, outcome, table, typed
from scopeward.compile.snapshot import Edge, Resource, Snapshot
from scopeward.envoy.node import Build
from tests.kit.tokens import jwks

RULE = "x-rule"
REVOKED = "x-token"
RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
JWT = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def small(edge: Edge, says: str = "one", **more: Any) -> Snapshot:
    """``says`` is what calls are answered with. ``revoked``: values of the header x-token that are refused; ``keys``: a key set;

    ``secrets``: texts by name, each used by a cluster; ``chain``: what makes the listener another one; ``rules``: what *decide* lets in by the
    header x-rule.
    """
    secrets: Mapping[str, str] = more.get("secrets", {})
    return Snapshot(
        policy_version=f"policy-{says}",
        listeners=(_listener(edge, more.get("chain", "")),),
        routes=(_routes(says),),
        clusters=tuple(_cluster(name, edge) for name in secrets),
        extensions={
            jwt_authn.FILTER: _jwt_authn(more.get("keys") or jwks()),
            "revoke-recent": revocations(more.get("revoked", ())),
            "decide": table("decide", look_up(RULE, {rule: action(f"rule.{rule}") for rule in more.get("rules", ["a"])}, action("rule.other"))),
        },
        secrets={name: _secret(name, text) for name, text in secrets.items()},
    )


def building(says: str = "one", **more: Any) -> Build:
    return lambda edge: small(edge, says, **more)


def revocations(revoked: Iterable[str]) -> Resource:
    """The table that refuses these values of x-token."""
    return table("revoke", look_up(REVOKED, {token: action("revoked", "DENY") for token in revoked}, action("live")))


def _listener(edge: Edge, chain: str) -> Resource:
    let_in = choose([(outcome("decide", prefix="rule."), action("pass"))], action("refused", "DENY"))
    http_filters = [
        _by_file(edge, jwt_authn.FILTER, JWT),
        _by_file(edge, "revoke-recent", RBAC),
        _by_file(edge, "decide", RBAC),
        {"name": f"enforce{chain}", "typed_config": table("enforce", let_in)},
        {"name": "envoy.filters.http.router", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router")},
    ]
    log = typed("envoy.extensions.access_loggers.file.v3.FileAccessLog", path=edge.audit_log)
    rds = {"route_config_name": "routes", "config_source": file_source(f"{edge.xds}/routes", "routes.json")}
    manager = typed(
        MANAGER, stat_prefix="edge", rds=rds, http_filters=http_filters, local_reply_config=_replies(), access_log=[{"name": "file", "typed_config": log}]
    )
    chains: dict[str, Any] = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    if edge.tls is not None:
        certificate = {"certificate_chain": {"inline_string": edge.tls.certificate}, "private_key": {"inline_string": edge.tls.private_key.reveal()}}
        tls = typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context={"tls_certificates": [certificate]})
        chains["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": tls}
    address = {"socket_address": {"address": edge.host, "port_value": edge.port}}
    return typed("envoy.config.listener.v3.Listener", name="edge", address=address, filter_chains=[chains])


def _by_file(edge: Edge, name: str, message: str) -> Resource:
    source = file_source(f"{edge.xds}/extensions/{name}", "filter.json")
    return {"name": name, "config_discovery": {"config_source": source, "type_urls": [f"type.googleapis.com/{message}"]}}


def _replies() -> Resource:
    """What *enforce* refuses is told as it is when all calls are refused: there is no other refusal of its own here."""
    cel = typed("envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", expression="response.code_details.contains('[refused]')")
    reference = [{"header": {"key": names.REFERENCE, "value": "audit-unavailable"}}]
    return {"mappers": [{"filter": {"extension_filter": {"name": "cel", "typed_config": cel}}, "status_code": 503, "headers_to_add": reference}]}


def _routes(says: str) -> Resource:
    reference = [{"header": {"key": names.REFERENCE, "value": "token-missing"}}]
    routes = [
        {"match": {"path": names.PROBE}, "direct_response": {"status": 401}, "response_headers_to_add": reference},
        {
            "match": {"path": "/guarded"},
            "direct_response": {"status": 200},
            "typed_per_filter_config": {
                jwt_authn.FILTER: typed("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", requirement_name="r1"),
            },
        },
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": says}}},
    ]
    host = {"name": "all", "domains": ["*"], "routes": routes}
    return typed("envoy.config.route.v3.RouteConfiguration", name="routes", virtual_hosts=[host])


def _jwt_authn(keys: str) -> Resource:
    provider = {"issuer": "https://idp.test/", "local_jwks": {"inline_string": keys}}
    return typed(JWT, providers={"idp": provider}, requirement_map={"r1": {"provider_name": "idp"}})


def _cluster(secret: str, edge: Edge) -> Resource:
    source = file_source(f"{edge.xds}/secrets/{secret}", "secret.json")
    context = {"validation_context_sds_secret_config": {"name": secret, "sds_config": source}}
    tls = typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", common_tls_context=context)
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9}}}}
    return typed(
        "envoy.config.cluster.v3.Cluster",
        name=f"upstream.{secret}",
        load_assignment={"cluster_name": f"upstream.{secret}", "endpoints": [{"lb_endpoints": [endpoint]}]},
        transport_socket={"name": "envoy.transport_sockets.tls", "typed_config": tls},
    )


def _secret(name: str, authorities: str) -> Resource:
    context = {"trusted_ca": {"inline_string": authorities}}
    return typed("envoy.extensions.transport_sockets.tls.v3.Secret", name=name, validation_context=context)


def file_versions(snapshot: Snapshot) -> dict[str, str]:
    return {path: file.version for path, file in snapshot.files().items()}


class StoppedClock:
    """Always the same second."""

    def now(self) -> float:
        return 1_795_000_000.0
