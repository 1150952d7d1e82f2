"""SQLite: how its file is made, opened and found unfit, and what its errors mean."""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, QueuePool, create_engine, event, insert, inspect, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, IntegrityError, ProgrammingError

from scopeward.errors import ScopewardError
from scopeward.store.schema import REVOCATION, SCHEMA_VERSION, change, metadata, schema_version

BUSY_SECONDS: Final = 5.0
"""How long a writer waits for another."""

RESTORE: Final = (
    "Stop the node, move the file away together with those beside it that end in '-wal' and '-shm', and put a backup in its place, "
    "or start without it: then what it revoked must be revoked again."
)

_DAMAGED: Final = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH}
"""Primary result codes; SQLITE_ERROR is a table or column that is not there."""
_PRIMARY: Final = 0xFF
"""An extended result code holds the primary one in its low byte."""


def damaged(path: Path, how: str) -> ScopewardError:
    """The refusal of a file that is not what was written."""
    return ScopewardError("state-damaged", f"'{path}' {how}", RESTORE)


@contextmanager
def failures_of(path: Path) -> Iterator[None]:
    """The database's errors become ``state-damaged`` or ``state-unwritable``. They lose their text, which may quote values."""
    try:
        yield
    except (IntegrityError, ProgrammingError):
        raise  # a fault of this program, not of the file
    except DatabaseError as error:
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # none where text is not UTF-8
        raise _refusal(path, code & _PRIMARY) from None


def _refusal(path: Path, code: int) -> ScopewardError:
    if code in _DAMAGED:
        return damaged(path, "is not a store of Scopeward, or is damaged")
    match code:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return ScopewardError("state-unwritable", f"'{path}': another process holds it for more than {BUSY_SECONDS:g} s", "Try again.")
        case sqlite3.SQLITE_FULL:
            return ScopewardError("state-unwritable", f"'{path}': the disk is full", "Make space and try again.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return ScopewardError("state-unwritable", f"'{path}': may not be read and written")
        case _:
            return ScopewardError("state-unwritable", f"'{path}': cannot be read or written (SQLite code {code})")


def open_sqlite(path: Path, first_change: int) -> Engine:
    """The database at ``path``, which is made where there is none, checked and of this schema.

    In a new one the changes count from ``first_change``. Errors: ``state-unwritable``, ``state-damaged``, ``state-version``.
    """
    try:
        if not path.exists():
            _make(path, first_change)
        _require_private(path)
    except OSError as error:
        raise ScopewardError("state-unwritable", f"'{path}': {error.strerror}") from None
    engine = _engine(path)
    try:
        with failures_of(path):
            _check(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make(path: Path, first_change: int) -> None:
    """Make the file whole under another name first: an empty file at ``path`` is a damaged store, and never the beginning of one."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        with failures_of(path):
            _write_schema(draft, first_change)
        try:
            os.link(draft, path)  # unlike a rename it does not replace what another process made in the meantime
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)


def _write_schema(draft: Path, first_change: int) -> None:
    engine = _engine(draft)
    try:
        with engine.begin() as connection:
            metadata.create_all(connection)
            connection.execute(insert(change).values(topic=REVOCATION, number=first_change))
            connection.execute(insert(schema_version).values(version=SCHEMA_VERSION))
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # kept in the file; where it is not possible the usual journal stays
    finally:
        engine.dispose()  # the last connection writes the log into the file and removes it


def _require_private(path: Path) -> None:
    found = path.stat(follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ScopewardError("state-unwritable", f"'{path}': must be a file that belongs to you and has mode 0600")


def _engine(path: Path) -> Engine:
    uri = f"{path.absolute().as_uri()}?mode=rw"  # without it SQLite makes a missing file, readable to all

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, check_same_thread=False)  # the pool gives it to one thread at a time

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _record: object) -> None:
        with closing(connection.cursor()) as cursor:
            cursor.execute("PRAGMA synchronous=FULL")  # what was confirmed survives a loss of power
            cursor.execute("PRAGMA trusted_schema=OFF")  # a schema that somebody else wrote calls no function

    return engine


def _check(engine: Engine, path: Path) -> None:
    with engine.connect() as connection:
        if schema_version.name not in inspect(connection).get_table_names():
            raise damaged(path, "holds no store of Scopeward")
        versions = connection.scalars(select(schema_version.c.version)).all()
        if list(versions) != [SCHEMA_VERSION]:
            said = ", ".join(str(version) for version in versions[:3]) or "none"
            raise ScopewardError("state-version", f"'{path}' has schema version {said}, this version of Scopeward has {SCHEMA_VERSION}")
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise damaged(path, "is damaged")
