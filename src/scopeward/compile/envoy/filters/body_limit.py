"""The longest body that goes on to an upstream, whether its length is announced or it comes in chunks. Streams have no body that ends."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy.proto import Json, typed

FILTER = "body-limit"
OFF = typed("envoy.config.route.v3.FilterConfig", disabled=True)


def build(gateway: Gateway) -> Json:
    """One limit for all; nothing is held back to count it."""
    return typed("envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit", max_request_bytes=gateway.body_limit)
