"""``scopeward schema``."""

from __future__ import annotations

import click

from scopeward.cli.options import examples
from scopeward.cli.output import print_json
from scopeward.policy.schema import json_schema


@click.command("schema")
@examples(
    "scopeward schema > .scopeward-schema.json",
)
def command() -> None:
    """Print the JSON schema of the policy, for editors.

    An editor with a YAML language server completes and checks a policy whose first line names the schema's file, as that of
    'scopeward init' does: "# yaml-language-server: $schema=.scopeward-schema.json".
    """
    print_json(json_schema())
