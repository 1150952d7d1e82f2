"""Put a snapshot in force: write what differs, make before break, and read back that Envoy took it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scopeward.compile.envoy.filters import jwt_authn
from scopeward.compile.snapshot import File, Resource, Snapshot, extension_file, extension_path
from scopeward.compile.union import union
from scopeward.envoy.admin import Admin, refusals_of, stats_or_none, version_of, version_stat
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError

PATIENCE: Final = 10.0
"""Seconds in which Envoy must take a file. It takes milliseconds; more only for very large tables."""

PAUSE: Final = 0.005
CLUSTERS: Final = "clusters/clusters.json"

Files = Mapping[str, File]


class Publisher:
    """Knows what is on disk below one xds folder, and writes differences. ``folder`` is relative to the state directory."""

    def __init__(self, state: StateDir, folder: str) -> None:
        self._state = state
        self._folder = folder
        self._written: dict[str, str] = {}
        self._pinned: dict[str, File] = {}

    async def write_all(self, snapshot: Snapshot) -> None:
        """All files, before Envoy starts: a file that is missing then is never picked up."""
        await self._write(snapshot.files())

    def found(self, snapshot: Snapshot) -> None:
        """These files are on disk already."""
        self._written = {path: file.version for path, file in snapshot.files().items()}

    def pin(self, path: str, file: File) -> None:
        """From now on ``file`` stands at ``path``, whatever is published."""
        self._pinned[path] = file

    def unpin(self, path: str) -> None:
        """What is published at ``path`` is what stands there again, from the next time that it is written."""
        self._pinned.pop(path, None)

    def replaced(self, path: str, file: File) -> None:
        """``file`` was put at ``path`` by another way."""
        self._written[path] = file.version

    def expected(self, snapshot: Snapshot) -> dict[str, str]:
        """The version that Envoy must have in force, by statistic. A secret that nothing uses has none, and is left out."""
        files = self._with_pinned(snapshot.files())
        return {version_stat(path): file.version for path, file in files.items() if not _is_secret(path)}

    def differing(self, snapshot: Snapshot, stats: Mapping[str, str]) -> list[str]:
        """The statistics that say that Envoy has another version in force."""
        return [stat for stat, version in self.expected(snapshot).items() if version_of(stats, stat) != version]

    async def publish(self, old: Snapshot, new: Snapshot, admin: Admin) -> None:
        """Replace ``old`` by ``new``. Errors: ``envoy-not-confirmed``, ``state-unwritable``; then the old files stand again.

        1. secrets, then clusters and filters of both; 2. the new routes; 3. removal of what only the old one used.
        """
        between = union(old, new)
        steps = [
            _part(new, "secrets") | {CLUSTERS: File.of(between.clusters)},
            _filters_of(between, new),
            _part(new, "routes"),
            _part(new, "extensions") | _part(new, "clusters"),
        ]
        try:
            for step in steps:
                await self.take(step, admin)
            await _confirm_secrets(new, admin)
        except ScopewardError:
            with contextlib.suppress(ScopewardError):  # the first error says more
                await self.take(old.files(), admin)
            self._remove_others(old)
            raise
        self._remove_others(new)

    async def take(self, files: Files, admin: Admin) -> None:
        """Write what differs, and wait until it is in force. Errors: ``envoy-not-confirmed``, ``state-unwritable``."""
        if not self._differing(files):
            return
        before = await stats_or_none(admin) or {}
        changed = await self._write(files)
        expected = {version_stat(path): version for path, version in changed.items() if not _is_secret(path)}
        await confirm(expected, before, admin)

    def _differing(self, files: Files) -> dict[str, File]:
        return {path: file for path, file in self._with_pinned(files).items() if self._written.get(path) != file.version}

    def _with_pinned(self, files: Files) -> dict[str, File]:
        return {path: self._pinned.get(path, file) for path, file in files.items()}

    async def _write(self, files: Files) -> dict[str, str]:
        """What differs. In a thread: a large table takes a disk long enough to be noticed."""
        changed = self._differing(files)
        for path, file in changed.items():
            await asyncio.to_thread(self._state.write, f"{self._folder}/{path}", file.text)
            self._written[path] = file.version
        return {path: file.version for path, file in changed.items()}

    def _remove_others(self, snapshot: Snapshot) -> None:
        """Files that the snapshot does not have: a withdrawn secret does not stay on the disk."""
        for path in self._written.keys() - snapshot.files().keys():
            shutil.rmtree(self._state.root / self._folder / Path(path).parent, ignore_errors=True)
            del self._written[path]


def tightened(old: Snapshot, new: Snapshot) -> Snapshot | None:
    """``old`` without the keys that ``new`` lacks, where there are such: what tightens goes first and alone. ``None`` where nothing does.

    The routes of ``old`` find all the requirements that they name.
    """
    if _keys(old) <= _keys(new):
        return None
    return old.with_extensions({jwt_authn.FILTER: union(old, new).extensions[jwt_authn.FILTER]})


def extension_files(snapshot: Snapshot, names: frozenset[str]) -> dict[str, File]:
    """The files of these filters. Raises ``KeyError`` for a name that is none."""
    files = snapshot.files()
    return {extension_path(name): files[extension_path(name)] for name in names}


def _keys(snapshot: Snapshot) -> set[tuple[str, str]]:
    """(issuer's name, key as canonical JSON) of all keys that verify tokens."""
    providers: Mapping[str, Any] = snapshot.extensions[jwt_authn.FILTER].get("providers", {})
    return {(name, json.dumps(key, sort_keys=True)) for name, provider in providers.items() for key in _jwks(provider)}


def _jwks(provider: Resource) -> list[Any]:
    try:
        keys = json.loads(provider["local_jwks"]["inline_string"])["keys"]
    except (KeyError, TypeError, ValueError):
        return []
    return keys if isinstance(keys, list) else []


def _part(snapshot: Snapshot, kind: str) -> dict[str, File]:
    return {path: file for path, file in snapshot.files().items() if path.startswith(f"{kind}/")}


def _filters_of(between: Snapshot, new: Snapshot) -> dict[str, File]:
    """The filters' files; those that are the new ones are not written out again, however large they are."""
    files = new.files()
    return {
        extension_path(name): files[extension_path(name)] if config is new.extensions.get(name) else extension_file(name, config)
        for name, config in between.extensions.items()
    }


def _is_secret(path: str) -> bool:
    return path.startswith("secrets/")


async def _confirm_secrets(snapshot: Snapshot, admin: Admin) -> None:
    """Those that something uses: Envoy asks for no other, and has no statistic of it."""
    now = await stats_or_none(admin) or {}
    secrets = {version_stat(path): file.version for path, file in _part(snapshot, "secrets").items()}
    await confirm({stat: version for stat, version in secrets.items() if f"{stat}.version_text" in now}, now, admin)


async def confirm(expected: Mapping[str, str], before: Mapping[str, str], admin: Admin) -> None:
    """Wait until each statistic's ``version_text`` is the expected one. A rejection since ``before`` ends the wait at once."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    missing = list(expected)
    while missing:
        now = await stats_or_none(admin)
        if now is not None:
            missing = [stat for stat in missing if version_of(now, stat) != expected[stat]]
            refused = [stat for stat in missing if refusals_of(now, stat) > refusals_of(before, stat)]
            if refused:
                raise ScopewardError("envoy-not-confirmed", f"Envoy rejected {', '.join(refused)}")
        if missing and asyncio.get_running_loop().time() > deadline:
            why = "its admin interface does not answer" if now is None else f"it did not take {', '.join(missing)} within {PATIENCE:g} s"
            raise ScopewardError("envoy-not-confirmed", f"Envoy: {why}")
        if missing:
            await asyncio.sleep(PAUSE)
