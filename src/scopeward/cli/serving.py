"""What ``dev`` and ``run`` share: a node that follows a file until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from scopeward.app import Ending, open_ops, running, serve
from scopeward.cli.output import print_diagnostics, print_error, say
from scopeward.envoy.binary import find_envoy
from scopeward.envoy.place import Place
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.documents import http_client
from scopeward.settings import Settings
from scopeward.tls.certificates import CertificateFiles
from scopeward.warden import PolicyError, Prepared, read_policy


def until_signalled(work: Callable[[], Coroutine[Any, Any, None]], ending: Ending | None = None) -> None:
    """Run until it ends, or until SIGINT, SIGTERM or SIGHUP, which end it in order. Where ``ending`` is given, SIGHUP leaves Envoy running."""

    async def main() -> None:
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        loop.add_signal_handler(signal.SIGHUP, task.cancel if ending is None else lambda: _leave(ending, task))
        with contextlib.suppress(asyncio.CancelledError):
            await task

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    asyncio.run(main())


def _leave(ending: Ending, task: asyncio.Future[None]) -> None:
    ending.leave = True
    task.cancel()


async def follow(
    settings: Settings, state: StateDir, path: Path, ready: Callable[[Prepared], None], ending: Ending | None = None, *, applied: bool = False
) -> None:
    """Start a node on the policy at ``path``, or take over the one that runs, and keep it at what the file says."""
    for room in ("warden", "envoy", "idp", "passes"):
        logging.getLogger(f"scopeward.{room}").setLevel(logging.INFO)
    binary = find_envoy(settings.envoy.value)
    listen = settings.ops_listen.value
    ops = open_ops(listen) if listen is not None else None
    with contextlib.closing(ops) if ops is not None else contextlib.nullcontext():
        async with (
            http_client() as http,
            running(state, binary, place_of(settings), http, certificates=files_of(settings), concurrency=settings.concurrency.value, ending=ending) as warden,
        ):
            env = settings.env.value
            chosen = None if applied else env  # an applied policy has its own
            prepared = await warden.start(read_policy(path, chosen), path, env)
            print_diagnostics(prepared.warnings, err=True)
            ready(prepared)
            await serve(warden, path, tell_outcome, ops, chosen)


def place_of(settings: Settings) -> Place:
    """Where the node stands; its certificates are read with the policy."""
    return Place(settings.listen.value, proxies=settings.behind_tls_proxy.value)


def files_of(settings: Settings) -> CertificateFiles:
    """The certificate files that the settings name."""
    return CertificateFiles(settings.tls_cert.value, settings.tls_key.value, settings.tls_client_ca.value)


def tell_outcome(outcome: Prepared | ScopewardError) -> None:
    """Say what came of an edit."""
    match outcome:
        case Prepared():
            print_diagnostics(outcome.warnings, err=True)
            say(f"in force: policy {version_of(outcome)}")
        case PolicyError():
            print_error(outcome, as_json=False)
            say("not applied; what was in force stays", err=True)
        case _:
            print_error(outcome, as_json=False)


def calls_at(settings: Settings, prepared: Prepared) -> list[str]:
    """Where the APIs are, a line each."""
    return [f"  {api.name}: {settings.url}{api.at} → {api.upstream.url}" for api in prepared.gateway.apis]


def version_of(prepared: Prepared) -> str:
    """The policy's version, and its environment if it has one."""
    environment = prepared.policy.environment
    return prepared.gateway.policy_version + ("" if environment is None else f" for {environment}")
