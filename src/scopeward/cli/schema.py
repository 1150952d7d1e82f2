"""``scopeward schema``."""

from __future__ import annotations

import click

from scopeward.cli.options import examples
from scopeward.cli.output import print_json
from scopeward.policy.schema import included_json_schema, json_schema


@click.command("schema")
@examples(
    "scopeward schema > .scopeward-schema.json",
    "scopeward schema --included > .scopeward-included-schema.json",
)
@click.option("--included", is_flag=True, help="That of a file which a policy includes.")
def command(included: bool) -> None:
    """Print the JSON schema of the policy, for editors.

    An editor with a YAML language server completes and checks a policy whose first line names the schema's file, as that of
    'scopeward init' does: "# yaml-language-server: $schema=.scopeward-schema.json".
    """
    print_json(included_json_schema() if included else json_schema())
