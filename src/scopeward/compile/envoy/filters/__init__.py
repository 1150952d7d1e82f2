"""The filter chain: one tuple, complete from the start, because a listener update does not bind live connections.

What changes with the policy travels by ECDS (``dynamic``) or sits on the routes; what only some routes use is a disabled slot.
A guarding filter is never a slot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy.filters import base, body_limit, decide, enforce, gateway_pass, identity, jwt_authn, record, revoke, router, scrub, slot, who
from scopeward.compile.envoy.proto import Json

RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
BODY_LIMIT = "envoy.extensions.filters.http.body_size_limit.v3.BodySizeLimit"
JWT_AUTHN = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"


@dataclass(frozen=True, slots=True)
class HttpFilter:
    """A place in the chain. ``message`` is what its ECDS resource is; empty means that it is part of the listener.

    Every ECDS filter costs Envoy an inotify instance, of which a user has 128 by default: only what changes with the policy is one.
    ``guards`` marks what no route may disable; a filter that is ``off`` is a slot that a route must switch on.
    """

    name: str
    build: Callable[[Gateway], Json]
    message: str = ""
    off: bool = False
    guards: bool = False


HTTP_FILTERS: tuple[HttpFilter, ...] = (
    HttpFilter("upstream401", slot.unused, off=True),  # an upstream's 401 becomes 502 where the gateway's own credential was refused
    HttpFilter("cors", slot.unused, off=True),
    HttpFilter("scrub", scrub.build, guards=True),
    HttpFilter("authz", slot.unused, off=True),  # opaque tokens
    HttpFilter("envoy.filters.http.jwt_authn", jwt_authn.build, JWT_AUTHN, guards=True),
    HttpFilter(revoke.RECENT_FILTER, revoke.recent, RBAC, guards=True),
    HttpFilter(revoke.SETTLED_FILTER, revoke.settled, RBAC, guards=True),
    HttpFilter("who", who.build, RBAC, guards=True),
    HttpFilter("who-candidate", slot.unused, off=True),
    HttpFilter("base", base.build, RBAC, guards=True),
    HttpFilter("decide", decide.build, RBAC, guards=True),
    HttpFilter("record", record.build),
    HttpFilter("enforce", enforce.build, guards=True),
    HttpFilter(gateway_pass.FILTER, gateway_pass.build, RBAC),
    HttpFilter("identity", identity.build, guards=True),
    HttpFilter("credential", slot.unused, off=True),
    HttpFilter("rate-limit", slot.unused, off=True),
    HttpFilter(body_limit.FILTER, body_limit.build, BODY_LIMIT),
    HttpFilter("envoy.filters.http.router", router.build),
)
