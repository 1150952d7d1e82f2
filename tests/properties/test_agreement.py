"""May this call pass, and why? Three independent answers: the policy's own, a walk through the compiled snapshot, and the real Envoy.

``SCOPEWARD_THOROUGH=1`` asks many more questions.
"""

from __future__ import annotations

import http.client
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings

from scopeward.analysis.decide import Call, decide
from scopeward.analysis.resolve import resolve
from scopeward.compile import Snapshot, compile_gateway
from scopeward.compile.envoy.filters.decide import refusing
from scopeward.compile.envoy.proto import action
from scopeward.compile.prove import prove
from scopeward.decision import Allowed, Decision
from scopeward.policy.model import Api, ClientCertificate, Policy, Rule, To, Upstream
from scopeward.policy.source import Loaded, load
from tests.kit.compiling import EDGE, Draft
from tests.kit.gateway import Answer, RunningGateway
from tests.kit.generate import (
    FAULTS,
    GOLD,
    IDS,
    NOTHING_MORE,
    ODD_SEGMENTS,
    ONE_OF_EACH,
    PLAIN,
    SILVER,
    At,
    Fault,
    Known,
    Question,
    Revoked,
    asked,
    at_time,
    at_upstream,
    call_with,
    claim,
    really,
)
from tests.kit.tokens import jwks
from tests.kit.upstream import RecordingUpstream
from tests.kit.walk import Walked, walk

NOW = 1_700_000_000
TIMES = 40 if os.environ.get("SCOPEWARD_THOROUGH") else 1

repeatable = settings(
    derandomize=TIMES == 1, database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
)


def compiled(policy: Policy, known: Known = NOTHING_MORE) -> Snapshot:
    gateway = resolve(policy, known.facts(jwks(), NOW, policy))
    snapshot = compile_gateway(gateway, EDGE)
    prove(snapshot, gateway)
    return snapshot.with_extensions({"decide": refusing()}) if known.audit_full else snapshot


def reference(decision: Decision) -> str | None:
    return None if isinstance(decision, Allowed) else decision.reference


def walked(snapshot: Snapshot, call: Call, now: float = NOW) -> Walked:
    headers = [("access-control-request-method", "PUT")] if call.preflight else []
    host = None if call.host is None else f"{call.host}:8443"
    return walk(snapshot, call.method, call.path, call.authorization, call.token, now, headers, host, call.certificate)


def operation(found: Walked) -> str | None:
    """The API and the rule that the route's name says, as a policy's decision says them."""
    if found.route is None:
        return None
    _, api, method, template = found.route.split(" ", 3)
    return None if method == "-" else f"{api} {method} {template}"


@settings(repeatable, max_examples=60 * TIMES)
@given(asked(10))
def test_the_policy_and_the_snapshot_give_the_same_answer(question: Question) -> None:
    policy, known, several = question
    snapshot = compiled(policy, known)
    for call in (at_time(c, NOW) for c in several):
        decision, found = decide(policy, call, NOW, known.standing(NOW)), walked(snapshot, call)
        note(f"{call}\n{decision}\n{found}")
        assert found.reference == reference(decision)
        if isinstance(decision, Allowed):
            rule = decision.rule.partition(" ")
            api = next(a for a in policy.apis if a.name == decision.api)
            full = rule[2] if api.at == "/" else api.at + ("" if rule[2] == "/" else rule[2])
            assert operation(found) == f"{decision.api} {rule[0]} {full.removesuffix('/') or '/' if api.slash == 'same' else full}"
            assert found.values["decide"].startswith("public." if decision.public else "rule.")
            assert tuple(found.values["decide"].split(" ")[1:]) == decision.scopes_used


@settings(repeatable, max_examples=20 * TIMES)
@given(asked(10))
def test_what_no_rule_names_is_refused(question: Question) -> None:
    """Default deny: without its rules an API lets nobody in, whoever calls and however."""
    policy, known, several = question
    bare = replace(policy, apis=tuple(replace(a, rules=()) for a in policy.apis))
    snapshot = compiled(bare, known)
    for call in (at_time(c, NOW) for c in several):
        assert walked(snapshot, call).reference is not None
        assert reference(decide(bare, call, NOW, known.standing(NOW))) == walked(snapshot, call).reference


