"""A call walked through a compiled snapshot, as Envoy would: routes in their order, the token's requirement, the tables, the answer.

It reads the resources as Envoy documents them and shares no code with the compiler: what it does not know it refuses to walk
(``NotImplementedError``), so that a new form in a snapshot has to be understood here too. Paths are taken as they are after normalization.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scopeward.compile.snapshot import Snapshot
from scopeward.identity import PresentedToken
from tests.kit.walk_stream import JWT, RBAC, Answered, Stream, text_matches, value_at
from tests.kit.walk_tables import decide_by_table


@dataclass(frozen=True)
class Walked:
    """``reference`` is ``None`` where the call goes to an upstream (or is answered by a document). ``sent`` are the headers it goes on with."""

    reference: str | None
    route: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    sent: Mapping[str, str] = field(default_factory=dict)


def walk(
    snapshot: Snapshot,
    method: str,
    path: str,
    authorization: Sequence[str],
    token: PresentedToken | Literal["none", "malformed"],
    now: float,
    headers: Sequence[tuple[str, str]] = (),
    host: str | None = None,
    certificate: Sequence[str] | None = None,
) -> Walked:
    """Walk one call.

    ``now`` is in seconds since 1970. ``host`` is the Host header, ``None`` for the gateway's own; ``certificate`` the ``dns:…`` and ``uri:…``
    names of the client certificate that TLS took.
    """
    fields = [(":method", method), (":path", path), (":authority", host or _own_name(snapshot)), *((k.lower(), v) for k, v in headers)]
    said = [value for value in authorization if value] or list(authorization[:1])
    stream = Stream(snapshot, [*fields, *([("authorization", ",".join(said))] if said else [])], token, now, certificate)
    manager = snapshot.listeners[0]["filter_chains"][0]["filters"][0]["typed_config"]
    try:
        for extension in manager.get("early_header_mutation_extensions", []):
            _mutate(stream, extension["typed_config"]["mutations"])
        stream.host, stream.route = _route(snapshot, stream)
        for place in manager["http_filters"]:
            if not place.get("disabled"):
                _filter(stream, place["name"], place.get("typed_config") or snapshot.extensions[place["name"]])
    except Answered as answer:
        return Walked(_reference(manager["local_reply_config"], answer), _name(stream), _values(stream))
    return Walked(None, _name(stream), _values(stream), dict(stream.headers))


def _name(stream: Stream) -> str | None:
    return stream.route["name"] if stream.route else None


def _values(stream: Stream) -> dict[str, str]:
    return {k.removesuffix("_enforced_effective_policy_id"): v for k, v in stream.metadata.get(RBAC, {}).items()}


# ── routes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _own_name(snapshot: Snapshot) -> str:
    names: list[str] = [name for config in snapshot.routes for host in config["virtual_hosts"] for name in host["domains"]]
    return names[0]


def _route(snapshot: Snapshot, stream: Stream) -> tuple[Any, Any]:
    (config,) = snapshot.routes
    host = _virtual_host(config, stream.header(":authority") or "")
    for route in host["routes"]:
        if _route_matches(route["match"], stream):
            return host, route
    raise Answered(404, "route_not_found")


def _virtual_host(config: Any, authority: str) -> Any:
    """The one that names the host, else the one of all hosts."""
    name = authority.lower()
    if config.get("ignore_port_in_host_matching"):
        name = re.sub(r"(?<=.):[0-9]*\Z", "", name) if not name.endswith("]") else name
    named = {domain: host for host in config["virtual_hosts"] for domain in host["domains"]}
    if any("*" in domain for domain in named if domain != "*"):
        raise NotImplementedError("domains with a part left open")
    return named.get(name) or named["*"]


def _route_matches(match: Any, stream: Stream) -> bool:
    path = (stream.header(":path") or "").partition("?")[0]
    rest = dict(match)
    headers = rest.pop("headers", [])
    ((kind, wanted),) = rest.items()
    match kind:
        case "path":
            fits = path == wanted
        case "prefix":
            fits = path.startswith(wanted)
        case "path_separated_prefix":
            fits = path == wanted or path.startswith(wanted + "/")
        case "safe_regex":
            fits = re.fullmatch(wanted["regex"], path) is not None
        case _:
            raise NotImplementedError(kind)
    return fits and all(_header_matches(h, stream) for h in headers)


def _header_matches(wanted: Any, stream: Stream) -> bool:
    value = stream.header(wanted["name"])
    match wanted:
        case {"present_match": True, **rest} if set(rest) == {"name"}:
            return value is not None
        case {"string_match": test, **rest} if set(rest) <= {"name", "invert_match"}:
            # a header that is not there is met by neither
            return value is not None and text_matches(test, value) != rest.get("invert_match", False)
        case _:
            raise NotImplementedError(str(wanted))


# ── filters ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _filter(stream: Stream, name: str, config: Any) -> None:
    kind = config["@type"].rsplit(".", 1)[-1] if "header_mutation" not in config["@type"] else "HeaderMutation"
    parts = [holder.get("typed_per_filter_config", {}).get(name) for holder in (stream.host, stream.route)]
    own = [part for part in parts if part is not None]
    if any(part.get("disabled") or part["@type"].endswith("FilterConfig") for part in own):
        return
    match kind:
        case "HeaderMutation":
            for part in (config, *own):
                _mutate(stream, part["mutations"].get("request_mutations", []))
        case "JwtAuthentication":
            _authenticate(stream, config, own[-1] if own else None)
        case "RBAC":
            if own:
                config = own[-1]["rbac"]
            decide_by_table(stream, config)
        case "Config" if "set_filter_state" in config["@type"]:
            _note(stream, config)
        case "BodySizeLimit":
            pass  # a walk has no body
        case "Router":
            if "direct_response" in stream.route:
                status = stream.route["direct_response"]["status"]
                if status != 200:
                    raise Answered(status, "direct_response")
        case _:
            raise NotImplementedError(config["@type"])


def _mutate(stream: Stream, mutations: Any) -> None:
    for mutation in mutations:
        match mutation:
            case {"remove": name}:
                stream.remove(lambda header, name=name: header == name.lower())
            case {"remove_on_match": {"key_matcher": test}}:
                stream.remove(lambda header, test=test: text_matches(test, header))
            case {"append": {"header": {"key": name, "value": text}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}:
                value = _formatted(stream, text)
                if value:
                    stream.remove(lambda header, name=name: header == name.lower())
                    stream.headers.append((name.lower(), value))
            case _:
                raise NotImplementedError(str(mutation))


def _formatted(stream: Stream, text: str) -> str:
    def command(found: re.Match[str]) -> str:
        match found.group(1), found.group(2):
            case "REQ", names:
                return next((value for name in names.split("?") if (value := stream.header(name)) is not None), "")
            case "FILTER_STATE", key if key.endswith(":PLAIN"):
                return stream.state.get(key.removesuffix(":PLAIN"), "")
            case "START_TIME", "%s":
                return str(int(stream.now))
            case "PATH", "NQ":
                return (stream.header(":path") or "").partition("?")[0]
            case "DYNAMIC_METADATA", keys:
                namespace, *path = keys.split(":")
                value = value_at(stream.metadata.get(namespace, {}), path)
                return value if isinstance(value, str) else ""
            case _:
                raise NotImplementedError(found.group())

    return re.sub(r"%([A-Z_]+)\(([^)]*)\)%", command, text)


def _note(stream: Stream, config: Any) -> None:
    for note in config["on_request_headers"]:
        value = _formatted(stream, note["format_string"]["text_format_source"]["inline_string"])
        if value or not note.get("skip_if_empty"):
            stream.state[note["object_key"]] = value


# ── the token ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _authenticate(stream: Stream, config: Any, part: Any) -> None:
    for provider in config["providers"].values():
        for pair in provider.get("claim_to_headers", []):
            stream.remove(lambda header, name=pair["header_name"]: header == name)
    if part is None:
        raise NotImplementedError("jwt_authn rules by path")
    requirement = config["requirement_map"].get(part["requirement_name"])
    if requirement is None:
        raise Answered(403, "jwt_authn_access_denied{Wrong_requirement_name}")
    failure = _verify(stream, config, requirement)
    if failure:
        raise Answered(401, "jwt_authn_access_denied{" + failure.replace(" ", "_") + "}")


def _verify(stream: Stream, config: Any, requirement: Any) -> str | None:
    """Why the requirement is not met, in Envoy's words; ``None`` where it is."""
    match requirement:
        case {"provider_and_audiences": {"provider_name": name, "audiences": audiences}}:
            return _verify_by(stream, config["providers"][name], audiences)
        case {"allow_missing_or_failed": _}:
            for provider in config["providers"].values():
                if _verify_by(stream, provider, provider.get("audiences", [])) is None:
                    break
            return None
        case {"requires_any": {"requirements": several}}:
            failure = None
            for one in several:
                if (failure := _verify(stream, config, one)) is None:
                    return None
            return failure
        case _:
            raise NotImplementedError(str(requirement))


