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
from typing import Any

import httpx2

from scopeward.envoy.binary import packaged_path
from scopeward.envoy.state_dir import IN_FORCE, RUN, StateDir
from scopeward.issuer import SigningKeys

HERE = Path(__file__).parent
TICKS = os.sysconf("SC_CLK_TCK")
NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; {paths}
  server {{ listen 127.0.0.1:{port}; location / {{ return 200 "ok"; }} }} }}
"""


FULL = "gateway, 100,000 revocations"
APPLIED_TO = "gateway, policies applied"


@dataclass(frozen=True)
class Contestant:
    """Something that listens on ``port``; ``pids`` are all of its processes."""

    name: str
    port: int
    pids: tuple[int, ...]

    def cpu_seconds(self) -> tuple[float, ...]:
        """User and system time of each process so far (proc(5), fields 14 and 15 of stat)."""
        return tuple(_ticks(pid) / TICKS for pid in self.pids)


@dataclass(frozen=True)
class Gateway(Contestant):
    """A node; its processes are Python and Envoy, in this order. ``policy`` is the file that it follows."""

    state: StateDir
    policy: Path

    def mebibytes(self) -> tuple[float, float]:
        """Resident memory of both processes."""
        python, envoy = (_resident(pid) for pid in self.pids)
        return python, envoy

    def in_force(self) -> dict[str, Any]:
        """What it confirmed."""
        return self.state.read_json(IN_FORCE) or {}


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def _resident(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@dataclass(frozen=True)
class Stage:
    """All that runs."""

    contestants: tuple[Contestant, ...]
    keys: SigningKeys
    issuer: str
    first_call_seconds: float

    def named(self, name: str) -> Contestant:
        return next(c for c in self.contestants if c.name == name)

    def gateway(self, name: str = "gateway") -> Gateway:
        found = self.named(name)
        assert isinstance(found, Gateway)
        return found

    def token(self, token_id: str, **changes: object) -> str:
        """A service's token with other claims; ``None`` leaves one out."""
        given = {name: value for name, value in (claims(self.issuer, token_id) | changes).items() if value is not None}
        return self.keys.sign(given, "at+jwt")


@contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        upstream, idp = _free_port(), _free_port()
        issuer = f"http://127.0.0.1:{idp}"
        stack.enter_context(_process(["taskset", "-c", "1", "nginx", "-c", str(_nginx(folder, upstream))], folder / "nginx.out"))
        provider = ["taskset", "-c", "1", _scopeward(), "idp", "--listen", f"127.0.0.1:{idp}", "--audience", "api://orders", "--state-dir", str(folder / "idp")]
        stack.enter_context(_process(provider, folder / "idp.out"))
        _wait(f"{issuer}/jwks", said=folder / "idp.out")
        keys = SigningKeys.load(folder / "idp" / "idp")
        token = keys.sign(claims(issuer, "first"), "at+jwt")
        ground = Ground(stack, folder, issuer, upstream, token)
        begun = time.monotonic()
        gateway = ground.gateway("gateway")
        first_call = time.monotonic() - begun
        others = [
            ground.gateway(FULL),
            ground.gateway(APPLIED_TO),
            ground.gateway("gateway, any form", form="any"),
            ground.envoy("hand-written", "hand_written.yaml", keys),
            ground.envoy("plain Envoy", "plain.yaml", keys),
        ]
        yield Stage((gateway, *others), keys, issuer, first_call)


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


@dataclass(frozen=True)
class Ground:
    """What contestants stand on; ``stack`` ends them."""

    stack: contextlib.ExitStack
    folder: Path
    issuer: str
    upstream: int
    token: str

    def gateway(self, name: str, form: str = "string") -> Gateway:
        """A node that runs and answers."""
        port = _free_port()
        home = self.folder / name.replace(" ", "-").replace(",", "")
        home.mkdir()
        policy = home / "scopeward.yaml"
        policy.write_text((HERE / "policy.yaml").read_text().format(port=port, issuer=self.issuer, upstream=self.upstream, scope_form=form))
        command = ["taskset", "-c", "0", _scopeward(), "dev", str(policy), "--listen", f"127.0.0.1:{port}", "--state-dir", str(home)]
        process = self.stack.enter_context(_process(command, home / "out"))
        _wait(f"http://127.0.0.1:{port}/orders/v1/42", self.token, said=home / "out")
        state = StateDir(home / "dev")
        envoy = json.loads((state.root / RUN).read_text())["pid"]
        return Gateway(name, port, (process.pid, envoy), state, policy)

    def envoy(self, name: str, file: str, keys: SigningKeys) -> Contestant:
        """Envoy alone, on a configuration of this folder."""
        port = _free_port()
        config = self.folder / file
        values = {"port": port, "admin": _free_port(), "log": self.folder / f"{file}.log", "issuer": self.issuer, "upstream": self.upstream}
        config.write_text((HERE / file).read_text().format(**values, jwks=json.dumps(keys.public_jwks())))
        options = ["--concurrency", "1", "-l", "error", "--use-dynamic-base-id", "--file-flush-interval-msec", "200"]
        said = self.folder / f"{file}.out"
        process = self.stack.enter_context(_process(["taskset", "-c", "0", str(packaged_path()), "-c", str(config), *options], said))
        _wait(f"http://127.0.0.1:{port}/orders/v1/42", self.token, said=said)
        return Contestant(name, port, (process.pid,))


def _nginx(folder: Path, port: int) -> Path:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {folder}/nginx-{kind};" for kind in kinds)
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, paths=paths))
    return config


@contextmanager
def _process(command: list[str], said: Path) -> Iterator[subprocess.Popen[bytes]]:
    with said.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, token: str = "", *, said: Path) -> None:
    """Until it answers 200; else what it said is told."""
    deadline = time.monotonic() + 30
    answer = "none"
    with httpx2.Client(headers={"Authorization": f"Bearer {token}"} if token else {}, trust_env=False) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.HTTPError):
                answer = str(client.get(url).status_code)
                if answer == "200":
                    return
            time.sleep(0.01)
    raise SystemExit(f"{url} does not answer 200; its last answer was {answer}. It said:\n{said.read_text(errors='replace')[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _scopeward() -> str:
    return str(Path(sys.executable).parent / "scopeward")
