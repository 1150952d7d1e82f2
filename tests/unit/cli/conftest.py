"""A command line in an empty directory, and a development provider to talk to."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scopeward.app import SystemClock
from scopeward.cli import cli
from scopeward.issuer import ProviderOptions, SigningKeys, default_accounts, development_provider, open_loopback_socket, provider_server
from tests.kit.commands import Ran

STARTER = """\
version: 1
public_url: "http://127.0.0.1:8080"
issuers:
  main: {issuer: "https://login.example.test", audience: "https://api.example.test", person: {claim: idtyp, is: user}}
scopes:
  read.orders: {says: Read orders}
clients:
  web: {kind: app, id: web, may: [read.orders]}
apis:
  orders: {at: /orders, upstream: "http://127.0.0.1:7000", rules: {GET /**: {needs: read.orders}}}
"""


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("SCOPEWARD_") or name in {"NO_COLOR", "TERM"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run() -> Run:
    def run(*args: str, input: str | None = None, color: bool = False) -> Ran:
        result: Result = CliRunner().invoke(cli, args, input=input, color=color)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "scopeward.yaml"
    path.write_text(STARTER)
    return path


@pytest.fixture(scope="session")
def provider() -> Iterator[str]:
    """A development provider on loopback; its issuer."""
    with open_loopback_socket("127.0.0.1", 0) as listener:
        issuer = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = development_provider(
            default_accounts(), SigningKeys.create("ES256"), ProviderOptions(issuer, "https://api.example.test", alg="ES256"), SystemClock()
        )
        server = provider_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield issuer
        server.should_exit = True
        thread.join(10)
