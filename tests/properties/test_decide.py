"""What holds of every decision, whatever the policy and the call."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from scopeward.analysis.decide import Call, decide
from scopeward.analysis.place import api_at, hosts, odd, rule_for
from scopeward.decision import Allowed, Denial
from scopeward.errors import REFERENCES
from scopeward.identity import PresentedToken
from scopeward.policy.model import Api, Policy, Rule, To
from scopeward.policy.path import parse_template
from scopeward.policy.source import Loaded, load
from tests.kit.generate import ISS, METHODS, SCOPES, Known, Question, asked, at_time, good_claims, paths, policies, some_scopes, within

NOW = 1_700_000_000

many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much])
questions = asked(5)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, NOW * 2) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
odd_claims = st.dictionaries(
    st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "client_id", "scope", "scp", "sub", "jti", "act", "idtyp", "nonce"]), json_values, max_size=2
)
odd_headers = st.sampled_from([{"typ": "at+jwt"}]) | st.dictionaries(st.sampled_from(["typ", "crit", "alg", "kid"]), json_values | st.just("JWT"), max_size=2)
wild_tokens = st.builds(
    lambda header, good, odd, key: PresentedToken(header, {**good, **odd}, key),
    odd_headers,
    good_claims,
    odd_claims,
    st.sampled_from(["good", "unknown", "bad"]),
)
wild_calls = st.builds(
    Call,
    st.sampled_from([*METHODS, "OPTIONS", "get"]),
    paths | st.text("/oa.%;:é", max_size=8),
    st.sampled_from([("Bearer x",), (), ("a", "b"), ("a, b",)]),
    wild_tokens | st.sampled_from(["none", "malformed"]),
    st.none() | st.text(max_size=5),
    st.booleans(),
    st.none() | st.lists(st.text(max_size=5), max_size=2).map(tuple),
)


def asks(policy: Policy, known: Known, call: Call) -> Allowed | Denial:
    return decide(policy, at_time(call, NOW), NOW, known.standing(NOW))


def yes(policy: Policy, known: Known, call: Call) -> bool:
    return isinstance(asks(policy, known, call), Allowed)


# ── what holds ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def matches(api: Api, rule: Rule, path: str) -> bool:
    """An independent reading of a rule's full template, by a regular expression."""
    full = ("" if api.at == "/" else api.at) + ("" if rule.template == "/" and api.at != "/" else rule.template)
    same = api.slash == "same"
    if same and full != "/":
        full = full.removesuffix("/")
    pattern = "/".join("[^/]+" if s.startswith("{") else re.escape(s) for s in full.removesuffix("/**").split("/"))
    return re.fullmatch(pattern + ("(/.*)?" if full.endswith("/**") else "/?" if same else ""), path) is not None


@many
@given(questions, st.lists(wild_calls, max_size=3))
def test_the_answer_is_the_same_each_time_and_known(question: Question, wild: list[Call]) -> None:
    policy, known, several = question
    for call in (*several, *wild):
        decision = asks(policy, known, call)
        assert decision == asks(policy, known, call)
        if isinstance(decision, Denial):
            assert REFERENCES[decision.reference].status in {400, 401, 403, 404, 421, 503}


@many
@given(questions, st.lists(wild_calls, max_size=3))
def test_nothing_passes_without_a_rule_that_covers_it(question: Question, wild: list[Call]) -> None:
    policy, known, several = question
    for call in (*several, *wild):
        decision = asks(policy, known, call)
        if isinstance(decision, Allowed):
            passed_by_a_rule(policy, known, at_time(call, NOW), decision)


