"""All that runs in a storm, put together: provider, API, node, callers."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scopeward.app import SystemClock
from scopeward.tls.development import DevelopmentCertificate
from storm.callers import Background, Caller, Callers
from storm.court import Court, Law
from storm.node import BrokenError, GatewayNode, small_disk
from storm.provider import Provider, forged
from storm.upstream import Upstream
from tests.kit.commands import Shell

ANY: Final = "/orders/7"

GOOD: Final[dict[str, dict[str, str]]] = {
    "good": {},
    "slow": {},
    "edited": {"jti": "storm-edited"},
    "revocable": {"client_id": "order-report", "sub": "report-7", "jti": "storm-revocable"},
}
"""Roles whose tokens are good, while nothing is done to them, and what is theirs in these."""

SHORT: Final = 5
"""A round with fewer edits is a short one."""

CALLERS: Final = (
    Caller("good", "kept", 0.025),
    Caller("good", "kept", 0.025),
    Caller("good", "fresh", 0.05),
    Caller("slow", "both", 0.05),
    Caller("edited", "both", 0.03),
    Caller("revocable", "kept", 0.005),
    Caller("revocable", "fresh", 0.08),
    Caller("none", "both", 0.08),
    Caller("expired", "both", 0.08),
    Caller("wrong scope", "both", 0.08),
    Caller("wrong audience", "both", 0.08),
    Caller("forged", "both", 0.08),
    Caller("revoked", "kept", 0.03),
    Caller("revoked", "fresh", 0.08),
    Caller("unknown key", "both", 0.08),
    Caller("clock", "kept", 0.03),
    Caller("withdrawn key", "kept", 0.03),
    Caller("withdrawn key", "fresh", 0.08),
)


@dataclass
class Stage:
    """``edits`` are how many policy edits a round has. ``measured`` is what was measured, in milliseconds, by what it is."""

    background: Background
    court: Court
    provider: Provider
    upstream: Upstream
    node: GatewayNode
    certificates: list[DevelopmentCertificate]
    has_disk: bool
    edits: int
    measured: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def short(self) -> bool:
        """Whether a round is to be short, at the price of some repetitions."""
        return self.edits < SHORT

    def apply(self, **changes: object) -> None:
        self.node.apply(self.provider.issuer, self.upstream.url, **changes)

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        begin = time.monotonic()
        yield
        self.measured[what].append(1000 * (time.monotonic() - begin))

    def new_tokens(self) -> None:
        """Tokens of the key that signs now, for all who have good ones."""
        for role, changes in GOOD.items():
            self.court.rule(role, self.court.ruling(role).law, token=self.provider.token(**changes))

    def rule_good(self, law: Law) -> None:
        for role in GOOD:
            self.court.rule(role, law)

    def until_good(self, patience: float = 30.0) -> None:
        """Until the last call of each good role passed."""
        self.until(lambda: all(self.court.last(role) == "200" for role in GOOD), "the good calls pass", patience)

    def until_all_say(self, said: str, patience: float = 30.0) -> None:
        self.until(lambda: all(self.court.last(role) == said for role in GOOD), f"the good calls are told {said}", patience)

    def until(self, holds: Callable[[], bool], what: str, patience: float = 30.0) -> None:
        end = time.monotonic() + patience
        while not holds():
            if time.monotonic() > end:
                raise BrokenError(f"not within {patience:g} s: {what}; last answers: {[(role, self.court.last(role)) for role in GOOD]}")
            time.sleep(0.01)


@contextmanager
def stage(edits: int) -> Iterator[Stage]:
    """The node serves, and all callers call."""
    clock = SystemClock()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="storm-")))
        shell = stack.enter_context(Shell(folder).nothing_left())
        background = stack.enter_context(Background())
        upstream = stack.enter_context(Upstream(background))
        disk = folder / "disk"
        has_disk = stack.enter_context(small_disk(disk))
        provider = Provider(shell, folder)
        provider.start()
        stack.callback(provider.kill)
        withdrawn = provider.token()
        provider.rotate("hard")
        node = GatewayNode(shell, folder, disk / "state", clock)
        certificates = [node.make_certificate() for _ in range(2)]
        node.put_certificate(certificates[0])
        made = Stage(background, Court(), provider, upstream, node, certificates, has_disk, edits)
        _rule_all(made, withdrawn)
        made.apply()
        stack.callback(node.stop)
        node.start()
        node.revoke("--token-id", "storm-revoked", "--until-undone")
        stack.enter_context(Callers(background, made.court, CALLERS, node.port, _trusting(certificates)))
        made.until_good()
        yield made


def _rule_all(stage: Stage, withdrawn: str) -> None:
    court, token, now = stage.court, stage.provider.token, int(time.time())
    for role, path in zip(GOOD, (ANY, "/orders/slow", "/orders/edited", ANY), strict=True):
        court.rule(role, Law.PASS, path=path)
    stage.new_tokens()
    court.rule("none", Law.REFUSE, path=ANY)
    bad = {
        "expired": token(iat=now - 900, exp=now - 600),
        "wrong scope": token(scope="create.orders"),
        "wrong audience": token(aud="api://stock"),
        "forged": forged(token()),
        "revoked": token(jti="storm-revoked"),
        "unknown key": withdrawn,
        "withdrawn key": withdrawn,
    }
    for role, given in bad.items():
        court.rule(role, Law.REFUSE, path=ANY, token=given)
    court.rule("clock", Law.EITHER, path=ANY, token=token())


def _trusting(certificates: list[DevelopmentCertificate]) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata="".join(made.ca for made in certificates))
    context.check_hostname = True
    return context
