"""The composition root: the one place that builds objects and starts tasks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx2

from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.state_dir import IN_FORCE, StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.keeper import KeyKeeper
from scopeward.ops import ops_server, serve_ops
from scopeward.passes import PassIssuer, PassKeys
from scopeward.revocation import Keeper, RevocationBook
from scopeward.store import STORE_FILE, Store
from scopeward.tls.certificates import CertificateFiles
from scopeward.warden.report import report
from scopeward.warden.tasks import TASKS, Told, for_ever, keep_policy
from scopeward.warden.warden import Parts, Warden

CANCEL_AGAIN_AFTER: Final = 2.0
"""Seconds in which a task that was cancelled should have ended."""


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()


@dataclass(slots=True)
class Ending:
    """How a node ends with its warden. ``leave`` lets Envoy go on, for the next warden to take over; else its calls have ``drain`` seconds to end."""

    drain: float = 0.0
    leave: bool = False


@asynccontextmanager
async def running(
    state: StateDir,
    binary: EnvoyBinary,
    place: Place,
    http: httpx2.AsyncClient,
    *,
    certificates: CertificateFiles = CertificateFiles(),  # noqa: B008  # frozen
    concurrency: int | None = None,
    ending: Ending | None = None,
) -> AsyncIterator[Warden]:
    """A locked state directory with a warden in it, whose node ends as ``ending`` says when the block does.

    Where the block fails before a policy is in force, an Envoy that was taken over goes on as it was.
    """
    state.lock()
    _require_store(state)
    clock, ending = SystemClock(), ending or Ending()
    node = Node(state, binary, place, clock, concurrency)
    with Store(state.root / STORE_FILE, clock) as store:
        revocations = Keeper(RevocationBook(store, clock), clock)
        pass_keys = PassKeys.load(state.root / "passes", clock.now())
        passes = PassIssuer(pass_keys, clock)
        warden = Warden(Parts(state, node, KeyKeeper(state.root / "keys", http, clock), revocations, passes, certificates, clock))
        if pass_keys.alarm is not None:
            warden.alarm("pass keys", pass_keys.alarm)  # no task has this concern, so it stays until the next start
        try:
            yield warden
        finally:
            if ending.leave or (warden.in_force is None and node.runs):
                await node.detach()
            else:
                await node.stop(drain=ending.drain)
            state.unlock()


def _require_store(state: StateDir) -> None:
    """A store that is gone takes its revocations along: whoever starts without them must know it. Errors: ``state-damaged``."""
    revoked = (state.read_json(IN_FORCE) or {}).get("revoked")
    if revoked and not (state.root / STORE_FILE).exists():
        state.unlock()
        what = f"'{state.root / STORE_FILE}' is gone, and with it what is revoked ({revoked} in force at last)"
        remedy = f"Put the file back from a backup. To start without it, remove '{state.root / IN_FORCE}': what was revoked is good again then."
        raise ScopewardError("state-damaged", what, remedy)


async def serve(warden: Warden, path: Path, told: Told, ops: socket.socket | None = None, env: str | None = None) -> None:
    """Keep the node at what it should be, and follow the policy's files, until cancelled. Errors: what ends a task that should never end."""

    async def following(warden: Warden) -> None:
        await keep_policy(warden, path, told, env)

    works: list[Awaitable[None]] = [for_ever(warden, following), *(for_ever(warden, task) for task in TASKS)]
    if ops is not None:
        works.append(_ops(warden, ops))
    await _together(works)


async def keep(warden: Warden) -> None:
    """The same without the file, for whoever applies policies by hand."""
    await _together([for_ever(warden, task) for task in TASKS])


async def _together(works: Iterable[Awaitable[None]]) -> None:
    """All of them until one ends, which none should, or until cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await end_all(tasks)


async def end_all(tasks: Iterable[asyncio.Future[None]]) -> None:
    """Cancel them until each has ended: before Python 3.12 ``asyncio.wait_for`` loses a cancellation that comes just as its work is done."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_AFTER)
    await asyncio.gather(*tasks, return_exceptions=True)  # so that no error of theirs counts as unseen


async def _ops(warden: Warden, listening: socket.socket) -> None:
    """The operators' endpoints. What they show is at most as old as the last look."""
    status = await report(warden)

    async def renew() -> None:
        nonlocal status
        while True:
            await asyncio.sleep(1)
            status = await report(warden)

    await _together([serve_ops(ops_server(warden.node.ready, lambda: status), listening), renew()])


def open_ops(listen: Listen) -> socket.socket:
    """A socket for the operators' endpoints. Errors: ``port-in-use``, ``address-not-usable``."""
    try:
        return socket.create_server((listen.host, listen.port), family=listen.family)
    except OSError as error:
        raise listen.refused(error, "Choose another with --ops-listen.") from None
