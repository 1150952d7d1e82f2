"""One life of Envoy: its folder, its files, its process, from the start on a first snapshot to its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx2

from scopeward.audit.files import FOLDER
from scopeward.compile.envoy.filters import decide
from scopeward.compile.snapshot import File, Resource, Snapshot, extension_path
from scopeward.envoy.admin import Admin, is_listening, stats_or_none
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.place import Place
from scopeward.envoy.probe import probe
from scopeward.envoy.process import Identity, Process, launch
from scopeward.envoy.publish import Publisher, confirm, extension_files, tightened
from scopeward.envoy.record import RunRecord
from scopeward.envoy.state_dir import ENVOY_LOG, StateDir, bootstrap_path
from scopeward.errors import ScopewardError

START_PATIENCE: Final = 20.0
STOP_PATIENCE: Final = 5.0
DRAIN_TIME: Final = 5
"""Seconds over which a draining Envoy asks its callers, one after the other, to connect anew."""

FLUSH_MS: Final = 200
"""How often Envoy writes its audit lines to disk: what a killed Envoy may lose at most."""

PAUSE: Final = 0.02
DECIDE: Final = "decide"
LISTENERS: Final = "listeners/listeners.json"
_PREWRITTEN: Final = "refusal.json"


def new_name(now: float) -> str:
    """The name of a life that begins ``now`` (seconds since the epoch); names sort by time."""
    return f"{datetime.fromtimestamp(now, UTC).strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(3)}"


def begun_at(name: str) -> float:
    """When the life of this name began, in seconds since the epoch."""
    return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


class Incarnation:
    """One Envoy. ``snapshot`` is the one in force, ``None`` where that is not known."""

    def __init__(self, state: StateDir, name: str, admin_socket: Path, binary: EnvoyBinary) -> None:
        self._state = state
        self._binary = binary
        self.name = name
        self.folder = state.root / "envoys" / name
        self.xds = self.folder / "xds"
        self.audit_log = audit_log(state, name)
        self.admin_socket = admin_socket
        self.admin = Admin(admin_socket)
        self.publisher = Publisher(state, f"envoys/{name}/xds")
        self.process: Process | None = None
        self.record: RunRecord | None = None
        self.snapshot: Snapshot | None = None
        self.decide_unknown = False
        """Taken over while it refused all calls: what *decide* said before is not known until the next snapshot."""
        self._log_from = 0
        self._stage: Path | None = None

    @property
    def runs(self) -> bool:
        """Whether its process does."""
        return self.process is not None and not self.process.ended

    # ── the beginning ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(
        self, snapshot: Snapshot, bootstrap: Mapping[str, Any], concurrency: int | None, known: Callable[[RunRecord], None], *, rehearse: bool
    ) -> None:
        """Write all files and start Envoy on them. ``known`` records it before it begins.

        Where it is to ``rehearse``, it listens on a socket of its own until all is confirmed: beside another Envoy it shares the port from
        the moment that it listens there, and what is wrong with it must not meet a caller.
        Errors: ``state-unwritable``, ``envoy-not-started``.
        """
        if rehearse:
            self._stage = self.admin_socket.with_name("try.sock")
            self.publisher.pin(LISTENERS, rehearsal(snapshot, self._stage))
        await self.publisher.write_all(snapshot)
        self.prewrite_refusal()
        self._state.write_json(str(self._bootstrap.relative_to(self._state.root)), bootstrap)
        log = self._state.root / ENVOY_LOG
        for path in (self.audit_log, log):  # made here, private, before Envoy would make them readable to all
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        self._log_from = log.stat().st_size

        def record(identity: Identity) -> None:
            self.record = self._record_of(identity)
            known(self.record)

        self.process = await launch(self._command(concurrency), log, record)
        self.snapshot = snapshot

    async def until_ready(self, place: Place, *, refusing: bool = False) -> None:
        """Files taken, listener active, and a call without a token refused on the data port.

        Errors: ``envoy-not-started``, ``envoy-not-confirmed``.
        """
        deadline = asyncio.get_running_loop().time() + START_PATIENCE
        if self._stage is not None:
            await self._until_refusing(place, deadline, refusing=refusing)
            self._stage.unlink(missing_ok=True)
            self._stage = None
            self.publisher.unpin(LISTENERS)
            await self.publisher.take(self._known().files(), self.admin)
        await self._until_refusing(place, deadline, refusing=refusing)

    async def _until_refusing(self, place: Place, deadline: float, *, refusing: bool) -> None:
        while not await self._is_listening():
            await self._pause(deadline, "does not answer")
        await confirm(self.publisher.expected(self._known()), {}, self.admin)
        while not await self._is_listening():  # on the port, and no longer on the socket
            await self._pause(deadline, "does not listen")
        while why := await probe(place, refusing=refusing, socket=self._stage):
            await self._pause(deadline, f"is not ready: {why}")

    async def _is_listening(self) -> bool:
        stats = await stats_or_none(self.admin)
        return stats is not None and is_listening(stats)

    async def _pause(self, deadline: float, why: str) -> None:
        if not self.runs:
            raise ScopewardError("envoy-not-started", f"Envoy ended: {self.log_tail()}")
        if asyncio.get_running_loop().time() > deadline:
            raise ScopewardError("envoy-not-started", f"Envoy {why}: {self.log_tail()}")
        await asyncio.sleep(PAUSE)

    @property
    def _bootstrap(self) -> Path:
        return bootstrap_path(self._state.root, self.name)

    def _command(self, concurrency: int | None) -> list[str]:
        command = [str(self._binary.path), "-c", str(self._bootstrap), "-l", "warning", "--log-path", str(self._state.root / ENVOY_LOG)]
        command += ["--use-dynamic-base-id", "--file-flush-interval-msec", str(FLUSH_MS), "--drain-time-s", str(DRAIN_TIME)]
        return command + (["--concurrency", str(concurrency)] if concurrency else [])

    def _record_of(self, identity: Identity) -> RunRecord:
        binary, process = self._binary, (identity.pid, identity.start_time, identity.boot_id)
        return RunRecord(*process, str(binary.path), binary.version, binary.digest, self.name, str(self.admin_socket))

    def log_tail(self) -> str:
        """The last line that this Envoy logged, an error before others."""
        return log_tail(self._state.root / ENVOY_LOG, self._log_from)

    # ── taking over ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def attach(self, record: RunRecord) -> bool:
        """Watch the running process that is recorded; whether it still runs."""
        self.record = record
        self.process = Process.attach(record.identity)
        return self.process is not None

    async def why_not_known(self, bootstrap: Mapping[str, Any], found: Snapshot) -> str | None:
        """``None``, and ``found`` counts as in force, where Envoy confirms each file; else what is not as it would be written now."""
        if self._state.read_json(str(self._bootstrap.relative_to(self._state.root))) != bootstrap:
            return "it was started with other settings"
        stats = await stats_or_none(self.admin)
        if stats is None or not is_listening(stats):
            return "its admin interface does not say that it is live"
        self.publisher.found(found)
        differing = self.publisher.differing(found, stats)
        if differing:
            return f"what is in force is not what its files say: {', '.join(differing)}"
        self.snapshot = found
        if found.files()[_decide_path()].version == refusal().version:
            self.decide_unknown = True
            self.pin_refusal()
        return None

    # ── other snapshots ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def publish(self, new: Snapshot) -> None:
        """Put ``new`` in force: withdrawn keys first. Errors: ``envoy-not-confirmed``, ``state-unwritable``; then what was in force stays."""
        old = self._known()
        if self.decide_unknown:  # it stays replaced until calls are let in again; nothing of it is in force
            old = old.with_extensions({DECIDE: new.extensions[DECIDE]})
        if (without_keys := tightened(old, new)) is not None:
            await self._take(without_keys.files(), old)
            self.snapshot = old = without_keys
        await self.publisher.publish(old, new, self.admin)
        self.snapshot = new
        self.decide_unknown = False

    async def push(self, names: Collection[str], snapshot: Snapshot) -> None:
        """Put only these filters of ``snapshot`` in force. Errors as of ``publish``."""
        old = self._known()
        new = snapshot if _equal_but(names, old, snapshot) else pushed_onto(old, written(names, snapshot))
        await self._take(extension_files(new, frozenset(names)), old)
        self.snapshot = new

    async def _take(self, files: Mapping[str, File], old: Snapshot) -> None:
        try:
            await self.publisher.take(files, self.admin)
        except ScopewardError:
            with contextlib.suppress(ScopewardError):  # the first error says more
                await self.publisher.take(old.files(), self.admin)
            raise

    def _known(self) -> Snapshot:
        if self.snapshot is None:
            raise RuntimeError("what is in force is not known")
        return self.snapshot

    # ── refusing all calls ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def prewrite_refusal(self) -> None:
        """Write, beside the published files, the table that refuses every call: a full disk still lets it be renamed into place."""
        self._state.write(str((self.folder / _PREWRITTEN).relative_to(self._state.root)), refusal().text)

    def pin_refusal(self) -> None:
        """Whatever is published from now on, *decide* stays the table that refuses."""
        self.publisher.pin(_decide_path(), refusal())

    async def refuse(self) -> None:
        """Refuse every call. Needs no space on the disk. Errors: ``envoy-not-confirmed``, ``state-unwritable``."""
        target = self.xds / _decide_path()
        self.pin_refusal()
        try:
            (self.folder / _PREWRITTEN).replace(target)
        except FileNotFoundError:  # in place already, or removed by somebody
            await self.publisher.take({_decide_path(): refusal()}, self.admin)
        except OSError as error:  # such as a disk that can only be read
            raise ScopewardError("state-unwritable", f"'{target}': {error.strerror}") from None
        self.publisher.replaced(_decide_path(), refusal())
        await confirm({f"extension_config_discovery.http_filter.{DECIDE}": refusal().version}, {}, self.admin)

    async def readmit(self) -> None:
        """Let *decide* decide again. Errors: ``envoy-not-confirmed``, ``state-unwritable``; then calls stay refused."""
        snapshot = self._known()
        if self.decide_unknown:
            raise RuntimeError("what 'decide' said is not known before the next snapshot")
        self.publisher.unpin(_decide_path())
        try:
            self.prewrite_refusal()  # first, so that it can be refused again
            await self.publisher.take({_decide_path(): snapshot.files()[_decide_path()]}, self.admin)
        except ScopewardError:
            self.pin_refusal()
            raise

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def drain(self, patience: float, *, idle_too: bool) -> None:
        """Ask callers to connect anew, then accept no more, and wait until calls have ended; at most ``patience`` seconds.

        ``idle_too``: until connections without a call have ended as well, for a call may be on its way on one.
        """
        begun = asyncio.get_running_loop().time()
        with contextlib.suppress(httpx2.HTTPError):
            await self.admin.drain()
            await self._until_idle(begun + min(patience, DRAIN_TIME + 0.5), idle_too=True)
            await self.admin.stop_listening()
            await self._until_idle(begun + patience, idle_too=idle_too)

    async def _until_idle(self, deadline: float, *, idle_too: bool) -> None:
        while self.runs and asyncio.get_running_loop().time() < deadline:
            connections, calls = await self.admin.active()
            if not (connections if idle_too else calls):
                return
            await asyncio.sleep(0.1)

    async def end(self) -> None:
        """End Envoy, by force where it does not listen, and remove its folder."""
        process = self.process
        if process is not None:
            with contextlib.suppress(httpx2.HTTPError):
                await self.admin.quit()
            if not await process.wait(STOP_PATIENCE):
                process.signal(signal.SIGKILL)
                await process.wait(STOP_PATIENCE)
        await self.release()
        self.process = self.snapshot = None
        self._state.remove_socket(self.admin_socket)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def release(self) -> None:
        """Let go of Envoy, which goes on."""
        if self.process is not None:
            self.process.release()
        await self.admin.aclose()


def audit_log(state: StateDir, name: str) -> Path:
    """The file into which the Envoy of this incarnation writes a line a call."""
    return state.root / FOLDER / f"{name}.jsonl"


def remove_others(state: StateDir, running: Collection[str]) -> None:
    """Remove the folders of Envoys that are gone: of all but those of these names, and those whose admin socket somebody listens on."""
    for folder in (state.root / "envoys").iterdir():
        if folder.name not in running and not _answers(folder / "admin.sock"):
            shutil.rmtree(folder, ignore_errors=True)


def _answers(path: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probing, contextlib.suppress(OSError):
        probing.connect(str(path))
        return True
    return False


def rehearsal(snapshot: Snapshot, socket: Path) -> File:
    """The file of the same listener on a unix socket, where callers' addresses, which a socket has none of, do not matter."""

    def on_socket(listener: Resource) -> Resource:
        chains = [{key: value for key, value in chain.items() if key != "filter_chain_match"} for chain in listener["filter_chains"]]
        address = {"pipe": {"path": str(socket), "mode": 0o600}}
        return {**listener, "name": f"{listener['name']}-rehearsal", "address": address, "filter_chains": chains}

    return File.of(tuple(on_socket(listener) for listener in snapshot.listeners))


