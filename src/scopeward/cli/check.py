"""``scopeward check``."""

from __future__ import annotations

import click

from scopeward.analysis.checks import Examined, examine
from scopeward.cli.frame import NO
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, diagnostic_json, print_diagnostics, print_json, say
from scopeward.errors import ScopewardError
from scopeward.policy.diagnostic import SEVERITIES, limited
from scopeward.policy.source import Written, read
from scopeward.settings import Settings
from scopeward.status.words import counted
from scopeward.warden import read_policy


@click.command("check")
@examples(
    "scopeward check",
    "scopeward check policies/orders.yaml",
    "scopeward check --env prod",
    "scopeward check -o json | jq '.diagnostics[].reference'",
)
@settings_options("policy", "env")
@output_option
@click.pass_context
def command(ctx: click.Context, settings: Settings, output: OutputFormat) -> None:
    """Say what is wrong with a policy, and where.

    POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. A policy that has environments is checked in all of them, or in the one that is
    chosen. Nothing is fetched and nothing is changed. The exit status is 0 where the policy could be applied, also with warnings and notes, and 1
    where it has errors.
    """
    path, env = settings.policy.value, settings.env.value
    written = read(read_policy(path, env))
    if isinstance(written, Written):
        require_environment(written, env)
    examined = examine(written, env) if isinstance(written, Written) else Examined(limited(written), {})
    number = {severity: sum(d.stands_for for d in examined.diagnostics if d.severity == severity) for severity in SEVERITIES}
    good = number["error"] == 0
    if output == "json":
        print_json(
            {
                "policy": str(path),
                "ok": good,
                **{f"{severity}s": n for severity, n in number.items()},
                "environments": [name for name in examined.loaded if name is not None],
                "diagnostics": [diagnostic_json(d) for d in examined.diagnostics],
            }
        )
    else:
        print_diagnostics(examined.diagnostics)
        found = [counted(n, severity) for severity, n in number.items() if n]
        say(f"{path}: {_summary(examined, found) if good else ', '.join(found)}")
    ctx.exit(0 if good else NO)


def require_environment(written: Written, env: str | None) -> None:
    """The environment that is chosen must be one of the policy's: else the policy is not to blame. Errors: ``env-unknown``."""
    if env is None or env in [environment.name for environment in written.environments]:
        return
    found = written.choose(env)
    if isinstance(found, tuple):
        raise ScopewardError(found[0].reference, found[0].message, found[0].help)


def _summary(examined: Examined, found: list[str]) -> str:
    """Every environment has the same APIs, rules and clients."""
    policy = next(iter(examined.loaded.values())).policy
    rules = sum(len(api.rules) for api in policy.apis)
    parts = [counted(len(policy.apis), "API"), counted(rules, "rule"), counted(len(policy.clients), "client")]
    if policy.environment is not None:
        parts.append(f"in {', '.join(str(name) for name in examined.loaded)}")
    return ", ".join(["good", *found]) + f" ({', '.join(parts)})"
