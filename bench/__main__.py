"""Run the benchmark: ``python -m bench [--rounds 5] [--seconds 2]``. Prints a table and keeps it in bench/latest.json.

Method: every contestant is started once, pinned to core 0 with one worker; load generator (wrk, 32 connections) and upstream (nginx) have
core 1. In each round each contestant serves each load in turn; what counts is the CPU time of the contestant's processes, user and system
from /proc, per 1,000 calls. The values are medians over the rounds, and the ratios are of medians of the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.contestants import Contestant, Stage, stage
from bench.tokens import write_loads

HERE = Path(__file__).parent
GOAL = 1.15
LOADS = ("one token", "10,000 tokens", "10 % bad tokens")
ARRAY = "scopes as array"


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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each load in each round")
    parser.add_argument("--output", type=Path, default=HERE / "latest.json")
    arguments = parser.parse_args()
    missing = [name for name in ("nginx", "wrk", "taskset") if not shutil.which(name)]
    if missing or len(os.sched_getaffinity(0)) < 2:
        print(f"missing: {', '.join(missing)}; on Debian: apt-get install nginx-light wrk util-linux" if missing else "two cores are needed")
        return 2
    with tempfile.TemporaryDirectory(prefix="scopeward-bench-") as folder, stage(Path(folder)) as running:
        rows = measure(running, Path(folder), arguments.rounds, arguments.seconds)
    show(rows)
    arguments.output.write_text(json.dumps([vars(row) | {"holds": row.holds} for row in rows], indent=1) + "\n")
    return 0


def measure(running: Stage, folder: Path, rounds: int, seconds: int) -> list[Row]:
    """All loads on all contestants, interleaved."""
    loads = write_loads(folder, running)
    by_name = {c.name: c for c in running.contestants}
    plan = [(load, name) for load in LOADS for name in ("gateway", "hand-written", "plain Envoy")] + [(ARRAY, "gateway, any form")]
    costs: dict[tuple[str, str], list[float]] = {case: [] for case in plan}
    for number in range(rounds + 1):  # the first warms up
        for load, name in plan:
            print(f"\rround {number} of {rounds}: {name}, {load}".ljust(60), end="", file=sys.stderr, flush=True)
            cost = one(by_name[name], loads[load], seconds, expect_bad=load == LOADS[2] and name != "plain Envoy")
            if number:
                costs[load, name].append(cost)
    print(file=sys.stderr)
    return rows_of({case: statistics.median(values) for case, values in costs.items()}, running)


def one(contestant: Contestant, tokens: Path, seconds: int, *, expect_bad: bool) -> float:
    """CPU milliseconds per 1,000 calls."""
    before = contestant.cpu_seconds()
    ran = subprocess.run(
        ["taskset", "-c", "1", "wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(HERE / "load.lua"), f"http://127.0.0.1:{contestant.port}"],
        env={**os.environ, "BENCH_TOKENS": str(tokens)},
        capture_output=True,
        text=True,
        check=True,
    )
    used = contestant.cpu_seconds() - before
    good, other, errors, _ = map(int, next(line for line in ran.stdout.splitlines() if line.startswith("BENCH")).split()[1:])
    share = other / (good + other)
    if errors or not (0.05 < share < 0.15 if expect_bad else other == 0):
        raise SystemExit(f"{contestant.name} answered {other} of {good + other} calls otherwise, and {errors} not at all: nothing is measured")
    return 1e6 * used / (good + other)


def rows_of(median: dict[tuple[str, str], float], running: Stage) -> list[Row]:
    rows = []
    for load in LOADS:
        gateway, hand, plain = (median[load, name] for name in ("gateway", "hand-written", "plain Envoy"))
        rows += [Row(f"{load}: gateway", gateway, "ms CPU / 1,000 calls"), Row(f"{load}: hand-written Envoy", hand, "ms CPU / 1,000 calls")]
        rows += [Row(f"{load}: gateway / hand-written Envoy", gateway / hand, "ratio", GOAL), Row(f"{load}: gateway / plain Envoy", gateway / plain, "ratio")]
    array = median[ARRAY, "gateway, any form"]
    rows.append(Row("one token, scopes as array: gateway / hand-written Envoy", array / median[LOADS[0], "hand-written"], "ratio"))
    rows.append(Row("start to first checked call", running.first_call_seconds, "s", 3.0))
    rows.append(Row("memory of the Python process", running.python_mebibytes(), "MiB", 150.0))
    return rows


def show(rows: list[Row]) -> None:
    width = max(len(row.name) for row in rows)
    said: Callable[[Row], str] = lambda row: "" if row.goal is None else f"   goal ≤ {row.goal:g}: {'holds' if row.holds else 'MISSED'}"  # noqa: E731
    for row in rows:
        print(f"{row.name:<{width}}  {row.value:8.3f} {row.unit}{said(row)}")


if __name__ == "__main__":
    sys.exit(main())
