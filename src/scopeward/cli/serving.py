"""What ``dev`` and ``run`` share: a node that follows a file until it is told to end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from scopeward.app import PolicyError, Prepared, read_policy, running, serve
from scopeward.cli.output import print_diagnostics, print_error, say
from scopeward.envoy.binary import find_envoy
from scopeward.envoy.state_dir import StateDir
from scopeward.errors import ScopewardError
from scopeward.idp.documents import http_client
from scopeward.settings import Settings, url_of


def until_signalled(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run until it ends, or until SIGINT or SIGTERM, which end it in order."""

    async def main() -> None:
        task = asyncio.ensure_future(work())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("scopeward.app").setLevel(logging.INFO)
    asyncio.run(main())


async def follow(settings: Settings, state: StateDir, path: Path, ready: Callable[[Prepared], None]) -> None:
    """Start a node on the policy at ``path`` and keep it at what the file says."""
    binary = find_envoy(settings.envoy.value)
    async with http_client() as http, running(state, binary, settings.listen.value, http) as (warden, node):
        prepared = await warden.start(read_policy(path), path.name)
        print_diagnostics(prepared.warnings, err=True)
        ready(prepared)
        await serve(warden, node, path, tell_outcome)


def tell_outcome(outcome: Prepared | ScopewardError) -> None:
    """Say what came of an edit."""
    match outcome:
        case Prepared():
            print_diagnostics(outcome.warnings, err=True)
            say(f"in force: policy {outcome.gateway.policy_version}")
        case PolicyError():
            print_error(outcome, as_json=False)
            say("not applied; what was in force stays", err=True)
        case _:
            print_error(outcome, as_json=False)


def calls_at(settings: Settings, prepared: Prepared) -> list[str]:
    """Where the APIs are, a line each."""
    return [f"  {api.name}: {url_of(settings.listen.value)}{api.at} → {api.upstream.url}" for api in prepared.gateway.apis]
