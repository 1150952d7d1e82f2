"""The state directory: what a node keeps, who may read it, and who holds it.

    layout.json          {"layout": 2, "node": NAME}: which layout this is, and whose
    lock                 held (flock) by the process that runs the node
    applied/policy.yaml  what `apply` put in force: the policy, or all its files and the environment in one
    in-force.json        what the node confirmed: versions and time
    run.json             the running Envoy: process, version and digest, incarnation
    reserve              space that is given back when the disk is full
    envoys/INCARNATION/  one Envoy's own: bootstrap.json, admin.sock, xds/ with the published files, one folder a kind:
                         listeners, routes, clusters, extensions/NAME, secrets/NAME
    envoy.log            what Envoy says of itself
    audit/               audit lines, one file an incarnation of Envoy
    keys/                the issuers' last good key sets
    passes/              the keys that sign passes
    store.sqlite         revocations, and what else must outlive the node
    status.json          what `status` shows

All of it is private to its owner: 0700 for folders, 0600 for files. An INCARNATION is one life of Envoy: 20261124T110000Z-abc123.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from scopeward.errors import ScopewardError
from scopeward.private_file import write_private

LAYOUT: Final = 2
APPLIED: Final = "applied/policy.yaml"
IN_FORCE: Final = "in-force.json"
RUN: Final = "run.json"
LOCK_PATIENCE: Final = 0.2
"""Seconds."""
RESERVE: Final = "reserve"
ENVOY_LOG: Final = "envoy.log"
FOLDERS: Final = ("applied", "envoys", "audit", "keys", "passes")
RESERVED_BYTES: Final = 8 << 20
NEIGHBOURS: Final = frozenset({"dev", "demo", "idp"})
"""Folders of other commands, which may be there before the first node is."""
LONGEST_SOCKET_PATH: Final = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_FOR_A_SOCKET: Final = "scopeward-"
_REMEDY: Final = (
    "Stop the node that runs on it, then name a new directory with --state-dir. Only 'applied' (the policy in force) and 'audit' (the calls so far) "
    "of the old one are not made again: copy them where you need them."
)


class StateDir:
    """A state directory that exists, is ours, and is of this layout. Errors: ``state-unwritable``, ``state-version``."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock: int | None = None
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.root.stat().st_uid != os.getuid():
                raise ScopewardError("state-unwritable", f"'{self.root}' belongs to somebody else")
            self._require_ours()
            self.root.chmod(0o700)
            self.node = self._check_layout()
            for folder in FOLDERS:
                (self.root / folder).mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise ScopewardError("state-unwritable", f"'{self.root}': {error.strerror}") from None

    def _require_ours(self) -> None:
        """Making somebody else's folder private could lock a whole machine out of it: '--state-dir /tmp'."""
        if not (self.root / "layout.json").exists() and {entry.name for entry in self.root.iterdir()} - NEIGHBOURS:
            raise ScopewardError("state-unwritable", f"'{self.root}' holds other files and is no state directory", "Name a new or an empty one.")

    def _check_layout(self) -> str:
        path = self.root / "layout.json"
        if not path.exists():
            node = f"node-{secrets.token_hex(4)}"
            self.write("layout.json", json.dumps({"layout": LAYOUT, "node": node}) + "\n")
            return node
        try:
            said = json.loads(path.read_text())
            layout, node = said["layout"], str(said["node"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ScopewardError("state-version", f"'{path}' is damaged") from None
        if layout != LAYOUT:
            raise ScopewardError("state-version", f"'{self.root}' has layout {layout!r}, this version has {LAYOUT}", _REMEDY)
        return node

    def lock(self) -> None:
        """Hold the directory until this process ends. Errors: ``node-running``.

        Whoever only asks whether it is held (``is_locked``) holds it for a moment, so it is tried for a little while.
        """
        self._lock = self._take_lock(LOCK_PATIENCE)

    def _take_lock(self, patience: float) -> int:
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                os.close(handle)
                raise ScopewardError("node-running", f"'{self.root}' is in use") from None
            return handle

    def unlock(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_locked(self) -> bool:
        """Whether another process runs a node here."""
        try:
            os.close(self._take_lock(0))
        except ScopewardError:
            return True
        return False

    def write(self, name: str, text: str) -> None:
        """Replace a file at once and whole; the rename is also what wakes Envoy. Errors: ``state-unwritable``."""
        path = self.root / name
        try:
            for folder in reversed([p for p in path.parents if p != self.root and p.is_relative_to(self.root)]):
                folder.mkdir(exist_ok=True, mode=0o700)  # parents=True would give the folders between the usual mode
        except OSError as error:
            raise ScopewardError("state-unwritable", f"'{path}': {error.strerror}") from None
        # a temporary file in a watched folder would wake its watchers for nothing
        write_private(path, text, by_way_of=self.root)

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """The same for a JSON object."""
        self.write(name, json.dumps(value, sort_keys=True, indent=1) + "\n")

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON object that was written here, or ``None`` where there is none or it is damaged."""
        try:
            value = json.loads((self.root / name).read_text())
        except (OSError, ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None

    def admin_socket(self, incarnation: str) -> Path:
        """Where an Envoy's admin interface listens: a unix socket in a private folder, short enough to be one."""
        usual = self.root / "envoys" / incarnation / "admin.sock"
        if len(os.fsencode(usual)) <= LONGEST_SOCKET_PATH:
            return usual
        return Path(tempfile.mkdtemp(prefix=_FOR_A_SOCKET)) / "admin.sock"

    def remove_socket(self, socket: Path) -> None:
        """Remove the folder that was made for a socket alone; whatever is not such a folder is left."""
        folder = socket.parent
        if folder.name.startswith(_FOR_A_SOCKET) and folder.parent == Path(tempfile.gettempdir()) and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)

    def reserve(self) -> None:
        """Hold 8 MiB of the disk for the day when it is full. Errors: ``state-unwritable``."""
        path = self.root / RESERVE
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _allocate(handle, RESERVED_BYTES)
            finally:
                os.close(handle)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise ScopewardError("state-unwritable", f"'{path}': {error.strerror}") from None

    def has_reserve(self) -> bool:
        """Whether space is held."""
        return (self.root / RESERVE).exists()

    def release_reserve(self) -> bool:
        """Give the reserved space back; whether there was any."""
        try:
            (self.root / RESERVE).unlink()
        except OSError:
            return False
        return True


def bootstrap_path(root: Path, incarnation: str) -> Path:
    """What the Envoy of an incarnation is started on."""
    return root / "envoys" / incarnation / "bootstrap.json"


def _allocate(handle: int, size: int) -> None:
    """Real blocks: a file with a hole holds nothing."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
        return
    for _ in range(size >> 20):  # macOS
        os.write(handle, bytes(1 << 20))
