"""The node under the storm: ``scopeward run`` in a process of its own, with its Envoy, and the commands that an operator would use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from scopeward.clock import Clock
from scopeward.errors import ScopewardError
from scopeward.idp.copies import GoodKeys, KeyCopies
from scopeward.status.file import read_status
from scopeward.status.node_status import NodeStatus
from scopeward.tls.development import DevelopmentCertificate, development_certificate
from tests.kit.commands import Ran, Running, Shell, is_alive, replace_file
from tests.kit.gateway import free_port

DISK: Final = 128 << 20
"""Bytes of the state directory's disk."""

POLICY: Final = """\
version: 1
public_url: https://127.0.0.1:{port}
issuers:
  provider:
    issuer: {issuer}
    audience: api://orders
    typ: at+jwt
    clock_skew: {skew}s
    person: {{claim: idtyp, is: user}}
    scope_form: string
    keys: {{max_stale: 1m}}
trust:
  external: {{lifetime: 1h, log: {log}}}
{audit}scopes:
  read.orders: {{says: Read orders}}
clients:
  order-sync: {{kind: service, id: order-sync, may: [read.orders]}}
  order-report: {{kind: service, id: order-report, may: [read.orders]}}
apis:
  orders:
    at: /orders
    upstream: {upstream}
    rules:
      GET /**: {{needs: read.orders}}
      GET /edited: {{needs: read.orders, to: {to}}}
{more}"""

SKEW: Final = 3
"""Seconds: what clocks may differ by."""


class BrokenError(Exception):
    """A promise was not kept."""


@dataclass(frozen=True)
class Wanted:
    """What changes in the policy. ``closed`` shuts out the callers of ``/orders/edited``; ``more`` are rules that nobody calls."""

    closed: bool = False
    log: str = "normal"
    on_full: str | None = None
    more: int = 0

    def text(self, port: int, issuer: str, upstream: str) -> str:
        audit = f"audit: {{on_full: {self.on_full}}}\n" if self.on_full else ""
        more = "".join(f"      GET /more-{n}: {{needs: read.orders}}\n" for n in range(self.more))
        to = "people" if self.closed else "services"
        return POLICY.format(port=port, issuer=issuer, upstream=upstream, skew=SKEW, log=self.log, audit=audit, to=to, more=more)


