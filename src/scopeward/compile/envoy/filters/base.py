"""Facts of the token that hold whatever the rule says. Values: ``ok``, or the reference with which the call is refused.

Written in ALLOW form: ``ok`` needs every predicate to hold, so what is missing or cannot be evaluated is never ``ok``.
"""

from __future__ import annotations

from typing import Any

from scopeward.analysis.gateway import Gateway, GatewayIssuer
from scopeward.compile.envoy import names, times
from scopeward.compile.envoy.filters import jwt_authn, revoke, who
from scopeward.compile.envoy.proto import (
    JWT_METADATA,
    Json,
    action,
    all_of,
    any_of,
    choose,
    header,
    header_present,
    look_up,
    metadata,
    negate,
    nested,
    outcome,
    regex,
    table,
    typed,
)

OK = "ok"

REFERENCES = (
    "token-missing",
    "issuer-keys-stale",
    "token-claim-unsafe",
    "token-crit",
    "token-type",
    "token-lifetime",
    "token-id-missing",
    "token-revoked",
    "actor-not-accepted",
    "client-unlisted",
    "person-missing",
)
"""All that this table can refuse with. *enforce* must know each of them."""

# HTTP trims white space around a header's value: a subject ' admin' would be 'admin' at the upstream. Control characters are refused with it.
_UNSAFE = regex(r"(?s)[ \t].*|.*[ \t]|.*[\x00-\x08\x0a-\x1f\x7f].*")


def build(gateway: Gateway) -> Json:
    """One branch an issuer. A call without a verified token has no issuer and falls to ``token-missing``."""
    branches = {issuer.issuer: nested(_of_issuer(issuer)) for issuer in gateway.issuers}
    return table("base", look_up(names.ISSUER, branches, action("token-missing")))


def _of_issuer(issuer: GatewayIssuer) -> Json:
    checks = _checks(issuer)
    usable = all_of(*(predicate for _, predicate in checks), outcome("who", safe_regex={"regex": "(?:person|service|agent).*"}))
    refusals = [(negate(predicate), action(reference)) for reference, predicate in checks]
    alone = (outcome("who", prefix=f"{who.REFUSED}person-missing "), action("person-missing"))
    return choose([(usable, action(OK)), *refusals, alone], action("client-unlisted"))


def _checks(issuer: GatewayIssuer) -> list[tuple[str, Json]]:
    """The checks in their order; each says with which reference its failure is refused.

    The age of the keys is asked here, so that it holds with the warden down.
    """
    checks: list[tuple[str, Json]] = []
    if issuer.good_until is not None:
        checks.append(("issuer-keys-stale", times.before(names.NOW, issuer.good_until)))
    checks += [
        ("token-claim-unsafe", negate(any_of(header(names.SUBJECT, safe_regex=_UNSAFE), header(names.CLIENT, safe_regex=_UNSAFE)))),
        ("token-crit", negate(metadata(JWT_METADATA, [jwt_authn.HEADER_KEY, "crit"], {"present_match": True}))),
        ("token-type", _is_access_token(issuer)),
    ]
    if issuer.lifetime is not None:
        checks.append(("token-lifetime", _lives_at_most(issuer.lifetime)))
    if issuer.jti == "required":
        checks.append(("token-id-missing", header_present(names.TOKEN_ID)))
    return [
        *checks,
        ("token-revoked", outcome("revoke_recent", exact=revoke.LIVE)),
        ("token-revoked", outcome("revoke_settled", exact=revoke.LIVE)),
        ("actor-not-accepted", negate(header_present(names.ACTOR))),
    ]


def _typ(spelling: str) -> Json:
    return metadata(JWT_METADATA, [jwt_authn.HEADER_KEY, "typ"], {"string_match": {"exact": spelling, "ignore_case": True}})


def _is_access_token(issuer: GatewayIssuer) -> Json:
    """RFC 9068 section 4 where the issuer marks its tokens; else what only ID tokens have must be absent (OIDC Core section 2)."""
    marked = any_of(_typ("at+jwt"), _typ("application/at+jwt"))
    if issuer.typ == "at+jwt":
        return marked
    unmarked = any_of(_typ("JWT"), negate(metadata(JWT_METADATA, [jwt_authn.HEADER_KEY, "typ"], {"present_match": True})))
    no_id_token = [negate(header_present(name)) for name in (names.NONCE, names.AT_HASH, names.C_HASH)]
    has_scope = any_of(header_present(names.SCOPE), header_present(names.SCP))
    return any_of(marked, all_of(unmarked, *no_id_token, has_scope, header_present(names.CLIENT)))


def _lives_at_most(seconds: int) -> Json:
    """``int(exp) - int(iat) <= seconds`` in CEL; a missing ``iat`` is an error there, and an error never matches."""
    lifetime = _call("_-_", _int_header(names.EXPIRES), _int_header(names.ISSUED_AT))
    parsed = {"expr": _numbered(_call("_<=_", lifetime, {"const_expr": {"int64_value": str(seconds)}}))}
    return {
        "single_predicate": {
            "input": {"name": "attributes", "typed_config": typed("xds.type.matcher.v3.HttpAttributesCelMatchInput")},
            "custom_match": {"name": "lifetime", "typed_config": typed("xds.type.matcher.v3.CelMatcher", expr_match={"cel_expr_parsed": parsed})},
        }
    }


def _int_header(name: str) -> Json:
    headers = {"select_expr": {"operand": {"ident_expr": {"name": "request"}}, "field": "headers"}}
    return _call("int", _call("_[_]", headers, {"const_expr": {"string_value": name}}))


def _call(function: str, *args: Json) -> Json:
    return {"call_expr": {"function": function, "args": list(args)}}


def _numbered(expr: Json) -> Json:
    """Give every node of a CEL AST its id, which the evaluator demands."""
    counter = iter(range(1, 1_000))

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(item) for item in node]
        if not isinstance(node, dict):
            return node
        walked = {key: walk(value) for key, value in node.items()}
        is_expr = any(key.endswith("_expr") for key in node)
        return {"id": str(next(counter)), **walked} if is_expr else walked

    numbered: Json = walk(expr)
    return numbered
