"""``scopeward apply``."""

from __future__ import annotations

import asyncio
import time

import click

from scopeward.app import Prepared, SystemClock, checked, compile_policy, read_policy
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, print_diagnostics, print_json, say
from scopeward.envoy.binary import find_envoy
from scopeward.envoy.node import Node
from scopeward.envoy.state_dir import APPLIED, IN_FORCE, StateDir
from scopeward.envoy.validate import validate
from scopeward.errors import ScopewardError
from scopeward.idp.documents import http_client
from scopeward.idp.facts import fetch_facts
from scopeward.settings import Settings

PATIENCE = 20.0
"""Seconds in which a running node must confirm."""


@click.command("apply")
@examples("scopeward apply", "scopeward apply policies/orders.yaml -o json")
@settings_options("policy", "state_dir", "envoy")
@output_option
def command(settings: Settings, output: OutputFormat) -> None:
    """Put a policy in force.

    POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. It is checked, compiled with its issuers' keys, proven, validated by Envoy and
    stored in the state directory. A node that runs there takes it at once, and the command waits until Envoy confirmed it; else ``scopeward
    run`` will serve it. Where anything is refused, what is in force stays.
    """
    path = settings.policy.value
    text = read_policy(path)
    state = StateDir(settings.state_dir.value)
    prepared = asyncio.run(_prepare(text, str(path), settings, state))
    version = prepared.gateway.policy_version
    confirmed = _put(state, text.decode(), version)
    if output == "json":
        print_json({"policy": str(path), "policy_version": version, "confirmed": confirmed})
        return
    print_diagnostics(prepared.warnings, err=True)
    say(f"policy {version} is in force, confirmed by Envoy" if confirmed else f"policy {version} is applied; no node runs here: 'scopeward run' serves it")


async def _prepare(text: bytes, name: str, settings: Settings, state: StateDir) -> Prepared:
    binary = find_envoy(settings.envoy.value)
    loaded, warnings = checked(text, name)
    async with http_client() as http:
        facts = await fetch_facts(loaded.policy, http)
    edge = Node(state, binary, settings.listen.value, SystemClock()).edge
    prepared = compile_policy(loaded, facts, edge, warnings)
    await validate(prepared.snapshot, binary)
    return prepared


def _put(state: StateDir, text: str, version: str) -> bool:
    """Store the policy; whether a running node confirmed it. What the node does not confirm is taken back."""
    path = state.root / APPLIED
    before = path.read_text() if path.exists() else None
    state.write(APPLIED, text)
    if not state.is_locked():
        return False
    try:
        return _confirmed(state, version)
    except ScopewardError:
        if before is not None:
            state.write(APPLIED, before)
        raise


def _confirmed(state: StateDir, version: str) -> bool:
    """Wait for the running node. Errors: ``envoy-not-confirmed``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        said = state.read_json(IN_FORCE)
        if said and said.get("policy_version") == version:
            return True
        time.sleep(0.05)
    raise ScopewardError("envoy-not-confirmed", "the running node did not confirm the policy", "See what the node printed; what was in force stays.")
