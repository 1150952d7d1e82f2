"""Verify the token: signature by the issuer's keys, ``iss``, ``aud``, ``exp``, ``nbf``; then hand its claims on as headers.

Envoy removes a caller's copy of each claim header on every path, so a claim header is always a verified claim.
"""

from __future__ import annotations

import json
from typing import Any

from scopeward.analysis.gateway import Gateway, GatewayApi, GatewayIssuer
from scopeward.compile.envoy import names
from scopeward.compile.envoy.proto import Json, typed
from scopeward.compile.snapshot import digest

FILTER = "envoy.filters.http.jwt_authn"
HEADER_KEY = "header"
PAYLOAD_KEY = "payload"

# RFC 9110 section 11.1: the scheme is case-insensitive; Envoy compares the prefix exactly, so each usual spelling is listed
SCHEMES = ("Bearer ", "bearer ", "BEARER ")

# What is verified once is not verified again until the keys change: Envoy re-checks exp and aud on each hit.
CACHED_TOKENS = 20_000
CACHED_TOKEN_BYTES = 8_192

OPEN = "open"
"""The requirement of routes on which nothing is asked. A good token that is sent all the same is noted for the log."""


def build(gateway: Gateway) -> Json:
    """The filter with every issuer as a provider and one named requirement for each way in which an API asks."""
    requirements: dict[str, Json] = {OPEN: {"allow_missing_or_failed": {}}}
    for api in gateway.apis:
        requirements[required(api)] = _verified(api)
        requirements[optional(api)] = {"requires_any": {"requirements": [_verified(api), {"allow_missing_or_failed": {}}]}}
    return typed(
        "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        providers={issuer.name: _provider(issuer) for issuer in gateway.issuers},
        requirement_map=requirements,
    )


def required(api: GatewayApi) -> str:
    """The name of the requirement of an API's guarded routes. A hash, so that routes and filter out of step cannot meet by accident."""
    return f"required.{digest([api.issuer, api.audience])}"


def optional(api: GatewayApi) -> str:
    """The requirement of an API's public routes: a good token is noted, none or a bad one is let through without claims."""
    return f"optional.{digest([api.issuer, api.audience])}"


def per_route(requirement: str) -> Json:
    """What a route asks."""
    return typed("envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig", requirement_name=requirement)


def _verified(api: GatewayApi) -> Json:
    # the audience sits here and not in the provider: it is an API's, and it is re-checked when the token comes from the cache
    return {"provider_and_audiences": {"provider_name": api.issuer, "audiences": [api.audience]}}


def _provider(issuer: GatewayIssuer) -> Json:
    provider: dict[str, Any] = {
        "issuer": issuer.issuer,
        "local_jwks": {"inline_string": json.dumps(json.loads(issuer.jwks), sort_keys=True, separators=(",", ":"))},
        # always set: without it Envoy takes ?access_token= as well
        "from_headers": [{"name": "Authorization", "value_prefix": scheme} for scheme in SCHEMES],
        "forward": True,  # the identity filter removes it; an API may ask for it
        "require_expiration": True,
        "clock_skew_seconds": issuer.clock_skew,
        "header_in_metadata": HEADER_KEY,
        "claim_to_headers": [{"header_name": header, "claim_name": claim} for header, claim in claims(issuer)],
        "jwt_cache_config": {"jwt_cache_size": CACHED_TOKENS, "jwt_max_token_size": CACHED_TOKEN_BYTES},
    }
    if issuer.scope_form == "any":
        # arrays do not travel as headers; a copy of the payload costs more than all other checks together
        provider["payload_in_metadata"] = PAYLOAD_KEY
        provider["normalize_payload_in_metadata"] = {"space_delimited_claims": ["scope", "scp"]}
    return provider


def claims(issuer: GatewayIssuer) -> list[tuple[str, str]]:
    """Which claim goes into which header."""
    pairs = [
        (names.ISSUER, "iss"),
        (names.SUBJECT, "sub"),
        (names.CLIENT, issuer.client_claim),
        (names.SCOPE, "scope"),
        (names.SCP, "scp"),
        (names.TOKEN_ID, "jti"),
        (names.ISSUED_AT, "iat"),
        (names.EXPIRES, "exp"),
        (names.ACTOR, "act"),
    ]
    if issuer.person is not None:
        pairs.append((names.PERSON, issuer.person.claim))
    if issuer.typ == "any":
        pairs += [(names.NONCE, "nonce"), (names.AT_HASH, "at_hash"), (names.C_HASH, "c_hash")]
    return pairs
