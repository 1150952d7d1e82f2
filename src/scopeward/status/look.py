"""What can be seen of a node from outside: whether its two processes live, and what the warden wrote last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scopeward.clock import Clock
from scopeward.envoy.record import read_records
from scopeward.envoy.state_dir import NEIGHBOURS, StateDir
from scopeward.errors import ScopewardError
from scopeward.policy_files import read_policy
from scopeward.status.file import read_status
from scopeward.status.node_status import NodeStatus, PolicyStatus

PolicyFile = Literal["same", "differs", "unreadable"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A look at a node. ``status`` is ``None`` where the warden wrote none yet, or ``damaged`` says that it cannot be read.

    ``policy_file`` compares the policy's file with what is in force; ``None`` where there is nothing to compare.
    """

    now: float
    warden_lives: bool
    envoy_lives: bool
    status: NodeStatus | None = None
    damaged: bool = False
    policy_file: PolicyFile | None = None

    @property
    def runs(self) -> bool:
        """Whether anything of the node does."""
        return self.warden_lives or self.envoy_lives


def look(root: Path, clock: Clock) -> Seen:
    """Look at the node of a state directory. Nothing is made where there is none. Errors: ``state-unwritable``, ``state-version``."""
    if not (root / "layout.json").exists():
        return Seen(clock.now(), warden_lives=False, envoy_lives=False)
    state = StateDir(root)
    locked, envoys = state.is_locked(), read_records(state)
    status, damaged = _status(root)
    return Seen(
        now=clock.now(),
        warden_lives=locked,
        envoy_lives=any(envoy is not None for envoy in envoys),
        status=status,
        damaged=damaged,
        policy_file=None if status is None else compare(status.policy),
    )


def neighbours(root: Path, clock: Clock) -> tuple[Path, ...]:
    """The state directories of ``dev`` and ``demo`` below this one in which a node runs."""
    found = []
    for name in sorted(NEIGHBOURS):
        try:
            if look(root / name, clock).runs:
                found.append(root / name)
        except ScopewardError:
            continue
    return tuple(found)


def nothing_runs(root: Path, clock: Clock) -> ScopewardError:
    """``node-not-running``; where the node of ``dev`` or ``demo`` runs nearby, the remedy says so."""
    near = [f"--state-dir {path}" for path in neighbours(root, clock)]
    return ScopewardError("node-not-running", f"nothing runs on '{root}'", f"Something runs elsewhere: {' or '.join(near)}." if near else None)


def _status(root: Path) -> tuple[NodeStatus | None, bool]:
    try:
        return read_status(root), False
    except ScopewardError:
        return None, True


def compare(policy: PolicyStatus) -> PolicyFile | None:
    """The policy's files against what is in force."""
    if policy.sha256 is None:
        return None
    try:
        files = read_policy(Path(policy.path), policy.environment)
    except ScopewardError as error:
        return "differs" if error.reference.id == "env-other" else "unreadable"
    return "same" if files.sha256 == policy.sha256 else "differs"
