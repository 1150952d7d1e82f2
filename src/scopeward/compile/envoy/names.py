"""The names that the filters, the routes, the log and the answers share."""

from __future__ import annotations

PREFIX = "x-sw-"
"""Headers that live inside the gateway only: a caller's are removed before routing, ours before the upstream."""

ISSUER = "x-sw-iss"
SUBJECT = "x-sw-sub"
CLIENT = "x-sw-cid"
SCOPE = "x-sw-scope"
SCP = "x-sw-scp"
TOKEN_ID = "x-sw-jti"  # noqa: S105  # a header's name
ISSUED_AT = "x-sw-iat"
EXPIRES = "x-sw-exp"
ACTOR = "x-sw-act"
PERSON = "x-sw-person"
NONCE = "x-sw-nonce"
AT_HASH = "x-sw-at-hash"
C_HASH = "x-sw-c-hash"
ROLES = "x-sw-roles"
RULE = "x-sw-rule"
NOW = "x-sw-now"
"""When the call began, in whole seconds."""
API = "x-sw-api"
"""The API of the route."""

CLIENT_REQUEST_ID = "x-client-request-id"
"""The request id that the caller sent, beside the one that the gateway makes; an upstream may find it useful too."""

REFERENCE = "scopeward-reference"
"""Response header of every answer that is the gateway's own; an upstream's is removed."""

ROUTE_METADATA = "scopeward"

# keys of rules that are not operations; an operation's key is hex, so none of these can be one
NO_API = "no-api"
NO_RULE = "no-rule"
AMBIGUOUS = "ambiguous"
ODD_PATH = "odd-path"
PREFLIGHT = "preflight"
UNKNOWN_HOST = "unknown-host"
RESOURCE_METADATA = "resource-metadata"
PASS_KEYS = "pass-keys"  # noqa: S105  # public keys

WELL_KNOWN = "/.well-known/oauth-protected-resource"

PROBE = "/.well-known/scopeward/probe"
PASS_JWKS = "/.well-known/scopeward/jwks.json"  # noqa: S105  # a path
