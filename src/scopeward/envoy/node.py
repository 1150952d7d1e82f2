"""A node: one Envoy and its files. It ends with the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import secrets
import shutil
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from scopeward.clock import Clock
from scopeward.compile.envoy import names
from scopeward.compile.snapshot import Edge, Snapshot
from scopeward.envoy.admin import Admin, version_stat
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.bootstrap import bootstrap
from scopeward.envoy.publish import Publisher, confirm
from scopeward.envoy.state_dir import IN_FORCE, StateDir
from scopeward.envoy.validate import validate
from scopeward.errors import ScopewardError

START_PATIENCE = 20.0
STOP_PATIENCE = 5.0
FLUSH_MS = 200
"""How often Envoy writes its audit lines to disk: what a killed Envoy may lose at most."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where callers reach the node."""

    host: str
    port: int


class Node:
    """Starts Envoy on a first snapshot, replaces it by others, stops it. One at a time a state directory."""

    def __init__(self, state: StateDir, binary: EnvoyBinary, listen: Listen, clock: Clock, concurrency: int | None = None) -> None:
        self._state = state
        self._binary = binary
        self._listen = listen
        self._clock = clock
        self._concurrency = concurrency
        self._publisher = Publisher(state)
        self._process: asyncio.subprocess.Process | None = None
        self._admin: Admin | None = None
        self._admin_socket: Path | None = None
        self._snapshot: Snapshot | None = None
        started = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        self.audit_log = state.root / "audit" / f"{started}-{secrets.token_hex(3)}.jsonl"

    @property
    def edge(self) -> Edge:
        """What a snapshot for this node must be compiled with."""
        return Edge(self._state.node, self._listen.host, self._listen.port, str(self.audit_log), str(self._state.root / "xds"))

    @property
    def pid(self) -> int:
        """Envoy's process id."""
        if self._process is None:
            raise RuntimeError("the node is not started")
        return self._process.pid

    async def start(self, snapshot: Snapshot) -> None:
        """Validate, write, start, wait until the first call is checked.

        Errors: ``port-in-use``, ``address-not-usable``, ``envoy-rejected``, ``envoy-not-started``, ``envoy-not-confirmed``.
        """
        (self._state.root / IN_FORCE).unlink(missing_ok=True)  # an earlier node's: 'apply' would take it for this one's
        require_free(self._listen)
        await validate(snapshot, self._binary)
        self._publisher.write_all(snapshot)
        admin_socket = self._admin_socket = self._state.admin_socket()
        self._state.write_json("envoy/bootstrap.json", bootstrap(self._state.node, self._state.root / "xds", admin_socket))
        self._process = await self._spawn()
        self._admin = Admin(admin_socket)
        self._state.write_json(
            "envoy/run.json", {"pid": self._process.pid, "version": self._binary.version, "sha256": self._binary.digest, "admin": str(admin_socket)}
        )
        try:
            await self._until_ready(snapshot)
        except BaseException:
            await self.stop()
            raise
        self._confirmed(snapshot)

    async def publish(self, snapshot: Snapshot) -> None:
        """Put another snapshot in force. Errors as of ``start``; the one in force stays where it is refused."""
        if self._snapshot is None or self._admin is None:
            raise RuntimeError("the node is not started")
        if snapshot.version == self._snapshot.version:
            return
        await validate(snapshot, self._binary)
        await self._publisher.publish(self._snapshot, snapshot, self._admin)
        self._confirmed(snapshot)

    async def wait(self) -> int:
        """Until Envoy ends by itself; its exit status."""
        if self._process is None:
            raise RuntimeError("the node is not started")
        return await self._process.wait()

    async def stop(self) -> None:
        """End Envoy, by force where it does not listen."""
        process, admin = self._process, self._admin
        self._process = self._admin = self._snapshot = None
        if admin is not None:
            with contextlib.suppress(httpx2.HTTPError):
                await admin.quit()
            await admin.__aexit__(None, None, None)
        if process is not None and process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), STOP_PATIENCE)
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._admin_socket is not None and not self._admin_socket.is_relative_to(self._state.root):
            shutil.rmtree(self._admin_socket.parent, ignore_errors=True)  # made for this Envoy alone

    def _confirmed(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._state.write_json(IN_FORCE, {"policy_version": snapshot.policy_version, "snapshot": snapshot.version, "confirmed_at": self._clock.now()})

    async def _spawn(self) -> asyncio.subprocess.Process:
        root = self._state.root
        log = os.open(root / "envoy" / "envoy.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # The file is made here, private, before Envoy would make it readable to all.
        os.close(os.open(self.audit_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
        arguments = ["-c", str(root / "envoy" / "bootstrap.json"), "-l", "warning", "--use-dynamic-base-id"]
        arguments += ["--file-flush-interval-msec", str(FLUSH_MS), "--drain-time-s", "5"]
        if self._concurrency:
            arguments += ["--concurrency", str(self._concurrency)]
        try:
            return await asyncio.create_subprocess_exec(
                self._binary.path, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        finally:
            os.close(log)

    async def _until_ready(self, snapshot: Snapshot) -> None:
        """Files taken, listener active, and a call without a token refused on the data port."""
        deadline = asyncio.get_running_loop().time() + START_PATIENCE
        while not await self._is_live():
            if self._process is None or self._process.returncode is not None:
                raise ScopewardError("envoy-not-started", f"Envoy ended: {log_tail(self._state.root)}")
            if asyncio.get_running_loop().time() > deadline:
                raise ScopewardError("envoy-not-started", f"Envoy does not answer: {log_tail(self._state.root)}")
            await asyncio.sleep(0.02)
        files = snapshot.files()
        if self._admin is not None:
            await confirm({version_stat(path): json.loads(text)["version_info"] for path, text in files.items()}, {}, self._admin)
        await self._probe(deadline)

    async def _is_live(self) -> bool:
        if self._admin is None:
            return False
        try:
            stats = await self._admin.stats()
        except httpx2.HTTPError:
            return False
        return stats.get("server.state") == "0" and stats.get("listener_manager.total_listeners_active", "0") != "0"

    async def _probe(self, deadline: float) -> None:
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        async with httpx2.AsyncClient(timeout=2.0, trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx2.HTTPError):
                    answer = await client.get(f"http://{host}:{self._listen.port}{names.PROBE}")
                    if answer.status_code == 401 and answer.headers.get(names.REFERENCE) == "token-missing":
                        return
                if asyncio.get_running_loop().time() > deadline:
                    raise ScopewardError("envoy-not-started", "a call without a token is not refused on the data port")
                await asyncio.sleep(0.02)


def require_free(listen: Listen) -> None:
    """Envoy would share a port with another Envoy of this user and say nothing. Errors: ``port-in-use``, ``address-not-usable``."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError as error:
            reference = "port-in-use" if error.errno == errno.EADDRINUSE else "address-not-usable"
            raise ScopewardError(reference, f"{listen.host}:{listen.port}: {error.strerror}") from None


def log_tail(root: Path) -> str:
    """The last line that Envoy logged."""
    with contextlib.suppress(OSError):
        lines = (root / "envoy" / "envoy.log").read_text(errors="replace").splitlines()
        told = [line for line in lines if "][error]" in line or "][critical]" in line]
        if told or lines:
            return (told or lines)[-1][-500:]
    return "it left no log"
