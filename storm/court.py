"""What is allowed at a time, and the judgement on each call: pure bookkeeping, without I/O.

A role is a kind of caller. Its ruling says how it calls now, and what must come of it: ``PASS``, ``REFUSE``, or ``EITHER`` while something is being
put in force. A call is judged by the ruling under which it was sent, and only where that still holds when the answer comes.
"""

from __future__ import annotations

import enum
import threading
from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field


class Law(enum.Enum):
    """What must come of a call."""

    PASS = "must pass"
    REFUSE = "must be refused"
    EITHER = "may do either"


@dataclass(frozen=True, eq=False)
class Ruling:
    """How a role calls, and what must come of it. Each is itself alone: the same words at another time are another ruling."""

    law: Law
    path: str
    token: str | None = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What came of one call. ``said`` is the status and the refusal's reference (``401 token-missing``), or ``no connection``, ``cut``, ``timeout``.

    ``began`` and ``ended`` are seconds of a clock that never goes back.
    """

    call: int
    said: str
    began: float
    ended: float

    @property
    def passed(self) -> bool:
        return self.said == "200"


@dataclass
class Account:
    """What happened during one fault. ``longest`` is the longest time, in seconds, in which a role that must pass did not."""

    calls: int = 0
    let_through: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0

    @property
    def lost(self) -> int:
        return self.failed.total()


class Court:
    """Rules for all roles, and judges all calls. Callers and faults are in threads of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rulings: dict[str, Ruling] = {}
        self._failing_since: dict[str, float] = {}
        self._refused_calls: dict[int, str] = {}
        self._last: dict[str, str] = {}
        self.account = Account()

    def rule(self, role: str, law: Law, *, path: str | None = None, token: str | None = None) -> None:
        """From now on. A path or token that is not given stays."""
        with self._lock:
            before = self._rulings.get(role)
            self._rulings[role] = Ruling(law, path or (before.path if before else "/"), token or (before.token if before else None))
            self._failing_since.pop(role, None)

    def ruling(self, role: str) -> Ruling:
        with self._lock:
            return self._rulings[role]

    def last(self, role: str) -> str:
        """What the role's last call came to."""
        with self._lock:
            return self._last.get(role, "")

    def open(self) -> None:
        """A new account: what is judged from now on belongs to it."""
        with self._lock:
            self.account = Account()

    def judge(self, role: str, ruling: Ruling, answer: Answer) -> None:
        with self._lock:
            self.account.calls += 1
            self._last[role] = answer.said
            if self._rulings[role] is not ruling:
                return
            if ruling.law is Law.REFUSE:
                self._judge_refused(role, answer)
            elif ruling.law is Law.PASS:
                self._judge_passing(role, answer)

    def _judge_refused(self, role: str, answer: Answer) -> None:
        if answer.passed:
            self.account.let_through.append(f"{role} got 200")
        else:
            self._refused_calls[answer.call] = role

    def _judge_passing(self, role: str, answer: Answer) -> None:
        if not answer.passed:
            self.account.failed[answer.said] += 1
        if not answer.passed or role in self._failing_since:
            since = self._failing_since.setdefault(role, answer.began)
            self.account.longest = max(self.account.longest, answer.ended - since)
        if answer.passed:
            self._failing_since.pop(role, None)

    def compare(self, reached: AbstractSet[int]) -> None:
        """A call that must be refused must not have reached the upstream either, whatever its caller was told."""
        with self._lock:
            calls = self._refused_calls.keys() & reached
            self.account.let_through += [f"{self._refused_calls[call]} reached the upstream" for call in calls]
            self._refused_calls.clear()
