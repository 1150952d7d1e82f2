"""run.json: which Envoys run, so that another warden finds them; and the proof that a process is one of them."""

from __future__ import annotations

import re
import socket
import struct
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from scopeward.envoy.process import Identity, command_line, identify
from scopeward.envoy.state_dir import RUN, StateDir, bootstrap_path
from scopeward.errors import ScopewardError

_INCARNATION: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One Envoy that was started here. ``sha256`` is of the binary, ``admin`` the path of its admin socket."""

    pid: int
    start_time: int
    boot_id: str
    binary: str
    version: str
    sha256: str
    incarnation: str
    admin: str

    @property
    def identity(self) -> Identity:
        """Which process it is."""
        return Identity(self.pid, self.start_time, self.boot_id)


def write_records(state: StateDir, current: RunRecord | None, other: RunRecord | None = None) -> None:
    """Record the Envoy in charge, and the one that is coming or leaving beside it. Errors: ``state-unwritable``."""
    if current is None and other is None:
        try:
            (state.root / RUN).unlink(missing_ok=True)
        except OSError as error:
            raise ScopewardError("state-unwritable", f"'{state.root / RUN}': {error.strerror}") from None
        return
    main, beside = (current, other) if current is not None else (other, None)
    assert main is not None  # noqa: S101  # one of the two is there
    state.write_json(RUN, asdict(main) | {"beside": None if beside is None else asdict(beside)})


def read_records(state: StateDir) -> tuple[RunRecord | None, RunRecord | None]:
    """The Envoy in charge and the one beside it, each only where it is provably ours and runs. A damaged file names none."""
    said = state.read_json(RUN)
    if said is None:
        return None, None
    beside = said.pop("beside", None)
    return _proven(said, state), _proven(beside, state)


def _proven(said: object, state: StateDir) -> RunRecord | None:
    record = _understood(said)
    return record if record is not None and is_ours(record, state) else None


def _understood(said: object) -> RunRecord | None:
    if not isinstance(said, dict) or said.keys() != RunRecord.__dataclass_fields__.keys():
        return None
    numbers, texts = ("pid", "start_time"), RunRecord.__dataclass_fields__.keys() - {"pid", "start_time"}
    if any(type(said[name]) is not int for name in numbers) or any(type(said[name]) is not str for name in texts):
        return None
    values: dict[str, Any] = said
    return RunRecord(**values) if values["pid"] > 1 and _INCARNATION.fullmatch(values["incarnation"]) else None


def is_ours(record: RunRecord, state: StateDir) -> bool:
    """Whether that very process runs, was started on the incarnation's bootstrap file and from the binary that is recorded, and has the admin socket.

    A number is used again after an end, and a state directory may be copied; nothing is signalled that does not pass.
    """
    if identify(record.pid) != record.identity:
        return False
    command = command_line(record.pid)
    wanted = str(bootstrap_path(state.root, record.incarnation))
    if command[:1] != (record.binary,) or ("-c", wanted) not in pairwise(command) or not Path(wanted).is_file():
        return False
    return _listener_of(record.admin) in {None, record.pid}


def _listener_of(path: str) -> int | None:
    """Which process listens on a unix socket; ``None`` where none does, or the system does not say.

    Envoy is also ended by a call to its admin socket, and a changed record may name another's.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1.0)
        try:
            asking.connect(path)
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)
