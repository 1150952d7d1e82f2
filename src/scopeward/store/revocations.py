"""The table ``revocation``: add, undo, read. Every change takes the next number of its topic in ``change``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, insert, or_, select, update

from scopeward.store.rows import NewRevocationRow, RevocationRow
from scopeward.store.schema import REVOCATION, change, revocation
from scopeward.store.sqlite import damaged, failures_of

_SEQUENCE: Final = select(change.c.number).where(change.c.topic == REVOCATION)
_NEXT: Final = update(change).where(change.c.topic == REVOCATION).values(number=change.c.number + 1).returning(change.c.number)
_ROWS: Final = select(revocation).order_by(revocation.c.number)

_NEW: Final = tuple(field.name for field in fields(NewRevocationRow))

_TYPES: Final[tuple[tuple[type, ...], ...]] = (
    (int,),
    (str,),
    (str,),
    (str,),
    (int, type(None)),
    (float, type(None)),
    (str, type(None)),
    (float,),
    (float, type(None)),
    (int,),
)
"""Of the columns, in their order: SQLite takes any value in any column."""


class Revocations:
    """Queries over an open database; ``path`` is for messages. Errors of each: ``state-unwritable``, ``state-damaged``."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path

    def sequence(self) -> int:
        """The number of the last change. Cheap: this is what is polled."""
        with failures_of(self._path), self._engine.connect() as connection:
            return self._number(connection.scalar(_SEQUENCE))

    def add(self, rows: Sequence[NewRevocationRow]) -> tuple[RevocationRow, ...]:
        """Add rows in one transaction, as one change; as they are stored, in the order of their numbers."""
        if not rows:
            return ()
        with failures_of(self._path), self._engine.begin() as connection:
            number = self._next(connection)
            connection.execute(insert(revocation), [{name: getattr(row, name) for name in _NEW} | {"changed": number} for row in rows])
            return self._rows(connection.execute(_ROWS.where(revocation.c.changed == number)))

    def undo(self, number: int, at: float) -> RevocationRow | None:
        """Mark a row as undone; ``None``, and no change, where there is none or it is undone already."""
        mark = update(revocation).where(revocation.c.number == number, revocation.c.undone_at.is_(None))
        with failures_of(self._path), self._engine.connect() as connection:
            changed = self._next(connection)
            if connection.execute(mark.values(undone_at=at, changed=changed)).rowcount != 1:
                return None  # without a commit nothing happened
            rows = self._rows(connection.execute(_ROWS.where(revocation.c.number == number)))
            connection.commit()
            return rows[0]

    def all(self) -> tuple[RevocationRow, ...]:
        """Every row."""
        return self._read(_ROWS)

    def open(self, ended_by: float) -> tuple[RevocationRow, ...]:
        """The rows that are not undone and did not end by the time given."""
        return self._read(_ROWS.where(revocation.c.undone_at.is_(None), or_(revocation.c.ends_at.is_(None), revocation.c.ends_at > ended_by)))

    def since(self, sequence: int) -> tuple[RevocationRow, ...]:
        """The rows that a later change than this made or undid."""
        return self._read(_ROWS.where(revocation.c.changed > sequence))

    def _read(self, query: Any) -> tuple[RevocationRow, ...]:
        with failures_of(self._path), self._engine.connect() as connection:
            return self._rows(connection.execute(query))

    def _next(self, connection: Connection) -> int:
        return self._number(connection.scalar(_NEXT))

    def _number(self, found: object) -> int:
        if type(found) is not int:
            raise damaged(self._path, "has lost count of its changes")
        return found

    def _rows(self, found: Iterable[Sequence[Any]]) -> tuple[RevocationRow, ...]:
        return tuple(self._row(row) for row in found)

    def _row(self, row: Sequence[Any]) -> RevocationRow:
        if not all(type(value) in types for value, types in zip(row, _TYPES, strict=True)):
            raise damaged(self._path, "has a revocation with a value of another type")
        return RevocationRow(*row)
