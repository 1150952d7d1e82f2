"""Revocations of one caller, in each way, and each taken back."""

from __future__ import annotations

from typing import Final

from storm.court import Law
from storm.fault import Fault
from storm.node import BrokenError, pause
from storm.stage import Stage

WAYS: Final = (("--token-id", "storm-revocable"), ("--client", "order-report"), ("--subject", "report-7"))

IN_FORCE: Final = 1000
"""Milliseconds in which a revocation must be in force."""


def revoke(stage: Stage) -> None:
    for way in WAYS:
        _revoke_and_undo(stage, way)


def _revoke_and_undo(stage: Stage, way: tuple[str, str]) -> None:
    court = stage.court
    court.rule("revocable", Law.EITHER)
    number, after_ms = stage.node.revoke(*way, "--until-undone")
    court.rule("revocable", Law.REFUSE)
    stage.measured["a revocation until in force"].append(after_ms)
    pause(0.2)
    court.rule("revocable", Law.EITHER)
    _, undone_ms = stage.node.revoke("undo", str(number))
    court.rule("revocable", Law.PASS)
    stage.measured["its undoing until in force"].append(undone_ms)
    pause(0.2)
    if max(after_ms, undone_ms) >= IN_FORCE:
        raise BrokenError(f"{way[0]} was in force after {after_ms} ms, its undoing after {undone_ms} ms")


FAULTS: Final = (
    Fault(
        "revocations",
        "a token, a client or a subject is revoked, and that is undone",
        revoke,
        "`token-revoked` from under a second on",
        "`scopeward revoke undo`",
    ),
)
