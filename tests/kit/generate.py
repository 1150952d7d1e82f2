"""Policies and calls for property tests: policies that pass every check, calls that are mostly well-formed and often wrong in one way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from hypothesis import strategies as st

from scopeward.analysis.checks import CHECKS
from scopeward.analysis.decide import Call
from scopeward.analysis.gateway import Facts, IssuerFacts, Revocation, RevokedWhat
from scopeward.analysis.token_checks import Standing
from scopeward.identity import PresentedToken
from scopeward.policy.model import Api, Client, ClientCertificate, Issuer, OddPath, PersonEvidence, Policy, Rule, Scope, Sends, To, Trust, Upstream
from scopeward.policy.path import parse_template
from tests.kit.tokens import Mint, compact, signing_key

ISS = "https://idp.test/"
# words that a pattern written without care would take for one another
SCOPES = ("read.a", "read-a", "read.ab", "write.a")
CLIENTS = ("web", "sync", "sync.2", "sync-2", "bot", "bot2")
IDS = {"web": "web-id", "sync": "sync-id", "sync.2": "sync.id", "sync-2": "bot", "bot": "bot-id", "bot2": "bot-id2"}
METHODS = ("GET", "HEAD", "POST", "DELETE")
GOLD, SILVER = "dns:gold.example", "uri:spiffe://example/silver"


@dataclass(frozen=True)
class At:
    """A time relative to the call."""

    seconds: float


Revoked = tuple[RevokedWhat, str, int | None]
"""What, which, and issued before when, relative to the call."""


@dataclass(frozen=True)
class Known:
    """What is known of the issuer beside its policy; times are relative to the call. Some token ids are always revoked."""

    revoked: tuple[Revoked, ...] = ()
    good_until: int | None = None
    audit_full: bool = False

    def revocations(self, now: float) -> tuple[Revocation, ...]:
        some = [Revocation(ISS, what, value, None if before is None else int(now) + before) for what, value, before in self.revoked]
        always = [Revocation(ISS, "token-id", "gone"), Revocation(ISS, "token-id", "gone-2"), Revocation("https://other.test/", "token-id", "kept")]
        return (*always, *some)

    def standing(self, now: float) -> Standing:
        """As the policy's own answer takes it."""
        until = {} if self.good_until is None else {"idp": int(now) + self.good_until}
        return Standing(self.revocations(now), until, self.audit_full)

    def facts(self, keys: str, now: float, policy: Policy) -> Facts:
        """As the compiler takes it, each table with a part of the revocations."""
        until = None if self.good_until is None else int(now) + self.good_until
        all_of_them = self.revocations(now)
        passes = {api.name: f"pass-of-{api.name}" for api in policy.apis}
        return Facts({"idp": IssuerFacts(ISS, keys, until)}, recent=all_of_them[::2], settled=all_of_them[1::2], passes=passes)


NOTHING_MORE = Known()


T = TypeVar("T")


def weighed(*choices: tuple[int, st.SearchStrategy[T]]) -> st.SearchStrategy[T]:
    """One of them, each so often; ``one_of`` takes every strategy once, however often it is named."""
    return st.sampled_from([strategy for weight, strategy in choices for _ in range(weight)]).flatmap(lambda strategy: strategy)


# ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

some_scopes = st.lists(st.sampled_from(SCOPES), unique=True, max_size=3).map(tuple)
kinds = st.sets(st.sampled_from(["people", "services", "agents"])).map(lambda s: tuple(k for k in ("people", "services", "agents") if k in s))
tos = st.one_of(
    st.just(To(("people", "services"))),
    st.builds(To, kinds, st.lists(st.sampled_from(CLIENTS), unique=True, max_size=2).map(tuple)).filter(lambda to: bool(to.kinds or to.clients)),
)
templates = st.builds(
    lambda parts, end: "/" + "/".join([*parts, *end]),
    st.lists(st.sampled_from(["a", "b", "A", "a.b", "a:b", "k", "s", "{x}", "{y}"]), max_size=3, unique=True),
    st.sampled_from([[], [], ["**"], [""]]),
).filter(lambda t: "//" not in t)
guarded = st.builds(Rule, st.sampled_from(METHODS), templates, some_scopes, tos)
public = st.builds(lambda m, t: Rule(m, t, public="why"), st.sampled_from(METHODS), templates)
catch_all = st.builds(Rule, st.sampled_from(["GET", "POST"]), st.just("/**"), some_scopes, tos)
rules = st.lists(
    weighed((3, guarded), (1, catch_all), (1, public)), min_size=1, max_size=7, unique_by=lambda r: (r.method, parse_template(r.template).shape)
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
    st.sampled_from(["optional", "optional", "required"]),
)
sends = st.sampled_from([Sends(), Sends(None, "x-sub", "x-iss", "x-scopes"), Sends("X-Client", None, None, None, None)])
outer = st.builds(
    lambda first, forward: Api("outer", "/o", "idp", "aud-o", Upstream("http://127.0.0.1:9001", 5.0, forward_token=forward), first), rules, st.booleans()
)
inner = st.builds(lambda second: Api("inner", "/o/a", "idp", "https://aud-i/", Upstream("http://127.0.0.1:9002/x"), second), rules)