# ── mutants ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

READ, BOTH = ("read.a",), ("read.a", "write.a")
MUTATED = replace(
    PLAIN[0],
    apis=(
        replace(
            PLAIN[0].apis[0],
            slash="same",
            allow=("space",),
            rules=(
                Rule("GET", "/**", READ, To(("people",), ("sync.2", "bot"))),
                Rule("POST", "/", BOTH, To(("people",), ("sync.2",))),
                Rule("DELETE", "/{x}", BOTH, To((), ("sync", "sync.2"))),
                Rule("DELETE", "/a:b", BOTH, To((), ("sync", "sync.2"))),
                Rule("GET", "/open", public="why"),
            ),
        ),
        Api(
            "inner",
            "/o/in",
            "idp",
            "aud-i",
            Upstream("http://127.0.0.1:9002"),
            (Rule("GET", "/{x}", READ, To((), ("bot", "sync.2"))), Rule("POST", "/{x}", READ, To((), ("bot", "sync.2"))), Rule("GET", "/open", public="why")),
            client_certificate=ClientCertificate((GOLD, SILVER)),
            allow=("dot",),
            case="sensitive",
        ),
    ),
)
LATE = 1_000
REVOKED_MEANWHILE: tuple[Revoked, ...] = (
    ("client", "bot-id", -30),
    ("client", "sync.id", -30),
    ("subject", "mallory", -20),
    ("subject", "eve", None),
)
MUTATED_WITH = Known((*REVOKED_MEANWHILE, ("issuer", "", -40)), LATE)
JWT = "envoy.filters.http.jwt_authn"
Asked = tuple[Call, int]
"""A call, and when."""


def every_call() -> list[Asked]:
    """Who, with what, wherefrom, to where, when: the least that tells the mutants apart."""
    guarded = [
        ("GET", "/o/z/y"),
        ("POST", "/o"),
        ("DELETE", "/o/z"),
        ("GET", "/o/in/z"),
        ("GET", "/o/in"),
        ("DELETE", "/o/in/z"),
        ("POST", "/o/in/z"),
        ("PUT", "/o/z"),
        ("PUT", "/o/z/y"),
        ("DELETE", "/o/a:b"),
    ]
    spelt = [
        ("DELETE", "/o/z/"),
        ("POST", "/o/"),
        ("DELETE", "/o/a:b/"),
        ("GET", "/o/a:b"),
        ("GET", "/o/a:b/"),
        ("DELETE", "/o/A:b"),
        ("DELETE", "/o/A:b/"),
        ("DELETE", "/o/a%3Ab"),
        ("GET", "/o/IN/z"),
        ("DELETE", "/o/Open"),
        ("DELETE", "/o/Open/"),
        ("DELETE", "/o/open"),
        ("DELETE", "/o/open/"),
    ]
    at = [
        *guarded,
        *spelt,
        ("GET", "/o"),
        ("HEAD", "/o/z/y"),
        ("GET", "/o/open"),
        ("GET", "/o/open/"),
        ("POST", "/o/open"),
        ("GET", "/p"),
        ("GET", "/o/z"),
        ("GET", "/o/z/"),
    ]
    at += [
        ("GET", "/o/in/open"),
        ("POST", "/o/in/open"),
        ("GET", "/o/in/z."),
        ("GET", "/o/in/%20"),
        ("GET", "/o/%20"),
        *(("GET", f"/o/{odd}") for odd in ODD_SEGMENTS),
    ]
    callers = [(i, person) for i in (*IDS.values(), "stranger") for person in ("user", "app")]
    tokens = [
        call_with(({}, {"client_id": i, "idtyp": person, "scope": scope, "aud": ["aud-o", "aud-i"]}, "good")).token
        for i, person in callers
        for scope in ("read.a write.a", "read.a", "write.a", "read-a read.ab")
    ]
    several: list[Fault] = [({}, {"aud": ["aud-o", "aud-i"], "client_id": i}, "good") for i in ("web-id", "sync-id", "bot-id")]
    odd = [call_with(caller, fault).token for caller in several for fault in (*ONE_OF_EACH, claim("exp", At(5000)), claim("jti", "gone-2"))]
    older = [call.token for call in of_old_tokens()]
    gold = (GOLD,)
    asked = [Call(method, path, ("Bearer T",), token, certificate=gold) for method, path in at for token in tokens]
    asked += [Call(method, path, ("Bearer T",), token, certificate=gold) for method, path in guarded for token in (*odd, *older)]
    asked += [
        Call(method, path, ("Bearer T",), call_with(caller, claim("aud", aud)).token, certificate=gold)
        for method, path in guarded
        for caller in several
        for aud in ("aud-o", "aud-i")
    ]
    asked += [Call(method, path, (), "none") for method, path in at]
    shut = [("GET", "/o/in/z"), ("POST", "/o/in/z"), ("GET", "/o/in/open")]
    asked += [Call(method, path, ("Bearer T",), token, certificate=shown) for method, path in shut for token in tokens for shown in CERTIFICATES]
    asked += [Call("OPTIONS", path, (), "none", preflight=asks) for path in ("/o/z", "/o/open", "/p") for asks in (True, False)]
    asked += [Call("GET", path, ("Bearer T",), token, host=host) for path in ("/o/z/y", "/o/open") for token in tokens[:5] for host in ("other", "gw.example")]
    asked += [Call("GET", "/o/z/y", said, token) for said in (("Bearer T", "Bearer T"), ("Basic x Bearer T",)) for token in tokens]
    asked += [Call("GET", "/o/z/y", ("Basic x", "Basic y"), "none"), Call("GET", "/o/z/y?access_token=1", ("x",), "none")]
    timed = [(at_time(call, NOW), NOW) for call in asked]
    timed += [
        (at_time(replace(call, method="GET", path=path), NOW + LATE), NOW + late)
        for call in asked[:5]
        for path in ("/o/z/y", "/o/in/z")
        for late in (LATE - 1, LATE)
    ]
    return random.Random(1).sample(timed, len(timed))


