"""Whether the disk still takes audit lines: a state machine without I/O.

A call that leaves no line is a call that nobody can answer for. The guard says when that is near (``low``) and when it is so (``full``); whether calls
are refused then is the policy's (``audit.on_full``), and the warden's to do.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

DiskVerdict = Literal["fine", "low", "full"]

LEAST_FREE: Final = 32 * 1024 * 1024
"""Bytes below which a disk is full: at 10,000 calls a second, of 600 bytes a line, five seconds are left to act in."""
LEAST_SHARE: Final = 200
"""And below one part in so many of the disk (0.5 %): close to full, file systems become slow, and others on the disk write too."""
MOST_FREE: Final = 1024 * 1024 * 1024
"""But never more than this: half a percent of a large disk is hours of calls."""
SMALL_DISK: Final = 8
"""Nor more than one part in so many of the disk: one smaller than ``LEAST_FREE`` would be full while it is empty."""
LOW: Final = 4
"""A disk with less than so many times what counts as full is low: time to tell somebody."""
LEAVE: Final = 2
"""A state is left at so many times the free bytes at which it is entered, so that a disk at the edge does not go back and forth."""
QUIET: Final = 10.0
"""Seconds without a failed write after which the disk is believed again: longer than Envoy's pauses between two writes (0.2 s) by far."""


@dataclass(frozen=True, slots=True)
class DiskSample:
    """What was seen at a time, in seconds of a clock that never goes back.

    ``free`` and ``total`` are bytes that we may use, ``None`` where the disk does not say. ``write_failures`` is Envoy's counter of audit writes that
    failed, ``None`` where it does not answer; a smaller number than before is that of a new Envoy.
    """

    at: float
    free: int | None
    total: int | None
    write_failures: int | None


@dataclass(frozen=True, slots=True)
class DiskGuard:
    """The verdict on a disk; ``see`` gives the next one."""

    verdict: DiskVerdict = "fine"
    why: str = ""
    """In words, where the verdict is not "fine"."""
    failures: int | None = None
    failed_at: float | None = None

    def see(self, sample: DiskSample) -> DiskGuard:
        """The guard after another look.

        ``full`` where less is free than ``full_below``, where the disk does not say how much is free, and where a write failed since the last look;
        for the first look every failure lies in the past. ``full`` ends when twice that is free and no write failed for ``QUIET`` seconds; it may be
        ``low`` then. ``low`` ends in the same way.
        """
        failed = _failed(self.failures, sample.write_failures)
        failed_at = sample.at if failed else self.failed_at
        seen = replace(self, failures=self.failures if sample.write_failures is None else sample.write_failures, failed_at=failed_at)
        if failed or (failed_at is not None and self.verdict == "full" and sample.at - failed_at < QUIET):
            return replace(seen, verdict="full", why="Envoy could not write audit lines")
        if sample.free is None or sample.total is None:
            return replace(seen, verdict="full", why="the disk does not say how much is free")
        verdict = _by_space(self.verdict, sample.free, full_below(sample.total))
        return replace(seen, verdict=verdict, why="" if verdict == "fine" else f"{sample.free // (1024 * 1024)} MiB are free")


def full_below(total: int) -> int:
    """Bytes below which a disk of ``total`` bytes counts as full."""
    return min(max(LEAST_FREE, total // LEAST_SHARE), MOST_FREE, total // SMALL_DISK)


def _failed(before: int | None, now: int | None) -> bool:
    if before is None or now is None:
        return False
    return now > before or 0 < now < before  # fewer than before, and some: those of an Envoy that began at none


def _by_space(before: DiskVerdict, free: int, full: int) -> DiskVerdict:
    if free < full * (LEAVE if before == "full" else 1):
        return "full"
    low = full * LOW
    return "low" if free < low * (1 if before == "fine" else LEAVE) else "fine"


def free_space(folder: Path) -> tuple[int, int] | tuple[None, None]:
    """Free and total bytes of the disk under a folder, for a user who is not root; ``None`` where it does not say."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None, None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
