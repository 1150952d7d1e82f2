"""What the upstream learns of the caller. Our own headers go for every call; the route says what it gets and whether the token stays."""

from __future__ import annotations

from scopeward.analysis.gateway import Gateway
from scopeward.compile.envoy import names
from scopeward.compile.envoy.filters import gateway_pass
from scopeward.compile.envoy.proto import Json, set_header, typed
from scopeward.policy.model import Sends

REMOVE_TOKEN = {"remove": "authorization"}


def build(_gateway: Gateway) -> Json:
    """The listener's part: no ``x-sw-*`` reaches an upstream, and no word of Envoy about the caller's address beside X-Forwarded-For."""
    return typed(
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"remove_on_match": {"key_matcher": {"prefix": names.PREFIX}}}, {"remove": "x-envoy-external-address"}]},
    )


def of_route(sends: Sends, issuer: str = "", *, lends: bool, forward_token: bool) -> Json:
    """The part of a route to an upstream. It ``lends`` the caller's identity only where a rule lets the caller in; the pass goes with every call."""
    mutations = [] if forward_token else [REMOVE_TOKEN]
    if lends:
        mutations += [set_header(name.lower(), value) for name, value in _values(sends, issuer) if name]
    if sends.pass_:
        mutations.append(set_header(sends.pass_.lower(), gateway_pass.VALUE))
    return _per_route(mutations)


def of_closed_route() -> Json:
    """The part of a route that goes nowhere."""
    return _per_route([REMOVE_TOKEN])


def _per_route(mutations: list[Json]) -> Json:
    return typed("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", mutations={"request_mutations": mutations})


def _values(sends: Sends, issuer: str) -> list[tuple[str | None, str]]:
    return [
        (sends.client, "%FILTER_STATE(sw.cid:PLAIN)%"),
        (sends.subject, "%FILTER_STATE(sw.sub:PLAIN)%"),
        (sends.scopes, "%FILTER_STATE(sw.scope:PLAIN)%"),
        (sends.issuer, issuer),  # an API has one issuer: a constant
    ]
