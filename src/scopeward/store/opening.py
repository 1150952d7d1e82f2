"""A store, which is opened when something is first asked of it."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from scopeward.clock import Clock
from scopeward.errors import ScopewardError

if TYPE_CHECKING:  # loading it loads SQLAlchemy, which takes longer than most commands
    from sqlalchemy import Engine

    from scopeward.store.revocations import Revocations

STORE_FILE: Final = "store.sqlite"
"""The store's name in a state directory."""


class Store:
    """The database at ``path``. May be used by several threads, and by several processes at once.

    A new one counts its changes from the time in milliseconds, so that it never repeats a number of one that was there before.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._opening = threading.Lock()
        self._opened: tuple[Engine, Revocations, tuple[int, int]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def revocations(self) -> Revocations:
        """The table of that name. Errors: ``state-unwritable``, ``state-damaged``, ``state-version``."""
        with self._opening:
            if self._opened is None:
                self._opened = self._open()
            _, table, file = self._opened
        if self._file() != file:
            remedy = "Put the file back as it was, or stop the node and start it again."
            raise ScopewardError("state-damaged", f"'{self._path}' was removed or replaced while it was in use", remedy)
        return table

    def close(self) -> None:
        """Let go of the file. A store that is asked again opens it again."""
        with self._opening:
            if self._opened is not None:
                self._opened[0].dispose()
                self._opened = None

    def _open(self) -> tuple[Engine, Revocations, tuple[int, int]]:
        from scopeward.store.revocations import Revocations  # noqa: PLC0415  # see above
        from scopeward.store.sqlite import open_sqlite  # noqa: PLC0415

        engine = open_sqlite(self._path, int(self._clock.now() * 1000))
        return engine, Revocations(engine, self._path), self._file()

    def _file(self) -> tuple[int, int]:
        """Which file it is. SQLite would go on with one that was removed, and nobody else would see what it writes there."""
        try:
            found = self._path.stat()
        except OSError:
            return (0, 0)
        return found.st_dev, found.st_ino
