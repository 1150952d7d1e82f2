"""What a storm found: the table that is printed, the record of it, and the README's section."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from storm.court import Account
from storm.fault import Fault

README: Final = Path(__file__).parents[1] / "README.md"
BEGINS: Final = "<!-- storm: written by 'python -m storm --write' -->\n"
ENDS: Final = "<!-- storm ends -->"

STEPS: Final = (1, 5, 15, 30)
"""Seconds to which times are rounded up, so that the section stays as it is from one run to the next."""


@dataclass(frozen=True)
class Row:
    """A fault and what came of it, over all rounds. ``broken`` says which promises were not kept; ``skipped`` that it could not be made here."""

    fault: Fault
    calls: int = 0
    let_through: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0
    broken: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def lost(self) -> int:
        return self.failed.total()

    def plus(self, account: Account, broken: Sequence[str] = ()) -> Row:
        """With another round."""
        found = (*self.broken, *broken, *_broken(self.fault, account))
        let_through, failed = self.let_through + len(account.let_through), self.failed + account.failed
        return replace(self, calls=self.calls + account.calls, let_through=let_through, failed=failed, longest=max(self.longest, account.longest), broken=found)


def _broken(fault: Fault, account: Account) -> list[str]:
    """The promises that a round did not keep."""
    found = [f"unauthorized: {what}" for what in sorted(set(account.let_through))]
    found += [f"good calls failed: {count} x {said}" for said, count in account.failed.items() if said not in fault.may_say]
    if fault.may_say and account.longest > fault.longest:
        found.append(f"good calls failed for {account.longest:.1f} s, and {fault.longest:g} s are promised")
    return found


def printed(rows: Sequence[Row], measured: Mapping[str, Sequence[float]]) -> str:
    """For people."""
    lines = [f"{'':<26} {'calls':>7}  {'unauthorized 200':>16}  good calls that failed"]
    for row in rows:
        failed = ", ".join(f"{count} x {said}" for said, count in row.failed.items())
        said = (
            "skipped: no disk of its own could be mounted"
            if row.skipped
            else f"{failed}, for {row.longest:.1f} s"
            if failed
            else row.fault.while_it_lasts or "none"
        )
        lines.append(f"{row.fault.name:<26} {row.calls:>7}  {row.let_through:>16}  {said}")
        lines += [f"{'':<26} BROKEN: {what}" for what in row.broken]
    lines += ["", f"{'measured, in ms':<80} {'median':>8} {'most':>8}"]
    lines += [f"{what:<80} {statistics.median(values):>8.0f} {max(values):>8.0f}" for what, values in measured.items()]
    return "\n".join(lines)


def recorded(rows: Sequence[Row], measured: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """For programs."""
    return {
        "faults": [
            {
                "fault": row.fault.name,
                "calls": row.calls,
                "unauthorized": row.let_through,
                "failed": dict(row.failed),
                "longest_seconds": round(row.longest, 3),
                "broken": list(row.broken),
                "skipped": row.skipped,
            }
            for row in rows
        ],
        "measured_ms": {what: [round(value, 1) for value in values] for what, values in measured.items()},
    }


def section(rows: Sequence[Row]) -> str:
    """The README's table."""
    lines = ["| What happens | Unauthorized 200 | Good calls that failed | What callers see | What ends it |", "|---|---|---|---|---|"]
    lines += [f"| {row.fault.title} | {row.let_through} | {_failed(row)} | {row.fault.sees} | {row.fault.ends or '-'} |" for row in rows]
    return "\n".join(lines) + "\n"


def _failed(row: Row) -> str:
    if row.fault.while_it_lasts:
        return row.fault.while_it_lasts
    if not row.lost:
        return "none"
    return f"for under {next((step for step in STEPS if row.longest < step), 60)} s"


def write(rows: Sequence[Row], readme: Path = README) -> None:
    """Put the table into the README. Errors: ``LookupError`` where it has no place there."""
    before, begins, rest = readme.read_text(encoding="utf-8").partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not begins or not ends:
        raise LookupError(f"{readme.name} has no place for the storm's table")
    readme.write_text(before + begins + section(rows) + ends + after, encoding="utf-8")
