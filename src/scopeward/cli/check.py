"""``scopeward check``."""

from __future__ import annotations

import click

from scopeward.analysis.checks import check
from scopeward.cli.frame import NO
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, diagnostic_json, print_diagnostics, print_json, say
from scopeward.policy.diagnostic import SEVERITIES
from scopeward.policy.model import Policy
from scopeward.policy.source import Loaded, load
from scopeward.settings import Settings
from scopeward.status.words import counted
from scopeward.warden import read_policy


@click.command("check")
@examples(
    "scopeward check",
    "scopeward check policies/orders.yaml",
    "scopeward check -o json | jq '.diagnostics[].reference'",
)
@settings_options("policy")
@output_option
@click.pass_context
def command(ctx: click.Context, settings: Settings, output: OutputFormat) -> None:
    """Say what is wrong with a policy, and where.

    POLICY is the file [SCOPEWARD_POLICY; default: scopeward.yaml]. Nothing is fetched and nothing is changed. The exit status is 0
    where the policy could be applied, also with warnings and notes, and 1 where it has errors.
    """
    path = settings.policy.value
    loaded = load(read_policy(path), str(path))
    diagnostics = check(loaded) if isinstance(loaded, Loaded) else loaded
    number = {severity: sum(d.severity == severity for d in diagnostics) for severity in SEVERITIES}
    good = number["error"] == 0
    if output == "json":
        print_json(
            {
                "policy": str(path),
                "ok": good,
                **{f"{severity}s": n for severity, n in number.items()},
                "diagnostics": [diagnostic_json(d) for d in diagnostics],
            }
        )
    else:
        print_diagnostics(diagnostics)
        found = [counted(n, severity) for severity, n in number.items() if n]
        say(f"{path}: {_summary(loaded.policy, found) if isinstance(loaded, Loaded) and good else ', '.join(found)}")
    ctx.exit(0 if good else NO)


def _summary(policy: Policy, found: list[str]) -> str:
    rules = sum(len(api.rules) for api in policy.apis)
    return ", ".join(["good", *found]) + f" ({counted(len(policy.apis), 'API')}, {counted(rules, 'rule')}, {counted(len(policy.clients), 'client')})"
