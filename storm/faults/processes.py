"""Processes that end: the warden's, Envoy's, both."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from typing import Final

from storm.court import Law
from storm.fault import Fault
from storm.node import BrokenError, pause
from storm.stage import Stage


def kill_warden(stage: Stage) -> None:
    """What was revoked before stays so while the next warden takes over; what is revoked meanwhile is in force as soon as that one serves."""
    court, envoy = stage.court, stage.node.envoy
    court.rule("revocable", Law.EITHER)
    before, _ = stage.node.revoke("--token-id", "storm-revocable", "--until-undone")
    court.rule("revocable", Law.REFUSE)
    stage.node.end(signal.SIGKILL)
    court.rule("edited", Law.EITHER)
    meanwhile = stage.node.revoke_for_later("--token-id", "storm-edited", "--until-undone")
    _next_warden(stage, envoy)
    court.rule("edited", Law.REFUSE)
    pause(0.3)
    for role, number in (("revocable", before), ("edited", meanwhile)):
        court.rule(role, Law.EITHER)
        stage.node.revoke("undo", str(number))
        court.rule(role, Law.PASS)
    pause(0.2)


def kill_warden_amid_edits(stage: Stage) -> None:
    """It is killed while it puts an edit in force, each time a little later; the next warden brings the edit to its end."""
    node = stage.node
    for number, delay in enumerate(AMID[:2] if stage.short else AMID):
        node.wanted = replace(node.wanted, closed=number % 2 == 0, more=number + 1)
        stage.court.rule("edited", Law.EITHER)
        node.store_applied(node.wanted.text(node.port, stage.provider.issuer, stage.upstream.url))
        pause(delay)
        node.end(signal.SIGKILL)
        pause(0.2)
        node.start()
        stage.court.rule("edited", Law.REFUSE if node.wanted.closed else Law.PASS)
        pause(0.3)


def hang_up(stage: Stage) -> None:
    envoy = stage.node.envoy
    stage.node.end(signal.SIGHUP)
    pause(0.5)
    _next_warden(stage, envoy)


def _next_warden(stage: Stage, envoy: int) -> None:
    with stage.measuring("the next warden takes Envoy over, start of the command included"):
        stage.node.start()
    if stage.node.envoy != envoy:
        raise BrokenError("the next warden did not take Envoy over")
    pause(0.5)


def replace_envoy(stage: Stage) -> None:
    """A setting that Envoy must be started anew for."""
    envoy = stage.node.envoy
    stage.node.end(signal.SIGHUP)
    stage.node.client_ca = not stage.node.client_ca
    with stage.measuring("another Envoy serves beside the old one, start of the command included"):
        stage.node.start()
    if stage.node.envoy == envoy:
        raise BrokenError("Envoy was not replaced")
    stage.until(lambda: stage.node.running.err.count("the Envoy that was replaced has ended") > 0, "the old Envoy ends", 40.0)


def kill_envoy(stage: Stage) -> None:
    envoy = stage.node.envoy
    began = time.monotonic()
    stage.node.kill_envoy()
    stage.until(lambda: stage.node.has_another_envoy(envoy), "another Envoy is started")
    stage.until_good()
    stage.measured["Envoy is killed until calls pass again"].append(1000 * (time.monotonic() - began))


def restart(stage: Stage) -> None:
    """SIGTERM lets calls end: those under way are not cut. After it, nobody listens until the next start."""
    stage.node.end(signal.SIGTERM)
    stage.node.start()
    stage.until_good()


def kill_both(stage: Stage) -> None:
    """As a power cut does: nothing is told to anybody."""
    stage.node.end(signal.SIGKILL)
    stage.node.kill_envoy()
    stage.node.start()
    stage.until_good()


def stop_upstream(stage: Stage) -> None:
    stage.upstream.stop()
    pause(1.0)
    stage.upstream.start_again()
    stage.until_good()


AMID: Final = (0.1, 0.2, 0.3, 0.4)
"""Seconds from an edit to the end of the warden. An even number, in a short storm too, so that the last edit lets all in."""

NOT_REACHED: Final = frozenset({"no connection"})
CUT: Final = frozenset({"no connection", "cut"})

FAULTS: Final = (
    Fault(
        "warden-killed",
        "the warden is killed, and started again",
        kill_warden,
        "nothing: Envoy goes on",
        "`scopeward run`, which takes Envoy over; revocations, edits and new keys of meanwhile are in force then",
    ),
    Fault(
        "warden-killed-amid-edits",
        "the warden is killed while it puts an edit in force",
        kill_warden_amid_edits,
        "calls are decided by the old policy or the new one",
        "`scopeward run`, which puts the edit in force",
    ),
    Fault("warden-hup", "the warden is replaced (SIGHUP, then `run` again)", hang_up, "nothing: Envoy goes on", "`scopeward run`"),
    Fault("envoy-replaced", "`run` with settings that need another Envoy", replace_envoy, "nothing: a second Envoy serves before the first leaves", ""),
    Fault(
        "envoy-killed",
        "Envoy is killed",
        kill_envoy,
        "calls under way are cut, new connections are refused",
        "the warden, which starts another; after further ends within a minute it waits, 30 s at most",
        may_say=CUT,
        longest=10.0,
    ),
    Fault(
        "restart",
        "the node is ended (SIGTERM) and started again",
        restart,
        "calls under way end; then connections are refused",
        "`scopeward run`",
        may_say=NOT_REACHED,
        longest=15.0,
    ),
    Fault(
        "both-killed",
        "all of the node is killed, as by a power cut, and started again",
        kill_both,
        "calls under way are cut, new connections are refused",
        "`scopeward run`; what was revoked is, from the first call on",
        may_say=CUT,
        longest=15.0,
    ),
    Fault(
        "upstream-down",
        "the upstream is down",
        stop_upstream,
        "503 `upstream-unavailable`; a call under way may get 502 `upstream-failed`",
        "the upstream coming back",
        may_say=frozenset({"503 upstream-unavailable", "502 upstream-failed"}),
        longest=10.0,
        while_it_lasts="all, while it lasts",
    ),
)
