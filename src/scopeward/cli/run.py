"""``scopeward run``."""

from __future__ import annotations

import click

from scopeward.app import Ending
from scopeward.cli.options import NODE, examples, settings_options
from scopeward.cli.output import say
from scopeward.cli.serving import calls_at, follow, until_signalled, version_of
from scopeward.envoy.state_dir import APPLIED, StateDir
from scopeward.errors import ScopewardError
from scopeward.settings import Settings
from scopeward.warden import Prepared

DRAIN = 10.0
"""Seconds that calls have to end when the node is told to."""


@click.command("run")
@examples("scopeward run", "scopeward run --listen 127.0.0.1:8443 --state-dir /var/lib/scopeward")
@settings_options("env", *NODE)
def command(settings: Settings) -> None:
    """Run the gateway on the policy that was applied.

    Serves what ``scopeward apply`` put into the state directory, and takes each later ``apply`` at once. SIGTERM or Ctrl-C end it: no more
    connections are taken, and calls that are under way have ten seconds. SIGHUP ends this process alone: Envoy goes on answering calls, and
    the next ``scopeward run`` takes it over; so does one that follows a crash.

    The environment is that for which the policy was applied; with ``--env`` a policy of another one is refused.
    """
    state = StateDir(settings.state_dir.value)
    path = state.root / APPLIED
    if not path.exists():
        raise ScopewardError("not-applied", f"'{state.root}' holds no applied policy")

    def ready(prepared: Prepared) -> None:
        say(f"serving policy {version_of(prepared)}")
        for line in calls_at(settings, prepared):
            say(line)

    ending = Ending(drain=DRAIN)
    until_signalled(lambda: follow(settings, state, path, ready, ending, applied=True), ending)
