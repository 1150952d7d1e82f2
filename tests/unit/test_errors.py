from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest

import scopeward
from scopeward.errors import CALL_REFERENCES, COMMAND_REFERENCES, POLICY_REFERENCES, REFERENCES, Reference, ScopewardError

ALL = (*CALL_REFERENCES, *POLICY_REFERENCES, *COMMAND_REFERENCES)


def test_every_reference_is_there_once() -> None:
    assert len({r.id for r in ALL}) == len(ALL) == len(REFERENCES)


@pytest.mark.parametrize("reference", ALL, ids=lambda r: r.id)
def test_a_reference_is_a_stable_word_that_says_what_and_what_to_do(reference: Reference) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", reference.id)
    assert 3 <= len(reference.title) <= 60
    assert not reference.title.endswith(".")
    for text in (reference.cause, reference.remedy):
        assert text.endswith(".")
        assert text[0].isupper() or text[0] in "'<"
        assert "  " not in text
        assert text.isascii()
        assert text.isprintable()


@pytest.mark.parametrize("reference", CALL_REFERENCES, ids=lambda r: r.id)
def test_a_refused_calls_status_and_challenge_fit(reference: Reference) -> None:
    assert reference.status in set(HTTPStatus)
    assert reference.status is not None
    assert 400 <= reference.status <= 599
    match reference.challenge:
        case "bare" | "invalid_token":
            assert reference.status == 401
        case "insufficient_scope":
            assert reference.status == 403
        case "none":
            assert reference.status != 401  # RFC 9110 section 15.5.2


@pytest.mark.parametrize("reference", CALL_REFERENCES, ids=lambda r: r.id)
def test_what_goes_into_a_challenge_is_of_its_alphabet(reference: Reference) -> None:
    """RFC 6750 section 3: error_description takes no quotes, backslashes or anything beyond ASCII; ``%`` would be a format command."""
    assert re.fullmatch(r"[\x20-\x21\x23-\x24\x26-\x5b\x5d-\x7e]+", reference.title)
    assert "%" not in reference.cause + reference.remedy


def test_only_a_missing_token_and_a_missing_scope_are_told_apart_from_a_bad_token() -> None:
    assert [r.id for r in CALL_REFERENCES if r.challenge == "bare"] == ["token-missing"]
    assert [r.id for r in CALL_REFERENCES if r.challenge == "insufficient_scope"] == ["scope-missing"]


@pytest.mark.parametrize("reference", [*POLICY_REFERENCES, *COMMAND_REFERENCES], ids=lambda r: r.id)
def test_what_no_call_is_refused_with_has_no_status(reference: Reference) -> None:
    assert (reference.status, reference.challenge) == (None, "none")


def test_an_error_says_its_reference_and_the_better_remedy() -> None:
    error = ScopewardError("port-in-use", "127.0.0.1:1")
    assert str(error) == "port-in-use: 127.0.0.1:1"
    assert error.remedy == REFERENCES["port-in-use"].remedy
    assert ScopewardError("port-in-use", "x", "Do y.").remedy == "Do y."


def test_an_unknown_reference_cannot_be_raised() -> None:
    with pytest.raises(KeyError):
        ScopewardError("no-such-reference", "x")


def test_every_reference_that_the_code_names_is_registered() -> None:
    root = Path(scopeward.__file__).parent
    named = {name for path in root.rglob("*.py") for name in re.findall(r'ScopewardError\(\s*"([^"]+)"', path.read_text())}
    assert named
    assert named <= set(REFERENCES)
