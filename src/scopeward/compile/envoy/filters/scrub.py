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
    """The listener's part: our own names are removed from trailers too, and the time is noted, for tables that ask whether something is over."""
    return typed(
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [set_header(names.NOW, "%START_TIME(%s)%")],
            "request_trailers_mutations": [{"remove_on_match": {"key_matcher": {"prefix": prefix}}} for prefix in (names.PREFIX, "x-envoy-")],
        },
    )


def of_virtual_host(sends: Sends) -> Json:
    """Remove every identity header that any upstream believes, the pass among them; as a trailer too."""
    removals: list[Json] = [{"remove": name} for name in identity_headers(sends)]
    return _per_route(removals, [*removals, {"remove": "authorization"}])


def of_route(rule: str, api: str = "", *, keeps_trailers: bool = False) -> Json:
    """Set the key under which *decide* finds the route's rule, and the API. No upstream needs a trailer, but for gRPC."""
    set_here = [set_header(names.RULE, rule), *([set_header(names.API, api)] if api else [])]
    return _per_route(set_here, [] if keeps_trailers else [ALL_TRAILERS])


ALL_TRAILERS: Json = {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".*"}}}}


def identity_headers(sends: Sends) -> tuple[str, ...]:
    """The header names that the policy sends, in lower case and in order."""
    return tuple(sorted({n.lower() for n in (sends.client, sends.subject, sends.issuer, sends.scopes, sends.pass_) if n}))


def _per_route(requests: list[Json], trailers: list[Json]) -> Json:
    mutations = {"request_mutations": requests, "request_trailers_mutations": trailers}
    return typed("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations={k: v for k, v in mutations.items() if v})
