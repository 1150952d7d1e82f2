"""Two tables: what goes where, and what a look costs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeward.analysis.gateway import Revocation
from scopeward.errors import ScopewardError
from scopeward.revocation import Asked, Entry, Keeper, RevocationBook, Tables
from scopeward.revocation.entry import OUTLIVES
from scopeward.revocation.tables import CLOCK_STEP, QUIET, Split, split
from scopeward.store import Store
from tests.kit.clocks import SetClock

ISS = "https://login.example.test"
NOW = 1_800_000_000.0
MOST = 3


@pytest.fixture
def clock() -> SetClock:
    return SetClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: SetClock) -> Iterator[Store]:
    with Store(tmp_path / "store.sqlite", clock) as store:
        yield store


@pytest.fixture
def book(store: Store, clock: SetClock) -> RevocationBook:
    return RevocationBook(store, clock)


@pytest.fixture
def keeper(book: RevocationBook, clock: SetClock) -> Keeper:
    return Keeper(book, clock, MOST)


def token(value: str) -> Revocation:
    return Revocation(ISS, "token-id", value)


def revoke(book: RevocationBook, *values: str, ends_at: float | None = None) -> tuple[Entry, ...]:
    return book.add_many([Asked(token(value), ends_at) for value in values])


def shown(tables: Tables | None) -> tuple[str, str] | None:
    """The ids, as one text a table: recent, settled."""
    return None if tables is None else ("".join(r.value for r in tables.recent), "".join(r.value for r in tables.settled))


# ── the split ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def entry(number: int, ends_at: float | None = None) -> Entry:
    return Entry(number, token(str(number)), ends_at, None, NOW, None, number)


def entries(*numbers: int, over: tuple[int, ...] = ()) -> dict[int, Entry]:
    return {n: entry(n, NOW - OUTLIVES if n in over else None) for n in (*numbers, *over)}


@pytest.mark.parametrize(
    ("standing", "settled", "expected"),
    [
        (entries(), None, ((), ())),
        (entries(1, 2), None, ((), (1, 2))),
        (entries(1, 2, over=(3,)), None, ((), (1, 2))),
        (entries(1, 2), {1}, ((2,), (1,))),
        (entries(1, 2, 3, 4), {1}, ((2, 3, 4), (1,))),
        (entries(1, 2, 3, 4, 5), {1}, ((), (1, 2, 3, 4, 5))),  # too many recent ones settle
        (entries(1, 2, 3, 4, over=(5,)), {1}, ((2, 3, 4), (1,))),
        (entries(1, over=(2,)), {1, 2}, ((), (1, 2))),  # over: no push of its own
        (entries(1, over=(2,)), {1, 2, 3}, ((), (1,))),  # undone: written again, and without what is over
        (entries(1, 4), {1, 3}, ((4,), (1,))),
        (entries(1, 3, 4, 5, 6, over=(2,)), {1, 2}, ((), (1, 3, 4, 5, 6))),
    ],
)
def test_split(standing: dict[int, Entry], settled: set[int] | None, expected: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    recent, settles = map(frozenset, expected)
    assert split(standing, None if settled is None else frozenset(settled), NOW, MOST) == Split(recent, settles)


@given(numbers=st.sets(st.integers(0, 12)), over=st.sets(st.integers(0, 12)), settled=st.none() | st.frozensets(st.integers(0, 12)), most=st.integers(0, 6))
def test_the_split_loses_nothing_that_stands_and_keeps_nothing_undone(numbers: set[int], over: set[int], settled: frozenset[int] | None, most: int) -> None:
    standing = entries(*numbers - over, over=tuple(over))
    found = split(standing, settled, NOW, most)
    assert numbers - over <= found.recent | found.settled <= standing.keys()
    assert not found.recent & found.settled
    assert len(found.recent) <= most
    assert not found.recent & over


# ── the keeper ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_at_a_start_everything_settles(book: RevocationBook, keeper: Keeper) -> None:
    assert keeper.tables is None
    revoke(book, "b", "a")
    first = keeper.look()
    assert shown(first) == ("", "ab")
    assert first is not None
    assert first.sequence == book.sequence()
    assert keeper.look() is None
    assert keeper.tables is first


def test_a_start_without_revocations_says_so_once(keeper: Keeper) -> None:
    assert shown(keeper.look()) == ("", "")
    assert keeper.look() is None


def test_a_new_one_is_recent_and_settled_is_left_alone(book: RevocationBook, keeper: Keeper) -> None:
    revoke(book, "a")
    first = keeper.look()
    (added,) = revoke(book, "b")
    second = keeper.look()
    assert shown(second) == ("b", "a")
    assert first is not None
    assert second is not None
    assert second.settled is first.settled
    assert second.sequence == added.sequence
    assert keeper.look() is None


def test_more_than_the_most_settle_when_nothing_new_comes(book: RevocationBook, keeper: Keeper, clock: SetClock) -> None:
    keeper.look()
    revoke(book, "a", "b", "c")
    assert shown(keeper.look()) == ("abc", "")
    clock.time += QUIET
    assert keeper.look() is None
    revoke(book, "d")
    before = keeper.look()
    assert shown(before) == ("abcd", "")  # the new one does not wait for the large table
    clock.time += QUIET - 1
    assert keeper.look() is None
    revoke(book, "e")
    assert shown(keeper.look()) == ("abcde", "")
    clock.time += QUIET - 1
    assert keeper.look() is None
    clock.time += 1
    after = keeper.look()
    assert shown(after) == ("", "abcde")
    assert after is not None
    assert after.sequence == book.sequence()
    assert keeper.look() is None
    revoke(book, "f")
    assert shown(keeper.look()) == ("f", "abcde")


def test_more_than_twice_the_most_settle_at_once(book: RevocationBook, keeper: Keeper) -> None:
    keeper.look()
    revoke(book, *"abcdef")
    assert shown(keeper.look()) == ("abcdef", "")
    revoke(book, "g")
    assert shown(keeper.look()) == ("", "abcdefg")


def test_what_is_over_is_not_settled(book: RevocationBook, keeper: Keeper, clock: SetClock) -> None:
    keeper.look()
    revoke(book, "a", "b", ends_at=NOW + 60)
    revoke(book, "c", "d")
    assert shown(keeper.look()) == ("abcd", "")
    clock.time += 61 + OUTLIVES
    assert shown(keeper.look()) == ("cd", "")
    assert keeper.look() is None


def test_undo_acts_at_once_in_both(book: RevocationBook, keeper: Keeper) -> None:
    settled, _ = revoke(book, "a", "b")
    keeper.look()
    (recent,) = revoke(book, "c")
    keeper.look()
    book.undo(recent.number)
    assert shown(keeper.look()) == ("", "ab")
    book.undo(settled.number)
    assert shown(keeper.look()) == ("", "b")


def test_made_and_undone_between_two_looks(book: RevocationBook, keeper: Keeper) -> None:
    first = keeper.look()
    book.undo(revoke(book, "a")[0].number)
    second = keeper.look()
    assert shown(second) == ("", "")
    assert first is not None
    assert second is not None
    assert second.sequence == book.sequence() > first.sequence  # whoever waits for the undo must hear of it
    assert second.recent is first.recent


def test_undoing_one_of_two_alike_leaves_the_other(book: RevocationBook, keeper: Keeper) -> None:
    one, _two = revoke(book, "a", "a")
    assert shown(keeper.look()) == ("", "a")
    book.undo(one.number)
    assert shown(keeper.look()) == ("", "a")


def test_what_is_over_is_dropped_at_the_next_rewrite_only(book: RevocationBook, keeper: Keeper, clock: SetClock) -> None:
    revoke(book, "a", ends_at=NOW + 60)
    revoke(book, "b")
    keeper.look()
    revoke(book, "c", ends_at=NOW + 60)
    assert shown(keeper.look()) == ("c", "ab")
    clock.time += 61 + OUTLIVES
    assert keeper.look() is None
    (added,) = revoke(book, "d")
    assert shown(keeper.look()) == ("d", "ab")
    book.undo(added.number)
    book.undo(2)
    assert shown(keeper.look()) == ("", "")


def test_a_clock_set_back_brings_back_what_was_over(book: RevocationBook, keeper: Keeper, clock: SetClock) -> None:
    revoke(book, "a", ends_at=NOW + 60)
    clock.time += 100 * OUTLIVES
    assert shown(keeper.look()) == ("", "")
    clock.time -= CLOCK_STEP / 2
    assert keeper.look() is None
    clock.time = NOW
    assert shown(keeper.look()) == ("", "a")
    assert keeper.look() is None


def test_what_another_process_adds_is_seen(tmp_path: Path, keeper: Keeper, clock: SetClock) -> None:
    keeper.look()
    with Store(tmp_path / "store.sqlite", clock) as other:
        revoke(RevocationBook(other, clock), "a")
    assert shown(keeper.look()) == ("a", "")


def test_after_a_failure_the_next_look_says_what_changed(book: RevocationBook, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper.look()
    before = keeper.tables
    revoke(book, "a")

    def fails(_since: int) -> tuple[Entry, ...]:
        raise ScopewardError("state-unwritable", "no")

    with monkeypatch.context() as patch:
        patch.setattr(book, "changes", fails)
        with pytest.raises(ScopewardError):
            keeper.look()
    assert keeper.tables is before
    assert shown(keeper.look()) == ("a", "")


def test_a_failure_at_the_start_or_when_it_begins_anew_is_tried_again(
    book: RevocationBook, keeper: Keeper, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke(book, "a")

    def fails() -> tuple[Entry, ...]:
        raise ScopewardError("state-unwritable", "no")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(book, "entries", fails)
            with pytest.raises(ScopewardError):
                keeper.look()
        assert shown(keeper.look()) == ("", "a")
        clock.time -= 10 * CLOCK_STEP


def test_a_look_reads_changes_and_not_the_whole(book: RevocationBook, keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    revoke(book, "a", "b")
    keeper.look()
    monkeypatch.setattr(book, "entries", None)
    revoke(book, "c")
    assert shown(keeper.look()) == ("c", "ab")
    monkeypatch.setattr(book, "changes", None)
    assert keeper.look() is None
