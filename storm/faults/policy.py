"""Edits of the policy, good and broken."""

from __future__ import annotations

from typing import Final

from storm.court import Law
from storm.fault import Fault
from storm.node import pause
from storm.stage import Stage


def edit(stage: Stage) -> None:
    """In turn an edit that shuts callers out and one that lets them in again; each call after ``apply`` ended must be decided by it."""
    for number in range(stage.edits):
        closed = number % 2 == 0
        stage.court.rule("edited", Law.EITHER)
        with stage.measuring("'scopeward apply' until in force, start of the command included"):
            stage.apply(closed=closed, more=number % 5)
        stage.court.rule("edited", Law.REFUSE if closed else Law.PASS)
        pause(0.2)
    stage.court.rule("edited", Law.EITHER)
    stage.apply(closed=False, more=0)
    stage.court.rule("edited", Law.PASS)
    pause(0.2)


def break_file(stage: Stage) -> None:
    """A broken policy by the command, which refuses it, and past the command, where the node itself must."""
    node = stage.node
    good = node.wanted.text(node.port, stage.provider.issuer, stage.upstream.url)
    broken = good.replace("needs: read.orders", "needs: raed.orders")
    node.apply_text(broken, status=3)
    seen = len(node.running.err)
    node.store_applied(broken)
    node.running.says("not applied; what was in force stays", err=True, after=seen)
    pause(0.3)
    node.store_applied(good)
    pause(0.3)


FAULTS: Final = (
    Fault(
        "edits",
        "the policy is edited, tighter and looser in turn",
        edit,
        "the call after `apply` ended is decided by the new policy; calls under way by the old one or the new one",
        "",
    ),
    Fault("broken-policy", "the policy's file is broken", break_file, "nothing: what was in force stays", "a file without errors"),
)
