"""The keys of passes: their turns, their file, what upstreams are shown."""

from __future__ import annotations

import base64
import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from scopeward.errors import ScopewardError
from scopeward.idp.keys import usable_keys
from scopeward.passes import LIFETIME, PassKeys
from scopeward.passes import keys as keys_module
from scopeward.passes.keys import DAMAGED, KEYS_FILE
from scopeward.passes.ring import PUBLISHED_BEFORE, SIGNS_FOR, SKEW, Kept, Ring, generate_key, new_ring, turned

NOW = 1_790_000_000.0
HOUR, DAY = 3600, 86_400


def kids(ring: Ring) -> list[str]:
    return [kept.kid for kept in ring.published]


def published(keys: PassKeys) -> set[str]:
    return {key["kid"] for key in json.loads(keys.jwks())["keys"]}


# ── turns ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_due_before_its_time() -> None:
    ring = new_ring(NOW)
    for later in (0, 1, HOUR, SIGNS_FOR - 1):
        assert turned(ring, NOW + later) is ring


def test_the_waiting_key_takes_its_turn_and_the_old_one_is_believed_until_its_last_pass_is_expired() -> None:
    first = new_ring(NOW)
    second = turned(first, NOW + SIGNS_FOR)
    assert second.signing.kid == first.waiting.kid
    assert [kept.kid for kept in second.retired] == [first.signing.kid]
    assert second.waiting.kid not in kids(first)
    gone = NOW + SIGNS_FOR + LIFETIME + SKEW
    assert turned(second, gone - 1) is second
    third = turned(second, gone)
    assert (third.signing, third.waiting, third.retired) == (second.signing, second.waiting, ())


def test_the_private_half_of_a_retired_key_is_gone() -> None:
    ring = turned(new_ring(NOW), NOW + SIGNS_FOR)
    assert [kept.key.is_private for kept in ring.published] == [True, True, False]


def test_a_warden_that_was_down_for_a_month_uses_the_key_that_was_published_all_the_while() -> None:
    first = new_ring(NOW)
    second = turned(first, NOW + 30 * DAY)
    assert second.signing.kid == first.waiting.kid
    assert turned(second, NOW + 30 * DAY + PUBLISHED_BEFORE).signing == second.signing, "one turn for a month, not four"


def test_a_key_that_was_just_published_waits_though_the_signing_one_is_old() -> None:
    young = Kept(generate_key(), NOW)
    ring = Ring(young, Kept(generate_key(), NOW - 30 * DAY))
    assert turned(ring, NOW + PUBLISHED_BEFORE - 1) is ring
    assert turned(ring, NOW + PUBLISHED_BEFORE).signing.kid == young.kid


def test_times_of_a_wrong_clock_do_not_last() -> None:
    year = 365 * DAY
    ring = new_ring(NOW + year)
    assert turned(ring, NOW + year - SKEW) is ring, "a few seconds are worth no rewriting"
    corrected = turned(ring, NOW)
    assert kids(corrected) == kids(ring)
    assert {kept.since for kept in corrected.published} == {NOW}
    assert turned(corrected, NOW + SIGNS_FOR).signing.kid == ring.waiting.kid


@given(st.lists(st.one_of(st.integers(0, 9 * DAY), st.integers(-2 * DAY, 0)), max_size=30))
def test_no_key_signs_that_was_not_shown_before_and_all_that_may_have_signed_are_shown(steps: list[int]) -> None:
    numbers = iter(range(1000))
    pool = KEYS
    now = NOW
    ring = new_ring(now, lambda: pool[next(numbers) % len(pool)])
    for step in steps:
        now += step
        shown = kids(ring)
        before, ring = ring, turned(ring, now, lambda: pool[next(numbers) % len(pool)])
        assert ring.signing.kid in shown
        assert before.signing.kid in kids(ring)
        assert len(ring.published) <= 3 or step < LIFETIME + SKEW


KEYS = [generate_key() for _ in range(64)]


