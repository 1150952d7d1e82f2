"""Policies and calls for property tests: policies that pass every check, calls that are mostly well-formed and often wrong in one way."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from hypothesis import strategies as st

from scopeward.analysis.checks import CHECKS
from scopeward.analysis.decide import Call
from scopeward.identity import PresentedToken
from scopeward.policy.model import Api, Client, Issuer, PersonEvidence, Policy, Rule, Scope, Sends, To, Trust, Upstream
from scopeward.policy.path import parse_template
from tests.kit.tokens import Mint, compact, signing_key

ISS = "https://idp.test/"
# words that a pattern written without care would take for one another
SCOPES = ("read.a", "read-a", "read.ab", "write.a")
CLIENTS = ("web", "sync", "sync.2", "sync-2", "bot", "bot2")
IDS = {"web": "web-id", "sync": "sync-id", "sync.2": "sync.id", "sync-2": "bot", "bot": "bot-id", "bot2": "bot-id2"}
METHODS = ("GET", "HEAD", "POST", "DELETE")
REVOKED = frozenset({(ISS, "gone"), (ISS, "gone-2"), ("https://other.test/", "kept")})


@dataclass(frozen=True)
class At:
    """A time relative to the call."""

    seconds: float


# ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

some_scopes = st.lists(st.sampled_from(SCOPES), unique=True, max_size=3).map(tuple)
kinds = st.sets(st.sampled_from(["people", "services", "agents"])).map(lambda s: tuple(k for k in ("people", "services", "agents") if k in s))
tos = st.one_of(
    st.just(To(("people", "services"))),
    st.builds(To, kinds, st.lists(st.sampled_from(CLIENTS), unique=True, max_size=2).map(tuple)).filter(lambda to: bool(to.kinds or to.clients)),
)
templates = st.builds(
    lambda parts, end: "/" + "/".join([*parts, *end]),
    st.lists(st.sampled_from(["a", "b", "A", "a.b", "{x}", "{y}"]), max_size=3, unique=True),
    st.sampled_from([[], [], ["**"], [""]]),
).filter(lambda t: "//" not in t)
guarded = st.builds(Rule, st.sampled_from(METHODS), templates, some_scopes, tos)
public = st.builds(lambda m, t: Rule(m, t, public="why"), st.sampled_from(METHODS), templates)
catch_all = st.builds(Rule, st.sampled_from(["GET", "POST"]), st.just("/**"), some_scopes, tos)
rules = st.lists(
    st.one_of(guarded, guarded, guarded, catch_all, public), min_size=1, max_size=7, unique_by=lambda r: (r.method, parse_template(r.template).shape)
).map(tuple)
bounds = st.one_of(st.none(), st.just(SCOPES), some_scopes)
clients = st.tuples(
    *(
        st.builds(Client, st.just(name), st.just(kind), st.just("idp"), st.just(IDS[name]), bounds)
        for name, kind in (("web", "app"), ("sync", "service"), ("sync.2", "service"), ("sync-2", "agent"), ("bot", "agent"), ("bot2", "agent"))
    )
)
evidence = st.sampled_from([PersonEvidence("idtyp", "is", "user"), PersonEvidence("idtyp", "present"), PersonEvidence("idtyp", "not", "app")])
issuers = st.builds(
    Issuer,
    st.just("idp"),
    st.just(ISS),
    st.none(),
    st.sampled_from([1, 30, 600]),
    st.sampled_from(["at+jwt", "any"]),
    st.sampled_from(["client_id", "azp"]),
    evidence,
    st.just("internal"),
    st.sampled_from(["any", "string"]),
)
sends = st.sampled_from([Sends(), Sends(None, "x-sub", "x-iss", "x-scopes"), Sends("X-Client", None, None, None)])


def apis_at(outer: str, inner: str, first: tuple[Rule, ...], second: tuple[Rule, ...], forward: bool) -> tuple[Api, ...]:
    return (
        Api("outer", outer, "idp", "aud-o", Upstream("http://127.0.0.1:9001", 5.0, forward_token=forward), first),
        Api("inner", inner, "idp", "https://aud-i/", Upstream("http://127.0.0.1:9002/x"), second),
    )


apis = st.builds(
    lambda at, first, second, forward: apis_at(*at, first, second, forward), st.sampled_from([("/o", "/o/a"), ("/", "/o")]), rules, rules, st.booleans()
)


def makes_sense(policy: Policy) -> bool:
    return not [finding for check in CHECKS for finding in check(policy) if finding.severity == "error"]


policies = st.builds(
    Policy,
    st.just("https://gw.example"),
    issuers.map(lambda i: (i,)),
    st.just(tuple(Scope(s, "says") for s in SCOPES)),
    clients,
    apis,
    st.sampled_from([(), (Trust("internal", 900, "refuse"),), (Trust("internal", 900, "report"),)]),
    sends,
    st.sampled_from(["refuse", "as_person"]),
).filter(makes_sense)


def at_upstream(policy: Policy, url: str) -> Policy:
    """The same policy in front of a real upstream."""
    return replace(policy, apis=tuple(replace(a, upstream=replace(a.upstream, url=url + a.upstream.url.partition("900")[2][1:])) for a in policy.apis))


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

words = st.lists(st.sampled_from(SCOPES), unique=True, max_size=4)
scope_values = st.one_of(st.just(" ".join(SCOPES)), st.just(" ".join(SCOPES)), words.map(" ".join), words)
GOOD: Mapping[str, Any] = {"iss": ISS, "aud": ["aud-o", "https://aud-i/"], "exp": At(300), "iat": At(0), "sub": "alice", "jti": "j"}
good_claims = st.builds(
    lambda client, scope, person, rest: {**GOOD, "client_id": client, "azp": client, "scope": scope, "idtyp": person, **rest},
    st.sampled_from([*IDS.values(), "unlisted"]),
    scope_values,
    st.sampled_from(["user", "user", "app"]),
    st.fixed_dictionaries({}, optional={"scp": st.one_of(words, words.map(" ".join))}),
)

Fault = tuple[dict[str, Any], dict[str, Any], Literal["good", "unknown", "bad"]]


def claim(name: str, value: Any) -> Fault:
    return {}, {name: value}, "good"


def in_header(name: str, value: Any) -> Fault:
    return {name: value}, {}, "good"


ODD_VALUES: tuple[Any, ...] = (..., None, "", 0, 7, True, False, [], ["x"], {}, {"x": "y"}, "x", "X Y", " ", "W10=", "eyJ4IjoieSJ9")
FAULTS: tuple[Fault, ...] = (
    claim("exp", At(-5000)),
    claim("exp", ...),
    claim("exp", 0),
    claim("exp", "soon"),
    claim("exp", -1),
    claim("exp", True),
    claim("exp", At(300.5)),
    claim("nbf", At(5000)),
    claim("nbf", At(-5000)),
    claim("nbf", None),
    claim("iat", ...),
    claim("iat", At(-3000)),
    claim("iat", At(5000)),
    claim("iat", "1"),
    claim("aud", "aud-o"),
    claim("aud", "other"),
    claim("aud", ...),
    claim("aud", []),
    claim("aud", "http://aud-o/"),
    claim("aud", "aud-o//"),
    claim("aud", ["x", 1]),
    claim("iss", "https://idp.test"),
    claim("iss", ...),
    claim("iss", 7),
    claim("sub", ...),
    claim("sub", ""),
    claim("sub", 7),
    claim("jti", "gone"),
    claim("jti", "gone-2"),
    claim("jti", "kept"),
    claim("jti", ...),
    claim("jti", 7),
    claim("act", {"sub": "x"}),
    claim("act", "x"),
    claim("act", []),
    claim("nonce", "n"),
    claim("nonce", ""),
    claim("at_hash", "h"),
    claim("c_hash", 1),
    in_header("typ", "JWT"),
    in_header("typ", "AT+JWT"),
    in_header("typ", "application/at+jwt"),
    in_header("typ", "logout+jwt"),
    in_header("typ", ...),
    in_header("typ", 5),
    in_header("typ", ""),
    in_header("crit", ["b64"]),
    in_header("crit", []),
    in_header("crit", None),
    in_header("cty", "JWT"),
    ({}, {}, "unknown"),
    ({}, {}, "bad"),
    *(claim(name, value) for name in ("scope", "scp", "idtyp") for value in ODD_VALUES),
    *(({}, {"client_id": value, "azp": value}, "good") for value in ODD_VALUES),
    *(
        claim("scope", value)
        for value in ("read.a  write.a", "read.a\twrite.a", " read.a", "read.a ", "readxa", "READ.A", ["read.a write.a"], ["read.a", 7, None])
    ),
)


def faulty(claims: dict[str, Any], faults: list[Fault]) -> PresentedToken:
    header: dict[str, Any] = {"alg": "RS256", "kid": "k1", "typ": "at+jwt"}
    key: Literal["good", "unknown", "bad"] = "good"
    for in_head, in_claims, of_key in faults:
        header, claims = header | in_head, claims | in_claims
        key = of_key if of_key != "good" else key
    return PresentedToken({k: v for k, v in header.items() if v is not ...}, {k: v for k, v in claims.items() if v is not ...}, key)


good_tokens = st.builds(lambda claims: faulty(claims, []), good_claims.map(lambda c: {**c, "scope": " ".join(SCOPES)}))
tokens = st.builds(
    faulty,
    good_claims,
    st.one_of(st.just([]), st.just([]), st.lists(st.sampled_from(FAULTS), min_size=1, max_size=1), st.lists(st.sampled_from(FAULTS), max_size=3)),
)
segments = st.lists(st.sampled_from(["o", "o", "a", "b", "A", "a.b", "axb", "z", "**", "{x}"]), max_size=4)
paths = st.builds(lambda parts, end: "/" + "/".join(parts) + end, segments, st.sampled_from(["", "", "", "/"])).map(lambda p: p.replace("//", "/"))
within = st.builds(lambda parts: "/".join(["/o", *parts]), st.lists(st.sampled_from(["a", "b", "A", "z"]), max_size=3))
queries = st.sampled_from(
    ["", "", "", "", "?x=1", "?access_token=1", "?a=b&access_token", "?%61ccess_token=1", "?a;access_token=1", "?access_tokens=1", "?a=access_token", "?"]
)
authorizations = st.sampled_from([("Bearer T",)] * 12 + [("Bearer T", "Bearer x"), ("Bearer T", ""), ("Bearer T,x",)])
absent = st.sampled_from([(), ("Basic x",), ("Bearer ",), ("bEARER x",), ("",)])
with_token = st.builds(
    lambda method, path, query, authorization, token: Call(method, path + query, authorization, token),
    st.sampled_from([*METHODS, "GET", "GET", "PUT", "OPTIONS"]),
    st.one_of(paths, within, within),
    queries,
    authorizations,
    tokens,
)
without_token = st.builds(
    lambda method, path, query, authorization: Call(method, path + query, authorization, "none"),
    st.sampled_from(METHODS),
    st.one_of(paths, within),
    queries,
    absent,
)
not_a_token = st.builds(lambda method, path: Call(method, path, ("Bearer opaque",), "malformed"), st.sampled_from(METHODS), within)


def targets(policy: Policy) -> list[tuple[str, str]]:
    """A method and a path for each rule that a policy has, and the same path with another method."""
    found = []
    for api in policy.apis:
        for rule in api.rules:
            path = "/".join({"{x}": "z", "{y}": "b", "**": "z/a"}.get(part, part) for part in rule.template.split("/"))
            full = ("" if api.at == "/" else api.at) + path
            found += [
                (rule.method, full if rule.template != "/" else api.at),
                ("HEAD" if rule.method == "GET" else "GET", full if rule.template != "/" else api.at),
            ]
    return found


def calls_of(policy: Policy) -> st.SearchStrategy[Call]:
    """Calls that mostly reach a rule of the policy."""
    aimed = st.builds(
        lambda target, query, token: Call(target[0], target[1] + query, ("Bearer T",), token),
        st.sampled_from(targets(policy) or [("GET", "/")]),
        st.sampled_from(["", "", "?x=1"]),
        st.one_of(good_tokens, good_tokens, tokens),
    )
    return st.one_of(aimed, aimed, aimed, with_token, with_token, without_token, not_a_token)


def asked(number: int) -> st.SearchStrategy[tuple[Policy, list[Call]]]:
    """A policy and so many calls."""
    return policies.flatmap(lambda p: st.tuples(st.just(p), st.lists(calls_of(p), min_size=number, max_size=number)))


def at_time(call: Call, now: float) -> Call:
    """The call with its times fixed."""
    if isinstance(call.token, str):
        return call
    claims = {
        k: int(now + v.seconds) if isinstance(v, At) and v.seconds == int(v.seconds) else now + v.seconds if isinstance(v, At) else v
        for k, v in call.token.claims.items()
    }
    return replace(call, token=replace(call.token, claims=claims))


def signed(token: PresentedToken) -> str:
    """The token as an issuer would have made it, or as a forger would."""
    header, key = dict(token.header), Mint().key
    if token.key == "unknown":
        return compact(header | {"kid": "nobody"}, dict(token.claims), signing_key("k2"), "RS256")
    return compact(header, dict(token.claims), key if token.key == "good" else signing_key("k2"), "RS256")


def really(call: Call) -> tuple[Call, list[tuple[str, str]]]:
    """The call as of now, and the Authorization headers to send."""
    call = at_time(call, int(time.time()))
    token = "" if isinstance(call.token, str) else signed(call.token)
    return call, [("Authorization", value.replace("T", token, 1) if value.startswith("Bearer T") else value) for value in call.authorization]


# ── one by one ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

ONE_OF_EACH: tuple[Fault, ...] = (
    claim("sub", 7),
    claim("iss", "x"),
    claim("nbf", At(5000)),
    claim("exp", At(-5000)),
    claim("exp", ...),
    claim("aud", "x"),
    ({}, {}, "unknown"),
    ({}, {}, "bad"),
    claim("sub", " admin"),
    in_header("crit", ["b64"]),
    in_header("typ", "logout+jwt"),
    claim("iat", At(-3000)),
    claim("jti", "gone"),
    claim("act", {"sub": "x"}),
    ({}, {"client_id": "stranger", "azp": "stranger"}, "good"),
    ({}, {"client_id": "web-id", "azp": "web-id", "idtyp": "app"}, "good"),
    ({}, {"client_id": "bot-id2", "azp": "bot-id2"}, "good"),
    ({}, {"client_id": "sync.id", "azp": "sync.id"}, "good"),
    claim("scope", "read-a"),
)
"""For each reason to refuse a verified route's call one fault, in no order."""


