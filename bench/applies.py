"""Policies applied while callers call: how long until each is in force, and whether a call is lost.

A node follows its policy's file (``scopeward dev`` the one that it was given, ``scopeward run`` the one that ``scopeward apply`` wrote). Here the
file is replaced, as ``scopeward apply`` replaces it, and the clock runs until in-force.json names the new version: checked, compiled with its
issuers' keys, proven, validated by Envoy, published and confirmed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from bench.contestants import APPLIED_TO, FULL, Gateway, Stage
from bench.row import Row, p99
from bench.wrk import Wrk

GOAL = 1.0
PATIENCE = 30.0
POLL = 0.002
EVERY = 1.0
"""Seconds from one apply to the next: a hundred of them meet more than 500,000 calls."""


def measure(running: Stage, folder: Path, times: int) -> list[Row]:
    """Under load with empty tables of revocations; then with full ones, at rest."""
    tokens = folder / "while-applied.tokens"
    tokens.write_text(running.token("while-applied") + "\n")
    gateway = running.gateway(APPLIED_TO)
    load = Wrk(gateway.port, tokens)
    started = load.start(round(times * EVERY) + 1)
    time.sleep(0.5)
    seconds = _apply(gateway, times)
    calls = load.counted(started)
    full = max(times // 5, 5)
    return [
        Row(f"apply to in force, under load: p99 of {times}", p99(seconds), "s", GOAL),
        Row(f"calls while {times} policies were applied", calls.all, "calls"),
        Row("calls lost of these", calls.lost, "calls", 0),
        Row(f"apply to in force, 100,000 revocations: p99 of {full}", p99(_apply(running.gateway(FULL), full)), "s", GOAL),
    ]


def _apply(gateway: Gateway, times: int) -> list[float]:
    """Seconds of each. An apply begins where it is due, or as soon as the one before is in force."""
    begun, seconds = time.monotonic(), []
    for number, text in zip(range(times), _two_policies(gateway.policy.read_text()), strict=False):
        time.sleep(max(0.0, begun + number * EVERY - time.monotonic()))
        print(f"\rapply {number + 1} of {times}: {gateway.name}".ljust(70), end="", file=sys.stderr, flush=True)
        seconds.append(_one(gateway, text))
    print(file=sys.stderr)
    return seconds


def _two_policies(first: str) -> Iterator[str]:
    """In turn: one that lets a client do more and has another operation, and the first again. The callers' call is allowed by both."""
    more = "      GET /{id}/notes: {needs: read.orders, to: people}\n"
    second = first.replace("id: claims-copilot, may: [read.orders]", "id: claims-copilot, may: [read.orders, create.orders]") + more
    return cycle((second, first))


def _one(gateway: Gateway, text: str) -> float:
    before = gateway.in_force()["policy_version"]
    new = gateway.policy.with_suffix(".new")
    new.write_text(text)
    begun = time.monotonic()
    new.replace(gateway.policy)
    while gateway.in_force().get("policy_version", before) == before:
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(f"a policy did not come in force within {PATIENCE:g} s: nothing is measured")
        time.sleep(POLL)
    return time.monotonic() - begun
