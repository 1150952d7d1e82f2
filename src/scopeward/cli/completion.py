"""``scopeward completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from scopeward.cli.frame import PROGRAM
from scopeward.cli.options import examples
from scopeward.cli.output import say


@click.command("completion")
@examples(
    "scopeward completion bash > ~/.local/share/bash-completion/completions/scopeward",
    "scopeward completion zsh > ~/.zfunc/_scopeward",
    "scopeward completion fish > ~/.config/fish/completions/scopeward.fish",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands in a shell."""
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    say(found(ctx.find_root().command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
