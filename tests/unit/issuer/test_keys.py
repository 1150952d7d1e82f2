from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from scopeward.errors import ScopewardError
from scopeward.issuer import ROTATIONS, Rotation, SigningKeys, load_admin_token
from scopeward.issuer.keys import SigningKey
from scopeward.issuer.options import Algorithm

PRIVATE = {"d", "p", "q", "dp", "dq", "qi"}


def run(keys: SigningKeys, *modes: Rotation) -> tuple[list[int], int]:
    """Which keys are published and which signs, as numbers in the order in which they first appeared."""
    seen = list(keys.published_kids)
    for mode in modes:
        keys.rotate(mode)
        seen += [kid for kid in keys.published_kids if kid not in seen]
    return [seen.index(kid) for kid in keys.published_kids], seen.index(keys.signing_kid)


@pytest.mark.parametrize(
    ("modes", "published", "signing"),
    [
        ((), [0], 0),
        (("publish",), [0, 1], 0),
        (("publish", "promote"), [0, 1], 1),
        (("publish", "promote", "drop"), [1], 1),
        (("promote",), [0, 1], 1),
        (("publish", "publish", "promote"), [0, 1, 2], 1),
        (("publish", "publish", "promote", "promote", "promote"), [0, 1, 2, 3], 3),
        (("publish", "drop"), [0], 0),
        (("hard",), [1], 1),
        (("publish", "hard"), [2], 2),
    ],
)
def test_each_rotation_step(modes: tuple[Rotation, ...], published: list[int], signing: int) -> None:
    assert run(SigningKeys.create("ES256"), *modes) == (published, signing)


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_only_public_halves_are_published(alg: Algorithm, make_key: Callable[[Algorithm], SigningKey]) -> None:
    (key,) = SigningKeys.create(alg, generate=make_key).public_jwks()["keys"]
    assert key["alg"] == alg
    assert key["use"] == "sig"
    assert key["kid"]
    assert not PRIVATE & set(key)


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_a_signature_verifies_with_the_published_keys(alg: Algorithm, make_key: Callable[[Algorithm], SigningKey]) -> None:
    keys = SigningKeys.create(alg, generate=make_key)
    token = keys.sign({"sub": "alice"}, "at+jwt")
    found = jwt.decode(token, KeySet.import_key_set(keys.public_jwks()), algorithms=[alg])  # type: ignore[arg-type]
    assert found.header == {"typ": "at+jwt", "alg": alg, "kid": keys.signing_kid}
    assert keys.verify(token, "at+jwt") == {"sub": "alice"}


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "e30.e30.", "é.é.é"])
def test_what_is_no_token_does_not_verify(token: str) -> None:
    assert SigningKeys.create("ES256").verify(token, "at+jwt") is None


def test_a_token_does_not_verify_with_another_type_or_after_its_key_is_gone() -> None:
    keys = SigningKeys.create("ES256")
    token = keys.sign({"sub": "alice"}, "JWT")
    assert keys.verify(token, "at+jwt") is None
    keys.rotate("promote")
    assert keys.verify(token, "JWT") is not None
    keys.rotate("hard")
    assert keys.verify(token, "JWT") is None


def test_keys_outlive_the_process_in_a_private_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    keys = SigningKeys.load(state, "ES256")
    for mode in ROTATIONS[:2]:
        keys.rotate(mode)
    again = SigningKeys.load(state, "ES256")
    assert again.published_kids == keys.published_kids
    assert again.signing_kid == keys.signing_kid
    assert stat.S_IMODE((state / "keys.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert [path.name for path in state.iterdir()] == ["keys.json"]


def test_another_algorithm_adds_a_key_and_keeps_the_old_one_published(tmp_path: Path, make_key: Callable[[Algorithm], SigningKey]) -> None:
    old = SigningKeys.load(tmp_path, "RS256", make_key)
    new = SigningKeys.load(tmp_path, "ES256", make_key)
    assert new.published_kids[0] == old.signing_kid
    assert new.signing_kid == new.published_kids[1]
    assert SigningKeys.load(tmp_path, "ES256", make_key).published_kids == new.published_kids


def test_a_step_that_cannot_be_kept_is_not_taken(tmp_path: Path) -> None:
    keys = SigningKeys.load(tmp_path / "state", "ES256")
    before = keys.signing_kid
    (tmp_path / "state" / "keys.json").unlink()
    (tmp_path / "state").rmdir()
    (tmp_path / "state").touch()
    with pytest.raises(ScopewardError) as error:
        keys.rotate("hard")
    assert error.value.reference.id == "state-unwritable"
    assert keys.signing_kid == before


@pytest.mark.parametrize("spoil", ["", "[]", "{", '{"version": 2}', "version", "signing", "public"])
def test_a_spoiled_key_file_is_refused_and_not_quoted(tmp_path: Path, spoil: str) -> None:
    SigningKeys.load(tmp_path, "ES256")
    path = tmp_path / "keys.json"
    kept = json.loads(path.read_text())
    private = kept["keys"][0]["d"]
    if spoil == "version":
        kept["version"] = 7
    elif spoil == "signing":
        kept["signing"] = 1
    elif spoil == "public":
        del kept["keys"][0]["d"]
    path.write_text(json.dumps(kept) if spoil in ("version", "signing", "public") else spoil)
    with pytest.raises(ScopewardError) as error:
        SigningKeys.load(tmp_path, "ES256")
    assert error.value.reference.id == "state-version"
    assert private not in str(error.value)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    SigningKeys.load(tmp_path, "ES256")
    (tmp_path / "keys.json").chmod(0o640)
    with pytest.raises(ScopewardError) as error:
        SigningKeys.load(tmp_path, "ES256")
    assert error.value.reference.id == "state-unwritable"


def test_the_admin_token_is_made_once_and_is_private(tmp_path: Path) -> None:
    token = load_admin_token(tmp_path)
    assert load_admin_token(tmp_path) == token
    assert len(token.reveal()) >= 43
    assert stat.S_IMODE((tmp_path / "admin-token").stat().st_mode) == 0o600


def test_no_private_key_shows_itself(tmp_path: Path) -> None:
    keys = SigningKeys.load(tmp_path, "ES256")
    private = json.loads((tmp_path / "keys.json").read_text())["keys"][0]["d"]
    assert private not in f"{keys!r} {keys._ring!r}"
