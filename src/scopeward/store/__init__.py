"""The store: SQL tables, and nothing else.

What a row means is for the rooms above. The tables are SQLAlchemy Core in SQL that SQLite and PostgreSQL share; only how a database is opened
is its own file, ``sqlite.py`` today. SQLAlchemy is loaded when a store is opened and not before: most commands need none.
"""

from __future__ import annotations

from scopeward.store.opening import STORE_FILE, Store
from scopeward.store.rows import NewRevocationRow, RevocationRow

__all__ = ["STORE_FILE", "NewRevocationRow", "RevocationRow", "Store"]
