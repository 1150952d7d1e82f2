"""The composition root: the one place that builds objects and starts tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import watchfiles

from scopeward.analysis.checks import check
from scopeward.analysis.gateway import Facts, Gateway
from scopeward.analysis.resolve import resolve
from scopeward.compile import Edge, Snapshot, compile_gateway
from scopeward.compile.prove import prove
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.node import Listen, Node
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.facts import fetch_facts
from scopeward.policy.diagnostic import Diagnostic
from scopeward.policy.model import Policy
from scopeward.policy.source import LARGEST, Loaded, load

KEYS_EVERY = 30.0
"""Seconds between two looks at the issuers' keys."""

log = logging.getLogger(__name__)


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()


class PolicyError(ScopewardError):
    """A policy with errors. ``diagnostics`` are all of its diagnostics, warnings too."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        self.diagnostics = diagnostics
        first = next(d for d in diagnostics if d.severity == "error")
        super().__init__(first.reference, f"{first.span}: {first.message}", first.help)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A policy that may be published, and what it came from."""

    policy: Policy
    gateway: Gateway
    snapshot: Snapshot
    warnings: tuple[Diagnostic, ...]


def read_policy(path: Path) -> bytes:
    """A policy file's bytes. Errors: ``policy-unreadable``."""
    try:
        if path.is_dir():
            raise ScopewardError("policy-unreadable", f"'{path}' is a directory")
        with path.open("rb") as file:
            return file.read(LARGEST + 1)  # the loader says that it is too large
    except OSError as error:
        raise ScopewardError("policy-unreadable", f"'{path}': {error.strerror}") from None


def checked(text: bytes, name: str) -> tuple[Loaded, tuple[Diagnostic, ...]]:
    """A policy without errors, and its warnings. Errors: ``PolicyError``."""
    loaded = load(text, name)
    diagnostics = check(loaded) if isinstance(loaded, Loaded) else loaded
    if not isinstance(loaded, Loaded) or any(d.severity == "error" for d in diagnostics):
        raise PolicyError(diagnostics)
    return loaded, diagnostics


def compile_policy(loaded: Loaded, facts: Facts, edge: Edge, warnings: tuple[Diagnostic, ...] = ()) -> Prepared:
    """Resolve, compile, prove. Pure. Errors: ``idp-…``, ``snapshot-unproven``."""
    gateway = resolve(loaded.policy, facts)
    snapshot = compile_gateway(gateway, edge)
    prove(snapshot, gateway)
    return Prepared(loaded.policy, gateway, snapshot, warnings)


class Warden:
    """Keeps one node at what a policy file says, and at what the issuers' keys are."""

    def __init__(self, node: Node, http: httpx2.AsyncClient) -> None:
        self._node = node
        self._http = http
        self._text: bytes | None = None
        self._loaded: Loaded | None = None
        self._facts: Facts | None = None
        self._publishing = asyncio.Lock()

    async def prepare(self, text: bytes, name: str) -> tuple[Prepared, Loaded, Facts]:
        """A policy's text → a snapshot for this node. Fetches the issuers' keys. Publishes nothing."""
        loaded, warnings = checked(text, name)
        facts = await fetch_facts(loaded.policy, self._http)
        return compile_policy(loaded, facts, self._node.edge, warnings), loaded, facts

    async def start(self, text: bytes, name: str) -> Prepared:
        """The first policy: starts Envoy."""
        self._text = text
        prepared, self._loaded, self._facts = await self.prepare(text, name)
        await self._node.start(prepared.snapshot)
        return prepared

    async def apply(self, text: bytes, name: str) -> Prepared:
        """Another policy. Where anything is refused, what is in force stays."""
        async with self._publishing:
            self._text = text
            prepared, loaded, facts = await self.prepare(text, name)
            await self._node.publish(prepared.snapshot)
            self._loaded, self._facts = loaded, facts
            return prepared

    async def refresh_keys(self) -> bool:
        """Look at the issuers' keys once; whether they changed. A provider that does not answer changes nothing."""
        async with self._publishing:
            if self._loaded is None:
                return False
            facts = await fetch_facts(self._loaded.policy, self._http)
            if facts == self._facts:
                return False
            await self._node.publish(compile_policy(self._loaded, facts, self._node.edge).snapshot)
            self._facts = facts
            return True

    async def keep_keys(self, every: float = KEYS_EVERY) -> None:
        """Refresh the keys for ever."""
        while True:
            await asyncio.sleep(every)
            try:
                if await self.refresh_keys():
                    log.info("the issuers' keys changed and are in force")
            except ScopewardError as error:
                log.warning("keys not refreshed: %s", error)

    async def follow(self, path: Path, told: Callable[[Prepared | ScopewardError], None]) -> None:
        """Apply the file whenever its content is another than the last that was tried; ``told`` hears what came of it.

        A change wakes it at once, and it looks once a second besides: a change before the watch began, or on a network's file system, wakes nobody.
        """
        awake = watchfiles.awatch(path.parent, recursive=False, debounce=50, step=20, rust_timeout=1000, yield_on_timeout=True)
        unreadable = ""
        async for _ in awake:
            try:
                text = read_policy(path)
            except ScopewardError as error:
                if str(error) != unreadable:
                    told(error)
                unreadable = str(error)
                continue
            unreadable = ""
            if text != self._text:
                try:
                    told(await self.apply(text, path.name))
                except ScopewardError as error:
                    told(error)


@asynccontextmanager
async def running(
    state: StateDir, binary: EnvoyBinary, listen: Listen, http: httpx2.AsyncClient, concurrency: int | None = None
) -> AsyncIterator[tuple[Warden, Node]]:
    """A locked state directory with a node in it that ends when the block does."""
    state.lock()
    node = Node(state, binary, listen, SystemClock(), concurrency)
    try:
        yield Warden(node, http), node
    finally:
        await node.stop()
        state.unlock()


async def serve(warden: Warden, node: Node, path: Path, told: Callable[[Prepared | ScopewardError], None]) -> None:
    """Follow the file and the keys until cancelled, or until Envoy ends by itself (``envoy-not-started``)."""
    tasks = [asyncio.create_task(warden.follow(path, told)), asyncio.create_task(warden.keep_keys()), asyncio.create_task(node.wait())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[2] in done:
            raise ScopewardError("envoy-not-started", f"Envoy ended with status {tasks[2].result()}")
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