FORMS: tuple[OddPath, ...] = ("semicolon", "percent", "space", "dot")


def in_a_manner(api: st.SearchStrategy[Api]) -> st.SearchStrategy[Api]:
    """The API with what it says of certificates, odd paths and spellings."""
    return st.builds(
        lambda api, certificate, allow, slash, case: replace(api, client_certificate=certificate, allow=allow, slash=slash, case=case),
        api,
        st.sampled_from([None, None, None, None, ClientCertificate(), ClientCertificate((GOLD, SILVER)), ClientCertificate((SILVER,))]),
        weighed((2, st.just(())), (1, st.sets(st.sampled_from(FORMS)).map(lambda forms: tuple(form for form in FORMS if form in forms)))),
        st.sampled_from(["exact", "exact", "same"]),
        st.sampled_from(["guarded", "guarded", "sensitive"]),
    )


apis = st.builds(
    lambda ats, first, second: (replace(first, at=ats[0]), replace(second, at=ats[1])),
    st.sampled_from([("/o", "/o/a"), ("/o", "/o/a:b"), ("/", "/o")]),
    in_a_manner(outer),
    in_a_manner(inner),
)


def makes_sense(policy: Policy) -> bool:
    return not [finding for check in CHECKS for finding in check(policy) if finding.severity == "error"]


policies = st.builds(
    Policy,
    st.sampled_from(["https://gw.example", "https://gw.example", "http://127.0.0.2:8080", "http://LocalHost"]),
    issuers.map(lambda i: (i,)),
    st.just(tuple(Scope(s, "says") for s in SCOPES)),
    clients,
    apis,
    st.sampled_from([(), (Trust("internal", 900, "refuse"),), (Trust("internal", 900, "report"),)]),
    sends,
    st.sampled_from(["refuse", "as_person"]),
).filter(makes_sense)


def at_upstream(policy: Policy, url: str) -> Policy:
    """The same policy in front of a real upstream, and without TLS."""
    upstreams = [replace(a.upstream, url=url + a.upstream.url.partition("900")[2][1:]) for a in policy.apis]
    return replace(policy, apis=tuple(replace(a, upstream=u, client_certificate=None) for a, u in zip(policy.apis, upstreams, strict=True)))


def own_host(policy: Policy) -> str:
    """The Host header that callers send."""
    return urlsplit(policy.public_url).netloc


revoked: st.SearchStrategy[Revoked] = st.one_of(
    st.tuples(st.just("client"), st.sampled_from([*IDS.values(), "unlisted"]), st.sampled_from([None, -5000, 0, 1])),
    st.tuples(st.just("subject"), st.sampled_from(["alice", "bob"]), st.sampled_from([None, -5000, -1000, 0, 1])),
    st.tuples(st.just("issuer"), st.just(""), st.sampled_from([-5000, -1000, 0, 1])),
    st.tuples(st.just("token-id"), st.sampled_from(["j", "7", "k"]), st.none()),
)  # type: ignore[arg-type]
known = st.builds(
    Known,
    weighed((2, st.just(())), (1, st.lists(revoked, max_size=4).map(tuple))),
    st.sampled_from([None, None, None, 100, 100, 1, 0]),
    st.sampled_from([False] * 9 + [True]),
)


# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

