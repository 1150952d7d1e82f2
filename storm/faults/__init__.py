"""All faults, in the order in which they happen: each on what the ones before have left."""

from __future__ import annotations

from typing import Final

from storm.fault import Fault
from storm.faults import certificates, clocks, disk, keys, policy, processes, revocations

FAULTS: Final[tuple[Fault, ...]] = (
    *policy.FAULTS,
    *revocations.FAULTS,
    *processes.FAULTS,
    *certificates.FAULTS,
    *keys.FAULTS,
    *clocks.FAULTS,
    *disk.FAULTS,
    keys.STALE,
)
