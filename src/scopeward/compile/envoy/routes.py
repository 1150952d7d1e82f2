"""Routes: from method and path to the key of a rule. What the policy says of the call is decided by the key, in *decide*."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby

from scopeward.analysis.gateway import Gateway, GatewayApi, Operation
from scopeward.compile.envoy import names
from scopeward.compile.envoy.clusters import cluster_name, upstream_host, upstream_path
from scopeward.compile.envoy.filters import decide, identity, jwt_authn, scrub
from scopeward.compile.envoy.listener import ROUTE_CONFIG
from scopeward.compile.envoy.proto import Json, typed
from scopeward.policy.path import Template, parse_at, parse_template

# A call that matches a route which must not reach an upstream ends here even if every filter let it through.
CLOSED = {"direct_response": {"status": 403}}

# 'access_token' as a query parameter however its letters are percent-encoded, for Envoy compares parameter names undecoded
_TOKEN_IN_QUERY = r"[^?]*\?(?:.*[&;?])?" + "".join(f"(?:{re.escape(c)}|(?i:%{ord(c):02x}))" for c in "access_token") + r"(?:[=&;].*)?"


def compile_routes(gateway: Gateway) -> Json:
    """The route table. A route's name is ``POLICY_VERSION API METHOD TEMPLATE``, so that the audit line can say so at no cost."""
    routes = [*_ambiguous(gateway), *(r for api in gateway.apis for r in _well_known(api, gateway)), *_probe(gateway), *_by_api(gateway), _no_api(gateway)]
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": routes,
        "typed_per_filter_config": {"scrub": scrub.of_virtual_host(gateway.sends)},
        # only the gateway says this; see replies.py and access_log.py
        "response_headers_to_remove": [names.REFERENCE],
    }
    return typed("envoy.config.route.v3.RouteConfiguration", name=ROUTE_CONFIG, virtual_hosts=[host])


def metadata_path(api: GatewayApi) -> str:
    """RFC 9728 section 3.1: the well-known part goes between host and path."""
    return names.WELL_KNOWN + ("" if api.at == "/" else api.at)


def metadata_url(api: GatewayApi, gateway: Gateway) -> str:
    """The address of an API's protected resource metadata, from the policy and never from a Host header."""
    return gateway.public_url + metadata_path(api)


def _ambiguous(gateway: Gateway) -> Iterator[Json]:
    """More than one token is 400 on every path (RFC 6750 section 2). Envoy joins repeated headers by a comma, which no token holds."""
    several = [{"name": "authorization", "string_match": {"contains": ","}}]
    beside = [
        {"name": "authorization", "present_match": True},
        {"name": ":path", "string_match": {"contains": "?"}},  # spares most calls the pattern
        {"name": ":path", "string_match": {"safe_regex": {"regex": _TOKEN_IN_QUERY}}},
    ]
    for headers in (several, beside):
        yield _closed(gateway, "-", {"prefix": "/", "headers": headers}, names.AMBIGUOUS, jwt_authn.OPEN)


def _probe(gateway: Gateway) -> Iterator[Json]:
    """A reserved path that always asks for a token: the warden calls it to see the chain at work on the data port."""
    if gateway.apis:
        api = gateway.apis[0]
        yield _closed(gateway, "-", {"path": names.PROBE}, decide.unruled(api), jwt_authn.required(api)) | {"metadata": _metadata(api, gateway, ())}


def _no_api(gateway: Gateway) -> Json:
    return _closed(gateway, "-", {"prefix": "/"}, names.NO_API, jwt_authn.OPEN)


