"""What a warden does for ever. One task a concern, so that none waits for another; what fails is told once, and tried again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Final

import watchfiles

from scopeward.audit.guard import DiskSample, free_space
from scopeward.errors import ScopewardError
from scopeward.policy_files import folders_of, read_policy
from scopeward.status.file import write_status
from scopeward.warden.policy import Prepared
from scopeward.warden.report import report
from scopeward.warden.warden import Warden

KEYS_EVERY: Final = 30.0
"""Seconds between two looks at the issuers' keys."""
REVOCATIONS_EVERY: Final = 0.1
"""Seconds between two looks at the book of revocations: in force under a second is what is promised."""
PASSES_EVERY: Final = 30.0
CERTIFICATES_EVERY: Final = 2.0
DISK_EVERY: Final = 0.5
CALLS_EVERY: Final = 0.5
STATUS_EVERY: Final = 2.0
AGAIN_AFTER: Final = 1.0

log = logging.getLogger(__name__)

Told = Callable[[Prepared | ScopewardError], None]


async def keep_policy(warden: Warden, path: Path, told: Told, env: str | None = None) -> None:
    """Apply the policy whenever its files are others than those that were tried last; ``told`` hears what came of it.

    A change wakes it at once, and it looks once a second besides: a change before the watch began, or on a network's file system, wakes nobody.
    """
    folders, unreadable = frozenset({path.parent}), ""
    while True:
        async with contextlib.aclosing(_changes(folders)) as changes:
            async for _ in changes:
                unreadable, now = await _look_at_policy(warden, path, told, env, unreadable)
                if now is not None and now != folders:
                    folders = now
                    break


async def _changes(folders: frozenset[Path]) -> AsyncGenerator[None, None]:
    """Each time that something may have changed in the folders, and each second. Ends where one of them goes away as the watch begins."""
    there = sorted(folder for folder in folders if folder.is_dir())
    try:
        if there:
            awake = watchfiles.awatch(*there, recursive=False, debounce=50, step=20, rust_timeout=1000, yield_on_timeout=True)
            async with contextlib.aclosing(awake):
                async for _ in awake:
                    yield
    except FileNotFoundError:
        log.info("a folder of the policy went away")
    except (OSError, RuntimeError):  # no watch is to be had, as where the user's inotify instances are used up: then a look each second must do
        log.debug("the policy's folders cannot be watched", exc_info=True)
    await asyncio.sleep(1)
    yield


async def _look_at_policy(warden: Warden, path: Path, told: Told, env: str | None, unreadable: str) -> tuple[str, frozenset[Path] | None]:
    """Look once. Returns why it cannot be read, and else the folders to watch."""
    try:
        files = await asyncio.to_thread(read_policy, path, env)
    except ScopewardError as error:
        if str(error) != unreadable:
            told(error)
        return str(error), None
    if warden.is_new(files):
        try:
            told(await warden.apply(files, path))
        except ScopewardError as error:
            told(error)
    elif unreadable:
        log.info("the policy's file is back, and is what was tried last")
    return "", folders_of(files, path) | {path.parent}


async def keep_keys(warden: Warden, every: float = KEYS_EVERY) -> None:
    """Look at the issuers' keys; sooner where calls were refused for keys that are not known."""
    while True:
        await warden.keys.until_due(every)
        if await _tried(warden, "keys", warden.look_at_keys):
            log.info("the issuers' keys changed and are in force")


async def keep_revocations(warden: Warden) -> None:
    """Put in force what was revoked or undone."""
    while True:
        await asyncio.sleep(REVOCATIONS_EVERY)
        await _tried(warden, "revocations", warden.look_at_revocations)


async def keep_passes(warden: Warden) -> None:
    """Renew the passes."""
    while True:
        await asyncio.sleep(min(PASSES_EVERY, max(0.5, warden.parts.passes.next_renewal())))
        await _tried(warden, "passes", warden.look_at_passes)


async def keep_certificates(warden: Warden) -> None:
    """Take certificates that were renewed."""
    while True:
        await asyncio.sleep(CERTIFICATES_EVERY)
        if await _tried(warden, "certificates", warden.look_at_certificates):
            log.info("the certificates changed and are in force")


