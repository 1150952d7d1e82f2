"""What a fault is: something that fails, what its callers may see of it, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from storm.stage import Stage


@dataclass(frozen=True)
class Fault:
    """``act`` makes it happen and ends it; it raises ``BrokenError`` where the node does not do what it should.

    Where ``may_say`` is empty, no good call may fail. Else good calls may be answered with what it lists (as ``Answer.said`` has it), each caller's
    for at most ``longest`` seconds. ``while_it_lasts`` is what ``act`` itself demands of all good calls as long as the fault lasts. ``sees`` and
    ``ends`` are the table's words; ``needs_disk`` where a disk must be filled.
    """

    name: str
    title: str
    act: Callable[[Stage], None]
    sees: str
    ends: str
    may_say: frozenset[str] = frozenset()
    longest: float = 0.0
    while_it_lasts: str = ""
    needs_disk: bool = False
