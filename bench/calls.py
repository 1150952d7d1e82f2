"""What a checked call costs: every load on every contestant, in turn."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from bench.contestants import FULL, Contestant, Stage
from bench.row import Row
from bench.tokens import write_loads
from bench.wrk import Wrk

GOAL = 1.15
GOAL_REVOKED = 1.05
LOADS = ("one token", "10,000 tokens", "10 % bad tokens")
ARRAY = "scopes as array"
REVOKED = LOADS[:2]
"""The loads with which full tables of revocations are compared with empty ones."""
PAIRS = 4
"""Of such comparisons a round, each of a second: what is to be seen is smaller than what differs from one second to the next."""


def measure(running: Stage, folder: Path, rounds: int, seconds: int) -> list[Row]:
    """All loads on all contestants, interleaved."""
    loads = write_loads(folder, running)
    costs: dict[tuple[str, str], list[tuple[float, ...]]] = {case: [] for case in _plan()}
    for number in range(rounds + 1):  # the first warms up
        for (load, name), found in costs.items():
            print(f"\rround {number} of {rounds}: {name}, {load}".ljust(70), end="", file=sys.stderr, flush=True)
            cost = _one(running.named(name), loads[load], seconds, expect_bad=load == LOADS[2] and name != "plain Envoy")
            if number:
                found.append(cost)
    print(file=sys.stderr)
    first = {(load, name): statistics.median(values[0] for values in found) for (load, name), found in costs.items()}
    rows = _rows({case: statistics.median(map(sum, found)) for case, found in costs.items()}, first)
    return rows + [_revoked(running, load, loads[load], PAIRS * rounds) for load in REVOKED]


def _plan() -> list[tuple[str, str]]:
    return [*((load, name) for load in LOADS for name in ("gateway", "hand-written", "plain Envoy")), (ARRAY, "gateway, any form")]


def _revoked(running: Stage, load: str, tokens: Path, pairs: int) -> Row:
    """Full tables and empty ones side by side; which goes first alternates."""
    ratios = []
    for number in range(pairs):
        print(f"\r{FULL}, {load}: pair {number + 1} of {pairs}".ljust(70), end="", file=sys.stderr, flush=True)
        order = (FULL, "gateway") if number % 2 else ("gateway", FULL)
        cost = {name: sum(_one(running.named(name), tokens, 1, expect_bad=False)) for name in order}
        ratios.append(cost[FULL] / cost["gateway"])
    print(file=sys.stderr)
    return Row(f"{load}: 100,000 revocations / empty tables", statistics.median(ratios), "ratio", GOAL_REVOKED)


def _one(contestant: Contestant, tokens: Path, seconds: int, *, expect_bad: bool) -> tuple[float, ...]:
    """CPU milliseconds per 1,000 calls, of each process."""
    before = contestant.cpu_seconds()
    calls = Wrk(contestant.port, tokens).run(seconds)
    used = [now - then for now, then in zip(contestant.cpu_seconds(), before, strict=True)]
    share = calls.other / calls.all
    if calls.errors or not (0.05 < share < 0.15 if expect_bad else calls.other == 0):
        raise SystemExit(f"{contestant.name} answered {calls.other} of {calls.all} calls otherwise, and {calls.errors} not at all: nothing is measured")
    return tuple(1e6 * seconds / calls.all for seconds in used)


def _rows(median: dict[tuple[str, str], float], first: dict[tuple[str, str], float]) -> list[Row]:
    """``first`` are the medians of each contestant's first process: a gateway's is Python."""
    rows = []
    for load in LOADS:
        gateway, hand, plain = (median[load, name] for name in ("gateway", "hand-written", "plain Envoy"))
        python = first[load, "gateway"]
        parts = (("gateway", gateway), ("gateway, the Python process of it", python), ("hand-written Envoy", hand))
        rows += [Row(f"{load}: {name}", value, "ms CPU / 1,000 calls") for name, value in parts]
        rows += [Row(f"{load}: gateway / hand-written Envoy", gateway / hand, "ratio", GOAL), Row(f"{load}: gateway / plain Envoy", gateway / plain, "ratio")]
    array = median[ARRAY, "gateway, any form"]
    rows.append(Row("one token, scopes as array: gateway / hand-written Envoy", array / median[LOADS[0], "hand-written"], "ratio"))
    return rows
