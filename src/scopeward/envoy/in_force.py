"""in-force.json: what Envoy confirmed and when, for whoever waits for it from outside: ``apply`` and ``revoke``."""

from __future__ import annotations

import logging
from typing import Any

from scopeward.clock import Clock
from scopeward.compile.snapshot import Snapshot
from scopeward.envoy.state_dir import IN_FORCE, StateDir
from scopeward.errors import ScopewardError

log = logging.getLogger(__name__)


class InForceFile:
    """The file, written whenever something in it changes. ``refusing`` says whether all calls are refused."""

    def __init__(self, state: StateDir, clock: Clock) -> None:
        self.refusing = False
        self._state = state
        self._clock = clock
        self._said: dict[str, Any] = {}
        self._notes: dict[str, Any] = {"revocations": None}

    @property
    def known(self) -> bool:
        """Whether anything was confirmed."""
        return bool(self._said)

    @property
    def confirmed_at(self) -> float | None:
        """When Envoy confirmed what is in force, in seconds since the epoch."""
        found = self._said.get("confirmed_at")
        return found if isinstance(found, float) else None

    def read(self) -> dict[str, Any]:
        """What an earlier warden left; empty where there is nothing or it is damaged."""
        return self._state.read_json(IN_FORCE) or {}

    def take_over(self, said: dict[str, Any]) -> None:
        """What an earlier warden left holds on."""
        self._said = said
        self._notes["revocations"] = said.get("revocations")

    def confirm(self, snapshot: Snapshot | None) -> None:
        """Envoy confirmed ``snapshot``; where it is ``None``, what was confirmed before stays."""
        if snapshot is not None:
            self._said = {"policy_version": snapshot.policy_version, "snapshot": snapshot.version, "confirmed_at": self._clock.now()}
        self.write()

    def note(self, **more: Any) -> None:
        """Add to, or change in, what the file says; it stays there with later snapshots."""
        self._notes |= more
        self.write()

    def write(self) -> None:
        """Replace the file, once anything was confirmed."""
        if not self._said:
            return
        self._said |= self._notes | {"refusing": self.refusing}
        try:
            self._state.write_json(IN_FORCE, self._said)
        except ScopewardError as error:  # on a full disk; what is in force is in force all the same
            log.warning("%s", error)

    def remove(self) -> None:
        """Until something is confirmed again, there is none."""
        (self._state.root / IN_FORCE).unlink(missing_ok=True)
