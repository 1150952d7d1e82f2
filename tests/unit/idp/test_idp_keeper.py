"""The keys that a node keeps: what replaces them, what does not, how long they serve, and when they are looked at."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from scopeward.analysis.gateway import IssuerFacts
from scopeward.errors import ScopewardError
from scopeward.idp.documents import Limits
from scopeward.idp.keeper import BACK_OFF, COOLDOWN, METADATA_EVERY, KeyKeeper, KeyStanding, good_until
from scopeward.idp.keys import usable_keys
from scopeward.policy.model import Issuer, Policy
from tests.kit.clocks import SetClock

START = 1_800_000_000.0
ISSUER = "https://a.test"
OTHER = "https://b.test"
EVERY = 30.0
KEYS: dict[str, dict[str, Any]] = {kid: {**ECKey.generate_key("P-256", auto_kid=False).as_dict(private=False), "kid": kid} for kid in ("one", "two", "three")}


def jwks(*kids: str) -> dict[str, Any]:
    return {"keys": [KEYS[kid] for kid in kids]}


def text(*kids: str) -> str:
    return usable_keys(jwks(*kids), "x")


def kids(facts: IssuerFacts) -> list[str]:
    """Of the keys, in their order."""
    return [key["kid"] for key in json.loads(facts.jwks)["keys"]]


def policy(*issuers: str, max_stale: int = 86_400) -> Policy:
    return Policy("http://127.0.0.1:8080", tuple(Issuer(url.split("//")[1][0], url, None, max_stale=max_stale) for url in issuers), (), (), ())


Answer = httpx2.Response | Exception | Mapping[str, Any] | Callable[[httpx2.Request], Awaitable[httpx2.Response]]


class Provider:
    """Answers for both issuers; ``answers`` by URL may be changed at any time, ``asked`` are the URLs in order."""

    def __init__(self, *issuers: str) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {}
        for issuer in issuers or (ISSUER,):
            self.answers[metadata_of(issuer)] = {"issuer": issuer, "jwks_uri": issuer + "/jwks"}
            self.answers[issuer + "/jwks"] = jwks("one")

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(str(request.url))
        answer = self.answers.get(str(request.url), httpx2.Response(404))
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx2.Response):
            return httpx2.Response(answer.status_code, content=answer.content, headers=answer.headers)
        return await answer(request) if callable(answer) else httpx2.Response(200, json=answer)

    def down(self) -> dict[str, Answer]:
        """Nothing is reached any more; what was answered before."""
        before = self.answers
        self.answers = dict.fromkeys(before, httpx2.ConnectError("x"))
        return before


def metadata_of(issuer: str) -> str:
    return issuer + "/.well-known/openid-configuration"


class Bench:
    """A keeper, its clock and its provider, with one call for the usual case."""

    def __init__(self, folder: Path, *issuers: str, max_stale: int = 86_400, limits: Limits | None = None) -> None:
        self.folder = folder / "keys"
        self.policy = policy(*(issuers or (ISSUER,)), max_stale=max_stale)
        self.provider = Provider(*(issuers or (ISSUER,)))
        self.clock = SetClock(START)
        self._limits = limits or Limits(seconds=2.0)
        self.restart()

    def restart(self) -> None:
        """A new process on the same folder."""
        self.http = httpx2.AsyncClient(transport=httpx2.MockTransport(self.provider))
        self.keeper = KeyKeeper(self.folder, self.http, self.clock, self._limits)

    def look(self, after: float = 0.0) -> IssuerFacts:
        self.clock.time += after
        return self.look_all()["a"]

    def look_all(self) -> Mapping[str, IssuerFacts]:
        return asyncio.run(self.keeper.look(self.policy))

    def standing(self) -> KeyStanding:
        (found,) = self.keeper.standing()
        return found

    def copy(self) -> Path:
        (found,) = self.folder.iterdir()
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_first_look(bench: Bench) -> None:
    facts = bench.look()
    assert facts == IssuerFacts(ISSUER, text("one"), good_until(START, 86_400))
    assert bench.standing() == KeyStanding("a", ISSUER, ("one",), START, good_until(START, 86_400), "provider", None, None, None)


def test_nothing_is_known_before_a_look(bench: Bench) -> None:
    assert bench.keeper.standing() == ()


# what replaces the set


def test_a_polite_rotation(bench: Bench) -> None:
    bench.look()
    for published in (["one", "two"], ["two"], ["three", "two"]):
        bench.provider.answers[ISSUER + "/jwks"] = jwks(*published)
        assert kids(bench.look(EVERY)) == sorted(published)


def test_an_abrupt_rotation_leaves_nothing_of_before(bench: Bench) -> None:
    bench.look()
    bench.provider.answers[ISSUER + "/jwks"] = jwks("two")
    facts = bench.look(EVERY)
    assert kids(facts) == ["two"]
    assert KEYS["one"]["x"] not in facts.jwks
    assert KEYS["one"]["x"] not in bench.copy().read_text()


def test_one_usable_key_is_enough(bench: Bench) -> None:
    bench.look()
    bench.provider.answers[ISSUER + "/jwks"] = {"keys": [{"kty": "oct", "k": "AAAA", "kid": "bad"}, "x", KEYS["two"]]}
    assert kids(bench.look(EVERY)) == ["two"]
    assert bench.standing().failure is None


BAD = {
    "empty set": ({"keys": []}, "idp-no-keys"),
    "symmetric only": ({"keys": [{"kty": "oct", "k": "AAAA"}]}, "idp-no-keys"),
    "private key": ({"keys": [{**KEYS["two"], "d": "AAAA"}]}, "idp-no-keys"),
    "no set": ({}, "idp-document"),
    "keys of a wrong type": ({"keys": {"two": KEYS["two"]}}, "idp-document"),
    "an array": (httpx2.Response(200, json=[KEYS["two"]]), "idp-document"),
    "a page": (httpx2.Response(200, text="<html>sign in</html>"), "idp-document"),
    "nothing": (httpx2.Response(200), "idp-document"),
    "cut off": (httpx2.Response(200, content=json.dumps(jwks("two"))[:-5]), "idp-document"),
    "broken encoding": (httpx2.Response(200, content=b"\xff\xfe"), "idp-document"),
    "a redirect": (httpx2.Response(302, headers={"Location": ISSUER + "/elsewhere"}), "idp-document"),
    "a redirect within loopback": (httpx2.Response(307, headers={"Location": "http://[::1]/jwks"}), "idp-document"),
    "not changed": (httpx2.Response(304), "idp-document"),
    "another good status": (httpx2.Response(203, json=jwks("two")), "idp-document"),
    "a server's error": (httpx2.Response(500, json=jwks("two")), "idp-document"),
    "too large": (httpx2.Response(200, json={**jwks("two"), "more": "x" * 600_000}), "idp-document"),
    "refused": (httpx2.ConnectError("x"), "idp-unreachable"),
    "not HTTP": (httpx2.RemoteProtocolError("x"), "idp-unreachable"),
    "no answer": (httpx2.ReadTimeout("x"), "idp-unreachable"),
}


@pytest.mark.parametrize("case", BAD)
def test_any_other_answer_keeps_the_last_good_set(bench: Bench, case: str, caplog: pytest.LogCaptureFixture) -> None:
    answer, reference = BAD[case]
    first = bench.look()
    copy = bench.copy().read_text()
    bench.provider.answers[ISSUER + "/jwks"] = answer  # type: ignore[assignment]
    for _ in range(3):
        assert bench.look(5) == first
    standing = bench.standing()
    assert (standing.key_ids, standing.fetched_at, standing.source) == (("one",), START, "provider")
    assert standing.failing_since == START + 5
    assert standing.failure is not None
    assert standing.failure.reference == reference
    assert bench.copy().read_text() == copy
    assert ISSUER + "/elsewhere" not in bench.provider.asked

    bench.provider.answers[ISSUER + "/jwks"] = jwks("two")
    assert kids(bench.look(5)) == ["two"]
    assert bench.standing().failure is None
    assert bench.standing().failing_since is None
    assert [r.levelno for r in caplog.records if r.name == "scopeward.idp"] == [logging.WARNING]  # the end is of level INFO


@pytest.mark.parametrize("case", BAD)
def test_without_a_last_good_set_the_cause_is_raised(bench: Bench, case: str) -> None:
    answer, reference = BAD[case]
    bench.provider.answers[ISSUER + "/jwks"] = answer  # type: ignore[assignment]
    with pytest.raises(ScopewardError) as caught:
        bench.look()
    assert caught.value.reference.id == reference
    assert not bench.folder.exists()
    assert bench.standing().source is None


def test_an_issuer_that_was_never_read_does_not_undo_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ISSUER, OTHER)
    bench.provider.answers[OTHER + "/jwks"] = httpx2.ConnectError("x")
    with pytest.raises(ScopewardError, match=r"b\.test"):
        bench.look_all()
    bench.provider.down()
    bench.policy = policy(ISSUER)
    assert kids(bench.look()) == ["one"]


def test_a_refused_candidate_does_not_change_what_is_watched(bench: Bench) -> None:
    bench.look()
    inforce, bench.policy = bench.policy, policy(ISSUER, OTHER)
    with pytest.raises(ScopewardError):
        bench.look_all()
    assert [s.name for s in bench.keeper.standing()] == ["a"]
    assert bench.keeper.next_look(EVERY) == EVERY
    bench.policy = inforce
    assert kids(bench.look(EVERY)) == ["one"]


# metadata


def test_metadata_are_read_again_after_ten_minutes(bench: Bench) -> None:
    bench.look()
    bench.provider.asked.clear()
    for _ in range(19):
        bench.look(EVERY)
    assert set(bench.provider.asked) == {ISSUER + "/jwks"}
    bench.look(EVERY)
    assert bench.provider.asked.count(metadata_of(ISSUER)) == 1
    bench.look(EVERY)
    assert bench.provider.asked.count(metadata_of(ISSUER)) == 1


def test_keys_that_moved_are_found_at_once_when_the_old_place_ends(bench: Bench) -> None:
    bench.look()
    bench.provider.answers |= {
        metadata_of(ISSUER): {"issuer": ISSUER, "jwks_uri": "https://keys.test/new"},
        "https://keys.test/new": jwks("two"),
        ISSUER + "/jwks": httpx2.Response(404),
    }
    assert kids(bench.look(EVERY)) == ["one"]
    assert bench.keeper.next_look(EVERY) == BACK_OFF[0]
    assert kids(bench.look(5)) == ["two"]


def test_keys_of_the_old_place_do_not_count_once_the_metadata_name_a_new_one(bench: Bench) -> None:
    bench.look()
    bench.provider.answers |= {
        metadata_of(ISSUER): {"issuer": ISSUER, "jwks_uri": "https://keys.test/new"},
        "https://keys.test/new": jwks("two"),
        ISSUER + "/jwks": jwks("three"),
    }
    assert kids(bench.look(METADATA_EVERY)) == ["two"]


@pytest.mark.parametrize("answer", [httpx2.Response(503), httpx2.ConnectError("x"), {"issuer": ISSUER}, httpx2.Response(200, text="<html>")])
def test_metadata_that_cannot_be_read_do_not_keep_keys_from_being_read(bench: Bench, answer: Answer) -> None:
    bench.look()
    bench.provider.answers |= {metadata_of(ISSUER): answer, ISSUER + "/jwks": jwks("two")}
    assert kids(bench.look(METADATA_EVERY)) == ["two"]
    standing = bench.standing()
    assert standing.failure is not None
    assert standing.fetched_at == START + METADATA_EVERY


def test_metadata_that_hang_do_not_keep_keys_from_being_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path, limits=Limits(seconds=0.1))
    bench.look()
    bench.provider.answers |= {metadata_of(ISSUER): hanging, ISSUER + "/jwks": jwks("two")}
    assert kids(bench.look(METADATA_EVERY)) == ["two"]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        ({"issuer": OTHER, "jwks_uri": ISSUER + "/jwks"}, "idp-issuer-mismatch"),
        ({"issuer": ISSUER, "jwks_uri": "http://a.test/jwks"}, "idp-insecure"),
        ({"issuer": ISSUER, "jwks_uri": "http://[::1]/jwks"}, "idp-insecure"),
        ({"issuer": ISSUER, "jwks_uri": "http://169.254.169.254/latest/meta-data"}, "idp-insecure"),
    ],
)
def test_metadata_of_another_issuer_or_in_clear_text_stop_everything_but_the_last_good_set(bench: Bench, answer: Answer, reference: str) -> None:
    bench.look()
    bench.provider.answers |= {metadata_of(ISSUER): answer, ISSUER + "/jwks": jwks("two")}
    for _ in range(3):
        assert kids(bench.look(METADATA_EVERY)) == ["one"]
        failure = bench.standing().failure
        assert failure is not None
        assert failure.reference == reference
    assert not [url for url in bench.provider.asked if url.startswith("http:")]


def test_after_another_issuers_metadata_the_old_address_is_not_used_again_until_they_are_right(bench: Bench) -> None:
    bench.look()
    right = bench.provider.answers[metadata_of(ISSUER)]
    bench.provider.answers |= {metadata_of(ISSUER): {"issuer": OTHER, "jwks_uri": ISSUER + "/jwks"}, ISSUER + "/jwks": jwks("two")}
    bench.look(METADATA_EVERY)
    bench.provider.answers[metadata_of(ISSUER)] = httpx2.Response(404)
    assert kids(bench.look(5)) == ["one"]
    bench.provider.answers[metadata_of(ISSUER)] = right
    assert kids(bench.look(5)) == ["two"]


def test_a_remembered_address_is_not_used_for_ever(bench: Bench) -> None:
    bench.look()
    bench.provider.answers[metadata_of(ISSUER)] = httpx2.Response(503)
    bench.provider.answers[ISSUER + "/jwks"] = jwks("two")
    assert kids(bench.look(86_400)) == ["two"]
    bench.provider.answers[ISSUER + "/jwks"] = jwks("three")
    assert kids(bench.look(1)) == ["two"]


# how long


@given(st.floats(1e6, 4e9), st.floats(0, 1e6), st.integers(1, 604_800))
def test_good_until_is_monotonic_and_never_beyond(at: float, later: float, max_stale: int) -> None:
    until = good_until(at, max_stale)
    assert until <= at + max_stale
    assert until > at + max_stale - max(1, min(600, max_stale // 10))
    assert good_until(at + later, max_stale) >= until


def test_refreshing_does_not_change_the_facts_each_time(bench: Bench) -> None:
    seen = [bench.look(EVERY) for _ in range(121)]  # an hour
    assert len(set(seen)) <= 7
    untils = [facts.good_until or 0 for facts in seen]
    assert untils == sorted(untils)


def test_a_time_limit_of_the_policy_that_changes_counts_at_once(bench: Bench) -> None:
    bench.look()
    bench.provider.down()
    bench.policy = policy(ISSUER, max_stale=3600)
    assert bench.look().good_until == good_until(START, 3600)


def test_keys_that_are_too_old_are_handed_on_with_their_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, ISSUER, OTHER, max_stale=3600)
    first = bench.look_all()["a"]
    bench.provider.answers[ISSUER + "/jwks"] = httpx2.Response(503)
    bench.provider.answers[OTHER + "/jwks"] = jwks("two")
    bench.clock.time += 4000
    for _ in range(3):
        facts = bench.look_all()
        assert facts["a"] == first
        assert (facts["a"].good_until or 0) < bench.clock.time
        assert kids(facts["b"]) == ["two"]
    assert sum("issuer-keys-stale" in record.getMessage() for record in caplog.records) == 1


def test_a_clock_that_is_set_back_does_not_lengthen_anything(bench: Bench) -> None:
    bench.look()
    bench.provider.down()
    bench.clock.time = START - 10 * 86_400
    assert bench.keeper.next_look(EVERY) == 0
    facts = bench.look()
    assert facts.good_until == good_until(bench.clock.time, 86_400)
    assert bench.look(3600) == facts
    bench.provider.answers = Provider().answers
    assert bench.look(1).good_until == good_until(bench.clock.time, 86_400)


# the disk


def test_the_copy_is_private_and_says_whose_it_is(bench: Bench) -> None:
    bench.look()
    path = bench.copy()
    assert path.stat().st_mode & 0o777 == 0o600
    assert bench.folder.stat().st_mode & 0o777 == 0o700
    assert "a.test" not in path.name
    assert json.loads(path.read_text()) == {"v": 1, "issuer": ISSUER, "fetched_at": START, "jwks": json.loads(text("one"))}


def test_a_start_with_the_provider_down(bench: Bench) -> None:
    first = bench.look()
    bench.provider.down()
    bench.clock.time += 3600
    bench.restart()
    assert bench.look() == first
    standing = bench.standing()
    assert (standing.source, standing.fetched_at, standing.key_ids) == ("disk", START, ("one",))
    assert standing.failing_since == START + 3600
    bench.provider.answers = Provider().answers
    bench.look(5)
    assert bench.standing().source == "provider"


def test_a_start_with_the_provider_up_believes_the_provider(bench: Bench) -> None:
    bench.look()
    bench.provider.answers[ISSUER + "/jwks"] = jwks("two")
    bench.restart()
    assert kids(bench.look(EVERY)) == ["two"]


def test_a_copy_that_is_too_old_starts_a_node_whose_calls_are_refused(bench: Bench) -> None:
    bench.look()
    bench.provider.down()
    bench.restart()
    facts = bench.look(200_000)
    assert (facts.good_until or 0) < bench.clock.time


def test_the_copy_is_written_for_new_keys_and_each_ten_minutes(bench: Bench) -> None:
    bench.look()
    stamps = []
    for _ in range(61):
        bench.look(EVERY)
        stamps.append(json.loads(bench.copy().read_text())["fetched_at"])
    assert sorted(set(stamps)) == [START, START + 600, START + 1200, START + 1800]
    bench.restart()
    bench.look(EVERY)
    assert json.loads(bench.copy().read_text())["fetched_at"] == START + 1800  # a start alone does not write
    bench.provider.answers[ISSUER + "/jwks"] = jwks("two")
    bench.look(EVERY)
    assert json.loads(bench.copy().read_text())["fetched_at"] == bench.clock.time


GOOD = {"v": 1, "issuer": ISSUER, "fetched_at": START, "jwks": json.loads(text("one"))}
DAMAGED = {
    "truncated": json.dumps(GOOD)[:-20],
    "empty": "",
    "not an object": "[]",
    "null": "null",
    "nested": "[" * 100_000,
    "another version": {**GOOD, "v": 2},
    "another issuer": {**GOOD, "issuer": OTHER},
    "no issuer": {k: v for k, v in GOOD.items() if k != "issuer"},
    "no time": {k: v for k, v in GOOD.items() if k != "fetched_at"},
    "future": {**GOOD, "fetched_at": START + 61},
    "never": {**GOOD, "fetched_at": 0},
    "endless": json.dumps({**GOOD, "fetched_at": float("inf")}),
    "no number": json.dumps({**GOOD, "fetched_at": float("nan")}),
    "a number as text": {**GOOD, "fetched_at": str(START)},
    "a bool as time": {**GOOD, "fetched_at": True},
    "no keys": {**GOOD, "jwks": {"keys": []}},
    "keys of a wrong type": {**GOOD, "jwks": [KEYS["one"]]},
    "keys as text": {**GOOD, "jwks": text("one")},
    "symmetric": {**GOOD, "jwks": {"keys": [{"kty": "oct", "k": "AAAA", "kid": "x", "alg": "HS256"}]}},
    "one key of no use": {**GOOD, "jwks": {"keys": [*json.loads(text("one"))["keys"], {"kty": "oct", "k": "AAAA"}]}},
    "another alg": {**GOOD, "jwks": {"keys": [{**json.loads(text("one"))["keys"][0], "alg": "HS256"}]}},
    "a broken key": {**GOOD, "jwks": {"keys": [{**json.loads(text("one"))["keys"][0], "x": "AAAA"}]}},
    "too large": json.dumps(GOOD) + " " * 2_000_000,
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_copy_that_is_not_as_it_was_written_is_not_believed(bench: Bench, case: str, caplog: pytest.LogCaptureFixture) -> None:
    bench.look()
    content = DAMAGED[case]
    bench.copy().write_text(content if isinstance(content, str) else json.dumps(content))
    answers = bench.provider.down()
    bench.restart()
    with pytest.raises(ScopewardError) as caught:
        bench.look()
    assert caught.value.reference.id == "idp-unreachable"
    (alarm,) = [record.getMessage() for record in caplog.records if record.name == "scopeward.idp"]
    assert "state-damaged" in alarm
    assert str(bench.copy()) in alarm

    bench.provider.answers = answers
    bench.look(5)
    assert json.loads(bench.copy().read_text())["jwks"] == json.loads(text("one"))


def test_the_copy_of_another_issuer_is_not_taken_under_this_ones_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ISSUER)
    bench.look()
    other = Bench(tmp_path, OTHER)
    other.look_all()
    here, there = (next(p for p in bench.folder.iterdir() if url in p.read_text()) for url in (ISSUER, OTHER))
    there.replace(here)
    bench.provider.down()
    bench.restart()
    with pytest.raises(ScopewardError, match="idp-unreachable"):
        bench.look()


def test_a_copy_that_others_may_write_is_not_believed(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.look()
    bench.copy().chmod(0o666)
    bench.provider.down()
    bench.restart()
    with pytest.raises(ScopewardError, match="idp-unreachable"):
        bench.look()
    assert "mode 0600" in caplog.text


def test_a_folder_in_the_place_of_a_copy_is_no_copy(bench: Bench) -> None:
    bench.look()
    path = bench.copy()
    path.unlink()
    path.mkdir()
    bench.restart()
    assert kids(bench.look()) == ["one"]
    bench.provider.down()
    assert kids(bench.look(5)) == ["one"]


def test_a_pipe_in_the_place_of_a_copy_keeps_nobody_waiting(bench: Bench) -> None:
    bench.look()
    path = bench.copy()
    path.unlink()
    os.mkfifo(path, 0o600)
    bench.restart()
    assert kids(bench.look()) == ["one"]
    assert path.is_file()


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, _text: str) -> None:
        raise ScopewardError("state-unwritable", f"{path}: No space left on device")

    monkeypatch.setattr("scopeward.idp.copies.write_private", refuse)


def test_a_full_disk_is_an_alarm_and_no_error(bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    bench.look()
    with monkeypatch.context() as full:
        full_disk(full)
        bench.provider.answers[ISSUER + "/jwks"] = jwks("one", "two")
        for _ in range(3):
            assert kids(bench.look(EVERY)) == ["one", "two"]
    assert caplog.text.count("No space left") == 1
    assert json.loads(bench.copy().read_text())["jwks"] == json.loads(text("one"))  # nothing in it was withdrawn
    bench.look(EVERY)
    assert json.loads(bench.copy().read_text())["jwks"] == json.loads(text("one", "two"))


def test_a_full_disk_does_not_bring_a_withdrawn_key_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.look()
    full_disk(monkeypatch)
    bench.provider.answers[ISSUER + "/jwks"] = jwks("two")
    assert kids(bench.look(EVERY)) == ["two"]
    bench.provider.down()
    bench.restart()
    with pytest.raises(ScopewardError, match="idp-unreachable"):
        bench.look()


# when


def test_the_first_look_is_due_at_once_and_the_next_after_the_interval(bench: Bench) -> None:
    assert bench.keeper.next_look(EVERY) == 0
    bench.look()
    assert bench.keeper.next_look(EVERY) == EVERY
    bench.clock.time += 20
    assert bench.keeper.next_look(EVERY) == 10
    bench.clock.time += 1000
    assert bench.keeper.next_look(EVERY) == 0


def test_failures_are_tried_again_sooner_and_then_less_often(bench: Bench) -> None:
    bench.look()
    answers = bench.provider.down()
    waits = []
    for _ in range(6):
        bench.look(60)
        waits.append(bench.keeper.next_look(60))
    assert waits == [5, 10, 20, 30, 30, 30]
    assert bench.keeper.next_look(4) == 4
    bench.provider.answers = answers
    bench.look(30)
    assert bench.keeper.next_look(60) == 60


def test_an_unknown_key_is_looked_for_at_once_and_then_once_a_cooldown(bench: Bench) -> None:
    bench.look()
    bench.clock.time += 1
    bench.keeper.unknown_key()
    assert bench.keeper.next_look(EVERY) == 0
    bench.look()
    assert bench.keeper.next_look(EVERY) == EVERY
    bench.clock.time += 2
    bench.keeper.unknown_key()
    assert bench.keeper.next_look(EVERY) == COOLDOWN - 2
    bench.clock.time += COOLDOWN - 2
    assert bench.keeper.next_look(EVERY) == 0


def test_an_unknown_key_does_not_put_a_look_off(bench: Bench) -> None:
    bench.look()
    bench.keeper.unknown_key()
    bench.look()
    bench.clock.time += EVERY - 1
    bench.keeper.unknown_key()
    assert bench.keeper.next_look(EVERY) == 0
    bench.look()
    bench.clock.time += 25
    bench.look()
    bench.keeper.unknown_key()
    assert bench.keeper.next_look(3) == 0


def test_a_thousand_unknown_keys_are_one_fetch_a_cooldown_and_good_keys_stay(bench: Bench) -> None:
    bench.look()
    bench.provider.asked.clear()
    begun = bench.clock.time
    for _ in range(1000):  # 100 s at ten a second
        bench.clock.time += 0.1
        bench.keeper.unknown_key()
        if bench.keeper.next_look(1e9) == 0:
            assert kids(bench.look()) == ["one"]
    assert bench.provider.asked.count(ISSUER + "/jwks") <= (bench.clock.time - begun) / COOLDOWN + 1
    assert metadata_of(ISSUER) not in bench.provider.asked


def test_an_unknown_key_during_a_look_is_not_forgotten(bench: Bench) -> None:
    async def late(_request: httpx2.Request) -> httpx2.Response:
        bench.keeper.unknown_key()
        return httpx2.Response(200, json=jwks("one"))

    bench.provider.answers[ISSUER + "/jwks"] = late
    bench.look()
    assert bench.keeper.next_look(EVERY) == 0


def test_waiting_ends_in_time_or_by_an_unknown_key(bench: Bench) -> None:
    async def main() -> None:
        await bench.keeper.until_due(EVERY)
        await bench.keeper.look(bench.policy)
        await asyncio.wait_for(bench.keeper.until_due(0.01), 5)
        waiting = asyncio.create_task(bench.keeper.until_due(EVERY))
        await asyncio.sleep(0)
        assert not waiting.done()
        bench.keeper.unknown_key()
        await asyncio.wait_for(waiting, 5)
        await bench.keeper.look(bench.policy)
        waiting = asyncio.create_task(bench.keeper.until_due(EVERY))
        for _ in range(100):  # within the cooldown nothing wakes it
            bench.keeper.unknown_key()
            await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def test_a_policy_without_issuers(bench: Bench) -> None:
    bench.policy = policy()
    assert bench.look_all() == {}
    assert bench.keeper.next_look(EVERY) == EVERY


# several at once


async def hanging(_request: httpx2.Request) -> httpx2.Response:
    await asyncio.sleep(60)
    raise AssertionError("not ended")


def test_a_slow_issuer_does_not_delay_another_beyond_its_own_limit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, ISSUER, OTHER, limits=Limits(seconds=0.2))
    bench.look_all()
    bench.provider.answers |= {OTHER + "/jwks": hanging, metadata_of(OTHER): hanging, ISSUER + "/jwks": jwks("two")}

    async def main() -> Mapping[str, IssuerFacts]:
        return await asyncio.wait_for(bench.keeper.look(bench.policy), 2)

    for _ in range(2):
        facts = asyncio.run(main())
        assert kids(facts["a"]) == ["two"]
        assert kids(facts["b"]) == ["one"]
        bench.clock.time += METADATA_EVERY
    assert {s.name: s.failure and s.failure.reference for s in bench.keeper.standing()} == {"a": None, "b": "idp-unreachable"}


def test_keys_without_end_are_cut(tmp_path: Path) -> None:
    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0)
                yield b" " * 100_000

    async def endless(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=Endless())

    bench = Bench(tmp_path)
    bench.look()
    bench.provider.answers[ISSUER + "/jwks"] = endless
    assert kids(bench.look(EVERY)) == ["one"]
    failure = bench.standing().failure
    assert failure is not None
    assert "larger than" in failure.what


def test_looks_do_not_overtake_each_other(bench: Bench) -> None:
    """The slow answer of a look must not replace what a later look was told."""
    kept_back = asyncio.Event()

    async def slow(_request: httpx2.Request) -> httpx2.Response:
        await kept_back.wait()
        return httpx2.Response(200, json=jwks("one"))

    async def main() -> IssuerFacts:
        await bench.keeper.look(bench.policy)
        bench.provider.answers[ISSUER + "/jwks"] = slow
        first = asyncio.create_task(bench.keeper.look(bench.policy))
        await asyncio.sleep(0.01)
        bench.provider.answers[ISSUER + "/jwks"] = jwks("two")
        second = asyncio.create_task(bench.keeper.look(bench.policy))
        await asyncio.sleep(0.01)
        kept_back.set()
        await first
        return (await second)["a"]

    assert kids(asyncio.run(main())) == ["two"]
    assert bench.standing().key_ids == ("two",)


# what is said of it


def test_each_cause_is_told_once_and_the_end_too(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scopeward.idp")
    bench.look()
    answers: tuple[Answer, ...] = (httpx2.Response(503), httpx2.Response(503), httpx2.ConnectError("x"), httpx2.Response(503), {"keys": []})
    for answer in answers:
        bench.provider.answers[ISSUER + "/jwks"] = answer
        bench.look(5)
        bench.look(5)
    bench.provider.answers[ISSUER + "/jwks"] = jwks("one")
    bench.look(5)
    bench.look(5)
    told = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "scopeward.idp"]
    assert [level for level, _ in told] == ["WARNING", "WARNING", "WARNING", "INFO"]
    assert "503" in told[0][1]
    assert "count until 2027-01-16T08:00:00Z" in told[0][1]
    assert "idp-unreachable" in told[1][1]
    assert "idp-no-keys" in told[2][1]
    assert "after 50 s" in told[3][1]


def test_a_cause_that_comes_back_after_the_end_is_told_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.look()
    for _ in range(2):
        before = bench.provider.down()
        bench.look(5)
        bench.provider.answers = before
        bench.look(5)
    assert len(caplog.records) == 2


def test_a_provider_cannot_fill_the_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.look()
    for status in range(400, 430):
        bench.provider.answers[ISSUER + "/jwks"] = httpx2.Response(status)
        bench.look(1)
    assert len(caplog.records) <= 8


def dated(bench: Bench, ahead: float, **headers: str) -> None:
    at = formatdate(bench.clock.time + ahead, usegmt=True)
    bench.provider.answers[ISSUER + "/jwks"] = httpx2.Response(200, json=jwks("one"), headers={"Date": at, **headers})


@pytest.mark.parametrize("ahead", [0, 1, -1, 90, -3600])
def test_the_difference_of_the_clocks(bench: Bench, ahead: int) -> None:
    dated(bench, ahead)
    bench.look()
    assert bench.standing().clock_difference == ahead


def test_the_difference_counts_from_the_middle_of_the_round_trip(bench: Bench) -> None:
    async def slow(_request: httpx2.Request) -> httpx2.Response:
        date = formatdate(bench.clock.time + 2, usegmt=True)
        bench.clock.time += 4
        return httpx2.Response(200, json=jwks("one"), headers={"Date": date})

    bench.provider.answers[ISSUER + "/jwks"] = slow
    bench.look()
    assert bench.standing().clock_difference == 0


def test_a_difference_that_is_not_told_leaves_the_last(bench: Bench) -> None:
    dated(bench, 90)
    bench.look()
    for headers in ({}, {"Date": "soon"}, {"Date": "x" * 10_000}, {"Date": formatdate(0, usegmt=True), "Age": "600"}):
        bench.provider.answers[ISSUER + "/jwks"] = httpx2.Response(200, json=jwks("one"), headers=headers)
        bench.look(EVERY)
        assert bench.standing().clock_difference == 90
