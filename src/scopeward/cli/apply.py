"""``scopeward apply``."""

from __future__ import annotations

import asyncio
import sys
import time

import click

from scopeward.analysis.gateway import Facts
from scopeward.app import SystemClock
from scopeward.cli.frame import NO
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
from scopeward.policy_files import stored
from scopeward.settings import Settings
from scopeward.tls.certificates import load as load_certificates
from scopeward.warden import Bundle, Prepared, checked, compile_policy, read_policy
from scopeward.warden.policy import certificate_files, require_fit, showing

PATIENCE = 20.0
"""Seconds in which a running node must confirm."""


@click.command("apply")
@examples("scopeward apply", "scopeward apply policies/orders.yaml -o json", "scopeward apply --env prod --yes")
@settings_options("policy", "env", "listen", "tls", "proxies", "state_dir", "envoy")
@click.option("--yes", is_flag=True, help="Do not ask, where the environment says 'confirm'.")
@output_option
@click.pass_context
def command(ctx: click.Context, settings: Settings, output: OutputFormat, yes: bool) -> None:
    """Put a policy in force.

    POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. It is checked, compiled with its issuers' keys, proven, validated by Envoy and
    stored in the state directory. A node that runs there takes it at once, and the command waits until Envoy confirmed it; else ``scopeward
    run`` will serve it. Where anything is refused, what is in force stays.

    An environment may say ``confirm: true``: then the command asks before it changes anything there. The exit status is 1 where the answer is no.
    """
    path = settings.policy.value
    files = read_policy(path, settings.env.value)
    state = StateDir(settings.state_dir.value)
    prepared = asyncio.run(_prepare(files, settings, state))
    version, environment = prepared.gateway.policy_version, prepared.policy.environment
    print_diagnostics(prepared.warnings if output == "text" else (), err=True)
    if prepared.policy.confirm and not yes and not _agreed(str(environment), version):
        say("not applied; nothing was changed", err=True)
        ctx.exit(NO)
    confirmed = _put(state, files, version)
    if output == "json":
        print_json({"policy": str(path), "environment": environment, "policy_version": version, "confirmed": confirmed})
        return
    where = "" if environment is None else f" for {environment}"
    say(f"policy {version}{where} is {'in force, confirmed by Envoy' if confirmed else _waits(state)}")


def _agreed(environment: str, version: str) -> bool:
    """Ask at the terminal, and nobody else: an answer that comes through a pipe is nobody's. Errors: ``confirm-needed``."""
    if not _at_terminal():
        raise ScopewardError("confirm-needed", f"the environment '{environment}' asks to confirm, and there is no terminal")
    return click.confirm(f"Put policy {version} in force in {environment}?", err=True)


def _at_terminal() -> bool:
    return sys.stdin.isatty()


def _waits(state: StateDir) -> str:
    """Why a policy that was stored is not in force yet."""
    if any(read_records(state)):
        return "applied, and not in force: the warden is gone, and Envoy decides by the policy of then until 'scopeward run' is started again"
    return "applied; no node runs here: 'scopeward run' serves it"


async def _prepare(files: Bundle, settings: Settings, state: StateDir) -> Prepared:
    binary = find_envoy(settings.envoy.value)
    loaded, warnings = checked(files)
    certificates_named = certificate_files(files_of(settings), loaded.policy)
    if not state.is_locked():  # a node that runs knows its own settings
        require_fit(loaded.policy, verifies_clients=certificates_named.client_ca is not None)
    certificates = load_certificates(certificates_named, SystemClock().now())
    async with http_client() as http:
        issuers = await KeyKeeper(state.root / "keys", http, SystemClock()).look(loaded.policy)
    edge = Node(state, binary, showing(place_of(settings), certificates), SystemClock()).edge
    prepared = compile_policy(loaded, Facts(issuers), edge, warnings)
    await validate(prepared.snapshot, binary)
    return prepared


def _put(state: StateDir, files: Bundle, version: str) -> bool:
    """Store the policy; whether a running node confirmed it. What the node does not confirm is taken back."""
    path = state.root / APPLIED
    before = path.read_text() if path.exists() else None
    state.write(APPLIED, stored(files))
    if not state.is_locked():
        return False
    try:
        return _confirmed(state, version, files.sha256)
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
