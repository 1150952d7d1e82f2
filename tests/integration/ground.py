"""What tests of whole nodes stand on: a policy file, a state directory, and a node that real commands run there."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scopeward.errors import REFERENCES
from scopeward.issuer import default_accounts, obtain_token
from tests.kit.commands import Ran, Running, Shell, call, envoy_pid
from tests.kit.gateway import free_port

POLICY = """\
version: 1
public_url: http://127.0.0.1:8080
issuers:
  dev: {{issuer: "{issuer}", audience: api://orders, person: {{claim: idtyp, is: user}}}}
scopes:
  read.orders: {{says: Read orders}}
clients:
  order-sync: {{kind: service, id: order-sync, may: [read.orders]}}
  orders-web: {{kind: app, id: orders-web, may: [read.orders]}}
apis:
  orders:
    at: /orders
    upstream: {upstream}
    rules:
      GET /**: {{needs: read.orders}}
"""
OPEN = "{needs: read.orders}"
CLOSED = "{needs: read.orders, to: people}"
WRONG = "{needs: raed.orders}"


def service_token(issuer: str) -> str:
    """A new token of the service ``order-sync``, good for the API of ``POLICY``."""
    secret = default_accounts().clients["order-sync"].secret
    return obtain_token(issuer, "order-sync", secret=secret, scopes=["read.orders"], resource="api://orders").access_token.reveal()


def person_token(issuer: str) -> str:
    """The same of alice, who uses ``orders-web``."""
    secret = default_accounts().clients["orders-web"].secret
    return obtain_token(issuer, "orders-web", secret=secret, person="alice", scopes=["read.orders"], resource="api://orders").access_token.reveal()


@dataclass(frozen=True)
class Place:
    """A policy file and a state directory."""

    shell: Shell
    policy: Path
    state: Path

    def apply(self, text: str, *words: str | Path) -> Ran:
        self.policy.write_text(text)
        return self.shell.run("apply", self.policy, "--state-dir", self.state, *words)

    def command(self, *words: str | Path) -> Ran:
        """Any command on the state directory."""
        return self.shell.run(*words, "--state-dir", self.state)

    def kept(self, name: str) -> Any:
        """What a JSON file of the state directory says."""
        return json.loads((self.state / name).read_text())


@dataclass(frozen=True)
class NodeOf(Place):
    """A node that runs on one. It is an Envoy and, as long as it lives, the process of the command."""

    process: Running
    port: int
    scheme: str = "http"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/orders/42"

    @property
    def envoy_pid(self) -> int:
        return envoy_pid(self.state)

    def call(self, token: str | None = None) -> tuple[int, str | None]:
        return call(self.url, token)


@contextmanager
def run_on(place: Place, *words: str | Path, port: int | None = None, scheme: str = "http") -> Iterator[NodeOf]:
    """``scopeward run`` on a place; it serves when the block begins, and ends with it."""
    port = port or free_port()
    with place.shell.start("run", "--listen", f":{port}", "--state-dir", place.state, *words) as process:
        process.says("^serving policy [0-9a-f]{12}$")
        process.says(rf"^  orders: {scheme}://127\.0\.0\.1:{port}/orders → \S+$")
        yield NodeOf(place.shell, place.policy, place.state, process, port, scheme)


def end_by_force(node: NodeOf) -> None:
    """SIGKILL its warden; Envoy goes on."""
    assert node.process.end(signal.SIGKILL).status == -signal.SIGKILL


def refusal(ran: Ran, reference: str, what: str, remedy: str | None = None) -> None:
    """An error in words: its reference, what it is about, and what to do; on stderr, with nothing on stdout."""
    assert (ran.status, ran.out) == (3, ""), ran
    said = re.search(r"^error\[([a-z-]+)\]: (.+)\n  help: (.+)\n\Z", ran.err, re.MULTILINE)
    assert said, ran.err
    assert said[1] == reference
    assert what in said[2]
    assert said[3] == (remedy or REFERENCES[reference].remedy)


def json_refusal(ran: Ran, reference: str, what: str) -> None:
    """The same for programs, on stdout."""
    assert (ran.status, ran.err) == (3, ""), ran
    error = ran.json["error"]
    assert set(error) == {"reference", "what", "remedy"}
    assert error["reference"] == reference
    assert what in error["what"]
    assert error["remedy"]
