"""Files that only their owner can read, written whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from scopeward.errors import ScopewardError


def write_private(path: Path, text: str, by_way_of: Path | None = None, *, synced: bool = True) -> None:
    """Put ``text`` at ``path`` with mode 0600 by an atomic rename; the directory is made with mode 0700 if it is missing.

    ``by_way_of`` is the directory of the temporary file, where the path's own is watched. Not ``synced``, a power cut may leave an
    empty file. Raises ``ScopewardError("state-unwritable")``.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=by_way_of or path.parent, prefix=f".{path.name}.")  # mkstemp's mode is 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                if synced:
                    file.flush()
                    os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ScopewardError("state-unwritable", f"{path}: {error.strerror}") from None


def read_private(path: Path) -> str | None:
    """The text at ``path``, or None if there is no such file.

    Raises ``ScopewardError("state-unwritable")`` if it cannot be read, is another user's, or others may read or write it.
    """
    try:
        with path.open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise ScopewardError("state-unwritable", f"{path}: must belong to you and have mode 0600")
            return file.read()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ScopewardError("state-unwritable", f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
