"""What is revoked: the book that keeps it, how it is split into tables for the engine, and how people's words become an entry."""

from __future__ import annotations

from scopeward.revocation.book import Asked, RevocationBook
from scopeward.revocation.entry import Entry
from scopeward.revocation.tables import Keeper, Tables

__all__ = ["Asked", "Entry", "Keeper", "RevocationBook", "Tables"]
