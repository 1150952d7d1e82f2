"""Gateway → the configuration of an engine. Envoy is the first."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy.certificates import secrets
from scopeward.compile.envoy.clusters import compile_cluster
from scopeward.compile.envoy.filters import HTTP_FILTERS
from scopeward.compile.envoy.listener import compile_listener
from scopeward.compile.envoy.routes import compile_routes
from scopeward.compile.snapshot import Edge, Snapshot, TlsMaterial

__all__ = ["Edge", "Snapshot", "TlsMaterial", "compile_gateway"]


def compile_gateway(gateway: Gateway, edge: Edge) -> Snapshot:
    """Everything that Envoy needs to decide each call by itself. Pure and deterministic."""
    return Snapshot(
        policy_version=gateway.policy_version,
        listeners=(compile_listener(gateway, edge),),
        routes=(compile_routes(gateway),),
        clusters=tuple(compile_cluster(api, edge) for api in gateway.apis),
        extensions={f.name: f.build(gateway) for f in HTTP_FILTERS if f.message},
        secrets=secrets(edge),
    )
