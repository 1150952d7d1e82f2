"""The provider and its keys."""

from __future__ import annotations

import signal
import time
from typing import Final

from scopeward.idp.keeper import good_until
from storm.court import Law
from storm.fault import Fault
from storm.node import pause
from storm.stage import Stage

IN_FORCE: Final = "the issuers' keys changed and are in force"
MAX_STALE: Final = 60
NEARLY_STALE: Final = 43.0
"""How old, in seconds, the keys are made, so that nobody has to wait for a minute."""
LIES: Final = 2
"""How many are told in one round; in a short storm one."""


def kill_provider(stage: Stage) -> None:
    """It is killed, then somebody lies in its place, then it is back."""
    stage.provider.kill()
    pause(0.5)
    with stage.provider.lying(stage.background) as told:
        stage.until(lambda: len(told) >= (1 if stage.short else LIES), "the node asks for keys", 45.0)
        pause(0.3)
    stage.provider.start()


def rotate_politely(stage: Stage) -> None:
    """The next key is published before it signs, the old one withdrawn after its tokens are gone; one caller has kept one."""
    stage.court.rule("withdrawn key", Law.EITHER, token=stage.provider.token())
    _rotate(stage, "publish")
    stage.provider.rotate("promote")
    stage.new_tokens()
    pause(0.5)
    _rotate(stage, "drop")
    stage.court.rule("withdrawn key", Law.REFUSE)
    pause(0.5)


def rotate_hard(stage: Stage) -> None:
    """Another key signs at once. Tokens of the old one have been verified, and must be refused as soon as the new one is known."""
    stage.court.rule("withdrawn key", Law.EITHER, token=stage.provider.token())
    pause(0.3)
    seen = len(stage.node.running.err)
    stage.provider.rotate("hard")
    stage.new_tokens()
    with stage.measuring("a key that signs at once until it is known"):
        stage.node.running.says(IN_FORCE, err=True, after=seen)
    stage.court.rule("withdrawn key", Law.REFUSE)
    stage.until_good()
    pause(0.5)


def _rotate(stage: Stage, mode: str) -> None:
    seen = len(stage.node.running.err)
    stage.provider.rotate(mode)
    stage.node.running.says(IN_FORCE, err=True, after=seen)


def let_keys_grow_old(stage: Stage) -> None:
    """The provider is down, and then the warden too: Envoy itself refuses the issuer's tokens when its keys are too old."""
    node, issuer = stage.node, stage.provider.issuer
    stage.provider.kill()
    node.end(signal.SIGHUP)
    node.age_copy(issuer, NEARLY_STALE)
    too_old = good_until(time.time() - NEARLY_STALE, MAX_STALE)
    node.start()
    node.end(signal.SIGKILL)
    pause(too_old - time.time() - 1.5)
    stage.rule_good(Law.EITHER)
    pause(too_old - time.time() + 1.5)
    stage.until_all_say("503 issuer-keys-stale")
    stage.rule_good(Law.REFUSE)
    pause(1.0)
    stage.rule_good(Law.EITHER)
    stage.provider.start()
    node.start()
    stage.until_good()
    stage.rule_good(Law.PASS)
    pause(0.3)


FAULTS: Final = (
    Fault(
        "keys-polite",
        "the provider rotates its keys: publishes, signs, withdraws",
        rotate_politely,
        "nothing; tokens of the withdrawn key: `token-unknown-key`, also those that were verified before",
        "",
    ),
    Fault(
        "keys-abrupt",
        "the provider signs with a new key at once",
        rotate_hard,
        "new tokens: `token-unknown-key`; old ones go on until the new key is known, then not",
        "the warden, which looks again when it sees an unknown key, once in ten seconds at most",
        may_say=frozenset({"401 token-unknown-key"}),
        longest=20.0,
    ),
    Fault(
        "provider-killed",
        "the provider is down, or publishes no usable keys",
        kill_provider,
        "nothing: the last good keys serve, for `keys.max_stale`",
        "the provider coming back",
    ),
)

STALE: Final = Fault(
    "keys-stale",
    "the provider is down for longer than `keys.max_stale`, the warden as well",
    let_keys_grow_old,
    "503 `issuer-keys-stale`; Envoy sees to that by itself",
    "the provider coming back, and a warden that asks it",
    while_it_lasts="all, while it lasts",
)
