"""The issuers' keys as a node keeps them: which set counts, until when, and when to look again.

A look at one issuer:

1. Its metadata are read where none are remembered, where they are older than ``METADATA_EVERY``, or where the last look failed: keys may
   have moved. Else the remembered ``jwks_uri`` is asked alone, each time.
2. Metadata that name another issuer, or send to clear text, end the look and are no longer remembered: what they said before may be as wrong.
   Any other fault of theirs is only told, and the remembered address goes on, for at most ``max_stale``.
3. An answer with at least one usable key replaces the set at once, so that a withdrawn key dies. Any other answer keeps the last good set.
4. The last good set serves until ``good_until``, which Envoy itself compares with its clock; it is handed on after that too, so that the other
   issuers' keys go on being published.
5. The last good set is copied to the disk, and read from there where this process has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import httpx2

from scopeward.analysis.gateway import IssuerFacts
from scopeward.clock import Clock
from scopeward.errors import ScopewardError
from scopeward.idp.clock_difference import clock_difference
from scopeward.idp.copies import AHEAD, GoodKeys, KeyCopies
from scopeward.idp.discovery import IssuerMetadata, fetch_metadata
from scopeward.idp.documents import DEFAULT_LIMITS, Limits
from scopeward.idp.keys import fetch_keys, key_ids
from scopeward.idp.trouble import KeyFailure, Trouble, log
from scopeward.policy.model import Issuer, Policy

METADATA_EVERY: Final = 600.0
"""Seconds for which metadata count without being read again."""
COOLDOWN: Final = 10.0
"""Seconds between two looks for the sake of unknown key ids: anybody can send those."""
BACK_OFF: Final = (5.0, 10.0, 20.0, 30.0)
"""Seconds after the first, second, … failed look; the last goes on."""
LONGEST_STEP: Final = 600
"""Seconds by which ``good_until`` moves at once: each move is a publication."""
_NO_PROVIDER_OF_OURS: Final = frozenset({"idp-issuer-mismatch", "idp-insecure"})

Source = Literal["provider", "disk"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class KeyStanding:
    """What is known of an issuer's keys. Times are seconds since the epoch.

    ``key_ids`` are the ``kid`` of the keys in use, ``""`` where one has none. ``fetched_at`` is when they were asked for, ``source`` where they came
    from at last. ``failure`` is why the last look failed, since ``failing_since``; the keys may be new all the same, where only the
    metadata failed. ``clock_difference`` is the provider's clock minus ours, in seconds.
    """

    name: str
    issuer: str
    key_ids: tuple[str, ...]
    fetched_at: float | None
    good_until: int | None
    source: Source | None
    failing_since: float | None
    failure: KeyFailure | None
    clock_difference: int | None


def good_until(fetched_at: float, max_stale: int) -> int:
    """When keys are too old: at most ``max_stale`` seconds after they were asked for, and the same for all looks within one step."""
    step = _step(max_stale)
    return int((fetched_at + max_stale) // step) * step


def _step(max_stale: int) -> int:
    return max(1, min(LONGEST_STEP, max_stale // 10))


@dataclass(slots=True)
class _Kept:
    """What is remembered of one issuer. ``good`` are the keys that count, ``stored`` those that are known to be on the disk."""

    good: GoodKeys | None = None
    source: Source | None = None
    stored: GoodKeys | None = None
    store_failed: bool = False
    metadata: IssuerMetadata | None = None
    metadata_at: float = 0.0
    clock_difference: int | None = None
    trouble: Trouble = field(default_factory=Trouble)

    def not_after(self, now: float) -> None:
        """A clock that was set back must not lengthen what counts: times of the future become now."""
        if self.good is not None and self.good.fetched_at > now + AHEAD:
            self.good = GoodKeys(self.good.jwks, now)
        self.metadata_at = min(self.metadata_at, now)


class KeyKeeper:
    """The keys of all issuers of a policy. ``folder`` is where their copies are. One event loop uses it."""

    def __init__(self, folder: Path, http: httpx2.AsyncClient, clock: Clock, limits: Limits = DEFAULT_LIMITS) -> None:
        self._copies = KeyCopies(folder)
        self._http, self._clock, self._limits = http, clock, limits
        self._kept: dict[str, _Kept] = {}
        self._issuers: tuple[Issuer, ...] = ()
        self._looked_at: float | None = None
        self._unknown = False
        self._unknown_looked_at: float | None = None
        self._woken = asyncio.Event()
        self._looking = asyncio.Lock()  # an answer that comes late must not replace one that was asked for after it

    async def look(self, policy: Policy) -> Mapping[str, IssuerFacts]:
        """Look at all issuers of ``policy`` at once; their facts by their names in it, each with ``good_until``.

        Takes as long as the slowest issuer, which is at most twice ``limits.seconds``, and once that where it answered before.
        Errors: ``idp-…``, where no good keys of an issuer are known, neither from before nor from the disk. What was read of the others stays known.
        """
        async with self._looking:
            self._begin()
            try:
                failures = await asyncio.gather(*(self._look_at(issuer) for issuer in policy.issuers))
            finally:
                self._looked_at = self._clock.now()
            facts: dict[str, IssuerFacts] = {}
            for issuer, failure in zip(policy.issuers, failures, strict=True):
                good = self._kept[issuer.issuer].good
                if good is not None:
                    facts[issuer.name] = IssuerFacts(issuer.issuer, good.jwks, good_until(good.fetched_at, issuer.max_stale))
                elif failure is not None:
                    self._issuers = self._issuers or policy.issuers
                    raise failure
            self._issuers = policy.issuers
            return facts

    def unknown_key(self) -> None:
        """Calls were refused for keys that are not known: an issuer may have new ones. Leads to one look a ``COOLDOWN``, however often it is said."""
        if not self._unknown:
            self._unknown = True
            self._woken.set()

    def next_look(self, every: float) -> float:
        """Seconds until the next look is due, at most ``every``; 0 is now. Pure arithmetic: nothing is begun."""
        now = self._clock.now()
        if self._looked_at is None or now < self._looked_at:  # the clock was set back: nothing on it can be waited for
            return 0.0
        due = self._looked_at + min((every, *(_back_off(kept.trouble.times) for kept in self._watched() if kept.trouble.times)))
        if self._unknown:
            due = min(due, now if self._unknown_looked_at is None else self._unknown_looked_at + COOLDOWN)
        return max(0.0, due - now)

    async def until_due(self, every: float) -> None:
        """Return when the next look is due; ``unknown_key`` may bring it nearer meanwhile."""
        while (rest := self.next_look(every)) > 0:
            self._woken.clear()
            try:
                async with asyncio.timeout(rest):
                    await self._woken.wait()
            except TimeoutError:
                return

    def standing(self) -> tuple[KeyStanding, ...]:
        """Of each issuer of the policy of the last look, in its order."""
        return tuple(_standing(issuer, self._kept[issuer.issuer]) for issuer in self._issuers)

    def _watched(self) -> list[_Kept]:
        return [self._kept[issuer.issuer] for issuer in self._issuers]

    def _begin(self) -> None:
        """What is said of unknown keys from here on is of keys that this look may not see."""
        if self._unknown:
            self._unknown, self._unknown_looked_at = False, self._clock.now()

    async def _look_at(self, issuer: Issuer) -> ScopewardError | None:
        """Look at one issuer and remember what came of it. What went wrong is returned: it must not keep the others from ending."""
        kept = self._kept_of(issuer)
        now = self._clock.now()
        kept.not_after(now)
        try:
            good, doubt = await self._fetch(issuer, kept, now)
        except ScopewardError as error:
            doubt = error
        else:
            kept.good, kept.source = good, "provider"
            self._store(issuer, kept, good)
        if doubt is None:
            kept.trouble.end(issuer.name, now)
        else:
            kept.trouble.add(issuer.name, doubt, now, None if kept.good is None else good_until(kept.good.fetched_at, issuer.max_stale))
        return doubt

    def _kept_of(self, issuer: Issuer) -> _Kept:
        """What is remembered of an issuer; at first what the disk has."""
        if issuer.issuer not in self._kept:
            kept = self._kept[issuer.issuer] = _Kept()
            try:
                kept.good = kept.stored = self._copies.read(issuer.issuer, self._clock.now())
            except ScopewardError as error:
                log.warning("issuer '%s': %s", issuer.name, error)
            kept.source = "disk" if kept.good else None
        return self._kept[issuer.issuer]

    async def _fetch(self, issuer: Issuer, kept: _Kept, now: float) -> tuple[GoodKeys, ScopewardError | None]:
        """Good keys, and what is wrong all the same. Errors: ``idp-…`` where there are none. See the steps above."""
        known = kept.metadata
        if known is None or now - kept.metadata_at > max(issuer.max_stale, METADATA_EVERY):
            return await self._keys(await self._metadata(issuer, kept, now), kept), None
        if now - kept.metadata_at < METADATA_EVERY and not kept.trouble.times:
            return await self._keys(known, kept), None
        # at once: metadata that hang must not keep keys from being read in time
        again, keys = await asyncio.gather(_tried(self._metadata(issuer, kept, now)), _tried(self._keys(known, kept)))
        if isinstance(again, ScopewardError) and again.reference.id in _NO_PROVIDER_OF_OURS:
            kept.metadata = None
            raise again
        if isinstance(again, IssuerMetadata) and again.jwks_uri != known.jwks_uri:
            return await self._keys(again, kept), None
        if isinstance(keys, ScopewardError):
            raise keys
        return keys, again if isinstance(again, ScopewardError) else None

    async def _metadata(self, issuer: Issuer, kept: _Kept, now: float) -> IssuerMetadata:
        kept.metadata = await fetch_metadata(issuer.issuer, self._http, self._limits)
        kept.metadata_at = now
        return kept.metadata

    async def _keys(self, metadata: IssuerMetadata, kept: _Kept) -> GoodKeys:
        sent = self._clock.now()

        def heard(headers: httpx2.Headers) -> None:
            difference = clock_difference(headers, sent, self._clock.now())
            kept.clock_difference = kept.clock_difference if difference is None else difference

        return GoodKeys(await fetch_keys(metadata, self._http, self._limits, heard), sent)

    def _store(self, issuer: Issuer, kept: _Kept, good: GoodKeys) -> None:
        """Copy what is new; the same keys again only when the copy is a step old, for disks wear. A full disk is told once, and no error."""
        stored = kept.stored
        if stored is not None and stored.jwks == good.jwks and abs(good.fetched_at - stored.fetched_at) < _step(issuer.max_stale):
            return
        try:
            self._copies.write(issuer.issuer, good)
        except ScopewardError as error:
            self._not_stored(issuer, kept, good, error)
        else:
            kept.stored, kept.store_failed = good, False

    def _not_stored(self, issuer: Issuer, kept: _Kept, good: GoodKeys, error: ScopewardError) -> None:
        """A copy that could not be replaced is removed where it has a key that was withdrawn since: a start would bring it back."""
        alarms = [f"its keys could not be copied to the disk, where a start without the provider looks for them: {error}"]
        if kept.stored is None or not good.has_all_of(kept.stored):
            try:
                self._copies.remove(issuer.issuer)
                kept.stored = None
            except ScopewardError as left:
                alarms.append(str(left))
        for alarm in () if kept.store_failed else alarms:
            log.warning("issuer '%s': %s", issuer.name, alarm)
        kept.store_failed = True


async def _tried(work: Coroutine[Any, Any, T]) -> T | ScopewardError:
    try:
        return await work
    except ScopewardError as error:
        return error


def _back_off(times: int) -> float:
    return BACK_OFF[min(times, len(BACK_OFF)) - 1]


def _standing(issuer: Issuer, kept: _Kept) -> KeyStanding:
    good, trouble = kept.good, kept.trouble
    return KeyStanding(
        issuer.name,
        issuer.issuer,
        key_ids(good.jwks) if good else (),
        good.fetched_at if good else None,
        good_until(good.fetched_at, issuer.max_stale) if good else None,
        kept.source,
        trouble.since,
        trouble.failure,
        kept.clock_difference,
    )
