"""Every answer that is the gateway's own, in one form: RFC 6750 and RFC 9728 challenge, RFC 9457 body, a reference; no word of Envoy's.

The first mapper that matches wins. None of this depends on the policy: what a route knows (its scopes, its metadata URL) is read from the
route. CEL over the response detail is dear, so a mapper asks for the status first and the common answers come first.
"""

from __future__ import annotations

from collections.abc import Iterator

from scopeward.compile.envoy import names
from scopeward.compile.envoy.filters import base, decide
from scopeward.compile.envoy.proto import Json, typed
from scopeward.errors import DOCS, REFERENCES, Reference

# Envoy's words for why a JWT is refused (jwt_verify_lib's status texts, spaces as '_'), by how the detail goes on after "{"
JWT_DETAILS: tuple[tuple[str, str], ...] = (
    ("Jwt_is_missing", "token-missing"),
    ("Jwt_is_expired", "token-expired"),
    ("Jwt_not_yet_valid", "token-not-yet-valid"),
    ("Audiences_in_Jwt", "token-audience"),
    ("Jwt_issuer_is_not_configured", "token-issuer"),
    ("Jwks_doesn't_have_key", "token-unknown-key"),
    ("Jwt_verification_fails", "token-verification-failed"),
    ("", "token-malformed"),
)

# what else answers by itself: (status that Envoy gave, how the detail begins, reference)
OTHER_DETAILS: tuple[tuple[int, str, str], ...] = (
    # a claim that would become an identity header holds CR, LF, NUL or another control character
    (503, "filter_removed_required_request_headers{invalid_header_value_for:", "token-claim-unsafe"),
    (503, "upstream_reset_before_response_started{connection_termination", "upstream-failed"),
    (503, "upstream_reset_before_response_started{protocol_error", "upstream-failed"),
    (403, "upgrade_failed", "upgrade-refused"),
    (403, "http1.https_url_on_plaintext_connection", "request-malformed"),
    (403, "rbac_access_denied_matched_policy[slot-unused]", "gateway-error"),
)

# and what is told by the status alone
BY_STATUS: tuple[tuple[int, str], ...] = (
    (400, "request-malformed"),
    (403, "no-rule"),
    (404, "api-not-found"),
    (408, "request-timeout"),
    (413, "body-too-large"),
    (426, "request-malformed"),  # HTTP/1.0
    (429, "too-many-calls"),
    (431, "headers-too-large"),
    (501, "request-malformed"),  # a transfer coding that is not known
    (502, "upstream-failed"),
    (503, "upstream-unavailable"),
    (504, "upstream-timeout"),
)


def compile_replies() -> Json:
    """The connection manager's local_reply_config."""
    return {"mappers": list(_mappers())}


def _mappers() -> Iterator[Json]:
    for begins, reference in JWT_DETAILS:
        yield _mapper(REFERENCES[reference], _detail_begins(f"jwt_authn_access_denied{{{begins}"))
    for reference in dict.fromkeys([*decide.REFERENCES, *base.REFERENCES]):
        yield _mapper(REFERENCES[reference], _both(_status(403), _detail_is(f"rbac_access_denied_matched_policy[{reference}]")))
    for status, begins, reference in OTHER_DETAILS:
        yield _mapper(REFERENCES[reference], _both(_status(status), _detail_begins(begins)))
    for status, reference in BY_STATUS:
        yield _mapper(REFERENCES[reference], _both(_status(status), _not_direct()))
    yield _mapper(REFERENCES["gateway-error"], _status(400, "GE"))


def _mapper(reference: Reference, when: Json) -> Json:
    headers = {names.REFERENCE: reference.id, "cache-control": "no-store"}
    if challenge := _challenge(reference):
        headers["www-authenticate"] = challenge
    return {
        "filter": when,
        "status_code": reference.status,
        "headers_to_add": [{"header": {"key": k, "value": v}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"} for k, v in headers.items()],
        "body_format_override": {"json_format": _body(reference), "content_type": "application/problem+json"},
    }


def _challenge(reference: Reference) -> str | None:
    """RFC 6750 section 3; ``resource_metadata`` (RFC 9728 section 5.1) comes from the route, never from the Host header."""
    metadata = f'resource_metadata="{_route("resource_metadata")}"'
    match reference.challenge:
        case "none":
            return None
        case "bare":  # section 3.1: no error code where no token was sent
            return f"Bearer {metadata}"
        case "invalid_token":
            return f'Bearer error="invalid_token", error_description="{reference.title}", {metadata}'
        case "insufficient_scope":
            return f'Bearer error="insufficient_scope", error_description="{reference.title}", scope="{_route("scope")}", {metadata}'


def _body(reference: Reference) -> Json:
    body = {
        "type": f"{DOCS}{reference.id}",
        "title": reference.title,
        "status": reference.status,
        "detail": reference.cause,
        "reference": reference.id,
        "remedy": reference.remedy,
        "request_id": "%REQ(X-REQUEST-ID)%",
    }
    return body | ({"needs": _route("needs")} if reference.challenge == "insufficient_scope" else {})


def _route(key: str) -> str:
    return f"%METADATA(ROUTE:{names.ROUTE_METADATA}:{key})%"


def _status(code: int, op: str = "EQ") -> Json:
    # the runtime key is demanded by the schema and set by nobody
    return {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": code, "runtime_key": "scopeward.unset"}}}}


def _detail_is(detail: str) -> Json:
    return _cel(f"response.code_details == {_quoted(detail)}")


def _detail_begins(detail: str) -> Json:
    return _cel(f"response.code_details.startsWith({_quoted(detail)})")


def _not_direct() -> Json:
    return _cel("response.code_details != 'direct_response'")


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _cel(expression: str) -> Json:
    config = typed("envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter", expression=expression)
    return {"extension_filter": {"name": "cel", "typed_config": config}}


def _both(first: Json, second: Json) -> Json:
    return {"and_filter": {"filters": [first, second]}}
