"""The state directory: what a node keeps, who may read it, and who holds it.

    layout.json          {"layout": 1, "node": NAME}: which layout this is, and whose
    lock                 held (flock) by the process that runs the node
    applied/policy.yaml  what `apply` put in force
    in-force.json        what the node confirmed: versions and time
    xds/                 the published files, one folder a kind: listeners, routes, clusters, extensions/NAME
    envoy/               bootstrap.json, envoy.log, run.json (pid, version and digest of the running Envoy)
    audit/               audit lines, one file an incarnation of Envoy

All of it is private to its owner: 0700 for folders, 0600 for files.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scopeward.errors import ScopewardError
from scopeward.private_file import write_private

LAYOUT = 1
APPLIED = "applied/policy.yaml"
IN_FORCE = "in-force.json"
NEIGHBOURS = frozenset({"dev", "demo", "idp"})
"""Folders of other commands, which may be there before the first node is."""
LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


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
            for folder in ("applied", "xds", "envoy", "audit"):
                (self.root / folder).mkdir(exist_ok=True, mode=0o700)
            self.node = self._check_layout()
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
        except (ValueError, KeyError, TypeError):
            raise ScopewardError("state-version", f"'{path}' is damaged") from None
        if layout != LAYOUT:
            raise ScopewardError("state-version", f"'{self.root}' has layout {layout!r}, this version has {LAYOUT}")
        return node

    def lock(self) -> None:
        """Hold the directory until this process ends. Errors: ``node-running``."""
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise ScopewardError("node-running", f"'{self.root}' is in use") from None
        self._lock = handle

    def unlock(self) -> None:
        """Let go of the directory."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_locked(self) -> bool:
        """Whether another process runs a node here."""
        try:
            self.lock()
        except ScopewardError:
            return True
        self.unlock()
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
        except (OSError, ValueError):
            return None
        return value if isinstance(value, dict) else None

    def admin_socket(self) -> Path:
        """Where Envoy's admin interface listens: a unix socket in a private folder, short enough to be one."""
        usual = self.root / "envoy" / "admin.sock"
        if len(os.fsencode(usual)) <= LONGEST_SOCKET_PATH:
            return usual
        return Path(tempfile.mkdtemp(prefix="scopeward-")) / "admin.sock"
