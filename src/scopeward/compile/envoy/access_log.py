"""The audit line, as Envoy writes it: one JSON object a call. Its schema is ``scopeward.audit_line``."""

from __future__ import annotations

from scopeward.audit_line import VERSION
from scopeward.compile.envoy import names
from scopeward.compile.envoy.proto import RBAC_METADATA, Json, typed
from scopeward.compile.snapshot import Edge


def compile_access_log(edge: Edge) -> Json:
    """A file log. Envoy escapes every value as JSON, so no byte from outside can end a line or a field."""
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": typed("envoy.extensions.access_loggers.file.v3.FileAccessLog", path=edge.audit_log, log_format={"json_format": _fields(edge.node)}),
    }


# Of what a caller may choose at will the log keeps so many bytes: HTTP/2 lets him name 60 KB by a few bytes of a table (RFC 7541 section 2.3), and
# each byte may become six in JSON, so that some hundred kilobytes sent would fill a disk.
PATH_KEPT = 2048
ID_KEPT = 128
METHOD_KEPT = 32

# The router rewrites the path for the upstream; the note holds the one that was asked for. A call refused before the note was never rewritten.
PATH = f'%COALESCE({{"operators": [{{"command": "FILTER_STATE", "param": "sw.path:PLAIN"}}, {{"command": "PATH", "param": "NQ"}}]}}):{PATH_KEPT}%'


def _fields(node: str) -> Json:
    """Route metadata is dear to read: what the route knows travels in its name."""
    return {
        "v": VERSION,
        "node": node,
        "time": "%START_TIME%",
        "ms": "%DURATION%",
        "request_id": f"%REQ(X-REQUEST-ID):{ID_KEPT}%",
        "client_request_id": f"%REQ({names.CLIENT_REQUEST_ID}):{ID_KEPT}%",
        "traceparent": f"%REQ(TRACEPARENT):{ID_KEPT}%",
        "address": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "method": f"%REQ(:METHOD):{METHOD_KEPT}%",
        "path": PATH,
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "reference": f"%RESP({names.REFERENCE})%",
        "route": "%ROUTE_NAME%",
        "decision": f"%DYNAMIC_METADATA({RBAC_METADATA}:decide_enforced_effective_policy_id)%",
        "who": f"%DYNAMIC_METADATA({RBAC_METADATA}:who_enforced_effective_policy_id)%",
        "sub": "%FILTER_STATE(sw.sub:PLAIN)%",
        "client_id": "%FILTER_STATE(sw.cid:PLAIN)%",
        "scope": "%FILTER_STATE(sw.scope:PLAIN)%",
        "jti": "%FILTER_STATE(sw.jti:PLAIN)%",
        "iat": "%FILTER_STATE(sw.iat:PLAIN)%",
        "exp": "%FILTER_STATE(sw.exp:PLAIN)%",
        "roles": f"%REQ({names.ROLES})%",
    }