async def keep_envoy(warden: Warden) -> None:
    """Start Envoy again where it ended by itself, after a pause that grows."""
    while True:
        await warden.node.wait()
        error = ScopewardError("envoy-not-started", "Envoy ended by itself")
        while True:
            warden.alarm("envoy", error)
            log.warning("%s; it is started again", error.what)
            await asyncio.sleep(warden.backoff.ended(time.monotonic()))
            try:
                await warden.put_again()
            except ScopewardError as failed:
                error = failed
                continue
            break
        warden.backoff.started(time.monotonic())
        warden.works_again("envoy")


async def mind_disk(warden: Warden) -> None:
    """Refuse calls while they cannot be recorded, where the policy says so; and keep space for saying so."""
    while True:
        await asyncio.sleep(DISK_EVERY)
        await look_at_disk(warden)


async def look_at_disk(warden: Warden) -> None:
    """One look. The space that is kept is given up at the threshold: the state directory needs some to tell what happens."""
    state = warden.parts.state
    free, total = free_space(state.root)
    warden.guard = warden.guard.see(DiskSample(time.monotonic(), free, total, await warden.node.write_failures()))
    full = warden.guard.verdict == "full"
    refuses = full and warden.in_force is not None and warden.in_force.loaded.policy.on_full == "refuse"
    try:
        if full:
            state.release_reserve()
        if refuses and not warden.node.refused:  # also where it was tried before and not confirmed
            await warden.node.refuse()
        elif not refuses and warden.node.refusing:
            await warden.node.readmit()
        if not full and not state.has_reserve():
            state.reserve()
    except ScopewardError as error:
        if warden.alarm("disk", error):
            log.warning("%s", error)
    else:
        warden.works_again("disk")


async def count_calls(warden: Warden) -> None:
    """Count what Envoy recorded. Keys that are not known are looked for at once: the issuer may have rotated them."""
    while True:
        await asyncio.sleep(CALLS_EVERY)
        before = warden.tally.since_start().refusals.get("token-unknown-key", 0)
        for chunk in warden.tail.chunks():
            warden.tally.add(chunk, time.monotonic())
            await asyncio.sleep(0)
        if warden.tally.since_start().refusals.get("token-unknown-key", 0) > before:
            warden.keys.unknown_key()


async def tell_status(warden: Warden) -> None:
    """Write the status for ``scopeward status``."""
    while True:
        await _tried(warden, "status", lambda: _write_status(warden))
        await asyncio.sleep(STATUS_EVERY)


async def _write_status(warden: Warden) -> bool:
    write_status(warden.parts.state.root, await report(warden))
    return True


async def for_ever(warden: Warden, work: Callable[[Warden], Awaitable[None]]) -> None:
    """Do it, and begin again where it fails by a fault of ours: one concern's fault must not end the node, which decides calls without it."""
    while True:
        try:
            await work(warden)
        except Exception:
            name = getattr(work, "__name__", "task")
            log.exception("the task '%s' failed, and begins again", name)
            warden.alarm(name, ScopewardError("gateway-error", f"the task '{name}' failed; the log says how"))
        await asyncio.sleep(AGAIN_AFTER)


TASKS: Final[tuple[Callable[[Warden], Awaitable[None]], ...]] = (
    keep_envoy,
    keep_revocations,
    keep_keys,
    keep_passes,
    keep_certificates,
    mind_disk,
    count_calls,
    tell_status,
)
"""All but the policy's file, which only ``dev`` and ``run`` follow."""


async def _tried(warden: Warden, concern: str, work: Callable[[], Awaitable[bool]]) -> bool:
    """Do it, and tell a failure once; whether it did something."""
    try:
        done = await work()
    except ScopewardError as error:
        if warden.alarm(concern, error):
            log.warning("%s: %s", concern, error)
        return False
    except Exception:  # one concern's fault must not end the others: what is in force stays, and is looked after
        log.exception("%s could not be looked at", concern)
        return False
    if warden.works_again(concern):
        log.info("%s: in order again", concern)
    return done
