"""The way to the upstream."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy.proto import Json, typed


def build(_gateway: Gateway) -> Json:
    """No ``x-envoy-*`` header for the upstream, and no statistics of its own: the audit line has them."""
    return typed("envoy.extensions.filters.http.router.v3.Router", dynamic_stats=False, suppress_envoy_headers=True)
