"""Which files hold the audit lines of a node, and what was written last.

``audit/INCARNATION.jsonl``: one file a start of Envoy, whose name begins with the time of that start, so that names sort by age.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = "audit"
"""Of the state directory."""
MOST_BACKWARDS: Final = 64 * 1024 * 1024
"""Bytes that are read backwards at most: some 100,000 lines, which take about a second to look through."""
LONGEST_LINE: Final = 1024 * 1024
"""Envoy takes no request that makes a longer one. What is longer is none of its lines, and comes out in pieces."""
_BLOCK: Final = 256 * 1024


def audit_files(folder: Path) -> tuple[Path, ...]:
    """The audit files, the oldest first; none where there is no folder. Only plain files count: opening a pipe would wait for ever."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix == ".jsonl")
    except OSError:
        return ()
    return tuple(path for path in found if _is_plain(path))


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def lines_before(ends: Mapping[Path, int], most: int = MOST_BACKWARDS) -> Iterator[bytes]:
    """The whole lines before these offsets, the last one first, newest file first; no more than ``most`` bytes are read. Lines have no line end.

    A file that cannot be read any more is passed over.
    """
    for path, end in sorted(ends.items(), reverse=True):
        try:
            for line in _backwards(path, end, most):
                most -= len(line) + 1
                if most < 0:
                    return
                yield line
        except OSError:
            continue


def _backwards(path: Path, end: int, most: int) -> Iterator[bytes]:
    """The lines that end before ``end``, which is where a line begins; the last one first."""
    with path.open("rb") as file:
        begun = b""  # what follows the first line end of the blocks that were read: the end of a line whose beginning was not
        least = max(0, end - most)
        while end > least:
            start = max(least, end - _BLOCK)
            file.seek(start)
            first, *rest = (file.read(end - start) + begun).split(b"\n")
            if start == 0:
                rest, first = [first, *rest], b""
            yield from (line for line in reversed(rest) if line)
            if len(first) > LONGEST_LINE:
                yield first
                first = b""
            begun, end = first, start
