"""What holds of every decision, whatever the policy and the call."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scopeward.analysis.decide import Call, api_at, decide, rule_for
from scopeward.decision import Allowed, Denial
from scopeward.errors import REFERENCES
from scopeward.identity import PresentedToken
from scopeward.policy.model import Api, Client, Issuer, PersonEvidence, Policy, Rule, Scope, Sends, To, Trust, Upstream
from scopeward.policy.path import parse_template
from scopeward.policy.source import Loaded, load

ISS = "https://idp.example/"
NOW = 1_700_000_000
SCOPES = ("read.a", "write.a", "delete.a")
CLIENTS = ("web", "sync", "bot")
METHODS = ("GET", "HEAD", "POST", "DELETE")

# ── policies ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

some_scopes = st.lists(st.sampled_from(SCOPES), unique=True, max_size=2).map(tuple)
tos = st.builds(
    To,
    st.sets(st.sampled_from(["people", "services", "agents"])).map(lambda s: tuple(k for k in ("people", "services", "agents") if k in s)),
    st.lists(st.sampled_from(CLIENTS), unique=True, max_size=2).map(tuple),
).filter(lambda to: bool(to.kinds or to.clients))
templates = st.builds(
    lambda parts, end: "/" + "/".join([*parts, *end]),
    st.lists(st.sampled_from(["a", "b", "{x}", "{y}"]), max_size=2, unique=True),
    st.sampled_from([[], ["**"]]),
)
guarded = st.builds(Rule, st.sampled_from(METHODS), templates, some_scopes, tos)
public = st.builds(lambda m, t: Rule(m, t, public="why"), st.sampled_from(METHODS), templates)
catch_all = st.builds(Rule, st.just("GET"), st.just("/**"), some_scopes, tos | st.just(To(("people", "services", "agents"))))
rules = st.lists(guarded | public | catch_all, min_size=1, max_size=6, unique_by=lambda r: (r.method, parse_template(r.template).shape)).map(tuple)
bounds = st.none() | st.just(SCOPES) | some_scopes
clients = st.tuples(
    st.builds(lambda may: Client("web", "app", "idp", "web-id", may), bounds),
    st.builds(lambda may: Client("sync", "service", "idp", "sync-id", may), bounds),
    st.builds(lambda may: Client("bot", "agent", "idp", "bot-id", may), bounds),
)
issuers = st.builds(
    Issuer,
    st.just("idp"),
    st.just(ISS),
    st.just("acme"),
    st.sampled_from([1, 30]),
    st.sampled_from(["at+jwt", "any"]),
    st.just("client_id"),
    st.sampled_from([None, PersonEvidence("idtyp", "is", "user"), PersonEvidence("idtyp", "present"), PersonEvidence("idtyp", "not", "app")]),
    st.just("internal"),
)
apis = st.builds(
    lambda outer, inner: (
        Api("outer", "/o", "idp", "aud-o", Upstream("https://o.example", 0.5), outer),
        Api("inner", "/o/a", "idp", "aud-i", Upstream("http://127.0.0.1:1/x"), inner),
    ),
    rules,
    rules,
)
policies = st.builds(
    Policy,
    st.just("https://gw.example"),
    issuers.map(lambda i: (i,)),
    st.just(tuple(Scope(s, "says") for s in SCOPES)),
    clients,
    apis,
    st.sampled_from([(), (Trust("internal", 900, "refuse"),), (Trust("internal", 900, "report"),)]),
    st.sampled_from([Sends(), Sends(None, "x-sub", "x-iss", "x-scopes")]),
    st.sampled_from(["refuse", "as_person"]),
)

# ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, NOW * 2) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
good_claims = st.fixed_dictionaries(
    {
        "iss": st.just(ISS),
        "aud": st.sampled_from([["aud-o", "aud-i"], ["aud-o", "aud-i"], "aud-o"]),
        "exp": st.just(NOW + 300),
        "client_id": st.sampled_from(["web-id", "sync-id", "bot-id", "unlisted"]),
        "scope": st.just(" ".join(SCOPES)) | st.lists(st.sampled_from(SCOPES), unique=True).map(" ".join) | st.lists(st.sampled_from(SCOPES), unique=True),
        "idtyp": st.sampled_from(["user", "user", "app"]),
        "iat": st.just(NOW),
        "sub": st.just("alice"),
    },
    optional={"scp": st.lists(st.sampled_from(SCOPES)), "jti": st.sampled_from(["j", "k", "l", "gone"])},
)
odd_claims = st.dictionaries(
    st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "client_id", "scope", "scp", "sub", "jti", "act", "idtyp", "nonce"]), json_values, max_size=2
)
headers = st.sampled_from([{"typ": "at+jwt"}]) | st.dictionaries(st.sampled_from(["typ", "crit", "alg", "kid"]), json_values | st.just("JWT"), max_size=2)
good_tokens = st.builds(lambda claims: PresentedToken({"typ": "at+jwt"}, claims), good_claims)
odd_tokens = st.builds(
    lambda header, good, odd, key: PresentedToken(header, {**good, **odd}, key), headers, good_claims, odd_claims, st.sampled_from(["good", "unknown", "bad"])
)
paths = st.lists(st.sampled_from(["o", "a", "b", "z", ""]), max_size=4).map(lambda parts: "/o/" + "/".join(parts)) | st.sampled_from(
    ["/", "/o", "/x", "", "o", "/o?access_token=1"]
)
calls = st.builds(
    Call,
    st.sampled_from([*METHODS, "OPTIONS", "get"]),
    paths,
    st.sampled_from([("Bearer x",), ("Bearer x",), (), ("a", "b"), ("a, b",)]),
    good_tokens | good_tokens | odd_tokens | st.sampled_from(["none", "malformed"]),
)
paths_within = st.lists(st.sampled_from(["a", "b", "z"]), max_size=3).map(lambda parts: "/".join(["/o", *parts]))
good_calls = st.builds(Call, st.sampled_from(["GET", *METHODS]), paths_within, st.just(("Bearer x",)), good_tokens)
revoked = frozenset({(ISS, "gone")})


def yes(policy: Policy, call: Call) -> bool:
    return isinstance(decide(policy, call, NOW, revoked), Allowed)


# ── what holds ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def matches(full: str, path: str) -> bool:
    """An independent reading of a full template, by a regular expression."""
    pattern = "/".join("[^/]+" if s.startswith("{") else re.escape(s) for s in full.removesuffix("/**").split("/"))
    return re.fullmatch(pattern + ("(/.*)?" if full.endswith("/**") else ""), path) is not None


@settings(max_examples=150)
@given(policies, calls)
def test_the_answer_is_the_same_each_time_and_known(policy: Policy, call: Call) -> None:
    decision = decide(policy, call, NOW, revoked)
    assert decision == decide(policy, call, NOW, revoked)
    if isinstance(decision, Denial):
        assert REFERENCES[decision.reference].status in {400, 401, 403, 404}


@settings(max_examples=150)
@given(policies, good_calls | calls)
def test_nothing_passes_without_a_rule_that_covers_it(policy: Policy, call: Call) -> None:
    decision = decide(policy, call, NOW, revoked)
    if isinstance(decision, Denial):
        return
    api = next(a for a in policy.apis if a.name == decision.api)
    rule = next(r for r in api.rules if r.operation == decision.rule)
    path = call.path.partition("?")[0]
    assert matches((api.at + rule.template).removesuffix("/") if rule.template == "/" else api.at + rule.template, path)
    assert call.method == rule.method or (call.method == "HEAD" and rule.method == "GET")
    assert decision.public == (rule.public is not None)
    if decision.public:
        return
    assert isinstance(call.token, PresentedToken)
    claims = call.token.claims
    assert call.token.key == "good"
    assert claims["iss"] == ISS
    assert api.audience in claims["aud"]
    assert claims["exp"] + policy.issuers[0].clock_skew >= NOW
    assert "act" not in claims
    words = {w for name in ("scope", "scp") for w in (claims[name].split(" ") if isinstance(claims.get(name), str) else claims.get(name) or [])}
    assert set(rule.needs) <= words
    client = next((c for c in policy.clients if c.id == claims["client_id"]), None)
    assert client is not None or policy.unlisted_clients == "as_person"
    assert client is None or client.may is None or set(rule.needs) <= set(client.may)


@settings(max_examples=100)
@given(policies, good_calls, st.sampled_from(SCOPES))
def test_losing_a_scope_never_opens(policy: Policy, call: Call, lost: str) -> None:
    assert isinstance(call.token, PresentedToken)
    claims: dict[str, Any] = dict(call.token.claims)
    scope = claims["scope"]
    claims["scope"] = " ".join(w for w in scope.split(" ") if w != lost) if isinstance(scope, str) else [w for w in scope if w != lost]
    claims["scp"] = [w for w in claims.get("scp", []) if w != lost]
    if not yes(policy, call):
        assert not yes(policy, replace(call, token=PresentedToken(call.token.header, claims)))


@settings(max_examples=100)
@given(policies, good_calls, st.data())
def test_taking_away_what_callers_may_never_opens(policy: Policy, call: Call, data: st.DataObject) -> None:
    assume(not yes(policy, call))
    narrower = replace(policy, clients=tuple(replace(c, may=data.draw(some_scopes) if c.may is None else c.may[:-1]) for c in policy.clients))
    assert not yes(narrower, call)
    assert not yes(replace(policy, clients=policy.clients[1:], unlisted_clients="refuse"), call)
    no_kinds = tuple(replace(a, rules=tuple(replace(r, to=To((), r.to.clients)) for r in a.rules)) for a in policy.apis)
    assert not yes(replace(policy, apis=no_kinds), call)


@settings(max_examples=100)
@given(policies, calls, st.randoms(use_true_random=False))
def test_the_order_of_writing_does_not_matter(policy: Policy, call: Call, random: Any) -> None:
    def mixed(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(items, len(items)))

    other = replace(policy, clients=mixed(policy.clients), apis=mixed(tuple(replace(a, rules=mixed(a.rules)) for a in policy.apis)))
    assert decide(other, call, NOW, revoked) == decide(policy, call, NOW, revoked)


@settings(max_examples=100)
@given(policies, paths)
def test_a_method_is_refused_where_a_more_specific_template_is_another_methods(policy: Policy, path: str) -> None:
    path = path.partition("?")[0]
    api = api_at(policy, path)
    assume(api is not None)
    assert api is not None
    chosen = {rule.template for m in METHODS if (rule := rule_for(api, m, path))}
    assert len({parse_template(t).shape for t in chosen}) <= 1
    fitting = [r for r in api.rules if matches((api.at + r.template).removesuffix("/") if r.template == "/" else api.at + r.template, path)]
    assert bool(fitting) == bool(chosen)


@settings(max_examples=100)
@given(policies, calls, st.sampled_from([{"act": {"sub": "x"}}, {"exp": NOW - 1000}, {"iss": "x"}, {"aud": "x"}, {"nbf": NOW + 1000}]))
def test_a_fault_in_the_token_never_opens(policy: Policy, call: Call, fault: dict[str, Any]) -> None:
    assume(isinstance(call.token, PresentedToken))
    assert isinstance(call.token, PresentedToken)
    decision = decide(policy, replace(call, token=PresentedToken(call.token.header, {**call.token.claims, **fault})), NOW, revoked)
    assert isinstance(decision, Denial) or decision.public


# ── writing and reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rendered(policy: Policy) -> bytes:
    """The policy as YAML, with everything written out."""
    issuer = policy.issuers[0]
    person = {} if issuer.person is None else {"person": {"claim": issuer.person.claim, issuer.person.test: issuer.person.value or True}}
    document = {
        "version": 1,
        "public_url": policy.public_url,
        "issuers": {
            issuer.name: {
                "issuer": issuer.issuer,
                "audience": issuer.audience,
                "clock_skew": f"{issuer.clock_skew}s",
                "typ": issuer.typ,
                "client_claim": issuer.client_claim,
                "trust": issuer.trust,
                **person,
            }
        },
        "trust": {t.name: {"lifetime": f"{t.lifetime}s", "over": t.over} for t in policy.trust},
        "defaults": {
            "to": [*policy.default_to.kinds, *policy.default_to.clients],
            "unlisted_clients": policy.unlisted_clients,
            "sends": {"client": policy.sends.client, "subject": policy.sends.subject, "issuer": policy.sends.issuer, "scopes": policy.sends.scopes},
        },
        "scopes": {s.name: {"says": s.says} for s in policy.scopes},
        "clients": {c.name: {"kind": c.kind, "issuer": c.issuer, "id": c.id, **({} if c.may is None else {"may": list(c.may)})} for c in policy.clients},
        "apis": {
            a.name: {
                "at": a.at,
                "audience": a.audience,
                "upstream": {
                    "url": a.upstream.url,
                    "timeout": f"{int(a.upstream.timeout * 1000)}ms",
                    "host_header": a.upstream.host_header,
                    "forward_token": a.upstream.forward_token,
                },
                "rules": {r.operation: {"public": r.public} if r.public else {"needs": list(r.needs), "to": [*r.to.kinds, *r.to.clients]} for r in a.rules},
            }
            for a in policy.apis
        },
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


@settings(max_examples=40, deadline=None)
@given(policies)
def test_what_is_written_is_what_is_read(policy: Policy) -> None:
    loaded = load(rendered(policy), "p.yaml")
    assert isinstance(loaded, Loaded), [str(d) for d in loaded]
    assert loaded.policy == policy


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.text("ab:-[]{}&*!|>'\"?,#%\n ~", max_size=60).map(str.encode))
def test_no_bytes_make_load_raise(text: bytes) -> None:
    found = load(text, "p.yaml")
    assert isinstance(found, tuple)
    assert found
    assert all(d.reference in REFERENCES and d.span.line >= 1 and d.span.column >= 1 for d in found)


@settings(max_examples=40, deadline=None)
@given(policies, st.data())
def test_no_slip_of_the_pen_makes_load_raise(policy: Policy, data: st.DataObject) -> None:
    text = rendered(policy).decode()
    at = data.draw(st.integers(0, len(text)))
    typed = data.draw(st.text("ab:-[]{}&*!|>'\"?,#%\n ~", max_size=3))
    found = load((text[:at] + typed + text[at + data.draw(st.integers(0, 3)) :]).encode(), "p.yaml")
    assert isinstance(found, Loaded) or (found and all(d.reference in REFERENCES for d in found))