def passed_by_a_rule(policy: Policy, known: Known, call: Call, decision: Allowed) -> None:
    assert not known.audit_full
    assert call.host is None or call.host.lower() in hosts(policy)
    api = next(a for a in policy.apis if a.name == decision.api)
    rule = next(r for r in api.rules if r.operation == decision.rule)
    path = call.path.partition("?")[0]
    assert matches(api, rule, path)
    assert not odd(path, api)
    assert call.method == rule.method or (call.method == "HEAD" and rule.method == "GET")
    assert decision.public == (rule.public is not None)
    wanted = api.client_certificate
    assert wanted is None or call.certificate is not None
    assert not wanted or not wanted.names or set(wanted.names) & set(call.certificate or ())
    if decision.public:
        return
    assert isinstance(call.token, PresentedToken)
    claims = call.token.claims
    assert call.token.key == "good"
    assert known.good_until is None or known.good_until > 0
    assert claims["iss"] == ISS
    assert api.audience in claims["aud"] or claims["aud"] == "http://aud-o/"
    assert claims["exp"] + policy.issuers[0].clock_skew >= NOW
    assert "act" not in claims
    assert claims.get("jti") or policy.issuers[0].jti == "optional"
    named = [("token-id", claims.get("jti")), ("client", claims.get(policy.issuers[0].client_claim)), ("subject", claims.get("sub")), ("issuer", "")]
    for revocation in known.revocations(NOW):
        if revocation.issuer == ISS and (revocation.what, revocation.value) in named:
            assert revocation.before is not None
            assert claims["iat"] >= revocation.before
    words = {w for name in ("scope", "scp") for w in (claims[name].split(" ") if isinstance(claims.get(name), str) else claims.get(name) or [])}
    assert set(rule.needs) <= words
    client = next((c for c in policy.clients if c.id == claims.get(policy.issuers[0].client_claim)), None)
    assert client is not None or policy.unlisted_clients == "as_person"
    assert client is None or client.may is None or set(rule.needs) <= set(client.may)


@many
@given(questions, st.sampled_from(SCOPES))
def test_losing_a_scope_never_opens(question: Question, lost: str) -> None:
    policy, known, several = question
    for call in several:
        if isinstance(call.token, str) or yes(policy, known, call):
            continue
        claims: dict[str, Any] = dict(call.token.claims)
        for name in ("scope", "scp"):
            value = claims.get(name)
            if isinstance(value, str):
                claims[name] = " ".join(w for w in value.split(" ") if w != lost)
            elif isinstance(value, list):
                claims[name] = [w for w in value if w != lost]
        assert not yes(policy, known, replace(call, token=replace(call.token, claims=claims)))


@many
@given(questions, st.data())
def test_taking_away_what_callers_may_never_opens(question: Question, data: st.DataObject) -> None:
    policy, known, several = question
    narrower = replace(policy, clients=tuple(replace(c, may=data.draw(some_scopes) if c.may is None else c.may[:-1]) for c in policy.clients))
    for call in several:
        if not yes(policy, known, call):
            assert not yes(narrower, known, call)
            assert not yes(replace(policy, clients=policy.clients[1:], unlisted_clients="refuse"), known, call)


@many
@given(questions)
def test_asking_for_more_never_opens(question: Question) -> None:
    """A certificate where none was asked for, a token's id, fewer odd paths, and what became known meanwhile."""
    policy, known, several = question
    stricter = [
        replace(policy, apis=tuple(replace(a, allow=a.allow[:-1]) for a in policy.apis)),
        replace(policy, issuers=tuple(replace(i, jti="required") for i in policy.issuers)),
        replace(policy, apis=tuple(replace(a, case="guarded") for a in policy.apis)),
    ]
    later = [replace(known, audit_full=True), replace(known, good_until=0), replace(known, revoked=(*known.revoked, ("subject", "alice", None)))]
    for call in several:
        if not yes(policy, known, call):
            assert not any(yes(other, known, call) for other in stricter)
            assert not any(yes(policy, other, call) for other in later)
            assert not yes(policy, known, replace(call, certificate=None))


