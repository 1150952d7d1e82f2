"""``scopeward dev``."""

from __future__ import annotations

from typing import Any

import click

from scopeward.cli.cert import certificate
from scopeward.cli.options import NODE, examples, settings_options
from scopeward.cli.output import say, strong
from scopeward.cli.serving import calls_at, follow, until_signalled, version_of
from scopeward.envoy.state_dir import StateDir
from scopeward.settings import Settings
from scopeward.warden import Prepared, read_policy


class _ArgumentOrCommand(click.Group):
    """A group whose bare call takes an argument. Only the first word can name a command: a file of that name is given as './NAME'."""

    allow_extra_args = False
    allow_interspersed_args = True

    def make_context(self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any) -> click.Context:
        """The context of the bare call, or that of the command named."""
        if args and args[0] in self.commands:
            return self.commands[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.group("dev", cls=_ArgumentOrCommand, invoke_without_command=True, subcommand_metavar="| COMMAND ...")
@examples(
    "scopeward dev",
    "scopeward dev policies/orders.yaml --listen :8081",
    "scopeward dev --env dev",
    "scopeward dev --state-dir /tmp/orders",
    "scopeward dev cert",
)
@settings_options("policy", "env", *NODE)
def command(settings: Settings) -> None:
    """Run the gateway on this machine and follow the policy file.

    POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. Each time it is written, or a file that it includes, it is checked and put in
    force; a policy with errors changes nothing. Ends with Ctrl-C.
    """
    path = settings.policy.value
    read_policy(path, settings.env.value)  # an unreadable file makes no state directory
    state = StateDir(settings.state_dir.value / "dev")

    def ready(prepared: Prepared) -> None:
        say(strong(f"policy {version_of(prepared)} is in force"))
        for line in calls_at(settings, prepared):
            say(line)
        say(f"  audit: {state.root / 'audit'}\nedit {path} and the next call is decided anew; Ctrl-C ends")

    until_signalled(lambda: follow(settings, state, path.absolute(), ready))


command.add_command(certificate)