@cache
def refusal() -> File:
    """The file that makes *decide* refuse every call with ``audit-unavailable``."""
    return Snapshot("", (), (), (), {DECIDE: decide.refusing()}).files()[_decide_path()]


def _decide_path() -> str:
    return extension_path(DECIDE)


def _equal_but(names: Collection[str], one: Snapshot, other: Snapshot) -> bool:
    paths = {extension_path(name) for name in names}
    versions = [{path: file.version for path, file in snapshot.files().items() if path not in paths} for snapshot in (one, other)]
    return versions[0] == versions[1]


Written = Mapping[str, tuple[Resource, File]]
"""Filters by name, each with its file, so that a large one is not written out again."""


def written(names: Collection[str], snapshot: Snapshot) -> Written:
    """These filters of a snapshot. Raises ``KeyError`` for a name that is none."""
    return {name: (snapshot.extensions[name], snapshot.files()[extension_path(name)]) for name in names}


def pushed_onto(snapshot: Snapshot, pushed: Written) -> Snapshot:
    """The snapshot with filters that were pushed while it was in the making."""
    for name, (resource, file) in pushed.items():
        if snapshot.files()[extension_path(name)].version != file.version:
            snapshot = snapshot.with_written(name, resource, file)
    return snapshot


def log_tail(path: Path, start: int = 0) -> str:
    """The last line of a log from byte ``start`` on, an error before others."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(start, path.stat().st_size - 100_000))
        lines = file.read().decode(errors="replace").splitlines()
        told = [line for line in lines if "][error]" in line or "][critical]" in line]
        if told or lines:
            return (told or lines)[-1][-500:]
    return "it left no log"
