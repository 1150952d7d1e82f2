"""The tables.

``schema_version`` has one row. ``change`` has one row a topic: a number that grows with every change, in the transaction that makes it, so that
a reader polls one number instead of a table. A writer raises it first: that lock lets one writer in at a time, so that the numbers become
visible in their order and a reader who knows one never misses a lower one.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, Integer, MetaData, String, Table, Text

SCHEMA_VERSION: Final = 1

REVOCATION: Final = "revocation"
"""The topic of ``change``."""

metadata: Final = MetaData()

schema_version: Final = Table("schema_version", metadata, Column("version", Integer, nullable=False))

change: Final = Table(
    "change",
    metadata,
    Column("topic", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

revocation: Final = Table(
    "revocation",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("what", String(16), nullable=False),
    Column("value", Text, nullable=False),
    Column("before", BigInteger),
    Column("ends_at", Double),
    Column("reason", Text),
    Column("made_at", Double, nullable=False),
    Column("undone_at", Double),
    Column("changed", BigInteger, nullable=False, index=True),
    sqlite_autoincrement=True,  # a number is never given twice: people write it down
)
