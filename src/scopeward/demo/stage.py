"""Everything that the story needs, started in one process: provider, API, gateway."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import uvicorn

from scopeward.app import SystemClock, keep, running
from scopeward.demo.check_pass import CheckPass
from scopeward.demo.orders_api import orders_api
from scopeward.envoy.binary import EnvoyBinary
from scopeward.envoy.node import Node
from scopeward.envoy.place import Listen, Place
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.documents import http_client
from scopeward.issuer import ProviderOptions, SigningKeys, default_accounts, development_provider, open_loopback_socket, provider_server
from scopeward.warden import Prepared, Warden, read_policy

GATEWAY, PROVIDER, API = 8080, 9000, 9001
"""The ports that the story prefers; where one is taken, any free one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs, and where."""

    gateway_url: str
    issuer: str
    policy: Path
    state: StateDir
    warden: Warden
    node: Node
    prepared: Prepared


@asynccontextmanager
async def stage(folder: Path, binary: EnvoyBinary) -> AsyncIterator[Stage]:
    """Start all of it; it ends with the block. ``folder`` keeps the policy and the state."""
    state = _fresh_enough(folder)
    with contextlib.ExitStack() as stack:
        provider_socket, api_socket = _socket(PROVIDER), _socket(API)
        issuer, upstream = _url(provider_socket), _url(api_socket)
        gateway = _free(GATEWAY)
        options = ProviderOptions(issuer, audience="api://orders")
        provider = development_provider(default_accounts(), SigningKeys.create(), options, SystemClock())
        stack.enter_context(_served(provider_server(provider), provider_socket))
        api = orders_api(f"http://127.0.0.1:{gateway}", f"http://127.0.0.1:{gateway}/orders/v1")
        stack.enter_context(_served(_server(api), api_socket))
        policy = folder / "scopeward.yaml"
        policy.write_text(sample_policy(f"http://127.0.0.1:{gateway}", issuer, upstream))
        async with http_client() as http, running(state, binary, Place(Listen("127.0.0.1", gateway)), http) as warden:
            prepared = await warden.start(read_policy(policy), policy)
            keeping = asyncio.ensure_future(keep(warden))
            try:
                yield Stage(f"http://127.0.0.1:{gateway}", issuer, policy, state, warden, warden.node, prepared)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)


def _fresh_enough(folder: Path) -> StateDir:
    """The story's own state directory. What another version left there is the story's too, and is made anew."""
    try:
        return StateDir(folder)
    except ScopewardError as error:
        if error.reference.id != "state-version":
            raise
    shutil.rmtree(folder)
    return StateDir(folder)


def sample_policy(public_url: str, issuer: str, upstream: str) -> str:
    """The demo's policy for these addresses."""
    text = (resources.files("scopeward.demo") / "scopeward.yaml").read_text()
    return text.format(public_url=public_url, issuer=issuer, upstream=upstream)


def _server(api: CheckPass) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(api, log_level="error", access_log=False, lifespan="off"))


@contextmanager
def _served(server: uvicorn.Server, listening: socket.socket) -> Iterator[None]:
    """A server in a thread of its own: there it leaves the process's signals alone."""
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=5)


def _socket(port: int) -> socket.socket:
    try:
        return open_loopback_socket("127.0.0.1", port)
    except ScopewardError:
        return open_loopback_socket("127.0.0.1", 0)


def _free(port: int) -> int:
    with _socket(port) as probe:
        return int(probe.getsockname()[1])


def _url(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"
