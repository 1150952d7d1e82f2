"""``scopeward demo``."""

from __future__ import annotations

import click

from scopeward.cli.options import examples, settings_options
from scopeward.cli.output import say, strong
from scopeward.cli.serving import tell_outcome, until_signalled
from scopeward.demo.stage import Stage, stage
from scopeward.demo.story import AGENT, SERVICE
from scopeward.demo.tell import tell
from scopeward.envoy.binary import find_envoy
from scopeward.settings import Settings
from scopeward.warden.tasks import keep_policy


@click.command("demo")
@examples("scopeward demo", "scopeward demo --once")
@click.option("--once", is_flag=True, help="End after the story; the exit status is 0 only if every step went as told.")
@settings_options("state_dir", "envoy")
def command(settings: Settings, once: bool) -> None:
    """Show the whole of it on this machine: provider, gateway, calls and denials.

    Starts a development identity provider, a sample orders API and the gateway between them, and makes real calls. Then it stays up, for
    trying by hand. Nothing leaves this machine.
    """
    say(strong("Scopeward: a policy file in front of a real API, every call checked"))
    until_signalled(lambda: _play(settings, once))


async def _play(settings: Settings, once: bool) -> None:
    say("starting the identity provider, the orders API and the gateway …")
    async with stage(settings.state_dir.value / "demo", find_envoy(settings.envoy.value)) as playing:
        say(f"policy {playing.prepared.gateway.policy_version} is in force: {playing.policy}")
        await tell(playing, say)
        say(strong("\nEvery step went as told."))
        if not once:
            _invite(playing)
            await keep_policy(playing.warden, playing.policy, tell_outcome)


def _invite(playing: Stage) -> None:
    call = f"{playing.gateway_url}/orders/v1/42"
    say("\nIt stays up. Try it by hand, from another terminal (where 'scopeward' is not on the path: .venv/bin/scopeward):\n")
    for wish in (SERVICE, AGENT):
        say(f'  curl -i {call} -H "Authorization: Bearer $({wish.command(playing.issuer)})"')
    say(f"  curl -i {call}/customer")
    say(f"  curl -s {playing.gateway_url}/.well-known/oauth-protected-resource/orders/v1")
    say(f"\n  edit {playing.policy} and call again\n  tail -f {playing.node.audit_log}\n\nCtrl-C ends it.")
