"""idp and idp rotate, in a process of its own as people run it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest

from .conftest import Run

T = TypeVar("T")

OUT = Path("idp.out")
FIRST = "development identity provider: "


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, which answers, and its issuer. What it prints goes to OUT."""
    words = [sys.executable, "-m", "scopeward", "idp", "--listen", ":0", "--state-dir", "state", "--alg", "ES256", *options]
    with OUT.open("w") as out, subprocess.Popen(words, stdout=out, stderr=subprocess.PIPE, text=True) as process:
        try:
            issuer = wait_for(lambda: OUT.read_text().partition("\n")[0].removeprefix(FIRST) if "\n" in OUT.read_text() else None)
            wait_for(lambda: answers(issuer))
            yield process, issuer
        finally:
            process.kill()


def wait_for(look: Callable[[], T | None]) -> T:
    for _ in range(400):
        if (found := look()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("not in time")


def answers(issuer: str) -> bool | None:
    try:
        return httpx2.get(f"{issuer}/healthz", trust_env=False).is_success
    except httpx2.HTTPError:
        return None


def kids(issuer: str) -> list[str]:
    return [key["kid"] for key in httpx2.get(f"{issuer}/jwks", trust_env=False).json()["keys"]]


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_until_it_is_told(sent: signal.Signals) -> None:
    with running("--audience", "https://api.example.test", "--lifetime", "2m") as (process, issuer):
        assert httpx2.get(f"{issuer}/.well-known/openid-configuration", trust_env=False).json()["issuer"] == issuer
        process.send_signal(sent)
        _, err = process.communicate(timeout=20)
    out = OUT.read_text()
    assert (process.returncode, err) == (0, "ended\n")
    for shown in ("alice", "Alice Reader", "order-sync", "orders-web", "read.orders"):
        assert shown in out
    for secret in ("dev-order-sync", "dev-claims-copilot", Path("state/idp/admin-token").read_text().strip()):
        assert secret not in out
    assert stat.S_IMODE(Path("state").stat().st_mode) == 0o700


def test_rotation(run: Run) -> None:
    with running() as (_, issuer):
        (first,) = kids(issuer)
        ran = run("idp", "rotate", "--state-dir", "state")
        assert (ran.status, ran.err) == (0, "")
        assert f"publish: signing {first}; published {first}, " in ran.out
        second = kids(issuer)[1]
        assert f"signing {second}" in run("idp", "--state-dir", "state", "rotate", "--mode", "promote").out
        run("idp", "rotate", "--state-dir", "state", "--mode", "drop")
        assert kids(issuer) == [second]
        run("idp", "rotate", "--state-dir", "state", "--mode", "hard")
        assert len(kids(issuer)) == 1
        assert kids(issuer) != [second]
        token = Path("state/idp/admin-token")
        token.write_text("another\n")
        ran = run("idp", "rotate", "--state-dir", "state")
        assert ran.status == 3
        assert "401" in ran.err
        assert "another" not in ran.err.replace("Give the state directory", "")
    ran = run("idp", "rotate", "--state-dir", "state")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("error[idp-unreachable]: ")


def test_rotation_sends_its_token_to_loopback_only(run: Run) -> None:
    folder = Path("state/idp")
    folder.mkdir(parents=True)
    for name, text in (("issuer", "http://10.0.0.1:9000"), ("admin-token", "x")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    assert run("idp", "rotate", "--state-dir", "state").err.startswith("error[address-not-usable]: ")


def test_rotation_without_a_provider(run: Run) -> None:
    ran = run("idp", "rotate", "--state-dir", "nowhere")
    assert ran.status == 3
    assert "scopeward idp" in ran.err


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        (["--listen", "0.0.0.0:0"], "address-not-usable"),
        (["--listen", "nonsense"], "address-not-usable"),
        (["--accounts", "nowhere.yaml"], "accounts-invalid"),
        (["--accounts", "bad.yaml"], "accounts-invalid"),
        (["--accounts", "binary.yaml"], "accounts-invalid"),
        (["--listen", ":0", "--lifetime", "2d"], "usage"),
        (["--lifetime", "soon"], "usage"),
        (["--alg", "none"], "usage"),
        (["--state-dir", "bad.yaml"], "state-unwritable"),
    ],
)
def test_errors(run: Run, options: list[str], reference: str) -> None:
    Path("bad.yaml").write_text("clients: {x: {secret: hunter2, grants: [], scopes: []}}\n")
    Path("binary.yaml").write_bytes(b"\xff")
    ran = run("idp", *(["--state-dir", "state"] if "--state-dir" not in options else []), *options)
    assert (ran.status, ran.out) == (2 if reference == "usage" else 3, "")
    assert ran.err.startswith(f"error[{reference}]: ")
    assert "hunter2" not in ran.err


def test_a_port_in_use(run: Run, provider: str) -> None:
    assert run("idp", "--state-dir", "state", "--listen", provider.removeprefix("http://")).err.startswith("error[port-in-use]: ")


def test_own_accounts() -> None:
    Path("people.yaml").write_text(
        json.dumps({"people": {"zoe": {}}, "clients": {"z": {"secret": "hunter2", "grants": ["client_credentials"], "scopes": ["read.z"]}}})
    )
    with running("--accounts", "people.yaml") as (process, _):
        process.terminate()
        process.wait(20)
    out = OUT.read_text()
    assert "zoe" in out
    assert "alice" not in out
    assert "hunter2" not in out