def plain_policy(
    typ: Literal["at+jwt", "any"], scope_form: Literal["any", "string"], person: PersonEvidence, unlisted: Literal["refuse", "as_person"]
) -> Policy:
    """One rule that nearly everybody passes."""
    rule = Rule("GET", "/**", ("read.a",), To(("people", "services"), ("bot",)))
    kinds_of = {"web": "app", "sync": "service", "sync.2": "service", "sync-2": "agent", "bot": "agent", "bot2": "agent"}
    return Policy(
        public_url="https://gw.example",
        issuers=(Issuer("idp", ISS, None, 30, typ, "client_id", person, "internal", scope_form),),
        scopes=tuple(Scope(s, "says") for s in SCOPES),
        clients=tuple(Client(n, k, "idp", IDS[n], ("write.a",) if n == "sync.2" else None) for n, k in kinds_of.items()),  # type: ignore[arg-type]
        apis=(Api("outer", "/o", "idp", "aud-o", Upstream("http://127.0.0.1:9001"), (rule, Rule("GET", "/open", public="why"))),),
        trust=(Trust("internal", 900, "refuse"),),
        unlisted_clients=unlisted,
    )


PLAIN = (
    plain_policy("at+jwt", "string", PersonEvidence("idtyp", "is", "user"), "refuse"),
    plain_policy("any", "any", PersonEvidence("idtyp", "present"), "as_person"),
    plain_policy("any", "string", PersonEvidence("idtyp", "not", "app"), "refuse"),
    plain_policy("at+jwt", "any", PersonEvidence("idtyp", "not", "app"), "as_person"),
)


def call_with(*faults: Fault, path: str = "/o/z") -> Call:
    """A call that would pass but for the faults."""
    claims = {**GOOD, "client_id": "sync-id", "azp": "sync-id", "scope": " ".join(SCOPES), "idtyp": "user"}
    return Call("GET", path, ("Bearer T",), faulty(claims, list(faults)))