# ── the file ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_outlive_the_process(tmp_path: Path) -> None:
    first = PassKeys.load(tmp_path / "passes", NOW)
    second = PassKeys.load(tmp_path / "passes", NOW + DAY)
    assert (second.signing_kid, second.jwks(), second.alarm) == (first.signing_kid, first.jwks(), None)


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    PassKeys.load(tmp_path / "passes", NOW).turn(NOW + SIGNS_FOR)
    assert stat.S_IMODE((tmp_path / "passes").stat().st_mode) == 0o700
    assert [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in (tmp_path / "passes").iterdir()] == [(KEYS_FILE, 0o600)]


def test_a_turn_is_kept(tmp_path: Path) -> None:
    keys = PassKeys.load(tmp_path, NOW)
    before = published(keys)
    assert not keys.turn(NOW + HOUR)
    assert keys.turn(NOW + SIGNS_FOR)
    assert before < published(keys)
    again = PassKeys.load(tmp_path, NOW + SIGNS_FOR)
    assert (again.signing_kid, again.jwks()) == (keys.signing_kid, keys.jwks())
    old = before - {keys.signing_kid}
    assert keys.turn(NOW + SIGNS_FOR + LIFETIME + SKEW)
    assert old.isdisjoint(published(keys))


def test_a_corrected_time_is_kept_and_publishes_nothing_new(tmp_path: Path) -> None:
    keys = PassKeys.load(tmp_path, NOW + 365 * DAY)
    assert not keys.turn(NOW)
    assert json.loads((tmp_path / KEYS_FILE).read_text())["signing"]["since"] == NOW


def entry(key: ECKey, since: object = NOW, private: bool = True, **members: Any) -> dict[str, Any]:
    return {"since": since, "key": {**key.as_dict(private=private), **members}}


def damaged_files() -> Iterator[tuple[str, str]]:
    one, two, three = KEYS[:3]
    good = {"version": 1, "waiting": entry(one), "signing": entry(two), "retired": [entry(three, private=False)]}
    yield "empty", ""
    yield "cut off", json.dumps(good)[:-40]
    yield "no object", "[]"
    yield "deep", "[" * 100_000
    yield "another version", json.dumps({**good, "version": 2})
    yield "no version", json.dumps({name: value for name, value in good.items() if name != "version"})
    yield "no signing key", json.dumps({**good, "signing": None})
    yield "public half signs", json.dumps({**good, "signing": entry(two, private=False)})
    yield "private half is retired", json.dumps({**good, "retired": [entry(three)]})
    yield "another's name", json.dumps({**good, "signing": entry(two, kid=one.kid)})
    yield "another's point", json.dumps({**good, "signing": entry(two, x=one.as_dict()["x"], y=one.as_dict()["y"])})
    yield "the same key twice", json.dumps({**good, "waiting": entry(two)})
    yield "another algorithm", json.dumps({**good, "signing": entry(two, alg="ES384")})
    yield "another curve", json.dumps({**good, "signing": entry(ECKey.generate_key("P-384", {"alg": "ES256"}, auto_kid=True))})
    yield "no number", json.dumps({**good, "signing": entry(two, since="now")})
    yield "no time", json.dumps({**good, "signing": entry(two, since=True)})
    yield "not finite", json.dumps({**good, "signing": entry(two, since=float("inf"))})
    yield "retired is no list", json.dumps({**good, "retired": 7})
    yield "key is a text", json.dumps({**good, "signing": {"since": NOW, "key": two.as_pem().decode()}})


DAMAGED_FILES = dict(damaged_files())


@pytest.mark.parametrize("name", DAMAGED_FILES)
def test_a_file_that_cannot_be_believed_is_moved_away_and_new_keys_are_made(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / KEYS_FILE).write_text(DAMAGED_FILES[name])
    (tmp_path / KEYS_FILE).chmod(0o600)
    keys = PassKeys.load(tmp_path, NOW)
    assert published(keys).isdisjoint({key.kid for key in KEYS})
    assert keys.alarm is not None
    assert keys.alarm.reference.id == "state-damaged"
    assert (tmp_path / DAMAGED).read_text() == DAMAGED_FILES[name]
    assert PassKeys.load(tmp_path, NOW).jwks() == keys.jwks()
    assert [record.name for record in caplog.records] == ["scopeward.passes"]
    said = caplog.text + str(keys.alarm) + keys.alarm.remedy
    assert not any(key.as_dict(private=True)["d"] in said for key in KEYS[:3])


