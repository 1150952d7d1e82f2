"""Put a snapshot in force: write what differs, make before break, and read back that Envoy took it."""

from __future__ import annotations

import asyncio
import json

import httpx2

from scopeward.compile.snapshot import Snapshot
from scopeward.compile.union import union
from scopeward.envoy.admin import Admin, version_stat
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError

PATIENCE = 10.0
"""Seconds in which Envoy must take a file. It takes milliseconds; more only for very large tables."""

PAUSE = 0.005


class Publisher:
    """Knows what is on disk, and writes differences."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._written: dict[str, str] = {}

    def write_all(self, snapshot: Snapshot) -> None:
        """All files, before Envoy starts: a file that is missing then is never picked up."""
        self._written = {}
        self._write(snapshot.files())

    async def publish(self, old: Snapshot, new: Snapshot, admin: Admin) -> None:
        """Replace ``old`` by ``new``. Errors: ``envoy-not-confirmed``; then the old files stand again.

        1. clusters and filters of both; 2. the new routes; 3. removal of what only the old one used.
        """
        between = union(old, new)
        steps = [
            _part(between, "clusters"),
            _part(between, "extensions"),
            _part(new, "routes"),
            _part(new, "extensions") | _part(new, "clusters"),
        ]
        try:
            for step in steps:
                await self._take(step, admin)
        except ScopewardError:
            self._write(old.files())
            raise

    async def _take(self, files: dict[str, str], admin: Admin) -> None:
        before = await _stats(admin)
        changed = self._write(files)
        expected = {version_stat(path): json.loads(files[path])["version_info"] for path in changed}
        await confirm(expected, before, admin)

    def _write(self, files: dict[str, str]) -> list[str]:
        changed = [path for path, text in files.items() if self._written.get(path) != text]
        for path in changed:
            self._state.write(f"xds/{path}", files[path])
            self._written[path] = files[path]
        return changed


def _part(snapshot: Snapshot, kind: str) -> dict[str, str]:
    return {path: text for path, text in snapshot.files().items() if path.startswith(f"{kind}/")}


async def _stats(admin: Admin) -> dict[str, str]:
    try:
        return await admin.stats()
    except httpx2.HTTPError:
        raise ScopewardError("envoy-not-confirmed", "Envoy's admin interface does not answer") from None


async def confirm(expected: dict[str, str], before: dict[str, str], admin: Admin) -> None:
    """Wait until each statistic's ``version_text`` is the expected one. A rejection since ``before`` ends the wait at once."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        now = await _stats(admin)
        missing = [stat for stat, version in expected.items() if now.get(f"{stat}.version_text", "").strip('"') != version]
        if not missing:
            return
        refused = [stat for stat in missing if _refusals(now, stat) > _refusals(before, stat)]
        if refused:
            raise ScopewardError("envoy-not-confirmed", f"Envoy rejected {', '.join(refused)}")
        if asyncio.get_running_loop().time() > deadline:
            raise ScopewardError("envoy-not-confirmed", f"Envoy did not take {', '.join(missing)} within {PATIENCE:g} s")
        await asyncio.sleep(PAUSE)


def _refusals(stats: dict[str, str], stat: str) -> int:
    return sum(int(stats.get(f"{stat}.{name}", "0")) for name in ("update_rejected", "update_failure", "config_fail"))