def of_old_tokens() -> list[Call]:
    """Calls with tokens of several ages, in seconds."""
    return [
        call_with(({}, {"aud": ["aud-o", "aud-i"], "client_id": client, "sub": sub, "iat": At(-age), "exp": At(800 - age)}, "good"))
        for client in ("web-id", "sync-id", "bot-id", "sync.id")
        for sub in ("alice", "mallory", "eve")
        for age in (5, 11, 19, 20, 21, 29, 30, 31, 39, 40, 41)
    ]


CERTIFICATES = ((SILVER,), (GOLD, SILVER), (), None, ("uri:gold.example",), ("dns:other.example",))


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
    for n, route in enumerate(draft.host["routes"]):
        if " - GET " not in route["name"]:
            yield f"route {n} {route['name']} {route['match']}: gone", lambda d, n=n: d.host["routes"].pop(n)
        if "route" in route:
            yield f"route {n}: wider", lambda d, n=n: d.host["routes"][n].update(match={"prefix": "/o"})
            yield f"route {n}: of any method", lambda d, n=n: d.host["routes"][n]["match"].pop("headers")
        if route["match"].get("safe_regex", {}).get("regex", "").endswith("/?"):
            yield f"route {n}: without a slash", lambda d, n=n: narrow(d.host["routes"][n]["match"]["safe_regex"])
        if route["typed_per_filter_config"][JWT]["requirement_name"].startswith("required.") and "route" in route:
            yield f"route {n}: open", lambda d, n=n: d.host["routes"][n]["typed_per_filter_config"][JWT].update(requirement_name="open")
    yield "hosts: everybody's", lambda d: (d.routes[0]["virtual_hosts"].pop(), d.host.update(domains=["*"]))
    yield "scrub: no time", lambda d: d.filter("scrub")["typed_config"]["mutations"].update(request_mutations=[])
    yield from revocation_mutants(draft)
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
    for n in range(len(draft.filter("enforce")["typed_config"]["matcher"]["matcher_list"]["matchers"])):
        yield f"enforce: without case {n}", lambda d, n=n: d.filter("enforce")["typed_config"]["matcher"]["matcher_list"]["matchers"].pop(n)
    for name in ("who", "base", "decide", "enforce"):
        yield f"{name}: off", lambda d, name=name: d.filter(name).update(disabled=True)


