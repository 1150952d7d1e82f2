"""Routes: from method and path to the key of a rule. What the policy says of the call is decided by the key, in *decide*."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import groupby

from scopeward.analysis.gateway import Gateway, GatewayApi, GatewayIssuer, Operation
from scopeward.compile.envoy import names
from scopeward.compile.envoy.clusters import cluster_name, upstream_host, upstream_path
from scopeward.compile.envoy.filters import body_limit, decide, identity, jwt_authn, scrub
from scopeward.compile.envoy.listener import ROUTE_CONFIG
from scopeward.compile.envoy.proto import Json, typed
from scopeward.policy.model import OddPath, StreamKind
from scopeward.policy.path import ESCAPABLE, Template, parse_at, parse_template
from scopeward.policy.url import parse_url

# A call that matches a route which must not reach an upstream ends here even if every filter let it through.
CLOSED = {"direct_response": {"status": 403}}

# escapes that no server should be sent: control characters, what UTF-8 never holds or spells longer than need be, and a '%' that is no escape
NEVER = ("%[01][0-9a-f]", "%7f", "%c[01]", "%e0%[89]", "%f0%8", "%f[5-9a-f]", "%[^0-9a-f]", "%[0-9a-f][^0-9a-f]", "%.?$")

# and forms that some servers strip, decode twice or fold, by the word with which an API allows them
ODD: dict[OddPath, str] = {"semicolon": ";|%3b", "percent": "%25", "space": "%20"}

# what servers that fold letters by Unicode (CaseFolding.txt) take for letters of ASCII: the Kelvin sign, the long s, i without a dot and I with one
FOLDED = {"k": "%e2%84%aa", "s": "%c5%bf", "i": "%c4%b[01]"}

STREAM_IDLE = 300
"""Seconds of silence after which a stream ends. Whoever has nothing to say for long sends a ping, a comment or a keep-alive."""

# 'access_token' as a query parameter however its letters are percent-encoded, for Envoy compares parameter names undecoded
_TOKEN_IN_QUERY = r"[^?]*\?(?:.*[&;?])?" + "".join(f"(?:{re.escape(c)}|(?i:%{ord(c):02x}))" for c in "access_token") + r"(?:[=&;].*)?"


# RFC 6750 section 2.1: the scheme, and one token of the characters that tokens have
_CREDENTIAL = r"(?i:bearer) +[A-Za-z0-9\-._~+/]+=* *"


def compile_routes(gateway: Gateway) -> Json:
    """The route table. A route's name is ``POLICY_VERSION API METHOD TEMPLATE``, so that the audit line can say so at no cost."""
    first = [*_ambiguous(gateway), _preflight(gateway), _pass_keys(gateway), *(r for api in gateway.apis for r in _well_known(api, gateway))]
    routes = [*first, *_probe(gateway), *_by_api(gateway), _no_api(gateway)]
    elsewhere = [*_probe(gateway), _closed(gateway, "-", {"prefix": "/"}, names.UNKNOWN_HOST, jwt_authn.OPEN)]
    hosts = [_virtual_host("gateway", domains(gateway), routes, gateway), _virtual_host("unknown", ["*"], elsewhere, gateway)]
    # a port says nothing of who is meant: proxies and tunnels change it
    return typed("envoy.config.route.v3.RouteConfiguration", name=ROUTE_CONFIG, virtual_hosts=hosts, ignore_port_in_host_matching=True)


def domains(gateway: Gateway) -> list[str]:
    """The names under which the gateway answers. What loopback is called on one machine is all one."""
    url = parse_url(gateway.public_url)
    own = f"[{url.host}]" if ":" in url.host else url.host.lower()
    return sorted({own, "127.0.0.1", "localhost", "[::1]"}) if url.loopback else [own]


def _virtual_host(name: str, domains: list[str], routes: list[Json], gateway: Gateway) -> Json:
    return {
        "name": name,
        "domains": domains,
        "routes": routes,
        "typed_per_filter_config": {"scrub": scrub.of_virtual_host(gateway.sends)},
        # only the gateway says this; see replies.py and access_log.py
        "response_headers_to_remove": [names.REFERENCE],
    }


def metadata_path(api: GatewayApi) -> str:
    """RFC 9728 section 3.1: the well-known part goes between host and path."""
    return names.WELL_KNOWN + ("" if api.at == "/" else api.at)


def metadata_url(api: GatewayApi, gateway: Gateway) -> str:
    """The address of an API's protected resource metadata, from the policy and never from a Host header."""
    return gateway.public_url + metadata_path(api)


def _ambiguous(gateway: Gateway) -> Iterator[Json]:
    """More than one token is 400 on every path (RFC 6750 section 2). Envoy joins repeated headers by a comma, which no token holds."""
    several = [{"name": "authorization", "string_match": {"contains": ","}}]
    # Envoy looks for 'Bearer ' anywhere in the value, and skips what no token holds: what goes on must be what was judged
    more = [
        {"name": "authorization", "string_match": {"contains": "bearer ", "ignore_case": True}},
        {"name": "authorization", "string_match": {"safe_regex": {"regex": _CREDENTIAL}}, "invert_match": True},
    ]
    beside = [
        {"name": "authorization", "present_match": True},
        {"name": ":path", "string_match": {"contains": "?"}},  # spares most calls the pattern
        {"name": ":path", "string_match": {"safe_regex": {"regex": _TOKEN_IN_QUERY}}},
    ]
    for headers in (several, more, beside):
        yield _closed(gateway, "-", {"prefix": "/", "headers": headers}, names.AMBIGUOUS, jwt_authn.OPEN)


