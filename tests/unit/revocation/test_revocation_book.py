"""The book: what it takes, what it refuses, and what stands when."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scopeward.analysis.gateway import Revocation
from scopeward.errors import ScopewardError
from scopeward.revocation import Asked, RevocationBook
from scopeward.revocation.entry import OUTLIVES
from scopeward.store import Store
from tests.kit.clocks import SetClock

ISS = "https://login.example.test"
NOW = 1_800_000_000.5


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW)


@pytest.fixture
def book(tmp_path: Path, clock: SetClock) -> Iterator[RevocationBook]:
    with Store(tmp_path / "store.sqlite", clock) as store:
        yield RevocationBook(store, clock)


def token(value: str) -> Revocation:
    return Revocation(ISS, "token-id", value)


def test_an_entry_is_what_was_asked(book: RevocationBook) -> None:
    before = book.sequence()
    entry = book.add(Revocation(ISS, "client", "0oa1", before=1_800_000_001), ends_at=1_800_000_600, reason="key leaked")
    assert entry.number == 1
    assert entry.revocation == Revocation(ISS, "client", "0oa1", before=1_800_000_001)
    assert (entry.ends_at, entry.reason, entry.made_at, entry.undone_at) == (1_800_000_600, "key leaked", NOW, None)
    assert before < entry.sequence == book.sequence()
    assert book.entries() == (entry,)


def test_undoing(book: RevocationBook, clock: SetClock) -> None:
    first, second = book.add_many([Asked(token("a")), Asked(token("a"))])
    clock.time += 10
    undone = book.undo(first.number)
    assert (undone.number, undone.revocation, undone.undone_at) == (first.number, first.revocation, NOW + 10)
    assert undone.sequence == book.sequence() > first.sequence
    assert book.entries() == (second,)
    assert book.standing() == (token("a"),)  # the other still covers it
    assert book.entries(include_undone=True) == (undone, second)
    assert book.changes(first.sequence) == (undone,)


@pytest.mark.parametrize("number", [0, -1, 2, 2**63, 10**30])
def test_undoing_what_is_not_there(book: RevocationBook, number: int) -> None:
    book.undo(book.add(token("a")).number)
    sequence = book.sequence()
    for unknown in (number, 1):  # 1 is undone already
        with pytest.raises(ScopewardError) as caught:
            book.undo(unknown)
        assert caught.value.reference.id == "revocation-unknown"
    assert book.sequence() == sequence


def test_a_token_stays_revoked_for_a_while_after_its_exp_because_of_skew(book: RevocationBook, clock: SetClock) -> None:
    entry = book.add(token("a"), ends_at=NOW + 60)
    clock.time = NOW + 60 + OUTLIVES - 1
    assert (book.entries(), book.standing()) == ((entry,), (token("a"),))
    clock.time = NOW + 60 + OUTLIVES
    assert (book.entries(), book.standing()) == ((), ())
    assert book.entries(include_undone=True) == (entry,)
    clock.time = NOW  # a clock that was wrong has lost nothing
    assert book.standing() == (token("a"),)


def test_what_stands_is_in_one_order_and_the_stronger_covers_the_weaker(book: RevocationBook) -> None:
    revocations = [
        token("b"),
        Revocation(ISS, "client", "c", before=20),
        Revocation(ISS, "client", "c", before=30),
        Revocation(ISS, "client", "c", before=10),
        Revocation(ISS, "subject", "s", before=10),
        Revocation(ISS, "subject", "s"),
        Revocation(ISS, "subject", "s", before=20),
        Revocation(ISS, "issuer", before=5),
        token("a"),
        token("a"),
        Revocation("https://a.example.test", "token-id", "z"),
    ]
    book.add_many([Asked(one) for one in revocations])
    assert book.standing() == (
        Revocation("https://a.example.test", "token-id", "z"),
        Revocation(ISS, "client", "c", before=30),
        Revocation(ISS, "issuer", before=5),
        Revocation(ISS, "subject", "s"),
        token("a"),
        token("b"),
    )


GOOD_TEXTS = ["a", "ä-ö", "with a space", "x" * 1024, "日本", '"}]', "%s'; --", "\u00a0inside\u00a0it".strip()]
BAD_TEXTS = ["", " ", " a", "a ", "a\n", "a\nb", "\x00", "a\tb", "a\x7f", "\x85", "\u2028", "\u00a0a", "\ud800", "x" * 1025, "ä" * 513]


@pytest.mark.parametrize("text", GOOD_TEXTS)
def test_texts_come_back_as_they_were(book: RevocationBook, text: str) -> None:
    book.add(token(text), reason=text)
    assert book.standing() == (token(text),)
    assert book.entries()[0].reason == text


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_nonsense_is_refused(book: RevocationBook, text: str) -> None:
    bad: list[dict[str, Any]] = [
        {"revocation": token(text)},
        {"revocation": Revocation(ISS, "client", text)},
        {"revocation": Revocation(ISS, "subject", text)},
        {"revocation": Revocation(text, "token-id", "a")},
        {"revocation": token("a"), "reason": text},
    ]
    for one in bad:
        with pytest.raises(ScopewardError) as caught:
            book.add_many([Asked(token("good")), Asked(**one)])
        assert caught.value.reference.id == "revocation-invalid"
    assert book.entries(include_undone=True) == ()


@pytest.mark.parametrize(
    ("revocation", "ends_at"),
    [
        (Revocation(ISS, "token-id", "a", before=5), None),
        (Revocation(ISS, "client", "a", before=-1), None),
        (Revocation(ISS, "client", "a", before=1_800_000_000_000), None),
        (Revocation(ISS, "issuer", "a", before=5), None),
        (token("a"), -1),
        (token("a"), 1_800_000_000_000),
        (token("a"), float("nan")),
        (token("a"), float("inf")),
    ],
)
def test_times_that_are_none_are_refused(book: RevocationBook, revocation: Revocation, ends_at: float | None) -> None:
    with pytest.raises(ScopewardError) as caught:
        book.add(revocation, ends_at=ends_at)
    assert caught.value.reference.id == "revocation-invalid"


def test_nothing_at_all_is_no_change(book: RevocationBook) -> None:
    before = book.sequence()
    assert book.add_many([]) == ()
    assert book.sequence() == before


def test_many_at_once_are_one_change_and_quick(book: RevocationBook) -> None:
    before = book.sequence()
    asked = [Asked(token(f"{n:032x}"), ends_at=NOW + 60) for n in range(20_000)]
    begin = time.perf_counter()
    entries = book.add_many(asked)
    assert time.perf_counter() - begin < 10  # about 0.4 s; this machine may be busy
    assert [entry.number for entry in entries] == list(range(1, 20_001))
    assert {entry.sequence for entry in entries} == {book.sequence()} == {before + 1}
