"""Clocks that differ. The machine's clock is not touched: tokens have the times that a provider with another clock would give them."""

from __future__ import annotations

import time
from typing import Final

from storm.court import Law
from storm.fault import Fault
from storm.node import SKEW, pause
from storm.stage import Stage


def differ(stage: Stage) -> None:
    court, token = stage.court, stage.provider.token
    now = int(time.time())
    court.rule("clock", Law.PASS, token=token(iat=now + SKEW - 1, nbf=now + SKEW - 1))
    pause(0.5)
    court.rule("clock", Law.REFUSE, token=token(iat=now + 600, nbf=now + 600, exp=now + 900))
    pause(0.5)
    court.rule("clock", Law.REFUSE, token=token(iat=now - 900, exp=now - 600))
    pause(0.5)
    expire(stage)


def expire(stage: Stage) -> None:
    """A token that is called with all the time until it has expired: that it was verified before does not help it."""
    ends = int(time.time()) + 1
    stage.court.rule("clock", Law.PASS, token=stage.provider.token(exp=ends))
    pause(ends + SKEW - 1 - time.time())
    stage.court.rule("clock", Law.EITHER)
    pause(ends + SKEW + 1.5 - time.time())
    stage.court.rule("clock", Law.REFUSE)
    pause(0.5)
    stage.court.rule("clock", Law.EITHER)


FAULTS: Final = (
    Fault(
        "clocks",
        "the provider's clock differs from the node's (shown by the times of tokens)",
        differ,
        "within `clock_skew` nothing, beyond it `token-not-yet-valid` or `token-expired`",
        "correct clocks",
    ),
)
