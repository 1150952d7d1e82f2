"""Remove what a caller must not say: trailers and identity headers. Then the route sets its rule key.

Our own ``x-sw-*`` are gone before, with the connection manager's early mutation (``listener.py``), so that no route is chosen by them. The names that the policy sends to upstreams are removed by the virtual host's part of this filter, the rule key is set by the route's;
Envoy applies listener, virtual host and route in this order.
"""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.envoy.proto import Json, set_header, typed
from scopeward.policy.model import Sends


def build(_gateway: Gateway) -> Json:
    """The listener's part. A trailer can carry an identity name past every header rule, and no upstream of ours needs any."""
    return typed(
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_trailers_mutations": [{"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".*"}}}}]},
    )


def of_virtual_host(sends: Sends) -> Json:
    """Remove every identity header that any upstream believes."""
    return _per_route([{"remove": name} for name in identity_headers(sends)])


def of_route(rule: str) -> Json:
    """Set the key under which *decide* finds the route's rule."""
    return _per_route([set_header(names.RULE, rule)])


def identity_headers(sends: Sends) -> tuple[str, ...]:
    """The header names that the policy sends, in lower case and in order."""
    return tuple(sorted({n.lower() for n in (sends.client, sends.subject, sends.issuer, sends.scopes) if n}))


def _per_route(mutations: list[Json]) -> Json:
    return typed("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations={"request_mutations": mutations})