class GatewayNode:
    """One node on a state directory, a port and a certificate."""

    def __init__(self, shell: Shell, folder: Path, state: Path, clock: Clock) -> None:
        self.shell, self.state, self.port = shell, state, free_port()
        self.wanted = Wanted()
        self._policy = folder / "orders.yaml"
        self._certificate = folder / "tls"
        self._certificate.mkdir()
        self._clock = clock
        self._running: Running | None = None
        self.client_ca = False
        """Whether callers are asked for a certificate, which none of them needs: a setting that Envoy must be started anew for."""

    # ── its life ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """``scopeward run``, until it serves."""
        self._running = self.shell.start("run", *self._place(), "--concurrency", "1")
        self._running.says("^serving policy ")

    def _place(self) -> list[str]:
        files = ["--tls-cert", str(self._certificate / "cert.pem"), "--tls-key", str(self._certificate / "key.pem")]
        files += ["--tls-client-ca", str(self._certificate / "client-ca.pem")] if self.client_ca else []
        return ["--listen", f"127.0.0.1:{self.port}", "--state-dir", str(self.state), *files]

    def end(self, number: signal.Signals) -> None:
        """Send the warden a signal, and wait for its end."""
        self.running.end(number)
        self._running = None

    @property
    def running(self) -> Running:
        if self._running is None:
            raise BrokenError("no warden runs")
        return self._running

    @property
    def envoy(self) -> int:
        """The pid of the Envoy in charge."""
        found = self._recorded()
        if found is None:
            raise BrokenError("no Envoy is recorded")
        return found

    def has_another_envoy(self, than: int) -> bool:
        """Whether the one in charge is another; between two there may be none."""
        return self._recorded() not in {None, than}

    def _recorded(self) -> int | None:
        try:
            return int(json.loads((self.state / "run.json").read_text())["pid"])
        except FileNotFoundError:
            return None

    def kill_envoy(self) -> None:
        os.kill(self.envoy, signal.SIGKILL)

    def stop(self) -> None:
        """Leave nothing running."""
        if self._running is not None:
            self.end(signal.SIGTERM)
        elif (pid := self._recorded()) is not None and is_alive(pid):
            self.kill_envoy()

    # ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, issuer: str, upstream: str, **changes: Any) -> None:
        """``scopeward apply`` of the policy with these changes."""
        self.wanted = replace(self.wanted, **changes)
        self.apply_text(self.wanted.text(self.port, issuer, upstream))

    def apply_text(self, text: str, status: int = 0) -> Ran:
        replace_file(self._policy, text)
        ran = self.shell.run("apply", self._policy, *self._place())
        if ran.status != status:
            raise BrokenError(f"'apply' ended with status {ran.status}: {ran.err}")
        return ran

    def store_applied(self, text: str) -> None:
        """Put a policy where ``apply`` stores what it found good, and wait for nothing."""
        replace_file(self.state / "applied" / "policy.yaml", text)

    def revoke(self, *words: str) -> tuple[int, int]:
        """``scopeward revoke``: the revocation's number, and after how many milliseconds it was in force."""
        ran = self.shell.run("revoke", *words, "--state-dir", self.state, "-o", "json")
        if ran.status:
            raise BrokenError(f"'revoke' ended with status {ran.status}: {ran.err}")
        return int(ran.json["number"]), int(ran.json["after_ms"])

    def revoke_for_later(self, *words: str) -> int:
        """The same while no warden runs: the revocation's number."""
        ran = self.shell.run("revoke", *words, "--state-dir", self.state, "-o", "json")
        if ran.status or ran.json["in_force"]:
            raise BrokenError(f"'revoke' without a warden says {ran.out or ran.err}")
        return int(ran.json["number"])

    def status(self) -> NodeStatus:
        """What ``scopeward status`` reads; it is written every two seconds."""
        try:
            found = read_status(self.state)
        except ScopewardError as error:
            raise BrokenError(str(error)) from None
        if found is None:
            raise BrokenError("the node tells no status")
        return found

    # ── keys, certificates ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    def age_copy(self, issuer: str, seconds: float) -> None:
        """Make the disk's copy of the issuer's keys as old as if the provider had been asked last so long ago. No warden may run."""
        copies = KeyCopies(self.state / "keys")
        known = copies.read(issuer, self._clock.now())
        if known is None:
            raise BrokenError("the node keeps no copy of the issuer's keys")
        copies.write(issuer, GoodKeys(known.jwks, self._clock.now() - seconds))

    def make_certificate(self) -> DevelopmentCertificate:
        return development_certificate(("127.0.0.1", "localhost"), self._clock)

    def put_certificate(self, made: DevelopmentCertificate | None) -> None:
        """Where the node looks for it; ``None`` is a broken one."""
        replace_file(self._certificate / "cert.pem", made.certificate if made else "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
        if made:
            replace_file(self._certificate / "client-ca.pem", made.ca)
            replace_file(self._certificate / "key.pem", made.private_key.reveal())


# ── the disk ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of its own at ``folder``, small enough to be filled; whether there is one: only root can mount it."""
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "scopeward-storm", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@contextmanager
def filled(disk: Path, leave: int) -> Iterator[None]:
    """Somebody fills the disk, but for ``leave`` bytes."""
    path = disk / "somebody-elses-file"
    found = os.statvfs(disk)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        left = max(0, found.f_bavail * found.f_frsize - leave)
        with contextlib.suppress(OSError):  # others write meanwhile
            while left > 0:
                left -= os.write(handle, bytes(min(left, 1 << 16)))
        yield
    finally:
        os.close(handle)
        path.unlink()


def pause(seconds: float) -> None:
    """Let callers call for a while; not at all where the time is over."""
    time.sleep(max(0.0, seconds))
