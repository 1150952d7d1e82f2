"""Run the fault storm: ``python -m storm [--seconds 120] [--faults NAME,…] [--edits 20] [--output FILE] [--write]``.

A node (``scopeward run`` with its Envoy, over TLS) serves callers of every kind, good and bad, without a pause, while one part after the other fails:
each fault once, then again until the seconds are over. What must be so is asserted: no call is let through that must not be, at any time; no good
call fails where the design promises that none does. Exit status 1 where a promise was broken. ``--write`` puts the table into README.md.

The machine's clock is not touched, and the storm does not wait until keys are too old: tokens, and the node's copy of the keys, get the times instead.
Only root can mount the small disk that is filled; without it those faults are skipped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from storm.fault import Fault
from storm.faults import FAULTS
from storm.node import BrokenError, pause
from storm.report import Row, printed, recorded, write
from storm.stage import Stage, stage

SETTLE = 0.5
"""Seconds in which calls of one fault end before the next begins."""


def main() -> int:
    arguments = _arguments()
    chosen = [fault for fault in FAULTS if not arguments.faults or fault.name in arguments.faults.split(",")]
    with stage(arguments.edits) as made:
        rows = blow(made, chosen, arguments.seconds)
        measured = dict(made.measured)
    print(printed(rows, measured))
    if arguments.output:
        arguments.output.write_text(json.dumps(recorded(rows, measured), indent=1) + "\n")
    broken = any(row.broken for row in rows)
    if arguments.write and not broken:
        if len(chosen) < len(FAULTS) or any(row.skipped for row in rows):
            print("not written: a fault is missing")
            return 2
        write(rows)
    return int(broken)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m storm", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="faults happen again until then; each happens once in any case")
    parser.add_argument("--faults", metavar="NAME,…", help=", ".join(fault.name for fault in FAULTS))
    parser.add_argument("--edits", type=int, default=20, help="of the policy, in one round")
    parser.add_argument("--output", type=Path, help="a JSON file for all that was counted and measured")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    arguments = parser.parse_args()
    unknown = set((arguments.faults or FAULTS[0].name).split(",")) - {fault.name for fault in FAULTS}
    if unknown:
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    return arguments


def blow(made: Stage, faults: Sequence[Fault], seconds: float) -> list[Row]:
    """All faults, again and again until the time is over; ends early where a node does not do what it should, for nothing follows from there."""
    rows = {fault.name: Row(fault) for fault in faults}
    end = time.monotonic() + seconds
    first = True
    while first or time.monotonic() < end:
        for fault in faults:
            if not first and time.monotonic() > end:
                break
            rows[fault.name] = row = once(made, rows[fault.name])
            if row.broken:
                return list(rows.values())
        first = False
        if all(fault.needs_disk and not made.has_disk for fault in faults):
            break
    return list(rows.values())


def once(made: Stage, row: Row) -> Row:
    """One fault, from a quiet beginning to a quiet end."""
    fault = row.fault
    if fault.needs_disk and not made.has_disk:
        return Row(fault, skipped=True)
    begun = time.monotonic()
    made.court.open()
    account = made.court.account
    without_pass = made.upstream.without_pass
    broken: list[str] = []
    try:
        fault.act(made)
    except (BrokenError, AssertionError) as error:
        broken.append(str(error))
    pause(SETTLE)
    made.court.compare(made.upstream.reached())
    if made.upstream.without_pass > without_pass:
        broken.append("a call reached the upstream without the gateway's pass")
    print(f"{fault.name}: {account.calls} calls, {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return row.plus(account, broken)


if __name__ == "__main__":
    sys.exit(main())
