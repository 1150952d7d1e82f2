"""A place in the chain that nothing fills yet. Switched on by mistake it refuses every call."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy.proto import Json, action, table


def unused(_gateway: Gateway) -> Json:
    """An RBAC filter that denies: off in the chain, and closed when somebody switches it on without filling it."""
    return table("slot", {"on_no_match": action("slot-unused", "DENY")})
