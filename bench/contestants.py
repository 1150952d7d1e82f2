"""Who is measured: started once, pinned to core 0; nginx behind them on core 1."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from scopeward.envoy.binary import packaged_path
from scopeward.issuer import SigningKeys

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; {paths}
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}
"""


@dataclass(frozen=True)
class Contestant:
    """Something that listens on ``port``; ``pids`` are all of its processes."""

    name: str
    port: int
    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """User and system time so far (proc(5), fields 14 and 15 of stat)."""
        return sum(_ticks(pid) for pid in self.pids) / TICKS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@dataclass(frozen=True)
class Stage:
    """All that runs."""

    contestants: tuple[Contestant, ...]
    keys: SigningKeys
    issuer: str
    python_pid: int
    first_call_seconds: float

    def python_mebibytes(self) -> float:
        """Resident memory of the gateway's Python process."""
        status = Path(f"/proc/{self.python_pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        upstream, idp = _free_port(), _free_port()
        issuer = f"http://127.0.0.1:{idp}"
        stack.enter_context(_process(["taskset", "-c", "1", "nginx", "-c", str(_nginx(folder, upstream))]))
        provider = ["taskset", "-c", "1", _scopeward(), "idp", "--listen", f"127.0.0.1:{idp}", "--audience", "api://orders", "--state-dir", str(folder / "idp")]
        stack.enter_context(_process(provider))
        _wait(f"{issuer}/jwks")
        keys = SigningKeys.load(folder / "idp" / "idp")
        token = keys.sign(claims(issuer, "first"), "at+jwt")
        begun = time.monotonic()
        gateway, pid = _gateway(stack, folder, "gateway", issuer, upstream, token, "string")
        first_call = time.monotonic() - begun
        others = [
            _gateway(stack, folder, "gateway, any form", issuer, upstream, token, "any")[0],
            _envoy(stack, folder, "hand-written", "hand_written.yaml", issuer, upstream, keys, token),
            _envoy(stack, folder, "plain Envoy", "plain.yaml", issuer, upstream, keys, token),
        ]
        yield Stage((gateway, *others), keys, issuer, pid, first_call)


def claims(issuer: str, token_id: str) -> dict[str, object]:
    """A service's token: what all contestants let in."""
    now = int(time.time())
    return {
        "iss": issuer,
        "aud": "api://orders",
        "sub": "order-sync",
        "client_id": "order-sync",
        "iat": now,
        "exp": now + 3600,
        "jti": token_id,
        "scope": "read.orders create.orders",
        "idtyp": "app",
    }


def _gateway(stack: contextlib.ExitStack, folder: Path, name: str, issuer: str, upstream: int, token: str, form: str) -> tuple[Contestant, int]:
    port = _free_port()
    home = folder / form
    home.mkdir()
    text = (HERE / "policy.yaml").read_text().format(port=port, issuer=issuer, upstream=upstream, scope_form=form)
    (home / "scopeward.yaml").write_text(text)
    command = ["taskset", "-c", "0", _scopeward(), "dev", str(home / "scopeward.yaml"), "--listen", f"127.0.0.1:{port}", "--state-dir", str(home)]
    process = stack.enter_context(_process(command))
    _wait(f"http://127.0.0.1:{port}/orders/v1/42", token)
    envoy = json.loads((home / "dev" / "envoy" / "run.json").read_text())["pid"]
    return Contestant(name, port, (process.pid, envoy)), process.pid


def _envoy(stack: contextlib.ExitStack, folder: Path, name: str, file: str, issuer: str, upstream: int, keys: SigningKeys, token: str) -> Contestant:
    port = _free_port()
    config = folder / file
    jwks = json.dumps(keys.public_jwks())
    config.write_text((HERE / file).read_text().format(port=port, admin=_free_port(), log=folder / f"{file}.log", issuer=issuer, upstream=upstream, jwks=jwks))
    options = ["--concurrency", "1", "-l", "error", "--use-dynamic-base-id", "--file-flush-interval-msec", "200"]
    process = stack.enter_context(_process(["taskset", "-c", "0", str(packaged_path()), "-c", str(config), *options]))
    _wait(f"http://127.0.0.1:{port}/orders/v1/42", token)
    return Contestant(name, port, (process.pid,))


def _nginx(folder: Path, port: int) -> Path:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {folder}/nginx-{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, paths=paths))
    return config


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, token: str = "") -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.HTTPError):
            if httpx2.get(url, headers={"Authorization": f"Bearer {token}"} if token else {}, trust_env=False).status_code == 200:
                return
        time.sleep(0.01)
    raise SystemExit(f"{url} does not answer 200")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scopeward() -> str:
    return str(Path(sys.executable).parent / "scopeward")
