"""What stands, split in two tables: a small one that is pushed at once, and a large one that changes rarely.

A table is pushed whole, and a large one takes its time. So

1. what is new goes to *recent*;
2. at a start everything settles: *settled* holds all, recent nothing; so it does when recent holds more than ``MOST_RECENT`` entries, but
   not before the last of them is in force and nothing new came for a while, for what is revoked meanwhile has to wait until the large table
   is taken; and at once where recent would hold twice as many;
3. undoing an entry acts at once too: it leaves the table where it is, and if that is settled, settled is written again;
4. an entry that is over (its token expired) makes no push of its own: it is left out when its table is written the next time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from scopeward.analysis.gateway import Revocation
from scopeward.clock import Clock
from scopeward.revocation.book import RevocationBook
from scopeward.revocation.entry import Entry, canonical

MOST_RECENT: Final = 500
QUIET: Final = 2.0
"""Seconds without a change after which recent entries may settle."""

CLOCK_STEP: Final = 60.0
"""Seconds by which a clock may go back without notice; an entry outlives its token by more."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Both tables, in canonical order, as of the change ``sequence``. A table that did not change is the same object as before.

    Who publishes both must let settled be in force before recent is written: what moves there would else be in neither for a moment.
    """

    recent: tuple[Revocation, ...]
    settled: tuple[Revocation, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class Split:
    """Which entries, by number, are in which table."""

    recent: frozenset[int]
    settled: frozenset[int]


def split(entries: Mapping[int, Entry], settled: frozenset[int] | None, now: float, most_recent: int = MOST_RECENT) -> Split:
    """Where each entry belongs. ``entries`` are those not undone, by number; ``settled`` is the table of before, ``None`` at a start."""
    if settled is None:
        return Split(frozenset(), _standing(entries, entries.keys(), now))
    recent = _standing(entries, entries.keys() - settled, now)
    if len(recent) > most_recent:
        return Split(frozenset(), _standing(entries, entries.keys(), now))
    if settled <= entries.keys():
        return Split(recent, settled)
    return Split(recent, _standing(entries, settled & entries.keys(), now))  # one was undone


def _standing(entries: Mapping[int, Entry], numbers: Iterable[int], now: float) -> frozenset[int]:
    return frozenset(number for number in numbers if entries[number].stands(now))


class Keeper:
    """Follows the book. It reads what changed, not the whole, so that one more revocation among 100,000 costs little."""

    def __init__(self, book: RevocationBook, clock: Clock, most_recent: int = MOST_RECENT) -> None:
        self._book = book
        self._clock = clock
        self._most_recent = most_recent
        self._latest = 0.0
        self._changed_at = 0.0
        self._entries: dict[int, Entry] = {}
        self._split: Split | None = None
        self._tables: Tables | None = None

    @property
    def tables(self) -> Tables | None:
        """What ``look`` said last, for whoever could not publish it then."""
        return self._tables

    def look(self) -> Tables | None:
        """The tables, or ``None`` where neither changed since the last look. Where it raises, the next look tries again.

        Where the clock was set back, it begins anew: what was over may stand again. Errors: those of ``Store``.
        """
        now, sequence = self._clock.now(), self._book.sequence()
        before = self._tables
        if before is None or sequence < before.sequence or now < self._latest - CLOCK_STEP:
            self._entries = {entry.number: entry for entry in self._book.entries()}
            self._split, self._latest = None, now
        elif sequence > before.sequence:
            self._take(self._book.changes(before.sequence))
        self._latest = max(self._latest, now)
        if before is None or self._split is None or sequence != before.sequence:
            self._changed_at = now
            self._tables = self._lay_out(sequence, now, 2 * self._most_recent)
        elif len(self._split.recent) > self._most_recent and now - self._changed_at >= QUIET:
            self._tables = self._lay_out(sequence, now, self._most_recent)
        else:
            return None
        return self._tables

    def _take(self, changes: Iterable[Entry]) -> None:
        for entry in changes:
            if entry.undone_at is None:
                self._entries[entry.number] = entry
            else:
                self._entries.pop(entry.number, None)

    def _lay_out(self, sequence: int, now: float, most_recent: int) -> Tables:
        was, before = self._split, self._tables
        self._split = split(self._entries, None if was is None else was.settled, now, most_recent)
        recent = canonical(self._entries[number] for number in self._split.recent)
        if before is not None and was is not None and was.settled == self._split.settled:
            settled = before.settled
        else:
            settled = canonical(self._entries[number] for number in self._split.settled)
        kept = self._split.recent | self._split.settled
        if len(kept) < len(self._entries):  # the rest is over
            self._entries = {number: self._entries[number] for number in kept}
        return Tables(before.recent if before is not None and before.recent == recent else recent, settled, sequence)
