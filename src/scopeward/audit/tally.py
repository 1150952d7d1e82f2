"""How many calls ended how, counted over chunks of audit lines without reading each line's JSON."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from scopeward.compile.envoy.names import PROBE
from scopeward.errors import CALL_REFERENCES

MINUTE: Final = 60.0

NO_API: Final = "-"
"""The API of a call that asked for none of the policy's."""
NO_REFERENCE: Final = "none"
"""Stands for the reference of a call that ended without an answer, such as one whose caller left before it was judged."""
OTHER: Final = "other"
"""Stands for a reference that this version does not know, and for an API beyond ``MOST_APIS``."""
MOST_APIS: Final = 1000
"""API names that are counted apart. They come from policies only; the bound is for a node on which many policies were tried."""

UPSTREAM_STATUSES: Final = frozenset({502, 503, 504})
"""Of references: the call was let through, and the upstream did not answer it. As in ``audit_line``."""

_STATUSES: Final[Mapping[str, int | None]] = {reference.id: reference.status for reference in CALL_REFERENCES}

# What a caller chose stands inside of a JSON string, where Envoy writes each '"' with a backslash before it. So a '":' can only end the name of a
# field: after a value comes ',' or '}'. Whatever a path or a claim holds, these expressions cannot match in it.
_DECISION: Final = re.compile(rb'"decision":(?:null|"((?:rule|public)\.)?)')
_REFERENCE: Final = re.compile(rb'"reference":(?:null|"([a-z0-9-]+)")')
_ROUTE: Final = re.compile(rb'"route":(?:null|"[^" ]* ([^" ]+) )')
_PATH: Final = re.compile(rb'"path":(?:null|"(%s")?)' % re.escape(PROBE.encode()))
_FIELDS: Final = (_DECISION, _REFERENCE, _ROUTE, _PATH)

_Call = tuple[bytes, bytes, bytes, bytes]
"""What the expressions found in a line; empty where the field is null or holds something else. ``None`` stands for what is no audit line."""


@dataclass(frozen=True, slots=True)
class ApiCounts:
    """The calls of one API. ``failures`` are those that were let through and got no answer from the upstream, by reference."""

    allowed: int = 0
    refused: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many calls ended how. ``total`` = ``allowed`` + ``refused``; ``refusals`` tells the refused ones by reference, ``apis`` all of them by API.

    ``unreadable`` are lines that are no audit lines. The gateway's calls to itself are in none of these.
    """

    total: int = 0
    allowed: int = 0
    refused: int = 0
    unreadable: int = 0
    refusals: Mapping[str, int] = field(default_factory=dict)
    apis: Mapping[str, ApiCounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _End:
    """One way in which calls of an API ended. ``reference`` is empty for an answer of the upstream's."""

    kind: Literal["allowed", "refused", "unreadable"]
    api: str = ""
    reference: str = ""


class Tally:
    """Counts since it was made, and of the last minute. ``now`` is in seconds, of a clock that never goes back (``time.monotonic``)."""

    def __init__(self) -> None:
        self._all: Counter[_End] = Counter()
        self._recent: deque[tuple[float, Counter[_End]]] = deque()
        self._apis: set[str] = set()

    def add(self, chunk: bytes, now: float) -> None:
        """Count whole lines. They belong to the time at which they were read, a moment after the call ended."""
        found: Counter[_End] = Counter()
        for call, number in Counter(_calls(chunk)).items():
            end = self._end(call)
            if end is not None:
                found[end] += number
        self._all.update(found)
        self._recent.append((now, found))
        self._forget(now)

    def since_start(self) -> Counts:
        """All that was counted."""
        return _counts(self._all)

    def last_minute(self, now: float) -> Counts:
        """What was counted in the 60 seconds before ``now``."""
        self._forget(now)
        together: Counter[_End] = Counter()
        for _, found in self._recent:
            together.update(found)
        return _counts(together)

    def _forget(self, now: float) -> None:
        while self._recent and self._recent[0][0] <= now - MINUTE:
            self._recent.popleft()

    def _end(self, call: _Call | None) -> _End | None:
        """How a call ended; ``None`` for the gateway's calls to itself. The verdict is that of ``audit_line.parse``."""
        if call is None:
            return _End("unreadable")
        rule, reference, api, probe = (part.decode("ascii", "replace") for part in call)
        if probe:
            return None
        failed = _STATUSES.get(reference) in UPSTREAM_STATUSES
        kind: Literal["allowed", "refused"] = "allowed" if rule and (failed or not reference) else "refused"
        return _End(kind, self._bounded(api), _known(reference))

    def _bounded(self, api: str) -> str:
        if not api or api == NO_API:
            return NO_API
        if len(self._apis) < MOST_APIS:
            self._apis.add(api)
        return api if api in self._apis else OTHER


def _known(reference: str) -> str:
    return reference if not reference or reference in _STATUSES else OTHER


def _calls(chunk: bytes) -> Iterable[_Call | None]:
    """What ended how, line by line: one pass a field, and the findings of all passes side by side.

    Every field is in every line once. Where the numbers say that this does not hold, the chunk is gone through line by line.
    """
    lines = chunk.count(b"\n")
    columns = [expression.findall(chunk) for expression in _FIELDS]
    if all(len(column) == lines for column in columns):
        return zip(*columns, strict=True)
    return _line_by_line(chunk)


def _line_by_line(chunk: bytes) -> Iterator[_Call | None]:
    for line in chunk.split(b"\n"):
        if line:
            rule, reference, api, probe = (expression.findall(line) for expression in _FIELDS)
            whole = len(rule) == len(reference) == len(api) == len(probe) == 1
            yield (rule[0], reference[0], api[0], probe[0]) if whole else None


def _counts(ends: Mapping[_End, int]) -> Counts:
    refusals: Counter[str] = Counter()
    apis: dict[str, list[tuple[_End, int]]] = {}
    unreadable = 0
    for end, number in ends.items():
        if end.kind == "unreadable":
            unreadable += number
            continue
        apis.setdefault(end.api, []).append((end, number))
        if end.kind == "refused":
            refusals[end.reference or NO_REFERENCE] += number
    by_api = {api: _of_api(apis[api]) for api in sorted(apis)}
    allowed, refused = sum(c.allowed for c in by_api.values()), refusals.total()
    return Counts(allowed + refused, allowed, refused, unreadable, dict(sorted(refusals.items())), by_api)


def _of_api(ends: Iterable[tuple[_End, int]]) -> ApiCounts:
    allowed = refused = 0
    failures: Counter[str] = Counter()
    for end, number in ends:
        if end.kind == "refused":
            refused += number
            continue
        allowed += number
        if end.reference:
            failures[end.reference] += number
    return ApiCounts(allowed, refused, dict(sorted(failures.items())))
