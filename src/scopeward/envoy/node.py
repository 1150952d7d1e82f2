"""A node: desired state in, differences out. One Envoy in charge, at times a second one beside it that comes or leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from scopeward.clock import Clock
from scopeward.compile.snapshot import Edge, File, Resource, Snapshot
from scopeward.envoy.admin import WRITE_FAILURES, is_listening, stats_or_none
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.bootstrap import bootstrap
from scopeward.envoy.in_force import InForceFile
from scopeward.envoy.incarnation import Incarnation, audit_log, begun_at, new_name, pushed_onto, remove_others, written
from scopeward.envoy.limits import most_connections
from scopeward.envoy.place import Place, require_free, until_free
from scopeward.envoy.probe import probe
from scopeward.envoy.record import RunRecord, read_records, write_records
from scopeward.envoy.recover import recover
from scopeward.envoy.state_dir import RUN, StateDir
from scopeward.envoy.validate import validate
from scopeward.errors import ScopewardError

LEAVING_PATIENCE: Final = 30.0
"""Seconds that an Envoy which was replaced has for its callers to leave; longer calls, such as streams, are cut then."""

PORT_PATIENCE: Final = 1.0

log = logging.getLogger(__name__)

Build = Callable[[Edge], Snapshot]


class Node:
    """Keeps one Envoy at a snapshot. One at a time a state directory, which the owner has locked; all calls in one event loop.

    ``place`` may be replaced at any time; the next ``put`` takes it.
    """

    def __init__(self, state: StateDir, binary: EnvoyBinary, place: Place, clock: Clock, concurrency: int | None = None) -> None:
        self.place = place
        self._state = state
        self._binary = binary
        self._clock = clock
        self._concurrency = concurrency
        self._planned = new_name(clock.now())
        self._current: Incarnation | None = None
        self._leaving: Incarnation | None = None
        self._leaving_task: asyncio.Task[None] | None = None
        self._putting = asyncio.Lock()
        self._publishing = asyncio.Lock()
        self._pushed: dict[str, tuple[Resource, File]] = {}
        self._in_force = InForceFile(state, clock)
        self._refused = False

    # ── what is ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def edge(self) -> Edge:
        """What a snapshot for the Envoy in charge, or for the next where none is, must be compiled with."""
        return self._edge(self._planned if self._current is None or self._current.snapshot is None else self._current.name)

    @property
    def pid(self) -> int:
        """Envoy's process id."""
        if self._current is None or self._current.process is None:
            raise RuntimeError("the node is not started")
        return self._current.process.identity.pid

    @property
    def incarnation(self) -> str:
        """The name of this life of Envoy."""
        return self._planned if self._current is None else self._current.name

    @property
    def audit_log(self) -> Path:
        """Where the Envoy in charge, or the next, writes a line a call."""
        return audit_log(self._state, self.incarnation)

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot in force. While all calls are refused, what will be in force again."""
        return None if self._current is None else self._current.snapshot

    @property
    def refusing(self) -> bool:
        """Whether all calls are refused."""
        return self._in_force.refusing

    @property
    def refused(self) -> bool:
        """Whether each Envoy confirmed that it refuses all calls."""
        return self._in_force.refusing and self._refused

    @property
    def runs(self) -> bool:
        """Whether Envoy does."""
        return self._current is not None and self._current.runs

    @property
    def record(self) -> RunRecord | None:
        """Process, version and digest of the Envoy in charge."""
        return None if self._current is None else self._current.record

    @property
    def started_at(self) -> float | None:
        """When the Envoy in charge was started, in seconds since the epoch, by its name."""
        return None if self._current is None else begun_at(self._current.name)

    @property
    def confirmed_at(self) -> float | None:
        """When Envoy confirmed what is in force, in seconds since the epoch."""
        return self._in_force.confirmed_at

    async def write_failures(self) -> int | None:
        """How many writes of audit lines failed since Envoy started; ``None`` where it does not answer."""
        if self._current is None or not self._current.runs:
            return None
        stats = await stats_or_none(self._current.admin, WRITE_FAILURES)
        return None if stats is None else int(stats.get("filesystem.write_failed", "0"))

    async def confirmed(self) -> str | None:
        """``None`` where Envoy is live, listens, and has what was put in force, else why not. Asks Envoy's statistics only."""
        current = self._current
        if current is None or not current.runs:
            return "Envoy does not run"
        if current.snapshot is None:
            return "the running Envoy is not known, and not replaced yet"
        stats = await stats_or_none(current.admin)
        if stats is None:
            return "Envoy's admin interface does not answer"
        if not is_listening(stats):
            return "Envoy does not listen"
        differing = current.publisher.differing(current.snapshot, stats)
        return f"not in force: {', '.join(differing)}" if differing else None

    async def ready(self) -> str | None:
        """``None`` where it is ready, else why not: confirmed, and a call without a token is refused on the data port."""
        why_not = await self.confirmed()
        if why_not is not None:
            return why_not
        if self._in_force.refusing:
            return "all calls are refused, because they cannot be recorded"
        return await probe(self.place)

    async def wait(self) -> None:
        """Until Envoy ends by itself, or is stopped."""
        current = self._current
        while current is not None and current.process is not None:
            await current.process.wait()
            if self._current is current:
                return
            current = self._current  # it was replaced meanwhile

    # ── desired state ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def adopt(self) -> bool:
        """Take over an Envoy that an earlier warden left running; whether what is in force there is known.

        One that is ours and is not as it would be written now is kept for the next ``put`` to replace.
        """
        main, beside = read_records(self._state)
        record, other = (main, beside) if main is not None else (beside, None)
        if record is None:
            return False
        current = self._attached(record)
        if current is None:
            return False
        self._current = current
        if other is not None and (leaving := self._attached(other)) is not None:
            self._retire(leaving)
        why = await self._why_not_adopted(current)
        log.info("Envoy %d is taken over" if why is None else "Envoy %d runs, and will be replaced: %s", *filter(None, (record.pid, why)))
        return why is None

    def _attached(self, record: RunRecord) -> Incarnation | None:
        incarnation = Incarnation(self._state, record.incarnation, Path(record.admin), self._binary)
        return incarnation if incarnation.attach(record) else None

    async def _why_not_adopted(self, current: Incarnation) -> str | None:
        if current.record is None or (current.record.version, current.record.sha256) != (self._binary.version, self._binary.digest):
            return "it is another binary"
        said = self._in_force.read()
        try:
            found = await asyncio.to_thread(recover, current.xds, str(said.get("policy_version", "")))
            why = await current.why_not_known(self._bootstrap(current), found)
        except ScopewardError as error:
            return error.what
        if why is None:
            self._in_force.refusing = current.decide_unknown
            if current.decide_unknown or said.get("snapshot") == found.version:  # else the warden was ended amid publishing; the next 'put' confirms
                self._in_force.take_over(said)
        return why

    async def put(self, build: Build) -> Snapshot:
        """Make what ``build`` compiles be in force, by the least means: start, publish, or replace Envoy. ``build`` may be called more than once.

        Filters that are pushed while this works count as part of it. Errors: what ``build`` raises, ``port-in-use``, ``address-not-usable``,
        ``envoy-rejected``, ``envoy-not-started``, ``envoy-not-confirmed``, ``state-unwritable``; then what was in force stays.
        """
        async with self._putting:
            self._pushed = {}
            if self._current is not None and not self._current.runs:
                await self._current.end()
                self._current = None
            if self._current is None:
                return await self._start(build)
            if self._current.snapshot is not None:
                new = build(self.edge)
                if _listeners(self._current.snapshot) == _listeners(new):
                    return await self._publish(self._current, build, new)
            return await self._replace(self._current, build)

    async def push(self, names: Collection[str], snapshot: Snapshot) -> None:
        """Put these filters of ``snapshot`` in force, and nothing else of it; for what tightens and must not wait, such as a revocation.

        Nothing is validated beforehand. Errors: ``envoy-not-confirmed``, ``state-unwritable``; then what was in force stays.
        """
        self._pushed |= written(names, snapshot)
        async with self._publishing:
            if self._current is None or not self._current.runs:
                raise ScopewardError("envoy-not-confirmed", "Envoy does not run")
            if self._current.snapshot is None:
                raise ScopewardError("envoy-not-confirmed", "the running Envoy is not known, and not replaced yet")
            await self._current.push(names, snapshot)
            self._in_force.confirm(self._current.snapshot)
            if self._leaving is not None and self._leaving.snapshot is not None:
                await self._push_to_leaving(self._leaving, names, snapshot)

    async def _push_to_leaving(self, leaving: Incarnation, names: Collection[str], snapshot: Snapshot) -> None:
        try:
            await leaving.push(names, snapshot)
        except ScopewardError:
            log.warning("the Envoy that leaves did not take what was pushed, and is ended at once")
            if leaving.process is not None:
                leaving.process.signal(signal.SIGKILL)

    # ── refusing, noting ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def refuse(self) -> None:
        """Refuse every call (``audit-unavailable``) until ``readmit``, whatever is put or pushed. Works on a full disk.

        May be repeated. Errors: ``envoy-not-confirmed``, ``state-unwritable``.
        """
        async with self._publishing:
            self._in_force.refusing, self._refused = True, False
            for incarnation in self._running():
                if incarnation.runs:  # one that ended lets nobody in, and the next begins refusing
                    await incarnation.refuse()
            self._refused = True
            log.warning("all calls are refused")
            self._in_force.write()

    async def readmit(self) -> None:
        """Decide calls again. Errors: ``envoy-not-confirmed``, ``state-unwritable``; then calls stay refused."""
        async with self._publishing:
            self._refused = False
            for incarnation in self._running():
                await incarnation.readmit()
            self._in_force.refusing = False
            log.info("calls are decided again")
            self._in_force.write()

    def note(self, **more: Any) -> None:
        """Add to, or change in, what in-force.json says; it stays there with later snapshots."""
        self._in_force.note(**more)

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def stop(self, *, drain: float = 0) -> None:
        """End Envoy. Calls that are under way have ``drain`` seconds to end."""
        await self._forget_leaving()
        running = self._running()
        self._current = self._leaving = None
        if drain > 0:
            await asyncio.gather(*(one.drain(drain, idle_too=False) for one in running if one.runs))
        await asyncio.gather(*(one.end() for one in running))
        if running:
            write_records(self._state, None)

    async def detach(self) -> None:
        """Let go of Envoy and leave it running, for the next warden to adopt."""
        await self._forget_leaving()
        for incarnation in self._running():
            await incarnation.release()
        self._current = self._leaving = None

    async def _forget_leaving(self) -> None:
        if self._leaving_task is not None:
            self._leaving_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._leaving_task
            self._leaving_task = None

    # ── the ways to a snapshot ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self, build: Build) -> Snapshot:
        name = self._planned
        new = build(self._edge(name))
        if self._leaving is None:
            # where an Envoy of ours was running, its last threads may take a moment longer than it does
            await until_free(self.place.listen, PORT_PATIENCE if (self._state.root / RUN).exists() else 0.0)
        await validate(new, self._binary)
        async with self._publishing:
            self._in_force.remove()  # an earlier Envoy's: 'apply' would take it for this one's
            remove_others(self._state, {one.name for one in self._running()})
            current, new = await self._begin(name, new)
            self._current = current
            self._in_force.confirm(new)
        log.info("Envoy %d is started", self.pid)
        return new

    async def _publish(self, current: Incarnation, build: Build, new: Snapshot) -> Snapshot:
        if current.snapshot is None or new.version != current.snapshot.version or not self._in_force.known:
            await validate(new, self._binary)
            async with self._publishing:
                new = pushed_onto(new, self._pushed)
                before = current.snapshot
                try:
                    await current.publish(new)
                finally:
                    if current.snapshot is not before or not self._in_force.known:
                        self._in_force.confirm(current.snapshot)  # withdrawn keys stay so, also where the rest was refused
                await self._let_leaving_follow(build)
            log.info("snapshot %s is in force", new.version)
        return new

    async def _replace(self, old: Incarnation, build: Build) -> Snapshot:
        """A second Envoy beside the first; when it is ready, the first one leaves. Where it does not get ready, the first one stays as it is."""
        if self._leaving_task is not None:
            await self._leaving_task  # three at a time would be one too many
        name = new_name(self._clock.now())
        new = build(self._edge(name))
        shares_port = old.snapshot is None or _addresses(old.snapshot) == _addresses(new)
        if not shares_port:
            require_free(self.place.listen)
        await validate(new, self._binary)
        async with self._publishing:
            current, new = await self._begin(name, new)
            self._current, self._leaving = current, old
            self._in_force.confirm(new)
            await self._let_leaving_follow(build)
            self._retire(old)
        log.info("Envoy %d is replaced by %d", old.record.pid if old.record else 0, self.pid)
        return new

    async def _begin(self, name: str, new: Snapshot) -> tuple[Incarnation, Snapshot]:
        incarnation = Incarnation(self._state, name, self._state.admin_socket(name), self._binary)
        self._planned = new_name(self._clock.now())
        try:
            new = pushed_onto(new, self._pushed)
            if self._in_force.refusing:
                incarnation.pin_refusal()
            beside = bool(self._running())
            await incarnation.start(new, self._bootstrap(incarnation), self._concurrency, self._write_records, rehearse=beside)
            await incarnation.until_ready(self.place, refusing=self._in_force.refusing)
        except BaseException:
            await incarnation.end()
            with contextlib.suppress(ScopewardError):  # the first error says more; a record of what has ended names nobody
                self._write_records()
            raise
        return incarnation, new

    async def _let_leaving_follow(self, build: Build) -> None:
        """What was put is in force on the Envoy that leaves, too, as far as its listener lets it be: it still decides calls."""
        leaving = self._leaving
        if leaving is None or leaving.snapshot is None or not leaving.runs:
            return
        built = pushed_onto(build(self._edge(leaving.name)), self._pushed)
        wanted = Snapshot(built.policy_version, leaving.snapshot.listeners, built.routes, built.clusters, built.extensions, built.secrets)
        try:
            await leaving.publish(wanted)
        except (ScopewardError, LookupError, TypeError) as error:  # the files of another version may have another form
            log.warning("the Envoy that leaves keeps what it had for %g s at most: %s", LEAVING_PATIENCE, error)

    def _retire(self, leaving: Incarnation) -> None:
        self._leaving = leaving
        self._write_records()
        self._leaving_task = asyncio.create_task(self._see_off(leaving))

    async def _see_off(self, leaving: Incarnation) -> None:
        await leaving.drain(LEAVING_PATIENCE, idle_too=True)
        await leaving.end()
        self._leaving = self._leaving_task = None
        try:
            self._write_records()
        except ScopewardError as error:  # the record still names what has ended, which is nobody
            log.warning("%s", error)
        log.info("the Envoy that was replaced has ended")

    # ── small things ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _edge(self, name: str) -> Edge:
        place, folder = self.place, self._state.root / "envoys" / name
        where = (self._state.node, place.listen.host, place.listen.port, str(audit_log(self._state, name)), str(folder / "xds"))
        return Edge(*where, place.tls, place.client_ca, place.proxies, place.upstream_tls, place.ca_bundle)

    def _bootstrap(self, incarnation: Incarnation) -> dict[str, Any]:
        return bootstrap(self._state.node, incarnation.xds, incarnation.admin_socket, self.place.heap, most_connections(), self._concurrency)

    def _running(self) -> list[Incarnation]:
        return [one for one in (self._current, self._leaving) if one is not None]

    def _write_records(self, coming: RunRecord | None = None) -> None:
        """The Envoy in charge first, then the one beside it."""
        leaving = None if self._leaving is None else self._leaving.record
        if self._current is None:
            write_records(self._state, coming, leaving)
        else:
            write_records(self._state, self._current.record, coming or leaving)


def _listeners(snapshot: Snapshot | None) -> str | None:
    return None if snapshot is None else snapshot.files()["listeners/listeners.json"].version


def _addresses(snapshot: Snapshot) -> list[Any]:
    return [listener.get("address") for listener in snapshot.listeners]