def _verify_by(stream: Stream, provider: Any, audiences: list[str]) -> str | None:
    token = stream.token
    if token == "none":
        return "Jwt is missing"
    if isinstance(token, str) or not _parses(token):
        return "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
    claims, skew = token.claims, provider["clock_skew_seconds"]
    if claims.get("iss", "") != provider["issuer"]:
        return "Jwt issuer is not configured"
    exp, nbf = int(claims.get("exp", 0)), int(claims.get("nbf", 0))
    now = int(stream.now)
    if now + skew < nbf:
        return "Jwt not yet valid"
    if exp and now > exp + skew:
        return "Jwt is expired"
    aud = claims.get("aud", [])
    if audiences and not {_bare(a) for a in ([aud] if isinstance(aud, str) else aud)} & {_bare(a) for a in audiences}:
        return "Audiences in Jwt are not allowed"
    if provider.get("require_expiration") and not exp:
        return "Jwt verification fails"
    if token.key == "unknown":
        return "Jwks doesn't have key to match kid or alg from Jwt"
    if token.key != "good":
        return "Jwt verification fails"
    for pair in provider.get("claim_to_headers", []):
        if (text := _as_header(value_at(claims, pair["claim_name"].split(".")))) is not None:
            stream.headers.append((pair["header_name"], text))
    told = stream.metadata.setdefault(JWT, {})
    if "header_in_metadata" in provider:
        told[provider["header_in_metadata"]] = dict(token.header)
    if "payload_in_metadata" in provider:
        told[provider["payload_in_metadata"]] = dict(claims) | {
            name: [word for word in claims[name].split(" ") if word]
            for name in provider.get("normalize_payload_in_metadata", {}).get("space_delimited_claims", [])
            if isinstance(claims.get(name), str)
        }
    return None


