"""``scopeward check``."""

from __future__ import annotations

import click

from scopeward.analysis.checks import check
from scopeward.app import read_policy
from scopeward.cli.frame import NO
from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, diagnostic_json, print_diagnostics, print_json, say
from scopeward.policy.diagnostic import Diagnostic
from scopeward.policy.model import Policy
from scopeward.policy.source import Loaded, load
from scopeward.settings import Settings


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
    where the policy could be applied, also with warnings, and 1 where it has errors.
    """
    path = settings.policy.value
    loaded = load(read_policy(path), str(path))
    diagnostics = check(loaded) if isinstance(loaded, Loaded) else loaded
    errors = sum(d.severity == "error" for d in diagnostics)
    if output == "json":
        print_json(
            {
                "policy": str(path),
                "ok": not errors,
                "errors": errors,
                "warnings": len(diagnostics) - errors,
                "diagnostics": [diagnostic_json(d) for d in diagnostics],
            }
        )
    else:
        print_diagnostics(diagnostics)
        say(f"{path}: {_summary(loaded.policy if isinstance(loaded, Loaded) else None, diagnostics, errors)}")
    ctx.exit(NO if errors else 0)


def _summary(policy: Policy | None, diagnostics: tuple[Diagnostic, ...], errors: int) -> str:
    warnings = len(diagnostics) - errors
    counted = [counts(n, what) for n, what in ((errors, "error"), (warnings, "warning")) if n]
    if errors or policy is None:
        return ", ".join(counted)
    rules = sum(len(api.rules) for api in policy.apis)
    return ", ".join(["good", *counted]) + f" ({counts(len(policy.apis), 'API')}, {counts(rules, 'rule')}, {counts(len(policy.clients), 'client')})"


def counts(number: int, what: str) -> str:
    """``1 rule``, ``2 rules``."""
    return f"{number} {what}{'' if number == 1 else 's'}"