@many
@given(questions, st.randoms(use_true_random=False))
def test_the_order_of_writing_does_not_matter(question: Question, random: Any) -> None:
    def mixed(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(random.sample(items, len(items)))

    policy, known, several = question
    rules = [tuple(replace(r, to=To(mixed(r.to.kinds), mixed(r.to.clients)), needs=mixed(r.needs)) for r in a.rules) for a in policy.apis]
    apis = [replace(a, rules=mixed(r), allow=mixed(a.allow)) for a, r in zip(policy.apis, rules, strict=True)]
    other = replace(policy, clients=mixed(policy.clients), apis=mixed(tuple(apis)))
    for call in several:
        one, two = asks(policy, known, call), asks(other, replace(known, revoked=mixed(known.revoked)), call)
        assert (type(one), getattr(one, "reference", ""), one.api, one.rule) == (type(two), getattr(two, "reference", ""), two.api, two.rule)


@many
@given(policies, within | paths)
def test_a_method_is_refused_where_a_more_specific_template_is_another_methods(policy: Policy, path: str) -> None:
    api = api_at(policy, path)
    assume(api is not None)
    assert api is not None
    chosen = {rule.template for m in METHODS if (rule := rule_for(api, m, path))}
    assert len({parse_template(t).without_slash().shape if api.slash == "same" else parse_template(t).shape for t in chosen}) <= 1
    fitting = [r for r in api.rules if matches(api, r, path)]
    assert bool(fitting) >= bool(chosen)
    assert bool(chosen) or not fitting or "%" in path or path.endswith("/") or api.case == "guarded"


@many
@given(questions, st.sampled_from([{"act": {"sub": "x"}}, {"exp": NOW - 1000}, {"iss": "x"}, {"aud": "x"}, {"nbf": NOW + 1000}, {"jti": "gone"}]))
def test_a_fault_in_the_token_never_opens(question: Question, fault: dict[str, Any]) -> None:
    policy, known, several = question
    for call in several:
        if isinstance(call.token, PresentedToken):
            decision = asks(policy, known, replace(call, token=replace(call.token, claims={**call.token.claims, **fault})))
            assert isinstance(decision, Denial) or decision.public


# ── writing and reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rendered_api(api: Api) -> dict[str, Any]:
    upstream = api.upstream
    wanted = api.client_certificate
    return {
        "at": api.at,
        "audience": api.audience,
        "upstream": {
            "url": upstream.url,
            "timeout": f"{int(upstream.timeout * 1000)}ms",
            "host_header": upstream.host_header,
            "forward_token": upstream.forward_token,
        },
        "rules": {r.operation: {"public": r.public} if r.public else {"needs": list(r.needs), "to": [*r.to.kinds, *r.to.clients]} for r in api.rules},
        "slash": api.slash,
        "case": api.case,
        **({} if wanted is None else {"client_certificate": {"names": list(wanted.names)} if wanted.names else "required"}),
        **({"path": {"allow": list(api.allow)}} if api.allow else {}),
    }


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
                "clock_skew": f"{issuer.clock_skew}s",
                "typ": issuer.typ,
                "client_claim": issuer.client_claim,
                "scope_form": issuer.scope_form,
                "jti": issuer.jti,
                "keys": {"max_stale": f"{issuer.max_stale}s"},
                "trust": issuer.trust,
                **person,
            }
        },
        "trust": {t.name: {"lifetime": f"{t.lifetime}s", "over": t.over} for t in policy.trust},
        "defaults": {
            "to": [*policy.default_to.kinds, *policy.default_to.clients],
            "unlisted_clients": policy.unlisted_clients,
            "sends": {
                "client": policy.sends.client,
                "subject": policy.sends.subject,
                "issuer": policy.sends.issuer,
                "scopes": policy.sends.scopes,
                "pass": policy.sends.pass_,
            },
            "limits": {"body": f"{policy.body_limit}B"},
        },
        "scopes": {s.name: {"says": s.says} for s in policy.scopes},
        "clients": {c.name: {"kind": c.kind, "issuer": c.issuer, "id": c.id, **({} if c.may is None else {"may": list(c.may)})} for c in policy.clients},
        "apis": {a.name: rendered_api(a) for a in policy.apis},
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
