"""A result and its goal, and the table of all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

BEGINS = "<!-- the table begins -->"
ENDS = "<!-- the table ends -->"


@dataclass(frozen=True)
class Row:
    """A result: ``goal`` is the most that ``value`` may be; ``holds`` is ``None`` where there is no goal."""

    name: str
    value: float
    unit: str
    goal: float | None = None

    @property
    def holds(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal

    @property
    def verdict(self) -> str:
        return "" if self.goal is None else f"   goal ≤ {self.goal:g}: {'holds' if self.holds else 'MISSED'}"


def table(rows: Sequence[Row]) -> str:
    """All of them, a line each, for people."""
    width = max(len(row.name) for row in rows)
    return "".join(f"{row.name:<{width}}  {row.value:10.3f} {row.unit}{row.verdict}\n" for row in rows)


def keep(rows: Iterable[Row], path: Path) -> None:
    """Write them for programs: a list of ``{name, value, unit, goal, holds}``."""
    path.write_text(json.dumps([vars(row) | {"holds": row.holds} for row in rows], indent=1) + "\n")


def kept(path: Path) -> list[Row]:
    """What ``keep`` wrote."""
    return [Row(found["name"], found["value"], found["unit"], found["goal"]) for found in json.loads(path.read_text())]


def with_table(page: str, rows: Sequence[Row]) -> str:
    """A page with the table of these in the place of the one before."""
    before, begins, rest = page.partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not ends:
        raise SystemExit(f"the page has no place for the table, between {BEGINS} and {ENDS}")
    return f"{before}{begins}\n```text\n{table(rows)}```\n{ends}{after}"


def p99(values: Iterable[float]) -> float:
    """By nearest rank: of fewer than a hundred values it is the largest."""
    ordered = sorted(values)
    return ordered[math.ceil(0.99 * len(ordered)) - 1]