def _parses(token: PresentedToken) -> bool:
    """Envoy's own reading of a JWT's registered members."""

    def number(value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0

    claims, header = token.claims, token.header
    aud = claims.get("aud", [])
    return (
        all(isinstance(claims[c], str) for c in ("iss", "sub", "jti") if c in claims)
        and all(number(claims[c]) for c in ("iat", "nbf", "exp") if c in claims)
        and (isinstance(aud, str) or (isinstance(aud, (list, tuple)) and all(isinstance(a, str) for a in aud)))
        and all(isinstance(header[h], str) for h in ("alg", "kid") if h in header)
    )


def _bare(audience: str) -> str:
    return re.sub(r"\Ahttps?://", "", re.sub(r"/\Z", "", audience)) if audience not in {"http://", "https://"} else ""


def _as_header(value: object) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(int(value)) if value == int(value) else repr(value)
        case str():
            return value or None
        case list() | tuple() | dict():
            return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()
        case _:
            return None


# ── the answer ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _reference(config: Any, answer: Answered) -> str:
    for mapper in config["mappers"]:
        if _mapper_matches(mapper["filter"], answer):
            (reference,) = (h["header"]["value"] for h in mapper["headers_to_add"] if h["header"]["key"] == "scopeward-reference")
            return str(reference)
    raise AssertionError(f"no answer for {answer.details}")


def _mapper_matches(wanted: Any, answer: Answered) -> bool:
    match wanted:
        case {"and_filter": {"filters": several}}:
            return all(_mapper_matches(one, answer) for one in several)
        case {"status_code_filter": {"comparison": {"op": op, "value": {"default_value": code}}}}:
            return answer.status == code if op == "EQ" else answer.status >= code
        case {"extension_filter": {"typed_config": {"expression": text}}}:
            if found := re.fullmatch(r"response\.code_details (==|!=) '(.*)'", text):
                return (answer.details == _unquoted(found.group(2))) == (found.group(1) == "==")
            if found := re.fullmatch(r"response\.code_details\.startsWith\('(.*)'\)", text):
                return answer.details.startswith(_unquoted(found.group(1)))
    raise NotImplementedError(str(wanted))


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
