"""``scopeward dev``."""

from __future__ import annotations

import click

from scopeward.app import Prepared, read_policy
from scopeward.cli.options import examples, settings_options
from scopeward.cli.output import say, strong
from scopeward.cli.serving import calls_at, follow, until_signalled
from scopeward.envoy.state_dir import StateDir
from scopeward.settings import Settings


@click.command("dev")
@examples(
    "scopeward dev",
    "scopeward dev policies/orders.yaml --listen :8081",
    "scopeward dev --state-dir /tmp/orders",
)
@settings_options("policy", "listen", "state_dir", "envoy")
def command(settings: Settings) -> None:
    """Run the gateway on this machine and follow the policy file.

    POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. Each time it is written it is checked and put in force; a file with errors
    changes nothing. Ends with Ctrl-C.
    """
    path = settings.policy.value
    read_policy(path)  # an unreadable file makes no state directory
    state = StateDir(settings.state_dir.value / "dev")

    def ready(prepared: Prepared) -> None:
        say(strong(f"policy {prepared.gateway.policy_version} is in force"))
        for line in calls_at(settings, prepared):
            say(line)
        say(f"  audit: {state.root / 'audit'}\nedit {path} and the next call is decided anew; Ctrl-C ends")

    until_signalled(lambda: follow(settings, state, path.absolute(), ready))
