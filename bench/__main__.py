"""Run the benchmark: ``python -m bench [--rounds 5] [--seconds 2]``. Prints a table and keeps it in bench/latest.json and docs/performance.md.

Method: every contestant is started once, pinned to core 0 with one worker; load generator (wrk, 32 connections), upstream (nginx) and this
program have core 1. In each round each contestant serves each load in turn; what counts is the CPU time of the contestant's processes, user and
system from /proc, per 1,000 calls. The values are medians over the rounds, and the ratios are of medians of the same run. Then revocations and
applied policies are timed by the clock, from outside. One round is the short form: it applies and revokes a tenth as often.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench import applies, calls, memory, revocations
from bench.contestants import stage
from bench.row import Row, keep, table, with_table

LATEST = Path(__file__).parent / "latest.json"
PAGE = Path(__file__).parent.parent / "docs/performance.md"
GOAL_START = 3.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load in each round")
    parser.add_argument(
        "--output", type=Path, default=LATEST, help="where the results go; a run that goes to bench/latest.json is told in docs/performance.md too"
    )
    arguments = parser.parse_args()
    missing = [name for name in ("nginx", "wrk", "taskset") if not shutil.which(name)]
    if missing or len(os.sched_getaffinity(0)) < 2:
        print(f"missing: {', '.join(missing)}; on Debian: apt-get install nginx-light wrk util-linux" if missing else "two cores are needed")
        return 2
    os.sched_setaffinity(0, {1})
    rows = run(arguments.rounds, arguments.seconds)
    print(table(rows), end="")
    keep(rows, arguments.output)
    if arguments.output == LATEST:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


def run(rounds: int, seconds: int) -> list[Row]:
    """All of it, in this order: what comes in force is timed while nothing else works, and memory is that after the load."""
    often = 10 if rounds == 1 else 100
    load = Row("other work on the machine when it began: load average", os.getloadavg()[0], "processes")
    with tempfile.TemporaryDirectory(prefix="scopeward-bench-") as name, stage(Path(name)) as running:
        folder = Path(name)
        filled = revocations.fill(running)
        cost = calls.measure(running, folder, rounds, seconds)
        start = Row("start to first checked call", running.first_call_seconds, "s", GOAL_START)
        used = memory.measure(running)
        one_more = revocations.one_more(running, often // 2)
        return [load, *cost, start, *used, *filled, *one_more, *applies.measure(running, folder, often)]


if __name__ == "__main__":
    sys.exit(main())