def test_the_undamaged_one_among_them_is_believed(tmp_path: Path) -> None:
    one, two, three = KEYS[:3]
    good = {"version": 1, "waiting": entry(one), "signing": entry(two), "retired": [entry(three, private=False)]}
    (tmp_path / KEYS_FILE).write_text(json.dumps(good))
    (tmp_path / KEYS_FILE).chmod(0o600)
    keys = PassKeys.load(tmp_path, NOW)
    assert (published(keys), keys.signing_kid, keys.alarm) == ({one.kid, two.kid, three.kid}, two.kid, None)


def test_keys_that_others_could_read_are_not_used_again(tmp_path: Path) -> None:
    first = PassKeys.load(tmp_path, NOW)
    (tmp_path / KEYS_FILE).chmod(0o644)
    second = PassKeys.load(tmp_path, NOW)
    assert published(second).isdisjoint(published(first))
    assert second.alarm is not None
    assert "0600" in second.alarm.what


def test_new_keys_that_cannot_be_kept_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "passes").write_text("a file where the folder should be")
    with pytest.raises(ScopewardError, match="state-unwritable"):
        PassKeys.load(tmp_path / "passes", NOW)


def test_a_turn_that_cannot_be_kept_is_an_alarm_until_one_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(path: Path, _text: str) -> None:
        raise ScopewardError("state-unwritable", f"{path}: No space left on device")

    keys = PassKeys.load(tmp_path, NOW)
    before = (keys.signing_kid, keys.jwks())
    with monkeypatch.context() as patched:
        patched.setattr(keys_module, "write_private", full)
        for later in range(3):
            assert not keys.turn(NOW + SIGNS_FOR + later)
    assert (keys.signing_kid, keys.jwks()) == before
    assert keys.alarm is not None
    assert keys.alarm.reference.id == "state-unwritable"
    assert len(caplog.records) == 1, "once, not every five minutes"
    assert keys.turn(NOW + SIGNS_FOR + 3)
    assert keys.alarm is None
    assert keys.signing_kid != before[0]


# ── what is seen ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_published_set_is_what_the_gateway_itself_would_take(tmp_path: Path) -> None:
    keys = PassKeys.load(tmp_path, NOW)
    keys.turn(NOW + SIGNS_FOR)
    text = keys.jwks()
    assert usable_keys(json.loads(text), "here") == text
    for key in json.loads(text)["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "use", "alg", "kid"}
        assert (key["crv"], key["alg"], key["use"]) == ("P-256", "ES256", "sig")
        assert ECKey.import_key(key).thumbprint() == key["kid"]


def test_what_is_signed_verifies_with_what_is_published_also_after_the_turn(tmp_path: Path) -> None:
    keys = PassKeys.load(tmp_path, NOW)
    token = keys.sign({"aud": "a"})
    keys.turn(NOW + SIGNS_FOR)
    for one in (token, keys.sign({"aud": "a"})):
        found = jwt.decode(one, KeySet.import_key_set(json.loads(keys.jwks())), algorithms=["ES256"])
        assert found.claims == {"aud": "a"}
        assert found.header["kid"] in published(keys)
        assert {name: found.header[name] for name in ("alg", "typ")} == {"alg": "ES256", "typ": "JWT"}


def test_no_private_number_is_in_a_repr_or_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = PassKeys.load(tmp_path, NOW)
    keys.turn(NOW + SIGNS_FOR)
    file = json.loads((tmp_path / KEYS_FILE).read_text())
    secrets = [file[name]["key"]["d"] for name in ("waiting", "signing")]
    for secret in secrets:
        assert len(base64.urlsafe_b64decode(secret + "=")) == 32
        assert secret not in repr(keys) + keys.jwks() + caplog.text
    assert keys.signing_kid in repr(keys)