def _preflight(gateway: Gateway) -> Json:
    """A browser's question (Fetch standard, section 3.2.2) carries no token, and no upstream may answer it in the gateway's place."""
    asks = [{"name": ":method", "string_match": {"exact": "OPTIONS"}}, {"name": "access-control-request-method", "present_match": True}]
    return _closed(gateway, "-", {"prefix": "/", "headers": asks}, names.PREFLIGHT, jwt_authn.OPEN)


def _pass_keys(gateway: Gateway) -> Json:
    """The keys with which upstreams verify the gateway's pass (RFC 7517 section 5)."""
    return _document(gateway, names.PASS_JWKS, gateway.pass_keys, names.PASS_KEYS, 300)


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
    yield _document(gateway, metadata_path(api), json.dumps(document), names.RESOURCE_METADATA, 300)


def _document(gateway: Gateway, path: str, body: str, rule: str, max_age: int) -> Json:
    """What everybody may read; ``max_age`` in seconds."""
    return {
        "name": f"{gateway.policy_version} - GET {path}",
        "match": {"path": path, "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}]},
        "direct_response": {"status": 200, "body": {"inline_string": body}},
        "response_headers_to_add": [
            {"header": {"key": "content-type", "value": "application/json"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"},
            {"header": {"key": "cache-control", "value": f"public, max-age={max_age}"}},
            {"header": {"key": "access-control-allow-origin", "value": "*"}},
        ],
        "typed_per_filter_config": _filters(scrub.of_route(rule), jwt_authn.OPEN, identity.of_closed_route()),
    }


def _by_api(gateway: Gateway) -> Iterator[Json]:
    """The longest ``at`` first, so that an API below another one keeps its paths."""
    for api in sorted(gateway.apis, key=lambda a: (-len(parse_at(a.at).segments), a.at)):
        yield from _odd(api, gateway)
        yield from _other_apis(api, gateway)
        yield from _operations(api, gateway)
        yield _refused(api, gateway, _path_match(Template((*parse_at(api.at).segments, *parse_template("/**").segments)), api))


def _odd(api: GatewayApi, gateway: Gateway) -> Iterator[Json]:
    """Paths that servers read in different ways. Each pattern begins with the API's own path, so that it costs others' calls nothing."""
    at = "" if api.at == "/" else re.escape(api.at)
    escapes = [*NEVER, *(pattern for form, pattern in ODD.items() if form not in api.allow)]
    yield _closed(gateway, api.name, {"safe_regex": {"regex": f"{at}/.*(?i:{'|'.join(escapes)}).*"}}, names.ODD_PATH, jwt_authn.OPEN)
    if "dot" not in api.allow:
        yield _closed(gateway, api.name, {"safe_regex": {"regex": rf"{at}/(?:.*\.|(?:.*\./.*))"}}, names.ODD_PATH, jwt_authn.OPEN)


def _other_apis(api: GatewayApi, gateway: Gateway) -> Iterator[Json]:
    """Other spellings of the way to an API that lives below this one: this one's rules were not written for it."""
    at = parse_at(api.at)
    for other in gateway.apis:
        home = parse_at(other.at)
        below = Template(home.segments[len(at.segments) :])
        if home.segments[: len(at.segments)] == at.segments and below.has_spellings(any_case=api.case == "guarded"):
            yield _refused(api, gateway, {"safe_regex": {"regex": _in_any_spelling(below, api) + "(?:/.*)?"}})


def _operations(api: GatewayApi, gateway: Gateway) -> Iterator[Json]:
    """The most specific template over all methods comes first; after its methods, the same template refuses every other method.

    Where it guards its spelling, all spellings are refused together.
    """
    operations = sorted(api.operations, key=lambda o: (_template(o).specificity, _template(o).shape, o.method))
    for _, alike in groupby(operations, key=lambda o: _template(o).specificity):
        guarded: dict[str, Operation] = {}
        for shape, same in groupby(alike, key=lambda o: _template(o).shape):
            group = list(same)
            methods = {o.method for o in group}
            match = _path_match(_template(group[0]), api)
            for operation in group:
                with_head = operation.method == "GET" and "HEAD" not in methods
                yield _operation(operation, api, gateway, match | {"headers": [_method(operation.method, with_head=with_head)]})
            if not group[0].guards_spelling:
                yield _refused(api, gateway, match)
            if group[0].guards_spelling or group[0].guards_slash:
                guarded[shape] = group[0]
        # after all that are written so: '/Admin' may be a rule of its own beside '/admin'
        for operation in guarded.values():
            yield _refused(api, gateway, {"safe_regex": {"regex": _other_spellings(operation, api)}})


def _other_spellings(operation: Operation, api: GatewayApi) -> str:
    """The spellings that are refused, the plain one among them where only what comes before it may have it."""
    below = Template(_template(operation).segments[len(parse_at(api.at).segments) :])
    if below.open_ended:
        return _in_any_spelling(Template(below.segments[:-1]), api) + "(?:/.*)?"
    ends = {(True, True): "/?", (True, False): "/?" if api.slash == "same" else "", (False, True): "/"}
    return _in_any_spelling(below, api) + ends[operation.guards_spelling, operation.guards_slash]


def _in_any_spelling(below: Template, api: GatewayApi) -> str:
    """A pattern of the API's path, and below it of the template as some servers would read it too: escaped, or in letters of another case."""
    folds = api.case == "guarded"
    segments = ["[^/]+" if s.kind == "parameter" else "".join(_character(c, folds=folds) for c in s.text) for s in below.segments]
    pattern = "".join(f"/{segment}" for segment in segments)
    return ("" if api.at == "/" else re.escape(api.at)) + (f"(?i:{pattern})" if folds else pattern)


def _character(character: str, *, folds: bool) -> str:
    """Envoy undoes the escapes of letters, digits and - . _ ~ before a route is chosen; of the others that a template can hold it does not."""
    if character in ESCAPABLE:
        return f"(?:{re.escape(character)}|(?i:%{ord(character):02x}))"
    if folds and character.lower() in FOLDED:
        return f"(?:{character}|{FOLDED[character.lower()]})"
    return re.escape(character)


def _template(operation: Operation) -> Template:
    return parse_template(operation.template)


def _method(method: str, *, with_head: bool) -> Json:
    return {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}} if with_head else {"exact": method}}


def _path_match(template: Template, api: GatewayApi) -> Json:
    """A match on the path without its query. Literals compare exactly; a parameter is one segment that is not empty."""
    fixed = template.segments[:-1] if template.open_ended else template.segments
    if all(s.kind == "literal" for s in fixed):
        if template.open_ended:
            return {"path_separated_prefix": str(Template(fixed))} if fixed else {"prefix": "/"}
        if api.slash == "exact" or not fixed:
            return {"path": str(template)}
    return {"safe_regex": {"regex": _whole(template, api)}}


def _whole(template: Template, api: GatewayApi) -> str:
    if template.open_ended:
        return _pattern(Template(template.segments[:-1])) + "(?:/.*)?"
    return _pattern(template) + ("/?" if api.slash == "same" else "")


def _pattern(template: Template) -> str:
    return "".join("/" + ("[^/]+" if s.kind == "parameter" else re.escape(s.text)) for s in template.segments)


def _operation(operation: Operation, api: GatewayApi, gateway: Gateway, match: Json) -> Json:
    public = operation.public is not None
    issuer = next(i for i in gateway.issuers if i.name == api.issuer)
    requirement = jwt_authn.optional(api) if public else jwt_authn.required(api)
    lent = identity.of_route(gateway.sends, issuer.issuer, lends=not public, forward_token=api.upstream.forward_token)
    scrubbed = scrub.of_route(operation.id, api.name, keeps_trailers=operation.stream == "grpc")
    filters = _filters(scrubbed, requirement, lent)
    return {
        "name": f"{gateway.policy_version} {api.name} {operation.method} {operation.template}",
        "match": match,
        "route": _to_upstream(api) | (_stream(operation.stream, issuer) if operation.stream else {}),
        "metadata": _metadata(api, gateway, operation.needs),
        "typed_per_filter_config": filters | ({body_limit.FILTER: body_limit.OFF} if operation.stream else {}),
    }


def _stream(kind: StreamKind, issuer: GatewayIssuer) -> Json:
    """Nobody looks at the token again while a stream goes on, so it ends when the longest token would. A silent one ends earlier."""
    bounds: Json = {
        "idle_timeout": f"{min(STREAM_IDLE, issuer.longest_stream)}s",
        "max_stream_duration": {"max_stream_duration": f"{issuer.longest_stream}s"},
    }
    return bounds | ({"upgrade_configs": [{"upgrade_type": "websocket", "enabled": True}]} if kind == "websocket" else {})


def _refused(api: GatewayApi, gateway: Gateway, match: Json) -> Json:
    """Paths and methods of an API that no rule covers: a token is asked for first."""
    return _closed(gateway, api.name, match, decide.unruled(api), jwt_authn.required(api)) | {"metadata": _metadata(api, gateway, ())}


def _closed(gateway: Gateway, api: str, match: Json, rule: str, requirement: str) -> Json:
    return {
        "name": f"{gateway.policy_version} {api} - -",
        "match": match,
        **CLOSED,
        "typed_per_filter_config": _filters(scrub.of_route(rule), requirement, identity.of_closed_route()),
    }


def _filters(scrubbed: Json, requirement: str, lent: Json) -> Json:
    return {"scrub": scrubbed, jwt_authn.FILTER: jwt_authn.per_route(requirement), "identity": lent}


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
