"""May this call pass, and why? Three independent answers: the policy's own, a walk through the compiled snapshot, and the real Envoy.

``SCOPEWARD_THOROUGH=1`` asks many more questions.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings

from scopeward.analysis.decide import Call, decide
from scopeward.analysis.gateway import Facts, IssuerFacts, Revoked
from scopeward.analysis.resolve import resolve
from scopeward.compile import Snapshot, compile_gateway
from scopeward.compile.prove import prove
from scopeward.decision import Allowed, Decision
from scopeward.policy.model import Api, Policy, Rule, To, Upstream
from scopeward.policy.source import Loaded, load
from tests.kit.compiling import EDGE, Draft
from tests.kit.gateway import RunningGateway
from tests.kit.generate import FAULTS, IDS, ONE_OF_EACH, PLAIN, REVOKED, Fault, asked, at_time, at_upstream, call_with, claim, really
from tests.kit.tokens import jwks
from tests.kit.upstream import RecordingUpstream
from tests.kit.walk import Walked, walk

NOW = 1_700_000_000
TIMES = 40 if os.environ.get("SCOPEWARD_THOROUGH") else 1

repeatable = settings(
    derandomize=TIMES == 1, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
)


def compiled(policy: Policy) -> Snapshot:
    facts = Facts({"idp": IssuerFacts("https://idp.test/", jwks())}, tuple(Revoked(*pair) for pair in sorted(REVOKED)))
    gateway = resolve(policy, facts)
    snapshot = compile_gateway(gateway, EDGE)
    prove(snapshot, gateway)
    return snapshot


def reference(decision: Decision) -> str | None:
    return None if isinstance(decision, Allowed) else decision.reference


def walked(snapshot: Snapshot, call: Call, now: float = NOW) -> Walked:
    return walk(snapshot, call.method, call.path, call.authorization, call.token, now)


def operation(found: Walked) -> str | None:
    """The API and the rule that the route's name says, as a policy's decision says them."""
    if found.route is None:
        return None
    _, api, method, template = found.route.split(" ", 3)
    return None if method == "-" else f"{api} {method} {template}"


@settings(repeatable, max_examples=45 * TIMES)
@given(asked(10))
def test_the_policy_and_the_snapshot_give_the_same_answer(question: tuple[Policy, list[Call]]) -> None:
    policy, several = question
    snapshot = compiled(policy)
    for call in (at_time(c, NOW) for c in several):
        decision, found = decide(policy, call, NOW, REVOKED), walked(snapshot, call)
        note(f"{call}\n{decision}\n{found}")
        assert found.reference == reference(decision)
        if isinstance(decision, Allowed):
            rule = decision.rule.partition(" ")
            at = next(a.at for a in policy.apis if a.name == decision.api)
            full = rule[2] if at == "/" else at + ("" if rule[2] == "/" else rule[2])
            assert operation(found) == f"{decision.api} {rule[0]} {full}"
            assert found.values["decide"].startswith("public." if decision.public else "rule.")
            assert tuple(found.values["decide"].split(" ")[1:]) == decision.scopes_used


@settings(repeatable, max_examples=20 * TIMES)
@given(asked(10))
def test_what_no_rule_names_is_refused(question: tuple[Policy, list[Call]]) -> None:
    """Default deny: without its rules an API lets nobody in, whoever calls and however."""
    policy, several = question
    bare = replace(policy, apis=tuple(replace(a, rules=()) for a in policy.apis))
    snapshot = compiled(bare)
    for call in (at_time(c, NOW) for c in several):
        assert walked(snapshot, call).reference is not None
        assert reference(decide(bare, call, NOW, REVOKED)) == walked(snapshot, call).reference


# ── mutants ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

READ, BOTH = ("read.a",), ("read.a", "write.a")
MUTATED = replace(
    PLAIN[0],
    apis=(
        replace(
            PLAIN[0].apis[0],
            rules=(
                Rule("GET", "/**", READ, To(("people",), ("sync.2", "bot"))),
                Rule("POST", "/", BOTH, To(("people",), ("sync.2",))),
                Rule("DELETE", "/{x}", BOTH, To((), ("sync", "sync.2"))),
                Rule("GET", "/open", public="why"),
            ),
        ),
        Api("inner", "/o/in", "idp", "aud-i", Upstream("http://127.0.0.1:9002"), (Rule("GET", "/{x}", READ, To((), ("bot", "sync.2"))),)),
    ),
)
JWT = "envoy.filters.http.jwt_authn"


def every_call() -> list[Call]:
    """Who, with what, wherefrom, to where: the least that tells the mutants apart."""
    guarded = [
        ("GET", "/o/z/y"),
        ("POST", "/o"),
        ("DELETE", "/o/z"),
        ("GET", "/o/in/z"),
        ("GET", "/o/in"),
        ("DELETE", "/o/in/z"),
        ("PUT", "/o/z"),
        ("PUT", "/o/z/y"),
    ]
    at = [*guarded, ("GET", "/o"), ("HEAD", "/o/z/y"), ("GET", "/o/open"), ("POST", "/o/open"), ("GET", "/p")]
    callers = [(i, person) for i in (*IDS.values(), "stranger") for person in ("user", "app")]
    tokens = [
        call_with(({}, {"client_id": i, "idtyp": person, "scope": scope, "aud": ["aud-o", "aud-i"]}, "good")).token
        for i, person in callers
        for scope in ("read.a write.a", "read.a", "write.a", "read-a read.ab")
    ]
    several: list[Fault] = [({}, {"aud": ["aud-o", "aud-i"], "client_id": i}, "good") for i in ("web-id", "sync-id", "bot-id")]
    odd = [call_with(caller, fault).token for caller in several for fault in ONE_OF_EACH]
    asked = [Call(method, path, ("Bearer T",), token) for method, path in at for token in tokens]
    asked += [Call(method, path, ("Bearer T",), token) for method, path in guarded for token in odd]
    asked += [
        Call(method, path, ("Bearer T",), call_with(caller, claim("aud", aud)).token)
        for method, path in guarded
        for caller in several
        for aud in ("aud-o", "aud-i")
    ]
    asked += [Call(method, path, (), "none") for method, path in at]
    asked += [Call("GET", "/o/z/y", ("Bearer T", "Bearer T"), tokens[0]), Call("GET", "/o/z/y?access_token=1", ("x",), "none")]
    return [at_time(call, NOW) for call in random.Random(1).sample(asked, len(asked))]


Mutant = Callable[[Draft], object]


def conjuncts_of(draft: Draft, key: str) -> list[Any]:
    found: list[Any] = draft.entries()[key]["matcher"]["matcher_list"]["matchers"][0]["predicate"]["and_matcher"]["predicate"]
    return found


def cases_of(draft: Draft, table: str) -> Any:
    matcher = draft.extensions[table]["matcher"]["matcher_tree"]["exact_match_map"]["map"]["https://idp.test/"]["matcher"]
    return matcher["matcher_list"]["matchers"]


def any_of(case: Any) -> None:
    case["predicate"] = {"or_matcher": case["predicate"]["and_matcher"]}


def mutants(draft: Draft) -> Iterator[tuple[str, Mutant]]:
    """Each drops a clause, swaps all and any, widens a template, or takes one thing for another."""
    for key, entry in draft.entries().items():
        if "matcher" not in entry:
            continue
        cases = entry["matcher"]["matcher_list"]["matchers"]
        if "and_matcher" in cases[0]["predicate"]:
            yield f"decide {key}: any", lambda d, key=key: any_of(d.entries()[key]["matcher"]["matcher_list"]["matchers"][0])
            for n in range(len(conjuncts_of(draft, key))):
                yield f"decide {key}: without conjunct {n}", lambda d, key=key, n=n: conjuncts_of(d, key).pop(n)
        for n in range(len(cases)):
            yield f"decide {key}: without case {n}", lambda d, key=key, n=n: d.entries()[key]["matcher"]["matcher_list"]["matchers"].pop(n)
    base = cases_of(draft, "base")
    yield "base: any", lambda d: any_of(cases_of(d, "base")[0])
    for n in range(len(base[0]["predicate"]["and_matcher"]["predicate"])):
        yield f"base: without conjunct {n}", lambda d, n=n: cases_of(d, "base")[0]["predicate"]["and_matcher"]["predicate"].pop(n)
    ends = {route["name"]: n for n, route in enumerate(draft.host["routes"])}
    for n, route in enumerate(draft.host["routes"]):
        if ends[route["name"]] == n and " - GET " not in route["name"]:
            yield f"route {n} {route['name']}: gone", lambda d, n=n: d.host["routes"].pop(n)
        if "route" in route:
            yield f"route {n}: wider", lambda d, n=n: d.host["routes"][n].update(match={"prefix": "/o"})
            yield f"route {n}: of any method", lambda d, n=n: d.host["routes"][n]["match"].pop("headers")
        if route["typed_per_filter_config"][JWT]["requirement_name"].startswith("required.") and "route" in route:
            yield f"route {n}: open", lambda d, n=n: d.host["routes"][n]["typed_per_filter_config"][JWT].update(requirement_name="open")
    who = draft.extensions["who"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]["https://idp.test/"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]
    for one, other in itertools.pairwise(who):
        yield f"who: {one} is {other}", lambda d, one=one, other=other: listed(d).update({one: listed(d)[other]})
    for name in draft.extensions[JWT]["requirement_map"]:
        if name.startswith("required."):
            yield (
                f"jwt_authn: any audience in {name}",
                lambda d, name=name: d.extensions[JWT]["requirement_map"][name]["provider_and_audiences"].update(audiences=[]),
            )
    yield "jwt_authn: another issuer", lambda d: d.extensions[JWT]["providers"]["idp"].update(issuer="x")
    yield "jwt_authn: no end", lambda d: d.extensions[JWT]["providers"]["idp"].update(require_expiration=False)
    yield "revoke: nothing", lambda d: d.extensions["revoke-settled"]["matcher"].pop("matcher_tree")
    for n in range(len(draft.filter("enforce")["typed_config"]["matcher"]["matcher_list"]["matchers"])):
        yield f"enforce: without case {n}", lambda d, n=n: d.filter("enforce")["typed_config"]["matcher"]["matcher_list"]["matchers"].pop(n)
    for name in ("who", "base", "decide", "enforce"):
        yield f"{name}: off", lambda d, name=name: d.filter(name).update(disabled=True)


def listed(draft: Draft) -> Any:
    return draft.extensions["who"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]["https://idp.test/"]["matcher"]["matcher_tree"]["exact_match_map"][
        "map"
    ]


HARMLESS = {
    "base: without conjunct 4": "the table of recent revocations is empty",
    "enforce: without case 8": "what is unknown is refused as 'no-rule' too",
    "decide no-rule.inner: without case 0": "what is unknown is refused as 'no-rule' too",
    "decide no-rule.outer: without case 0": "what is unknown is refused as 'no-rule' too",
    "enforce: without case 9": "a route that asks for a token refuses a call without one before",
    "outer - -: gone": "the last '/**' of the API and the API's own end refuse the same",
    "- - -: gone": "a path without a route is 'api-not-found' too",
}
"""Mutants that change no answer, by how their names end, and why."""


def test_a_mutant_of_the_snapshot_is_told_apart_from_the_policy() -> None:
    asked = every_call()
    answers = [reference(decide(MUTATED, call, NOW, REVOKED)) for call in asked]
    original = compiled(MUTATED)
    assert [walked(original, call).reference for call in asked] == answers
    alive = []
    for name, mutate in mutants(Draft(original)):
        draft = Draft(original)
        mutate(draft)
        mutant = draft.snapshot()
        assert mutant != original
        if all(walked(mutant, call).reference == answer for call, answer in zip(asked, answers, strict=True)):
            alive.append(name)
    alive = [name for name in alive if not name.endswith(tuple(HARMLESS))]
    assert not alive, "\n".join(alive)


# ── the real one ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def recording() -> Iterator[RecordingUpstream]:
    with RecordingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def running(recording: RecordingUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    text = (Path(__file__).parents[1] / "compile" / "cases" / "minimal" / "policy.yaml").read_text()
    with RunningGateway(tmp_path_factory.mktemp("node"), text) as gateway:
        yield gateway


def publish(running: RunningGateway, policy: Policy) -> Snapshot:
    facts = Facts({"idp": IssuerFacts("https://idp.test/", jwks())}, tuple(Revoked(*pair) for pair in sorted(REVOKED)))
    gateway = resolve(policy, facts)
    snapshot = compile_gateway(gateway, running.node.edge)
    prove(snapshot, gateway)
    running._run(running.node.publish(snapshot))
    return snapshot


def three_answers(running: RunningGateway, recording: RecordingUpstream, policy: Policy, snapshot: Snapshot, generated: Call) -> str | None:
    """The one answer that all three give: a reference, or ``None`` where the call went to the upstream, with the headers that the walk says."""
    call, authorization = really(generated)
    now = time.time()
    decision, found = decide(policy, call, now, REVOKED), walked(snapshot, call, now)
    before = len(recording.seen)
    answer = running.call(call.method, call.path, headers=authorization, body=b"" if call.method == "POST" else None)
    assert answer.reference == found.reference == reference(decision), (call, answer.status)
    if answer.reference:
        assert len(recording.seen) == before
        return answer.reference
    assert answer.status == 200
    (seen,) = recording.seen[before:]
    names = [n.lower() for n in (policy.sends.client, policy.sends.subject, policy.sends.issuer, policy.sends.scopes) if n]
    assert {n: v[0] for n in names if (v := seen.all(n))} == {n: found.sent[n].strip() for n in names if n in found.sent}
    assert bool(seen.all("authorization")) == ("authorization" in found.sent)
    return None


def test_the_policy_the_snapshot_and_envoy_give_the_same_answer(running: RunningGateway, recording: RecordingUpstream) -> None:
    answers = Counter[bool]()

    @settings(repeatable, max_examples=8 * TIMES)
    @given(asked(30))
    def agree(question: tuple[Policy, list[Call]]) -> None:
        policy, several = at_upstream(question[0], recording.url), question[1]
        snapshot = publish(running, policy)
        answers.update(three_answers(running, recording, policy, snapshot, call) is None for call in several)

    agree()
    assert min(answers.values()) > 30 * TIMES


@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_of_two_faults_all_three_name_the_same_one(number: int, running: RunningGateway, recording: RecordingUpstream) -> None:
    policy = at_upstream(PLAIN[number], recording.url)
    snapshot = publish(running, policy)
    assert three_answers(running, recording, policy, snapshot, call_with()) is None
    callers: list[Fault] = [({}, {"client_id": i}, "good") for i in ("sync-id", "web-id", "bot-id", "stranger")]
    told = {three_answers(running, recording, policy, snapshot, call_with(caller, fault)) for caller in callers for fault in (*FAULTS, *ONE_OF_EACH)}
    for two in itertools.permutations(ONE_OF_EACH, 2):
        three_answers(running, recording, policy, snapshot, call_with(*two))
    assert {None, "token-malformed", "token-audience", "token-lifetime", "token-type", "scope-missing", "agent-not-named", "client-may-not"} <= told
    assert {three_answers(running, recording, policy, snapshot, call_with(fault, path="/o/open")) for fault in FAULTS} == {None}


SEGMENTS = ("files", "archive", "a.b+c", "axb+c", "trailing", "versions", "x", "Files", "**", "{id}", "%7B")


def test_every_shape_of_path_is_the_same_to_all_three(running: RunningGateway, recording: RecordingUpstream) -> None:
    text = (Path(__file__).parents[1] / "compile" / "cases" / "path-shapes" / "policy.yaml").read_bytes()
    loaded = load(text, "policy.yaml")
    assert isinstance(loaded, Loaded)
    policy = replace(loaded.policy, apis=tuple(replace(a, upstream=replace(a.upstream, url=recording.url, timeout=5.0)) for a in loaded.policy.apis))
    snapshot = publish(running, policy)
    shapes = ["/", *(f"/{one}" for one in SEGMENTS)]
    shapes += [f"/files/{one}{end}" for one in (*SEGMENTS, "a;b", "a:b", "%20") for end in ("", "/", "?x=1", "/x", "/versions/7", "/versions/7/x")]
    told = Counter[str | None]()
    person = ({}, {"aud": ["api://site", "api://files", "api://archive"], "client_id": "files-web", "scope": "read.files write.files", "email": "a@b"}, "good")
    for path in shapes:
        for method in ("GET", "HEAD", "POST", "PUT"):
            told[three_answers(running, recording, policy, snapshot, replace(call_with(person), method=method, path=path))] += 1  # type: ignore[arg-type]
    assert set(told) == {None, "no-rule"}
    assert min(told.values()) > 50