def _well_known(api: GatewayApi, gateway: Gateway) -> Iterator[Json]:
    """RFC 9728 section 2. Scopes that only some callers may use are named too: the document says what exists, not who may."""
    issuer = next(i for i in gateway.issuers if i.name == api.issuer)
    document = {
        "resource": api.resource,
        "resource_name": api.name,
        "authorization_servers": [issuer.issuer],
        "scopes_supported": sorted({scope for operation in api.operations for scope in operation.needs}),
        "bearer_methods_supported": ["header"],
    }
    match = {"path": metadata_path(api), "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}]}
    yield {
        "name": f"{gateway.policy_version} - GET {metadata_path(api)}",
        "match": match,
        "direct_response": {"status": 200, "body": {"inline_string": json.dumps(document)}},
        "response_headers_to_add": [
            {"header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "cache-control", "value": "public, max-age=300"}},
            {"header": {"key": "access-control-allow-origin", "value": "*"}},
        ],
        "typed_per_filter_config": _filters(names.RESOURCE_METADATA, jwt_authn.OPEN, identity.of_route(None, forward_token=False)),
    }


def _by_api(gateway: Gateway) -> Iterator[Json]:
    """The longest ``at`` first, so that an API below another one keeps its paths."""
    for api in sorted(gateway.apis, key=lambda a: (-len(parse_at(a.at).segments), a.at)):
        yield from _operations(api, gateway)
        yield _refused(api, gateway, _path_match(Template((*parse_at(api.at).segments, *parse_template("/**").segments))))


def _operations(api: GatewayApi, gateway: Gateway) -> Iterator[Json]:
    """The most specific template over all methods comes first; after its methods, the same template refuses every other method."""
    operations = sorted(api.operations, key=lambda o: (_template(o).specificity, _template(o).shape, o.method))
    for _, same in groupby(operations, key=lambda o: _template(o).shape):
        group = list(same)
        methods = {o.method for o in group}
        match = _path_match(_template(group[0]))
        for operation in group:
            with_head = operation.method == "GET" and "HEAD" not in methods
            yield _operation(operation, api, gateway, match | {"headers": [_method(operation.method, with_head=with_head)]})
        yield _refused(api, gateway, match)


def _template(operation: Operation) -> Template:
    return parse_template(operation.template)


def _method(method: str, *, with_head: bool) -> Json:
    return {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}} if with_head else {"exact": method}}


def _path_match(template: Template) -> Json:
    """A match on the path without its query. Literals compare exactly; a parameter is one segment that is not empty."""
    if template.open_ended:
        fixed = template.segments[:-1]
        if not fixed:
            return {"prefix": "/"}
        if all(s.kind == "literal" for s in fixed):
            return {"path_separated_prefix": str(Template(fixed))}
        return {"safe_regex": {"regex": _pattern(Template(fixed)) + "(?:/.*)?"}}
    if all(s.kind == "literal" for s in template.segments):
        return {"path": str(template)}
    return {"safe_regex": {"regex": _pattern(template)}}


def _pattern(template: Template) -> str:
    return "".join("/" + ("[^/]+" if s.kind == "parameter" else re.escape(s.text)) for s in template.segments)


def _operation(operation: Operation, api: GatewayApi, gateway: Gateway, match: Json) -> Json:
    public = operation.public is not None
    sends = None if public else gateway.sends
    issuer = next(i.issuer for i in gateway.issuers if i.name == api.issuer)
    requirement = jwt_authn.optional(api) if public else jwt_authn.required(api)
    return {
        "name": f"{gateway.policy_version} {api.name} {operation.method} {operation.template}",
        "match": match,
        "route": _to_upstream(api),
        "metadata": _metadata(api, gateway, operation.needs),
        "typed_per_filter_config": _filters(operation.id, requirement, identity.of_route(sends, issuer, forward_token=api.upstream.forward_token)),
    }


def _refused(api: GatewayApi, gateway: Gateway, match: Json) -> Json:
    """Paths and methods of an API that no rule covers: a token is asked for first."""
    return _closed(gateway, api.name, match, decide.unruled(api), jwt_authn.required(api)) | {"metadata": _metadata(api, gateway, ())}


def _closed(gateway: Gateway, api: str, match: Json, rule: str, requirement: str) -> Json:
    return {
        "name": f"{gateway.policy_version} {api} - -",
        "match": match,
        **CLOSED,
        "typed_per_filter_config": _filters(rule, requirement, identity.of_route(None, forward_token=False)),
    }


def _filters(rule: str, requirement: str, lent: Json) -> Json:
    return {"scrub": scrub.of_route(rule), jwt_authn.FILTER: jwt_authn.per_route(requirement), "identity": lent}


def _metadata(api: GatewayApi, gateway: Gateway, needs: tuple[str, ...]) -> Json:
    """What the gateway's own answers say of the route."""
    known = {"resource_metadata": metadata_url(api, gateway), "scope": " ".join(needs), "needs": list(needs)}
    return {"filter_metadata": {names.ROUTE_METADATA: known}}


def _to_upstream(api: GatewayApi) -> Json:
    base = upstream_path(api)
    at = "" if api.at == "/" else re.escape(api.at)
    # an upstream without a path of its own gets '/' for the API's root, never an empty path
    rewrite = {"regex": f"^{at}" if base else f"^{at}/?"}
    # Envoy's 'timeout' would cut a long answer that is on its way; the idle limit is the time to the first byte, and between two
    route: Json = {"cluster": cluster_name(api), "timeout": "0s", "idle_timeout": f"{api.upstream.timeout:g}s"}
    if at or base:
        route["regex_rewrite"] = {"pattern": rewrite, "substitution": base or "/"}
    if api.upstream.host_header == "upstream":
        route["host_rewrite_literal"] = upstream_host(api)
    return route