words = st.lists(st.sampled_from(SCOPES), unique=True, max_size=4)
scope_values = weighed((2, st.just(" ".join(SCOPES))), (1, words.map(" ".join)), (1, words))
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
    claim("iat", At(-1)),
    claim("iat", At(0.5)),
    claim("iat", 0),
    claim("iat", 10**19),
    claim("iat", 2**62),
    claim("iat", 2**63),
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
    claim("sub", "bob"),
    claim("jti", ""),
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
    weighed((2, st.just([])), (1, st.lists(st.sampled_from(FAULTS), min_size=1, max_size=1)), (1, st.lists(st.sampled_from(FAULTS), max_size=3))),
)
# Envoy leaves such paths as they are: what it normalizes is another matter
ODD_SEGMENTS = ("a;b", "%3B", "%3bx", "a%25", "%20", "b.", "...", "%zz", "%", "a%4", "%01x", "%1F", "%7f", "%c0%80", "%E0%80%80", "%f0%80%80%80", "%F5", "%E9")
OTHER_SPELLINGS = ("B", "A.B", "A:B", "a%3Ab", "A%3ab", "O", "%E2%84%AA", "%c5%Bf")
segments = st.lists(st.sampled_from(["o", "o", "o", "a", "b", "A", "a.b", "axb", "a:b", "z", "**", "{x}", *OTHER_SPELLINGS]), max_size=4)
paths = st.builds(lambda parts, end: "/" + "/".join(parts) + end, segments, st.sampled_from(["", "", "", "/"])).map(lambda p: p.replace("//", "/"))
within = st.builds(
    lambda parts, end: "/".join(["/o", *parts]) + end,
    st.lists(st.sampled_from(["a", "b", "A", "z", "a:b", *OTHER_SPELLINGS]), max_size=3),
    st.sampled_from(["", "", "/"]),
)
odd_paths = st.builds(
    lambda parts, odd, end: "/".join(["/o", *parts, odd, *end]),
    st.lists(st.sampled_from(["a", "z"]), max_size=2),
    st.sampled_from(ODD_SEGMENTS),
    st.sampled_from([[], ["b"]]),
)
queries = st.sampled_from(
    ["", "", "", "", "?x=1", "?access_token=1", "?a=b&access_token", "?%61ccess_token=1", "?a;access_token=1", "?access_tokens=1", "?a=access_token", "?"]
)
authorizations = st.sampled_from([("Bearer T",)] * 12 + [("Bearer T", "Bearer x"), ("Bearer T", ""), ("Bearer T,x",), ("Basic x Bearer T",), ("Bearer T x",)])
absent = st.sampled_from([(), ("Basic x",), ("Basic x", "Basic y"), ("Bearer",), ("bEARER x",), ("",)])
with_token = st.builds(
    lambda method, path, query, authorization, token: Call(method, path + query, authorization, token),
    st.sampled_from([*METHODS, "GET", "GET", "PUT", "OPTIONS"]),
    weighed((2, paths), (4, within), (1, odd_paths)),
    queries,
    authorizations,
    tokens,
)
without_token = st.builds(
    lambda method, path, query, authorization: Call(method, path + query, authorization, "none"),
    st.sampled_from([*METHODS, "OPTIONS"]),
    weighed((2, paths), (4, within), (1, odd_paths)),
    queries,
    absent,
)
not_a_token = st.builds(lambda method, path: Call(method, path, ("Bearer opaque",), "malformed"), st.sampled_from(METHODS), within)


def spelt(path: str) -> list[str]:
    """A path in some ways that a server may take for one."""
    return [path, path if path.endswith("/") else path + "/", path.upper(), path.swapcase(), path.replace(":", "%3A")]


def targets(policy: Policy) -> list[tuple[str, str]]:
    """A method and a path for each rule that a policy has, and the same path with another method; in other spellings too."""
    found = []
    for api in policy.apis:
        for rule in api.rules:
            path = "/".join({"{x}": "z", "{y}": "b", "**": "z/a"}.get(part, part) for part in rule.template.split("/"))
            full = path if api.at == "/" else api.at if rule.template == "/" else api.at + path
            found += [(rule.method, full)] * 6
            for one in dict.fromkeys(spelt(full)):
                found += [(rule.method, one), ("HEAD" if rule.method == "GET" else "GET", one)]
    return found


hosts = st.sampled_from([None] * 60 + ["gw.example", "GW.EXAMPLE", "localhost", "127.0.0.1", "[::1]", "other.example", "gw.example.other", "xgw.example"])
certificates = st.sampled_from(
    [
        (GOLD, SILVER),
        (GOLD, SILVER),
        (GOLD,),
        (SILVER,),
        (),
        None,
        ("uri:gold.example",),
        (SILVER, "uri:x:y"),
        ("dns:spiffe://example/silver",),
        ("dns:other.example", GOLD),
    ]
)


def calls_of(policy: Policy) -> st.SearchStrategy[Call]:
    """Calls that mostly reach a rule of the policy."""
    aimed = st.builds(
        lambda target, query, token: Call(target[0], target[1] + query, ("Bearer T",), token),
        st.sampled_from(targets(policy) or [("GET", "/")]),
        st.sampled_from(["", "", "?x=1"]),
        weighed((2, good_tokens), (1, tokens)),
    )
    return st.builds(
        lambda call, host, preflight, certificate: replace(call, host=host, preflight=preflight, certificate=certificate),
        weighed((8, aimed), (4, with_token), (1, without_token), (1, not_a_token)),
        hosts,
        st.sampled_from([False, False, True]),
        certificates,
    )


Question = tuple[Policy, Known, list[Call]]


def asked(number: int) -> st.SearchStrategy[Question]:
    """A policy, what else is known, and so many calls."""
    return policies.flatmap(lambda p: st.tuples(st.just(p), known, st.lists(calls_of(p), min_size=number, max_size=number)))


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


def really(call: Call, now: float, policy: Policy) -> tuple[Call, list[tuple[str, str]]]:
    """The call as of now and without TLS, and the headers to send."""
    call = replace(at_time(call, now), certificate=None)
    token = "" if isinstance(call.token, str) else signed(call.token)
    said = [("Authorization", value.replace("Bearer T", f"Bearer {token}", 1)) for value in call.authorization]
    host = own_host(policy) if call.host is None else f"{call.host}:8443"
    return call, [("Host", host), *said, *([("Access-Control-Request-Method", "PUT")] if call.preflight else [])]


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
    claim("jti", ...),
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
        issuers=(Issuer("idp", ISS, None, 30, typ, "client_id", person, "internal", scope_form, "required" if unlisted == "refuse" else "optional"),),
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
