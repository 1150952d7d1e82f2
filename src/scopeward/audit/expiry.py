"""When a token expires that the gateway has seen: its ``exp`` in the audit lines."""

from __future__ import annotations

import contextlib
import re
from itertools import islice
from pathlib import Path
from typing import Final

from scopeward.audit.files import audit_files, lines_before
from scopeward.audit_line import AuditLineError, parse

MOST_READ: Final = 256 * 1024 * 1024
"""Bytes that are looked through; whoever was seen longer ago is not found."""
MOST_LINES: Final = 1000
"""Lines that hold the id somewhere and are parsed: a caller can write an id into every path."""

_PLAIN: Final = re.compile(rb"[A-Za-z0-9._~-]+")
"""What JSON writes in one way only."""


def find_expiry(folder: Path, issuer: str, token_id: str) -> int | None:
    """The ``exp`` of the issuer's token with this ``jti``, in seconds since the epoch; ``issuer`` is the policy's name.

    Looks through the files of ``folder`` from the newest line back, as far as ``MOST_READ``. ``None`` where it is not found.
    """
    plain = max(_PLAIN.findall(token_id.encode()), key=len, default=b"")
    if not plain:
        return None
    holding = (line for line in lines_before(_ends(folder), MOST_READ) if plain in line)
    found = (_expiry(line, issuer, token_id) for line in islice(holding, MOST_LINES))
    return next((exp for exp in found if exp is not None), None)


def _ends(folder: Path) -> dict[Path, int]:
    found = {}
    for path in audit_files(folder):
        with contextlib.suppress(OSError):  # moved away since it was listed
            found[path] = path.stat().st_size
    return found


def _expiry(line: bytes, issuer: str, token_id: str) -> int | None:
    try:
        said = parse(line)
    except AuditLineError:
        return None
    return said.exp if said.token_id == token_id and said.issuer == issuer else None
