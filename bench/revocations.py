"""A hundred thousand revocations: how fast they come in force, and how fast one more does.

What counts is the clock from outside: the book is written as ``scopeward revoke`` writes it, by other processes than the node's own. As a
program this fills the book of a state directory: ``python -m bench.revocations STATE_DIR ISSUER``.
"""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from bench.contestants import FULL, Gateway, Stage
from bench.row import Row, p99
from scopeward.analysis.gateway import Revocation
from scopeward.app import SystemClock
from scopeward.revocation import Asked, RevocationBook
from scopeward.store import STORE_FILE, Store

MANY = 100_000
RECENT = 500
"""As many as the small table holds."""
GOAL_MANY = 3.0
GOAL_ONE = 1.0
PATIENCE = 60.0
POLL = 0.002


def fill(running: Stage) -> list[Row]:
    """Put a hundred thousand settled token ids, and 500 recent ones of all kinds, in force. The clock runs from the commit, as others see it."""
    gateway = running.gateway(FULL)
    with _book(gateway.state.root) as book:
        before = book.sequence()
        command = [sys.executable, "-m", "bench.revocations", str(gateway.state.root), running.issuer]
        filling = subprocess.Popen(command, cwd=Path(__file__).parent.parent)
        begun = time.monotonic()
        while (sequence := book.sequence()) == before:
            _pause(begun, "revocations")
        seconds = _in_force(gateway, sequence)
        if filling.wait():
            raise SystemExit("the book could not be filled: nothing is measured")
        _in_force(gateway, book.add_many(_of_all_kinds(running.issuer))[0].sequence)
    return [Row("100,000 revocations, to in force", seconds, "s", GOAL_MANY)]


def one_more(running: Stage, times: int) -> list[Row]:
    """Revoke one token after the other, each of which is good until then."""
    gateway = running.gateway(FULL)
    confirmed, refused = [], []
    with _book(gateway.state.root) as book, contextlib.closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)) as connection:
        for number in range(times):
            one = _One(gateway, book, connection, running.issuer, f"one-more-{number}", running.token(f"one-more-{number}"))
            seconds = one.revoke()
            confirmed.append(seconds[0])
            refused.append(seconds[1])
    return [
        Row(f"one more revocation, to in force: p99 of {times}", p99(confirmed), "s", GOAL_ONE),
        Row(f"one more revocation, to the first refused call: p99 of {times}", p99(refused), "s", GOAL_ONE),
    ]


class _One:
    """One token, good and then revoked."""

    def __init__(self, gateway: Gateway, book: RevocationBook, connection: http.client.HTTPConnection, issuer: str, token_id: str, token: str) -> None:
        self._gateway, self._book, self._connection = gateway, book, connection
        self._revocation, self._token = Revocation(issuer, "token-id", token_id), token

    def revoke(self) -> tuple[float, float]:
        """Seconds from before the book is written to: the node says that it is in force; a call is refused."""
        if (status := self._call()) != 200:
            raise SystemExit(f"a good token got {status}: nothing is measured")
        begun = time.monotonic()
        sequence = self._book.add(self._revocation, ends_at=time.time() + 3600).sequence
        confirmed = refused = 0.0
        while not (confirmed and refused):
            if not refused and self._call() == 401:
                refused = time.monotonic() - begun
            if not confirmed and self._gateway.in_force().get("revocations", 0) >= sequence:
                confirmed = time.monotonic() - begun
            _pause(begun, "a revocation")
        return confirmed, refused

    def _call(self) -> int:
        self._connection.request("GET", "/orders/v1/42", headers={"Authorization": f"Bearer {self._token}"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def _of_all_kinds(issuer: str) -> Iterator[Asked]:
    """Of other tokens than the callers', so that each call is asked about all of them and passes."""
    now = int(time.time())
    yield Asked(Revocation(issuer, "issuer", before=now - 7200))
    for number in range(1, RECENT):
        match number % 4:
            case 0:
                yield Asked(Revocation(issuer, "client", f"client-{number}", now + 1))
            case 1:
                yield Asked(Revocation(issuer, "subject", f"subject-{number}", now + 1))
            case _:
                yield Asked(Revocation(issuer, "token-id", str(uuid.uuid4())), now + 3600)


def _in_force(gateway: Gateway, sequence: int) -> float:
    """Seconds until the node says so."""
    begun = time.monotonic()
    while gateway.in_force().get("revocations", 0) < sequence:
        _pause(begun, "revocations")
    return time.monotonic() - begun


def _pause(begun: float, what: str) -> None:
    if time.monotonic() - begun > PATIENCE:
        raise SystemExit(f"{what} did not come in force within {PATIENCE:g} s: nothing is measured")
    time.sleep(POLL)


@contextlib.contextmanager
def _book(state: Path) -> Iterator[RevocationBook]:
    with Store(state / STORE_FILE, SystemClock()) as store:
        yield RevocationBook(store, SystemClock())


def main(state: str, issuer: str) -> None:
    """Add a hundred thousand token ids as one change."""
    ends_at = time.time() + 3600
    with _book(Path(state)) as book:
        book.add_many(Asked(Revocation(issuer, "token-id", str(uuid.uuid4())), ends_at) for _ in range(MANY))


if __name__ == "__main__":
    main(*sys.argv[1:])
