"""A disk that fills up, where no call may go unrecorded, and where that is only counted."""

from __future__ import annotations

import signal
from typing import Final

from storm.court import Law
from storm.fault import Fault
from storm.node import BrokenError, filled, pause
from storm.stage import Stage

REFUSED: Final = "503 audit-unavailable"


def refuse_when_full(stage: Stage) -> None:
    stage.apply(log="full", on_full=None)
    stage.rule_good(Law.EITHER)
    with filled(stage.node.state.parent, leave=4 << 20):
        with stage.measuring("a full disk until calls are refused"):
            stage.until_all_say(REFUSED)
        stage.rule_good(Law.REFUSE)
        _end_processes(stage)
        stage.rule_good(Law.EITHER)
    with stage.measuring("space on the disk until calls pass again"):
        stage.until_good()
    stage.rule_good(Law.PASS)
    pause(0.3)


def _end_processes(stage: Stage) -> None:
    """Another warden, and another Envoy, refuse from the beginning."""
    node, envoy = stage.node, stage.node.envoy
    pause(0.5)
    node.end(signal.SIGKILL)
    node.start()
    if node.envoy != envoy:
        raise BrokenError("on a full disk, the next warden did not take Envoy over")
    pause(0.5)
    node.kill_envoy()
    stage.until(lambda: node.has_another_envoy(envoy), "another Envoy is started on a full disk")
    stage.until_all_say(REFUSED)
    pause(0.5)


def count_when_full(stage: Stage) -> None:
    """Not a byte is left but what the node keeps for itself; a revocation must be possible all the same."""
    stage.apply(log="full", on_full="count")
    with filled(stage.node.state.parent, leave=0):
        stage.until(lambda: stage.node.status().disk.verdict == "full" or not (stage.node.state / "reserve").exists(), "the node sees the full disk")
        stage.court.rule("revocable", Law.EITHER)
        number, _ = stage.node.revoke("--token-id", "storm-revocable", "--until-undone")
        stage.court.rule("revocable", Law.REFUSE)
        pause(1.0)
    stage.court.rule("revocable", Law.EITHER)
    stage.node.revoke("undo", str(number))
    stage.court.rule("revocable", Law.PASS)
    stage.apply(log="normal", on_full=None)


FAULTS: Final = (
    Fault(
        "disk-full-refuse",
        "the disk is full, with `log: full` (`on_full: refuse`)",
        refuse_when_full,
        "503 `audit-unavailable`, from a threshold on",
        "space on the disk",
        while_it_lasts="all, while it lasts",
        needs_disk=True,
    ),
    Fault(
        "disk-full-count",
        "the disk is full, with `on_full: count`",
        count_when_full,
        "nothing; lines that could not be written are counted, and missing",
        "space on the disk",
        needs_disk=True,
    ),
)