def narrow(regex: Any) -> None:
    regex.update(regex=regex["regex"].removesuffix("/?"))


def trees(matcher: Any) -> Iterator[Any]:
    """The trees of a matcher, from the outside."""
    if "matcher_tree" in matcher:
        yield matcher["matcher_tree"]["exact_match_map"]["map"]
        for on_match in [*matcher["matcher_tree"]["exact_match_map"]["map"].values(), matcher["on_no_match"]]:
            yield from trees(on_match.get("matcher", {}))


def revocation_mutants(draft: Draft) -> Iterator[tuple[str, Mutant]]:
    """An entry is gone, a time is none, an entry ends the search, or the issuer's own entry is gone."""
    for table in ("revoke-recent", "revoke-settled"):
        for n, tree in enumerate(trees(draft.extensions[table]["matcher"])):
            for key, entry in tree.items():
                if key not in {"kept", "https://other.test/"}:  # of another issuer
                    yield f"{table} {n} {key}: gone", lambda d, table=table, n=n, key=key: tree_of(d, table, n).pop(key)
                if "on_no_match" not in entry.get("matcher", {"on_no_match": ""}):
                    yield f"{table} {n} {key}: ends", lambda d, table=table, n=n, key=key: tree_of(d, table, n)[key]["matcher"].update(on_no_match=LIVE)
                    yield f"{table} {n} {key}: always", lambda d, table=table, n=n, key=key: tree_of(d, table, n).update({key: GONE})
    yield "revoke-settled: no issuer", lambda d: last_of(d).pop("matcher_list")
    yield "revoke-settled: the whole issuer", lambda d: last_of(d).update(on_no_match=GONE)


def last_of(draft: Draft) -> Any:
    """What is asked of a token that no entry names."""
    matcher = draft.extensions["revoke-settled"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]["https://idp.test/"]["matcher"]
    while "matcher" in matcher["on_no_match"]:
        matcher = matcher["on_no_match"]["matcher"]
    return matcher


def tree_of(draft: Draft, table: str, number: int) -> Any:
    return list(trees(draft.extensions[table]["matcher"]))[number]


LIVE, GONE = action("live"), action("revoked")


def listed(draft: Draft) -> Any:
    return draft.extensions["who"]["matcher"]["matcher_tree"]["exact_match_map"]["map"]["https://idp.test/"]["matcher"]["matcher_tree"]["exact_match_map"][
        "map"
    ]


HARMLESS = {
    "decide no-rule.inner: without case 0": "what is unknown is refused as 'no-rule' too",
    "decide no-rule.outer: without case 0": "what is unknown is refused as 'no-rule' too",
    "enforce: without case 12": "what is unknown is refused as 'no-rule' too",
    "enforce: without case 14": "a route that asks for a token refuses a call without one before",
    "'/.well-known/scopeward/probe'}: gone": "no caller is meant to call it",
    "revoke-settled 3 mallory: ends": "the issuer's own time is earlier; see the next test",
    "inner - - {'safe_regex': {'regex': '/o/in/[^/]+'}}: gone": "the API's own end refuses the same",
    "outer - - {'path_separated_prefix': '/o'}: gone": "the last '/**' of the API and the API's own end refuse the same",
    "- - - {'prefix': '/'}: gone": "a path without a route is 'api-not-found' too",
}
"""Mutants that change no answer, by how their names end, and why."""


def told_apart(mutant: Snapshot, asked: list[Asked], answers: list[str | None]) -> bool:
    """Whether some call is answered in another way, or is while calls cannot be recorded."""
    if any(walked(mutant, call, now).reference != answer for (call, now), answer in zip(asked, answers, strict=True)):
        return True
    refusing_all = mutant.with_extensions({"decide": refusing()})
    return walked(refusing_all, at_time(call_with(), NOW)).reference != "audit-unavailable"


