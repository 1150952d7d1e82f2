"""``scopeward apply``."""

from __future__ import annotations

import asyncio
import hashlib
import time

import click

from scopeward.analysis.gateway import Facts
from scopeward.app import SystemClock
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, print_diagnostics, print_json, say
from scopeward.cli.serving import files_of, place_of
from scopeward.envoy.binary import find_envoy
from scopeward.envoy.node import Node
from scopeward.envoy.record import read_records
from scopeward.envoy.state_dir import APPLIED, IN_FORCE, StateDir
from scopeward.envoy.validate import validate
from scopeward.errors import ScopewardError
from scopeward.idp.documents import http_client
from scopeward.idp.keeper import KeyKeeper
from scopeward.settings import Settings
from scopeward.tls.certificates import load as load_certificates
from scopeward.warden import Prepared, checked, compile_policy, read_policy
from scopeward.warden.policy import certificate_files, require_fit, showing

PATIENCE = 20.0
"""Seconds in which a running node must confirm."""


@click.command("apply")
@examples("scopeward apply", "scopeward apply policies/orders.yaml -o json")
@settings_options("policy", "listen", "tls", "proxies", "state_dir", "envoy")
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
    say(f"policy {version} is {'in force, confirmed by Envoy' if confirmed else _waits(state)}")


def _waits(state: StateDir) -> str:
    """Why a policy that was stored is not in force yet."""
    if any(read_records(state)):
        return "applied, and not in force: the warden is gone, and Envoy decides by the policy of then until 'scopeward run' is started again"
    return "applied; no node runs here: 'scopeward run' serves it"


async def _prepare(text: bytes, name: str, settings: Settings, state: StateDir) -> Prepared:
    binary = find_envoy(settings.envoy.value)
    loaded, warnings = checked(text, name)
    files = certificate_files(files_of(settings), loaded.policy)
    if not state.is_locked():  # a node that runs knows its own settings
        require_fit(loaded.policy, verifies_clients=files.client_ca is not None)
    certificates = load_certificates(files, SystemClock().now())
    async with http_client() as http:
        issuers = await KeyKeeper(state.root / "keys", http, SystemClock()).look(loaded.policy)
    edge = Node(state, binary, showing(place_of(settings), certificates), SystemClock()).edge
    prepared = compile_policy(loaded, Facts(issuers), edge, warnings)
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
        return _confirmed(state, version, hashlib.sha256(text.encode()).hexdigest())
    except ScopewardError:
        if before is not None:
            state.write(APPLIED, before)
        raise


def _confirmed(state: StateDir, version: str, sha256: str) -> bool:
    """Wait for the running node. Errors: what it refused the policy for, ``envoy-not-confirmed``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        said = state.read_json(IN_FORCE)
        if said and said.get("policy_version") == version:
            return True
        refused = said.get("refused") if said else None
        if refused and refused["sha256"] == sha256:
            raise ScopewardError(refused["reference"], f"the running node refused the policy: {refused['what']}", refused["remedy"])
        time.sleep(0.05)
    raise ScopewardError("envoy-not-confirmed", "the running node did not confirm the policy", "See what the node printed; what was in force stays.")
