from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from scopeward.secret import Secret

VALUE = "hunter2-canary"


@dataclass(frozen=True)
class Holder:
    name: str
    secret: Secret


@pytest.mark.parametrize("shown", [repr, str, ascii, "{}".format, "{!r}".format, "{:>20}".format, "%s".__mod__, "%r".__mod__])
def test_a_secret_shows_itself_in_no_text(shown: Callable[[object], str]) -> None:
    assert VALUE not in shown(Secret(VALUE))
    assert "***" in shown(Secret(VALUE))


@pytest.mark.parametrize("around", [lambda s: [s], lambda s: {"k": s}, lambda s: (s,), lambda s: Holder("n", s), ValueError, lambda s: {"k": [Holder("n", s)]}])
def test_what_holds_a_secret_shows_it_in_no_text(around: Callable[[Secret], object]) -> None:
    assert VALUE not in repr(around(Secret(VALUE)))
    assert VALUE not in str(around(Secret(VALUE)))


def test_it_is_revealed_by_name_alone() -> None:
    assert Secret(VALUE).reveal() == VALUE


def test_secrets_are_compared_by_value_and_with_nothing_else() -> None:
    assert Secret(VALUE) == Secret(VALUE)
    assert Secret(VALUE) != Secret(VALUE + "x")
    assert Secret("é") == Secret("é")
    assert Secret(VALUE) != VALUE
    assert Secret("") != Secret(VALUE)


def test_it_has_no_hash_and_no_attributes() -> None:
    with pytest.raises(TypeError):
        hash(Secret(VALUE))
    with pytest.raises(AttributeError):
        Secret(VALUE).other = 1  # type: ignore[attr-defined]
    assert not hasattr(Secret(VALUE), "__dict__")


@pytest.mark.parametrize("taken", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps])
def test_it_is_not_carried_elsewhere(taken: Callable[[object], object]) -> None:
    with pytest.raises(TypeError) as error:
        taken(Secret(VALUE))
    assert VALUE not in str(error.value)


def test_it_is_in_no_log_line_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("%s %r", Secret(VALUE), {"s": Secret(VALUE)})
    assert VALUE not in caplog.text
    assert VALUE not in str(KeyError(Secret(VALUE)))