def test_a_mutant_of_the_snapshot_is_told_apart_from_the_policy() -> None:
    asked = every_call()
    answers = [reference(decide(MUTATED, call, now, MUTATED_WITH.standing(NOW))) for call, now in asked]
    original = compiled(MUTATED, MUTATED_WITH)
    assert [walked(original, call, now).reference for call, now in asked] == answers
    alive = []
    for name, mutate in mutants(Draft(original)):
        draft = Draft(original)
        mutate(draft)
        mutant = draft.snapshot()
        assert mutant != original
        if not name.endswith(tuple(HARMLESS)) and not told_apart(mutant, asked, answers):
            alive.append(name)
    assert not alive, "\n".join(alive)


def test_a_time_that_does_not_apply_ends_no_search() -> None:
    """Of the tables alone, with an issuer's own time that is later than those of its clients and subjects."""
    known = Known((*REVOKED_MEANWHILE, ("issuer", "", -10)), LATE)
    asked = [(at_time(replace(call, method="GET", path="/o/z/y"), NOW), NOW) for call in of_old_tokens()]
    answers = [reference(decide(MUTATED, call, now, known.standing(NOW))) for call, now in asked]
    original = compiled(MUTATED, known)
    assert [walked(original, call, now).reference for call, now in asked] == answers
    ending = [(name, mutate) for name, mutate in revocation_mutants(Draft(original)) if name.endswith(": ends")]
    assert len(ending) == 3
    for name, mutate in ending:
        draft = Draft(original)
        mutate(draft)
        assert told_apart(draft.snapshot(), asked, answers), name


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


def publish(running: RunningGateway, policy: Policy, known: Known = NOTHING_MORE) -> tuple[Snapshot, float]:
    """What is known is put in force as of now, which is returned beside the snapshot. While nothing can be recorded the node refuses by itself."""
    now = float(int(time.time()))
    gateway = resolve(policy, known.facts(jwks(), now, policy))
    snapshot = compile_gateway(gateway, running.node.edge)
    prove(snapshot, gateway)
    running.put(snapshot)
    return snapshot, now


def send(running: RunningGateway, call: Call, headers: list[tuple[str, str]]) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=10)
    try:
        connection.putrequest(call.method, call.path, skip_host=True, skip_accept_encoding=True)
        for name, value in (*headers, *([("Content-Length", "0")] if call.method == "POST" else [])):
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


@dataclass
class Three:
    """Asks all three. ``standing`` is of the time at which it was put in force."""

    running: RunningGateway
    recording: RecordingUpstream
    policy: Policy
    known: Known = NOTHING_MORE

    def __post_init__(self) -> None:
        self.snapshot, self.since = publish(self.running, self.policy, self.known)
        if self.known.audit_full:
            self.snapshot = self.snapshot.with_extensions({"decide": refusing()})

    def answer(self, generated: Call) -> str | None:
        """The one answer that all three give: a reference, or ``None`` where the call went to the upstream, with the headers that the walk says."""
        call, headers = really(generated, self.since, self.policy)
        now = time.time()
        decision, found = decide(self.policy, call, now, self.known.standing(self.since)), walked(self.snapshot, call, now)
        before = len(self.recording.seen)
        answer = send(self.running, call, headers)
        assert answer.reference == found.reference == reference(decision), (call, answer.status)
        if answer.reference:
            assert len(self.recording.seen) == before
            return answer.reference
        assert answer.status == 200
        (seen,) = self.recording.seen[before:]
        sends = self.policy.sends
        names = [n.lower() for n in (sends.client, sends.subject, sends.issuer, sends.scopes, sends.pass_) if n]
        assert {n: v[0] for n in names if (v := seen.all(n))} == {n: found.sent[n].strip() for n in names if n in found.sent}
        assert bool(seen.all("authorization")) == ("authorization" in found.sent)
        return None


