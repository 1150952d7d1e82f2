"""The status as JSON, and as the file ``status.json`` of a state directory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from scopeward.errors import ScopewardError
from scopeward.private_file import write_private
from scopeward.status.node_status import NodeStatus

STATUS: Final = "status.json"
"""Of the state directory."""

_ADAPTER: Final = TypeAdapter(NodeStatus)


def to_json(status: NodeStatus) -> str:
    """The status as JSON."""
    return _ADAPTER.dump_json(status, indent=1).decode() + "\n"


def from_json(text: str | bytes) -> NodeStatus:
    """Read what ``to_json`` wrote. What a later version added to it is passed over. Errors: ``ValueError`` for anything else."""
    try:
        return _ADAPTER.validate_json(text, strict=True)
    except ValidationError:
        raise ValueError("not a status of version 1") from None  # its own message would quote what was read


def write_status(root: Path, status: NodeStatus) -> None:
    """Replace the file, whole and private. Errors: ``state-unwritable``, which a full disk gives too: the old status stays, and grows old.

    Unlike other files it is not synced to the disk: it is written every two seconds, a sync can stop the warden for longer than a revocation may take,
    and the status of before a power cut tells nobody anything.
    """
    write_private(root / STATUS, to_json(status), synced=False)


def read_status(root: Path) -> NodeStatus | None:
    """The status that was written last; ``None`` where none was. Errors: ``state-damaged``."""
    path = root / STATUS
    try:
        return from_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise ScopewardError("state-damaged", f"'{path}' is no status of this version", "A running node writes it anew within seconds.") from None
    except OSError as error:
        raise ScopewardError("state-damaged", f"'{path}': {error.strerror}", "Correct its owner and mode.") from None