def test_the_policy_the_snapshot_and_envoy_give_the_same_answer(running: RunningGateway, recording: RecordingUpstream) -> None:
    answers = Counter[bool]()

    @settings(repeatable, max_examples=10 * TIMES, phases=[Phase.generate])  # each question costs a publication
    @given(asked(30))
    def agree(question: Question) -> None:
        policy, known, several = question
        three = Three(running, recording, at_upstream(policy, recording.url), known)
        if known.audit_full:
            running._run(running.node.refuse())
        try:
            answers.update(three.answer(call) is None for call in several)
        finally:
            running._run(running.node.readmit())

    agree()
    assert min(answers.values()) > 20 * TIMES


@pytest.mark.parametrize("number", range(len(PLAIN)))
def test_of_two_faults_all_three_name_the_same_one(number: int, running: RunningGateway, recording: RecordingUpstream) -> None:
    three = Three(running, recording, at_upstream(PLAIN[number], recording.url), Known((("subject", "bob", None),)))
    assert three.answer(call_with()) is None
    callers: list[Fault] = [({}, {"client_id": i}, "good") for i in ("sync-id", "web-id", "bot-id", "stranger")]
    told = {three.answer(call_with(caller, fault)) for caller in callers for fault in (*FAULTS, *ONE_OF_EACH)}
    for two in itertools.permutations(ONE_OF_EACH, 2):
        three.answer(call_with(*two))
    assert {None, "token-malformed", "token-audience", "token-lifetime", "token-type", "scope-missing", "agent-not-named", "client-may-not"} <= told
    assert {three.answer(call_with(fault, path="/o/open")) for fault in FAULTS} == {None}


def test_of_two_faults_all_three_name_the_same_one_with_old_keys(running: RunningGateway, recording: RecordingUpstream) -> None:
    three = Three(running, recording, at_upstream(PLAIN[0], recording.url), Known(good_until=0))
    told = {three.answer(call_with(fault)) for fault in (*FAULTS, *ONE_OF_EACH)}
    assert {None, "issuer-keys-stale"} <= told | {three.answer(call_with(path="/o/open"))}
    assert not told & {"token-type", "token-revoked", "scope-missing", None}


def test_revocations_of_every_kind_are_the_same_to_all_three(running: RunningGateway, recording: RecordingUpstream) -> None:
    policy = at_upstream(PLAIN[3], recording.url)
    told = Counter[str | None]()
    for one, other in itertools.product([(), ("client", "sync-id", -20), ("client", "sync-id", None)], [(), ("subject", "mallory", -10), ("issuer", "", -15)]):
        three = Three(running, recording, policy, Known(tuple(revoked for revoked in (one, other) if revoked)))  # type: ignore[arg-type]
        told.update(three.answer(call) for call in of_old_tokens() if call.token.claims["client_id"] in {"sync-id", "bot-id"})  # type: ignore[union-attr]
    assert set(told) == {None, "token-revoked"}
    assert min(told.values()) > 50


SEGMENTS = ("files", "archive", "a.b+c", "axb+c", "trailing", "versions", "x", "Files", "**", "{id}", "%7B")


def test_every_shape_of_path_is_the_same_to_all_three(running: RunningGateway, recording: RecordingUpstream) -> None:
    text = (Path(__file__).parents[1] / "compile" / "cases" / "path-shapes" / "policy.yaml").read_bytes()
    loaded = load(text, "policy.yaml")
    assert isinstance(loaded, Loaded)
    policy = replace(loaded.policy, apis=tuple(replace(a, upstream=replace(a.upstream, url=recording.url, timeout=5.0)) for a in loaded.policy.apis))
    three = Three(running, recording, policy)
    shapes = ["/", *(f"/{one}" for one in SEGMENTS)]
    shapes += [f"/files/{one}{end}" for one in (*SEGMENTS, "a;b", "a:b", "%20") for end in ("", "/", "?x=1", "/x", "/versions/7", "/versions/7/x")]
    told = Counter[str | None]()
    person = ({}, {"aud": ["api://site", "api://files", "api://archive"], "client_id": "files-web", "scope": "read.files write.files", "email": "a@b"}, "good")
    for path in shapes:
        for method in ("GET", "HEAD", "POST", "PUT"):
            told[three.answer(replace(call_with(person), method=method, path=path))] += 1  # type: ignore[arg-type]
    assert set(told) == {None, "no-rule", "path-ambiguous"}
    assert min(told.values()) > 40
